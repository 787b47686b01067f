"""The relaxed earth mover's distance: each position to its nearest match on the other side."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Optional

import numpy

from ... import engine
from .arrays import check_channels, index_array, row_dots, row_squares, rows_of, total_of
from .frame import (
    LossGrad,
    Mask,
    Sample,
    SampleLoss,
    drawn_positions,
    mass_of,
    no_pull,
    weighted_draw,
)

# A vector shorter than this part of the style's mean length has no direction worth following.
_LEAST_SHARE = 1e-4


class Samples(NamedTuple):
    """Positions drawn for one evaluation, as indices on the device.

    Attributes
    ----------
    positions : NDArray of int32, shape (n,)
        Positions of the features, each at most once.
    place : NDArray of int32, shape (M,)
        The index of each position in `positions`, or n for those not drawn.
    style : NDArray of int32, shape (n_S,)
        Positions of the style.
    """

    positions: Any
    place: Any
    style: Any


@dataclass(frozen=True)
class RelaxedEMD(SampleLoss):
    """The relaxed earth mover's distance under the cosine distance, on random positions [1]_.

    The value is M max( mean_i min_j c_ij, mean_j min_i c_ij ), where c_ij is 1 less the cosine of
    the angle between the features at position i of the map and those at position j of the style.

    Parameters
    ----------
    samples : int
        Positions drawn of either side at each evaluation, at most.

    Notes
    -----
    It aligns directions and leaves the lengths of the features free: a fusion with bn aligns
    these too, as the paper's moment term does. The paper joins the features of all layers into
    one vector; here each layer has a loss of its own.

    With a mask, its mass takes the place of M, and positions are drawn in proportion to it; those
    of a weighted style in proportion to their weights.

    References
    ----------
    .. [1] Kolkin, Salavon and Shakhnarovich, "Style Transfer by Relaxed Optimal Transport and
       Self-Similarity", CVPR 2019, arXiv:1904.12785.
    """

    needs: ClassVar[str] = "neighbours"
    draws: ClassVar[bool] = True
    seeded: ClassVar[bool] = False

    samples: int = 1024

    def pooled(self, sample: Sample, random: Any = None) -> tuple[Any, ...]:
        """Return the style's features as unit rows, (M_S, N), and the least length, (1, 1).

        Then the weights of the rows, a numpy.ndarray (M_S,), unless all count equally.
        """
        rows = engine.nd.transpose(sample.flat)
        lengths = engine.nd.sqrt(row_squares(rows))
        least = total_of(lengths) * (_LEAST_SHARE / rows.shape[0])
        least = engine.nd.maximum(least, 1e-12)
        weights = () if sample.weights is None else (sample.weights,)
        return _unit(rows, lengths, least), least, *weights

    def draw(
        self,
        random: Any,
        shape: tuple[int, ...],
        target: tuple[Any, ...],
        mask: Optional[Mask] = None,
    ) -> Optional[Samples]:
        """Draw the positions of one evaluation of a map of a shape, (1, N, H, W).

        None if a mask leaves no position.
        """
        rows, _, *weights = target
        count, style_count = shape[2] * shape[3], rows.shape[0]
        order = drawn_positions(random, shape, mask)
        if not len(order):
            return None
        positions = order[: self.samples]
        place = numpy.full(count, len(positions), dtype=numpy.int32)
        place[positions] = numpy.arange(len(positions))
        if weights:
            style = weighted_draw(random, weights[0], min(self.samples, style_count))
        else:
            style = random.permutation(style_count)[: self.samples]
        return Samples(*(index_array(part, rows) for part in (positions, place, style)))

    def __call__(
        self,
        features: Any,
        target: Any,
        weight: float = 1.0,
        drawn: Any = None,
        mask: Optional[Mask] = None,
    ) -> LossGrad:
        """Compare features (1, N, H, W) with a target at the drawn positions."""
        nd = engine.nd
        style_rows, least, *_ = target
        _, channels, height, width = features.shape
        check_channels(channels, style_rows, axis=1)
        if drawn is None:
            return no_pull(features)
        rows = nd.take(rows_of(features), drawn.positions, mode="clip")
        style = nd.take(style_rows, drawn.style, mode="clip")
        lengths = nd.sqrt(row_squares(rows))
        units = _unit(rows, lengths, least)
        count, style_count = rows.shape[0], style.shape[0]
        similarity = nd.FullyConnected(units, style, num_hidden=style_count, no_bias=True)
        nearest = nd.argmax(similarity, axis=1), nd.argmax(similarity, axis=0)
        # One row for each position of the features: the share of each style position in it.
        forth = nd.one_hot(nearest[0], style_count, dtype=similarity.dtype) / count
        back = nd.one_hot(nearest[1], count, dtype=similarity.dtype).T / style_count
        costs = [1 - engine.dot(shares, similarity) for shares in (forth, back)]
        first_is_larger = nd.broadcast_greater_equal(*costs).reshape((1, 1))
        shares = back + nd.broadcast_mul(forth - back, first_is_larger)
        positions = mass_of(features, mask)
        value = weight * positions * nd.maximum(*costs)
        pull = nd.dot(shares, style)
        along = row_dots(units, pull)
        pull -= nd.broadcast_mul(units, along)
        inverse = nd.broadcast_greater(lengths, least) / nd.broadcast_maximum(lengths, least)
        nd.broadcast_mul(pull, inverse * (-weight * positions), out=pull)
        # The positions that were not drawn take the row of zeros.
        padded = nd.concat(pull, nd.zeros_like(pull[:1]), dim=0)
        grad = nd.take(padded, drawn.place, mode="clip").reshape((1, height, width, channels))
        return LossGrad(value, nd.transpose(grad, axes=(0, 3, 1, 2)))


def _unit(rows: Any, lengths: Any, least: Any) -> Any:
    """Return rows divided by their lengths; those shorter than `least` are near 0."""
    return engine.nd.broadcast_div(rows, engine.nd.broadcast_maximum(lengths, least))
