"""Finds, downloads, checks and loads the parameters of VGG-19, as NumPy arrays.

They come from an MXNet file, which is parsed without pickle and without MXNet; or they are
`BUILTIN`, a bank of filters of the same shapes that is computed and needs no file.
"""

import contextlib
import functools
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

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
#: SHA-256 of the same file.
PUBLISHED_SHA256 = "975d5b98f1019963a2c6b4032d9db4900fbeb1633072afc5b040969ec813a48c"
FILE_NAME = "vgg19.params"

#: Selects the computed bank of filters, in place of a path.
BUILTIN = "builtin"

#: Environment variable that holds a path or `BUILTIN`; the option ``--weights`` overrides it.
VARIABLE = "NST_WEIGHTS"


@dataclass(frozen=True)
class Weights:
    """A file of weights, or the computed bank of filters.

    A run finds its weights once, with `find`, and passes them on. The file must not change before
    the last call of `load`, so that the arrays are those that the checksum identifies.

    Attributes
    ----------
    path : Path or None
        None for the bank.
    """

    path: Optional[Path] = None
    # From the status of the file; empty for the bank.
    _version: tuple[int, ...] = field(default=(), repr=False)

    @classmethod
    def find(cls, given: Optional[StrPath] = None) -> "Weights":
        """Find the weights to use.

        The first of: `given`, the variable NST_WEIGHTS, `models` in the working folder, the cache.

        Parameters
        ----------
        given : path-like, optional
            The user's ``--weights``: a file, a folder that contains `FILE_NAME`, or `BUILTIN`. An
            empty string is the same as None.

        Returns
        -------
        Weights
            An existing file; or the bank, but only if the user chose it.

        Raises
        ------
        WeightsError
            The user's choice does not exist; or the user chose none, and no file exists.
        """
        for origin, choice in (("--weights", given), (VARIABLE, os.environ.get(VARIABLE))):
            if choice:
                return cls() if choice == BUILTIN else cls._chosen(origin, choice)
        places = [Path(folder, FILE_NAME) for folder in ("models", cache_folder()) if folder]
        for place in places:
            # An error means that the file is missing, or in a folder that may not be searched.
            with contextlib.suppress(OSError):
                if place.is_file():
                    return cls(place, _version_of(place))
        raise WeightsError(
            f"No VGG-19 weights found: --weights and {VARIABLE} are not set, and there is no "
            f"{' and no '.join(map(str, places))}. Run nst weights fetch; or download "
            f"{PUBLISHED_URL} by hand to {places[0]}, or point --weights or {VARIABLE} at it; or "
            f"try the built-in filters, with --weights {BUILTIN}."
        )

    @classmethod
    def _chosen(cls, origin: str, choice: StrPath) -> "Weights":
        path = _in_folder(choice)
        try:
            return cls(path, _version_of(path))
        except (OSError, ValueError) as error:
            raise WeightsError(
                f"The weights named by {origin} cannot be read: {path}: {reason(error)}. Name an "
                "existing file, or get it with nst weights fetch."
            ) from error

    @property
    def source(self) -> str:
        """The path, or `BUILTIN`."""
        return BUILTIN if self.path is None else os.fspath(self.path)

    @property
    def sha256(self) -> str:
        """64 hex digits: the checksum of the file, or of the bank's bytes in order.

        Raises
        ------
        WeightsError
            The file cannot be read, or was changed since it was found.
        """
        try:
            return _digest_of(self)
        except OSError as error:
            raise WeightsError(
                f"Cannot read the weights {self.source}: {reason(error)}."
            ) from error

    def is_altered(self) -> bool:
        """Return whether this is the file that ``nst weights fetch`` keeps, with other bytes."""
        cache = cache_folder()
        is_kept = cache is not None and self.path == cache / FILE_NAME
        return is_kept and self.sha256 != PUBLISHED_SHA256

    def identity(self) -> dict[str, str]:
        """Return ``{"source": …, "sha256": …}`` for the metadata of a picture.

        Raises
        ------
        WeightsError
            As for `sha256`.
        """
        return {"source": self.source, "sha256": self.sha256}

    def load(self) -> dict[str, numpy.ndarray]:
        """Load the arrays.

        Returns
        -------
        dict of str to ndarray
            Float32: ``conv1_1_weight``, shape (64, 3, 3, 3), ``conv1_1_bias``, shape (64,), and so
            on to conv5_1 at least.

        Raises
        ------
        WeightsError
            The file cannot be used, or was changed since it was found; the message names the file
            and the array.
        """
        if self.path is None:
            return builtin.build()
        arrays = params.load(self.path)
        self.check_unchanged()
        return arrays

    def check_unchanged(self) -> None:
        """Raise a `WeightsError` if the file was changed or removed since it was found."""
        if self.path is None:
            return
        with contextlib.suppress(OSError):
            if _version_of(self.path) == self._version:
                return
        raise WeightsError(
            f"The weights {self.path} were changed while nst used them: run the command again."
        )


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


def _version_of(path: StrPath) -> tuple[int, ...]:
    status = os.stat(path)
    # Some network file systems give a file another inode each time.
    return status.st_size, status.st_mtime_ns


# Each run of a batch needs the digest, and reading 80 MB takes time.
@functools.lru_cache(maxsize=8)
def _digest_of(weights: Weights) -> str:
    if weights.path is not None:
        digest = files.sha256(weights.path)
        weights.check_unchanged()
        return digest
    bank = hashlib.sha256()
    for array in builtin.build().values():
        bank.update(array.data)
    return bank.hexdigest()


def _in_folder(path: StrPath) -> Path:
    # Unlike `Path.expanduser`, this leaves ~NAME unchanged if no such user exists.
    path = Path(os.path.expanduser(path))
    return path / FILE_NAME if os.path.isdir(path) else path
