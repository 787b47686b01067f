"""WebP: whether the compressed data are as long as the picture needs [1]_.

References
----------
.. [1] RFC 9649, WebP Image Format.
"""

import struct
from typing import BinaryIO, Optional

import numpy as np
from PIL import Image

from .header import Header, orientation_of
from .pillow import Unknown, opened
from .source import Broken, Unfit

# A decoder needs at least one of this many bytes at the end of the data.
_TAIL = 16
# Runs of zeros, at the end of the data and inside, that an encoder writes for blank pictures only.
_ZEROS, _HOLE = bytes(256), bytes(4096)


def header(stream: BinaryIO) -> Header:
    """Return the `Header`."""
    content = stream.read()
    length = struct.unpack("<L", content[4:8])[0] + 8
    if length > len(content):
        raise Broken(f"it has {len(content)} bytes of {length}")
    with opened(content, "WEBP") as image:
        width, height = image.size
        exif, profile = image.info.get("exif"), image.info.get("icc_profile")
    return Header((height, width), orientation_of(exif, image.info.get("xmp")), profile, exif=exif)


def decode(content: bytes, head: Header) -> tuple[Image.Image, Optional[np.ndarray]]:
    """Return the image, its first frame, and no alpha apart from the image's own."""
    with opened(content, "WEBP") as image:
        image.load()
    _check_data(content)
    return image, None


def _check_data(content):
    """Refuse data whose end a decoder does not need, because they are zeros or read as less.

    Neither bit stream says where it ends, and zeros decode to something. Decoders notice only
    missing bytes, so this removes some and expects an error.
    """
    frame = _first_frame(content)
    if frame is None:
        return
    name, data = frame
    if data.endswith(_ZEROS) or _HOLE in data:
        raise Broken("a part of its data is nothing but zeros")
    if len(data) < 2 * _TAIL:
        return
    try:
        with opened(_file(name, data[:-_TAIL]), "WEBP") as image:
            image.load()
    except (Unfit, Unknown):
        return
    raise Broken("its data go on after its last row")


def _first_frame(content, start=12):
    """Return name and data of the first chunk that holds a frame."""
    at = start
    while at + 8 <= len(content):
        name, length = struct.unpack_from("<4sL", content, at)
        if name in (b"VP8 ", b"VP8L"):
            return name, content[at + 8 : at + 8 + length]
        # A frame of an animation has 16 bytes of its own, and then chunks.
        at += 24 if name == b"ANMF" else 8 + length + length % 2
    return None


def _file(name, data):
    padding = b"\0" * (len(data) % 2)
    chunk = struct.pack("<4sL", name, len(data)) + data + padding
    return b"RIFF" + struct.pack("<L", 4 + len(chunk)) + b"WEBP" + chunk
