"""Finds, fetches, checks and loads the parameters of VGG-19, as NumPy arrays.

They are MXNet files, never unpickled and never given to MXNet's own loader, or `BUILTIN`: a
bank of filters of the same shape that is computed and needs no file.
"""

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from .. import files
from ..errors import WeightsError
from . import builtin, download, params

#: The authors' file, and the id that Git gives to its content.
PUBLISHED_URL = "https://github.com/dmlc/web-data/raw/master/mxnet/neural-style/model/vgg19.params"
PUBLISHED_BLOB_ID = "9dfbe2ed44e0e8914f9551888bf763e14c09c778"
FILE_NAME = "vgg19.params"

#: Stands in place of a path for the computed bank of filters.
BUILTIN = "builtin"

#: Names a path, or `BUILTIN`, when no option does.
VARIABLE = "NST_WEIGHTS"


@dataclass(frozen=True)
class Report:
    """What `check` found in a file that can be used."""

    path: Path
    size: int
    """Bytes."""
    blob_id: str
    """The id Git gives the content, 40 hex digits."""
    sha256: str
    """64 hex digits."""
    published: bool
    """Whether it is the authors' file, byte for byte."""
    layers: tuple[str, ...]
    """The convolutions it has, in order: ``conv1_1`` and on."""


def cache_folder():
    """Return the user's folder for fetched files, which need not exist yet, as a Path."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification tells programs to ignore a relative path.
    if not os.path.isabs(base):
        base = os.path.expanduser("~/.cache")
    return Path(base, "nst")


def find(given=None):
    """Find the weights to use.

    The first of: `given`, the variable NST_WEIGHTS, `models` in the working folder, the cache.

    Parameters
    ----------
    given : path-like, optional
        The user's ``--weights``: a file, a folder that holds `FILE_NAME`, or `BUILTIN`.

    Returns
    -------
    Path or str
        An existing file, or `BUILTIN`, which is never returned unless asked for.

    Raises
    ------
    WeightsError
        What was asked for does not exist, or nothing was asked for and nothing found.
    """
    variable = os.environ.get(VARIABLE)
    for origin, choice in (("--weights", given), (VARIABLE, variable)):
        if choice:
            return _chosen(origin, choice)
    places = [Path("models", FILE_NAME), cache_folder() / FILE_NAME]
    for place in places:
        if place.is_file():
            return place
    raise WeightsError(
        f"No VGG-19 weights found: --weights and {VARIABLE} are not set, and there is no "
        f"{' and no '.join(map(str, places))}. Run nst weights fetch; or download {PUBLISHED_URL} "
        f"by hand to {places[0]}, or point --weights or {VARIABLE} at it; or try without, with "
        f"--weights {BUILTIN}."
    )


def check(path):
    """Read a file of weights to the end and say what it is.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Report
        A file other than the published one is named so and may serve as well.

    Raises
    ------
    WeightsError
        The file cannot be used; the message names it and the array.
    """
    arrays = params.load(path)
    blob_id = files.git_blob_id(path)
    return Report(
        path=Path(path),
        size=os.path.getsize(path),
        blob_id=blob_id,
        sha256=files.sha256(path),
        published=blob_id == PUBLISHED_BLOB_ID,
        layers=tuple(layer for layer in params.CONVOLUTIONS if f"{layer}_weight" in arrays),
    )


def load(which):
    """Load the weights that `find` returned.

    Parameters
    ----------
    which : path-like or str
        A file, or `BUILTIN`.

    Returns
    -------
    dict of str to ndarray
        Float32: ``conv1_1_weight``, shape (64, 3, 3, 3), ``conv1_1_bias``, shape (64,), and so
        on to conv5_1 at least.

    Raises
    ------
    WeightsError
        The file cannot be used; the message names it and the array.
    """
    return builtin.build() if which == BUILTIN else params.load(which)


def identity(which):
    """Say which weights these are, for the metadata of a picture.

    Parameters
    ----------
    which : path-like or str
        What `find` returned.

    Returns
    -------
    dict of str to str
        ``source``, the path or `BUILTIN`, and ``sha256``, 64 hex digits: of the file, or of the
        bytes of the computed arrays one after another.

    Raises
    ------
    WeightsError
        The file cannot be read.
    """
    try:
        digest = _builtin_digest() if which == BUILTIN else files.sha256(which)
    except OSError as error:
        raise WeightsError(f"Cannot read the weights {which}: {error.strerror}.") from error
    return {"source": os.fspath(which), "sha256": digest}


def fetch(
    destination: Optional[os.PathLike] = None,
    url=PUBLISHED_URL,
    blob_id=PUBLISHED_BLOB_ID,
    progress=None,
    timeout=30,
):
    """Download a file, VGG-19's published weights unless told otherwise, and check it.

    A download that breaks off is kept beside `destination` with the ending ``.part``; the next
    call goes on from there.

    Parameters
    ----------
    destination : path-like, optional
        Where the file shall be; a folder gets it as `FILE_NAME`. Default: `cache_folder`.
    url : str
        Proxies are taken from the environment.
    blob_id : str
        The id that Git gives the right content, 40 hex digits.
    progress : callable, optional
        Called as ``progress(done, total)`` in bytes; `total` is None where the server is silent.
    timeout : float
        Seconds without a byte after which the connection counts as broken.

    Returns
    -------
    Path
        The file, whole and right. At once if it is there already.

    Raises
    ------
    WeightsError
        Another file stands there, the server or the network failed, the disk is full, or what
        came is not the right content. Nothing half-written ever bears the final name.
    """
    target = cache_folder() / FILE_NAME if destination is None else _in_folder(destination)
    return download.fetch(target, url, blob_id, progress, timeout)


@functools.cache
def _builtin_digest():
    digest = hashlib.sha256()
    for array in builtin.build().values():
        digest.update(array)
    return digest.hexdigest()


def _chosen(origin, choice):
    if choice == BUILTIN:
        return BUILTIN
    path = _in_folder(choice)
    if not path.exists():
        raise WeightsError(
            f"The weights named by {origin} are not there: {path}. Name an existing file, or get "
            f"it with nst weights fetch."
        )
    return path


def _in_folder(path):
    path = Path(path).expanduser()
    return path / FILE_NAME if path.is_dir() else path
