"""MMD under kernels of the distance, by random Fourier features: the same MMD as sums."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Optional, Union

import numpy

from ... import engine
from .arrays import check_channels, convolved, ones_for, plain, squares_of
from .frame import Head, LossGrad, Mask, Moments, SumLoss, Totals, masked, mass_of, weights_of

# With ``auto``, two features for each channel, and no more than this.
_MOST_FEATURES = 1024

# The bandwidth is at least this part of ‖μ_S‖². A style of one flat colour has no distances, and
# a kernel of width 0 would see no picture but the style itself.
_LEAST_SHARE = 0.01


class Waves(NamedTuple):
    """The basis of the sums: the waves cos(w·x) and sin(w·x).

    Attributes
    ----------
    frequencies : NDArray, shape (N, J)
        One column w for each pair of waves.
    """

    frequencies: Any


@dataclass(frozen=True)
class FourierMMD(SumLoss):
    """MMD under the kernel k(x, y) = exp(−‖x−y‖² / 2σ²), by random Fourier features [1]_.

    The kernel is the mean of cos(w·(x − y)) over frequencies w ~ N(0, I / σ²). So J of them give
    MMD² ≈ (1/J) ‖mean φ(F) − mean φ(S)‖², where φ(x) holds cos(w·x) and sin(w·x) of each. The
    value is MMD² / (4 N): that of `GaussianMMD` on average over its draws, in the unit of
    β′ = 3e14.

    Parameters
    ----------
    features : int or "auto"
        2 J, the number of waves; an odd one is rounded up. ``auto`` takes two for each channel,
        at most 1024.
    bandwidth : float, optional
        2σ²; by default the mean squared distance of two random positions of the style, 2 tr C_S.

    Notes
    -----
    Unlike the estimate by pairs, a value is never negative, and the same each time, since the
    frequencies are drawn once. The bandwidth is fixed as well: `GaussianMMD` measures it at each
    call, and counts the distances within the generated image and between the two images too.
    Pairs of a cosine and a sine estimate this kernel with less variance than cosines of random
    phase [2]_.

    References
    ----------
    .. [1] Rahimi and Recht, "Random Features for Large-Scale Kernel Machines", NIPS 2007.
    .. [2] Sutherland and Schneider, "On the Error of Random Fourier Features", UAI 2015.
    """

    seeded: ClassVar[bool] = True
    by_moments: ClassVar[bool] = True

    features: Union[int, str] = "auto"
    bandwidth: Optional[float] = None

    def basis(self, features: Any, random: Any = None) -> Waves:
        """Draw the frequencies, (N, J), with the bandwidth of a style map (1, N, H, W)."""
        distance = None if self.bandwidth is not None else _mean_distance(features)
        return self._drawn(random, features.shape[1], features, distance)

    def basis_by(self, moments: Moments, random: Any = None) -> Waves:
        """Draw the frequencies, (N, J), with the bandwidth of a style of some moments."""
        variance = engine.nd.sum(moments.squares).reshape((1,)) / moments.mass
        distance = _bounded(2 * variance, moments.means)
        return self._drawn(random, moments.means.shape[0], moments.means, distance)

    def _drawn(self, random: Any, channels: int, like: Any, distance: Any) -> Waves:
        """Draw the frequencies with a mean squared distance, (1,), unless a bandwidth is given."""
        count = self.waves(channels) // 2
        drawn = random.standard_normal((channels, count)) * self._scales(random, count)
        standard = engine.array(drawn, like.context, like.dtype)
        if self.bandwidth is not None:
            return Waves(standard * (2 / self.bandwidth) ** 0.5)
        inverse_root = (2 / distance) ** 0.5
        return Waves(engine.nd.broadcast_mul(standard, inverse_root.reshape((1, 1))))

    def _scales(self, random: Any, count: int) -> Any:
        """Return the factors of `count` frequencies by which a kernel is not this Gaussian."""
        return 1.0

    def basis_in(self, target: Any) -> Waves:
        """Return the waves of a target."""
        waves: Waves = target[0]
        return waves

    def sums(
        self, features: Any, basis: Optional[Waves] = None, mask: Optional[Mask] = None
    ) -> Totals:
        """Return the sums of the waves over the positions, (2J, 1)."""
        return _sums(_waves(features, basis), features, mask)

    def reduced(self, sums: Totals, basis: Optional[Waves] = None) -> tuple[Any, Any]:
        """Return the waves and their means, (2J, 1)."""
        return basis, sums.arrays[0] / sums.mass

    def head(self, sums: Totals, target: Any, weight: float = 1.0) -> Head:
        """Return the value, and the factors of the waves in the gradient, (2J, N)."""
        nd = engine.nd
        (frequencies,), style_means = target
        channels, count = frequencies.shape
        difference = sums.arrays[0] / sums.mass - style_means
        # The loss is that of a whole map; a region has its share of it.
        share = sums.mass / sums.positions
        value = weight * share / (4 * channels * count) * squares_of(difference)
        scaled = difference * (weight / (2 * channels * count * sums.positions))
        by_wave = frequencies.T
        return Head(
            value,
            (
                frequencies,
                nd.concat(
                    nd.broadcast_mul(by_wave, scaled[count:]),
                    -nd.broadcast_mul(by_wave, scaled[:count]),
                    dim=0,
                ),
            ),
        )

    def gradient(self, features: Any, head: Head, mask: Optional[Mask] = None) -> Any:
        """Return Σ w (Δ_sin cos(w·x) − Δ_cos sin(w·x)) at each position, times the mask."""
        frequencies, _ = head.factors
        return _gradient(_waves(features, Waves(frequencies)), features, head, mask)

    def __call__(
        self,
        features: Any,
        target: Any,
        weight: float = 1.0,
        drawn: Any = None,
        mask: Optional[Mask] = None,
    ) -> LossGrad:
        """Compare features with a target; the waves serve value and gradient."""
        check_channels(features.shape[1], target[0].frequencies)
        waves = _waves(features, target[0])
        head = self.head(_sums(waves, features, mask), target, weight)
        return LossGrad(head.value, _gradient(waves, features, head, mask))

    def waves(self, channels: int) -> int:
        """Return 2 J, the number of waves for maps of some channels."""
        if isinstance(self.features, str):
            return min(2 * channels, _MOST_FEATURES)
        return self.features + self.features % 2


@dataclass(frozen=True)
class FourierMixtureMMD(FourierMMD):
    """`FourierMMD` under the kernels of `MixtureMMD`: each wave has one of the bandwidths.

    Parameters
    ----------
    kernels : tuple of float
        The bandwidths as factors of 2σ²; they take turns.
    """

    kernels: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)

    def _scales(self, random: Any, count: int) -> Any:
        return numpy.resize(self.kernels, count) ** -0.5


@dataclass(frozen=True)
class FourierLaplaceMMD(FourierMMD):
    """`FourierMMD` under the kernel of `LaplaceMMD`, exp(−‖x−y‖ / s) with s² = 2σ².

    Its frequencies follow the multivariate Cauchy distribution of scale 1 / s.
    """

    def _scales(self, random: Any, count: int) -> Any:
        return 0.5**0.5 / numpy.abs(random.standard_normal(count))


def _mean_distance(features: Any) -> Any:
    """Return the mean squared distance of two random positions of a map, shape (1,)."""
    nd, flat = engine.nd, plain(features)
    positions = flat.shape[1]
    means = nd.dot(flat, ones_for(flat, positions, 1)) / positions
    variance = squares_of(nd.broadcast_sub(flat, means, out=flat)) / positions
    return _bounded(2 * variance, means)


def _bounded(distance: Any, means: Any) -> Any:
    nd = engine.nd
    return nd.maximum(nd.maximum(distance, _LEAST_SHARE * squares_of(means)), 1e-30)


def _waves(features: Any, basis: Optional[Waves]) -> Any:
    """Return cos(w·x) and sin(w·x) at each position of a map (1, N, H, W), shape (2J, M)."""
    assert basis is not None
    nd, count = engine.nd, basis.frequencies.shape[1]
    phases = convolved(features, basis.frequencies).reshape((count, -1))
    waves = nd.empty((2 * count, phases.shape[1]), ctx=features.context, dtype=features.dtype)
    nd.cos(phases, out=waves[:count])
    nd.sin(phases, out=waves[count:])
    return waves


def _sums(waves: Any, features: Any, mask: Optional[Mask]) -> Totals:
    positions = waves.shape[1]
    totals = engine.nd.dot(waves, weights_of(waves, mask))
    return Totals(mass_of(features, mask), positions, (totals,))


def _gradient(waves: Any, features: Any, head: Head, mask: Optional[Mask]) -> Any:
    _, factors = head.factors
    shape = (1, -1, *features.shape[2:])
    return masked(convolved(waves.reshape(shape), factors), mask)
