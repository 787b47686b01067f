"""Files to pixels: upright, in sRGB, the first frame."""

import contextlib
import os
import stat
import warnings
from dataclasses import dataclass
from typing import Optional

import numpy as np
from PIL import Image, UnidentifiedImageError

from .. import files
from ..errors import ImageError, reason
from .colour import to_srgb

# A closed list, because Pillow also opens vector formats, some by starting another program.
_READ = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "AVIF")
_ORIENTATION = 0x0112
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Those that exchange height and width.
_TURNED = (5, 6, 7, 8)
# The modes whose colours a profile may describe; any other becomes RGB.
_COLOUR_MODES = {"1": "L", "L": "L", "LA": "L", "CMYK": "CMYK", "LAB": "LAB"}


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as read from a file.

    Parameters
    ----------
    pixels : ndarray, shape (H, W, 3), float32
        sRGB, 0 to 255; what is transparent lies over white.
    alpha : ndarray, shape (H, W), float32, or None
        0 (transparent) to 255; None if the whole picture is opaque.
    path : str
    sha256 : str
        Of the file's content, 64 hex digits.
    """

    pixels: np.ndarray
    alpha: Optional[np.ndarray]
    path: str
    sha256: str


def read(path):
    """Read a picture: upright, in sRGB, its first frame if it has several.

    The Exif orientation is applied, a colour profile is converted to sRGB (a broken one is taken
    for sRGB), and the content under an alpha channel is composited over white. 16-bit grey keeps
    its precision; 16-bit colour is read with 8 bits.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Picture

    Raises
    ------
    ImageError
        The file is missing, unreadable, no picture, truncated, too large to be trusted, or its
        pixels have no known range.
    """
    path = os.fspath(path)
    checksum = check_regular(path)
    with opened(path) as image:
        image.load()
        profile, is_16_bit = image.info.get("icc_profile"), _is_16_bit(image)
        image = _upright(image)
    if is_16_bit:
        colours, alpha = _split_16_bit(image)
    elif image.mode in ("I", "F"):
        raise ImageError(
            f"Cannot read {path}: its pixels are 32-bit numbers, and nothing tells which of them "
            "is white; save it with 8 or 16 bits per channel."
        )
    else:
        colours, alpha = _split(image)
    pixels = to_srgb(colours, profile)
    if alpha is not None:
        pixels = 255 + (pixels - 255) * (alpha / 255)[..., None]
    return Picture(pixels, alpha, path, checksum)


def size_of(path):
    """Return height and width of an upright picture, from its header.

    Raises
    ------
    ImageError
        As `read`, for what the header tells.
    """
    path = os.fspath(path)
    check_regular(path)
    with opened(path) as image:
        width, height = image.size
        try:
            turned = image.getexif().get(_ORIENTATION) in _TURNED
        except Exception:  # noqa: BLE001
            turned = False
    return (width, height) if turned else (height, width)


def check_regular(path):
    """Return the SHA-256 of a file that must be there, a regular one, and readable."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"Cannot read {path}: it is a folder, not a picture.")
        # A pipe can be read but once, and a device may never end.
        if not stat.S_ISREG(mode):
            raise ImageError(f"Cannot read {path}: it is no regular file; save the picture first.")
        return files.sha256(path)
    except OSError as error:
        raise ImageError(f"Cannot read {path}: {reason(error)}.") from error


@contextlib.contextmanager
def opened(path):
    """Yield the picture that Pillow opened; what goes wrong with it inside is an `ImageError`."""
    Image.init()
    kinds = [kind for kind in _READ if kind in Image.OPEN]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=kinds) as image:
                yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        size = str(error).split(" exceeds")[0]
        raise ImageError(
            f"Cannot read {path}: {size} exceeds the limit of {Image.MAX_IMAGE_PIXELS} pixels; "
            "make the picture smaller first."
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"Cannot read {path}: it is empty, badly broken or not a picture of a kind known "
            f"here ({', '.join(kinds)})."
        ) from error
    # Pillow's decoders raise whatever the broken file made them stumble over.
    except Exception as error:
        raise ImageError(
            f"Cannot read {path}: it is truncated or broken ({reason(error)})."
        ) from error


def _upright(image):
    try:
        transposition = _TRANSPOSITIONS.get(image.getexif().get(_ORIENTATION))
    except Exception:  # noqa: BLE001
        # Unreadable Exif data are no reason to refuse the picture.
        return image
    return image if transposition is None else image.transpose(transposition)


def _is_16_bit(image):
    # PNG (in older Pillow) and PPM bring 16-bit grey in a 32-bit mode.
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _split_16_bit(image):
    """Return a 16-bit grey picture in mode I;16, and its alpha."""
    values = np.asarray(image).astype(np.uint16)
    transparent = image.info.get("transparency")
    alpha = None if transparent is None else np.where(values == transparent, 0, 255)
    return Image.fromarray(values), _opacity(alpha)


def _split(image):
    """Return a picture of 8 bits per channel without its alpha, and the alpha."""
    mode, alpha = _COLOUR_MODES.get(image.mode, "RGB"), None
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
    return image.convert(mode), _opacity(alpha)


def _opacity(alpha):
    return None if alpha is None or alpha.min() == 255 else alpha.astype(np.float32)
