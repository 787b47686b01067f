"""JPEG 2000: colour profile, and layouts that Pillow or OpenJPEG read wrong [1]_.

References
----------
.. [1] ISO/IEC 15444-1:2019, annexes A (codestream) and I (the file format JP2).
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO, Optional

import numpy as np
from PIL import Image

from .boxes import boxes, inside
from .header import Header
from .pillow import opened
from .source import Broken, Unfit

_SIZ = b"\xff\x4f\xff\x51"
_SRGB, _GREY, _SYCC = 16, 17, 18


@dataclass(frozen=True)
class _Codestream:
    """Fields of SIZ: the picture's size, where it begins, bits per component, which are signed."""

    size: tuple[int, int]
    offset: tuple[int, int]
    bits: tuple[int, ...]
    is_signed: bool


def header(stream: BinaryIO) -> Header:
    """Return the `Header`; its details are the bits of each component, one by one."""
    content = stream.read()
    codestream = _codestream(content)
    profile = _check_boxes(content)
    if codestream.offset != (0, 0):
        raise Unfit("its picture begins at an offset, which nst does not read; save it as PNG")
    if codestream.is_signed:
        raise Unfit(
            "its pixels are signed numbers, and nothing says which is white; save it as PNG"
        )
    if len(set(codestream.bits)) > 1 or max(codestream.bits) > 16:
        bits = "/".join(map(str, codestream.bits))
        raise Unfit(f"its channels have {bits} bits, which nst does not read; save it as PNG")
    return Header(codestream.size, profile=profile, details=codestream.bits)


def decode(content: bytes, head: Header) -> tuple[Image.Image, Optional[np.ndarray]]:
    """Return the image, with white at the top of its range, and no alpha but the image's own."""
    # OpenJPEG ignores a profile, and older versions refuse the file.
    with opened(_without_profile(content, head), "JPEG2000", head.size) as image:
        image.load()
    bits, is_grey = head.details[0], image.mode in ("I", "I;16", "I;16B", "I;16L")
    mode_bits = 16 if is_grey else 8
    # A palette's entries have bits of their own.
    is_indexed = image.mode in ("P", "PA") or inside(content, b"jp2h", b"pclr")
    if bits >= mode_bits or is_indexed or image.mode == "CMYK":
        return image, None
    # Shifted to the left, and not scaled.
    top = ((1 << bits) - 1) << (mode_bits - bits)
    scaled = np.rint(np.asarray(image, np.float32) * (((1 << mode_bits) - 1) / top))
    return Image.fromarray(scaled.astype(np.uint16 if is_grey else np.uint8)), None


def _without_profile(content, head):
    """Return a file whose colours are named as sRGB or grey in place of a profile."""
    place = inside(content, b"jp2h")
    if head.profile is None or place is None:
        return content
    colours = struct.pack(
        ">L4s3BL", 15, b"colr", 1, 0, 0, _SRGB if len(head.details) > 2 else _GREY
    )
    inner = b"".join(
        colours
        if name == b"colr"
        else struct.pack(">L4s", 8 + end - start, name) + content[start:end]
        for name, start, end in boxes(content, *place)
    )
    start, end = place
    return b"".join(
        (content[: start - 8], struct.pack(">L4s", 8 + len(inner), b"jp2h"), inner, content[end:])
    )


def _codestream(content):
    start = content.find(_SIZ)
    fields = content[start + 6 : start + 42]
    if start < 0 or len(fields) < 36:
        raise Broken("no codestream begins in it")
    _, x1, y1, x0, y0, *_, count = struct.unpack(">H8LH", fields)
    components = content[start + 42 : start + 42 + 3 * count]
    if len(components) < 3 * count or not count or x1 <= x0 or y1 <= y0:
        raise Broken("its header makes no sense")
    depths = components[::3]
    return _Codestream(
        size=(y1 - y0, x1 - x0),
        offset=(y0, x0),
        bits=tuple((depth & 0x7F) + 1 for depth in depths),
        is_signed=any(depth & 0x80 for depth in depths),
    )


def _check_boxes(content):
    """Return the ICC profile of a JP2 file or None; refuse channels that are not in order."""
    place = inside(content, b"jp2h")
    if place is None:
        return None
    colours = profile = None
    is_permuted = is_mapped = False
    for name, start, end in boxes(content, *place):
        data = content[start:end]
        # The first specification is the one to use (I.5.3.3).
        if name == b"colr" and colours is None and profile is None:
            if data[:1] == b"\1" and len(data) >= 7:
                (colours,) = struct.unpack_from(">L", data, 3)
            elif data[:1] in (b"\2", b"\3"):
                profile = data[3:]
        elif name == b"cdef":
            is_permuted = _is_permuted(data)
        elif name == b"cmap":
            is_mapped = data != b"".join(
                struct.pack(">HBB", 0, 1, n) for n in range(len(data) // 4)
            )
    if is_mapped or (is_permuted and colours == _SYCC):
        raise Unfit("its channels are stored in an order that nst does not read; save it as PNG")
    return profile


def _is_permuted(data):
    """Return whether a channel definition gives colours to channels out of order."""
    entries = [struct.unpack_from(">3H", data, at) for at in range(2, len(data) - 5, 6)]
    return any(kind == 0 and colour not in (0, index + 1) for index, kind, colour in entries)
