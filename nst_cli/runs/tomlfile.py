"""Reads a TOML file into a dict; reports what is wrong with it in one line."""

import codecs
import re
import sys
import unicodedata
from typing import Any

from .. import files
from ..errors import BatchError, reason
from ..files import StrPath

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LARGEST_FILE = 16 << 20
# A batch file needs seven levels. Python cannot print what is nested a thousand deep.
_DEEPEST = 10
# Whole numbers have 64 bits in TOML, and any number of them in hexadecimal in Python.
_MOST_BITS = 64
# What a key of several names, such as `a.b.c`, can be made of; and the most names. Python's
# parser takes a time that is quadratic in them.
_DOTTED = re.compile(r"""[\w.\- \t"']+""")
_MOST_NAMES = 100
# UTF-32 first, because its little-endian mark begins with UTF-16's.
_OTHER_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_BACKSLASH = "in a path use /, or put the text between 'single quotes'"


def read(path: StrPath) -> dict[str, Any]:
    """Read a TOML file in UTF-8, which may begin with a byte order mark.

    Raises
    ------
    BatchError
        The file cannot be read, is not a regular file, too large, in another encoding or not TOML.
    """
    text = _text(path)
    if any(_has_many_names(match[0]) for match in _DOTTED.finditer(text)):
        raise _too_deep(path)
    try:
        document: dict[str, Any] = tomllib.loads(text)
    # Numbers beyond Python's limits do not raise TOMLDecodeError.
    except (ValueError, OverflowError) as error:
        # Backslashes in a path cause these: an unknown escape, or a bad number after \x or \u.
        escapes = "\\" in str(error) or "hex value" in str(error)
        advice = f"; {_BACKSLASH}" if escapes else ""
        raise BatchError(f"{path} is not TOML: {reason(error)}{advice}.") from error
    except RecursionError as error:
        raise _too_deep(path) from error
    _check_values(path, document)
    return document


def _has_many_names(text: str) -> bool:
    """Return whether a text without other punctuation has many names with a dot after each."""
    if text.count(".") < _MOST_NAMES:
        return False
    return sum(map(bool, map(str.strip, text.split(".")))) > _MOST_NAMES


def _too_deep(path: StrPath) -> BatchError:
    return BatchError(f"{path} is not a batch file: it is nested too deeply.")


def _check_values(path: StrPath, document: dict[str, Any]) -> None:
    """Refuse what no batch file has, and what later messages could not show."""
    level: list[Any] = [document]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, (dict, list)):
                inner += value.values() if isinstance(value, dict) else value
            elif isinstance(value, int) and value.bit_length() > _MOST_BITS:
                raise BatchError(f"{path} is not TOML: a whole number in it has over 64 bits.")
        level = inner
    if level:
        raise _too_deep(path)


def _text(path: StrPath) -> str:
    """Return the text of a batch file, without a byte order mark."""
    try:
        with files.open_regular(path) as stream:
            content = stream.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        raise BatchError(f"Cannot read {path}: {reason(error)}.") from error
    if len(content) > _LARGEST_FILE:
        raise BatchError(
            f"{path} is not a batch file: it is larger than {_LARGEST_FILE >> 20} MiB."
        )
    for mark, encoding in _OTHER_ENCODINGS.items():
        if content.startswith(mark):
            raise BatchError(f"{path} is not TOML: it is {encoding} text; save it as UTF-8.")
    if b"\0" in content:
        raise BatchError(
            f"{path} is not TOML: it has NUL bytes in it, as UTF-16 text has; save it as UTF-8."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BatchError(
            f"{path} is not TOML: line {line} is not UTF-8 text; save it as UTF-8."
        ) from error


def has_control_characters(text: str) -> bool:
    """Return whether a text has control characters, such as a line end."""
    return any(unicodedata.category(character) == "Cc" for character in text)


def backslash_advice(text: str) -> str:
    """Return advice to add to a message if a backslash may have changed the text, else nothing."""
    if not has_control_characters(text):
        return ""
    return f"; a backslash is special in TOML: {_BACKSLASH}"
