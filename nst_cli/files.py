"""Files that are either whole or not there, and the checksums that name their content."""

import contextlib
import hashlib
import os
import secrets

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
