"""AVIF: colours and cropping, which Pillow leaves out, and data that end in zeros [1]_.

References
----------
.. [1] AV1 Image File Format, AOMedia; ISO/IEC 23008-12 (HEIF) and 14496-12 (its boxes).
"""

import struct
from fractions import Fraction
from typing import BinaryIO, Optional

import numpy as np
from PIL import Image

from . import colorimetry
from .boxes import Fields, boxes, inside
from .header import Header, orientation_of
from .pillow import opened
from .source import Broken, Unfit

# Arithmetic coding never gives this run, and its last byte is not 0 (AV1 specification, 8.2.4).
_HOLE = bytes(64)


def header(stream: BinaryIO) -> Header:
    """Return the `Header`; its details are the box that `clap` crops to, or None."""
    content = stream.read()
    with opened(content, "AVIF") as image:
        (width, height), info = image.size, image.info
    properties = _properties(content)
    colours = profile = None
    for data in properties.get(b"colr", ()):
        if data[:4] == b"nclx" and len(data) >= 8:
            colours = colorimetry.of_code_points(*struct.unpack_from(">2H", data, 4))
        elif data[:4] in (b"prof", b"rICC"):
            profile = data[4:]
    box = _crop(properties.get(b"clap", ()), width, height)
    if box:
        width, height = box[2] - box[0], box[3] - box[1]
    # Pillow puts rotation and mirroring into the Exif data.
    orientation = orientation_of(info.get("exif"))
    # A profile takes precedence, and nclx then describes the coding alone (MIAF, 7.3.6.4).
    colours = None if profile else colours
    return Header((height, width), orientation, profile, colours, info.get("exif"), details=box)


def decode(content: bytes, head: Header) -> tuple[Image.Image, Optional[np.ndarray]]:
    """Return the image, its first frame, and no alpha apart from the image's own."""
    for start, end in _extents(content):
        if end > len(content):
            raise Broken("its data lie beyond its end")
        if end - start > len(_HOLE) and content[end - len(_HOLE) : end] == _HOLE:
            raise Broken("the end of its data is nothing but zeros")
    with opened(content, "AVIF") as image:
        image.load()
    return (image.crop(head.details) if head.details else image), None


def _properties(content):
    """Return the properties of the primary item, a dict of names to lists of bytes."""
    meta, primary = _meta(content)
    container, links = inside(meta, b"iprp", b"ipco"), inside(meta, b"iprp", b"ipma")
    if container is None or links is None:
        return {}
    every = [(name, meta[start:end]) for name, start, end in boxes(meta, *container)]
    properties: dict = {}
    for index in _links(meta[slice(*links)], primary):
        if 0 < index <= len(every):
            name, data = every[index - 1]
            properties.setdefault(name, []).append(data)
    return properties


def _meta(content):
    """Return the content of the box meta, after its version and flags, and the primary item."""
    start, end = inside(content, b"meta") or (0, 0)
    meta = content[start + 4 : end]
    fields = Fields(meta[slice(*(inside(meta, b"pitm") or (0, 0)))])
    version, _ = fields.number(1), fields.number(3)
    return meta, fields.number(4 if version else 2)


def _links(data, item):
    """Return the numbers of the properties of an item, counted from 1 (box ipma)."""
    fields = Fields(data)
    version, flags, count = fields.number(1), fields.number(3), fields.number(4)
    for _ in range(count):
        if fields.is_at_end:
            break
        owner, size = fields.number(4 if version else 2), 2 if flags & 1 else 1
        # The highest bit says whether a reader has to know the property.
        mask = (1 << (8 * size - 1)) - 1
        numbers = [fields.number(size) & mask for _ in range(fields.number(1))]
        if owner == item:
            return numbers
    return []


def _extents(content):
    """Return where the data of the primary item lie, as (start, end) (box iloc)."""
    meta, primary = _meta(content)
    fields = Fields(meta[slice(*(inside(meta, b"iloc") or (0, 0)))])
    version, _, sizes = fields.number(1), fields.number(3), fields.number(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version in (1, 2) else 0
    for _ in range(fields.number(4 if version == 2 else 2)):
        if fields.is_at_end:
            break
        item = fields.number(4 if version == 2 else 2)
        method = fields.number(2) & 15 if version in (1, 2) else 0
        fields.number(2)
        base = fields.number(base_size)
        extents = []
        for _ in range(fields.number(2)):
            fields.number(index_size)
            start = base + fields.number(offset_size)
            extents.append((start, start + fields.number(length_size)))
            if fields.is_at_end:
                break
        # Method 0 counts from the start of the file.
        if item == primary and method == 0:
            return extents
    return []


def _crop(boxes_of_clap, width, height):
    """Return the box that a clean aperture leaves, or None where it leaves all."""
    if not boxes_of_clap or len(boxes_of_clap[0]) < 32:
        return None
    numbers = struct.unpack(">LLLLlLlL", boxes_of_clap[0][:32])
    if not all(numbers[1::2]):
        return None
    across, down, right, below = map(Fraction, numbers[::2], numbers[1::2])
    # `right` and `below` are the distance of its centre from that of the picture.
    left = (width - across) / 2 + right
    top = (height - down) / 2 + below
    box = left, top, left + across, top + down
    is_inside = 0 <= left < box[2] <= width and 0 <= top < box[3] <= height
    if not is_inside or any(side.denominator != 1 for side in box):
        raise Unfit("its clean aperture, the part to be shown, makes no sense")
    whole = tuple(map(int, box))
    return None if whole == (0, 0, width, height) else whole
