"""Central moments of each channel, up to a high order."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Optional

from ... import engine
from .arrays import check_channels, plain, squares_of
from .frame import (
    Head,
    LossGrad,
    Mask,
    Moments,
    SumLoss,
    channel_moments,
    mass_of,
    weights_of,
)

# Channels are divided by their deviation in the style, or by this part of the layer's if that is
# larger: a channel that is silent in the style would else count more than all others.
_LEAST_SHARE = 0.1

# Norms below this have no direction.
_LEAST_NORM = 1e-20


class Standard(NamedTuple):
    """What features are centred by and divided by: means and deviations of the style, (N, 1)."""

    means: Any
    deviations: Any


@dataclass(frozen=True)
class CentralPowers:
    """Means, and sums of powers about them; those of several maps combine like `Totals`.

    Attributes
    ----------
    mass : float
        The sum of the positions' weights, Σ m.
    means : NDArray, shape (N, 1)
    powers : tuple of NDArray
        Σ m (x − μ)^k of each channel, (N, 1), for k = 2, 3, …
    """

    mass: float
    means: Any
    powers: tuple[Any, ...]

    def __add__(self, other: "CentralPowers") -> "CentralPowers":
        """Return the powers of the positions of both, about their common mean."""
        mass = self.mass + other.mass
        means = self.means + (other.means - self.means) * (other.mass / mass)
        pairs = zip(self._about(means), other._about(means))
        return CentralPowers(mass, means, tuple(one + two for one, two in pairs))

    def scaled(self, factor: float) -> "CentralPowers":
        """Return the powers with all weights multiplied by a factor."""
        powers = tuple(power * factor for power in self.powers)
        return CentralPowers(self.mass * factor, self.means, powers)

    def _about(self, centre: Any) -> list[Any]:
        """Return the sums of powers about another centre, by the binomial theorem."""
        shift = self.means - centre
        # The powers 0 and 1: the mass, and 0 about the mean.
        known = [self.mass, 0.0, *self.powers]
        return [
            sum(
                math.comb(order, lower) * known[lower] * shift ** (order - lower)
                for lower in range(order + 1)
            )
            for order in range(2, len(known))
        ]


@dataclass(frozen=True)
class CentralMoments(SumLoss):
    """Central moment discrepancy: the distances of means and central moments, added up [1]_ [2]_.

    The value is M Σ_k ‖c_k(F) − c_k(S)‖ over the orders k, where c_1 is the mean, c_k the mean of
    (y − c_1)^k, and y the sigmoid of the features, centred and divided by the style's mean and
    deviation of the channel.

    Parameters
    ----------
    orders : int
        The highest order, at least 1.

    Notes
    -----
    The sigmoid keeps high powers from depending on a few large values alone. The authors of [2]_
    take it of a network's features as they are. VGG's are of size 20 to 300, where it is flat and
    has no gradient, so they are standardised first. Norms are not squared, so the gradient keeps
    its size until the very minimum.

    References
    ----------
    .. [1] Zellinger et al., "Central Moment Discrepancy (CMD) for Domain-Invariant Representation
       Learning", ICLR 2017, arXiv:1702.08811.
    .. [2] Kalischek, Wegner and Schindler, "In the Light of Feature Distributions: Moment Matching
       for Neural Style Transfer", CVPR 2021, arXiv:2103.07208.
    """

    by_moments: ClassVar[bool] = True

    orders: int = 5

    def basis(self, features: Any, random: Any = None) -> Standard:
        """Return the means and deviations that features are standardised by, each (N, 1)."""
        return self.basis_by(channel_moments(features))

    def basis_by(self, moments: Moments, random: Any = None) -> Standard:
        """Return the same for a style of some moments."""
        nd, means = engine.nd, moments.means
        deviations = nd.sqrt(moments.squares / moments.mass)
        layer = nd.sqrt(squares_of(deviations) / means.shape[0])
        # Without any deviation, the size of the values themselves is the only measure there is.
        layer = nd.maximum(layer, nd.sqrt(squares_of(means) / means.shape[0]) * 1e-3)
        least = nd.maximum(_LEAST_SHARE * layer, 1e-12)
        return Standard(means, nd.broadcast_maximum(deviations, least.reshape((1, 1))))

    def basis_in(self, target: Any) -> Standard:
        """Return what a target's features were standardised by."""
        standard: Standard = target[0]
        return standard

    def sums(
        self, features: Any, basis: Optional[Standard] = None, mask: Optional[Mask] = None
    ) -> CentralPowers:
        """Return means and powers of the squashed features."""
        return _powers(_squashed(features, basis), self.orders, features, mask)

    def reduced(self, sums: CentralPowers, basis: Optional[Standard] = None) -> tuple[Any, ...]:
        """Return the standard, the means and the central moments, each (N, 1)."""
        return (basis, sums.means, *(power / sums.mass for power in sums.powers))

    def head(self, sums: CentralPowers, target: Any, weight: float = 1.0) -> Head:
        """Return the value, and the gradient's polynomial in y − c_1: its factors, (N, 1)."""
        nd = engine.nd
        standard, *style = target
        moments = self.reduced(sums)[1:]
        norms, directions = [], []
        for one, other in zip(moments, style):
            difference = one - other
            norm = nd.sqrt(squares_of(difference))
            norms.append(norm)
            unit = nd.maximum(norm, _LEAST_NORM).reshape((1, 1))
            directions.append(nd.broadcast_div(difference, unit))
        # The gradient of order k is k u_k ((y − c_1)^(k−1) − c_(k−1)), where c_1 counts as 0.
        factors = [order * weight * unit for order, unit in enumerate(directions, 1)]
        constant = factors[0]
        for factor, moment in zip(factors[2:], moments[1:]):
            constant = constant - factor * moment
        value = weight * sums.mass * nd.add_n(*norms)
        return Head(value, (standard, sums.means, constant, *factors[1:]))

    def gradient(self, features: Any, head: Head, mask: Optional[Mask] = None) -> Any:
        """Return the polynomial in y − c_1 at each position, times dy/dx and the mask."""
        return _gradient(_squashed(features, head.factors[0]), features, head, mask)

    def __call__(
        self,
        features: Any,
        target: Any,
        weight: float = 1.0,
        drawn: Any = None,
        mask: Optional[Mask] = None,
    ) -> LossGrad:
        """Compare features with a target; the squashed features serve value and gradient."""
        check_channels(features.shape[1], target[1])
        squashed = _squashed(features, target[0])
        head = self.head(_powers(squashed, self.orders, features, mask), target, weight)
        return LossGrad(head.value, _gradient(squashed, features, head, mask))


def _squashed(features: Any, standard: Optional[Standard]) -> Any:
    """Return the sigmoid of standardised features (1, N, H, W), as rows (N, M)."""
    assert standard is not None
    nd, flat = engine.nd, plain(features)
    nd.broadcast_sub(flat, standard.means, out=flat)
    nd.broadcast_div(flat, standard.deviations, out=flat)
    return nd.sigmoid(flat, out=flat)


def _powers(squashed: Any, orders: int, features: Any, mask: Optional[Mask]) -> CentralPowers:
    nd, mass, column = engine.nd, mass_of(features, mask), weights_of(squashed, mask)
    means = nd.dot(squashed, column) / mass
    powers = []
    if orders > 1:
        centred = nd.broadcast_sub(squashed, means)
        power = nd.square(centred)
        for order in range(2, orders + 1):
            powers.append(nd.dot(power, column))
            if order < orders:
                power *= centred
    return CentralPowers(mass, means, tuple(powers))


def _gradient(squashed: Any, features: Any, head: Head, mask: Optional[Mask]) -> Any:
    """Return the gradient; overwrites `squashed`."""
    nd = engine.nd
    standard, means, constant, *factors = head.factors
    # dy/dx = y (1 − y) / deviation
    slope = squashed * (1 - squashed)
    nd.broadcast_div(slope, standard.deviations, out=slope)
    centred = nd.broadcast_sub(squashed, means, out=squashed)
    grad = nd.zeros_like(centred)
    # By Horner's rule, the highest order first.
    for factor in reversed(factors):
        nd.broadcast_add(grad, factor, out=grad)
        grad *= centred
    nd.broadcast_add(grad, constant, out=grad)
    grad *= slope
    if mask is not None:
        nd.broadcast_mul(grad, mask.column.reshape((1, -1)), out=grad)
    return grad.reshape(features.shape)
