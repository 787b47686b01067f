"""The statistics of batch normalisation."""

from dataclasses import dataclass
from typing import Any, Optional

import numpy

from ... import engine
from .arrays import check_channels, squares_of
from .frame import Head, Mask, Moments, SumLoss, channel_moments, masked

# A standard deviation below this many units in the last place of the mean is rounding error.
_ROUNDING = 32


@dataclass(frozen=True)
class BNStatistics(SumLoss):
    """Distance of the channels' means and standard deviations [1]_.

    The value is M / (2 N) ( ‖μ_F − μ_S‖² + ‖σ_F − σ_S‖² ): Eq. 11 times M / 2.
    Its unit is that of β′ = 1e3.

    Notes
    -----
    These are population statistics without an epsilon. For a constant channel, σ has no
    derivative, and that part of the gradient is 0; the authors' code divides by σ = 0 there.

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, Eq. 11 and 12.
    """

    def sums(self, features: Any, basis: Any = None, mask: Optional[Mask] = None) -> Moments:
        """Return the channels' means, and their squares about them, each (N, 1)."""
        return channel_moments(features, mask)

    def reduced(self, sums: Moments, basis: Any = None) -> Any:
        """Return the channels' means and standard deviations, each (N, 1)."""
        return sums.means, engine.nd.sqrt(sums.squares / sums.mass)

    def head(self, sums: Moments, target: Any, weight: float = 1.0) -> Head:
        """Return the value, and the gradient as slope, shift and centre of each channel."""
        nd = engine.nd
        style_means, style_deviations = target
        means, deviations = self.reduced(sums)
        channels = means.shape[0]
        check_channels(channels, style_means)
        mean_difference = means - style_means
        deviation_difference = deviations - style_deviations
        squares = squares_of(mean_difference) + squares_of(deviation_difference)
        # Rounding of the mean gives even a constant channel a small deviation; ignore it.
        varies = deviations > _ROUNDING * numpy.finfo(means.dtype).eps * nd.abs(means)
        slope = nd.where(varies, deviation_difference / deviations, nd.zeros_like(deviations))
        scale = weight / channels
        value = weight * sums.mass / (2 * channels) * squares
        return Head(value, (slope * scale, mean_difference * scale, means))

    def gradient(self, features: Any, head: Head, mask: Optional[Mask] = None) -> Any:
        """Return slope (x − centre) + shift at each position, times the mask."""
        # Batch normalisation with given statistics computes it in one pass.
        slope, shift, centre = (factor.reshape((-1,)) for factor in head.factors)
        vectors = slope, shift, centre, engine.nd.ones_like(centre)
        grad = engine.nd.BatchNorm(
            features, *vectors, use_global_stats=True, fix_gamma=False, eps=0
        )
        return masked(grad, mask)
