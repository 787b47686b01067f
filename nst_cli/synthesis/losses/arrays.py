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


def gram_of(flat: Any, column: Any = None) -> Any:
    """Return Σ m x xᵀ over the positions of a map (N, M), shape (N, N).

    `column` holds the weights m of the positions, shape (M, 1); by default they are 1.
    """
    weighted = flat
    if column is not None:
        weighted = engine.nd.broadcast_mul(flat, column.reshape((1, -1)))
    # FullyConnected of the map with itself uses oneDNN, which is faster than dot.
    return engine.nd.FullyConnected(weighted, flat, num_hidden=flat.shape[0], no_bias=True)


def convolved(features: Any, matrix: Any, column: Any = None) -> Any:
    """Return matrixᵀ x + column at each position x of a map (1, N, H, W): a 1 × 1 convolution.

    `matrix` has the shape (N, K), `column` (K, 1); without it, nothing is added.
    """
    rows, filters = matrix.shape
    # A transposed convolution gives the same result, and oneDNN runs it in the map's own layout.
    # It converts the kernel's layout in place, so the kernel must be a copy and not a view.
    kernel = engine.nd.reshape(matrix, shape=(rows, filters, 1, 1))
    bias = () if column is None else (column.reshape((filters,)),)
    return engine.nd.Deconvolution(
        features, kernel, *bias, kernel=(1, 1), num_filter=filters, no_bias=column is None
    )


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


def row_dots(rows: Any, others: Any) -> Any:
    """Return the inner product of each row with the same row of `others`, shape (rows, 1)."""
    ones = ones_for(rows, 1, rows.shape[1])
    return engine.nd.FullyConnected(rows * others, ones, num_hidden=1, no_bias=True)


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
