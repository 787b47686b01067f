"""What a picture carries of how it was made: PNG text, or an Exif user comment."""

import json
import os
import struct

from PIL import PngImagePlugin

from ..errors import ImageError
from .reading import check_regular, opened

_METADATA_KEY = "nst"
_EXIF_FOLDER, _EXIF_VERSION, _USER_COMMENT = 0x8769, 0x9000, 0x9286
_ASCII = b"ASCII\0\0\0"
# A JPEG segment counts its length, itself included, in 16 bits.
_JPEG_EXIF_LIMIT = 0xFFFF - 2


def read_metadata(path):
    """Return the metadata that `write` embedded.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict or None
        None if the picture carries none of ours.

    Raises
    ------
    ImageError
        The file cannot be read as a picture.
    """
    path = os.fspath(path)
    check_regular(path)
    with opened(path) as image:
        if image.format == "PNG":
            found = {_METADATA_KEY: _from_json(image.text.get(_METADATA_KEY))}
        else:
            comment = image.getexif().get_ifd(_EXIF_FOLDER).get(_USER_COMMENT)
            is_ascii = isinstance(comment, bytes) and comment.startswith(_ASCII)
            found = _from_json(comment[len(_ASCII) :] if is_ascii else None)
    metadata = found.get(_METADATA_KEY) if isinstance(found, dict) else None
    return metadata if isinstance(metadata, dict) else None


def save_options(path, kind, metadata):
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text(_METADATA_KEY, json.dumps(metadata))
        return {"pnginfo": text}
    exif = _exif(json.dumps({_METADATA_KEY: metadata}))
    if kind == "JPEG" and len(exif) > _JPEG_EXIF_LIMIT:
        raise ImageError(
            f"Cannot write {path}: the metadata take {len(exif)} bytes and a JPEG holds "
            f"{_JPEG_EXIF_LIMIT}; choose a name that ends in .png, .tif or .webp."
        )
    return {"exif": exif}


def _exif(comment):
    """Return an Exif block that holds an ASCII user comment and nothing else.

    Made by hand because Pillow would call the comment BYTE; the standard says UNDEFINED, and
    readers based on exiv2 show it only then.
    """
    comment = _ASCII + comment.encode("ascii")
    # Offsets count from the "II": 8 bytes of header, then 18 and 30 of the two folders.
    header = b"II*\0" + struct.pack("<L", 8)
    root = struct.pack("<HHHLLL", 1, _EXIF_FOLDER, 4, 1, 26, 0)
    version = struct.pack("<HHL4s", _EXIF_VERSION, 7, 4, b"0232")
    pointer = struct.pack("<HHLL", _USER_COMMENT, 7, len(comment), 56)
    folder = struct.pack("<H", 2) + version + pointer + struct.pack("<L", 0)
    return b"Exif\0\0" + header + root + folder + comment


def _from_json(text):
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None
