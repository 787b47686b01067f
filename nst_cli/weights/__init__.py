"""Finds, downloads, checks and loads the parameters of VGG-19, as NumPy arrays.

They come from an MXNet file, which is parsed without pickle and without MXNet; or they are
`BUILTIN`, a bank of filters of the same shapes that is computed and needs no file.
"""

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import numpy

from .. import download, files, folders
from ..errors import WeightsError, reason
from ..files import StrPath
from . import builtin, params

#: The authors' file, Git's id of its content, and an upper bound on its size in bytes: VGG-19's
#: convolutions take 80 MB.
PUBLISHED_URL = "https://github.com/dmlc/web-data/raw/master/mxnet/neural-style/model/vgg19.params"
PUBLISHED_BLOB_ID = "9dfbe2ed44e0e8914f9551888bf763e14c09c778"
PUBLISHED_MAX_SIZE = 100 * 10**6
FILE_NAME = "vgg19.params"

#: Selects the computed bank of filters, in place of a path.
BUILTIN = "builtin"

#: Environment variable that holds a path or `BUILTIN`; the option ``--weights`` overrides it.
VARIABLE = "NST_WEIGHTS"


@dataclass(frozen=True)
class Report:
    """Description of a file of weights that can be used."""

    path: Path
    size: int
    """Bytes."""
    blob_id: str
    """Git's id of the content, 40 hex digits."""
    sha256: str
    """64 hex digits."""
    published: bool
    """Whether it is the authors' file, byte for byte."""
    layers: tuple[str, ...]
    """The convolutions in the file, in order from ``conv1_1``."""


def cache_folder() -> Optional[Path]:
    """Return the user's folder for downloaded files; None if the user has no home folder."""
    return folders.user_folder("XDG_CACHE_HOME", ".cache")


def find(given: Optional[StrPath] = None) -> Union[Path, str]:
    """Find the weights to use.

    The first of: `given`, the variable NST_WEIGHTS, `models` in the working folder, the cache.

    Parameters
    ----------
    given : path-like, optional
        The user's ``--weights``: a file, a folder that contains `FILE_NAME`, or `BUILTIN`.

    Returns
    -------
    Path or str
        An existing file; or `BUILTIN`, but only if the user chose it.

    Raises
    ------
    WeightsError
        The user's choice does not exist; or the user chose none, and no file exists.
    """
    variable = os.environ.get(VARIABLE)
    for origin, choice in (("--weights", given), (VARIABLE, variable)):
        if choice:
            return _chosen(origin, choice)
    places = [Path(folder, FILE_NAME) for folder in ("models", cache_folder()) if folder]
    for place in places:
        # Unlike Path.is_file, this is False for a folder that may not be searched.
        if os.path.isfile(place):
            return place
    raise WeightsError(
        f"No VGG-19 weights found: --weights and {VARIABLE} are not set, and there is no "
        f"{' and no '.join(map(str, places))}. Run nst weights fetch; or download {PUBLISHED_URL} "
        f"by hand to {places[0]}, or point --weights or {VARIABLE} at it; or try the built-in "
        f"filters, with --weights {BUILTIN}."
    )


def check(path: StrPath) -> Report:
    """Read a file of weights completely and describe it.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Report
        The file may differ from the published one.

    Raises
    ------
    WeightsError
        The file cannot be used; the message names the file and the array.
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


def load(weights_path: StrPath) -> dict[str, numpy.ndarray]:
    """Load the weights that `find` returned.

    Parameters
    ----------
    weights_path : path-like or str
        A file, or `BUILTIN`.

    Returns
    -------
    dict of str to ndarray
        Float32: ``conv1_1_weight``, shape (64, 3, 3, 3), ``conv1_1_bias``, shape (64,), and so
        on to conv5_1 at least.

    Raises
    ------
    WeightsError
        The file cannot be used; the message names the file and the array.
    """
    return builtin.build() if weights_path == BUILTIN else params.load(weights_path)


def identity(weights_path: StrPath) -> dict[str, str]:
    """Identify weights, for the metadata of a picture.

    Parameters
    ----------
    weights_path : path-like or str
        A file, or `BUILTIN`.

    Returns
    -------
    dict of str to str
        ``source``, the path or `BUILTIN`, and ``sha256``, 64 hex digits: the checksum of the
        file, or of the computed arrays' bytes in order.

    Raises
    ------
    WeightsError
        The file cannot be read.
    """
    try:
        digest = _builtin_digest() if weights_path == BUILTIN else _file_digest(weights_path)
    except OSError as error:
        raise WeightsError(f"Cannot read the weights {weights_path}: {reason(error)}.") from error
    return {"source": os.fspath(weights_path), "sha256": digest}


def fetch(
    destination: Optional[StrPath] = None,
    url: str = PUBLISHED_URL,
    blob_id: str = PUBLISHED_BLOB_ID,
    **options: Any,
) -> Path:
    """Download VGG-19's published weights, unless the file exists already, and check them.

    Parameters
    ----------
    destination : path-like, optional
        The file to write, or a folder for `FILE_NAME`. Default: `cache_folder`, where a different
        file is replaced.
    url : str
        Another address of the same file.
    blob_id : str
        Git's id of the right content, 40 hex digits.
    **options
        Further options of `download.fetch`.

    Returns
    -------
    Path
        The complete file with the right content.

    Raises
    ------
    DownloadError
        As `download.fetch`.
    WeightsError
        There is neither a `destination` nor a cache.
    """
    cache = cache_folder()
    cached = cache / FILE_NAME if cache else None
    target = cached if destination is None else _in_folder(destination)
    if target is None:
        raise WeightsError(
            "There is no home folder for the weights: name a destination, or set HOME or "
            "XDG_CACHE_HOME to an absolute path."
        )
    if target == cached:
        options["overwrite"] = True
    return download.fetch(target, url, blob_id, PUBLISHED_MAX_SIZE, **options)


def _file_digest(path: StrPath) -> str:
    status = os.stat(path)
    return _digest_of(os.fspath(path), status.st_ino, status.st_size, status.st_mtime_ns)


# Each run of a batch needs the digest, and reading 80 MB takes time.
@functools.lru_cache(maxsize=8)
def _digest_of(path: str, *version: int) -> str:
    return files.sha256(path)


@functools.cache
def _builtin_digest() -> str:
    digest = hashlib.sha256()
    for array in builtin.build().values():
        digest.update(array.data)
    return digest.hexdigest()


def _chosen(origin: str, choice: StrPath) -> Union[Path, str]:
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


def _in_folder(path: StrPath) -> Path:
    # Unlike `Path.expanduser`, this leaves ~NAME unchanged if no such user exists.
    path = Path(os.path.expanduser(path))
    return path / FILE_NAME if os.path.isdir(path) else path
