"""Keeps two runs from writing the same file: the first claims it until it ends, however it ends.

A claim is a lock on a small hidden file beside the output. The system releases the lock when the
process ends, even by ``kill -9``, so a file that is left behind claims nothing. Over a network
file system a claim holds between machines if the file system has locks (NFS 4 does); without
locks there are no claims.
"""

import contextlib
import hashlib
import os
import re
import socket
import time
import weakref
from collections.abc import Iterable, Iterator
from typing import Optional

from .. import files
from ..errors import OutputError, shown
from ..files import StrPath

# Seconds to wait for a claim: its holder may be ending, or another program only looks at it.
_PATIENCE = 2.0
_PAUSE = 0.02
# What `sidecar.step_name` adds to a name.
_STEP = re.compile(r"-\d{5,}$")
# A picture, its sidecar and its log have one claim.
_COMPANIONS = (".jsonl", ".json")


class Claim:
    """A claim on a file; it ends with `release`, or with the object.

    Parameters
    ----------
    path : path-like
        The file, which need not exist. Its folder must exist.
    shared : bool
        Whether others may have the same claim, if theirs is shared too.
    patience : float, optional
        Seconds to wait for another process to release it.

    Attributes
    ----------
    holder : str
        The other process that has claimed the file, in words; empty if this claim holds, or if
        there cannot be any claims in the folder.
    """

    def __init__(
        self, path: StrPath, shared: bool = False, patience: Optional[float] = None
    ) -> None:
        self._path, self.holder = files.lock_name(path), ""
        self._end: Optional[weakref.finalize[..., Claim]] = None
        descriptor, end = None, time.monotonic() + (_PATIENCE if patience is None else patience)
        # Without write access there are no claims; the run itself reports what is wrong.
        with contextlib.suppress(OSError):
            while (descriptor := self._acquired(shared)) is None and not self.holder:
                if time.monotonic() >= end:
                    self.holder = _holder(self._path)
                time.sleep(_PAUSE)
        if descriptor is not None:
            _sign(descriptor)
            self._end = weakref.finalize(self, _release, descriptor, self._path)

    def release(self) -> None:
        """Let others have the file."""
        if self._end:
            self._end()

    def _acquired(self, shared: bool) -> Optional[int]:
        """Return the descriptor of the locked file; None if another process has locked it."""
        descriptor = _opened(self._path)
        lock = files.locked(descriptor, shared)
        if lock and files.is_at(descriptor, self._path):
            return descriptor
        os.close(descriptor)
        if lock is None:
            raise OSError("this file system has no locks")
        return None


def is_claimed(path: StrPath) -> bool:
    """Return whether another process, or another part of this one, has claimed a file."""
    claim = Claim(path, patience=0)
    claim.release()
    return bool(claim.holder)


@contextlib.contextmanager
def claimed(paths: Iterable[StrPath], steps_of: Optional[StrPath] = None) -> Iterator[None]:
    """Claim the outputs of a run while the context is open, so that no other run writes them.

    Also removes what killed programs left behind in their folders.

    Parameters
    ----------
    paths : iterable of path-like
        The picture and other files. A picture's sidecar and its log belong to it.
    steps_of : path-like, optional
        The picture, if the run also writes pictures of its steps.

    Raises
    ------
    OutputError
        Another process has claimed one of them.
    """
    names = {_family(path): path for path in paths}
    with contextlib.ExitStack() as stack:
        _sweep(names)
        for name, path in names.items():
            _enter(stack, Claim(name), path)
        # A name such as out-00100.png may be that of a step of another run.
        patterns = {_steps_pattern(name): names[name] for name in names if _is_step(name)}
        if steps_of is not None:
            pattern = _steps_pattern(_family(steps_of))
            patterns.pop(pattern, None)
            _enter(stack, Claim(pattern), _steps_pattern(os.fspath(steps_of)))
        for pattern, path in patterns.items():
            _enter(stack, Claim(pattern, shared=True), path)
        yield


@contextlib.contextmanager
def claimed_batch(outputs: Iterable[StrPath]) -> Iterator[None]:
    """Claim a batch while the context is open, so that no other process makes the same one.

    Also removes what killed programs left behind in its folders.

    Raises
    ------
    OutputError
        Another process makes a batch of the same outputs.
    """
    names = sorted(map(os.path.abspath, outputs))
    folder = os.path.dirname(names[0])
    name = hashlib.sha256(b"\0".join(map(os.fsencode, names))).hexdigest()
    claim = Claim(os.path.join(folder, f"batch-{name}"))
    if claim.holder:
        raise OutputError(
            f"{claim.holder[0].upper()}{claim.holder[1:]} is making this batch: wait until it has "
            "ended, or stop it."
        )
    try:
        _sweep(names)
        yield
    finally:
        claim.release()


def _sweep(paths: Iterable[str]) -> None:
    """Remove what killed programs left behind in the folders of some files."""
    for folder in {os.path.dirname(path) for path in paths}:
        with contextlib.suppress(OSError):
            files.remove_leftovers(folder or os.curdir)


def _enter(stack: contextlib.ExitStack, claim: Claim, path: StrPath) -> None:
    if claim.holder:
        raise OutputError(
            f"Cannot write {os.fspath(path)}: {claim.holder} is making it; wait until it has "
            "ended, or choose another name."
        )
    stack.callback(claim.release)


def _family(path: StrPath) -> str:
    """Return the path that stands for a picture, its sidecar and its log, without links."""
    folder, name = os.path.split(os.fspath(path))
    # The run itself refuses an impossible path.
    with contextlib.suppress(OSError, ValueError):
        folder, name = os.path.split(files.target_of(path))
        folder = os.path.realpath(folder)
    for ending in _COMPANIONS:
        name = name.removesuffix(ending) or name
    return os.path.join(folder, name)


def _is_step(path: str) -> bool:
    return bool(_STEP.search(os.path.splitext(path)[0]))


def _steps_pattern(path: str) -> str:
    """Return what stands for the pictures of all steps: ``out-NNNNN.png`` for ``out.png``."""
    stem, ending = os.path.splitext(path)
    return f"{_STEP.sub('', stem)}-NNNNN{ending}"


def _opened(path: str) -> int:
    flags = os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.open(path, os.O_RDWR | flags, 0o666)
    except PermissionError:
        # Another user's; a lock needs no write access, except over NFS.
        return os.open(path, os.O_RDONLY | flags & ~os.O_CREAT)


def _sign(descriptor: int) -> None:
    """Write who holds the lock, for the message of another process."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)


def _holder(path: str) -> str:
    """Return in words which process holds a lock."""
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as stream:
        number, _, host = stream.read(500).strip().partition(" ")
        here = socket.gethostname()
        return f"process {int(number)}{f' on {shown(host)}' if host != here else ''}"
    return "another process"


def _release(descriptor: int, path: str) -> None:
    """Remove the file unless others share the lock, and end the lock."""
    try:
        if files.locked(descriptor) and files.is_at(descriptor, path):
            with contextlib.suppress(OSError):
                os.unlink(path)
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
