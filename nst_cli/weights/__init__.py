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

from .. import download, files, folders
from ..errors import WeightsError, reason
from . import builtin, params

#: The authors' file, the id that Git gives to its content, and what it cannot exceed in bytes:
#: VGG-19's convolutions are 80 MB.
PUBLISHED_URL = "https://github.com/dmlc/web-data/raw/master/mxnet/neural-style/model/vgg19.params"
PUBLISHED_BLOB_ID = "9dfbe2ed44e0e8914f9551888bf763e14c09c778"
PUBLISHED_MOST = 100 * 10**6
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


def cache_folder() -> Optional[Path]:
    """Return the user's folder for fetched files; None where the user has no home."""
    return folders.user_folder("XDG_CACHE_HOME", ".cache")


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
    places = [Path(folder, FILE_NAME) for folder in ("models", cache_folder()) if folder]
    for place in places:
        # A folder of another user's, which may not be searched, is as good as none.
        if os.path.isfile(place):
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
        digest = _builtin_digest() if which == BUILTIN else _file_digest(which)
    except OSError as error:
        raise WeightsError(f"Cannot read the weights {which}: {error.strerror}.") from error
    return {"source": os.fspath(which), "sha256": digest}


def fetch(
    destination: Optional[os.PathLike] = None,
    url: str = PUBLISHED_URL,
    blob_id: str = PUBLISHED_BLOB_ID,
    **how,
) -> Path:
    """Download VGG-19's published weights, and check them.

    Parameters
    ----------
    destination : path-like, optional
        Where the file shall be; a folder gets it as `FILE_NAME`. Default: `cache_folder`, where
        a file that is not the right one is replaced.
    url : str
        Another address of the same file.
    blob_id : str
        The id that Git gives the right content, 40 hex digits.
    **how
        The options of `download.fetch`.

    Returns
    -------
    Path
        The file, whole and right. At once if it is there already.

    Raises
    ------
    DownloadError
        As `download.fetch`.
    WeightsError
        No `destination` is given, and the user has no cache.
    """
    cache = cache_folder()
    if destination is None and cache is None:
        raise WeightsError(
            "There is no home folder to keep the weights in: name a destination, or set HOME or "
            "XDG_CACHE_HOME to an absolute path."
        )
    target = cache / FILE_NAME if destination is None else _in_folder(destination)
    if cache and target == cache / FILE_NAME:
        how["overwrite"] = True
    return download.fetch(target, url, blob_id, PUBLISHED_MOST, **how)


def _file_digest(path):
    status = os.stat(path)
    return _digest_of(os.fspath(path), status.st_ino, status.st_size, status.st_mtime_ns)


# The runs of a batch ask again and again, and the file has 80 MB.
@functools.lru_cache(maxsize=8)
def _digest_of(path, *version):
    return files.sha256(path)


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
    try:
        path.stat()
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"The weights named by {origin} cannot be read: {path}: {reason(error)}. Name an "
            "existing file, or get it with nst weights fetch."
        ) from error
    return path


def _in_folder(path):
    # Unlike `Path.expanduser`, this leaves ~NAME as it is where there is no such user.
    path = Path(os.path.expanduser(path))
    return path / FILE_NAME if os.path.isdir(path) else path
