"""Loads, styles and saves plots by matplotlib, which is an optional dependency."""

import contextlib
import os
import re
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from .. import files
from ..errors import OutputError, reason
from ..files import StrPath

ENDINGS = (".png", ".svg", ".pdf")

# Marks a plot as made by nst. Without a date the same data give the same file.
_METADATA = {
    "png": {"Software": "nst"},
    "svg": {"Creator": "nst", "Date": None},
    "pdf": {"Creator": "nst", "CreationDate": None},
}
_MARK = re.compile(rb"Software\0nst|<dc:title>nst</dc:title>|/Creator \(nst\)")
# The mark is near one end of the file.
_ENDS = 1 << 14


def check(path: StrPath) -> None:
    """Check, before the long work, that a plot can be written to a path.

    Raises
    ------
    OutputError
        The ending is unknown, or matplotlib is not installed.
    """
    files.ending_of(path, ENDINGS)
    try:
        load()
    except ImportError as error:
        raise OutputError(
            f"Cannot write {os.fspath(path)}: plots need matplotlib ({reason(error)}); "
            "pip install 'nst-cli[plot]'."
        ) from error


def load() -> ModuleType:
    """Return matplotlib with the modules that plots need.

    Raises
    ------
    ImportError
    """
    import matplotlib
    import matplotlib.figure
    import matplotlib.lines
    import matplotlib.style
    import matplotlib.ticker

    return matplotlib


@contextlib.contextmanager
def styled(**settings: Any) -> Iterator[None]:
    """Draw with matplotlib's defaults and `settings`, whatever the user's own settings are."""
    settings = {"svg.hashsalt": "nst", "text.parse_math": False, **settings}
    with warnings.catch_warnings():
        # Matplotlib warns of letters that the font lacks.
        warnings.simplefilter("ignore")
        with load().style.context(["default", settings]):
            yield


def label(text: str) -> str:
    """Return a text with `?` for unprintable characters, which XML and fonts do not allow."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def save(figure: Any, path: StrPath, dpi: int) -> None:
    """Write a figure, whole or not at all.

    Raises
    ------
    OutputError
    """
    kind = os.path.splitext(path)[1][1:].lower()
    try:
        with files.replacing(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=dpi, metadata=_METADATA[kind])
    except OSError as error:
        raise OutputError(f"Cannot write {os.fspath(path)}: {reason(error)}.") from error


def is_plot(path: StrPath) -> bool:
    """Return whether `save` wrote a file."""
    try:
        with files.open_regular(path) as stream:
            start = stream.read(_ENDS)
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _ENDS))
            return bool(_MARK.search(start) or _MARK.search(stream.read(_ENDS)))
    except OSError:
        return False
