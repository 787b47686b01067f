"""The folder of checkpoints: files from which a run can go on, in the user's cache.

A file is ``NSTCHECK``, a version, the length of the header, the header in JSON, the arrays, and
the SHA-256 of everything before. It is data: nothing in it is run. It may be damaged, so sizes,
types and the checksum are checked before anything is used.
"""

import contextlib
import hashlib
import json
import mmap
import os
import re
import shutil
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

import numpy

from .. import files, folders
from ..errors import CheckpointError, OutputError, reason
from ..synthesis import State
from . import claims

#: Checkpoints older than this many days are removed when another run writes one.
MOST_DAYS = 30
#: Checkpoints that seem older than this stay: the clock is or was wrong.
MOST_PLAUSIBLE_DAYS = 400
#: Bytes that all checkpoints may take; the oldest are removed first.
MOST_BYTES = 8 << 30

_MAGIC = b"NSTCHECK"
_VERSION = 1
_START = struct.Struct("<8sIQ")
_DIGEST = hashlib.sha256().digest_size
_LONGEST_HEADER = 1 << 24
_DTYPES = ("float32", "float64", "uint32", "uint8")
_MOST_DIMENSIONS = 4
# More values than an array of MXNet's can have.
_LONGEST_SIDE = 1 << 40
_LONGEST_TEXT = 1 << 16
_MOST_STEPS = 1 << 60
_NAME = re.compile(r"[0-9a-f]{64}")
_ENDING = ".checkpoint"
_BLOCK = 1 << 20
_SECONDS_A_DAY = 86400
# The log of the run, as an array.
_LOG = "log"


class Saved(NamedTuple):
    """What a checkpoint holds.

    Attributes
    ----------
    state : synthesis.State
    step : int
        Number of steps made.
    log : bytes
        The lines of the log up to that step.
    content : mmap.mmap or None
        The file whose pages the arrays of the state are.
    """

    state: State
    step: int
    log: bytes
    content: Optional[mmap.mmap] = None

    def unload(self) -> None:
        """Take the file's pages out of memory; an array that is used again is read again."""
        if self.content is not None:
            self.content.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class Entry:
    """One checkpoint in the folder.

    Attributes
    ----------
    name : str
        64 hex digits, which depend on what makes the run.
    size : int
        Bytes.
    age : float
        Seconds since it was written; negative if the clock was turned back.
    step, steps : int
        Steps made, and the most that the run can take; 0 if the file is damaged.
    output : str
        Path of the picture to make; empty if the file is damaged.
    """

    name: str
    size: int
    age: float
    step: int = 0
    steps: int = 0
    output: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as data for JSON."""
        return {
            "name": self.name,
            "output": self.output or None,
            "size": self.size,
            "age": max(0, round(self.age)),
            "step": self.step or None,
            "steps": self.steps or None,
        }


def folder() -> Optional[Path]:
    """Return the folder of the checkpoints, which need not exist; None without a home folder."""
    cache = folders.user_folder("XDG_CACHE_HOME", ".cache")
    return cache and cache / "checkpoints"


def path_of(name: str) -> Optional[Path]:
    """Return the path of the checkpoint with a name, which need not exist."""
    place = folder()
    return place and place / f"{name}{_ENDING}"


def make_folder() -> Path:
    """Make the folder if it is missing, for this user alone.

    Raises
    ------
    OutputError
        It cannot be made, or nothing can be written to it.
    """
    place = folder()
    if place is None:
        raise OutputError("Cannot write checkpoints: the user has no home folder.")
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write checkpoints to {place}: {reason(error)}.") from error
    if not os.access(place, os.W_OK | os.X_OK):
        raise OutputError(f"Cannot write checkpoints to {place}: it is write-protected.")
    return place


def size_of(state: State) -> int:
    """Return about how many bytes a checkpoint of a state takes."""
    return sum(array.size * numpy.dtype(array.dtype).itemsize for array in state.arrays.values())


def write(name: str, saved: Saved, description: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all; the one before remains until it is whole.

    Parameters
    ----------
    name : str
    saved : Saved
    description : dict
        ``output`` and ``steps`` of the `Entry`.

    Raises
    ------
    OutputError
        It cannot be written, or there is no room for it.
    """
    place = make_folder()
    log = numpy.frombuffer(saved.log, dtype=numpy.uint8)
    arrays = {**saved.state.arrays, _LOG: log}
    table = [
        [key, numpy.dtype(array.dtype).name, list(array.shape)] for key, array in arrays.items()
    ]
    header = {
        **description, "name": name, "step": saved.step,
        "numbers": saved.state.numbers, "arrays": table,
    }  # fmt: skip
    path = place / f"{name}{_ENDING}"
    size = size_of(State({}, arrays))
    try:
        free = shutil.disk_usage(place).free
        if size > MOST_BYTES or size > free // 2:
            raise OutputError(
                f"Cannot write the checkpoint {path}: it takes {size / 1e9:.1f} GB, and "
                f"{min(free // 2, MOST_BYTES) / 1e9:.1f} GB are available for it."
            )
        with files.replacing(path) as temporary, open(temporary, "wb") as stream:
            digest = hashlib.sha256()
            for block in _blocks(header, arrays):
                digest.update(block)
                stream.write(block)
            stream.write(digest.digest())
    except OSError as error:
        raise OutputError(f"Cannot write the checkpoint {path}: {reason(error)}.") from error


def _blocks(
    header: Mapping[str, Any], arrays: Mapping[str, Any]
) -> Iterator[Union[bytes, memoryview]]:
    text = json.dumps(header).encode()
    yield _START.pack(_MAGIC, _VERSION, len(text)) + text
    for array in arrays.values():
        # One at a time, because together they may take as much memory as the run.
        values = array if isinstance(array, numpy.ndarray) else array.asnumpy()
        yield values.astype(values.dtype.newbyteorder("<"), copy=False).reshape(-1).data


def read(name: str) -> Optional[Saved]:
    """Read a checkpoint; return None if there is none.

    Raises
    ------
    CheckpointError
        The file cannot be read or is damaged.
    """
    path = path_of(name)
    if path is None or not os.path.lexists(path):
        return None
    try:
        with files.open_regular(path) as stream:
            header, start = _header(stream)
            # Pages are read when they are used; the arrays are copied to the device one by one.
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        arrays = _arrays(header, content, start)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"The checkpoint {path} cannot be used: {reason(error)}.") from error
    if header["name"] != name:
        raise CheckpointError(f"The checkpoint {path} cannot be used: it is of another run.")
    log = arrays.pop(_LOG).tobytes()
    saved = Saved(State(header["numbers"], arrays), header["step"], log, content)
    # The checksum has read all of them.
    saved.unload()
    return saved


def _header(stream: Any) -> tuple[dict[str, Any], int]:
    """Return the checked header, and where the arrays start; raise a ValueError."""
    size = os.fstat(stream.fileno()).st_size
    start = stream.read(_START.size)
    if len(start) < _START.size or not start.startswith(_MAGIC):
        raise ValueError("it is not a checkpoint, or cut off")
    _, version, length = _START.unpack(start)
    if version != _VERSION:
        raise ValueError(f"it has version {version}, and this nst reads version {_VERSION}")
    if length > min(size, _LONGEST_HEADER):
        raise ValueError("it is cut off or damaged")
    header = files.from_json(stream.read(length))
    problem = "its header is damaged" if not isinstance(header, dict) else _missing(header)
    if problem:
        raise ValueError(problem)
    return header, _START.size + length


def _missing(header: Mapping[str, Any]) -> str:
    """Return what a header lacks, or an empty text."""
    for key in ("step", "steps"):
        if type(header.get(key)) is not int or not 0 < header[key] < _MOST_STEPS:
            return f"it has no {key!r}"
    for key in ("name", "output"):
        if not isinstance(header.get(key), str) or len(header[key]) > _LONGEST_TEXT:
            return f"it has no {key!r}"
    return "" if isinstance(header.get("numbers"), dict) else "it has no 'numbers'"


def _arrays(header: Mapping[str, Any], content: Any, start: int) -> dict[str, Any]:
    """Return the arrays after the header by name, as views; raise a ValueError."""
    table = header.get("arrays")
    if not isinstance(table, list) or not all(map(_is_row, table)):
        raise ValueError("its table of arrays is damaged")
    places, end = {}, start
    for key, dtype, shape in table:
        count = 1
        for side in shape:
            count *= side
        places[key] = numpy.dtype(dtype).newbyteorder("<"), shape, count, end
        end += count * numpy.dtype(dtype).itemsize
    if end + _DIGEST != len(content) or len(places) != len(table) or _LOG not in places:
        raise ValueError("it is cut off or damaged")
    digest = hashlib.sha256()
    for position in range(0, end, _BLOCK):
        digest.update(content[position : min(position + _BLOCK, end)])
    if digest.digest() != content[end:]:
        raise ValueError("its content does not match its checksum")
    return {
        key: numpy.frombuffer(content, dtype, count, offset).reshape(shape)
        for key, (dtype, shape, count, offset) in places.items()
    }


def _is_row(row: Any) -> bool:
    if not isinstance(row, list) or len(row) != 3:
        return False
    key, dtype, shape = row
    return (
        isinstance(key, str)
        and dtype in _DTYPES
        and isinstance(shape, list)
        and len(shape) <= _MOST_DIMENSIONS
        and all(type(side) is int and 0 <= side <= _LONGEST_SIDE for side in shape)
    )


def remove(name: str) -> None:
    """Remove a checkpoint if it exists and can be removed."""
    path = path_of(name)
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink()


def entries() -> list[Entry]:
    """Return the checkpoints in the folder, the newest first; damaged ones too."""
    place, listed = folder(), []
    if place is None:
        return []
    # Without a folder there is nothing to list.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for path in sorted(place.iterdir()):
            name = path.name[: -len(_ENDING)]
            if path.name.endswith(_ENDING) and _NAME.fullmatch(name):
                with contextlib.suppress(FileNotFoundError):
                    listed.append(_entry(path, name))
    return sorted(listed, key=lambda entry: entry.age)


def _entry(path: Path, name: str) -> Entry:
    status = path.lstat()
    age = time.time() - status.st_mtime
    try:
        with files.open_regular(path) as stream:
            header, _ = _header(stream)
    except (OSError, ValueError):
        return Entry(name, status.st_size, age)
    return Entry(name, status.st_size, age, header["step"], header["steps"], header["output"])


def _is_plausible(age: float) -> bool:
    """Return whether an age in seconds can be right; the clock may be or have been wrong."""
    return -_SECONDS_A_DAY < age < MOST_PLAUSIBLE_DAYS * _SECONDS_A_DAY


def prune(keep: str = "", reserve: int = 0) -> None:
    """Remove old checkpoints, and more until all and `reserve` bytes fit into `MOST_BYTES`.

    What killed programs left half written is removed too. The checkpoint `keep` stays, and those
    of runs that are going on.
    """
    place = folder()
    if place is None:
        return
    with contextlib.suppress(OSError):
        files.remove_leftovers(place)
        total = reserve
        # Those whose time cannot be right are the first to go where there is too little room.
        for entry in sorted(entries(), key=lambda entry: not _is_plausible(entry.age)):
            if entry.name == keep:
                continue
            total += entry.size
            is_old = _is_plausible(entry.age) and entry.age > MOST_DAYS * _SECONDS_A_DAY
            if (is_old or total > MOST_BYTES) and not claims.is_claimed(place / entry.name):
                remove(entry.name)
                total -= entry.size


def matching(names: Sequence[str]) -> list[Entry]:
    """Return the checkpoints whose names start as the user says; ``all`` stands for every one.

    Raises
    ------
    CheckpointError
        A name fits none, or several.
    """
    every = entries()
    if "all" in names:
        return every
    chosen = {}
    for name in names:
        fitting = [entry for entry in every if name and entry.name.startswith(name.lower())]
        if len(fitting) != 1:
            how = "several checkpoints have" if fitting else "no checkpoint has"
            raise CheckpointError(
                f"Cannot remove {name!r}: {how} a name that starts so; nst checkpoints lists them."
            )
        chosen[fitting[0].name] = fitting[0]
    return list(chosen.values())
