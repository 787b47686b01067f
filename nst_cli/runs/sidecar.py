"""Reads and writes the record of how a picture was made: in the picture, and in its sidecar.

Both hold one JSON object. A file may come from a stranger, so everything that is read goes
through `provenance.parse`.
"""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Optional

from .. import files, images
from ..config import INITS, Config, init_of_path
from ..errors import ImageError, OutputError, SidecarError, reason
from ..files import StrPath
from ..weights import BUILTIN
from . import log
from .provenance import PATH_KEYS, PictureFile, Sidecar, parse

_START = re.compile(rb'\s*\{\s*"program":\s*"nst"')
# A sidecar takes about 3 kB.
_LARGEST_FILE = 1 << 20
_NAMES = {
    "program", "versions", "config", "content", "style", "styles", "init", "weights", "device",
    "precision", "convolution", "threads", "processor", "width", "height", "steps",
    "stop_reason", "beta", "losses", "file", "plugins", "tiling",
}  # fmt: skip


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
    return with_paths(metadata, os.path.basename)


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
    relative = with_paths(document, lambda name: _relative_to(folder, name))
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


def is_up_to_date(picture: StrPath, config: Config, inputs: Mapping[str, Any]) -> bool:
    """Return whether a picture is up to date: a run would make it as its sidecar describes it.

    Parameters
    ----------
    picture : path-like
    config : Config
    inputs : dict
        SHA-256 of ``content``, ``weights`` and, if it is a picture, ``init``; that of ``style``,
        or ``styles`` as `checksums_of` returns it.
    """
    try:
        description = read(picture)
        return (
            description.finished
            and checksums_of(description.document) == dict(inputs)
            and without_paths(description.config()) == without_paths(config)
            and describes(description, picture)
        )
    except SidecarError:
        return False


def checksums_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `is_up_to_date` compares of the inputs that a valid document names."""
    checksums = {role: document[role]["sha256"] for role in PATH_KEYS if document.get(role)}
    if "styles" in document:
        checksums["styles"] = _pathless(document["styles"])
    return checksums


def _pathless(entry: Any) -> Any:
    """Return a part of a document without paths."""
    if isinstance(entry, list):
        return list(map(_pathless, entry))
    if isinstance(entry, Mapping):
        return {key: _pathless(value) for key, value in entry.items() if key != "path"}
    return entry


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


def _picture_file(picture: StrPath) -> PictureFile:
    return PictureFile(files.sha256(picture), os.path.getsize(picture))


def with_paths(document: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Return a document with all paths changed, those of the inputs and those of the choices."""
    changed = dict(document)
    for role, key in PATH_KEYS.items():
        if document.get(role):
            changed[role] = {**document[role], key: change(document[role][key])}
    if "styles" in document:
        changed["styles"] = [_style_with_paths(style, change) for style in document["styles"]]
    choices = dict(document["config"])
    # The choices have the paths as the user typed them.
    if choices["init"] not in INITS:
        choices["init"] = init_of_path(changed["init"]["path"])
    if choices["weights"]:
        choices["weights"] = changed["weights"]["source"]
    return {**changed, "config": choices}


def _style_with_paths(style: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    changed = {**style, "path": change(style["path"])}
    for name in ("mask", "style_mask"):
        if style.get(name):
            changed[name] = {**style[name], "path": change(style[name]["path"])}
    if "files" in style:
        changed["files"] = [{**file, "path": change(file["path"])} for file in style["files"]]
    return changed


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


def without_paths(config: Config) -> dict[str, Any]:
    """Return the choices of a config that two runs of the same inputs must share."""
    # Inputs are compared by their checksums, whatever their size.
    init = config.init if config.init in INITS else None
    return {**config.to_dict(), "weights": None, "init": init, "max_pixels": None}
