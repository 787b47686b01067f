"""Operations on feature maps that several losses share."""

from typing import Any

import numpy

from ... import engine
from ...errors import ShapeError


def plain(features: Any) -> Any:
    """Return a map (1, N, H, W) as a copy of shape (N, M) in row-major layout.

    The network's maps are in oneDNN's blocked layout. The copy converts a map once; a view
    (`features.reshape`) would convert it again at each use.
    """
    return engine.nd.reshape(features, shape=(features.shape[1], -1))


def gram_of(flat: Any) -> Any:
    # FullyConnected of the map with itself uses oneDNN, which is faster than dot.
    product = engine.nd.FullyConnected(flat, flat, num_hidden=flat.shape[0], no_bias=True)
    return product / flat.shape[1]


def means_of(flat: Any) -> Any:
    """Return the mean of each row by a product, many times faster than MXNet's own mean."""
    return engine.nd.dot(flat, ones_for(flat, flat.shape[1], 1)) / flat.shape[1]


def moments_of(flat: Any) -> tuple[Any, Any]:
    """Return means and standard deviations of the rows, each (N, 1); overwrites `flat`."""
    means = means_of(flat)
    # Centre first: in float32, E[x²] − μ² loses all digits of a small deviation.
    centred = engine.nd.broadcast_sub(flat, means, out=flat)
    return means, engine.nd.sqrt(means_of(engine.nd.square(centred, out=centred)))


def squares_of(array: Any) -> Any:
    """Return the sum of squares, shape (1,)."""
    return engine.dot(array, array)


def rows_of(features: Any) -> Any:
    """Return a map (1, N, H, W) as one row per position, shape (M, N)."""
    rows = engine.nd.transpose(features, axes=(0, 2, 3, 1))
    return rows.reshape((-1, features.shape[1]))


def select(rows: Any, positions: numpy.ndarray) -> Any:
    return engine.nd.take(rows, index_array(positions, rows), mode="clip")


def row_squares(rows: Any) -> Any:
    """Return the sum of squares of each row, shape (rows, 1)."""
    ones = ones_for(rows, 1, rows.shape[1])
    return engine.nd.FullyConnected(engine.nd.square(rows), ones, num_hidden=1, no_bias=True)


def total_of(column: Any) -> Any:
    """Return the sum of a column, shape (1, 1)."""
    return engine.nd.dot(ones_for(column, 1, column.shape[0]), column)


def ones_for(like: Any, *shape: int) -> Any:
    return engine.nd.ones(shape, ctx=like.context, dtype=like.dtype)


def index_array(values: numpy.ndarray, like: Any) -> Any:
    return engine.array(values, like.context, "int32")


def shuffled(random: Any, count: int, needed: int) -> numpy.ndarray:
    """Draw `needed` positions out of `count`, using all before any is repeated."""
    rounds = [random.permutation(count) for _ in range(-(-needed // count))]
    positions: numpy.ndarray = numpy.concatenate(rounds)[:needed]
    return positions


def check_channels(channels: int, target: Any, axis: int = 0) -> None:
    if channels != target.shape[axis]:
        raise ShapeError(
            f"A style loss needs equal channel counts: features have {channels}, "
            f"the style target has {target.shape[axis]}."
        )
