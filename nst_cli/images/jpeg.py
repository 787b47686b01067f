"""JPEG: segments, and whether the compressed data are as long as the picture needs [1]_.

libjpeg fills missing parts with grey, and Pillow hides its warnings. Therefore a picture is
decoded again with changed data. If the data are complete, certain changes must be visible in the
result, and others must not.

References
----------
.. [1] ITU-T T.81 (1992), annexes B (segments) and F (sequential Huffman coding).
"""

import re
import struct
from dataclasses import dataclass, field
from typing import BinaryIO, Optional

import numpy as np
from PIL import Image, ImageChops

from .header import Header, orientation_of
from .pillow import opened
from .source import Broken, Unfit

_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SOI, _EOI, _SOS, _DRI, _APP0, _APP1, _APP2, _APP14 = (
    0xD8,
    0xD9,
    0xDA,
    0xDD,
    0xE0,
    0xE1,
    0xE2,
    0xEE,
)
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
# Besides frames: Huffman tables, arithmetic conditioning, quantisation tables, number of lines.
_TABLES = (0xC4, 0xCC, 0xDB, 0xDC, _DRI)
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)
# A marker that ends compressed data: not a stuffed zero, and no restart.
_END_OF_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
# Surplus data for a complete scan: enough to fill visible blocks, of some bytes each.
_FILLER, _INTERVAL_FILLER = b"\x55" * 65536, b"\x55" * 512
# A decoder needs some of this many bytes at the end of a scan; zeros after them are harmless.
_TAIL, _PADDING = 8, 16
_HOLE = bytes(256)
# Encoders make about ten. Each goes over the whole picture, however few bytes it has.
_MOST_SCANS = 100


@dataclass
class _Frame:
    """Fields of SOF: its marker, bits per sample, and (horizontal, vertical) by component."""

    marker: int
    precision: int
    sampling: dict[int, tuple[int, int]]


@dataclass
class _Parts:
    """Where a file's segments and compressed data are, as (start, end).

    For each scan it has the restart interval, in MCUs, the components, and Ss, Se and Al.
    """

    size: tuple = ()
    frame: Optional[_Frame] = None
    exif: bytes = b""
    xmp: bytes = b""
    profile: dict = field(default_factory=dict)
    kept: list = field(default_factory=list)
    scans: dict = field(default_factory=dict)
    interval: int = 0
    is_ended: bool = False


def header(stream: BinaryIO) -> Header:
    """Return the `Header`; its details are the parts of the file."""
    parts = _parts(stream.read())
    if not parts.size:
        raise Broken("no frame begins in it")
    if not all(parts.size):
        raise Broken(f"{parts.size[1]} x {parts.size[0]} pixels")
    if parts.frame.marker in _LOSSLESS or parts.frame.precision != 8:
        kind = "lossless " if parts.frame.marker in _LOSSLESS else ""
        raise Unfit(
            f"it is a {kind}JPEG of {parts.frame.precision} bits, which nst does not read; save "
            "it as PNG or TIFF"
        )
    profile = b"".join(data for _, data in sorted(parts.profile.items())) or None
    return Header(
        parts.size, orientation_of(parts.exif, parts.xmp), profile, exif=parts.exif, details=parts
    )


def working_bytes(head: Header) -> int:
    """Return the bytes of coefficients that libjpeg keeps of a progressive picture."""
    is_progressive = head.details.frame.marker == _PROGRESSIVE
    return 2 * 3 * head.size[0] * head.size[1] if is_progressive else 0


def decode(
    content: bytes, head: Header, shrink: int = 1
) -> tuple[Image.Image, Optional[np.ndarray]]:
    """Return the image, at 1 / `shrink` of its size where that is 2, 4 or 8; and no alpha."""
    parts = head.details
    if not parts.scans:
        raise Broken("it ends before its pixels begin")
    if not parts.is_ended:
        raise Broken("its end marker is missing")
    if len(parts.scans) > _MOST_SCANS:
        raise Broken(f"it has {len(parts.scans)} scans, and a picture needs about ten")
    image = _decoded(_stream(content, parts), head, shrink)
    if parts.frame.marker in (_BASELINE, _EXTENDED, _PROGRESSIVE):
        _check_data(content, head, image, shrink)
    return image, None


def _decoded(content, head, shrink):
    with opened(content, "JPEG", head.size) as image:
        if shrink > 1:
            height, width = head.size
            image.draft(None, (width // shrink, height // shrink))
        image.load()
        return image


# -- Segments -------------------------------------------------------------------------------------


def _parts(content):
    parts, at = _Parts(), 2
    while True:
        match = _MARKER.search(content, at)
        if match is None:
            return parts
        marker, at = content[match.end() - 1], match.end()
        if marker == _EOI:
            parts.is_ended = True
            return parts
        if marker == _SOI:
            raise Broken("another picture begins in the middle of it")
        # Without a length; libjpeg passes over them as well.
        if marker == 1 or 0xD0 <= marker <= 0xD7:
            continue
        if at + 2 > len(content):
            return parts
        start, at = at - 2, at + struct.unpack_from(">H", content, at)[0]
        if at > len(content):
            return parts
        _note(parts, marker, content[start + 4 : at])
        if _is_kept(marker, content[start + 4 : at]):
            parts.kept.append((start, at))
        if marker == _SOS:
            match = _END_OF_SCAN.search(content, at)
            end = match.start() if match else len(content)
            # A marker may have several bytes FF before it.
            while end > at and content[end - 1] == 0xFF:
                end -= 1
            parts.kept.append((at, end))
            names = content[start + 5 : at][: 2 * content[start + 4] : 2]
            first, last, approximation = content[at - 3 : at]
            parts.scans[at, end] = (parts.interval, names, first, last, approximation & 15)
            at = end


def _note(parts, marker, data):
    """Store the properties of the picture that a segment describes."""
    if marker in _SOF and len(data) >= 6 and not parts.size:
        precision, height, width, count = struct.unpack(">BHHB", data[:6])
        triples = zip(data[6 : 6 + 3 * count : 3], data[7 : 6 + 3 * count : 3])
        sampling = {name: (both >> 4, both & 15) for name, both in triples}
        parts.size, parts.frame = (height, width), _Frame(marker, precision, sampling)
    elif marker == _DRI and len(data) >= 2:
        (parts.interval,) = struct.unpack(">H", data[:2])
    elif marker == _APP1 and data.startswith(b"Exif\0\0") and not parts.exif:
        parts.exif = data
    elif marker == _APP1 and data.startswith(_XMP) and not parts.xmp:
        parts.xmp = data
    elif marker == _APP2 and data.startswith(b"ICC_PROFILE\0") and len(data) > 14:
        parts.profile.setdefault(data[12], data[14:])


def _is_kept(marker, data):
    is_jfif = marker == _APP0 and data.startswith(b"JFIF\0")
    is_adobe = marker == _APP14 and data.startswith(b"Adobe")
    return marker in _SOF or marker in _TABLES or marker == _SOS or is_jfif or is_adobe


def _stream(content, parts, edited=None):
    """Return the file with only the segments that pixels need; `edited` replaces scans' data."""
    edited = edited or {}
    pieces = [edited.get(place) or content[slice(*place)] for place in parts.kept]
    return b"".join((b"\xff\xd8", *pieces, b"\xff\xd9"))


# -- Completeness of the data ---------------------------------------------------------------------


def _check_data(content, head, image, shrink):
    """Refuse data that end before or after the last row."""
    parts = head.details
    _check_scans(parts)
    _check_restarts(content, head)
    longer = {place: _with_filler(content[slice(*place)]) for place in parts.scans}
    box = _difference(image, _decoded(_stream(content, parts, longer), head, shrink))
    # A truncated last unit, with a margin for the upsampling of chroma, is invisible.
    largest = 2 + 8 * max(max(factors) for factors in parts.frame.sampling.values())
    if box and max(box[2] - box[0], box[3] - box[1]) > largest:
        raise Broken("its data end before its rows do")
    *others, last = parts.scans
    for place in (*(other for other in others if _HOLE in content[slice(*other)]), last):
        _check_tail(content, head, image, shrink, place)


def _check_scans(parts):
    """Refuse a file that lacks bits of some coefficients."""
    missing = {(name, index) for name in parts.frame.sampling for index in range(64)}
    for _, names, first, last, approximation in parts.scans.values():
        if approximation == 0 or parts.frame.marker != _PROGRESSIVE:
            missing -= {(name, index) for name in names for index in range(first, last + 1)}
    if missing:
        raise Broken("some of its scans are missing")


def _check_restarts(content, head):
    """Compare the restart markers of each scan with those that its size needs, and their order."""
    parts = head.details
    for place, (interval, names, *_) in parts.scans.items():
        if not interval:
            continue
        numbers = [match[0][1] & 7 for match in _RESTART.finditer(content, *place)]
        needed = -(-_units(parts, names) // interval) - 1
        # Some writers put one after the last interval too.
        in_order = numbers == [n % 8 for n in range(len(numbers))]
        if not in_order or len(numbers) not in (needed, needed + 1):
            raise Broken("its restart markers are not those that its size needs")


def _units(parts, names):
    """Return how many MCUs a scan has (A.2.2 for one component, A.2.3 for several)."""
    across, down = (max(factors) for factors in zip(*parts.frame.sampling.values()))
    horizontal, vertical = (
        parts.frame.sampling.get(names[0], (1, 1)) if len(names) == 1 else (1, 1)
    )
    height, width = parts.size
    return _ceil(width * horizontal, 8 * across) * _ceil(height * vertical, 8 * down)


def _ceil(value, divisor):
    return -(-value // divisor)


def _with_filler(data):
    """Return data with surplus after each interval, which shows only if data are missing."""
    return _RESTART.sub(lambda match: _INTERVAL_FILLER + match[0], data) + _FILLER


def _check_tail(content, head, image, shrink, place):
    """Refuse a scan whose last bytes do not affect the picture."""
    data = content[slice(*place)]
    kept = data.rstrip(b"\0")
    if len(data) - len(kept) > _PADDING:
        kept = data
    length = _TAIL * shrink * shrink
    if len(kept) < 2 * length:
        return
    for mask in (0x5A, 0x33):
        # A byte FF before a stuffed zero goes with it.
        start = len(kept) - length - (kept[-length - 1] == 0xFF)
        tail = bytes(min(byte ^ mask, 0xFE) for byte in kept[start:])
        changed = {place: kept[:start] + tail}
        other = _decoded(_stream(content, head.details, changed), head, shrink)
        if any(_differences(image, other)):
            return
    raise Broken("its data go on after its last row")


def _difference(first, second):
    """Return the box in which two images differ, or None."""
    boxes = list(_differences(first, second))
    if not boxes:
        return None
    sides = list(zip(*boxes))
    return min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3])


def _differences(first, second, rows=512):
    """Yield boxes in which two images differ, from the bottom up."""
    for top in reversed(range(0, first.height, rows)):
        band = 0, top, first.width, min(top + rows, first.height)
        box = ImageChops.difference(first.crop(band), second.crop(band)).getbbox()
        if box:
            yield box[0], box[1] + top, box[2], box[3] + top
