"""nst's metadata in a picture: PNG text, or an Exif user comment."""

import json
import os
import struct
from collections.abc import Mapping
from typing import Any, Optional

from ..files import StrPath
from . import ifd, png
from .header import comment_of
from .reading import header_of
from .source import opened

KEYWORD = "nst"
# A record takes about 3 kB. JSON of a few letters becomes Python objects of a hundred bytes.
_LONGEST = 1 << 20
_ASCII = b"ASCII\0\0\0"
_EXIF_VERSION, _FLASHPIX_VERSION, _COMPONENTS = 0x9000, 0xA000, 0x9101
_COLOUR_SPACE, _WIDTH, _HEIGHT = 0xA001, 0xA002, 0xA003
_UNCALIBRATED = 0xFFFF
_RESOLUTION_UNIT, _X_RESOLUTION, _Y_RESOLUTION, _YCBCR_POSITIONING = 296, 282, 283, 531
# Exif requires a resolution, and 72 dots per inch if it is unknown.
RESOLUTION = {
    _X_RESOLUTION: (ifd.RATIONAL, (72, 1)),
    _Y_RESOLUTION: (ifd.RATIONAL, (72, 1)),
    _RESOLUTION_UNIT: (ifd.SHORT, (2,)),
}


def read_metadata(path: StrPath) -> Optional[dict[str, Any]]:
    """Return the metadata that `write` embedded.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict or None
        None if the picture has no metadata of nst.

    Raises
    ------
    ImageError
        The file cannot be read as a picture.
    """
    with opened(os.fspath(path)) as (stream, kind):
        head = header_of(kind, stream)
        if kind == "PNG":
            text = next(png.texts(stream, KEYWORD.encode("ascii")), None)
            return _dict_of(_from_json(text))
        comment = comment_of(stream if kind == "TIFF" else head.exif)
    if comment is None or not comment.startswith(_ASCII):
        return None
    document = _from_json(comment[len(_ASCII) :])
    return _dict_of(document.get(KEYWORD)) if isinstance(document, dict) else None


def text_of(metadata: Mapping[str, Any]) -> str:
    """Return metadata as the JSON that PNG carries."""
    return json.dumps(metadata)


def exif_of(metadata: Mapping[str, Any], is_srgb: bool = True) -> dict[int, tuple[int, Any]]:
    """Return the folder of Exif data that holds metadata: tags for `ifd.build`.

    Parameters
    ----------
    metadata : dict
    is_srgb : bool
        Whether the picture is in sRGB, else in a profile of its own.

    Notes
    -----
    The user comment is of type UNDEFINED, as Exif has it and readers based on exiv2 need it;
    Pillow would make it BYTE.
    """
    comment = _ASCII + json.dumps({KEYWORD: metadata}).encode("ascii")
    return {
        _EXIF_VERSION: (ifd.UNDEFINED, b"0232"),
        _FLASHPIX_VERSION: (ifd.UNDEFINED, b"0100"),
        _COLOUR_SPACE: (ifd.SHORT, (1 if is_srgb else _UNCALIBRATED,)),
        ifd.USER_COMMENT: (ifd.UNDEFINED, comment),
    }


def exif_block(
    metadata: Mapping[str, Any], height: int, width: int, is_srgb: bool = True
) -> bytes:
    """Return metadata as Exif data of their own, as JPEG and WebP hold them."""
    # Exif requires these tags for compressed pictures, and forbids them for others.
    folder = {
        **exif_of(metadata, is_srgb),
        _COMPONENTS: (ifd.UNDEFINED, b"\1\2\3\0"),
        _WIDTH: (ifd.LONG, (width,)),
        _HEIGHT: (ifd.LONG, (height,)),
    }
    root = {**RESOLUTION, _YCBCR_POSITIONING: (ifd.SHORT, (1,)), ifd.EXIF_FOLDER: (ifd.LONG, (0,))}
    # The length of the root does not depend on the pointer in it.
    root[ifd.EXIF_FOLDER] = (ifd.LONG, (8 + len(ifd.build(root, 8)),))
    start = ifd.build(root, 8)
    header = b"II*\0" + struct.pack("<L", 8)
    return b"Exif\0\0" + header + start + ifd.build(folder, 8 + len(start))


def _from_json(text):
    if text is None or len(text) > _LONGEST:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _dict_of(value):
    return value if isinstance(value, dict) else None
