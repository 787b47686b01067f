"""Files that are whole or not there and overwrite no input, and checksums of their content."""

import contextlib
import hashlib
import os
import secrets
import tempfile

from .errors import OutputError

_BLOCK = 1 << 20


@contextlib.contextmanager
def replacing(path):
    """Yield a temporary path beside `path`; rename it to `path` on success, else remove it.

    The temporary name keeps the ending of `path`, so that a writer which goes by endings
    works, and it starts with a dot and a random part, so that two runs never share one.

    Parameters
    ----------
    path : path-like
        Where the finished file shall be. Its folder must exist.
    """
    path = os.fspath(path)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{secrets.token_hex(4)}-{name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def check_output(path, inputs=()):
    """Find out, before the long work, whether a file can be written to `path`.

    Parameters
    ----------
    path : path-like
    inputs : iterable of path-like, optional
        Files that must not be overwritten, by whatever name or link.

    Raises
    ------
    OutputError
        The folder is missing or not writable, the file a folder, protected or one of `inputs`.
    """
    path = os.fspath(path)
    folder, name = os.path.split(path)
    folder = folder or os.curdir
    if not os.path.isdir(folder):
        found = "is not a folder" if os.path.exists(folder) else "does not exist, make it first"
        raise OutputError(f"Cannot write {path}: the folder {folder} {found}.")
    if os.path.isdir(path):
        raise OutputError(f"Cannot write {path}: it is a folder; give the name of a file.")
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise OutputError(f"Cannot write {path}: the file there is write-protected.")
    for other in inputs:
        if _is_same_file(path, other):
            raise OutputError(
                f"Cannot write {path}: that would overwrite {os.fspath(other)}; choose another "
                "name."
            )
    try:
        # Access bits do not tell of read-only media or of names too long; `replacing` makes
        # names as long as this one.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=f"-{name}"):
            pass
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: no file can be made in {folder} ({error.strerror})."
        ) from error


def _is_same_file(first, second):
    try:
        return os.path.samefile(first, second)
    except OSError:
        return os.path.realpath(first) == os.path.realpath(second)


def sha256(path):
    """Return the SHA-256 of a file's content, as 64 hex digits."""
    return _digest(path, hashlib.sha256())


def git_blob_id(path):
    """Return the id Git gives a file's content: SHA-1 of ``blob <size>\\0`` and the bytes."""
    return _digest(path, hashlib.sha1(b"blob %d\0" % os.path.getsize(path)))


def _digest(path, digest):
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()
