"""Writes PNG with 16 bits per channel, which Pillow does for grey alone [1]_.

References
----------
.. [1] Portable Network Graphics (PNG) Specification (Third Edition), W3C, 2025.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Optional

import numpy as np

from .png import RGB, RGBA, SIGNATURE, chunk

# Bytes of rows that are filtered at a time.
_BAND = 1 << 20


def write(
    stream: BinaryIO, values: np.ndarray, profile: bytes, text: Optional[tuple[str, str]] = None
) -> None:
    """Write a picture.

    Parameters
    ----------
    stream : binary file
    values : ndarray, shape (H, W, 3) or (H, W, 4), uint16
        RGB, or RGB and alpha.
    profile : bytes
        An ICC profile.
    text : (str, str), optional
        A keyword and its text, both ASCII.
    """
    height, width, channels = values.shape
    colour = RGB if channels == 3 else RGBA
    stream.write(SIGNATURE)
    stream.write(chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, 16, colour, 0, 0, 0)))
    stream.write(chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile)))
    if text:
        keyword, content = text
        stream.write(chunk(b"tEXt", f"{keyword}\0{content}".encode("ascii")))
    deflate = zlib.compressobj(6)
    for rows in _filtered(values):
        packed = deflate.compress(rows)
        if packed:
            stream.write(chunk(b"IDAT", packed))
    stream.write(chunk(b"IDAT", deflate.flush()))
    stream.write(chunk(b"IEND", b""))


def _filtered(values: np.ndarray) -> Iterator[bytes]:
    """Yield the bytes of some rows at a time, each row after the number of its filter."""
    height, width, channels = values.shape
    pixel = 2 * channels
    band = max(1, _BAND // (width * pixel))
    above = np.zeros((1, width * pixel), np.uint8)
    for top in range(0, height, band):
        big = np.ascontiguousarray(values[top : top + band], ">u2")
        rows = big.view(np.uint8).reshape(len(big), width * pixel)
        candidates = np.stack(_candidates(rows, np.concatenate([above, rows[:-1]]), pixel))
        # The usual choice for each row: the filter whose bytes, as signed ones, are the smallest.
        sizes = np.abs(candidates.view(np.int8).astype(np.int16)).sum(axis=2, dtype=np.int64)
        best = sizes.argmin(axis=0)
        chosen = candidates[best, np.arange(len(rows))]
        yield np.concatenate([best.astype(np.uint8)[:, None], chosen], axis=1).tobytes()
        above = rows[-1:]


def _candidates(rows, above, pixel):
    """Return the rows by the filters 0 to 4 (section 9.2)."""
    left, corner = (_shifted(lines, pixel) for lines in (rows, above))
    wide = [lines.astype(np.int16) for lines in (left, above, corner)]
    a, b, c = wide
    mean = ((a + b) >> 1).astype(np.uint8)
    # The neighbour that is the nearest to a + b - c; ties go to the left, then to the one above.
    to_a, to_b, to_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    nearest = np.where(to_b <= to_c, above, corner)
    nearest = np.where((to_a <= to_b) & (to_a <= to_c), left, nearest)
    return [rows, rows - left, rows - above, rows - mean, rows - nearest]


def _shifted(lines, pixel):
    """Return each byte's counterpart in the pixel before it, 0 for the first pixel."""
    return np.pad(lines[:, :-pixel], ((0, 0), (pixel, 0)))
