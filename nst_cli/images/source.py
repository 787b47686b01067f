"""Opens a picture file once, so that the checksum is of the decoded bytes."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from typing import BinaryIO

from .. import files, machine
from ..errors import ImageError, reason
from ..files import StrPath
from . import formats

#: Enough for every signature in `formats`.
_HEAD = 4096


class Unfit(Exception):
    """Why a file's picture cannot be used; completes the line "Cannot read FILE: …"."""


class Broken(Unfit):
    """A file that is incomplete or violates its format; `detail` says how."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"it is truncated or broken ({detail})")


@contextlib.contextmanager
def opened(path: StrPath) -> Iterator[tuple[BinaryIO, str]]:
    """Open a picture file.

    Parameters
    ----------
    path : str

    Yields
    ------
    stream : binary file
        At its beginning.
    kind : str
        One of `formats.READ`, from the first bytes.

    Raises
    ------
    ImageError
        It is missing, no regular file or not of a kind that nst reads, or the body raised `Unfit`
        or ran out of memory.
    """
    try:
        with _regular(path) as stream:
            kind, obstacle = formats.kind_of(stream.read(_HEAD))
            if kind is None:
                raise Unfit(obstacle)
            stream.seek(0)
            yield stream, kind
    except Unfit as error:
        raise ImageError(f"Cannot read {path}: {error}.") from error
    except OSError as error:
        raise ImageError(f"Cannot read {path}: {reason(error)}.") from error
    except MemoryError as error:
        raise ImageError(f"Cannot read {path}: there is not enough memory for it.") from error


def content_of(stream: BinaryIO) -> tuple[bytes, str]:
    """Return all bytes of an open file, and their SHA-256 as 64 hex digits."""
    size, free = os.fstat(stream.fileno()).st_size, machine.free_memory()
    if free is not None and size > free:
        raise Unfit(
            f"the file has {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory can be had"
        )
    content = stream.read()
    return content, hashlib.sha256(content).hexdigest()


def _regular(path):
    """Open a regular file for reading bytes."""
    try:
        return files.open_regular(path)
    # A name that no file can have: with a NUL, or of half a character.
    except ValueError as error:
        raise Unfit(f"no file can have this name ({reason(error)})") from error
