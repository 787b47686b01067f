"""The interface of every loss, and the frame of those that only need sums over positions."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Optional, Protocol

import numpy

from ... import engine
from ...errors import ShapeError
from .arrays import ones_for

# The least mass of a mask: one that is zero everywhere then gives zeros, not 0 / 0.
_LEAST_MASS = 1e-12


class LossGrad(NamedTuple):
    """A loss and its gradient.

    Attributes
    ----------
    value : NDArray, shape (1,)
    grad : NDArray
        With respect to the features or image, and shaped like it.
    """

    value: Any
    grad: Any


@dataclass(frozen=True)
class Mask:
    """How much each position of a map counts: 1 fully, 0 not at all.

    Attributes
    ----------
    values : numpy.ndarray, shape (H, W)
        Not negative.
    column : NDArray, shape (M, 1)
        The same on the device.
    mass : float
        The sum of the values, which takes the place of M in the losses.
    """

    values: numpy.ndarray
    column: Any
    mass: float

    @classmethod
    def of(cls, values: Any, like: Any) -> "Mask":
        """Return a mask of `values`, array_like (H, W), for maps with `like`'s device and type."""
        values = numpy.asarray(values, dtype=numpy.float64)
        column = engine.array(values.reshape(-1, 1), like.context, like.dtype)
        return cls(values, column, max(float(values.sum()), _LEAST_MASS))


def mass_of(features: Any, mask: Optional[Mask]) -> float:
    """Return the mass of a map's positions: M without a mask.

    Raises
    ------
    ShapeError
        The mask has another height or width than the map.
    """
    height, width = features.shape[2:]
    if mask is None:
        return int(height * width)
    if mask.values.shape != (height, width):
        raise ShapeError(
            f"A mask needs the size of its feature map: the mask has {mask.values.shape}, the "
            f"map has {(height, width)}."
        )
    return mask.mass


def weights_of(flat: Any, mask: Optional[Mask]) -> Any:
    """Return the weights of the positions of a map (N, M) as a column (M, 1)."""
    return ones_for(flat, flat.shape[1], 1) if mask is None else mask.column


def masked(grad: Any, mask: Optional[Mask]) -> Any:
    """Multiply a gradient (1, N, H, W) by the mask, in place."""
    if mask is None:
        return grad
    return engine.nd.broadcast_mul(grad, mask.column.reshape((1, 1, *grad.shape[2:])), out=grad)


class Loss(Protocol):
    """The interface of every loss: a target once, then a value and a gradient at each step.

    Attributes
    ----------
    needs : str
        What a loss needs of a map: ``sums`` over its positions (`SumLoss`), or to look at
        ``positions`` one by one, ``pairs`` of them, their ``order`` by value, or their
        nearest ``neighbours``. Only sums can be taken tile by tile.
    draws : bool
        Whether a value depends on a random draw.
    seeded : bool
        Whether the target depends on a random draw.
    degree : int, optional
        The power of s by which the loss grows when the features of both sides are s times as
        large; 2 by default, and for losses that do not grow by a power of at least 2.
    """

    needs: ClassVar[str]
    draws: ClassVar[bool]
    seeded: ClassVar[bool]

    def target(self, features: Any, random: Any = None) -> Any:
        """Reduce content or style features, shape (1, N, H, W), to the loss's target.

        `random`, a `numpy.random.RandomState`, is only used by losses that draw.
        """

    def draw(self, random: Any, shape: tuple[int, ...], target: Any) -> Any:
        """Return the random draw for one evaluation of features of a shape, (1, N, H, W)."""

    def __call__(
        self, features: Any, target: Any, weight: float = 1.0, drawn: Any = None
    ) -> LossGrad:
        """Compare features with a target; `drawn` is what `draw` returned."""


class Deterministic:
    """A loss without random draws."""

    draws: ClassVar[bool] = False
    seeded: ClassVar[bool] = False

    def draw(self, random: Any, shape: tuple[int, ...], target: Any) -> None:
        """Return None, because this loss draws nothing."""


class Head(NamedTuple):
    """What a loss makes of the sums of a whole map.

    Attributes
    ----------
    value : NDArray, shape (1,)
    factors : tuple of NDArray
        Small arrays, from which `SumLoss.gradient` makes the gradient at each position.
    """

    value: Any
    factors: tuple[Any, ...]


@dataclass(frozen=True)
class Totals:
    """Sums over positions. Those of several maps, or parts of a map, add up.

    Attributes
    ----------
    mass : float
        The sum of the positions' weights.
    positions : int
        Their number, whatever their weight.
    arrays : tuple of NDArray or None
    """

    mass: float
    positions: int
    arrays: tuple[Any, ...]

    def __add__(self, other: "Totals") -> "Totals":
        """Return the sums over the positions of both."""
        both = zip(self.arrays, other.arrays)
        arrays = tuple(None if a is None else a + b for a, b in both)
        return Totals(self.mass + other.mass, self.positions + other.positions, arrays)

    def scaled(self, factor: float) -> "Totals":
        """Return the sums with all weights multiplied by a factor."""
        arrays = tuple(None if array is None else array * factor for array in self.arrays)
        return Totals(self.mass * factor, self.positions, arrays)


@dataclass(frozen=True)
class Moments:
    """Means and sums of squares about them; those of several maps combine like `Totals`.

    Sums about zero would lose all digits of a small deviation from a large mean in float32, so
    each map has its squares about its own mean.

    Attributes
    ----------
    mass : float
        The sum of the positions' weights, Σ m.
    means : NDArray, shape (N, 1)
    squares : NDArray
        Σ m (x − μ)² of each channel, shape (N, 1), or Σ m (x − μ)(x − μ)ᵀ, shape (N, N).
    """

    mass: float
    means: Any
    squares: Any

    def __add__(self, other: "Moments") -> "Moments":
        """Return the moments of the positions of both (Chan, Golub and LeVeque, 1979)."""
        mass = self.mass + other.mass
        shift = other.means - self.means
        whole = self.squares.shape[1] > 1
        between = engine.nd.dot(shift, shift.T) if whole else engine.nd.square(shift)
        return Moments(
            mass,
            self.means + shift * (other.mass / mass),
            self.squares + other.squares + between * (self.mass * other.mass / mass),
        )

    def scaled(self, factor: float) -> "Moments":
        """Return the moments with all weights multiplied by a factor."""
        return Moments(self.mass * factor, self.means, self.squares * factor)


class SumLoss(Deterministic):
    """A loss that only needs sums over the positions of a map.

    ``sums(map, mask)`` → ``head(sums, target)`` → value and ``gradient(map, head, mask)``.

    Sums are small and add up, over the parts of a map, its regions, or several pictures. The
    gradient at a position depends on its own features and on the head. So such a loss can be
    taken of a map in parts: first the sums of all parts, then one head, then the gradient of each
    part. With masks, a position counts m times, and the mass Σ m takes the place of M. The pull on
    a position then does not depend on the size of its region.

    What the sums are of may depend on the style: `basis` makes this choice once, from a style map,
    and the target holds it.
    """

    needs: ClassVar[str] = "sums"

    def basis(self, features: Any, random: Any = None) -> Any:
        """Return what `sums` needs to know of the style; None for most losses."""

    def basis_in(self, target: Any) -> Any:
        """Return the basis that a target holds."""

    def sums(self, features: Any, basis: Any = None, mask: Optional[Mask] = None) -> Any:
        """Return the sums of a map (1, N, H, W), which can be added and scaled."""
        raise NotImplementedError

    def reduced(self, sums: Any, basis: Any = None) -> Any:
        """Return the target that the sums of the style give."""
        raise NotImplementedError

    def head(self, sums: Any, target: Any, weight: float = 1.0) -> Head:
        """Compare the sums of a whole map with a target."""
        raise NotImplementedError

    def gradient(self, features: Any, head: Head, mask: Optional[Mask] = None) -> Any:
        """Return the gradient at a map, or at a part of one, shaped like it."""
        raise NotImplementedError

    def target(self, features: Any, random: Any = None, mask: Optional[Mask] = None) -> Any:
        """Reduce the features of one style image, shape (1, N, H, W), to a target."""
        basis = self.basis(features, random)
        return self.reduced(self.sums(features, basis, mask), basis)

    def __call__(
        self,
        features: Any,
        target: Any,
        weight: float = 1.0,
        drawn: Any = None,
        mask: Optional[Mask] = None,
    ) -> LossGrad:
        """Compare features (1, N, H, W) with a target.

        Parameters
        ----------
        features : NDArray, shape (1, N, H, W)
        target : object
            What `target` or `reduced` returned.
        weight : float
            Factor of value and gradient.
        drawn : None
            This loss draws nothing.
        mask : Mask, optional
            By default, all positions count equally.

        Returns
        -------
        LossGrad
        """
        head = self.head(self.sums(features, self.basis_in(target), mask), target, weight)
        return LossGrad(head.value, self.gradient(features, head, mask))
