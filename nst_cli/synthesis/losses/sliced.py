"""Wasserstein-2 distances of one-dimensional distributions: of channels, or of projections.

With a mask, the value of position i has the weight m_i, and is compared with the style's quantile
at (c_i − m_i / 2) / Σ m, where c_i is the sum of the weights up to this value in ascending order.
Value and gradient have the residual m_i times, so the mass Σ m takes the place of M. The style's
distribution is given by its quantiles at (k + ½) / K: its K values in ascending order if they
count equally, or else as many quantiles of the weighted values.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Optional

import numpy

from ... import engine
from .arrays import check_channels, convolved, index_array, plain, squares_of
from .frame import Deterministic, LossGrad, Mask, Sample, SampleLoss, check_size

# The least distance of two levels that is divided by.
_LEAST_GAP = 1e-30


class Slices(NamedTuple):
    """The directions of one evaluation, and the style along them.

    Attributes
    ----------
    directions : NDArray, shape (N, D)
        Unit vectors.
    quantiles : NDArray, shape (D, K)
        The projections of the style in ascending order. Without a mask, these are as many as the
        map has positions.
    """

    directions: Any
    quantiles: Any


class WeightedMap(NamedTuple):
    """A style of positions that do not count equally.

    Attributes
    ----------
    features : NDArray, shape (1, N, 1, K)
    weights : NDArray, shape (K,)
    """

    features: Any
    weights: Any


@dataclass(frozen=True)
class SlicedWasserstein(SampleLoss):
    """The Wasserstein-2 distance of projections on random directions, squared, on average [1]_.

    The value is 1 / (2 D) Σ (P − Q)² over D directions and M positions, where P are a map's
    projections and Q those of the style with the same rank. On average over the directions, a
    shift of the means costs M / (2 N) ‖Δμ‖², as in `BNStatistics`.

    Parameters
    ----------
    directions : int
        D, drawn at each evaluation.

    Notes
    -----
    The authors of [1]_ take as many directions as channels, whose sorting costs more than the
    network does.

    References
    ----------
    .. [1] Heitz et al., "A Sliced Wasserstein Loss for Neural Texture Synthesis", CVPR 2021,
       arXiv:2006.07229.
    """

    needs: ClassVar[str] = "order"
    draws: ClassVar[bool] = True
    seeded: ClassVar[bool] = False

    directions: int = 32

    def target(self, features: Any, random: Any = None, mask: Optional[Mask] = None) -> Any:
        """Return a copy of the style features, (1, N, H, W)."""
        return features.copy() if mask is None else super().target(features, random, mask)

    def pooled(self, sample: Sample, random: Any = None) -> Any:
        """Return the sample as a map (1, N, 1, K), or as a `WeightedMap`."""
        features = sample.flat.reshape((1, sample.flat.shape[0], 1, -1))
        if sample.weights is None:
            return features
        return WeightedMap(
            features, engine.array(sample.weights, features.context, features.dtype)
        )

    def draw(
        self, random: Any, shape: tuple[int, ...], target: Any, mask: Optional[Mask] = None
    ) -> Slices:
        """Draw the directions of one evaluation, and sort the style along them."""
        weighted = isinstance(target, WeightedMap)
        features = target.features if weighted else target
        vectors = random.standard_normal((self.directions, features.shape[1]))
        vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
        directions = engine.array(vectors.T, features.context, features.dtype)
        projections = _projected(features, directions)
        if weighted:
            ordered = _weighted_quantiles(projections, target.weights)
        else:
            ordered = engine.nd.sort(projections, axis=1)
        if mask is None:
            ordered = _quantiles(ordered, shape[2] * shape[3])
        return Slices(directions, ordered)

    def __call__(
        self,
        features: Any,
        target: Any,
        weight: float = 1.0,
        drawn: Any = None,
        mask: Optional[Mask] = None,
    ) -> LossGrad:
        """Compare features (1, N, H, W) with a target along the drawn directions."""
        channels = target.features if isinstance(target, WeightedMap) else target
        check_channels(features.shape[1], channels, axis=1)
        scale = weight / self.directions
        projections = _projected(features, drawn.directions)
        if mask is None:
            residuals = _residuals(projections, drawn.quantiles)
            value = scale / 2 * squares_of(residuals)
        else:
            check_size(mask, features.shape)
            residuals, squares = _weighted_residuals(projections, drawn.quantiles, mask)
            value = scale / 2 * squares
        maps = residuals.reshape((1, -1, *features.shape[2:]))
        return LossGrad(value, convolved(maps, drawn.directions.T * scale))


@dataclass(frozen=True)
class ChannelWasserstein(SampleLoss, Deterministic):
    """The Wasserstein-2 distance of each channel's histogram to the style's, squared [1]_.

    The value is 1 / (2 N) Σ (x − q)² over channels and positions, where q is the style's value
    of the same rank in the channel: M / 2 times the mean squared distance. Where `BNStatistics`
    aligns mean and deviation of a channel, this aligns all of its distribution.

    Notes
    -----
    The paper matches histograms of 256 bins and takes the matched values as constants in the
    gradient. With exact ranks, that is the true gradient.

    References
    ----------
    .. [1] Risser, Wilmot and Barnes, "Stable and Controllable Neural Texture Synthesis and Style
       Transfer Using Histogram Losses", arXiv:1701.08893.
    """

    needs: ClassVar[str] = "order"

    def pooled(self, sample: Sample, random: Any = None) -> Any:
        """Return the values of each channel in ascending order, (N, K), or its quantiles."""
        if sample.weights is None:
            return engine.nd.sort(sample.flat, axis=1)
        weights = engine.array(sample.weights, sample.flat.context, sample.flat.dtype)
        return _weighted_quantiles(sample.flat, weights)

    def __call__(
        self,
        features: Any,
        target: Any,
        weight: float = 1.0,
        drawn: Any = None,
        mask: Optional[Mask] = None,
    ) -> LossGrad:
        """Compare features (1, N, H, W) with a target."""
        check_channels(features.shape[1], target)
        flat, scale = plain(features), weight / features.shape[1]
        if mask is None:
            residuals = _residuals(flat, _quantiles(target, flat.shape[1]))
            value = scale / 2 * squares_of(residuals)
        else:
            check_size(mask, features.shape)
            residuals, squares = _weighted_residuals(flat, target, mask)
            value = scale / 2 * squares
        residuals *= scale
        return LossGrad(value, residuals.reshape(features.shape))


def _projected(features: Any, directions: Any) -> Any:
    """Return the projections of a map (1, N, H, W) on directions (N, D), shape (D, M)."""
    return convolved(features, directions).reshape((directions.shape[1], -1))


def _residuals(rows: Any, quantiles: Any) -> Any:
    """Return each value less the quantile of its rank in its row; all are (D, M)."""
    order = engine.nd.argsort(rows, axis=1, dtype="int32")
    return rows - _unsorted(quantiles, order)


def _unsorted(values: Any, order: Any) -> Any:
    """Put each value where the element of its rank is; both are (D, M), and so is the result."""
    moved = engine.nd.scatter_nd(
        values.reshape((-1,)), _flat_places(order).reshape((1, -1)), shape=(values.size,)
    )
    return moved.reshape(values.shape)


def _flat_places(places: Any, length: Optional[int] = None) -> Any:
    """Return places in the rows of a matrix (D, length) as places in the flat matrix.

    `places` are int32 and have D rows, by default of the same length.
    """
    length = length or places.shape[1]
    first = engine.nd.arange(
        0, places.shape[0] * length, length, ctx=places.context, dtype="int32"
    )
    return engine.nd.broadcast_add(places, first.reshape((-1, 1)))


def _taken(rows: Any, places: Any) -> Any:
    """Return the elements of each row (D, K) at its own places, int32 (D, M)."""
    return engine.nd.take(rows.reshape((-1,)), _flat_places(places, rows.shape[1]), mode="clip")


def _weighted_residuals(rows: Any, quantiles: Any, mask: Mask) -> tuple[Any, Any]:
    """Return m times each value less its quantile, (D, M), and Σ m (…)², shape (1,).

    `quantiles`, (D, K), are those of the style at (k + ½) / K.
    """
    nd, last = engine.nd, quantiles.shape[1] - 1
    row = mask.column.reshape((1, -1))
    order = nd.argsort(rows, axis=1, dtype="int32")
    weights = nd.take(row.reshape((-1,)), order, mode="clip")
    levels = (nd.cumsum(weights, axis=1) - weights / 2) / mask.mass
    places = nd.clip(levels * (last + 1) - 0.5, 0, last)
    lower = nd.floor(places)
    places -= lower
    lower = lower.astype("int32")
    values = _taken(quantiles, lower)
    above = _taken(quantiles, nd.minimum(lower + 1, last))
    values += (above - values) * places
    residuals = rows - _unsorted(values, order)
    weighted = nd.broadcast_mul(residuals, row)
    return weighted, engine.dot(weighted, residuals)


def _weighted_quantiles(rows: Any, weights: Any) -> Any:
    """Return the quantiles of each row (D, K) at (k + ½) / K; the weights (K,) sum to 1.

    A value of rank j is the quantile at the sum of the weights before it and half its weight.
    """
    nd, (count, positions) = engine.nd, rows.shape
    order = nd.argsort(rows, axis=1, dtype="int32")
    values, shares = _taken(rows, order), nd.take(weights, order, mode="clip")
    known = nd.cumsum(shares, axis=1) - shares / 2
    levels = (numpy.arange(positions) + 0.5).reshape(1, -1) / positions
    levels = nd.tile(engine.array(levels, rows.context, rows.dtype), (count, 1))
    # Where the levels are among the known ones: MXNet cannot search in sorted rows.
    merged = nd.argsort(nd.concat(known, levels, dim=1), axis=1, dtype="int32")
    ranks = nd.argsort(merged, axis=1, dtype="int32")[:, positions:]
    places = nd.arange(positions, ctx=rows.context, dtype="int32").reshape((1, -1))
    upper = nd.broadcast_sub(ranks, places)
    lower, upper = nd.maximum(upper - 1, 0), nd.minimum(upper, positions - 1)
    start, end = _taken(known, lower), _taken(known, upper)
    # Beyond the outermost levels, both are the same.
    share = nd.clip((levels - start) / nd.maximum(end - start, _LEAST_GAP), 0, 1)
    below = _taken(values, lower)
    return below + (_taken(values, upper) - below) * share


def _quantiles(ordered: Any, count: int) -> Any:
    """Return `count` quantiles of each row of ascending values, at (i + ½) / count."""
    nd, known = engine.nd, ordered.shape[1]
    if known == count:
        return ordered
    # The values that are known are the quantiles at (j + ½) / known.
    places = (numpy.arange(count) + 0.5) / count * known - 0.5
    lower = numpy.floor(places).astype(numpy.int32)
    # Beyond the outermost ones, `clip` takes the outermost twice.
    below, above = (
        nd.take(ordered, index_array(part, ordered), axis=1, mode="clip")
        for part in (lower, lower + 1)
    )
    shares = engine.array((places - lower).reshape(1, -1), ordered.context, ordered.dtype)
    above -= below
    nd.broadcast_mul(above, shares, out=above)
    below += above
    return below
