"""What a folder holds of runs: pictures, what made them, and how their losses went."""

import contextlib
import json
import os
from dataclasses import dataclass
from typing import Optional

from ... import images
from ...errors import ImageError, LogError, ReportError
from ...runs import log
from ...runs.sidecar import log_of, sidecar_of
from .thumbnails import Thumbnail, Thumbnails


@dataclass(frozen=True)
class Source:
    """A picture that a run started from.

    Attributes
    ----------
    path, sha256 : str
        As the sidecar has them.
    thumbnail : Thumbnail or None
    remark : str
        Why there is no thumbnail.
    """

    path: str
    sha256: str
    thumbnail: Optional[Thumbnail]
    remark: str


@dataclass(frozen=True)
class Run:
    """A picture that was made, and all that is known of it.

    Attributes
    ----------
    name : str
        Path from the report's folder.
    thumbnail : Thumbnail
    content, style : Source
    document : dict
        The sidecar.
    steps : tuple of log.Step
        From the log, and one more for the losses of the finished picture.
    remark : str
        What is to be said about the log, if anything.
    """

    name: str
    thumbnail: Thumbnail
    content: Source
    style: Source
    document: dict
    steps: tuple
    remark: str


def pictures(folder):
    """Return the paths of the pictures in and below a folder that have a sidecar, sorted.

    Raises
    ------
    ReportError
        There is no such folder, or no such picture in it.
    """
    if not os.path.isdir(folder):
        found = "it is not a folder" if os.path.exists(folder) else "there is no such folder"
        raise ReportError(f"Cannot report on {folder}: {found}.")
    found = []
    for place, _, names in os.walk(folder, onerror=_unreadable):
        there = set(names)
        for name in names:
            if name.lower().endswith(images.ENDINGS) and sidecar_of(name) in there:
                found.append(os.path.join(place, name))
    if not found:
        raise ReportError(
            f"Cannot report on {folder}: no picture in it has a sidecar beside it, such as "
            "picture.png.json beside picture.png, which nst stylize writes."
        )
    return sorted(found)


def _unreadable(error):
    raise ReportError(f"Cannot read the folder {error.filename}: {error.strerror}.") from error


def belongings(picture):
    """Return the paths of a picture's own files."""
    return picture, sidecar_of(picture), log_of(picture)


def runs(folder, found):
    """Read all that belongs to some pictures.

    Parameters
    ----------
    folder : str
    found : sequence of str
        What `pictures` returned.

    Returns
    -------
    runs : list of Run
    notes : list of str
        What is broken, one line each: a picture that cannot be shown for it, or a log.

    Raises
    ------
    ReportError
        No picture can be shown.
    """
    made, notes, thumbnails = [], [], Thumbnails()
    for picture in found:
        try:
            run, note = _run(folder, picture, thumbnails)
        except (ImageError, ReportError) as error:
            notes.append(str(error))
            continue
        made.append(run)
        if note:
            notes.append(note)
    if not made:
        count = "The one picture" if len(found) == 1 else f"None of the {len(found)} pictures"
        verb = "cannot" if len(found) == 1 else "can"
        raise ReportError(f"{count} with a sidecar in {folder} {verb} be shown. {notes[0]}")
    return made, notes


def _run(folder, picture, thumbnails):
    """Return the `Run` of a picture, and a note where its log is broken."""
    document = _document(sidecar_of(picture))
    place = os.path.dirname(picture)
    steps, remark, note = _log(log_of(picture), document)
    run = Run(
        name=os.path.relpath(picture, folder),
        thumbnail=thumbnails.of(picture),
        content=_source(document["content"], place, thumbnails),
        style=_source(document["style"], place, thumbnails),
        document=document,
        steps=steps,
        remark=remark,
    )
    return run, note


def _document(sidecar):
    try:
        with open(sidecar, "rb") as stream:
            document = json.loads(stream.read())
    except OSError as error:
        raise ReportError(f"Cannot read {sidecar}: {error.strerror}.") from error
    except ValueError as error:
        raise ReportError(f"Cannot read {sidecar}: it is not JSON ({error}).") from error
    lacking = _lacking(document)
    if lacking:
        raise ReportError(
            f"Cannot read {sidecar}: {lacking} is missing or of another kind, so it is no "
            "sidecar that nst stylize wrote."
        )
    return document


def _lacking(document):
    """Return the name of the first thing that a sidecar needs and does not have, or None."""
    if not isinstance(document, dict):
        return "the object"
    kinds = {
        "config": dict, "content": dict, "style": dict, "losses": dict, "steps": int,
        "stop_reason": str,
    }  # fmt: skip
    for key, kind in kinds.items():
        if not isinstance(document.get(key), kind):
            return repr(key)
    for key in ("content", "style"):
        if not all(isinstance(document[key].get(name), str) for name in ("path", "sha256")):
            return f"path or sha256 of {key!r}"
    for name, value in document["losses"].items():
        if not log.is_number(value):
            return f"the number of the loss {name!r}"
    return None


def _source(identity, place, thumbnails):
    """Look for a picture where it was, seen from here and from the result, and beside that."""
    path, sha256 = identity["path"], identity["sha256"]
    named = path, os.path.join(place, path)
    for candidate in dict.fromkeys((*named, os.path.join(place, os.path.basename(path)))):
        # One that cannot be read is not the one that was read then.
        with contextlib.suppress(ImageError):
            thumbnail = thumbnails.of(candidate)
            if thumbnail.sha256 == sha256:
                return Source(path, sha256, thumbnail, "")
    changed = any(os.path.exists(candidate) for candidate in named)
    return Source(path, sha256, None, "changed since" if changed else "not found")


def _log(path, document):
    """Return the steps of a log, what the page says about it, and a note for the user."""
    if not os.path.lexists(path):
        return (), f"No log: {os.path.basename(path)} is not there.", None
    try:
        steps = log.read(path)
    except LogError as error:
        shown = " Shown is what comes before." if error.steps else ""
        return error.steps, f"{error}{shown}", str(error)
    if not steps:
        return (), f"The log {os.path.basename(path)} holds no step.", None
    last, losses = steps[-1], document["losses"]
    # An interruption may come between a step and its line.
    if abs(last.step - document["steps"]) > 1 or (losses and set(losses) != set(last.losses)):
        return steps, "The log does not fit the picture: it may be of another run.", None
    if losses and last.step == document["steps"]:
        # What no log can have: the losses at the image that the last step made.
        steps = (*steps, log.Step(last.step + 1, last.scale, losses))
    return steps, "", None
