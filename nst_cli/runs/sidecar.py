"""The record of how a picture was made: in the picture itself, and in a sidecar beside it.

Both hold one JSON object. A file may come from a stranger, so everything that is read goes
through `parse`.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from .. import files, images
from ..config import INITS, Config
from ..errors import ConfigError, ImageError, OutputError, SidecarError, reason
from ..files import StrPath
from ..weights import BUILTIN
from . import log

#: The stop reasons of runs that finished.
FINISHED = ("converged", "iterations", "stalled")

_PROGRAM = "nst"
_START = re.compile(rb'\s*\{\s*"program":\s*"nst"')
# A sidecar takes about 3 kB.
_LARGEST_FILE = 1 << 20
_DEEPEST = 6
_MAX_STEPS = 10**9
# Key of the path in the entry of each input.
_PATH_KEYS = {"content": "path", "style": "path", "init": "path", "weights": "source"}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAMES = {
    "program", "versions", "config", "content", "style", "init", "weights", "device",
    "precision", "threads", "processor", "width", "height", "steps", "stop_reason", "beta",
    "losses", "file",
}  # fmt: skip


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
    content, style : Source
    init : Source or None
        The start image, if it was a picture.
    weights : Source
    steps : int
    stop_reason : str
    beta, losses : dict of str to float
    versions : dict of str to str
    picture : PictureFile or None
        None if it was read from a picture, which cannot contain its own checksum.
    document : dict
        The whole JSON object.
    """

    choices: dict[str, Any]
    content: Source
    style: Source
    init: Optional[Source]
    weights: Source
    steps: int
    stop_reason: str
    beta: dict[str, float]
    losses: dict[str, float]
    versions: dict[str, str]
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
            Another version of nst wrote them, and this one does not know an option or a value.
        """
        try:
            return Config.from_dict({**self.choices, **changes})
        except ConfigError as error:
            raise SidecarError(f"an option is unknown to this version of nst: {error}") from error


def sidecar_of(picture: StrPath) -> str:
    """Return the path of the JSON file beside a picture, ``OUT.png.json``."""
    return f"{os.fspath(picture)}.json"


def log_of(picture: StrPath) -> str:
    """Return the path of the log beside a picture of a batch, ``OUT.png.jsonl``."""
    return f"{os.fspath(picture)}.jsonl"


def step_name(picture: StrPath, step: int) -> str:
    """Return the path of the picture after a step: ``OUT-00100.png`` beside ``OUT.png``."""
    stem, ending = os.path.splitext(os.fspath(picture))
    return f"{stem}-{step:05d}{ending}"


def carried(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a sidecar that the picture carries: names and checksums, no folders."""
    metadata = {key: value for key, value in document.items() if key != "file"}
    return _with_paths(metadata, os.path.basename)


def write(picture: StrPath, document: Mapping[str, Any]) -> str:
    """Write the sidecar of a finished picture; return its path.

    Parameters
    ----------
    picture : path-like
    document : dict
        How it was made; paths are absolute or relative to the working folder.

    Raises
    ------
    OutputError
        The sidecar cannot be written.
    """
    path = sidecar_of(picture)
    try:
        picture_file = _picture_file(picture)
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {os.fspath(picture)}: {reason(error)}."
        ) from error
    folder = os.path.dirname(os.path.abspath(path))
    relative = _with_paths(document, lambda name: _relative_to(folder, name))
    entry = {"sha256": picture_file.sha256, "size": picture_file.size}
    files.write_json(path, {**relative, "file": entry})
    return path


def read(picture: StrPath) -> Sidecar:
    """Read the sidecar of a picture.

    Raises
    ------
    SidecarError
        The sidecar is missing or broken, or nst did not write it.
    """
    path = sidecar_of(picture)
    try:
        return parse(_loaded(path))
    except SidecarError as error:
        raise SidecarError(f"Cannot read {path}: {error}") from error


def read_carried(picture: StrPath) -> Optional[Sidecar]:
    """Read how a picture was made from its own metadata; return None if it has none of nst's.

    Raises
    ------
    ImageError
        The file cannot be read as a picture.
    SidecarError
        The metadata are broken.
    """
    document = images.read_metadata(picture)
    if document is None:
        return None
    try:
        return parse(document)
    except SidecarError as error:
        raise SidecarError(f"Cannot use the metadata of {os.fspath(picture)}: {error}") from error


def lead_to(picture: StrPath, path: str, *folders: StrPath) -> Optional[str]:
    """Resolve a path in a picture's sidecar, if the file may be read.

    A stranger may have written the sidecar. Therefore only files in or below the picture's
    folder, the working folder and `folders` may be read.

    Returns
    -------
    str or None
        Relative to the working folder if it is below that, else absolute; None if the file may
        not be read.
    """
    picture_folder = os.path.dirname(os.fspath(picture)) or os.curdir
    target = os.path.normpath(os.path.join(os.path.realpath(picture_folder), path))
    for folder in (os.curdir, picture_folder, *folders):
        for root in (os.path.realpath(folder), os.path.abspath(folder)):
            if root != os.sep and os.path.commonpath([root, target]) == root:
                relative = os.path.relpath(target)
                return target if relative.startswith(os.pardir) else relative
    return None


def describes(description: Sidecar, picture: StrPath) -> bool:
    """Return whether a sidecar describes the picture file as it is now."""
    try:
        return description.picture is not None and description.picture == _picture_file(picture)
    except OSError:
        return False


def is_up_to_date(picture: StrPath, config: Config, inputs: Mapping[str, str]) -> bool:
    """Return whether a picture is up to date: a run would make it as its sidecar describes it.

    Parameters
    ----------
    picture : path-like
    config : Config
    inputs : dict of str to str
        SHA-256 of ``content``, ``style``, ``weights`` and, if it is a picture, ``init``.
    """
    try:
        description = read(picture)
        checksums = {
            role: source.sha256 for role in _PATH_KEYS if (source := getattr(description, role))
        }
        return (
            description.finished
            and checksums == dict(inputs)
            and _without_paths(description.config()) == _without_paths(config)
            and describes(description, picture)
        )
    except SidecarError:
        return False


def outputs(picture: StrPath) -> tuple[tuple[str, Callable[[str], bool]], ...]:
    """Return the paths of a run's files, each with a function that recognises nst's own files."""
    return (
        (os.fspath(picture), is_picture),
        (sidecar_of(picture), is_sidecar),
        (log_of(picture), log.is_log),
    )


def is_picture(path: StrPath) -> bool:
    """Return whether nst made a picture, and it was not changed since."""
    try:
        description = read(path)
    except SidecarError:
        description = None
    try:
        carries = images.read_metadata(path)
    except ImageError:
        # The picture is damaged, so the user loses nothing.
        return description is not None
    try:
        if description and describes(description, path):
            return True
        # If the metadata agree with the sidecar, nst wrote both at once, and the picture was
        # changed later. If they differ, the sidecar belongs to an earlier run.
        if description and description.picture and carries == carried(description.document):
            return False
        return carries is not None and bool(parse(carries))
    except SidecarError:
        return False


def is_sidecar(path: StrPath) -> bool:
    """Return whether a file is a sidecar written by nst; it may be damaged."""
    try:
        with files.open_regular(path) as stream:
            start = stream.read(64)
        if _START.match(start):
            return True
        document = _loaded(path)
    except OSError:
        return False
    except SidecarError:
        document = None
    if document and not (isinstance(document, dict) and set(document) <= _NAMES):
        return False
    # A damaged sidecar: nst wrote it if the picture beside it has nst's metadata.
    try:
        return images.read_metadata(os.fspath(path).removesuffix(".json")) is not None
    except ImageError:
        return False


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
        style=_source(document, "style"),
        init=_source(document, "init") if document.get("init") is not None else None,
        weights=_source(document, "weights"),
        steps=_count(document, "steps"),
        stop_reason=_field(document, "stop_reason", str),
        beta=_numbers(document, "beta"),
        losses=_numbers(document, "losses"),
        versions=_field(document, "versions", dict),
        picture=_described(document.get("file")),
        document=document,
    )
    if not _is_plain(document, _DEEPEST):
        raise SidecarError("it is nested too deeply, or holds a number that is not finite.")
    return description


def _loaded(path: StrPath) -> Any:
    try:
        with files.open_regular(path) as stream:
            text = stream.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        raise SidecarError(f"{reason(error)}.") from error
    if len(text) > _LARGEST_FILE:
        size = _LARGEST_FILE >> 20
        raise SidecarError(f"it has more than {size} MiB, so nst did not write it.")
    try:
        return files.from_json(text)
    except ValueError as error:
        raise SidecarError(f"{error}.") from error


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
    entry = _field(document, role, dict)
    what = f"{_PATH_KEYS[role]} or sha256 of {role!r}"
    path, checksum = entry.get(_PATH_KEYS[role]), entry.get("sha256")
    _check_path(path, what)
    if not _is_checksum(checksum):
        raise _lacking(what)
    return Source(path, checksum)


def _is_checksum(value: object) -> bool:
    return isinstance(value, str) and bool(_SHA256.fullmatch(value))


def _check_path(value: object, what: str) -> None:
    try:
        if not isinstance(value, str) or b"\0" in os.fsencode(value):
            raise _lacking(what)
    except UnicodeEncodeError:
        raise _lacking(what) from None


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
            raise _lacking(f"the number {key!r} of {name!r}")
    return entries


def _picture_file(picture: StrPath) -> PictureFile:
    return PictureFile(files.sha256(picture), os.path.getsize(picture))


def _with_paths(document: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Return a document with all paths changed, those of the inputs and those of the choices."""
    changed = dict(document)
    for role, key in _PATH_KEYS.items():
        if document.get(role):
            changed[role] = {**document[role], key: change(document[role][key])}
    choices = dict(document["config"])
    # The choices have the paths as the user typed them.
    if choices["init"] not in INITS:
        choices["init"] = changed["init"]["path"]
    if choices["weights"]:
        choices["weights"] = changed["weights"]["source"]
    return {**changed, "config": choices}


def _relative_to(folder: str, path: str) -> str:
    """Return a path relative to a folder, or absolute if they have only the root in common."""
    if path == BUILTIN:
        return path
    parent, name = os.path.split(path)
    # After a link to a folder, .. is not the folder before it in the path.
    parent = os.path.realpath(parent) if os.pardir in parent else os.path.abspath(parent)
    path, folder = os.path.join(parent, name), os.path.realpath(folder)
    if os.path.commonpath([parent, folder]) == os.sep:
        return path
    return os.path.relpath(path, folder)


def _without_paths(config: Config) -> dict[str, Any]:
    # Inputs are compared by their checksums, whatever their size.
    init = config.init if config.init in INITS else None
    return {**config.to_dict(), "weights": None, "init": init, "max_pixels": None}
