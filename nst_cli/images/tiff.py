"""TIFF: the first page, read as its tags say [1]_.

Pillow receives the pages that it reads correctly, with only the tags that pixels need.
Uncompressed pages of layouts that it misreads or does not support are read here. RGB of 16 bits,
of which Pillow keeps 8, is decompressed by it as grey. The rest is refused.

References
----------
.. [1] TIFF Revision 6.0, Adobe, 1992, with its Technical Note 1 (SubIFDs) and BigTIFF.
"""

import struct
from typing import BinaryIO, Optional, Union

import numpy as np
from PIL import Image

from . import ifd
from .header import Header, orientation_in
from .pillow import Unknown, opened
from .source import Broken, Unfit

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
FILL_ORDER, STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_SIZES = 266, 273, 277, 278, 279
PLANES, PREDICTOR, COLOR_MAP = 284, 317, 320
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_SIZES = 322, 323, 324, 325
INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, SUBSAMPLING = 332, 338, 339, 530
PROFILE = 34675
_NEW_KIND, _OLD_KIND, _DNG_VERSION = 254, 255, 50706
_REDUCED, _MASK = 1, 4
# A camera's raw file has fewer; and other samples than colours and alpha are not used.
_MOST_SUB_PAGES, _MOST_SAMPLES = 16, 16

# The tags that decoders of pixels read. Others are ignored, even if their types are wrong.
_PIXEL_TAGS = (
    WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, SAMPLES,
    ROWS_PER_STRIP, STRIP_SIZES, PLANES, 292, 293, PREDICTOR, COLOR_MAP, TILE_WIDTH, TILE_HEIGHT,
    TILE_OFFSETS, TILE_SIZES, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, 512, 513, 514, 515,
    517, 518, 519, 520, 521, SUBSAMPLING, 531,
)  # fmt: skip
_SHORTS = (
    BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, SAMPLES, PLANES, PREDICTOR, COLOR_MAP, INK_SET,
    EXTRA_SAMPLES, SAMPLE_FORMAT, 512, 515, 517, 518, SUBSAMPLING, 531,
)  # fmt: skip
_GREY_FROM_WHITE, _GREY, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
_PHOTOMETRICS = {
    0: "grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIELab",
    9: "ICCLab", 10: "ITULab", 32844: "LogL", 32845: "LogLuv",
}  # fmt: skip
# A colour filter array, and linear raw.
_RAW_PHOTOMETRICS = (32803, 34892)
_CCITT = (2, 3, 4)
_JPEG_TABLES, _XMP = 347, 700
# YCbCr coefficients, and the values of black and white, with their numbers of entries.
_RATIONALS = {529: 3, 532: 6}
# The compressions that every libtiff supports; a build may support more.
_COMPRESSIONS = (1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32946)
# LZW, Deflate, LZMA and Zstandard, before which a predictor may take differences.
_PREDICTING = (5, 8, 32946, 34925, 50000)
_RARE_COMPRESSIONS = {34887: "LERC", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP"}
_FORMATS = {1: "", 2: "signed ", 3: "floating-point ", 4: "", 5: "complex ", 6: "complex "}
_RAW = (
    "it is a camera's raw file and its first picture a thumbnail; develop it first, to TIFF, PNG "
    "or JPEG"
)


def header(stream: BinaryIO) -> Header:
    """Return the `Header` of the first page; its details are the page's tags."""
    page = _first_page(stream)
    size = page.number(HEIGHT), page.number(WIDTH)
    if not all(isinstance(side, int) and side > 0 for side in size):
        raise Broken("its first page has no size")
    _check_layout(page)
    return Header(
        size=size,
        orientation=orientation_in(page.number(ifd.ORIENTATION), page.data(_XMP)),
        profile=page.data(PROFILE),
        details=page,
    )


def decode(
    content: bytes, head: Header
) -> tuple[Union[Image.Image, np.ndarray], Optional[np.ndarray]]:
    """Return the image, and alpha or None.

    The image is in mode I;16 for grey of more than 8 bits, and an array of uint16 for RGB, both
    with white at 65535.
    """
    page = head.details
    if _is_read_here(page):
        return _stored(_samples_of(content, page), page)
    if _is_wide_rgb(page):
        return _stored(_decompressed(content, page), page)
    image = _by_pillow(content, page)
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint16)
        image = Image.fromarray(_full_range(values, _bits(page)[0], page))
    return image, None


def _first_page(stream):
    try:
        page = ifd.first_folder(stream)
    except ifd.Malformed as error:
        raise Broken(f"{error}") from error
    is_raw = (
        _DNG_VERSION in page.tags
        or _is_canon_raw(stream)
        or page.number(PHOTOMETRIC) in _RAW_PHOTOMETRICS
        or any(_is_raw_beside(page, other) for other in _sub_pages(stream, page))
    )
    if is_raw:
        raise Unfit(_RAW)
    if _is_reduced(page):
        raise Unfit(
            "its first page is marked as a smaller copy of another; if it is a camera's raw file, "
            "develop it first, else save the full page as a file of its own"
        )
    if page.number(_NEW_KIND, 0) & _MASK:
        raise Unfit("its first page is a mask for another; save that one as a file of its own")
    return page


def _is_raw_beside(page, other):
    """Return whether another page is the raw picture to which a page is the thumbnail."""
    is_larger = _pixels(page) < _pixels(other) and not _is_reduced(other)
    return is_larger or other.number(PHOTOMETRIC) in _RAW_PHOTOMETRICS


def _is_reduced(page):
    return bool(page.number(_NEW_KIND, 0) & _REDUCED) or page.number(_OLD_KIND) == 2


def _sub_pages(stream, page):
    for offset in page.numbers(ifd.SUB_FOLDERS)[:_MOST_SUB_PAGES]:
        try:
            yield ifd.folder_at(stream, offset, page.order, page.is_big)
        except ifd.Malformed:
            continue


def _is_canon_raw(stream):
    stream.seek(0)
    return stream.read(12) == b"II*\0\x10\0\0\0CR\2\0"


def _pixels(page):
    return page.number(WIDTH, 0) * page.number(HEIGHT, 0)


# -- The layout of pixels -------------------------------------------------------------------------


def _photometric(page):
    # Required, but missing in some files; libtiff guesses the same.
    guess = _RGB if _samples(page) >= 3 else _GREY
    if page.number(COMPRESSION, 1) in _CCITT:
        guess = _GREY_FROM_WHITE
    return page.number(PHOTOMETRIC, guess)


def _samples(page):
    return page.number(SAMPLES, len(page.numbers(BITS, (1,))))


def _bits(page):
    bits = page.numbers(BITS, (1,))
    return bits * _samples(page) if len(bits) == 1 else bits[: _samples(page)]


def _formats(page):
    return set(page.numbers(SAMPLE_FORMAT, (1,)))


def _is_planar(page):
    return page.number(PLANES, 1) == 2 and _samples(page) > 1


def _is_subsampled(page):
    return _photometric(page) == _YCBCR and page.numbers(SUBSAMPLING, (2, 2)) != (1, 1)


def _check_layout(page):
    """Refuse numbers without a known range, and layouts that Pillow misreads."""
    compression = page.number(COMPRESSION, 1)
    if not 1 <= _samples(page) <= _MOST_SAMPLES:
        raise Unfit(
            f"its pixels have {_samples(page)} samples, and nst reads 1 to {_MOST_SAMPLES}; save "
            "it as RGB"
        )
    if not all(1 <= bits <= 64 for bits in _bits(page)):
        raise Broken("the bits of its samples make no sense")
    if _photometric(page) >= 1 << 16:
        raise Broken("its photometric interpretation makes no sense")
    if page.number(INK_SET, 1) != 1 and _photometric(page) == _CMYK:
        raise Unfit("its inks are not cyan, magenta, yellow and black; save it as RGB")
    if _formats(page) <= {1, 4}:
        is_noise = compression == 1 and _is_subsampled(page)
        # Pillow knows range and polarity of these layouts only.
        if is_noise or (max(_bits(page)) > 16 and _samples(page) == 1):
            raise _unknown_layout(page)
    # The signed a* and b* of CIELab are so by definition, whatever this tag says.
    elif _photometric(page) != _LAB:
        raise _unknown_layout(page)


def _unknown_layout(page):
    """Return the error for an unsupported layout of pixels."""
    bits = sorted(set(_bits(page)))
    numbers = _FORMATS.get(page.number(SAMPLE_FORMAT, 1), "")
    photometric = page.number(PHOTOMETRIC)
    colours = _PHOTOMETRICS.get(_photometric(page), f"photometric interpretation {photometric}")
    extra = f" with {len(page.numbers(EXTRA_SAMPLES))} more" if page.numbers(EXTRA_SAMPLES) else ""
    planes = ", in separate planes" if _is_planar(page) else ""
    packed = "" if page.number(COMPRESSION, 1) == 1 else ", compressed"
    count = "/".join(map(str, bits))
    return Unfit(
        f"its pixels are of a layout that nst does not read ({count}-bit {numbers}{colours}{extra}"
        f"{planes}{packed}); save it with 8 or 16 bits per channel as RGB"
    )


# -- Pages for Pillow -----------------------------------------------------------------------------


def _by_pillow(content, page, tags=None):
    try:
        with opened(_clean(content, page, tags or _pixel_tags(page)), "TIFF") as image:
            image.load()
            return image
    except (Unknown, Unfit) as error:
        obstacle = _obstacle_of_compression(content, page)
        if obstacle:
            raise Unfit(obstacle) from error
        if isinstance(error, Unknown):
            raise _unknown_layout(page) from error
        raise


def _obstacle_of_compression(content, page):
    """Return why an intact page cannot be decompressed, or None."""
    compression = page.number(COMPRESSION, 1)
    first = page.number(STRIP_OFFSETS) or page.number(TILE_OFFSETS) or 0
    # A start of frame for lossless JPEG, which libtiff leaves out.
    if compression in (7, 34892) and b"\xff\xc3" in content[first : first + 4096]:
        return "its pixels are compressed as lossless JPEG, which nst does not read"
    if compression not in _COMPRESSIONS:
        name = _RARE_COMPRESSIONS.get(compression, f"with number {compression}")
        return (
            f"its compression ({name}) is not among those that nst reads; save it with LZW, "
            "Deflate or none"
        )
    return None


def _clean(content, page, tags):
    """Return the file with a new folder at its end, which has only the given tags.

    This turns a BigTIFF into a classic TIFF, and hides other pages, strange tags and orientation.
    """
    order = page.order if max(_bits(page)) >= 16 else "<"
    offset = len(content) + len(content) % 2
    if offset >= 1 << 32:
        return content
    folder = ifd.build(tags, offset, order)
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "L", offset)
    return b"".join((start, memoryview(content)[8:], b"\0" * (len(content) % 2), folder))


def _pixel_tags(page):
    tags = {}
    for tag in _PIXEL_TAGS:
        kind, end = (ifd.SHORT, 1 << 16) if tag in _SHORTS else (ifd.LONG, 1 << 32)
        values = page.numbers(tag)
        if values and all(isinstance(value, int) and 0 <= value < end for value in values):
            tags[tag] = (kind, values)
    for tag, count in _RATIONALS.items():
        values = page.numbers(tag)
        if len(values) == count:
            # Whole numbers, which some writers put there.
            values = [part for value in values for part in (value, 1)]
        if len(values) == 2 * count and all(0 <= value < 1 << 32 for value in values):
            tags[tag] = (ifd.RATIONAL, values)
    if page.data(_JPEG_TABLES):
        tags[_JPEG_TABLES] = (ifd.UNDEFINED, page.data(_JPEG_TABLES))
    tags[SAMPLES], tags[BITS] = (ifd.SHORT, (_samples(page),)), (ifd.SHORT, _bits(page))
    tags[SAMPLE_FORMAT] = (ifd.SHORT, (1,) * _samples(page))
    tags[PLANES] = (ifd.SHORT, (2 if _is_planar(page) else 1,))
    photometric = _photometric(page)
    if _samples(page) == 1 and _bits(page)[0] > 8 and photometric == _GREY_FROM_WHITE:
        # `_full_range` turns these over.
        photometric = _GREY
    tags[PHOTOMETRIC] = (ifd.SHORT, (photometric,))
    return tags


# -- Pages that are read here ---------------------------------------------------------------------


def _is_read_here(page):
    """Return whether a page is uncompressed, in a layout that Pillow misreads or lacks."""
    bits, samples, photometric = _bits(page), _samples(page), _photometric(page)
    if page.number(COMPRESSION, 1) != 1 or page.number(FILL_ORDER, 1) != 1:
        return False
    if photometric not in (_GREY_FROM_WHITE, _GREY, _RGB) or len(set(bits)) != 1 or bits[0] > 16:
        return False
    if samples < (3 if photometric == _RGB else 1):
        return False
    if photometric == _RGB:
        return bits[0] != 8 or (_is_planar(page) and samples > 3)
    return bits[0] not in (1, 2, 4, 8) or samples > 1


def _stored(values, page):
    """Return image and alpha of a page's samples, shape (H, W, samples)."""
    bits = _bits(page)[0]
    count = 3 if _photometric(page) == _RGB else 1
    colours, top = values[..., :count], (1 << bits) - 1
    alpha, kind = None, page.number(EXTRA_SAMPLES, 2)
    if values.shape[2] > count and kind in (1, 2):
        alpha = values[..., count].astype(np.float32) * np.float32(255 / top)
    if kind == 1 and alpha is not None:
        # Colours were multiplied by their alpha.
        share = np.maximum(values[..., count, None], 1)
        colours = np.minimum(colours.astype(np.float32) * top / share, top).astype(np.uint16)
    if count == 1 and bits != 8:
        return Image.fromarray(_full_range(colours[..., 0], bits, page)), alpha
    if bits > 8:
        return np.ascontiguousarray(_scaled(colours, top, 65535)), alpha
    levels = _scaled(colours, top, 255)
    if _photometric(page) == _GREY_FROM_WHITE:
        levels = 255 - levels
    levels = levels.astype(np.uint8)
    return Image.fromarray(levels[..., 0] if count == 1 else levels), alpha


def _scaled(values, top, white):
    """Return whole numbers from 0 to `top` scaled to `white`, as uint16."""
    return values if top == white else np.rint(values * (white / top)).astype(np.uint16)


def _full_range(values, bits, page):
    """Return greys with black at 0 and white at 65535; 2^bits - 1 is white (TIFF 6.0, p. 37)."""
    top = (1 << bits) - 1
    if _photometric(page) == _GREY_FROM_WHITE:
        values = top - values
    return np.ascontiguousarray(_scaled(values, top, 65535), dtype=np.uint16)


def _is_wide_rgb(page):
    """Return whether a page is RGB of 16 bits, of which Pillow would keep the upper 8."""
    return _photometric(page) == _RGB and _samples(page) >= 3 and set(_bits(page)) == {16}


def _decompressed(content, page):
    """Return the samples of a compressed page of 16 bits, shape (H, W, samples), uint16.

    Pillow decompresses each plane as a picture of grey: a row of three samples a pixel has three
    times as many greys. The differences of a predictor are added up here, by sample and tile.
    """
    height, width, samples = page.number(HEIGHT), page.number(WIDTH), _samples(page)
    planes, has_tiles = samples if _is_planar(page) else 1, TILE_OFFSETS in page.tags
    across = samples // planes
    predictor = page.number(PREDICTOR, 1) if page.number(COMPRESSION) in _PREDICTING else 1
    if predictor not in (1, 2):
        raise _unknown_layout(page)
    tags = _pixel_tags(page)
    places = (TILE_OFFSETS, TILE_SIZES) if has_tiles else (STRIP_OFFSETS, STRIP_SIZES)
    stored = {tag: tags[tag][1] for tag in places if tag in tags}
    tags[WIDTH] = (ifd.LONG, (width * across,))
    if has_tiles:
        tags[TILE_WIDTH] = (ifd.LONG, (page.number(TILE_WIDTH, 0) * across,))
    tags.update({tag: (ifd.SHORT, (1,)) for tag in (SAMPLES, SAMPLE_FORMAT, PLANES, PREDICTOR)})
    tags.update({BITS: (ifd.SHORT, (16,)), PHOTOMETRIC: (ifd.SHORT, (_GREY,))})
    tags.pop(EXTRA_SAMPLES, None)
    result = np.empty((height, width, samples), np.uint16)
    for plane in range(planes):
        for tag, numbers in stored.items():
            count = len(numbers) // planes
            tags[tag] = (ifd.LONG, numbers[plane * count : (plane + 1) * count])
        image = _by_pillow(content, page, tags)
        values = np.asarray(image).astype(np.uint16).reshape(height, width, across)
        result[..., plane * across : (plane + 1) * across] = values
    if predictor == 2:
        columns = page.number(TILE_WIDTH, 0) if has_tiles else width
        if not columns:
            raise Broken("its strips or tiles have no size")
        for left in range(0, width, columns):
            part = result[:, left : left + columns]
            np.add.accumulate(part, axis=1, dtype=np.uint16, out=part)
    return result


def _samples_of(content, page):
    """Return the samples of an uncompressed page, shape (H, W, samples), uint16."""
    height, width, samples = page.number(HEIGHT), page.number(WIDTH), _samples(page)
    if TILE_OFFSETS in page.tags:
        offsets = page.numbers(TILE_OFFSETS)
        rows, columns = page.number(TILE_HEIGHT, 0), page.number(TILE_WIDTH, 0)
    else:
        offsets = page.numbers(STRIP_OFFSETS)
        rows, columns = min(page.number(ROWS_PER_STRIP, height), height), width
    planes = samples if _is_planar(page) else 1
    if not rows or not columns:
        raise Broken("its strips or tiles have no size")
    if len(offsets) < planes * -(-height // rows) * -(-width // columns):
        raise Broken("it has fewer strips or tiles than its size needs")
    result = np.empty((height, width, samples), np.uint16)
    places = (
        (plane, top, left)
        for plane in range(planes)
        for top in range(0, height, rows)
        for left in range(0, width, columns)
    )
    for offset, (plane, top, left) in zip(offsets, places):
        # A tile is stored whole, a last strip only as far as it goes.
        stored = rows if TILE_OFFSETS in page.tags else min(rows, height - top)
        shape = stored, columns, samples // planes
        block = _block(content, offset, shape, _bits(page)[0], page.order)
        place = result[top : top + rows, left : left + columns, plane : plane + samples // planes]
        place[...] = block[: place.shape[0], : place.shape[1]]
    return result


def _block(content, offset, shape, bits, order):
    """Return a strip or a tile; each row starts at a byte, packed from the highest bit on."""
    rows, columns, samples = shape
    row_bytes = -(-columns * samples * bits // 8)
    data = np.frombuffer(content, np.uint8)[offset : offset + rows * row_bytes]
    if data.size < rows * row_bytes:
        raise Broken("a strip or tile lies beyond its end")
    if bits == 16:
        return data.view(order + "u2").reshape(shape)
    if bits == 8:
        return data.reshape(shape)
    result = np.empty((rows, columns * samples), np.uint16)
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint16)
    # Row by row, because a bit takes a byte.
    for row, packed in zip(result, data.reshape(rows, row_bytes)):
        row[:] = np.unpackbits(packed)[: columns * samples * bits].reshape(-1, bits) @ weights
    return result.reshape(shape)
