"""Boxes, the parts of JPEG 2000 and AVIF files: a length, a name and content.

ISO/IEC 15444-1, annex I, and ISO/IEC 14496-12, section 4.2.
"""

import struct
from collections.abc import Iterator
from typing import Optional


def boxes(
    data: bytes, start: int = 0, end: Optional[int] = None
) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of the content of each box; stop at bytes that are not a box.

    Parameters
    ----------
    data : bytes
    start, end : int, optional
        Where the first box begins, and the last ends.
    """
    end = len(data) if end is None else end
    while start + 8 <= end:
        length, name = struct.unpack_from(">L4s", data, start)
        head = 8
        if length == 1 and start + 16 <= end:
            (length,), head = struct.unpack_from(">Q", data, start + 8), 16
        stop = end if length == 0 else start + length
        if stop > end or length and length < head:
            return
        yield name, start + head, stop
        start = stop


def inside(data: bytes, *names: bytes) -> Optional[tuple[int, int]]:
    """Return the place (start, end) of the first box of a path of names, or None."""
    start, stop = 0, len(data)
    for name in names:
        place = next(((a, b) for kind, a, b in boxes(data, start, stop) if kind == name), None)
        if place is None:
            return None
        start, stop = place
    return start, stop


class Fields:
    """Big-endian numbers, one after the other; beyond the end they are 0."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self, size: int) -> int:
        """Return the next number, of `size` bytes."""
        self._at += size
        return int.from_bytes(self._data[self._at - size : self._at], "big")

    @property
    def is_at_end(self) -> bool:
        """Whether all has been read."""
        return self._at >= len(self._data)
