"""Pixels and network inputs: sizes, resampling, channel means."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ImageError
from ..files import StrPath

# ImageNet's, in the order red, green, blue; VGG-19 was trained with them subtracted.
MEANS = (123.68, 116.779, 103.939)
_MEANS = np.array(MEANS, np.float32)
# Four poolings halve a side of 16 to the 1 that relu5_1 needs.
MIN_SIDE = 16
# If a longer edge would be needed, the advice is to crop the picture.
_LONGEST_ADVISED = 4096
# Pixels of the rows that are computed at a time, so that temporary arrays stay small beside a
# large picture.
_BAND = 1 << 20


def row_bands(shape: Sequence[int]) -> Iterator[slice]:
    """Yield slices of the rows of a picture, from the top, each of about a million pixels.

    Parameters
    ----------
    shape : sequence of int
        Height and width; further entries are ignored.
    """
    height, width = shape[:2]
    rows = max(1, _BAND // max(1, width))
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def resize(array: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resize with a Lanczos filter in float, widened when shrinking so that nothing aliases.

    Parameters
    ----------
    array : ndarray, shape (H, W) or (H, W, C), float32
        0 to 255.
    size : (int, int)
        Height and width of the result.

    Returns
    -------
    ndarray, shape `size` or (*size, C), float32
        A new array, clipped to 0 to 255; a copy of `array` if it has this size already.
    """
    if array.shape[:2] == tuple(size):
        return np.array(array, dtype=np.float32)
    result = np.empty((*size, *array.shape[2:]), np.float32)
    if array.ndim == 2:
        _resample(array, result)
    for channel in range(array.shape[2] if array.ndim == 3 else 0):
        _resample(array[..., channel], result[..., channel])
    # Lanczos overshoots at edges.
    return np.clip(result, 0, 255, out=result)


def resize_input(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resize a network input as `resize` does pixels, but clip nothing.

    Parameters
    ----------
    image : ndarray, shape (1, 3, H, W)
    size : (int, int)
        Height and width of the result.

    Returns
    -------
    ndarray, shape (1, 3, *size), float32
    """
    result = np.empty((*image.shape[:2], *size), np.float32)
    for plane, resized in zip(image[0], result[0]):
        _resample(plane, resized)
    return result


def fit(shape: Sequence[int], long_edge: int, name: StrPath = "the picture") -> tuple[int, int]:
    """Return the size at which the long edge is `long_edge`, smaller or larger than now.

    Parameters
    ----------
    shape : tuple
        Height and width; further entries are ignored.
    long_edge : int
        Pixels.
    name : path-like, optional
        What an error calls the picture, such as its path.

    Returns
    -------
    (int, int)
        Height and width, the aspect kept to within half a pixel of the short side.

    Raises
    ------
    ImageError
        A side would have fewer than `MIN_SIDE` pixels.
    """
    longest = max(shape[:2])
    factor = Fraction(long_edge, longest)
    return scaled(shape, factor, name, lambda needed: f"--size {ceil(needed * longest)}")


def scaled(
    shape: Sequence[int], factor: Fraction, name: StrPath, advice: Callable[[Fraction], str]
) -> tuple[int, int]:
    """Return the size of a picture multiplied by a factor, each side rounded.

    Parameters
    ----------
    shape : tuple
        Height and width; further entries are ignored.
    factor : Fraction
    name : path-like
        What an error calls the picture, such as its path.
    advice : callable
        Returns the option, as a user types it, that gives a factor or slightly more.

    Returns
    -------
    (int, int)
        Height and width.

    Raises
    ------
    ImageError
        A side would have fewer than `MIN_SIDE` pixels.
    """
    sides = shape[:2]
    # Halves are always rounded up.
    height, width = (floor(side * factor + Fraction(1, 2)) for side in sides)
    if min(height, width) >= MIN_SIDE:
        return height, width
    # The least factor that rounds the short side to MIN_SIDE pixels.
    needed = Fraction(2 * MIN_SIDE - 1, 2 * min(sides))
    if ceil(needed * max(sides)) > _LONGEST_ADVISED:
        instead = "it is too elongated, crop it first"
    else:
        instead = f"use {advice(needed)} or more"
    raise ImageError(
        f"Cannot work on {name}: its {sides[1]} x {sides[0]} pixels become {width} x {height}, "
        f"and each side needs {MIN_SIDE}; {instead}."
    )


def to_input(pixels: np.ndarray, scale: float = 255) -> np.ndarray:
    """Convert pixels to the input of the network.

    Parameters
    ----------
    pixels : ndarray, shape (H, W, 3)
        RGB, 0 to 255.
    scale : float, optional
        The value of white before the means are subtracted; 256 in the authors' code.

    Returns
    -------
    ndarray, shape (1, 3, H, W), float32
    """
    image = np.empty((1, 3, *pixels.shape[:2]), np.float32)
    for rows in row_bands(pixels.shape):
        # A cast first: NumPy 1 would multiply uint8 in float16.
        band = np.asarray(pixels[rows], np.float32) * np.float32(scale / 255) - _MEANS
        image[0, :, rows] = band.transpose(2, 0, 1)
    return image


def to_pixels(image: np.ndarray, rounding: str = "round", bits: int = 8) -> np.ndarray:
    """Convert a network input back to pixels.

    Parameters
    ----------
    image : ndarray, shape (1, 3, H, W)
        RGB, means subtracted.
    rounding : {"round", "truncate"}, optional
        The authors' code truncates.
    bits : {8, 16}, optional

    Returns
    -------
    ndarray, shape (H, W, 3), uint8 or uint16
        White is the largest number.
    """
    to_integer: Any = {"round": np.rint, "truncate": np.trunc}[rounding]
    kind, white = (np.uint16, 65535) if bits == 16 else (np.uint8, 255)
    pixels = np.empty((*image.shape[2:], 3), kind)
    for rows in row_bands(pixels.shape):
        band = to_float_pixels(image[:, :, rows])
        pixels[rows] = to_integer(band * np.float32(white // 255))
    return pixels


def to_float_pixels(image: np.ndarray) -> np.ndarray:
    """Convert a network input back to pixels without rounding.

    Parameters
    ----------
    image : ndarray, shape (1, 3, H, W)
        RGB, means subtracted.

    Returns
    -------
    ndarray, shape (H, W, 3), float32
        Clipped to 0 to 255.
    """
    pixels = np.empty((*image.shape[2:], 3), np.float32)
    np.add(image[0].transpose(1, 2, 0), _MEANS, out=pixels)
    return np.clip(pixels, 0, 255, out=pixels)


def crop_size(shape: Sequence[int], size: Sequence[int]) -> tuple[int, int]:
    """Return height and width of the largest part of a picture that has the shape of `size`.

    Parameters
    ----------
    shape : tuple
        Height and width of the picture; further entries are ignored.
    size : (int, int)
        Height and width that the part will be resized to. Shapes that differ by rounding alone,
        half a pixel of the smaller picture, count as equal.
    """
    (height, width), (to_height, to_width) = shape[:2], size
    excess = height * to_width - width * to_height
    if abs(excess) <= max(height, width, to_height, to_width):
        return height, width
    if excess > 0:
        return max(1, round(width * to_height / to_width)), width
    return height, max(1, round(height * to_width / to_height))


def cropped(array: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Return the middle of an array, shape (H, W, ...), of height and width `size`."""
    top, left = ((side - part) // 2 for side, part in zip(array.shape, size))
    return array[top : top + size[0], left : left + size[1]]


def _resample(plane, result):
    """Resize a plane, (H, W), by Lanczos to the size of `result`, float32, and write it there."""
    image = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    height, width = result.shape
    resized = image.resize((width, height), Image.Resampling.LANCZOS)
    # Pillow copies what it returns twice.
    for rows in row_bands(result.shape):
        result[rows] = np.asarray(resized.crop((0, rows.start, width, rows.stop)))
