"""Files to pixels: upright, in sRGB, the first frame."""

import io
import math
import os
from dataclasses import dataclass
from typing import BinaryIO, Optional

import numpy as np
from PIL import Image

from .. import machine
from ..config import MAX_PIXELS
from ..errors import ImageError
from ..files import StrPath
from . import avif, bmp, colorimetry, gif, jpeg, jpeg2000, png, pnm, tiff, webp
from .colour import to_srgb
from .header import Header
from .pillow import Unknown, guarded
from .source import Broken, Unfit, content_of, opened

_FORMATS = {
    "JPEG": jpeg,
    "PNG": png,
    "WEBP": webp,
    "TIFF": tiff,
    "GIF": gif,
    "BMP": bmp,
    "PPM": pnm,
    "JPEG2000": jpeg2000,
    "AVIF": avif,
}
# Counterclockwise quarter turns, and whether the columns are then reversed.
_TURNS = {
    2: (0, True),
    3: (2, False),
    4: (2, True),
    5: (3, True),
    6: (3, False),
    7: (1, True),
    8: (1, False),
}
# The orientations that exchange height and width.
_TURNED = (5, 6, 7, 8)
# The modes whose colours a profile may describe; any other becomes RGB.
_COLOUR_MODES = {"1": "L", "L": "L", "LA": "L", "CMYK": "CMYK", "LAB": "LAB"}
# Bytes that reading takes for each pixel, measured: WebP with alpha takes the most.
_BYTES_PER_PIXEL = 42
# Below this, the free memory is not checked.
_SMALL = 1 << 24
# The factors by which a JPEG can be shrunk while it is decoded.
_SHRINKS = (2, 4, 8)


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as read from a file.

    Parameters
    ----------
    pixels : ndarray, shape (H, W, 3), float32
        sRGB, 0 to 255; transparent parts are composited over white.
    alpha : ndarray, shape (H, W), float32, or None
        0 (transparent) to 255; None if the whole picture is opaque.
    path : str
    sha256 : str
        The checksum of the file's content, 64 hex digits.
    own_size : (int, int)
        Height and width in the file, upright; `pixels` has fewer if a JPEG was decoded smaller.
    profile : bytes or None
        The file's ICC profile.
    """

    pixels: np.ndarray
    alpha: Optional[np.ndarray]
    path: str
    sha256: str
    own_size: tuple[int, int]
    profile: Optional[bytes] = None


def read(
    path: StrPath, *, long_edge: Optional[int] = None, max_pixels: int = MAX_PIXELS
) -> Picture:
    """Read a picture: upright, in sRGB, its first frame if it has several.

    The Exif orientation is applied. Colours are converted to sRGB from an ICC profile (a broken
    one is taken for sRGB), or from the description in PNG and AVIF. The content under an alpha
    channel is composited over white. 16 bits per channel keep their precision in grey and, from
    PNG and TIFF, in RGB, unless only LittleCMS can apply the profile.

    Parameters
    ----------
    path : path-like
    long_edge : int, optional
        A JPEG of more than `max_pixels` is decoded at a half, a quarter or an eighth of its size
        where that has no more, and its long edge at least `long_edge` pixels.
    max_pixels : int, optional
        A picture of more is refused; 0 means that memory alone is the limit.

    Returns
    -------
    Picture

    Raises
    ------
    ImageError
        The file is missing, unreadable, no picture, or of a layout that nst does not read; its
        picture has too many pixels, or is found to be incomplete or damaged. Uncompressed
        formats and the data of GIF, AVIF and JPEG have no checksums: there not all damage shows.
    """
    path = os.fspath(path)
    with opened(path) as (stream, kind):
        content, checksum = content_of(stream)
        head = header_of(kind, io.BytesIO(content))
        image, alpha = decoded(kind, content, head, _shrink(kind, head, long_edge, max_pixels))
        del content
        pixels, alpha = _pixels(image, alpha, head)
    return Picture(pixels, alpha, path, checksum, _upright_size(head), head.profile or None)


def size_of(
    path: StrPath, *, long_edge: Optional[int] = None, max_pixels: int = 0
) -> tuple[int, int]:
    """Return height and width of an upright picture, from its header.

    Parameters
    ----------
    path : path-like
    long_edge, max_pixels : int, optional
        As `read` will get them; with 0 pixels, any size passes. The size is the full one even
        if a JPEG will be read smaller.

    Raises
    ------
    ImageError
        As `read`, for what the header says.
    """
    path = os.fspath(path)
    with opened(path) as (stream, kind):
        head = header_of(kind, stream)
        if max_pixels:
            _shrink(kind, head, long_edge, max_pixels)
    return _upright_size(head)


def _upright_size(head):
    height, width = head.size
    return (width, height) if head.orientation in _TURNED else (height, width)


def is_picture(path: StrPath) -> bool:
    """Return whether a file begins as a picture of a kind that nst reads; it may be broken."""
    try:
        with opened(os.fspath(path)):
            return True
    except ImageError:
        return False


def header_of(kind: str, stream: BinaryIO) -> Header:
    """Return the `Header` of an open file of a kind; raise `Unfit` if it cannot be used."""
    try:
        return _FORMATS[kind].header(stream)
    except Unknown as error:
        raise Broken("its header makes no sense") from error


def _shrink(kind, head, long_edge, max_pixels):
    """Return at what part of its size to decode a picture; refuse one beyond the limits."""
    height, width = head.size
    shrink = 1
    pixels = height * width
    if max_pixels and pixels > max_pixels:
        fitting = _fitting_shrink(head.size, long_edge, max_pixels) if kind == "JPEG" else None
        if fitting is None:
            raise Unfit(
                f"its size of {width} x {height}, {pixels} pixels, exceeds the limit of "
                f"{max_pixels} pixels; give --max-pixels {pixels}, or make it smaller first"
            )
        shrink = fitting
    needed, free = pixels // shrink**2 * _BYTES_PER_PIXEL, machine.free_memory()
    if kind == "JPEG":
        needed += jpeg.working_bytes(head)
    if pixels > _SMALL and free is not None and needed > free:
        raise Unfit(
            f"its {width} x {height} pixels take about {needed / 1e9:.1f} GB of memory, and "
            f"{free / 1e9:.1f} GB can be had; make it smaller first"
        )
    return shrink


def _fitting_shrink(size, long_edge, max_pixels):
    for shrink in _SHRINKS:
        sides = [-(-side // shrink) for side in size]
        if math.prod(sides) <= max_pixels and max(sides) >= (long_edge or math.inf):
            return shrink
    return None


def decoded(kind, content, head, shrink=1):
    """Return the image of a file, and its alpha where the format has it apart, else None."""
    try:
        if shrink > 1:
            return jpeg.decode(content, head, shrink)
        return _FORMATS[kind].decode(content, head)
    except Unknown as error:
        raise Broken("its header makes no sense") from error


def _pixels(image, alpha, head):
    """Return pixels in sRGB over white, and alpha or None."""
    with guarded():
        if isinstance(image, Image.Image):
            image, split_alpha = split(image)
            alpha = split_alpha if alpha is None else alpha
        pixels = upright(to_srgb(image, head.profile), head)
    if head.colours is not None:
        colorimetry.to_srgb(pixels, head.colours)
    alpha = opacity(alpha, head)
    if alpha is not None:
        # In place, because a picture can have a gigabyte of them.
        pixels -= 255
        pixels *= (alpha / 255)[..., None]
        pixels += 255
    return pixels, alpha


def split(image):
    """Return an image of 8 bits per channel or an array of grey of 16; and its alpha apart."""
    # PNG (in older Pillow), PPM and JPEG 2000 bring 16-bit grey in a 32-bit mode.
    is_wide = image.mode == "I" and image.format in ("PNG", "PPM", "JPEG2000")
    if image.mode.startswith("I;16") or is_wide:
        return np.asarray(image).astype(np.uint16)[..., None], None
    if image.mode in ("I", "F"):
        raise Unfit(
            "its pixels are 32-bit numbers, and nothing says which of them is white; save it with "
            "8 or 16 bits per channel"
        )
    alpha = None
    # Colours that were multiplied by their alpha.
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    mode = _COLOUR_MODES.get(image.mode, "RGB")
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
    return image.convert(mode), alpha


def upright(array, head):
    """Return an array of pixels as it is to be seen."""
    turns, is_mirrored = _TURNS.get(head.orientation, (0, False))
    turned = np.rot90(array, turns)
    return np.ascontiguousarray(turned[:, ::-1] if is_mirrored else turned)


def opacity(alpha, head):
    """Return alpha as `Picture` has it."""
    if alpha is None or alpha.min() == 255:
        return None
    return upright(alpha.astype(np.float32), head)
