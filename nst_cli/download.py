"""Downloads a file, resumes an interrupted download, and checks the content's Git blob id."""

import contextlib
import fcntl
import http.client
import ipaddress
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, Optional

from . import files
from .errors import DownloadError, reason

_BLOCK = 1 << 18
_PARTIAL, _BEYOND_THE_END = 206, 416
# Characters of what a server says in a message.
_LONGEST_WORDS = 200
# Bytes per second. The weights would take a week.
_SLOWEST = 128


def fetch(
    destination: files.StrPath,
    url: str,
    blob_id: str,
    max_size: int,
    *,
    overwrite: bool = False,
    progress: Optional[Callable[[int, Optional[int]], object]] = None,
    on_wait: Optional[Callable[[], object]] = None,
    timeout: float = 30,
) -> Path:
    """Download `url` to `destination`, unless the file exists already and is the right one.

    Until the content is complete and checked, it is in a file beside `destination` with the
    ending ``.part``, which the next call resumes. Two calls at the same time take turns.

    Parameters
    ----------
    destination : path-like
        If it is a symbolic link, the link's target is written.
    url : str
        An https address, or http on this machine (``http://localhost:8000``). Proxies are taken
        from the environment.
    blob_id : str
        Git's id of the right content, 40 hex digits.
    max_size : int
        Upper bound on the size of the right content, in bytes.
    overwrite : bool
        Replace an existing file that is not the right one.
    progress : callable, optional
        Called as ``progress(done, total)`` in bytes; `total` is None if the server does not say.
    on_wait : callable, optional
        Called with no arguments before waiting for another process.
    timeout : float
        Seconds after which a connection without a byte, or with next to none, counts as broken.

    Returns
    -------
    Path
        `destination`.

    Raises
    ------
    DownloadError
        A different file exists, the server or the network failed, the disk is full, or the
        content is not the right one.
    """
    destination = Path(destination)
    target = Path(os.path.realpath(destination))
    part = target.with_name(f"{target.name}.part")
    _check_address(url)
    try:
        if _is_complete(target, url, blob_id, overwrite):
            return destination
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part, on_wait) as stream:
            try:
                # Another process may have finished it meanwhile.
                if _is_complete(target, url, blob_id, overwrite):
                    stream.truncate(0)
                    return destination
                _complete(stream, part, url, blob_id, max_size, progress, timeout)
                os.fsync(stream.fileno())
                os.replace(part, target)
            finally:
                with contextlib.suppress(OSError):
                    stream.flush()
                # While the lock is held: later another process may use the name.
                if not os.fstat(stream.fileno()).st_size:
                    os.unlink(part)
        files.sync_folder(target.parent)
    except OSError as error:
        raise DownloadError(
            f"Cannot write {destination}: {reason(error)}. Make room or name another place, and "
            "run it again: it resumes where it stopped."
        ) from error
    return destination


def _is_complete(target: Path, url: str, blob_id: str, overwrite: bool) -> bool:
    """Return whether the right file exists; raise if a different one exists and must stay."""
    if not os.path.lexists(target):
        return False
    if not target.is_file():
        raise DownloadError(f"{target} is not a file: name another place.")
    actual = files.git_blob_id(target)
    if actual != blob_id and not overwrite:
        raise DownloadError(
            f"{target} exists already and is not the file at {url} (blob id {actual}, not "
            f"{blob_id}): move it away, name another place or replace it by --overwrite."
        )
    return actual == blob_id


def _locked(part: Path, on_wait: Optional[Callable[[], object]]) -> BinaryIO:
    """Open the file `part` for reading and writing, locked against other processes."""
    while True:
        # In a folder of several users, a link may lead to a file of this one.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        stream = os.fdopen(os.open(part, flags, 0o666), "r+b")
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


def _lock(stream: BinaryIO, on_wait: Optional[Callable[[], object]]) -> None:
    try:
        # The system releases the lock when the process ends, even if it is killed.
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if on_wait:
            on_wait()
        fcntl.flock(stream, fcntl.LOCK_EX)
    except OSError:
        # Some file systems have no locks; the checksum detects a mix-up.
        return


def _complete(
    stream: BinaryIO,
    part: Path,
    url: str,
    blob_id: str,
    max_size: int,
    progress: Optional[Callable[[int, Optional[int]], object]],
    timeout: float,
) -> None:
    """Download what `stream` lacks; start over if the result is not the right content."""
    start = os.fstat(stream.fileno()).st_size
    if start > max_size:
        start = 0
    while True:
        stream.truncate(start)
        stream.seek(start)
        _receive(stream, url, start, max_size, progress, timeout)
        stream.flush()
        actual = files.git_blob_id(part)
        if actual == blob_id:
            return
        stream.truncate(0)
        if not start:
            raise DownloadError(
                f"The content from {url} is not the right file (blob id {actual}, not {blob_id}) "
                "and was removed: run it again, or download the file by hand if a proxy answers "
                "in its place."
            )
        # The first bytes came from a different file.
        start = 0


def _receive(
    stream: BinaryIO,
    url: str,
    start: int,
    max_size: int,
    progress: Optional[Callable[[int, Optional[int]], object]],
    timeout: float,
) -> None:
    """Write the file at `url` to `stream`, from byte `start` on."""
    with _opened(url, start, timeout) as response:
        if response is None:
            return
        done = start if response.status == _PARTIAL else 0
        total = _total(response, url, done)
        if total is not None and total > max_size:
            raise _too_long(url, max_size, f"the server's is {total}")
        stream.truncate(done)
        stream.seek(done)
        for block in _blocks(response, url, timeout):
            done += len(block)
            if done > max_size:
                stream.truncate(0)
                raise _too_long(url, max_size, "the server sends more")
            stream.write(block)
            if progress:
                progress(done, total)
    if total is not None and done != total:
        raise _broken(url, f"the connection ended after {done} of {total} bytes")


def _too_long(url: str, max_size: int, what: str) -> DownloadError:
    return DownloadError(
        f"Cannot download {url}: the file has at most {max_size} bytes, and {what}. Download the "
        "file by hand if a proxy answers in its place."
    )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows only redirects to addresses that `fetch` would accept."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> Optional[urllib.request.Request]:
        if req.type == "https" and urllib.parse.urlsplit(newurl).scheme != "https":
            raise DownloadError(
                f"Cannot download {req.full_url}: it redirects to {newurl}, which is not https."
            )
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        scheme, host = parts.scheme, parts.hostname
    except ValueError:
        scheme, host = "", None
    if not host:
        raise DownloadError(
            f"Cannot download {url}: it is not an address such as https://HOST/FILE."
        )
    if scheme != "https" and not (scheme == "http" and _is_this_machine(host)):
        raise DownloadError(
            f"Cannot download {url}: only https addresses are allowed, or http on this machine."
        )


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def _opened(url: str, start: int, timeout: float) -> Iterator[Any]:
    """Yield the response to a request for the bytes from `start` on; None if there are none."""
    headers = {"User-Agent": "nst", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        request = urllib.request.Request(url, headers=headers)
        # Unlike urlopen, a new opener reads the proxy settings again.
        response = urllib.request.build_opener(_Redirects).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _BEYOND_THE_END and start:
            # All bytes have been received, or too many: the checksum decides.
            yield None
            return
        words = " ".join(str(error.reason).split())[:_LONGEST_WORDS].rstrip(".")
        raise DownloadError(
            f"Cannot download {url}: the server answers {error.code} {words}. Try later, or "
            "download the file by hand from another place."
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _broken(url, getattr(error, "reason", error)) from error
    with response:
        yield response


def _total(response: Any, url: str, start: int) -> Optional[int]:
    """Return the size of the whole file in bytes, or None if the server does not say."""
    if response.status == _PARTIAL:
        sent = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", sent.strip())
        if not match or int(match[1]) != start:
            raise DownloadError(
                f"Cannot download {url}: asked for the bytes from {start} on, the server sent "
                f"{sent[:_LONGEST_WORDS]!r}. Download the file by hand."
            )
        return None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length", "").strip()
    return int(length) if re.fullmatch("[0-9]{1,18}", length) else None


def _blocks(response: Any, url: str, timeout: float) -> Iterator[bytes]:
    """Yield what the server sends, as it comes; raise if that is next to nothing."""
    began, received = time.monotonic(), 0
    while True:
        try:
            block = response.read1(_BLOCK)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _broken(url, error) from error
        if not block:
            return
        yield block
        received += len(block)
        seconds = time.monotonic() - began
        if seconds >= timeout:
            if received < _SLOWEST * seconds:
                raise _broken(url, f"only {received} bytes came in {seconds:.0f} seconds")
            began, received = time.monotonic(), 0


def _broken(url: str, why: object) -> DownloadError:
    return DownloadError(
        f"Cannot download {url}: {reason(why) if isinstance(why, Exception) else why}. Check the "
        "network and the proxy settings and run it again: it resumes where it stopped."
    )
