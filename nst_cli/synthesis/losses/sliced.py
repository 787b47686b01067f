"""Wasserstein-2 distances of one-dimensional distributions: of channels, or of projections."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy

from ... import engine
from .arrays import check_channels, convolved, index_array, plain, squares_of
from .frame import Deterministic, LossGrad


class Slices(NamedTuple):
    """The directions of one evaluation, and the style along them.

    Attributes
    ----------
    directions : NDArray, shape (N, D)
        Unit vectors.
    quantiles : NDArray, shape (D, M)
        The projections of the style in ascending order, as many as the map has positions.
    """

    directions: Any
    quantiles: Any


@dataclass(frozen=True)
class SlicedWasserstein:
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

    def target(self, features: Any, random: Any = None) -> Any:
        """Return a copy of the style features, (1, N, H, W)."""
        return features.copy()

    def draw(self, random: Any, shape: tuple[int, ...], target: Any) -> Slices:
        """Draw the directions of one evaluation, and sort the style along them."""
        vectors = random.standard_normal((self.directions, target.shape[1]))
        vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
        directions = engine.array(vectors.T, target.context, target.dtype)
        projections = _projected(target, directions)
        ordered = engine.nd.sort(projections, axis=1)
        return Slices(directions, _quantiles(ordered, shape[2] * shape[3]))

    def __call__(
        self, features: Any, target: Any, weight: float = 1.0, drawn: Any = None
    ) -> LossGrad:
        """Compare features (1, N, H, W) with a target along the drawn directions."""
        check_channels(features.shape[1], target, axis=1)
        scale = weight / self.directions
        residuals = _residuals(_projected(features, drawn.directions), drawn.quantiles)
        value = scale / 2 * squares_of(residuals)
        maps = residuals.reshape((1, -1, *features.shape[2:]))
        return LossGrad(value, convolved(maps, drawn.directions.T * scale))


@dataclass(frozen=True)
class ChannelWasserstein(Deterministic):
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

    def target(self, features: Any, random: Any = None) -> Any:
        """Return the values of each channel in ascending order, (N, M_S)."""
        return engine.nd.sort(plain(features), axis=1)

    def __call__(
        self, features: Any, target: Any, weight: float = 1.0, drawn: Any = None
    ) -> LossGrad:
        """Compare features (1, N, H, W) with a target."""
        check_channels(features.shape[1], target)
        flat, scale = plain(features), weight / features.shape[1]
        residuals = _residuals(flat, _quantiles(target, flat.shape[1]))
        value = scale / 2 * squares_of(residuals)
        residuals *= scale
        return LossGrad(value, residuals.reshape(features.shape))


def _projected(features: Any, directions: Any) -> Any:
    """Return the projections of a map (1, N, H, W) on directions (N, D), shape (D, M)."""
    return convolved(features, directions).reshape((directions.shape[1], -1))


def _residuals(rows: Any, quantiles: Any) -> Any:
    """Return each value less the quantile of its rank in its row; all are (D, M)."""
    nd, (count, positions) = engine.nd, rows.shape
    order = nd.argsort(rows, axis=1, dtype="int32")
    # Put each quantile where the value of its rank is.
    first = nd.arange(0, count * positions, positions, ctx=rows.context, dtype="int32")
    places = nd.broadcast_add(order, first.reshape((-1, 1))).reshape((1, -1))
    moved = nd.scatter_nd(quantiles.reshape((-1,)), places, shape=(count * positions,))
    return rows - moved.reshape(rows.shape)


def _quantiles(ordered: Any, count: int) -> Any:
    """Return `count` quantiles of each row of ascending values, at (i + ½) / count."""
    nd, known = engine.nd, ordered.shape[1]
    if known == count:
        return ordered
    # The values that are known are the quantiles at (j + ½) / known.
    places = numpy.clip((numpy.arange(count) + 0.5) / count * known - 0.5, 0, known - 1)
    lower = numpy.floor(places).astype(numpy.int32)
    upper = numpy.minimum(lower + 1, known - 1)
    below, above = (
        nd.take(ordered, index_array(part, ordered), axis=1, mode="clip")
        for part in (lower, upper)
    )
    shares = engine.array((places - lower).reshape(1, -1), ordered.context, ordered.dtype)
    above -= below
    nd.broadcast_mul(above, shares, out=above)
    below += above
    return below
