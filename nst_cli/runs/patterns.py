"""Finds the files that match a pattern of a batch file."""

import fnmatch
import glob
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional

from ..errors import reason

_ANY_FOLDERS = "**"
_DEEPEST = 100
# Endings of sidecars and logs, which `*` would also match.
_NEVER_PICTURES = (".json", ".jsonl")


class Match(NamedTuple):
    """A file that a batch file names.

    Attributes
    ----------
    path : str
    folder : str
        The file's folder, relative to the part of the pattern before the first wildcard.
    """

    path: str
    folder: str


def is_pattern(text: str) -> bool:
    """Return whether a text contains a wildcard: ``*``, ``?`` or ``[``."""
    return glob.has_magic(text)


def literal(path: str, base: str) -> Match:
    """Return the file that a path without wildcards names.

    Parameters
    ----------
    path : str
        As written in the batch file; ``~`` is the home folder.
    base : str
        The folder that the path is relative to.
    """
    folder = os.path.dirname(path)
    return Match(beside(base, path), _below(folder.lstrip(f"~{os.sep}")))


def beside(base: str, path: str) -> str:
    """Join a path that is relative to `base` with it, so that the working folder can use it."""
    return os.path.normpath(os.path.join(base, os.path.expanduser(path)))


def expand(pattern: str, base: str) -> tuple[list[Match], list[str]]:
    """Find the files that match a pattern.

    ``*``, ``?`` and ``[…]`` match within a name, ``**`` matches any number of folders. Hidden
    names match only if the pattern has the dot. The case of the ending does not matter. A leading
    part of the pattern that exists as a file or folder is taken literally.

    Parameters
    ----------
    pattern : str
        Relative to `base`, absolute, or below ``~``.
    base : str
        A folder, always taken literally.

    Returns
    -------
    matches : list of Match
        Sorted by path, each file once.
    unreadable : list of str
        A message for each folder that could not be listed.
    """
    start, parts = _fixed_part(pattern, base)
    if not parts:
        return [Match(os.path.normpath(start), "")], []
    unreadable: list[str] = []
    paths = set(_walk(start, parts, (), unreadable))
    pictures = sorted(path for path in paths if not path.lower().endswith(_NEVER_PICTURES))
    return [_match(path, start) for path in pictures], unreadable


def _walk(
    folder: str,
    parts: Sequence[str],
    above: tuple[Optional[tuple[int, int]], ...],
    unreadable: list[str],
) -> Iterator[str]:
    """Yield the matching files below a folder; `above` has the folders that ``**`` has entered."""
    part, rest = parts[0], parts[1:]
    entries = _entries(folder, unreadable)
    if part == _ANY_FOLDERS:
        if rest:
            yield from _walk(folder, rest, (), unreadable)
        above = (*above, _identity(folder))
        entries = [entry for entry in entries if not _is_hidden(entry[0])]
    else:
        entries = [entry for entry in entries if _matches(os.path.basename(entry[0]), part)]
    for path, is_folder in entries:
        if not is_folder:
            if not rest:
                yield path
        elif part != _ANY_FOLDERS:
            if rest:
                yield from _walk(path, rest, (), unreadable)
        elif len(above) == _DEEPEST:
            unreadable.append(f"{path} is more than {_DEEPEST} folders deep: it was left out.")
        # A link to a parent folder would be followed for ever.
        elif _identity(path) not in above:
            yield from _walk(path, parts, above, unreadable)


def _match(path: str, start: str) -> Match:
    below = os.path.relpath(os.path.dirname(path) or os.curdir, start or os.curdir)
    return Match(os.path.normpath(path), _below(below))


def _fixed_part(pattern: str, base: str) -> tuple[str, list[str]]:
    """Split a pattern into its literal folder and the parts from the first wildcard on."""
    home, _, rest = pattern.partition(os.sep)
    if home.startswith("~") and not is_pattern(home):
        start = os.path.expanduser(home)
    else:
        start, rest = (os.sep if os.path.isabs(pattern) else base), pattern
    parts = [part for part in rest.split(os.sep) if part not in ("", os.curdir)]
    while parts and (not is_pattern(parts[0]) or os.path.lexists(os.path.join(start, parts[0]))):
        start = os.path.join(start, parts.pop(0))
    # Several ** in a row match the same as one.
    once = [part for n, part in enumerate(parts) if parts[n - 1 : n + 1] != [_ANY_FOLDERS] * 2]
    return start, once


def _entries(folder: str, unreadable: list[str]) -> list[tuple[str, bool]]:
    """Return ``(path, is_folder)`` of each entry of a folder; none if the folder is missing."""
    try:
        with os.scandir(folder or os.curdir) as entries:
            return [(os.path.join(folder, entry.name), _is_folder(entry)) for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        unreadable.append(f"Cannot list the folder {folder}: {reason(error)}.")
        return []


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _identity(path: str) -> Optional[tuple[int, int]]:
    try:
        status = os.stat(path or os.curdir)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_hidden(path: str) -> bool:
    return os.path.basename(path).startswith(".")


def _matches(name: str, part: str) -> bool:
    if name.startswith(".") and not part.startswith("."):
        return False
    return fnmatch.fnmatchcase(name, _any_case(part))


def _any_case(part: str) -> str:
    """Make the letters of a pattern's ending match both upper and lower case."""
    stem, ending = os.path.splitext(part)
    if "[" in ending or "]" in ending:
        return part
    letters = [f"[{c.lower()}{c.upper()}]" if c.isascii() and c.isalpha() else c for c in ending]
    return stem + "".join(letters)


def _below(folder: str) -> str:
    """Return a relative folder without ``..``, so that a path joined with it stays below."""
    parts = folder.split(os.sep)
    return os.sep.join(part for part in parts if part not in ("", os.curdir, os.pardir))
