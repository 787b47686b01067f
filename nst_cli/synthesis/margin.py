"""A margin of reflected picture around what is optimised, cut off afterwards.

The convolutions pad with zeros. A style loss sees these zeros beyond the picture's border and
answers with a frame of other brightness; with a margin, the frame is drawn where it is cut off.
"""

from collections.abc import Sequence
from typing import Any

import numpy

from ..config import Config

# `margin` auto is this part of the short side, from 8 to 16 pixels; 16 are one position of
# relu5_1, and more do not help. The smaller the picture, the more the pixels of a margin cost
# (benchmarks/border.py), so it is never above an eighth of the short side.
_AUTO_PART, _AUTO_LEAST, _AUTO_MOST, _MOST_PART = 24, 8, 16, 8


def margin_of(config: Config, size: Sequence[int]) -> int:
    """Return the margin in pixels at a scale whose picture has a size, (H, W)."""
    if config.margin == "auto":
        short = min(size)
        return min(max(short // _AUTO_PART, _AUTO_LEAST), _AUTO_MOST, short // _MOST_PART)
    return int(config.margin)


def with_margin(array: numpy.ndarray, margin: int) -> numpy.ndarray:
    """Return an array with its reflection beyond each border.

    Parameters
    ----------
    array : ndarray, shape (..., H, W)
        A network input, or a mask of the same size. Where the margin is wider than the array,
        the reflections repeat.
    margin : int
        Pixels, from 0 on.

    Returns
    -------
    ndarray, shape (..., H + 2 margin, W + 2 margin)
        `array` itself if the margin is 0.
    """
    if not margin:
        return array
    widths = [(0, 0)] * (array.ndim - 2) + [(margin, margin)] * 2
    return numpy.pad(array, widths, mode="reflect")


def without_margin(array: Any, margin: int) -> Any:
    """Return the part of an array, shape (..., H, W), within its margin."""
    if not margin:
        return array
    return array[..., margin:-margin, margin:-margin]


def padded_size(config: Config, size: Sequence[int]) -> tuple[int, int]:
    """Return height and width of the image that is optimised for a picture of a size."""
    height, width = size
    extra = 2 * margin_of(config, size)
    return height + extra, width + extra
