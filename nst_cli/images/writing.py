"""Pixels to files."""

import os
import struct
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
from PIL import Image, PngImagePlugin

from .. import files
from ..errors import ConfigError, ImageError, OutputError, reason
from ..files import StrPath
from . import ifd, tiff, wide_png
from . import metadata as carried
from .arrays import row_bands
from .colour import from_srgb, srgb_bytes

_WRITTEN = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
ENDINGS = tuple(_WRITTEN)
_QUALITY, _CHROMA = 95, "4:4:4"
_SAVE_OPTIONS = {
    "PNG": {},
    "JPEG": {},
    # Lossy like JPEG. Alpha is lossless, and `exact` keeps the colours under it.
    "WEBP": {"alpha_quality": 100, "method": 4, "exact": True},
}
# The formats of 8 and 16 bits, without loss.
_WIDE = ("PNG", "TIFF")
# The only one of WebP.
_WEBP_CHROMA = "4:2:0"
# Pixels of a side: libjpeg's limit, below JPEG's 65535; WebP's 14 bits; PNG's 31 bits.
_LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383, "PNG": (1 << 31) - 1, "TIFF": (1 << 32) - 1}
# A JPEG segment counts its length, itself included, in 16 bits.
_JPEG_EXIF_LIMIT = 0xFFFF - 2
# TIFF counts bytes in 32 bits; this much is left for its tags and the profile.
_TIFF_LIMIT, _TIFF_ROOM = 1 << 32, 1 << 16


@dataclass(frozen=True)
class Encoding:
    """How the pixels of a picture are stored.

    Attributes
    ----------
    bits : int
        Per channel: 8, or 16 in PNG and TIFF.
    quality : int or None
        That of JPEG and WebP, 1 to 100; None for 95.
    chroma : str or None
        Subsampling of JPEG and WebP, such as ``4:2:0``; None for the best that the format has.
    profile : bytes or None
        The ICC profile to convert to and embed; None for that of sRGB.
    """

    bits: int = 8
    quality: Optional[int] = None
    chroma: Optional[str] = None
    profile: Optional[bytes] = None


_USUAL = Encoding()


def write(
    path: StrPath,
    pixels: np.ndarray,
    alpha: Any = None,
    metadata: Optional[dict] = None,
    encoding: Encoding = _USUAL,
) -> None:
    """Write a picture in the format of its name's ending, with a colour profile.

    The file is written whole or not at all, and the same arguments give the same bytes.

    Parameters
    ----------
    path : path-like
    pixels : ndarray, shape (H, W, 3), uint8 or float
        sRGB, 0 to 255.
    alpha : ndarray, shape (H, W), optional
        0 to 255; left out where the format has no place for it (see `holds_alpha`).
    metadata : dict, optional
        What JSON can hold. PNG keeps it as text under the keyword ``nst``; the others as an Exif
        user comment, ``{"nst": metadata}``.
    encoding : Encoding, optional
        What the format does not have of it is ignored; see `check_encoding`.

    Raises
    ------
    ImageError
        The ending is unknown, the format cannot hold the size or the metadata, or writing failed.
    """
    path = os.fspath(path)
    kind = _format(path)
    height, width = pixels.shape[:2]
    check_size(path, height, width, alpha, metadata, encoding)
    if encoding.profile is not None:
        pixels = from_srgb(pixels, encoding.profile)
    bits = encoding.bits if kind in _WIDE else 8
    samples = _samples(pixels, alpha if holds_alpha(path) else None, bits)
    try:
        with files.replacing(path) as temporary:
            if kind == "TIFF":
                _write_tiff(temporary, samples, metadata, encoding)
            elif bits == 16:
                _write_wide_png(temporary, samples, metadata, encoding)
            else:
                _write_by_pillow(temporary, kind, samples, metadata, encoding)
    # ValueError is how an encoder refuses a size beyond its format.
    except (OSError, ValueError) as error:
        raise ImageError(f"Cannot write {path}: {reason(error)}.") from error


def check_size(
    path: StrPath,
    height: int,
    width: int,
    alpha: Any = False,
    metadata: Optional[dict] = None,
    encoding: Encoding = _USUAL,
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
    encoding : Encoding, optional
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
    size = height * width * (4 if has_alpha else 3) * encoding.bits // 8
    text = len(carried.text_of(metadata)) if metadata is not None else 0
    profile = len(encoding.profile or b"")
    if kind == "TIFF" and size + text + profile + _TIFF_ROOM > _TIFF_LIMIT:
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


def check_encoding(path: StrPath, encoding: Encoding) -> None:
    """Check, before the long work, that a format has what an encoding asks for.

    Raises
    ------
    ConfigError
        The format has no such bits, quality or chroma; its field is that of `Config`.
    ImageError
        The ending is unknown.
    """
    path = os.fspath(path)
    kind = _format(path)
    of_kind = f"{path} is to be a {'WebP' if kind == 'WEBP' else kind}"
    if encoding.bits != 8 and kind not in _WIDE:
        raise ConfigError(
            f"bits {encoding.bits} needs PNG or TIFF, and {of_kind}: choose a name that ends in "
            ".png or .tif, or leave it out.",
            "bits",
        )
    for name in ("quality", "chroma"):
        value = getattr(encoding, name)
        if value is not None and kind in _WIDE:
            raise ConfigError(
                f"{name} {value} is for JPEG and WebP, and {of_kind}: leave it out, or choose a "
                "name that ends in .jpg or .webp.",
                name,
            )
    if kind == "WEBP" and encoding.chroma not in (None, _WEBP_CHROMA):
        raise ConfigError(
            f"chroma {encoding.chroma} is for JPEG, and {of_kind}, which has {_WEBP_CHROMA} "
            "alone: leave it out, or choose a name that ends in .jpg.",
            "chroma",
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


def _samples(pixels, alpha, bits):
    """Return pixels, and alpha if there is any, as one array of whole numbers."""
    kind, white = (np.uint8, 255) if bits == 8 else (np.uint16, 65535)
    if pixels.dtype == kind == np.uint8 and alpha is None:
        return pixels
    samples = np.empty((*pixels.shape[:2], 3 if alpha is None else 4), kind)
    for rows in row_bands(pixels.shape):
        samples[rows, :, :3] = _whole(pixels[rows], white)
        if alpha is not None:
            samples[rows, :, 3] = _whole(alpha[rows], white)
    return samples


def _whole(values, white):
    """Return values from 0 to 255 as whole numbers up to `white`."""
    if values.dtype == np.uint8 and white == 255:
        return values
    return np.rint(np.clip(values, 0, 255) * (white / 255))


def _profile(encoding):
    return srgb_bytes() if encoding.profile is None else encoding.profile


def _write_wide_png(path, samples, metadata, encoding):
    text = None if metadata is None else (carried.KEYWORD, carried.text_of(metadata))
    with open(path, "wb") as stream:
        wide_png.write(stream, samples, _profile(encoding), text)


def _write_by_pillow(path, kind, pixels, metadata, encoding):
    options = dict(_SAVE_OPTIONS[kind], icc_profile=_profile(encoding))
    if kind != "PNG":
        options["quality"] = encoding.quality or _QUALITY
    if kind == "JPEG":
        options["subsampling"] = encoding.chroma or _CHROMA
    if metadata is not None and kind == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_text(carried.KEYWORD, carried.text_of(metadata))
        options["pnginfo"] = texts
    elif metadata is not None:
        height, width = pixels.shape[:2]
        options["exif"] = carried.exif_block(metadata, height, width, encoding.profile is None)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, kind, **options)


def _write_tiff(path, pixels, metadata, encoding):
    """Write an uncompressed TIFF of one strip, its tags after its pixels.

    By hand, because Pillow writes the user comment as BYTE, and its compressing writer cannot hold
    the Exif folder in every version.
    """
    bits = 8 * pixels.itemsize
    pixels = np.ascontiguousarray(pixels, f"<u{pixels.itemsize}")
    height, width, samples = pixels.shape
    data = memoryview(pixels).cast("B")
    padding = len(data) % 2
    tags = {
        tiff.WIDTH: (ifd.LONG, (width,)),
        tiff.HEIGHT: (ifd.LONG, (height,)),
        tiff.BITS: (ifd.SHORT, (bits,) * samples),
        tiff.COMPRESSION: (ifd.SHORT, (1,)),
        tiff.PHOTOMETRIC: (ifd.SHORT, (2,)),
        tiff.STRIP_OFFSETS: (ifd.LONG, (8,)),
        tiff.SAMPLES: (ifd.SHORT, (samples,)),
        tiff.ROWS_PER_STRIP: (ifd.LONG, (height,)),
        tiff.STRIP_SIZES: (ifd.LONG, (len(data),)),
        tiff.PLANES: (ifd.SHORT, (1,)),
        tiff.PROFILE: (ifd.UNDEFINED, _profile(encoding)),
        **carried.RESOLUTION,
    }
    if samples == 4:
        # Unassociated: colours are not multiplied by it.
        tags[tiff.EXTRA_SAMPLES] = (ifd.SHORT, (2,))
    at = 8 + len(data) + padding
    comment = b""
    if metadata is not None:
        comment = ifd.build(carried.exif_of(metadata, encoding.profile is None), at)
        tags[ifd.EXIF_FOLDER] = (ifd.LONG, (at,))
    folder = ifd.build(tags, at + len(comment))
    with open(path, "wb") as stream:
        stream.write(b"II*\0" + struct.pack("<L", at + len(comment)))
        stream.write(data)
        stream.write(b"\0" * padding + comment + folder)
