"""Downloads a file whose content is known by its Git blob id, and goes on where it broke off."""

import contextlib
import http.client
import os
import re
import urllib.error
import urllib.request
from pathlib import Path

from .. import files
from ..errors import WeightsError

_BLOCK = 1 << 18
_PARTIAL, _BEYOND_THE_END = 206, 416


def fetch(destination, url, blob_id, progress=None, timeout=30):
    """Download `url` to `destination` unless it is there; `nst_cli.weights.fetch` has the details.

    Parameters
    ----------
    destination : path-like
    url : str
    blob_id : str
        The id that Git gives the right content, 40 hex digits.
    progress : callable, optional
        Called as ``progress(done, total)``, in bytes or None.
    timeout : float
        Seconds.

    Returns
    -------
    Path

    Raises
    ------
    WeightsError
    """
    destination = Path(destination)
    part = destination.with_name(destination.name + ".part")
    try:
        if destination.exists():
            return _existing(destination, url, blob_id)
        destination.parent.mkdir(parents=True, exist_ok=True)
        _receive(part, url, progress, timeout)
        _verify(part, url, blob_id)
        os.replace(part, destination)
    except OSError as error:
        raise WeightsError(
            f"Cannot write {destination}: {error.strerror or error}. Make room or name another "
            "place, and run it again: it goes on where it stopped."
        ) from error
    return destination


def _existing(destination, url, blob_id):
    found = files.git_blob_id(destination)
    if found != blob_id:
        raise WeightsError(
            f"{destination} is there already and is not the file at {url} (blob id {found}, not "
            f"{blob_id}): move it away or name another place."
        )
    return destination


def _receive(part, url, progress, timeout):
    """Add to the file `part` what it lacks of the file at `url`."""
    done = part.stat().st_size if part.exists() else 0
    with _opened(url, done, timeout) as response:
        if response is None:
            return
        resumed = response.status == _PARTIAL
        done = done if resumed else 0
        total = _total(response, url, done)
        with open(part, "ab" if resumed else "wb") as stream:
            for block in _blocks(response, url):
                stream.write(block)
                done += len(block)
                if progress:
                    progress(done, total)
    if total is not None and done != total:
        raise _broken(url, f"the connection ended after {done} of {total} bytes")


@contextlib.contextmanager
def _opened(url, start, timeout):
    """Yield the answer to a request for the bytes from `start`; None if there are no more."""
    headers = {"User-Agent": "nst", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        request = urllib.request.Request(url, headers=headers)
        # An opener of its own reads the proxies anew; urlopen keeps those of its first call.
        response = urllib.request.build_opener().open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _BEYOND_THE_END and start:
            # All of it was there already, or more than that: the checksum tells.
            yield None
            return
        raise WeightsError(
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
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", sent.strip())
        if not match or int(match[1]) != start:
            raise WeightsError(
                f"Cannot download {url}: asked for the bytes from {start} on, the server sent "
                f"{sent!r}. Download the file by hand."
            )
        return None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _blocks(response, url):
    try:
        yield from iter(lambda: response.read(_BLOCK), b"")
    except (OSError, http.client.HTTPException) as error:
        raise _broken(url, error) from error


def _broken(url, reason):
    reason = str(reason) or type(reason).__name__
    return WeightsError(
        f"Cannot download {url}: {reason}. Check the network and the proxy settings and run it "
        "again: what has come is kept."
    )


def _verify(part, url, blob_id):
    found = files.git_blob_id(part)
    if found != blob_id:
        part.unlink()
        raise WeightsError(
            f"What came from {url} is not the right file (blob id {found}, not {blob_id}) and was "
            "removed: run it again, or download the file by hand if a proxy answers in its place."
        )
