"""The squared MMD of two feature maps, by pairs of positions and without, in float64 NumPy [1]_.

A map is a matrix of rows, (M, N): a position each, with its N channels. `by_pairs` is the
definition (Eq. 2): it adds up a kernel over all pairs of positions. The linear and the polynomial
kernel have a second form that never sees a pair, from the maps' `Moments`. Neither form is
written in terms of the other, so that they agree is found, not assumed.

References
----------
.. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2.
"""

import math
from dataclasses import dataclass

import numpy

# So many positions of each map meet at a time, 8 MB of kernel values.
_BLOCK = 1024


@dataclass(frozen=True)
class Moments:
    """What the forms without pairs keep of a map.

    Attributes
    ----------
    positions : int
        M.
    means, deviations : numpy.ndarray, shape (N,)
        Of each channel (Eq. 12).
    gram : numpy.ndarray, shape (N, N)
        The Gram matrix per position: Eq. 7 over M.
    """

    positions: int
    means: numpy.ndarray
    deviations: numpy.ndarray
    gram: numpy.ndarray


def moments(rows):
    """Return the `Moments` of a map (M, N)."""
    return Moments(len(rows), rows.mean(axis=0), rows.std(axis=0), rows.T @ rows / len(rows))


def linear_kernel(x, y):
    """Return x·y for each row of `x` with each of `y`, (m, N) and (n, N) to (m, n)."""
    return x @ y.T


def polynomial_kernel(c=0.0):
    """Return the kernel (x·y + c)², as `linear_kernel`."""
    return lambda x, y: (x @ y.T + c) ** 2


def gaussian_kernel(bandwidth):
    """Return the kernel exp(−‖x−y‖² / `bandwidth`), the paper's 2σ², as `linear_kernel`."""

    def kernel(x, y):
        if not bandwidth:
            # All positions of both maps are one point.
            return numpy.ones((len(x), len(y)))
        squares = _squares(x)[:, None] + _squares(y) - 2 * (x @ y.T)
        return numpy.exp(numpy.maximum(squares, 0) / -bandwidth)

    return kernel


def kernel_sum(kernel, x, y):
    """Return Σ_i Σ_j k(x_i, y_j), a block of the kernel matrix at a time.

    Parameters
    ----------
    kernel : callable
        As `linear_kernel`.
    x, y : numpy.ndarray, shape (m, N) and (n, N)
    """
    starts = range(0, len(x), _BLOCK), range(0, len(y), _BLOCK)
    return math.fsum(
        kernel(x[i : i + _BLOCK], y[j : j + _BLOCK]).sum() for i in starts[0] for j in starts[1]
    )


def by_pairs(kernel, x, y):
    """Return MMD² as Eq. 2 has it, each position with itself among the pairs.

    With k(x, y) = (x·y)² it is 4N² times the Gram loss (Eq. 8 and 9). That loss is this sum, and
    so the biased form is the one that the theorem is about.

    Parameters
    ----------
    kernel : callable
        As `linear_kernel`.
    x, y : numpy.ndarray, shape (m, N) and (n, N)
    """
    return (
        kernel_sum(kernel, x, x) / len(x) ** 2
        + kernel_sum(kernel, y, y) / len(y) ** 2
        - 2 * kernel_sum(kernel, x, y) / (len(x) * len(y))
    )


def linear(a, b):
    """Return MMD² of two maps under x·y from their `Moments`: ‖μ_a − μ_b‖²."""
    return _total(a.means - b.means)


def polynomial(a, b, c=0.0):
    """Return MMD² of two maps under (x·y + c)² from their `Moments`.

    It is ‖G_a − G_b‖² + 2c ‖μ_a − μ_b‖² with G the Gram matrix per position.
    """
    return _total(a.gram - b.gram) + 2 * c * linear(a, b)


def gram_loss(a, b):
    """Return the Gram loss (Eq. 6) of two maps from their `Moments`.

    Eq. 6 divides by 4N²M² and so takes both maps to have M positions; here each Gram matrix is
    divided by its own number of them. What is left is 1 / (4N²), the factor of Eq. 9 between
    this loss and MMD² with k(x, y) = (x·y)².
    """
    channels = len(a.means)
    return _total(a.gram - b.gram) / (4 * channels**2)


def bn_statistics(a, b):
    """Return the distance of two maps' BN statistics (Eq. 11) from their `Moments`."""
    squares = _total(a.means - b.means) + _total(a.deviations - b.deviations)
    return squares / len(a.means)


def bandwidth(a, b):
    """Return 2σ² for the Gaussian kernel from the `Moments` of two maps.

    As in the paper (section 3.2), the authors' code and `losses.GaussianMMD` it is the mean of
    the squared distances within one map, within the other, and twice across; those draw pairs,
    this is the mean over all of them.
    """
    within = sum(2 * _total(one.deviations) * _distinct(one.positions) for one in (a, b))
    across = _total(a.deviations) + _total(b.deviations) + _total(a.means - b.means)
    return (within + 2 * across) / 4


def gaussian(x, y, bandwidth, positions):
    """Estimate MMD² of two maps under the Gaussian kernel from rows drawn of each.

    Parameters
    ----------
    x, y : numpy.ndarray, shape (m, N) and (n, N)
        Drawn without replacement.
    bandwidth : float
        2σ².
    positions : (int, int)
        How many each map has. Where all were drawn, this is `by_pairs`.

    Notes
    -----
    Eq. 2 over a sample is biased: each position's pair with itself has the largest value there
    is, 1, and weighs 1/m in place of 1/M. Once two maps are alike, that is all one would see. So
    pairs of two different positions are averaged apart (Gretton et al.'s unbiased estimate), and
    those with themselves get the weight that they have in the whole map. The result may be
    slightly negative.
    """
    kernel = gaussian_kernel(bandwidth)
    across = kernel_sum(kernel, x, y) / (len(x) * len(y))
    return _within(kernel, x, positions[0]) + _within(kernel, y, positions[1]) - 2 * across


def _within(kernel, rows, positions):
    """Estimate the mean of a kernel, 1 on its diagonal, over all pairs of a map's positions."""
    count, total = len(rows), kernel_sum(kernel, rows, rows)
    if count == positions:
        return total / count**2
    different = (total - count) / (count * (count - 1))
    return 1 / positions + (1 - 1 / positions) * different


def _distinct(positions):
    """Return what brings a mean over all pairs to one over pairs of two different positions."""
    return positions / (positions - 1) if positions > 1 else 0


def _squares(rows):
    return numpy.einsum("ij,ij->i", rows, rows)


def _total(array):
    """Return the sum of squares."""
    return float(numpy.vdot(array, array))
