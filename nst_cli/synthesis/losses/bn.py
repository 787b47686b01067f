"""The statistics of batch normalisation."""

from dataclasses import dataclass
from typing import Any

import numpy

from ... import engine
from .arrays import check_channels, moments_of, plain, squares_of
from .frame import Deterministic, LossGrad

# A standard deviation below this many units in the last place of the mean is rounding error.
_ROUNDING = 32


@dataclass(frozen=True)
class BNStatistics(Deterministic):
    """Distance of the channels' means and standard deviations [1]_.

    The value is M / (2 N) ( ‖μ_F − μ_S‖² + ‖σ_F − σ_S‖² ): Eq. 11 times M / 2.

    Notes
    -----
    These are population statistics without an epsilon. For a constant channel, σ has no
    derivative, and that part of the gradient is 0; the authors' code divides by σ = 0 there.

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, Eq. 11 and 12.
    """

    def target(self, features: Any, random: Any = None) -> Any:
        """Return the channels' means and standard deviations, each (N, 1)."""
        return moments_of(plain(features))

    def __call__(
        self, features: Any, target: Any, weight: float = 1.0, drawn: Any = None
    ) -> LossGrad:
        """Compare features (1, N, H, W) with a target; `LossGrad` in the unit of β′ = 1e3."""
        nd = engine.nd
        style_means, style_deviations = target
        flat = plain(features)
        check_channels(features.shape[1], style_means)
        channels, positions = flat.shape
        means, deviations = moments_of(flat)
        mean_difference = means - style_means
        deviation_difference = deviations - style_deviations
        squares = squares_of(mean_difference) + squares_of(deviation_difference)
        # Rounding of the mean gives even a constant channel a small deviation; ignore it.
        varies = deviations > _ROUNDING * numpy.finfo(features.dtype).eps * nd.abs(means)
        slope = nd.where(varies, deviation_difference / deviations, nd.zeros_like(deviations))
        # Batch normalisation with given statistics computes (x − μ) slope + shift in one pass.
        scale = weight / channels
        columns = slope * scale, mean_difference * scale, means, nd.ones_like(means)
        vectors = (column.reshape((channels,)) for column in columns)
        grad = nd.BatchNorm(features, *vectors, use_global_stats=True, fix_gamma=False, eps=0)
        return LossGrad(weight * positions / (2 * channels) * squares, grad)
