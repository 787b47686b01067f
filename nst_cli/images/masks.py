"""Reads masks: linear values from 0 to 1, without gamma or conversion of colours."""

import io
import os
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..config import MAX_PIXELS
from ..errors import ImageError
from ..files import StrPath
from .pillow import guarded
from .reading import decoded, header_of, opacity, size_of, split, upright
from .source import content_of, opened

# Rec. 601, as in Pillow's conversion to grey.
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)
# Levels by which visible colours may differ and still be one: lossy formats change them.
_ONE_COLOUR = 2


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask as read from a file.

    Parameters
    ----------
    values : ndarray, shape (H, W), float32
        0 (black) to 1 (white).
    path : str
    sha256 : str
        The checksum of the file's content, 64 hex digits.
    """

    values: np.ndarray
    path: str
    sha256: str


def read_mask(path: StrPath, picture: StrPath, *, max_pixels: int = MAX_PIXELS) -> Mask:
    """Read the mask of a picture: white is 1, black 0.

    The stored values count as they are, over 255, or over 65535 in 16-bit grey: no gamma and no
    colour profile is applied. Colours count by their luma. An alpha channel multiplies the
    values; if everything visible has one colour, alpha alone is the mask. The Exif orientation is
    applied, as to the picture.

    Parameters
    ----------
    path : path-like
        The mask.
    picture : path-like
        The picture that it belongs to.
    max_pixels : int, optional
        As for `read`.

    Raises
    ------
    ImageError
        The mask cannot be read, has another size than the picture, or is black everywhere.
    """
    path = os.fspath(path)
    check_mask_size(path, picture, max_pixels=max_pixels)
    with opened(path) as (stream, kind):
        content, checksum = content_of(stream)
        head = header_of(kind, io.BytesIO(content))
        image, alpha = decoded(kind, content, head)
        with guarded():
            if isinstance(image, Image.Image):
                image, split_alpha = split(image)
                alpha = split_alpha if alpha is None else alpha
            levels = upright(_levels(image), head)
        values = _masked(levels, opacity(alpha, head))
    if not values.any():
        raise ImageError(f"The mask {path} is black everywhere; white marks where it applies.")
    return Mask(values, path, checksum)


def check_mask_size(path: StrPath, picture: StrPath, *, max_pixels: int = MAX_PIXELS) -> None:
    """Check that a mask has the size of its picture, upright and before any resizing.

    Raises
    ------
    ImageError
        Either cannot be read, or the sizes differ.
    """
    sizes = size_of(path, max_pixels=max_pixels), size_of(picture)
    if sizes[0] != sizes[1]:
        mask, whole = (f"{width} x {height}" for height, width in sizes)
        raise ImageError(
            f"The mask {os.fspath(path)} has {mask} pixels, and its picture {os.fspath(picture)} "
            f"has {whole}; a mask needs the size of its picture."
        )


def _levels(image):
    """Return an image of mode L, RGB, CMYK or LAB, or an array of 16 bits, as grey, 0 to 255."""
    if isinstance(image, np.ndarray):
        return _grey(image.astype(np.float32) / 257)
    if image.mode == "LAB":
        return np.asarray(image.getchannel("L"), np.float32)
    if image.mode == "L":
        return np.asarray(image, np.float32)
    return _grey(np.asarray(image.convert("RGB"), np.float32))


def _grey(colours):
    """Return colours, shape (H, W, 1) or (H, W, 3), as their luma."""
    grey = colours[..., 0]
    # A grey picture keeps its values exactly.
    return grey if (colours == grey[..., None]).all() else colours @ _LUMA


def _masked(levels, alpha):
    """Return the mask that grey levels and alpha or None describe."""
    if alpha is None:
        return levels / 255
    visible = levels[alpha > 0]
    if not visible.size or np.ptp(visible) <= _ONE_COLOUR:
        return alpha / 255
    return levels * alpha / (255 * 255)
