"""Downloads a file whose content is known by its Git blob id, and resumes where it broke off."""

import contextlib
import fcntl
import http.client
import ipaddress
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Optional

from . import files
from .errors import DownloadError, reason

_BLOCK = 1 << 18
_PARTIAL, _BEYOND_THE_END = 206, 416


def fetch(
    destination: os.PathLike,
    url: str,
    blob_id: str,
    most: int,
    *,
    overwrite: bool = False,
    progress: Optional[Callable] = None,
    on_wait: Optional[Callable] = None,
    timeout: float = 30,
) -> Path:
    """Download `url` to `destination`, unless the right file is there.

    What has arrived is kept beside it with the ending ``.part`` until it is whole and right; the
    next call resumes it. Of two calls at once the second waits for the first.

    Parameters
    ----------
    destination : path-like
        Through a symbolic link it is the link's target that is written.
    url : str
        An https address; http is taken from this machine alone (``http://localhost:8000``).
        Proxies are taken from the environment.
    blob_id : str
        The id that Git gives the right content, 40 hex digits.
    most : int
        Bytes that the right content has at most.
    overwrite : bool
        Replace a file there that is not the right one.
    progress : callable, optional
        Called as ``progress(done, total)`` in bytes; `total` is None where the server is silent.
    on_wait : callable, optional
        Called with no arguments before waiting for another process.
    timeout : float
        Seconds without a byte after which the connection counts as broken.

    Returns
    -------
    Path
        `destination`.

    Raises
    ------
    DownloadError
        Another file is there, the server or the network failed, the disk is full, or what
        arrived is not the right content.
    """
    destination = Path(destination)
    target = Path(os.path.realpath(destination))
    part = target.with_name(f"{target.name}.part")
    _check_address(url)
    try:
        if _is_there(target, url, blob_id, overwrite):
            return destination
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part, on_wait) as stream:
            try:
                # Another process may have made it meanwhile.
                if _is_there(target, url, blob_id, overwrite):
                    stream.truncate(0)
                    return destination
                _complete(stream, part, url, blob_id, most, progress, timeout)
                os.fsync(stream.fileno())
                os.replace(part, target)
            finally:
                with contextlib.suppress(OSError):
                    stream.flush()
                # Before the lock ends: later the name may be another process's.
                if not os.fstat(stream.fileno()).st_size:
                    os.unlink(part)
        _sync(target.parent)
    except OSError as error:
        raise DownloadError(
            f"Cannot write {destination}: {reason(error)}. Make room or name another place, and "
            "run it again: it resumes where it stopped."
        ) from error
    return destination


def _is_there(target, url, blob_id, overwrite):
    """Return whether the right file is there; raise for one that must stay."""
    if not os.path.lexists(target):
        return False
    if not target.is_file():
        raise DownloadError(f"{target} is not a file: name another place.")
    found = files.git_blob_id(target)
    if found != blob_id and not overwrite:
        raise DownloadError(
            f"{target} is there already and is not the file at {url} (blob id {found}, not "
            f"{blob_id}): move it away, name another place or replace it by --overwrite."
        )
    return found == blob_id


def _locked(part, on_wait):
    """Return the file `part`, open for reading and writing, and locked against other processes."""
    while True:
        stream = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            _lock(stream, on_wait)
            # While this process waited, another may have finished the file or removed it.
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(stream.fileno()), os.stat(part)):
                    return stream
        except BaseException:
            stream.close()
            raise
        stream.close()


def _lock(stream, on_wait):
    try:
        # The system ends the lock with the process, whatever ends the process.
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if on_wait:
            on_wait()
        fcntl.flock(stream, fcntl.LOCK_EX)
    except OSError:
        # Some file systems have no locks; the checksum notices what goes wrong.
        return


def _complete(stream, part, url, blob_id, most, progress, timeout):
    """Download what `stream` lacks; start over where the whole is not the right content."""
    start = os.fstat(stream.fileno()).st_size
    if start > most:
        start = 0
    while True:
        stream.truncate(start)
        stream.seek(start)
        _receive(stream, url, start, most, progress, timeout)
        stream.flush()
        found = files.git_blob_id(part)
        if found == blob_id:
            return
        stream.truncate(0)
        if not start:
            raise DownloadError(
                f"What came from {url} is not the right file (blob id {found}, not {blob_id}) and "
                "was removed: run it again, or download the file by hand if a proxy answers in "
                "its place."
            )
        # The beginning was of another file.
        start = 0


def _receive(stream, url, start, most, progress, timeout):
    """Write to `stream` the file at `url` from the byte `start` on."""
    with _opened(url, start, timeout) as response:
        if response is None:
            return
        done = start if response.status == _PARTIAL else 0
        total = _total(response, url, done)
        if total is not None and total > most:
            raise _too_long(url, most, f"the server's is {total}")
        stream.truncate(done)
        stream.seek(done)
        for block in _blocks(response, url):
            done += len(block)
            if done > most:
                stream.truncate(0)
                raise _too_long(url, most, "the server sends more")
            stream.write(block)
            if progress:
                progress(done, total)
    if total is not None and done != total:
        raise _broken(url, f"the connection ended after {done} of {total} bytes")


def _too_long(url, most, what):
    return DownloadError(
        f"Cannot download {url}: the file has at most {most} bytes, and {what}. Download the file "
        "by hand if a proxy answers in its place."
    )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to addresses that could have been given as well."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if req.type == "https" and urllib.parse.urlsplit(newurl).scheme != "https":
            raise DownloadError(
                f"Cannot download {req.full_url}: it redirects to {newurl}, which is not https."
            )
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(url):
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname
    except ValueError:
        parts = host = None
    if not host:
        raise DownloadError(
            f"Cannot download {url}: it is not an address such as https://HOST/FILE."
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_this_machine(host)):
        raise DownloadError(
            f"Cannot download {url}: only https addresses are taken, and http from this machine "
            "itself."
        )


def _is_this_machine(host):
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def _opened(url, start, timeout):
    """Yield the answer to a request for the bytes from `start`; None if there are no more."""
    headers = {"User-Agent": "nst", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        request = urllib.request.Request(url, headers=headers)
        # An opener of its own reads the proxies anew; urlopen keeps those of its first call.
        response = urllib.request.build_opener(_Redirects).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _BEYOND_THE_END and start:
            # All of it was there already, or more than that: the checksum decides.
            yield None
            return
        raise DownloadError(
            f"Cannot download {url}: the server answers {error.code} {error.reason}. Try later, "
            "or download the file by hand from another place."
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _broken(url, getattr(error, "reason", error)) from error
    with response:
        yield response


def _total(response, url, start):
    """Return the size of the whole file in bytes, or None where the server does not say."""
    if response.status == _PARTIAL:
        sent = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", sent.strip())
        if not match or int(match[1]) != start:
            raise DownloadError(
                f"Cannot download {url}: asked for the bytes from {start} on, the server sent "
                f"{sent!r}. Download the file by hand."
            )
        return None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length", "").strip()
    return int(length) if re.fullmatch("[0-9]{1,18}", length) else None


def _blocks(response, url):
    try:
        yield from iter(lambda: response.read(_BLOCK), b"")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _broken(url, error) from error


def _broken(url, why):
    return DownloadError(
        f"Cannot download {url}: {reason(why) if isinstance(why, Exception) else why}. Check the "
        "network and the proxy settings and run it again: what has come is kept."
    )


def _sync(folder):
    """Have the system write a folder's entries to the disk, where it can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
