"""BMP: an embedded profile, alpha of 16-bit pixels, and the end of compressed ones [1]_.

References
----------
.. [1] Bitmap storage, Microsoft: BITMAPINFOHEADER, BITMAPV4HEADER and BITMAPV5HEADER.
"""

import struct
from typing import BinaryIO, Optional

import numpy as np
from PIL import Image

from .header import Header
from .pillow import opened
from .source import Broken, Unfit

_RLE8, _RLE4, _BITFIELDS, _ALPHA_BITFIELDS = 1, 2, 3, 6
_EMBEDDED = b"DEBM"
# Pixels in the widest row that is compressed. Two bytes may skip 255 rows, for which an older
# Pillow makes as many bytes, however few pixels the picture has.
_WIDEST = 1 << 16


def header(stream: BinaryIO) -> Header:
    """Return the `Header`; its details are compression, and mask of the alpha of 16-bit pixels."""
    content = stream.read()
    with opened(content, "BMP") as image:
        width, height = image.size
    head, length = content[: 14 + 124], struct.unpack_from("<L", content, 14)[0]
    if length < 40:
        return Header((height, width), details=(0, 0))
    bits, compression = struct.unpack_from("<HL", head, 28)
    has_alpha = bits == 16 and (
        (length >= 56 and compression == _BITFIELDS) or compression == _ALPHA_BITFIELDS
    )
    alpha = struct.unpack_from("<H", head, 66)[0] if has_alpha and len(head) >= 70 else 0
    profile = None
    if length >= 124 and len(head) == 138 and head[70:74] == _EMBEDDED:
        offset, size = struct.unpack_from("<LL", head, 126)
        profile = content[14 + offset : 14 + offset + size] or None
    return Header((height, width), profile=profile, details=(compression, alpha))


def decode(content: bytes, head: Header) -> tuple[Image.Image, Optional[np.ndarray]]:
    """Return the image, and alpha where 16-bit pixels have one, else None."""
    compression, mask = head.details
    if compression in (_RLE8, _RLE4) and not content.rstrip(b"\0").endswith(b"\0\1"):
        raise Broken("the end of its compressed pixels is missing")
    if compression in (_RLE8, _RLE4) and head.size[1] > _WIDEST:
        raise Unfit(f"its compressed rows have more than {_WIDEST} pixels; save it as PNG")
    with opened(content, "BMP") as image:
        image.load()
    return image, _alpha(content, head.size, mask) if mask else None


def _alpha(content, size, mask):
    """Return the alpha of 16-bit pixels, 0 to 255; where it is 0 all over, it is not in use."""
    height, width = size
    (offset,) = struct.unpack_from("<L", content, 10)
    (signed_height,) = struct.unpack_from("<l", content, 22)
    row = (width * 2 + 3) // 4 * 2
    values = np.frombuffer(content, "<u2", row * height, offset).reshape(height, row)[:, :width]
    shift = (mask & -mask).bit_length() - 1
    levels = (values & np.uint16(mask)) >> shift
    alpha = np.rint(levels * np.float32(255 / (mask >> shift))).astype(np.uint8)
    # Rows begin at the bottom unless the height is negative.
    return (alpha if signed_height < 0 else alpha[::-1]) if alpha.any() else None
