"""Reads and writes the structure of TIFF files and of Exif data: folders of tags.

Pillow and libtiff trust some tags that may be wrong, and fail on others that no picture needs.
Names and types are those of TIFF 6.0 and Exif 3.0.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Optional

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 1, 2, 3, 4, 5, 7
ORIENTATION, SUB_FOLDERS, EXIF_FOLDER, USER_COMMENT = 274, 330, 34665, 37510

# Code and size of a value of each type. Signed ones follow, floats, and those of BigTIFF.
_TYPES = {
    1: ("B", 1), 2: ("s", 1), 3: ("H", 2), 4: ("L", 4), 5: ("LL", 8), 6: ("b", 1), 7: ("s", 1),
    8: ("h", 2), 9: ("l", 4), 10: ("ll", 8), 11: ("f", 4), 12: ("d", 8), 13: ("L", 4),
    16: ("Q", 8), 17: ("q", 8), 18: ("Q", 8),
}  # fmt: skip
_PREFIXES = {b"II": "<", b"MM": ">"}
# More entries than any writer makes, and more numbers in all of them. Each number of a few bytes
# becomes a Python object of forty.
_MOST_ENTRIES, _MOST_NUMBERS = 4096, 1 << 22


class Malformed(ValueError):
    """Not of the structure that TIFF 6.0 prescribes."""


@dataclass(frozen=True)
class Folder:
    """The tags of one page, or of the Exif data.

    Attributes
    ----------
    order : str
        ``<`` or ``>``, as `struct` spells byte orders.
    is_big : bool
        Whether it is of a BigTIFF.
    tags : dict of int to tuple or bytes
        Bytes for types without a number: text and undefined.
    following : int
        Where the next page's folder is; 0 after the last.
    """

    order: str
    is_big: bool = False
    tags: dict[int, Any] = field(default_factory=dict)
    following: int = 0

    def numbers(self, tag: int, default: Sequence[Any] = ()) -> Sequence[Any]:
        """Return a tag's values; `default` where they are missing or not whole numbers from 0."""
        values = self.tags.get(tag)
        is_whole = isinstance(values, tuple) and all(
            isinstance(value, int) and value >= 0 for value in values
        )
        return values if is_whole and values else tuple(default)

    def number(self, tag: int, default: Any = None) -> Any:
        """Return the first value of a tag."""
        return self.numbers(tag, (default,))[0]

    def data(self, tag: int) -> Optional[bytes]:
        """Return the bytes of a tag with any 8-bit type; None if it is missing."""
        values = self.tags.get(tag)
        if isinstance(values, tuple) and all(isinstance(v, int) and 0 <= v < 256 for v in values):
            return bytes(values)
        return values if isinstance(values, bytes) else None


def first_folder(stream: BinaryIO) -> Folder:
    """Read the folder that the header points to.

    Parameters
    ----------
    stream : binary file
        A TIFF, or Exif data from the byte order on.

    Raises
    ------
    Malformed
    """
    header = _bytes_at(stream, 0, 8)
    order = _PREFIXES.get(header[:2])
    if order is None:
        raise Malformed("no byte order")
    if 43 in (header[2], header[3]):
        (offset,) = struct.unpack(order + "Q", _bytes_at(stream, 8, 8))
        return folder_at(stream, offset, order, True)
    (offset,) = struct.unpack(order + "L", header[4:])
    return folder_at(stream, offset, order)


def folder_at(stream: BinaryIO, offset: int, order: str, is_big: bool = False) -> Folder:
    """Read one folder; invalid entries are left out.

    Raises
    ------
    Malformed
        The folder does not lie in the file.
    """
    count_code, entry_code, pointer_code = ("Q", "HHQ", "Q") if is_big else ("H", "HHL", "L")
    size, head = struct.calcsize("<" + count_code), struct.calcsize("<" + entry_code)
    inline_bytes = 8 if is_big else 4
    (count,) = struct.unpack(order + count_code, _bytes_at(stream, offset, size))
    table = _bytes_at(stream, offset + size, min(count, _MOST_ENTRIES) * (head + inline_bytes))
    tags: dict[int, Any] = {}
    # Values lie in the file, and those of two tags do not overlap.
    bytes_left, numbers_left = stream.seek(0, 2), _MOST_NUMBERS
    for at in range(0, len(table), head + inline_bytes):
        tag, kind, number = struct.unpack_from(order + entry_code, table, at)
        code, value_size = _TYPES.get(kind, ("", 0))
        numbers = 0 if code == "s" else number * len(code)
        # TIFF 6.0 allows each tag once; readers take the first of two.
        if tag in tags or number * value_size > bytes_left or numbers > numbers_left:
            continue
        inline = table[at + head : at + head + inline_bytes]
        values = _values(stream, order, kind, number, inline)
        if values is not None:
            tags[tag] = values
            bytes_left -= number * value_size
            numbers_left -= numbers
    following = _following(stream, offset + size + len(table), order + pointer_code)
    return Folder(order, is_big, tags, following)


def build(tags: Mapping[int, tuple[int, Any]], offset: int, order: str = "<") -> bytes:
    """Return the bytes of a folder that will lie at `offset`, with the values after it.

    Parameters
    ----------
    tags : dict of int to (int, sequence or bytes)
        Type, and values; a RATIONAL is two of them.
    offset : int
        Even.
    order : str

    Returns
    -------
    bytes
        No folder follows it.
    """
    table, tail = struct.pack(order + "H", len(tags)), b""
    end = offset + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in sorted(tags.items()):
        code, size = _TYPES[kind]
        data = values if code == "s" else struct.pack(f"{order}{len(values)}{code[0]}", *values)
        table += struct.pack(order + "HHL", tag, kind, len(data) // size)
        if len(data) <= 4:
            table += data.ljust(4, b"\0")
        else:
            table += struct.pack(order + "L", end + len(tail))
            tail += data + b"\0" * (len(data) % 2)
    return table + b"\0" * 4 + tail


def _values(stream, order, kind, number, inline):
    """Return an entry's values; None if they are invalid or lie outside the file."""
    if kind not in _TYPES:
        return None
    code, size = _TYPES[kind]
    data = inline[: number * size]
    if number * size > len(inline):
        (offset,) = struct.unpack(order + ("L" if len(inline) == 4 else "Q"), inline)
        try:
            data = _bytes_at(stream, offset, number * size)
        except Malformed:
            return None
    if code == "s":
        return data
    return struct.unpack(f"{order}{number * len(code)}{code[0]}", data)


def _following(stream, offset, code):
    try:
        return struct.unpack(code, _bytes_at(stream, offset, struct.calcsize(code)))[0]
    except Malformed:
        return 0


def _bytes_at(stream, offset, length):
    end = stream.seek(0, 2)
    if offset + length > end:
        raise Malformed("it ends early")
    stream.seek(offset)
    return stream.read(length)
