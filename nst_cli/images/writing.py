"""Pixels to files."""

import os
import struct
from typing import Any, Optional

import numpy as np
from PIL import Image, PngImagePlugin

from .. import files
from ..errors import ImageError, OutputError, reason
from ..files import StrPath
from . import ifd, tiff
from . import metadata as carried
from .colour import srgb_bytes

_WRITTEN = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
ENDINGS = tuple(_WRITTEN)
_SAVE_OPTIONS = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    # Lossy like JPEG, with halved chroma (WebP has no other). Alpha is lossless, and `exact`
    # keeps the colours under it.
    "WEBP": {"quality": 95, "alpha_quality": 100, "method": 4, "exact": True},
}
# Pixels of a side: libjpeg's limit, below JPEG's 65535; WebP's 14 bits; PNG's 31 bits.
_LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383, "PNG": (1 << 31) - 1, "TIFF": (1 << 32) - 1}
# A JPEG segment counts its length, itself included, in 16 bits.
_JPEG_EXIF_LIMIT = 0xFFFF - 2
# TIFF counts bytes in 32 bits; this much is left for its tags and the profile.
_TIFF_LIMIT, _TIFF_ROOM = 1 << 32, 1 << 16


def write(
    path: StrPath, pixels: np.ndarray, alpha: Any = None, metadata: Optional[dict] = None
) -> None:
    """Write a picture in the format of its name's ending, with an sRGB profile.

    The file is written whole or not at all, and the same arguments give the same bytes.

    Parameters
    ----------
    path : path-like
    pixels : ndarray, shape (H, W, 3), uint8
        sRGB.
    alpha : ndarray, shape (H, W), optional
        0 to 255; left out where the format has no place for it (see `holds_alpha`).
    metadata : dict, optional
        What JSON can hold. PNG keeps it as text under the keyword ``nst``; the others as an Exif
        user comment, ``{"nst": metadata}``.

    Raises
    ------
    ImageError
        The ending is unknown, the format cannot hold the size or the metadata, or writing failed.
    """
    path = os.fspath(path)
    kind = _format(path)
    height, width = pixels.shape[:2]
    check_size(path, height, width, alpha, metadata)
    if alpha is not None and holds_alpha(path):
        opacity = np.rint(np.clip(alpha, 0, 255)).astype(np.uint8)
        pixels = np.dstack([pixels, opacity])
    try:
        with files.replacing(path) as temporary:
            if kind == "TIFF":
                _write_tiff(temporary, pixels, metadata)
            else:
                _write_by_pillow(temporary, kind, pixels, metadata)
    # ValueError is how an encoder refuses a size beyond its format.
    except (OSError, ValueError) as error:
        raise ImageError(f"Cannot write {path}: {reason(error)}.") from error


def check_size(
    path: StrPath,
    height: int,
    width: int,
    alpha: Any = False,
    metadata: Optional[dict] = None,
) -> None:
    """Check, before the long work, that a format supports a picture.

    Parameters
    ----------
    path : path-like
    height, width : int
    alpha : bool, ndarray or None, optional
        Alpha as `write` will get it, or whether it will.
    metadata : dict, optional
        As `write` will get it.

    Raises
    ------
    ImageError
        The ending is unknown, or the format cannot hold the size or the metadata.
    """
    path = os.fspath(path)
    kind = _format(path)
    if max(height, width) > _LONGEST_SIDE[kind]:
        raise ImageError(
            f"Cannot write {path}: its {width} x {height} pixels are too many for the format, "
            f"which holds {_LONGEST_SIDE[kind]} a side; {_advice(kind)}."
        )
    has_alpha = alpha is not None and alpha is not False
    size = height * width * (4 if has_alpha else 3)
    text = len(carried.text_of(metadata)) if metadata is not None else 0
    if kind == "TIFF" and size + text + _TIFF_ROOM > _TIFF_LIMIT:
        raise ImageError(
            f"Cannot write {path}: its {width} x {height} pixels take {size} bytes, and a TIFF "
            f"holds less than {_TIFF_LIMIT}; {_advice(kind)}."
        )
    if kind == "JPEG" and metadata is not None:
        length = len(carried.exif_block(metadata, height, width))
        if length > _JPEG_EXIF_LIMIT:
            raise ImageError(
                f"Cannot write {path}: the metadata take {length} bytes and a JPEG holds "
                f"{_JPEG_EXIF_LIMIT}; choose a name that ends in .png, .tif or .webp."
            )


def holds_alpha(path: StrPath) -> bool:
    """Return whether the format that `path` names keeps an alpha channel; JPEG does not.

    Raises
    ------
    ImageError
        The ending is unknown.
    """
    return _format(path) != "JPEG"


def check_ending(path: StrPath) -> None:
    """Check, before the long work, that `write` supports the ending of `path`.

    Raises
    ------
    ImageError
    """
    _format(os.fspath(path))


def _format(path):
    try:
        return _WRITTEN[files.ending_of(path, ENDINGS)]
    except OutputError as error:
        raise ImageError(str(error)) from error


def _advice(kind):
    other = ".tif" if kind == "PNG" else ".png"
    return f"choose a name that ends in {other}, or a smaller --size"


def _write_by_pillow(path, kind, pixels, metadata):
    options = dict(_SAVE_OPTIONS[kind], icc_profile=srgb_bytes())
    if metadata is not None and kind == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_text(carried.KEYWORD, carried.text_of(metadata))
        options["pnginfo"] = texts
    elif metadata is not None:
        options["exif"] = carried.exif_block(metadata, *pixels.shape[:2])
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, kind, **options)


def _write_tiff(path, pixels, metadata):
    """Write an uncompressed TIFF of one strip, its tags after its pixels.

    By hand, because Pillow writes the user comment as BYTE, and its compressing writer cannot hold
    the Exif folder in every version.
    """
    pixels = np.ascontiguousarray(pixels)
    height, width, samples = pixels.shape
    data = memoryview(pixels).cast("B")
    padding = len(data) % 2
    tags = {
        tiff.WIDTH: (ifd.LONG, (width,)),
        tiff.HEIGHT: (ifd.LONG, (height,)),
        tiff.BITS: (ifd.SHORT, (8,) * samples),
        tiff.COMPRESSION: (ifd.SHORT, (1,)),
        tiff.PHOTOMETRIC: (ifd.SHORT, (2,)),
        tiff.STRIP_OFFSETS: (ifd.LONG, (8,)),
        tiff.SAMPLES: (ifd.SHORT, (samples,)),
        tiff.ROWS_PER_STRIP: (ifd.LONG, (height,)),
        tiff.STRIP_SIZES: (ifd.LONG, (len(data),)),
        tiff.PLANES: (ifd.SHORT, (1,)),
        tiff.PROFILE: (ifd.UNDEFINED, srgb_bytes()),
        **carried.RESOLUTION,
    }
    if samples == 4:
        # Unassociated: colours are not multiplied by it.
        tags[tiff.EXTRA_SAMPLES] = (ifd.SHORT, (2,))
    at = 8 + len(data) + padding
    comment = b""
    if metadata is not None:
        comment = ifd.build(carried.exif_of(metadata), at)
        tags[ifd.EXIF_FOLDER] = (ifd.LONG, (at,))
    folder = ifd.build(tags, at + len(comment))
    with open(path, "wb") as stream:
        stream.write(b"II*\0" + struct.pack("<L", at + len(comment)))
        stream.write(data)
        stream.write(b"\0" * padding + comment + folder)
