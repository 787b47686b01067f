"""The record of how a picture was made, as data, and the checks of an untrusted one.

The picture and its sidecar hold the same JSON object; `sidecar` reads and writes the files.
"""

import math
import os
import re
from dataclasses import dataclass
from typing import Any, Optional, Union

from ..checks import short
from ..config import INITS, Config
from ..errors import ConfigError, PluginError, SidecarError
from ..plugins import NAMES
from . import log

#: The stop reasons of runs that finished.
FINISHED = ("converged", "iterations", "stalled")
#: Key of the path in the entry of each input that is one file.
PATH_KEYS = {"content": "path", "style": "path", "init": "path", "weights": "source"}
#: The scale of a style that is resized with the picture, but not enlarged.
AUTO = "auto"
#: The most styles of a run, the most pictures of a folder, and the largest scale of a style.
MOST_STYLES, MOST_PICTURES, MOST_SCALE = 100, 1000, 1000.0

# What options were before they existed, where that differs from a preset's default now.
_BEFORE = {"margin": 0}

_PROGRAM = "nst"
_DEEPEST = 6
_MAX_STEPS = 10**9
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Source:
    """A file that a picture was made from.

    Attributes
    ----------
    path : str
        In a sidecar relative to its folder, or absolute; in a picture only the file's name. For
        weights it may be ``builtin``.
    sha256 : str
        64 hex digits.
    """

    path: str
    sha256: str


@dataclass(frozen=True)
class StyleSource:
    """One style that a picture was made from.

    Attributes
    ----------
    files : tuple of Source
        One picture, or those of a folder.
    folder : str or None
        The folder's path; None if the style is one picture.
    weight : float
    scale : float or str
    mask, style_mask : Source or None
    method : str
        Empty for that of the config.
    """

    files: tuple[Source, ...]
    folder: Optional[str] = None
    weight: float = 1.0
    scale: Union[float, str] = 1.0
    mask: Optional[Source] = None
    style_mask: Optional[Source] = None
    method: str = ""

    @property
    def path(self) -> str:
        """The path of the picture or of the folder."""
        return self.files[0].path if self.folder is None else self.folder


@dataclass(frozen=True)
class PictureFile:
    """The picture that a sidecar describes.

    Attributes
    ----------
    sha256 : str
        64 hex digits.
    size : int
        In bytes.
    """

    sha256: str
    size: int


@dataclass(frozen=True)
class Sidecar:
    """How a picture was made; all types and ranges are checked.

    Attributes
    ----------
    choices : dict
        `Config.to_dict` of the version that made the picture; see `config`.
    content : Source
    styles : tuple of StyleSource
    init : Source or None
        The start image, if it was a picture.
    weights : Source
    steps : int
    stop_reason : str
    beta, losses : dict of str to float
    versions : dict of str to str
    plugins : dict of str to dict
        ``package`` and ``version`` by method, of methods that were not nst's own.
    tiles : tuple of int
        Megabytes of a tile at each scale, 0 for none; empty if no scale had tiles.
    picture : PictureFile or None
        None if it was read from a picture, which cannot contain its own checksum.
    document : dict
        The whole JSON object.
    """

    choices: dict[str, Any]
    content: Source
    styles: tuple[StyleSource, ...]
    init: Optional[Source]
    weights: Source
    steps: int
    stop_reason: str
    beta: dict[str, float]
    losses: dict[str, float]
    versions: dict[str, str]
    plugins: dict[str, dict[str, str]]
    tiles: tuple[int, ...]
    picture: Optional[PictureFile]
    document: dict[str, Any]

    @property
    def finished(self) -> bool:
        """Whether the run finished."""
        return self.stop_reason in FINISHED

    def config(self, **changes: Any) -> Config:
        """Return the choices as a `Config`, with some of them changed.

        Raises
        ------
        SidecarError
            Another version of nst wrote them, and this one does not know an option or a value; or
            a plugin is missing or broken.
        """
        for method, plugin in self.plugins.items():
            if method not in NAMES:
                raise SidecarError(
                    f"its method {printable(method)} is from the package "
                    f"{printable(plugin['package'])} {printable(plugin['version'])}, which is not "
                    "installed."
                )
        try:
            return Config.from_dict({**_BEFORE, **self.choices, **changes})
        except PluginError as error:
            raise SidecarError(str(error)) from error
        except ConfigError as error:
            program = "a plugin" if error.field == "loss_options" else "nst"
            raise SidecarError(
                f"an option is unknown to this version of {program}: {error}"
            ) from error


def parse(document: Any) -> Sidecar:
    """Check the record of how a picture was made, from a sidecar or from a picture.

    Parameters
    ----------
    document : object
        Parsed JSON.

    Returns
    -------
    Sidecar

    Raises
    ------
    SidecarError
        A field is missing, of a wrong type or out of range; the message names the field, not the
        file.
    """
    if not isinstance(document, dict):
        raise SidecarError("it is not a JSON object, so nst did not write it.")
    if document.get("program") != _PROGRAM:
        raise SidecarError("nst did not write it: 'program' is not 'nst'.")
    choices = _field(document, "config", dict)
    for name in ("init", "weights"):
        _check_path(choices.get(name), f"{name!r} of 'config'")
    if (choices["init"] in INITS) != (document.get("init") is None):
        raise _lacking("'init'")
    description = Sidecar(
        choices=choices,
        content=_source(document, "content"),
        styles=_styles(document),
        init=_source(document, "init") if document.get("init") is not None else None,
        weights=_source(document, "weights"),
        steps=_count(document, "steps"),
        stop_reason=_field(document, "stop_reason", str),
        beta=_numbers(document, "beta"),
        losses=_numbers(document, "losses"),
        versions=_field(document, "versions", dict),
        plugins=_plugins(document),
        tiles=_tiles(document),
        picture=_described(document.get("file")),
        document=document,
    )
    if not _is_plain(document, _DEEPEST):
        raise SidecarError("it is nested too deeply, or holds a number that is not finite.")
    return description


def _is_plain(value: Any, depth: int) -> bool:
    """Return whether all numbers are finite and nothing is nested deeper than `depth`."""
    if isinstance(value, (dict, list)):
        inner = value.values() if isinstance(value, dict) else value
        return depth > 0 and all(_is_plain(each, depth - 1) for each in inner)
    return not isinstance(value, (int, float)) or isinstance(value, bool) or log.is_number(value)


def _field(document: dict[str, Any], name: str, kind: type) -> Any:
    value = document.get(name)
    # In Python, bool is a kind of int.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _lacking(repr(name))
    return value


def _lacking(what: str) -> SidecarError:
    return SidecarError(f"{what} is missing or of a wrong type, so nst did not write it.")


def _count(document: dict[str, Any], name: str) -> int:
    value: int = _field(document, name, int)
    if not 0 <= value <= _MAX_STEPS:
        raise SidecarError(f"{name!r} is out of range, so nst did not write it.")
    return value


def _source(document: dict[str, Any], role: str) -> Source:
    return _source_in(_field(document, role, dict), repr(role), PATH_KEYS[role])


def _source_in(entry: Any, role: str, key: str = "path") -> Source:
    """Return the file that an entry of a document names."""
    what = f"{key} or sha256 of {role}"
    fields: dict[str, Any] = entry if isinstance(entry, dict) else {}
    path, checksum = fields.get(key), fields.get("sha256")
    _check_path(path, what)
    if not _is_checksum(checksum):
        raise _lacking(what)
    return Source(str(path), str(checksum))


def _styles(document: dict[str, Any]) -> tuple[StyleSource, ...]:
    """Return the styles: one whole picture as ``style``, or a list of any as ``styles``."""
    if "styles" not in document:
        return (StyleSource((_source(document, "style"),)),)
    entries: list[Any] = _field(document, "styles", list)
    if "style" in document or not 0 < len(entries) <= MOST_STYLES:
        raise _lacking("'styles'")
    return tuple(_style(entry, f"style {place}") for place, entry in enumerate(entries, 1))


def _style(entry: Any, role: str) -> StyleSource:
    if not isinstance(entry, dict):
        raise _lacking(role)
    folder, files = None, [entry]
    if "files" in entry:
        folder, files = entry.get("path"), _field(entry, "files", list)
        _check_path(folder, f"path of {role}")
        if "sha256" in entry or not 0 < len(files) <= MOST_PICTURES:
            raise _lacking(f"'files' of {role}")

    def number(name: str, most: float = math.inf) -> float:
        value: Any = entry.get(name)
        if not log.is_number(value) or not 0 < value <= most:
            raise _lacking(f"{name!r} of {role}")
        return float(value)

    def mask(name: str) -> Optional[Source]:
        value: Any = entry.get(name)
        return None if value is None else _source_in(value, f"{name} of {role}")

    return StyleSource(
        files=tuple(_source_in(file, role) for file in files),
        folder=folder,
        weight=number("weight"),
        scale=AUTO if entry.get("scale") == AUTO else number("scale", MOST_SCALE),
        mask=mask("mask"),
        style_mask=mask("style_mask"),
        method=_field(entry, "method", str),
    )


def _is_checksum(value: object) -> bool:
    return isinstance(value, str) and bool(_SHA256.fullmatch(value))


def _check_path(value: object, what: str) -> None:
    try:
        if not isinstance(value, str) or b"\0" in os.fsencode(value):
            raise _lacking(what)
    except UnicodeEncodeError:
        raise _lacking(what) from None


def _plugins(document: dict[str, Any]) -> dict[str, dict[str, str]]:
    entries: dict[str, dict[str, str]] = document.get("plugins", {})
    if not isinstance(entries, dict):
        raise _lacking("'plugins'")
    for entry in entries.values():
        fields = entry if isinstance(entry, dict) else {}
        if not all(isinstance(fields.get(key), str) for key in ("package", "version")):
            raise _lacking("package or version in 'plugins'")
    return entries


def _tiles(document: dict[str, Any]) -> tuple[int, ...]:
    entry = document.get("tiling")
    if entry is None:
        return ()
    tiles = entry.get("scales") if isinstance(entry, dict) else None
    if not isinstance(tiles, list) or not any(tiles) or not all(map(_is_tile, tiles)):
        raise _lacking("the tiles of each scale in 'tiling'")
    return tuple(tiles)


def _is_tile(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 30


def printable(value: object) -> str:
    """Return an untrusted value as printable text of limited length."""
    text = str(value)[:80]
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _described(entry: Any) -> Optional[PictureFile]:
    if entry is None:
        return None
    fields = entry if isinstance(entry, dict) else {}
    checksum, size = fields.get("sha256"), fields.get("size")
    if not _is_checksum(checksum) or type(size) is not int or size < 0:
        raise _lacking("'file'")
    return PictureFile(str(checksum), size)


def _numbers(document: dict[str, Any], name: str) -> dict[str, float]:
    entries: dict[str, float] = _field(document, name, dict)
    for key, value in entries.items():
        if not log.is_number(value):
            raise _lacking(f"the number {short(key)} of {name!r}")
    return entries
