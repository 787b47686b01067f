"""Pixels to files."""

import os

import numpy as np
from PIL import Image

from .. import files
from ..errors import ImageError, OutputError, reason
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
    # Uncompressed, because libtiff's compressing writer cannot hold the Exif folder in every
    # Pillow.
    "TIFF": {},
    # Lossy like JPEG, with halved chroma (WebP has no other). Alpha is lossless, and `exact`
    # keeps the colours under it.
    "WEBP": {"quality": 95, "alpha_quality": 100, "method": 4, "exact": True},
}


def write(path, pixels, alpha=None, metadata=None):
    """Write a picture in the format that its name's ending tells, sRGB embedded.

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
        The ending is unknown, the metadata are more than a JPEG can hold, or writing failed.
    """
    path = os.fspath(path)
    kind = _format(path)
    options = dict(_SAVE_OPTIONS[kind], icc_profile=srgb_bytes())
    if metadata is not None:
        options.update(carried.save_options(path, kind, metadata))
    if alpha is not None and holds_alpha(path):
        opacity = np.rint(np.clip(alpha, 0, 255)).astype(np.uint8)
        pixels = np.dstack([pixels, opacity])
    try:
        with files.replacing(path) as temporary:
            Image.fromarray(np.ascontiguousarray(pixels)).save(temporary, kind, **options)
    # ValueError is how an encoder refuses a size beyond its format.
    except (OSError, ValueError) as error:
        raise ImageError(f"Cannot write {path}: {reason(error)}.") from error


# Of a side in pixels, as far as each format can count.
_LONGEST_SIDES = {"PNG": 2**31 - 1, "JPEG": 65535, "TIFF": 2**31 - 1, "WEBP": 16383}
_LARGEST_TIFF = 2**32 - 2**20


def check_size(path, height, width, alpha=None, metadata=None):
    """Check, before the long work, that the format of a picture can hold it.

    Parameters
    ----------
    path : path-like
        Its ending decides the format.
    height, width : int
    alpha : ndarray or None
    metadata : dict, optional
        As `write` will get it.

    Raises
    ------
    ImageError
        The picture or its metadata are too large, or the ending is unknown.
    """
    path = os.fspath(path)
    kind = _format(path)
    longest = _LONGEST_SIDES[kind]
    if max(height, width) > longest:
        raise ImageError(
            f"Cannot write {path}: {width} x {height} pixels, and a side of a {kind} has at most "
            f"{longest}; choose a name that ends in .png, or a smaller size."
        )
    channels = 3 if alpha is None else 4
    if kind == "TIFF" and height * width * channels > _LARGEST_TIFF:
        raise ImageError(
            f"Cannot write {path}: {width} x {height} pixels, and a TIFF has at most 4 GiB; "
            "choose a name that ends in .png, or a smaller size."
        )
    if metadata is not None:
        carried.save_options(path, kind, metadata)


def holds_alpha(path):
    """Tell whether the format that `path` names keeps an alpha channel; JPEG does not.

    Raises
    ------
    ImageError
        The ending is unknown.
    """
    return _format(path) != "JPEG"


def check_ending(path):
    """Find out, before the long work, whether `write` knows the format that `path` ends in.

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
