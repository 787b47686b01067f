"""What nst writes about a picture: in the picture itself, and in a sidecar beside it.

Both hold one JSON object. Strangers may have written it, so everything that comes back from a
file goes through `parse`.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

from .. import files, images, weights
from ..config import INITS, Config
from ..errors import ConfigError, ImageError, OutputError, SidecarError, reason
from . import log

#: The stop reasons of runs that came to their end.
FINISHED = ("converged", "iterations", "stalled")

_PROGRAM = "nst"
_START = re.compile(rb'\s*\{\s*"program":\s*"nst"')
# A sidecar has about 3 kB.
_LARGEST = 1 << 20
_DEEPEST = 6
_MOST = 10**9
# Where each file's entry has its path.
_PATHS = {"content": "path", "style": "path", "init": "path", "weights": "source"}
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
        In a sidecar seen from its folder, or absolute; in a picture the name alone. Of the
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
    """How a picture was made, checked for kinds and ranges.

    Attributes
    ----------
    choices : dict
        As `Config.to_dict` of the version that made the picture; see `config`.
    content, style : Source
    init : Source or None
        The start image where it was a picture.
    weights : Source
    steps : int
    stop_reason : str
    beta, losses : dict of str to float
    versions : dict of str to str
    picture : PictureFile or None
        None for what a picture carries about itself.
    document : dict
        All of it, as it was read.
    """

    choices: dict
    content: Source
    style: Source
    init: Optional[Source]
    weights: Source
    steps: int
    stop_reason: str
    beta: dict
    losses: dict
    versions: dict
    picture: Optional[PictureFile]
    document: dict

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.stop_reason in FINISHED

    def config(self, **changes) -> Config:
        """Return the choices as a `Config`.

        Raises
        ------
        SidecarError
            Another version wrote them, and this one does not know an option or a value.
        """
        try:
            return Config.from_dict({**self.choices, **changes})
        except ConfigError as error:
            raise SidecarError(f"an option is unknown to this version of nst: {error}") from error


def sidecar_of(picture: os.PathLike) -> str:
    """Return the path of the JSON file beside a picture, ``OUT.png.json``."""
    return f"{os.fspath(picture)}.json"


def log_of(picture: os.PathLike) -> str:
    """Return the path of the log beside a picture of a batch, ``OUT.png.jsonl``."""
    return f"{os.fspath(picture)}.jsonl"


def step_name(picture: os.PathLike, step: int) -> str:
    """Return the path of the picture after a step: ``OUT-00100.png`` beside ``OUT.png``."""
    stem, ending = os.path.splitext(os.fspath(picture))
    return f"{stem}-{step:05d}{ending}"


def carried(document: Mapping) -> dict:
    """Return what a picture carries of its sidecar: no folders, only names and checksums."""
    kept = {key: value for key, value in document.items() if key != "file"}
    return _with_paths(kept, os.path.basename)


def write(picture: os.PathLike, document: Mapping) -> str:
    """Write the sidecar of a finished picture; return its path.

    Parameters
    ----------
    picture : path-like
    document : dict
        What made it; paths as this process has them.

    Raises
    ------
    OutputError
        The sidecar cannot be written.
    """
    path = sidecar_of(picture)
    try:
        own = _picture_file(picture)
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {os.fspath(picture)}: {reason(error)}."
        ) from error
    folder = os.path.dirname(os.path.abspath(path))
    located = _with_paths(document, lambda name: _seen_from(folder, name))
    entry = {"sha256": own.sha256, "size": own.size}
    files.write_json(path, {**located, "file": entry})
    return path


def read(picture: os.PathLike) -> Sidecar:
    """Return the sidecar of a picture.

    Raises
    ------
    SidecarError
        It is missing or broken, or nst did not write it.
    """
    path = sidecar_of(picture)
    try:
        return parse(_loaded(path))
    except SidecarError as error:
        raise SidecarError(f"Cannot read {path}: {error}") from error


def read_carried(picture: os.PathLike) -> Optional[Sidecar]:
    """Return what a picture carries of how it was made; None if it carries nothing.

    Raises
    ------
    ImageError
        The file cannot be read as a picture.
    SidecarError
        What it carries is broken.
    """
    document = images.read_metadata(picture)
    if document is None:
        return None
    try:
        return parse(document)
    except SidecarError as error:
        raise SidecarError(f"Cannot use what {os.fspath(picture)} carries: {error}") from error


def lead_to(picture: os.PathLike, path: str, *folders: os.PathLike) -> Optional[str]:
    """Return where a path in a picture's sidecar leads, if it may be read.

    A stranger may have written the sidecar, so only what the user pointed to is read: the
    picture's folder, the working folder and `folders`, with all folders below them.

    Returns
    -------
    str or None
        Seen from the working folder, or absolute; None if it leads elsewhere.
    """
    own = os.path.dirname(os.fspath(picture)) or os.curdir
    target = os.path.normpath(os.path.join(os.path.realpath(own), path))
    for folder in (os.curdir, own, *folders):
        for root in (os.path.realpath(folder), os.path.abspath(folder)):
            if root != os.sep and os.path.commonpath([root, target]) == root:
                here = os.path.relpath(target)
                return target if here.startswith(os.pardir) else here
    return None


def describes(description: Sidecar, picture: os.PathLike) -> bool:
    """Return whether a sidecar is about the picture file as it is now."""
    try:
        return description.picture is not None and description.picture == _picture_file(picture)
    except OSError:
        return False


def is_made(picture: os.PathLike, config: Config, inputs: Mapping) -> bool:
    """Return whether a picture is up to date: what its sidecar says is what a run would do.

    Parameters
    ----------
    picture : path-like
    config : Config
    inputs : dict of str to str
        SHA-256 of ``content``, ``style``, ``weights`` and, where it is a picture, ``init``.
    """
    try:
        description = read(picture)
        checksums = {
            role: source.sha256 for role in _PATHS if (source := getattr(description, role))
        }
        return (
            description.finished
            and checksums == dict(inputs)
            and _without_paths(description.config()) == _without_paths(config)
            and describes(description, picture)
        )
    except SidecarError:
        return False


def outputs(picture: os.PathLike) -> tuple[tuple[str, Callable[[str], bool]], ...]:
    """Return the files of a run, each with the function that recognises one that nst made."""
    return (
        (os.fspath(picture), is_picture),
        (sidecar_of(picture), is_sidecar),
        (log_of(picture), log.is_log),
    )


def is_picture(path: os.PathLike) -> bool:
    """Return whether nst made a picture, and nobody has changed it since."""
    try:
        description = read(path)
    except SidecarError:
        description = None
    try:
        carries = images.read_metadata(path)
    except ImageError:
        # Damaged, and nothing that a person would miss.
        return description is not None
    try:
        if description and describes(description, path):
            return True
        # Nst wrote both at once, so the file was changed later. Where the two differ, the sidecar
        # is of an earlier run.
        if description and description.picture and carries == carried(description.document):
            return False
        return carries is not None and bool(parse(carries))
    except SidecarError:
        return False


def is_sidecar(path: os.PathLike) -> bool:
    """Return whether nst wrote a sidecar, which may be damaged since."""
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
    # What is left of a sidecar that was damaged: its picture says whose it was.
    try:
        return images.read_metadata(os.fspath(path).removesuffix(".json")) is not None
    except ImageError:
        return False


def parse(document: Any) -> Sidecar:
    """Check a description of how a picture was made, from a sidecar or from a picture.

    Parameters
    ----------
    document : object
        What JSON gave.

    Returns
    -------
    Sidecar

    Raises
    ------
    SidecarError
        Something is missing, of another kind or out of range; the message names it, not the file.
    """
    if not isinstance(document, dict):
        raise SidecarError("it is no JSON object, so nst did not write it.")
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


def _loaded(path):
    try:
        with files.open_regular(path) as stream:
            text = stream.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        raise SidecarError(f"{reason(error)}.") from error
    if len(text) > _LARGEST:
        raise SidecarError(f"it has more than {_LARGEST >> 20} MiB, so nst did not write it.")
    try:
        return files.from_json(text)
    except ValueError as error:
        raise SidecarError(f"{error}.") from error


def _is_plain(value, depth):
    """Return whether all numbers are finite and nothing is nested deeper than `depth`."""
    if isinstance(value, (dict, list)):
        inner = value.values() if isinstance(value, dict) else value
        return depth > 0 and all(_is_plain(each, depth - 1) for each in inner)
    return not isinstance(value, (int, float)) or isinstance(value, bool) or log.is_number(value)


def _field(document, name, kind):
    value = document.get(name)
    # A truth value is an integer to Python.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _lacking(repr(name))
    return value


def _lacking(what):
    return SidecarError(f"{what} is missing or of another kind, so it is no sidecar of nst's.")


def _count(document, name):
    value = _field(document, name, int)
    if not 0 <= value <= _MOST:
        raise SidecarError(f"{name!r} is out of range, so it is no sidecar of nst's.")
    return value


def _source(document, role):
    entry = _field(document, role, dict)
    what = f"{_PATHS[role]} or sha256 of {role!r}"
    path, checksum = entry.get(_PATHS[role]), entry.get("sha256")
    _check_path(path, what)
    if not _is_checksum(checksum):
        raise _lacking(what)
    return Source(path, checksum)


def _is_checksum(value):
    return isinstance(value, str) and bool(_SHA256.fullmatch(value))


def _check_path(value, what):
    try:
        if not isinstance(value, str) or b"\0" in os.fsencode(value):
            raise _lacking(what)
    except UnicodeEncodeError:
        raise _lacking(what) from None


def _described(entry):
    if entry is None:
        return None
    fields = entry if isinstance(entry, dict) else {}
    checksum, size = fields.get("sha256"), fields.get("size")
    if not _is_checksum(checksum) or type(size) is not int or size < 0:
        raise _lacking("'file'")
    return PictureFile(checksum, size)


def _numbers(document, name):
    entries = _field(document, name, dict)
    for key, value in entries.items():
        if not log.is_number(value):
            raise _lacking(f"the number {key!r} of {name!r}")
    return entries


def _picture_file(picture):
    return PictureFile(files.sha256(picture), os.path.getsize(picture))


def _with_paths(document, change):
    """Return a document with other paths, those of the inputs and those of the choices."""
    changed = dict(document)
    for role, key in _PATHS.items():
        if document.get(role):
            changed[role] = {**document[role], key: change(document[role][key])}
    choices = dict(document["config"])
    # The paths as they were typed, which the inputs' own replace.
    if choices["init"] not in INITS:
        choices["init"] = changed["init"]["path"]
    if choices["weights"]:
        choices["weights"] = changed["weights"]["source"]
    return {**changed, "config": choices}


def _seen_from(folder, path):
    """Return a path relative to a folder; absolute if they have nothing but the root in common."""
    if path == weights.BUILTIN:
        return path
    place, name = os.path.split(path)
    # After a link to a folder, .. leads elsewhere.
    place = os.path.realpath(place) if os.pardir in place else os.path.abspath(place)
    path, folder = os.path.join(place, name), os.path.realpath(folder)
    return path if os.path.commonpath([place, folder]) == os.sep else os.path.relpath(path, folder)


def _without_paths(config):
    # Inputs are compared by their content, however large they may be.
    init = config.init if config.init in INITS else None
    return {**config.to_dict(), "weights": None, "init": init, "max_pixels": None}
