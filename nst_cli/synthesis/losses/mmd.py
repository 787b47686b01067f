"""MMD under kernels with a finite feature map: the linear and the polynomial kernel."""

from dataclasses import dataclass
from typing import Any, ClassVar, Optional

from ... import engine
from .arrays import check_channels, convolved, gram_of, ones_for, plain, squares_of
from .frame import Head, Mask, SumLoss, Totals, masked, mass_of, weights_of


@dataclass(frozen=True)
class LinearMMD(SumLoss):
    """MMD under the linear kernel k(x, y) = x·y: the distance of the channel means [1]_.

    The value is M / (2 N) ‖μ_F − μ_S‖², in the unit of β′ = 2e3.

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, Eq. 10.
    """

    def sums(self, features: Any, basis: Any = None, mask: Optional[Mask] = None) -> Totals:
        """Return the sums of the channels, (N, 1)."""
        mass, flat = mass_of(features, mask), plain(features)
        return Totals(mass, flat.shape[1], (engine.nd.dot(flat, weights_of(flat, mask)),))

    def reduced(self, sums: Totals, basis: Any = None) -> Any:
        """Return the channel means, shape (N, 1)."""
        return sums.arrays[0] / sums.mass

    def head(self, sums: Totals, target: Any, weight: float = 1.0) -> Head:
        """Return the value, and the gradient of every position, (N, 1)."""
        means = self.reduced(sums)
        channels = means.shape[0]
        check_channels(channels, target)
        difference = means - target
        value = weight * sums.mass / (2 * channels) * squares_of(difference)
        return Head(value, (difference * (weight / channels),))

    def gradient(self, features: Any, head: Head, mask: Optional[Mask] = None) -> Any:
        """Return the same gradient at all positions, times the mask."""
        (column,) = head.factors
        # An outer product is far faster than MXNet's broadcast to a new axis.
        positions = features.shape[2] * features.shape[3]
        row = ones_for(features, 1, positions) if mask is None else mask.column.reshape((1, -1))
        return engine.nd.dot(column, row).reshape(features.shape)


@dataclass(frozen=True)
class PolynomialMMD(SumLoss):
    """MMD under the kernel k(x, y) = (x·y + c)², by N × N Gram matrices [1]_.

    The value is M / (4 N²) ( ‖G_F − G_S‖² + 2c ‖μ_F − μ_S‖² ), where G is the Gram matrix over
    M, in the unit of β′ = 0.1. With c = 0 this is Eq. 6, except that its denominator has M once,
    not squared, as in the authors' code. The value thus grows with the number of positions, as
    the content loss does.

    Parameters
    ----------
    c : float
        Constant of the kernel, not negative.

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, Eq. 6 to 10.
    """

    degree: ClassVar[int] = 4

    c: float = 0.0

    def sums(self, features: Any, basis: Any = None, mask: Optional[Mask] = None) -> Totals:
        """Return Σ x xᵀ, (N, N), and Σ x, (N, 1), or None if c is 0."""
        mass, flat = mass_of(features, mask), plain(features)
        totals = engine.nd.dot(flat, weights_of(flat, mask)) if self.c else None
        gram = gram_of(flat, mask and mask.column)
        return Totals(mass, flat.shape[1], (gram, totals))

    def reduced(self, sums: Totals, basis: Any = None) -> Any:
        """Return the Gram matrix per position, (N, N), and the channel means, (N, 1)."""
        gram, totals = sums.arrays
        return gram / sums.mass, totals / sums.mass if self.c else None

    def head(self, sums: Totals, target: Any, weight: float = 1.0) -> Head:
        """Return the value, and the gradient as a convolution's kernel and bias."""
        gram, means = self.reduced(sums)
        style_gram, style_means = target
        channels = gram.shape[0]
        check_channels(channels, style_gram)
        difference = gram - style_gram
        squares, scale = squares_of(difference), weight / channels**2
        # The gradient is (G_F − G_S) x + c (μ_F − μ_S) at each position.
        bias = None
        if self.c:
            shift = means - style_means
            squares = squares + 2 * self.c * squares_of(shift)
            bias = shift * (self.c * scale)
        return Head(sums.mass / 4 * scale * squares, (difference * scale, bias))

    def gradient(self, features: Any, head: Head, mask: Optional[Mask] = None) -> Any:
        """Return kernel · x + bias at each position, times the mask."""
        return masked(convolved(features, *head.factors), mask)
