"""MMD under kernels whose feature map is finite: the linear and the polynomial kernel."""

from dataclasses import dataclass
from typing import Any

from ... import engine
from .arrays import check_channels, gram_of, means_of, ones_for, plain, squares_of
from .frame import Deterministic, LossGrad


@dataclass(frozen=True)
class LinearMMD(Deterministic):
    """MMD under the linear kernel k(x, y) = x·y: the distance of the channel means [1]_.

    The value is M / (2 N) ‖μ_F − μ_S‖².

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, Eq. 10.
    """

    def target(self, features: Any, random: Any = None) -> Any:
        """Return the channel means of the style features, shape (N, 1)."""
        return means_of(plain(features))

    def __call__(
        self, features: Any, target: Any, weight: float = 1.0, drawn: Any = None
    ) -> LossGrad:
        """Compare features (1, N, H, W) with a target; `LossGrad` in the unit of β′ = 2e3."""
        flat = plain(features)
        check_channels(features.shape[1], target)
        channels, positions = flat.shape
        difference = means_of(flat) - target
        value = weight * positions / (2 * channels) * squares_of(difference)
        # The gradient is the same at all positions. An outer product with ones is far faster
        # than MXNet's broadcast to a new axis.
        grad = engine.nd.dot(difference * (weight / channels), ones_for(flat, 1, positions))
        return LossGrad(value, grad.reshape(features.shape))


@dataclass(frozen=True)
class PolynomialMMD(Deterministic):
    """MMD under the kernel k(x, y) = (x·y + c)², by N × N Gram matrices [1]_.

    The value is M / (4 N²) ( ‖G_F − G_S‖² + 2c ‖μ_F − μ_S‖² ), where G is the Gram matrix over
    M. With c = 0 this is Eq. 6, except that its denominator has M once, not squared, as in the
    authors' code. The value thus grows with the number of positions, as the content loss does.

    Parameters
    ----------
    c : float
        Constant of the kernel, not negative.

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, Eq. 6 to 10.
    """

    c: float = 0.0

    def target(self, features: Any, random: Any = None) -> Any:
        """Return the Gram matrix per position, (N, N), and the channel means, (N, 1)."""
        flat = plain(features)
        return gram_of(flat), means_of(flat) if self.c else None

    def __call__(
        self, features: Any, target: Any, weight: float = 1.0, drawn: Any = None
    ) -> LossGrad:
        """Compare features (1, N, H, W) with a target; `LossGrad` in the unit of β′ = 0.1."""
        nd = engine.nd
        gram, means = target
        flat = plain(features)
        check_channels(features.shape[1], gram)
        channels, positions = flat.shape
        difference = gram_of(flat) - gram
        squares, scale = squares_of(difference), weight / channels**2
        # The gradient is (G_F − G_S) x + c (μ_F − μ_S) at each position: a convolution with a
        # 1 × 1 kernel. The matrix is symmetric, so a transposed convolution gives the same
        # result, and oneDNN runs that one in the map's own layout. It converts the kernel's
        # layout in place, so the kernel must be a copy and not a view.
        kernel = nd.reshape(difference * scale, shape=(channels, channels, 1, 1))
        shape = {"kernel": (1, 1), "num_filter": channels}
        if self.c:
            shift = means_of(flat) - means
            squares = squares + 2 * self.c * squares_of(shift)
            bias = (shift * (self.c * scale)).reshape((channels,))
            grad = nd.Deconvolution(features, kernel, bias, no_bias=False, **shape)
        else:
            grad = nd.Deconvolution(features, kernel, no_bias=True, **shape)
        return LossGrad(positions / 4 * scale * squares, grad)
