"""The squared MMD of two feature maps, with and without pairs of positions, in float64 [1]_.

A map is a matrix, (M, N): one row of N channels for each of M positions. `by_pairs` is the
definition (Eq. 2): it sums a kernel over all pairs of positions. For the linear and the polynomial
kernel, a second form computes the same from the maps' `Moments`, without pairs. Neither form uses
the other, so their agreement is a result and not an assumption.

References
----------
.. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy

# From rows (m, N) and (n, N) to kernel values (m, n).
Kernel = Callable[[numpy.ndarray, numpy.ndarray], numpy.ndarray]

# Positions of each map per block of the kernel matrix: 8 MB of kernel values.
_BLOCK = 1024


@dataclass(frozen=True)
class Moments:
    """Statistics of a map from which the forms without pairs are computed.

    Attributes
    ----------
    positions : int
        M.
    means, deviations : numpy.ndarray, shape (N,)
        Mean and standard deviation of each channel (Eq. 12).
    gram : numpy.ndarray, shape (N, N)
        Gram matrix per position: Eq. 7 divided by M.
    """

    positions: int
    means: numpy.ndarray
    deviations: numpy.ndarray
    gram: numpy.ndarray


def moments(rows: numpy.ndarray) -> Moments:
    """Return the `Moments` of a map (M, N)."""
    return Moments(len(rows), rows.mean(axis=0), rows.std(axis=0), rows.T @ rows / len(rows))


def linear_kernel(x: numpy.ndarray, y: numpy.ndarray) -> numpy.ndarray:
    """Return x·y for each row of `x` with each of `y`, (m, N) and (n, N) to (m, n)."""
    return x @ y.T


def polynomial_kernel(c: float = 0.0) -> Kernel:
    """Return the kernel (x·y + c)², with the signature of `linear_kernel`."""
    return lambda x, y: (x @ y.T + c) ** 2


def gaussian_kernel(bandwidth: float) -> Kernel:
    """Return the kernel exp(−‖x−y‖² / `bandwidth`), where `bandwidth` is the paper's 2σ²."""

    def kernel(x: numpy.ndarray, y: numpy.ndarray) -> numpy.ndarray:
        if not bandwidth:
            # All positions of both maps are the same point.
            return numpy.ones((len(x), len(y)))
        squares = _squares(x)[:, None] + _squares(y) - 2 * (x @ y.T)
        return numpy.exp(numpy.maximum(squares, 0) / -bandwidth)

    return kernel


def kernel_sum(kernel: Kernel, x: numpy.ndarray, y: numpy.ndarray) -> float:
    """Return Σ_i Σ_j k(x_i, y_j), summed block by block.

    Parameters
    ----------
    kernel : callable
        With the signature of `linear_kernel`.
    x, y : numpy.ndarray, shape (m, N) and (n, N)
    """
    starts = range(0, len(x), _BLOCK), range(0, len(y), _BLOCK)
    return math.fsum(
        kernel(x[i : i + _BLOCK], y[j : j + _BLOCK]).sum() for i in starts[0] for j in starts[1]
    )


def by_pairs(kernel: Kernel, x: numpy.ndarray, y: numpy.ndarray) -> float:
    """Return MMD² by Eq. 2, including the pairs of each position with itself.

    With k(x, y) = (x·y)² it is 4N² times the Gram loss (Eq. 8 and 9). The theorem is about this
    biased form.

    Parameters
    ----------
    kernel : callable
        With the signature of `linear_kernel`.
    x, y : numpy.ndarray, shape (m, N) and (n, N)
    """
    return (
        kernel_sum(kernel, x, x) / len(x) ** 2
        + kernel_sum(kernel, y, y) / len(y) ** 2
        - 2 * kernel_sum(kernel, x, y) / (len(x) * len(y))
    )


def linear(a: Moments, b: Moments) -> float:
    """Return MMD² of two maps under x·y from their `Moments`: ‖μ_a − μ_b‖²."""
    return _total(a.means - b.means)


def polynomial(a: Moments, b: Moments, c: float = 0.0) -> float:
    """Return MMD² of two maps under (x·y + c)² from their `Moments`.

    It is ‖G_a − G_b‖² + 2c ‖μ_a − μ_b‖², where G is the Gram matrix per position.
    """
    return _total(a.gram - b.gram) + 2 * c * linear(a, b)


def gram_loss(a: Moments, b: Moments) -> float:
    """Return the Gram loss (Eq. 6) of two maps from their `Moments`.

    Eq. 6 divides by 4N²M², for two maps of M positions. Here each Gram matrix is divided by its
    map's own number of positions, which leaves 1 / (4N²): the factor of Eq. 9 between this loss
    and MMD² with k(x, y) = (x·y)².
    """
    channels = len(a.means)
    return _total(a.gram - b.gram) / (4 * channels**2)


def bn_statistics(a: Moments, b: Moments) -> float:
    """Return the distance of two maps' BN statistics (Eq. 11) from their `Moments`."""
    squares = _total(a.means - b.means) + _total(a.deviations - b.deviations)
    return squares / len(a.means)


def bandwidth(a: Moments, b: Moments) -> float:
    """Return 2σ² for the Gaussian kernel from the `Moments` of two maps.

    It is the mean squared distance within one map, within the other, and twice across, as in the
    paper (section 3.2), the authors' code and `losses.GaussianMMD`. Those sample pairs; this is
    the mean over all pairs.
    """
    within = sum(2 * _total(one.deviations) * _distinct(one.positions) for one in (a, b))
    across = _total(a.deviations) + _total(b.deviations) + _total(a.means - b.means)
    return (within + 2 * across) / 4


def gaussian(
    x: numpy.ndarray, y: numpy.ndarray, bandwidth: float, positions: tuple[int, int]
) -> float:
    """Estimate MMD² of two maps under the Gaussian kernel from a sample of each.

    Parameters
    ----------
    x, y : numpy.ndarray, shape (m, N) and (n, N)
        Rows sampled without replacement.
    bandwidth : float
        2σ².
    positions : (int, int)
        Number of positions of each map. If all were sampled, the result equals `by_pairs`.

    Notes
    -----
    Eq. 2 over a sample is biased: the kernel of a position with itself is 1, its maximum, and
    those pairs weigh 1/m instead of 1/M. For two similar maps this bias would dominate. So pairs
    of different positions are averaged separately (Gretton et al.'s unbiased estimate), and the
    pairs of a position with itself get their weight in the whole map, 1/M. The result may be
    slightly negative.
    """
    kernel = gaussian_kernel(bandwidth)
    across = kernel_sum(kernel, x, y) / (len(x) * len(y))
    return _within(kernel, x, positions[0]) + _within(kernel, y, positions[1]) - 2 * across


def _within(kernel: Kernel, rows: numpy.ndarray, positions: int) -> float:
    """Estimate the mean of a kernel, 1 on its diagonal, over all pairs of a map's positions."""
    count, total = len(rows), kernel_sum(kernel, rows, rows)
    if count == positions:
        return total / count**2
    different = (total - count) / (count * (count - 1))
    return 1 / positions + (1 - 1 / positions) * different


def _distinct(positions: int) -> float:
    """Return the factor from a mean over all pairs to one over pairs of different positions.

    It holds for squared distances, which are 0 from a position to itself.
    """
    return positions / (positions - 1) if positions > 1 else 0


def _squares(rows: numpy.ndarray) -> numpy.ndarray:
    return numpy.einsum("ij,ij->i", rows, rows)


def _total(array: numpy.ndarray) -> float:
    """Return the sum of squares."""
    return float(numpy.vdot(array, array))
