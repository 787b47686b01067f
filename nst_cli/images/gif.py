"""GIF: the first frame on its canvas [1]_.

References
----------
.. [1] Graphics Interchange Format, Version 89a, CompuServe, 1990.
"""

import struct
from typing import BinaryIO, Optional

import numpy as np
from PIL import Image

from .header import Header
from .pillow import opened
from .source import Broken


def header(stream: BinaryIO) -> Header:
    """Return the `Header`; its details are the first frame's left, top, right and bottom."""
    head = stream.read(13)
    if len(head) < 13:
        raise Broken("it ends within its header")
    width, height, flags = struct.unpack("<HHB", head[6:11])
    if flags & 0x80:
        stream.seek(3 << ((flags & 7) + 1), 1)
    frame = _first_frame(stream)
    # Some writers leave the canvas empty, or smaller than its first frame.
    size = max(height, frame[3]), max(width, frame[2])
    return Header(size, details=frame)


def decode(content: bytes, head: Header) -> tuple[Image.Image, Optional[np.ndarray]]:
    """Return the image, and alpha where the frame leaves some of the canvas free, else None.

    The specification requires the background colour there. Today's viewers and other decoders
    leave it transparent instead.
    """
    with opened(content, "GIF", head.size) as image:
        image.load()
    left, top, right, bottom = head.details
    if (left, top, right, bottom) == (0, 0, image.width, image.height):
        return image, None
    image = image.convert("RGBA")
    alpha = np.zeros((image.height, image.width), np.uint8)
    alpha[top:bottom, left:right] = np.asarray(image.getchannel("A"))[top:bottom, left:right]
    return image, alpha


def _first_frame(stream):
    """Return the place of the first image, passing over extensions."""
    while True:
        kind = stream.read(1)
        if kind == b",":
            data = stream.read(8)
            if len(data) < 8:
                break
            left, top, width, height = struct.unpack("<4H", data)
            if not width or not height:
                raise Broken("its first frame is empty")
            return left, top, left + width, top + height
        if kind == b"!":
            stream.seek(1, 1)
            _skip_blocks(stream)
        elif kind != b"\0":
            break
    raise Broken("no frame begins in it")


def _skip_blocks(stream):
    while True:
        length = stream.read(1)
        if not length or length == b"\0":
            return
        stream.seek(length[0], 1)
