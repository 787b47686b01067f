"""The covariances of the channels: CORAL, and the Wasserstein distance of two Gaussians."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Optional

import numpy

from ... import engine
from .arrays import check_channels, convolved, gram_of, plain, squares_of
from .frame import Head, Mask, Moments, SumLoss, masked, mass_of, weights_of

# An eigenvalue below this part of the largest one is rounding error, of a product of two
# covariances and, in units in the last place, of one.
_ROUNDING_OF_A_PRODUCT = 1e-12
_ROUNDING = 4


class _Covariances(SumLoss):
    """A loss of means and covariances, with a gradient that is a 1 × 1 convolution."""

    def sums(self, features: Any, basis: Any = None, mask: Optional[Mask] = None) -> Moments:
        """Return means, (N, 1), and squares and products about them, (N, N)."""
        nd, mass, flat = engine.nd, mass_of(features, mask), plain(features)
        means = nd.dot(flat, weights_of(flat, mask)) / mass
        # Centre first: in float32, E[x xᵀ] − μ μᵀ loses all digits of a small covariance.
        centred = nd.broadcast_sub(flat, means, out=flat)
        return Moments(mass, means, gram_of(centred, mask and mask.column))

    def gradient(self, features: Any, head: Head, mask: Optional[Mask] = None) -> Any:
        """Return kernel · x + bias at each position, times the mask."""
        return masked(convolved(features, *head.factors), mask)


@dataclass(frozen=True)
class CORAL(_Covariances):
    """CORAL: the distance of the covariance matrices [1]_.

    The value is M / (4 N²) ‖C_F − C_S‖², like that of `PolynomialMMD` on features centred by the
    means of their own map.

    Notes
    -----
    The paper's loss is ‖C_F − C_S‖² / (4 N²) with covariances over M − 1; here they are over M.
    The means are free, and with them the picture's mean colour. A fusion with linear aligns both.

    References
    ----------
    .. [1] Sun and Saenko, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation", ECCV
       Workshops 2016, arXiv:1607.01719.
    """

    degree: ClassVar[int] = 4

    def reduced(self, sums: Moments, basis: Any = None) -> Any:
        """Return the covariance matrix, (N, N)."""
        return sums.squares / sums.mass

    def head(self, sums: Moments, target: Any, weight: float = 1.0) -> Head:
        """Return the value, and the gradient (C_F − C_S)(x − μ_F) / N² as kernel and bias."""
        covariance = self.reduced(sums)
        channels = covariance.shape[0]
        check_channels(channels, target)
        difference = covariance - target
        value = weight * sums.mass / (4 * channels**2) * squares_of(difference)
        kernel = difference * (weight / channels**2)
        return Head(value, (kernel, -engine.nd.dot(kernel, sums.means)))


class GaussianTarget(NamedTuple):
    """The normal distribution of the style's features.

    Attributes
    ----------
    means : NDArray, shape (N, 1)
    root : NDArray of float64, shape (N, r)
        C_S = root · rootᵀ; r is the number of eigenvalues above rounding error.
    trace : NDArray of float64, shape (1,)
        The trace of C_S.
    """

    means: Any
    root: Any
    trace: Any


@dataclass(frozen=True)
class GaussianWasserstein(_Covariances):
    """The squared Wasserstein-2 distance of two normal distributions [1]_.

    These have the means and covariances of the features. The value is M / (2 N) ( ‖μ_F − μ_S‖² +
    tr C_F + tr C_S − 2 tr (Rᵀ C_F R)^½ ) with R Rᵀ = C_S. If all correlations were 0, it would be
    that of `BNStatistics`.

    Notes
    -----
    The gradient at x is that to its image under the optimal transport map between the two [1]_:
    (1/N) ( x − μ_S − T (x − μ_F) ) with T = R (Rᵀ C_F R)^−½ Rᵀ. So no square root is ever
    differentiated. The matrices are in float64, in which a map with fewer positions than channels
    is no trouble: the inverse leaves out the eigenvalues that are rounding errors.

    References
    ----------
    .. [1] Dowson and Landau, "The Fréchet Distance between Multivariate Normal Distributions",
       Journal of Multivariate Analysis 12 (1982); T: Olkin and Pukelsheim, "The Distance between
       Two Random Vectors with Given Dispersion Matrices", Linear Algebra and its Applications 48
       (1982).
    """

    def reduced(self, sums: Moments, basis: Any = None) -> GaussianTarget:
        """Return the means, a root of the covariance matrix, and its trace."""
        covariance = _precise(sums.squares / sums.mass)
        vectors, values, doubt = _spectrum(covariance)
        # Ascending, with the vectors in rows.
        host = values.asnumpy()
        rounding = _ROUNDING * numpy.finfo(sums.means.dtype).eps * host[-1]
        rank = max(int((host > max(rounding, 0.0)).sum()), 1)
        kept = engine.nd.maximum(values[-rank:], 0).reshape((rank, 1))
        rows = engine.nd.broadcast_mul(vectors[-rank:], engine.nd.sqrt(kept))
        return GaussianTarget(sums.means, rows.T, _trace(covariance) + doubt)

    def head(self, sums: Moments, target: GaussianTarget, weight: float = 1.0) -> Head:
        """Return the value, and the gradient (1/N) (x − μ_S − T (x − μ_F)) as kernel and bias."""
        nd, channels = engine.nd, sums.means.shape[0]
        check_channels(channels, target.means)
        covariance = _precise(sums.squares / sums.mass)
        product = nd.dot(target.root, nd.dot(covariance, target.root), transpose_a=True)
        # Symmetric but for rounding.
        vectors, values, doubt = _spectrum((product + product.T) / 2)
        values = values.reshape((-1, 1))
        known = nd.broadcast_greater(values, nd.maximum(_ROUNDING_OF_A_PRODUCT * values[-1:], 0))
        values = nd.where(known, values, nd.ones_like(values))
        roots = nd.dot(known, nd.sqrt(values), transpose_a=True)
        distance = _trace(covariance) + target.trace - 2 * roots.reshape((1,))
        distance = (nd.maximum(distance, 0) + doubt).astype(sums.means.dtype)
        difference = sums.means - target.means
        value = weight * sums.mass / (2 * channels) * (squares_of(difference) + distance)
        # T = half · halfᵀ.
        scaled = nd.broadcast_mul(vectors, values**-0.25 * known)
        half = nd.dot(target.root, scaled, transpose_b=True)
        transport = nd.dot(half, half, transpose_b=True)
        scale = weight / channels
        kernel = ((_identity(transport) - transport) * scale).astype(sums.means.dtype)
        moved = nd.dot(transport, _precise(sums.means)).astype(sums.means.dtype)
        return Head(value, (kernel, (moved - target.means) * scale))


def _precise(array: Any) -> Any:
    return array.astype("float64")


def _identity(like: Any) -> Any:
    return engine.nd.eye(like.shape[0], ctx=like.context, dtype=like.dtype)


def _spectrum(matrix: Any) -> tuple[Any, Any, Any]:
    """Return eigenvectors in rows and ascending eigenvalues of a symmetric matrix, and a doubt.

    The doubt has shape (1,), and is 0, or NaN if the matrix is not finite. LAPACK would raise an
    error then, where L-BFGS only has to try a shorter step.
    """
    nd = engine.nd
    finite = nd.abs(matrix) < float("inf")
    vectors, values = nd.linalg.syevd(nd.where(finite, matrix, nd.zeros_like(matrix)))
    return vectors, values, nd.sum(matrix * 0).reshape((1,))


def _trace(matrix: Any) -> Any:
    """Return the trace, shape (1,)."""
    return engine.nd.sum(engine.nd.diag(matrix)).reshape((1,))
