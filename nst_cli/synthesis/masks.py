"""Masks of pictures, and how they get to the maps of the network's layers.

A mask is linear data from 0 to 1: how much a style applies at each pixel, or a pixel counts in it.
At each layer it is averaged over the pixels of a position [1]_, which are those of the poolings
before the layer; a ragged last row or column is cut off as they do. Such a mask ignores that a
feature sees beyond these pixels. The mask of ``inside`` is the least value of all pixels that a
feature sees, so it keeps features of the region alone.

References
----------
.. [1] Gatys et al., "Controlling Perceptual Factors in Neural Style Transfer", CVPR 2017,
   arXiv:1611.07865: section 4, "simple" and "inside" propagation. Their guides are squared in the
   Gram matrix; these masks are not.
"""

from collections.abc import Sequence
from typing import Any, Optional

import numpy

from .. import images
from ..errors import ShapeError

#: A mask with a smaller sum at a layer covers no position there.
LEAST_MASS = 1 - 1e-6


def checked(name: str, values: Any, size: Sequence[int]) -> Optional[numpy.ndarray]:
    """Return a mask as float32, or None if it is 1 everywhere.

    Parameters
    ----------
    name : str
        For messages.
    values : array_like, shape (H, W), or None
        From 0 to 1.
    size : (int, int)
        Height and width of the picture.

    Raises
    ------
    ShapeError
        The shape differs from `size`, a value is not from 0 to 1, or all are 0.
    """
    if values is None:
        return None
    mask = numpy.ascontiguousarray(values, dtype=numpy.float32)
    if mask.shape != tuple(size):
        raise ShapeError(f"{name} has shape {mask.shape}, its picture {tuple(size)}.")
    # A NaN is in no range.
    if not ((mask >= 0) & (mask <= 1)).all():
        raise ShapeError(f"{name} has values that are not from 0 to 1.")
    if not mask.any():
        raise ShapeError(f"{name} is 0 everywhere.")
    return None if (mask == 1).all() else mask


def resized(mask: numpy.ndarray, size: Sequence[int]) -> numpy.ndarray:
    """Return a mask at another size: the mean over the area of each new pixel."""
    rows = numpy.empty((size[0], mask.shape[1]))
    for columns in images.row_bands(mask.T.shape):
        rows[:, columns] = _averaged(mask[:, columns].astype(numpy.float64), size[0])
    result = numpy.empty(tuple(size), numpy.float32)
    for band in images.row_bands(rows.shape):
        result[band] = _averaged(rows[band].T, size[1]).T
    return result


def layer_size(size: Sequence[int], layer: str) -> tuple[int, int]:
    """Return height and width of the map of a layer, ``relu3_1``, for pictures of a size."""
    shift = int(layer[4]) - 1
    return size[0] >> shift, size[1] >> shift


def at_layer(mask: numpy.ndarray, layer: str, inside: bool = False) -> numpy.ndarray:
    """Return a mask (H, W) at the positions of a layer.

    Parameters
    ----------
    mask : numpy.ndarray, shape (H, W)
    layer : str
        ``relu1_1`` to ``relu5_4``.
    inside : bool
        Take the least value of all that a feature sees, not the mean over its position.
    """
    height, width = layer_size(mask.shape, layer)
    step = 1 << (int(layer[4]) - 1)
    cells = mask[: height * step, : width * step].reshape(height, step, width, step)
    if not inside:
        means: numpy.ndarray = cells.mean(axis=(1, 3), dtype=numpy.float64)
        return means
    # A feature of reluB_1 sees 1, 4, 10, 30 or 70 pixels beyond its position in block B, which
    # are up to B positions; each further convolution sees one more.
    reach = int(layer[4]) + int(layer[6]) - 1
    return _least_around(_least_around(cells.min(axis=(1, 3)), reach).T, reach).T


def _averaged(mask: numpy.ndarray, count: int) -> numpy.ndarray:
    """Return `count` means over equal parts of the first axis."""
    length = mask.shape[0]
    if count == length:
        return mask
    sums = numpy.concatenate([numpy.zeros((1, mask.shape[1])), mask.cumsum(axis=0)])
    edges = numpy.arange(count + 1) * (length / count)
    whole = numpy.minimum(edges.astype(int), length - 1)
    at_edges = sums[whole] + (edges - whole)[:, None] * mask[whole]
    means: numpy.ndarray = numpy.diff(at_edges, axis=0) * (count / length)
    return means.clip(0, 1)


def _least_around(mask: numpy.ndarray, reach: int) -> numpy.ndarray:
    """Return the least of the values up to `reach` rows away; the border counts as inside."""
    padded = numpy.pad(mask, ((reach, reach), (0, 0)), constant_values=1)
    shifts = [padded[start : start + len(mask)] for start in range(2 * reach + 1)]
    least: numpy.ndarray = numpy.minimum.reduce(shifts)
    return least
