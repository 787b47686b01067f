"""The interface of every loss, and the frame of those that only need sums over positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Optional, Protocol

import numpy

from ... import engine
from ...errors import ShapeError
from .arrays import index_array, ones_for, plain

# The least mass of a mask: one that is zero everywhere then gives zeros, not 0 / 0.
_LEAST_MASS = 1e-12

# Weights that differ by less than this part of the largest are equal.
_ROUNDING = 1e-9


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


def no_pull(features: Any) -> LossGrad:
    """Return a value of 0 and a gradient of zeros at features."""
    nd = engine.nd
    value = nd.zeros((1,), ctx=features.context, dtype=features.dtype)
    return LossGrad(value, nd.zeros_like(features))


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
    check_size(mask, features.shape)
    return mask.mass


def check_size(mask: Mask, shape: Sequence[int]) -> None:
    """Raise a `ShapeError` unless a mask has the height and width of a map's shape."""
    if mask.values.shape != tuple(shape[2:]):
        raise ShapeError(
            f"A mask needs the size of its feature map: the mask has {mask.values.shape}, the "
            f"map has {tuple(shape[2:])}."
        )


def weights_of(flat: Any, mask: Optional[Mask]) -> Any:
    """Return the weights of the positions of a map (N, M) as a column (M, 1)."""
    return ones_for(flat, flat.shape[1], 1) if mask is None else mask.column


def masked(grad: Any, mask: Optional[Mask]) -> Any:
    """Multiply a gradient (1, N, H, W) by the mask, in place."""
    if mask is None:
        return grad
    return engine.nd.broadcast_mul(grad, mask.column.reshape((1, 1, *grad.shape[2:])), out=grad)


def inside(features: Any, mask: Optional[Mask]) -> Any:
    """Return the positions of a map where a mask is not 0, as a map (1, N, 1, positions)."""
    if mask is None:
        return features
    return Sample.of(features, mask).flat.reshape((1, features.shape[1], 1, -1))


@dataclass(frozen=True)
class Sample:
    """Positions of one style map or of several, for losses that look at them one by one.

    Attributes
    ----------
    flat : NDArray, shape (N, K)
        The features at K positions.
    weights : numpy.ndarray or None, shape (K,)
        How much each counts; their sum is 1. None if all count equally.
    """

    flat: Any
    weights: Optional[numpy.ndarray]

    @classmethod
    def of(
        cls,
        features: Any,
        mask: Optional[Mask] = None,
        most: Optional[int] = None,
        random: Optional[numpy.random.RandomState] = None,
    ) -> "Sample":
        """Return the positions of a map (1, N, H, W) where its mask is not 0.

        Parameters
        ----------
        features : NDArray, shape (1, N, H, W)
        mask : Mask, optional
        most : int, optional
            The number of positions to draw at random if there are more.
        random : numpy.random.RandomState, optional
        """
        flat, count = plain(features), features.shape[2] * features.shape[3]
        values = numpy.ones(count)
        if mask is not None:
            check_size(mask, features.shape)
            values = mask.values.ravel()
        positions = numpy.flatnonzero(values)
        if most is not None and random is not None and len(positions) > most:
            positions = numpy.sort(random.permutation(positions)[:most])
        if 0 < len(positions) < count:
            flat = engine.nd.take(flat, index_array(positions, flat), axis=1, mode="clip")
            values = values[positions]
        return cls(flat, _shares(values))

    @classmethod
    def joined(cls, samples: Sequence["Sample"], shares: Sequence[float]) -> "Sample":
        """Return several samples as one, in which each has its share of the weight."""
        if len(samples) == 1:
            return samples[0]
        weights = []
        for sample, share in zip(samples, shares):
            count = sample.flat.shape[1]
            even = numpy.full(count, 1 / count)
            weights.append(share * (even if sample.weights is None else sample.weights))
        flat = engine.nd.concat(*(sample.flat for sample in samples), dim=1)
        return cls(flat, _shares(numpy.concatenate(weights)))


def _shares(values: numpy.ndarray) -> Optional[numpy.ndarray]:
    """Return weights with the sum 1, or None if they are equal or all 0."""
    if numpy.ptp(values) <= _ROUNDING * values.max():
        return None
    shares: numpy.ndarray = values / values.sum()
    return shares


def weighted_draw(
    random: numpy.random.RandomState, weights: numpy.ndarray, count: int
) -> numpy.ndarray:
    """Draw `count` positions in random order, each about `count` times its weight.

    A position is drawn as often as that product says, rounded up or down at random.
    """
    order = random.permutation(len(weights))
    bounds = numpy.cumsum(weights[order])
    places = (numpy.arange(count) + random.uniform()) / count * bounds[-1]
    drawn = order[numpy.minimum(numpy.searchsorted(bounds, places, "right"), len(order) - 1)]
    shuffled: numpy.ndarray = random.permutation(drawn)
    return shuffled


def drawn_positions(
    random: numpy.random.RandomState, shape: Sequence[int], mask: Optional[Mask] = None
) -> numpy.ndarray:
    """Return the positions of a map of a shape, (1, N, H, W), in random order.

    With a mask, each is drawn with the probability that is its mask, or left out.
    """
    if mask is None:
        return random.permutation(shape[2] * shape[3])
    check_size(mask, shape)
    values = mask.values.ravel()
    drawn: numpy.ndarray = random.permutation(
        numpy.flatnonzero(random.uniform(size=values.size) < values)
    )
    return drawn


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

    Notes
    -----
    A `SumLoss` and a `SampleLoss` also have a class attribute `pools`, which is True: they take
    a mask as the last argument of `target`, `draw` and a call, and several pictures as one style.
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

    def draw(
        self, random: Any, shape: tuple[int, ...], target: Any, mask: Optional[Mask] = None
    ) -> None:
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


def channel_moments(features: Any, mask: Optional[Mask] = None) -> Moments:
    """Return the channels' means, and their squares about them, each (N, 1)."""
    nd, mass, flat = engine.nd, mass_of(features, mask), plain(features)
    weights = weights_of(flat, mask)
    means = nd.dot(flat, weights) / mass
    # Centre first: in float32, E[x²] − μ² loses all digits of a small deviation.
    centred = nd.broadcast_sub(flat, means, out=flat)
    return Moments(mass, means, nd.dot(nd.square(centred, out=centred), weights))


class SampleLoss:
    """A loss that looks at positions of the style one by one.

    With masks, each position counts as much as its mask says, on both sides. The style is a
    `Sample`, which may hold positions of several pictures.
    """

    pools: ClassVar[bool] = True

    def pooled(self, sample: Sample, random: Any = None) -> Any:
        """Return the target that a sample of the style's positions gives."""
        raise NotImplementedError

    def target(self, features: Any, random: Any = None, mask: Optional[Mask] = None) -> Any:
        """Reduce the features of one style image, shape (1, N, H, W), to a target."""
        return self.pooled(Sample.of(features, mask), random)


class SumLoss(Deterministic):
    """A loss that only needs sums over the positions of a map.

    ``sums(map, mask)`` → ``head(sums, target)`` → value and ``gradient(map, head, mask)``.

    Sums are small and add up, over the parts of a map, its regions, or several pictures. The
    gradient at a position depends on its own features and on the head. So such a loss can be
    taken of a map in parts: first the sums of all parts, then one head, then the gradient of each
    part. With masks, a position counts m times, and the mass Σ m takes the place of M. The pull on
    a position then does not depend on the size of its region.

    What the sums are of may depend on the style: `basis` makes this choice once, from a style map,
    and the target holds it. For a style of several pictures the map is that of the first; with
    `by_moments`, `basis_by` makes the choice from the means and deviations of all of them.
    """

    needs: ClassVar[str] = "sums"
    pools: ClassVar[bool] = True
    by_moments: ClassVar[bool] = False

    def basis(self, features: Any, random: Any = None) -> Any:
        """Return what `sums` needs to know of the style; None for most losses."""

    def basis_by(self, moments: Moments, random: Any = None) -> Any:
        """Return the same from the `channel_moments` of the style."""
        raise NotImplementedError

    def basis_in(self, target: Any) -> Any:
        """Return the basis that a target holds."""

    def sums(self, features: Any, basis: Any = None, mask: Optional[Mask] = None) -> Any:
        """Return the sums of a map (1, N, H, W), which can be added and scaled."""
        raise NotImplementedError

    def combined(self, sums: Any, other: Any, share: float) -> Any:
        """Return some sums, or None, and `share` times others, added up."""
        scaled = other.scaled(share)
        return scaled if sums is None else sums + scaled

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
        if mask is None or not self.by_moments:
            basis = self.basis(inside(features, mask), random)
        else:
            basis = self.basis_by(channel_moments(features, mask), random)
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
