"""Writes files whole or not at all, protects the user's files, and computes checksums."""

import contextlib
import difflib
import errno
import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Callable, Optional, Union

from .errors import OutputError, reason

#: A path of the file system.
StrPath = Union[str, "os.PathLike[str]"]

_BLOCK = 1 << 20
# Programs that may write the same file at one time.
_SLOTS = 8
# How the names of temporary files and of locks start, and what they are in full.
_TEMPORARY = ".nst-"
_LEFTOVER = re.compile(r"\.nst-[0-9a-f]{12}(-\d(\..*)?|\.lock)", re.DOTALL)
# A temporary name keeps the ending of its target up to this length.
_LONGEST_ENDING = 16


@contextlib.contextmanager
def replacing(path: StrPath) -> Iterator[str]:
    """Yield a temporary path; rename it to `path` on success, else remove it.

    The temporary file is in the folder of `path` and has the same ending, for writers that choose
    a format by the ending. If `path` is a symbolic link, the link's target is replaced. An
    existing file's permissions are kept. Temporary files that killed writers of the same file
    left behind are removed.

    Parameters
    ----------
    path : path-like
        Where the finished file will be. Its folder must exist.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    target = target_of(path)
    temporary, descriptor = _reserved(target)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.fchmod(descriptor, os.stat(target).st_mode & 0o777)
        yield temporary
        # Without this a power cut may leave the new name with no content.
        os.fsync(descriptor)
        os.replace(temporary, target)
        sync_folder(os.path.dirname(target))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    finally:
        os.close(descriptor)


def write_text(path: StrPath, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    try:
        with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise OutputError(f"Cannot write {os.fspath(path)}: {reason(error)}.") from error


def write_json(path: StrPath, document: Any) -> None:
    """Write indented JSON, whole or not at all.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    write_text(path, json.dumps(document, indent=2) + "\n")


def from_json(text: bytes) -> Any:
    """Parse JSON from an untrusted source.

    Raises
    ------
    ValueError
        The text is not JSON, or nested too deeply; the message is one line.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"it is not JSON ({reason(error)})") from None


def check_output(
    path: StrPath,
    inputs: Iterable[StrPath] = (),
    *,
    overwrite: bool = False,
    ours: Optional[Callable[[str], bool]] = None,
) -> None:
    """Check, before the long work, that `path` can be written without losing a user's file.

    An existing file that is empty, as ``mktemp`` makes it, may always be replaced.

    Parameters
    ----------
    path : path-like
        A symbolic link stands for its target.
    inputs : iterable of path-like, optional
        Files that must not be overwritten under any name or link, even with `overwrite`.
    overwrite : bool
        Allow replacing an existing file that nst did not make.
    ours : callable, optional
        Takes the path of an existing file; returns True if nst made it. By default nst made none.

    Raises
    ------
    OutputError
        The folder is missing or read-only, or `path` is a folder, a device, a pipe,
        write-protected, one of `inputs`, or a file that nst did not make.
    """
    path = os.fspath(path)
    try:
        target = target_of(path)
        mode = _mode_of(target)
    except (OSError, ValueError) as error:
        raise OutputError(f"Cannot write {path}: {reason(error)}.") from error
    _check_folder(path, os.path.dirname(target) or os.curdir)
    if mode is not None:
        _check_existing(path, target, mode)
    for other in inputs:
        if _is_same_file(target, other):
            raise OutputError(
                f"Cannot write {path}: that would overwrite {os.fspath(other)}; choose another "
                "name."
            )
    if (
        mode is not None
        and not overwrite
        and os.path.getsize(target)
        and not (ours and ours(path))
    ):
        raise OutputError(
            f"Cannot write {path}: it exists and nst did not make it; --overwrite replaces it, or "
            "choose another name."
        )
    try:
        # Permission bits do not show that a medium is read-only.
        temporary, descriptor = _reserved(target)
        os.unlink(temporary)
        os.close(descriptor)
    except OSError as error:
        folder = os.path.dirname(target) or os.curdir
        raise OutputError(
            f"Cannot write {path}: no file can be made in {folder} ({reason(error)})."
        ) from error


def state_of(path: StrPath) -> Optional[tuple[int, ...]]:
    """Return what changes when a file is replaced or written; None if it is missing."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def check_untouched(
    path: StrPath, state: Optional[tuple[int, ...]], ours: Callable[[str], bool]
) -> None:
    """Check, before an output is written, that no other program wrote it since `check_output`.

    Parameters
    ----------
    path : path-like
    state : tuple or None
        The result of `state_of` when the output was checked.
    ours : callable
        As for `check_output`.

    Raises
    ------
    OutputError
        It exists, is not the file that it was, and nst did not make it.
    """
    now = state_of(path)
    if now not in (None, state) and not os.path.isdir(path) and not ours(os.fspath(path)):
        raise OutputError(
            f"Cannot write {os.fspath(path)}: another program wrote it during the run."
        )


def ending_of(path: StrPath, endings: Sequence[str]) -> str:
    """Return the ending of a file name in lower case; it decides the file's format.

    Raises
    ------
    OutputError
        The ending is not one of `endings`.
    """
    path = os.fspath(path)
    ending = os.path.splitext(path)[1]
    word = ending.lower()
    if word in endings:
        return word
    problem = f"the ending {ending!r} is unknown" if ending else "the name has no ending"
    close = [known for known in endings if sorted(known) == sorted(word)]
    close = close or difflib.get_close_matches(word, endings, 1, 0.8)
    guess = f" (did you mean {close[0]}?)" if close else ""
    raise OutputError(f"Cannot write {path}: {problem}{guess}; use {', '.join(endings)}.")


def target_of(path: StrPath) -> str:
    """Return the target of a symbolic link; any other path is returned unchanged.

    Raises
    ------
    OSError
        The link leads back to itself.
    """
    path = os.fspath(path)
    if not os.path.islink(path):
        return path
    target = os.path.realpath(path)
    if os.path.islink(target):
        raise OSError(errno.ELOOP, "it is a symbolic link that leads back to itself")
    return target


def open_regular(path: StrPath) -> BinaryIO:
    """Open a regular file for reading bytes; a device or a pipe could be endless.

    Raises
    ------
    OSError
        The file cannot be opened, or is not a regular file.
    """
    # Without O_NONBLOCK, opening a pipe would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder", os.fspath(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def sha256(path: StrPath) -> str:
    """Return the SHA-256 of a regular file's content, as 64 hex digits.

    Raises
    ------
    OSError
        The file cannot be read, or is not a regular file.
    """
    with open_regular(path) as stream:
        return _digest(stream, hashlib.sha256())


def git_blob_id(path: StrPath) -> str:
    """Return Git's blob id of a file's content: the SHA-1 of ``blob <size>\\0`` and the bytes."""
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        return _digest(stream, hashlib.sha1(b"blob %d\0" % size))


def _digest(stream: BinaryIO, digest: "hashlib._Hash") -> str:
    for block in iter(lambda: stream.read(_BLOCK), b""):
        digest.update(block)
    return digest.hexdigest()


def _mode_of(target: str) -> Optional[int]:
    """Return the mode of an existing file, or None."""
    try:
        return os.stat(target).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _check_folder(path: str, folder: str) -> None:
    if not os.path.isdir(folder):
        problem = "is not a folder" if os.path.exists(folder) else "does not exist, make it first"
        raise OutputError(f"Cannot write {path}: the folder {folder} {problem}.")


def _check_existing(path: str, target: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise OutputError(f"Cannot write {path}: it is a folder; give the name of a file.")
    if not stat.S_ISREG(mode):
        raise OutputError(
            f"Cannot write {path}: it is a device or a pipe; give the name of a file."
        )
    if not os.access(target, os.W_OK):
        raise OutputError(f"Cannot write {path}: the file there is write-protected.")


def _is_same_file(first: StrPath, second: StrPath) -> bool:
    try:
        return os.path.samefile(first, second)
    except (OSError, ValueError):
        return os.path.realpath(first) == os.path.realpath(second)


def _reserved(target: str) -> tuple[str, int]:
    """Make an empty temporary file for `target`; return its path and a locked descriptor.

    A running program holds the lock; the file of a killed program is unlocked.
    """
    folder, name = os.path.split(target)
    ending = os.path.splitext(name)[1]
    if len(os.fsencode(ending)) > _LONGEST_ENDING:
        ending = ""
    slots = [os.path.join(folder, f"{_key_of(name)}-{slot}{ending}") for slot in range(_SLOTS)]
    for slot in slots:
        _remove_leftover(slot)
    for slot in slots:
        descriptor = _created(slot)
        if descriptor is not None:
            return slot, descriptor
    raise OSError(errno.EBUSY, f"{_SLOTS} other programs are writing it")


def lock_name(path: StrPath) -> str:
    """Return the path of the file whose lock stands for a file, in the same folder."""
    folder, name = os.path.split(os.fspath(path))
    return os.path.join(folder, f"{_key_of(name)}.lock")


def _key_of(name: str) -> str:
    """Return how the hidden names of a file start; any name of a file may be too long for it."""
    return f"{_TEMPORARY}{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}"


def _created(path: str) -> Optional[int]:
    """Make and lock a file; return its descriptor, or None if another program has the file."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
    except FileExistsError:
        return None
    if locked(descriptor) is not False and is_at(descriptor, path):
        return descriptor
    # Before it was locked, another program took it for a leftover.
    os.close(descriptor)
    return None


def _remove_leftover(path: str) -> None:
    """Remove a temporary file if no running program has locked it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        # While this process holds the lock, no other renames or removes the file.
        if locked(descriptor) and is_at(descriptor, path):
            with contextlib.suppress(OSError):
                os.unlink(path)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: StrPath) -> None:
    """Remove the temporary files and locks in a folder that killed programs left behind.

    Raises
    ------
    OSError
        The folder cannot be read.
    """
    for name in os.listdir(folder):
        if _LEFTOVER.fullmatch(name):
            _remove_leftover(os.path.join(folder, name))


def locked(descriptor: int, shared: bool = False) -> Optional[bool]:
    """Lock a file; return False if another program has locked it, None if locks do not exist."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def is_at(descriptor: int, path: str) -> bool:
    """Return whether an open file is the one at a path, which may have been replaced."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False


def sync_folder(folder: StrPath) -> None:
    """Make a rename durable, if the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder or os.curdir, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
