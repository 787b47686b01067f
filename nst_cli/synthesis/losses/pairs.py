"""MMD under kernels of the distance, estimated from random pairs of positions."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Optional

import numpy

from ... import engine
from .arrays import check_channels, index_array, row_squares, rows_of, select, shuffled, total_of
from .frame import (
    LossGrad,
    Mask,
    Sample,
    SampleLoss,
    drawn_positions,
    no_pull,
    weighted_draw,
)

# At least this many pairs are drawn within the style. They are drawn once, so too few of them
# would bias the whole run.
_STYLE_PAIRS = 1 << 12


# Added to d² / 2σ² under a square root.
_LEAST_DISTANCE = 1e-6

# The least sum of squared distances that a bandwidth is measured by.
_LEAST_TOTAL = 1e-20


class PairMMD(SampleLoss):
    """MMD under a kernel k of the distance, estimated from random pairs of positions.

    The value is 1 / (2 N M) Σ [ k(f, f′) + k(s, s′) − k(f, s′) − k(f′, s) ] over M / 2 random
    quadruples: the unbiased estimate of Gretton et al. [1]_, which costs time linear in M. On
    average it is MMD² / (4 N). The bandwidth 2σ² is the mean squared distance of the drawn pairs,
    unless it is given; the gradient treats it as a constant.

    Notes
    -----
    Under such a kernel no finite statistics describe the style, so the target holds its features.
    The pairs within the style have no gradient. They are drawn once, and many of them; the
    authors of the paper draw a few at each step.

    With a mask, each evaluation keeps a position with the probability that is its mask, and pairs
    those that it keeps. On average this is the MMD of the weighted distributions times the part
    of the map that the mask covers; M remains the number of all positions, so the pull on one
    does not depend on the size of its region. Positions of a weighted style are drawn in
    proportion to their weights.

    References
    ----------
    .. [1] Gretton et al., "A Kernel Two-Sample Test", JMLR 13 (2012), section 6.
    """

    needs: ClassVar[str] = "pairs"
    draws: ClassVar[bool] = True
    seeded: ClassVar[bool] = True

    bandwidth: Optional[float] = None

    def pooled(self, sample: Sample, random: Any = None) -> tuple[Any, ...]:
        """Return the style features as rows, and the squared distances of random pairs of them.

        Parameters
        ----------
        sample : Sample
        random : numpy.random.RandomState

        Returns
        -------
        rows : NDArray, shape (M_S, N)
        distances : NDArray, shape (pairs, 1)
        weights : numpy.ndarray, shape (M_S,)
            Left out if all positions count equally.
        """
        rows = engine.nd.transpose(sample.flat)
        if sample.weights is not None:
            return self._weighted(rows, sample.weights, random)
        half = rows.shape[0] // 2
        if not half:
            return rows, _no_distance(rows)
        rounds = -(-_STYLE_PAIRS // half)
        orders = [random.permutation(rows.shape[0]) for _ in range(rounds)]
        first = numpy.concatenate([order[:half] for order in orders])
        second = numpy.concatenate([order[half : 2 * half] for order in orders])
        return rows, row_squares(select(rows, first) - select(rows, second))

    def _weighted(self, rows: Any, weights: numpy.ndarray, random: Any) -> tuple[Any, ...]:
        count = max(_STYLE_PAIRS, rows.shape[0] // 2)
        first, second = (weighted_draw(random, weights, count) for _ in range(2))
        pairs = first != second
        if not pairs.any():
            return rows, _no_distance(rows), weights
        distances = row_squares(select(rows, first[pairs]) - select(rows, second[pairs]))
        return rows, distances, weights

    def draw(
        self,
        random: Any,
        shape: tuple[int, ...],
        target: tuple[Any, ...],
        mask: Optional[Mask] = None,
    ) -> Optional["Pairs"]:
        """Draw the pairs of one evaluation.

        Parameters
        ----------
        random : numpy.random.RandomState
        shape : tuple
            Shape of the feature map, (1, N, H, W).
        target : tuple
            What `target` returned.
        mask : Mask, optional

        Returns
        -------
        Pairs or None
            None if there is a single position, which has no partner, or none.
        """
        rows, _, *weights = target
        positions = shape[2] * shape[3]
        order = drawn_positions(random, shape, mask)
        if len(order) < 2:
            return None
        half = len(order) // 2
        place = numpy.zeros(positions, dtype=numpy.int32)
        place[order] = numpy.arange(len(order))
        if weights:
            style = weighted_draw(random, weights[0], 2 * half)
        else:
            style = shuffled(random, rows.shape[0], 2 * half)
        return Pairs(
            order=index_array(order[: 2 * half], rows),
            place=index_array(place, rows),
            style=index_array(style, rows),
            odd=int(order[-1]) if len(order) % 2 else None,
            kept=None if mask is None else _column_of(order, positions, rows),
        )

    def __call__(
        self,
        features: Any,
        target: Any,
        weight: float = 1.0,
        drawn: Any = None,
        mask: Optional[Mask] = None,
    ) -> LossGrad:
        """Compare features with a target over drawn pairs.

        Parameters
        ----------
        features : NDArray, shape (1, N, H, W)
        target : tuple
        weight : float
        drawn : Pairs or None
        mask : Mask, optional
            The one that `draw` had, which decided on the pairs.

        Returns
        -------
        LossGrad
            The value may be negative, because the estimate is unbiased. Value and gradient are 0
            if `drawn` is None.
        """
        nd = engine.nd
        style, d_style, *_ = target
        check_channels(features.shape[1], style, axis=1)
        if drawn is None:
            return no_pull(features)
        _, channels, height, width = features.shape
        rows = nd.take(rows_of(features), drawn.order, mode="clip")
        half = rows.shape[0] // 2
        # First the differences f − f′, then f − s′ and f′ − s.
        difference = nd.empty((3 * half, channels), ctx=features.context, dtype=features.dtype)
        nd.elemwise_sub(rows[:half], rows[half:], out=difference[:half])
        nd.elemwise_sub(rows, nd.take(style, drawn.style, mode="clip"), out=difference[half:])
        distances = row_squares(difference)
        # Weight the style's pairs as if there were as many as pairs of features.
        share = half / d_style.shape[0]
        inverse = self._inverse_bandwidth(distances, d_style, share)
        scale = weight / (channels * height * width)
        kernel, slope = self._kernel(distances, inverse, scale)
        k_style, _ = self._kernel(d_style, inverse, scale)
        total = total_of(kernel[:half]) + share * total_of(k_style) - total_of(kernel[half:])
        nd.broadcast_mul(difference, slope, out=difference)
        to_partner, first, second = (difference[n * half : (n + 1) * half] for n in range(3))
        first -= to_partner
        second += to_partner
        grad = nd.take(difference[half:], drawn.place, mode="clip")
        if drawn.odd is not None:
            grad[drawn.odd] = 0
        if drawn.kept is not None:
            nd.broadcast_mul(grad, drawn.kept, out=grad)
        grad = nd.transpose(grad.reshape((1, height, width, channels)), axes=(0, 3, 1, 2))
        return LossGrad(total.reshape((1,)) * (scale / 2), grad)

    def _kernel(self, distances: Any, inverse: Any, scale: float) -> tuple[Any, Any]:
        """Return the kernel at squared distances, (pairs, 1), and `scale` × its slope, negated.

        `inverse` is 1 / 2σ², shape (1, 1).
        """
        raise NotImplementedError

    def _inverse_bandwidth(self, distances: Any, d_style: Any, share: float) -> Any:
        if self.bandwidth is not None:
            return engine.nd.full((1, 1), 1 / self.bandwidth, d_style.context, d_style.dtype)
        total = total_of(distances) + share * total_of(d_style)
        # Two images of one flat colour have only distances of 0, where no bandwidth matters.
        return 4 / 3 * distances.shape[0] / engine.nd.maximum(total, _LEAST_TOTAL)


class Pairs(NamedTuple):
    """Positions drawn for one evaluation of the Gaussian MMD, as indices on the device.

    Attributes
    ----------
    order : NDArray of int32, shape (2h,), h = M // 2
        The features' positions, shuffled; the first half is paired with the second.
    place : NDArray of int32, shape (M,)
        The index of each position in `order`; arbitrary for `odd`.
    style : NDArray of int32, shape (2h,)
        The style position that each position of `order` is compared with.
    odd : int or None
        The position without a partner, if their number is odd.
    kept : NDArray or None, shape (M, 1)
        With a mask: 1 for the positions that were kept, 0 for all others, whose `place` is
        arbitrary and which `order` lacks.
    """

    order: Any
    place: Any
    style: Any
    odd: Optional[int]
    kept: Any = None


def _column_of(positions: numpy.ndarray, count: int, like: Any) -> Any:
    """Return a column (count, 1) of ones at some positions and zeros at all others."""
    column = numpy.zeros((count, 1))
    column[positions] = 1
    return engine.array(column, like.context, like.dtype)


def _no_distance(rows: Any) -> Any:
    """Return the distance of a single position, which can only be paired with itself."""
    return engine.nd.zeros((1, 1), ctx=rows.context, dtype=rows.dtype)


@dataclass(frozen=True)
class GaussianMMD(PairMMD):
    """MMD under the kernel k(x, y) = exp(−‖x−y‖² / 2σ²), in the unit of β′ = 3e14 [1]_.

    Parameters
    ----------
    bandwidth : float, optional
        2σ²; by default measured at each call.

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, section 3.2.
    """

    bandwidth: Optional[float] = None

    def _kernel(self, distances: Any, inverse: Any, scale: float) -> tuple[Any, Any]:
        nd = engine.nd
        # broadcast_mul, because MXNet 2's dot of a long column and a scalar ends the process.
        kernel = nd.exp(-nd.broadcast_mul(distances, inverse))
        return kernel, nd.broadcast_mul(kernel, inverse * scale)


@dataclass(frozen=True)
class MixtureMMD(PairMMD):
    """MMD under a mean of Gaussian kernels of several bandwidths [1]_ [2]_.

    Parameters
    ----------
    kernels : tuple of float
        The bandwidths of the kernels as factors of 2σ². Kernels much narrower than 2σ² are 0 for
        almost all pairs; much wider ones see the means alone.
    bandwidth : float, optional
        2σ²; by default measured at each call.

    References
    ----------
    .. [1] Gretton et al., "Optimal Kernel Choice for Large-Scale Two-Sample Tests", NIPS 2012.
    .. [2] Long et al., "Learning Transferable Features with Deep Adaptation Networks", ICML 2015,
       arXiv:1502.02791.
    """

    kernels: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    bandwidth: Optional[float] = None

    def _kernel(self, distances: Any, inverse: Any, scale: float) -> tuple[Any, Any]:
        nd, share = engine.nd, 1 / len(self.kernels)
        kernel, slope = nd.zeros_like(distances), nd.zeros_like(distances)
        for factor in self.kernels:
            narrow = inverse / factor
            part = nd.exp(-nd.broadcast_mul(distances, narrow)) * share
            kernel += part
            slope += nd.broadcast_mul(part, narrow * scale)
        return kernel, slope


@dataclass(frozen=True)
class LaplaceMMD(PairMMD):
    """MMD under the kernel k(x, y) = exp(−‖x−y‖ / s), with s² = 2σ² [1]_.

    Notes
    -----
    The kernel has no derivative at a distance of 0: ‖x−y‖ is √(d² + ε²) with ε² = 1e-6 · 2σ².

    References
    ----------
    .. [1] Sriperumbudur et al., "Hilbert Space Embeddings and Metrics on Probability Measures",
       JMLR 11 (2010).
    """

    bandwidth: Optional[float] = None

    def _kernel(self, distances: Any, inverse: Any, scale: float) -> tuple[Any, Any]:
        nd = engine.nd
        length = nd.sqrt(nd.broadcast_mul(distances, inverse) + _LEAST_DISTANCE)
        kernel = nd.exp(-length)
        # Times 2, because the gradient of ‖x−y‖² is 2 (x − y).
        return kernel, nd.broadcast_mul(kernel / length, inverse * (scale / 2))


@dataclass(frozen=True)
class EnergyDistance(PairMMD):
    """The energy distance, 2 E‖x − s‖ − E‖x − x′‖ − E‖s − s′‖: the kernel is −‖x−y‖ [1]_ [2]_.

    It has no bandwidth: each pair pulls or pushes with the same force, whatever its distance.

    Notes
    -----
    ‖x−y‖ has no derivative at 0: it is √(d² + ε²) with ε² = 1e-6 times the mean squared distance.

    References
    ----------
    .. [1] Székely and Rizzo, "Energy Statistics: A Class of Statistics Based on Distances",
       Journal of Statistical Planning and Inference 143 (2013).
    .. [2] Sejdinovic et al., "Equivalence of Distance-Based and RKHS-Based Statistics in
       Hypothesis Testing", Annals of Statistics 41 (2013), arXiv:1207.6076.
    """

    bandwidth: Optional[float] = None

    def _kernel(self, distances: Any, inverse: Any, scale: float) -> tuple[Any, Any]:
        nd = engine.nd
        length = nd.sqrt(nd.broadcast_add(distances, _LEAST_DISTANCE / inverse) + _LEAST_TOTAL)
        return -length, scale / 2 / length
