"""PNG: chunks, their checksums and their order of precedence [1]_.

Pillow receives only the chunks that pixels need, without long texts, large profiles and irrelevant
broken chunks.

References
----------
.. [1] Portable Network Graphics (PNG) Specification (Third Edition), W3C, 2025.
"""

import itertools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Optional, Union

import numpy as np
from PIL import Image

from . import colorimetry
from .header import Header, orientation_of
from .pillow import opened
from .source import Broken, Unfit

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, RGB, _PALETTE, _GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
_CHANNELS = {_GREY: 1, RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, RGBA: 4}
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_KEPT = (b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"iCCP", b"eXIf")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# The largest profile, unpacked; printers' have a few MiB.
_LARGEST_PROFILE = 64 << 20
# The longest text, unpacked, and how many of one keyword are looked at.
_LONGEST_TEXT, _MOST_TEXTS = 16 << 20, 8
# Characters of Exif data in a text. JPEG, which they come from, has at most 64 KiB.
_LONGEST_EXIF = 1 << 20
# Column and row of the first pixel, and steps, of the passes of interlacing.
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # fmt: skip


@dataclass(frozen=True)
class _Details:
    """Fields of IHDR, and the data of the chunks that are kept."""

    depth: int
    colour: int
    interlaced: bool
    chunks: dict[bytes, bytes]


def header(stream: BinaryIO) -> Header:
    """Return the `Header`; the checksums of chunks other than the kept ones are not looked at."""
    chunks: dict = {}
    fields = None
    for name, length, data, is_whole in _chunks(stream, wanted=(b"IHDR", *_KEPT)):
        if name == b"IHDR" and length >= 13 and fields is None:
            fields = struct.unpack(">LLBBBBB", data[:13])
        elif name in _KEPT and is_whole:
            chunks.setdefault(name, data)
        if name == b"CgBI":
            raise Unfit("it is a PNG of Apple's own variant for apps; save it as an ordinary PNG")
        if fields is None:
            raise Broken("its first chunk is not IHDR")
    if fields is None:
        raise Broken("no chunk IHDR")
    width, height, depth, colour, _, _, interlaced = fields
    if not width or not height or colour not in _CHANNELS or depth not in (1, 2, 4, 8, 16):
        raise Unfit(
            f"it is broken and not a picture ({width} x {height} pixels, {depth} bits, colour "
            f"type {colour})"
        )
    profile, colours = _colours(chunks)
    return Header(
        size=(height, width),
        orientation=orientation_of(chunks.get(b"eXIf") or _old_exif(stream), _xmp(stream)),
        profile=profile,
        colours=colours,
        details=_Details(depth, colour, bool(interlaced), chunks),
    )


def decode(
    content: bytes, head: Header
) -> tuple[Union[Image.Image, np.ndarray], Optional[np.ndarray]]:
    """Return the image, and alpha where it is not the image's own, else None.

    The image is an array of uint16 for RGB, or grey with alpha, of 16 bits.
    """
    details = head.details
    reduced = _reduced(content, head)
    key = _transparent_colour(details)
    if details.depth == 16 and details.colour != _GREY:
        values = _wide_values(reduced, details)
        count = values.shape[2] - 1 + values.shape[2] % 2
        if count < values.shape[2]:
            return values[..., :count], values[..., count] / np.float32(257)
        return values, None if key is None else _opaque_but((values == key).all(axis=2))
    with opened(reduced, "PNG", head.size) as image:
        image.load()
    if key is None:
        return image, None
    if details.colour == _GREY:
        values, key = np.asarray(image.convert("L") if image.mode == "1" else image), key[0]
        if details.depth < 8:
            key = key * 255 // ((1 << details.depth) - 1)
        return image, _opaque_but(values == key)
    return image, _opaque_but((np.asarray(image) == key).all(axis=2))


def texts(stream: BinaryIO, keyword: bytes) -> Iterator[str]:
    """Yield the texts with a keyword, without those that cannot be unpacked."""
    chunks = (
        (name, data[len(keyword) + 1 :])
        for name, _, data, is_whole in _chunks(stream, wanted=_TEXTS)
        if name in _TEXTS and is_whole and data.startswith(keyword + b"\0")
    )
    for name, data in itertools.islice(chunks, _MOST_TEXTS):
        text = _text(name, data)
        if text is not None:
            yield text


def _chunks(stream, wanted):
    """Yield name, length, data (of those wanted) and whether the checksum is right, up to IEND."""
    end = stream.seek(0, 2)
    offset = stream.seek(len(SIGNATURE))
    while offset + 12 <= end:
        stream.seek(offset)
        length, name = struct.unpack(">L4s", stream.read(8))
        data, is_whole = b"", True
        if offset + 12 + length > end:
            break
        if name in wanted:
            data = stream.read(length)
            is_whole = zlib.crc32(name + data) == struct.unpack(">L", stream.read(4))[0]
        yield name, length, data, is_whole
        if name == b"IEND":
            return
        offset += 12 + length


def _reduced(content, head):
    """Return the file with the chunks of pixels alone, once checksums and length are right."""
    view, offset, has_end, headers = memoryview(content), len(SIGNATURE), False, 0
    parts: list = [SIGNATURE]
    inflater = _Inflater(_raw_size(head))
    while offset + 12 <= len(view) and not has_end:
        length, name = struct.unpack_from(">L4s", view, offset)
        stop = offset + 12 + length
        if stop > len(view):
            break
        part = view[offset:stop]
        is_critical = not name[0] & 0x20
        if is_critical:
            if zlib.crc32(part[4:-4]) != struct.unpack(">L", part[-4:])[0]:
                raise Broken(f"the checksum of a chunk {_name(name)} is wrong")
            if name not in _CRITICAL:
                raise Unfit(f"it has a chunk {_name(name)}, which nst does not know")
            # Pillow would take the size from the second, and `head` has that of the first.
            headers += name == b"IHDR"
            if headers > 1:
                raise Broken("it has two chunks IHDR")
            parts.append(part)
        elif name == b"tRNS" and head.details.colour == _PALETTE and name in head.details.chunks:
            parts.append(chunk(name, head.details.chunks[name]))
        if name == b"IDAT":
            inflater.take(part[8:-4])
        has_end = name == b"IEND"
        offset = stop
    if not has_end:
        raise Broken("its end, the chunk IEND, is missing")
    inflater.finish()
    return b"".join(parts)


class _Inflater:
    """Counts the unpacked bytes of compressed rows, without keeping them."""

    def __init__(self, needed: int) -> None:
        self._inflate, self._missing = zlib.decompressobj(), needed

    def take(self, data: Union[bytes, memoryview]) -> None:
        while data and self._missing > 0:
            try:
                self._missing -= len(self._inflate.decompress(data, 1 << 20))
            except zlib.error as error:
                raise Broken(f"its pixels cannot be unpacked: {error}") from error
            data = self._inflate.unconsumed_tail

    def finish(self) -> None:
        if self._missing > 0:
            self._missing -= len(self._inflate.flush())
        if self._missing > 0:
            raise Broken("rows are missing")


def _raw_size(head):
    """Return how many bytes the rows take, each after a byte that names its filter."""
    height, width = head.size
    bits = head.details.depth * _CHANNELS[head.details.colour]
    passes = _ADAM7 if head.details.interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))
    return total


def _wide_values(reduced, details):
    """Return the samples of 16 bits, shape (H, W, channels), of which Pillow keeps the upper 8."""
    if details.colour == _GREY_ALPHA:
        # The four bytes of a pixel are read as RGBA of 8 bits, which has the same filters.
        start = len(SIGNATURE) + 8
        fields = reduced[start : start + 8] + bytes([8, RGBA]) + reduced[start + 10 : start + 13]
        same = SIGNATURE + chunk(b"IHDR", fields) + reduced[start + 17 :]
        return np.ascontiguousarray(_bytes_of(same)).view(">u2").astype(np.uint16)
    # Reading with the other byte order gives the lower halves.
    values = _bytes_of(reduced).astype(np.uint16)
    values <<= 8
    values |= _bytes_of(reduced, "RGBA;16L" if details.colour == RGBA else "RGB;16L")
    return values


def _bytes_of(reduced, layout=None):
    """Return the pixels that Pillow reads, in another layout of their bytes if it is given."""
    image: Any
    with opened(reduced, "PNG") as image:
        if layout:
            image.tile = [(*image.tile[0][:3], layout)]
        image.load()
        return np.asarray(image)


def _transparent_colour(details):
    """Return the levels of the colour that tRNS makes transparent, or None."""
    count = {_GREY: 1, RGB: 3}.get(details.colour)
    data = details.chunks.get(b"tRNS", b"")
    if count is None or len(data) < 2 * count:
        return None
    # Below a depth of 16 only the lower `depth` bits count (section 11.3.1.1).
    mask = (1 << details.depth) - 1
    return [level & mask for level in struct.unpack(f">{count}H", data[: 2 * count])]


def _opaque_but(transparent):
    return np.where(transparent, np.uint8(0), np.uint8(255))


def _colours(chunks):
    """Return profile and `Colours`: cICP over iCCP over sRGB over gAMA and cHRM (section 4.3)."""
    if len(chunks.get(b"cICP", b"")) == 4:
        primaries, transfer, *_ = chunks[b"cICP"]
        return None, colorimetry.of_code_points(primaries, transfer)
    profile = _profile(chunks.get(b"iCCP", b""))
    if profile or b"sRGB" in chunks:
        return profile, None
    gamma = primaries = None
    if len(chunks.get(b"gAMA", b"")) == 4:
        gamma = struct.unpack(">L", chunks[b"gAMA"])[0] / 100000
    if len(chunks.get(b"cHRM", b"")) == 32:
        places = [value / 100000 for value in struct.unpack(">8L", chunks[b"cHRM"])]
        primaries = tuple(zip(places[::2], places[1::2]))
    return None, colorimetry.of_gamma(gamma, primaries)


def _old_exif(stream):
    """Return the Exif data that ImageMagick put into a text, before PNG had a chunk for them."""
    text = next(texts(stream, b"Raw profile type exif"), None) or next(
        texts(stream, b"Raw profile type APP1"), ""
    )
    if len(text) > _LONGEST_EXIF:
        return None
    # After a name and a length, in hexadecimal.
    *_, digits = text.strip().split("\n", 2)
    try:
        return bytes.fromhex("".join(digits.split()))
    except ValueError:
        return None


def _xmp(stream):
    text = next(texts(stream, b"XML:com.adobe.xmp"), "")
    return text.encode("utf-8", "replace")


def _profile(data):
    _, _, packed = data.partition(b"\0")
    return _unpacked(packed[1:], _LARGEST_PROFILE) if packed[:1] == b"\0" else None


def _text(name, data):
    """Return the text of a chunk, after its keyword."""
    if name == b"tEXt":
        return data.decode("latin-1")
    if name == b"zTXt":
        unpacked = _unpacked(data[1:], _LONGEST_TEXT)
        return None if unpacked is None else unpacked.decode("latin-1")
    is_packed = data[:1] == b"\1"
    # After two bytes of flags come a language, a translated keyword and the text.
    *_, data = data[2:].split(b"\0", 2)
    text = _unpacked(data, _LONGEST_TEXT) if is_packed else data
    return None if text is None else text.decode("utf-8", "replace")


def _unpacked(data, most):
    try:
        inflate = zlib.decompressobj()
        result = inflate.decompress(data, most)
    except zlib.error:
        return None
    return None if inflate.unconsumed_tail else result


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk: its length, name, data and checksum."""
    return struct.pack(">L4s", len(data), name) + data + struct.pack(">L", zlib.crc32(name + data))


def _name(name):
    return name.decode("ascii", "backslashreplace")
