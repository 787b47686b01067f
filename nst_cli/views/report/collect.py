"""What a folder holds of runs: pictures, what made them, and how their losses went."""

import contextlib
import os
from dataclasses import dataclass
from typing import Optional

from ... import images
from ...errors import ImageError, LogError, ReportError, SidecarError, reason
from ...runs import log, sidecar
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
    raise ReportError(f"Cannot read the folder {error.filename}: {reason(error)}.") from error


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
        except (ImageError, ReportError, SidecarError) as error:
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
    """Return the `Run` of a picture, and a note where its sidecar or its log is broken."""
    description, note = _description(picture)
    steps, remark, log_note = _log(log_of(picture), description)
    content, style = (
        _source(source, picture, folder, thumbnails)
        for source in (description.content, description.style)
    )
    run = Run(
        name=os.path.relpath(picture, folder),
        thumbnail=thumbnails.of(picture),
        content=content,
        style=style,
        document=description.document,
        steps=steps,
        remark=remark,
    )
    return run, note or log_note


def _description(picture):
    """Return what made a picture, and a note if its sidecar is about another file."""
    description = sidecar.read(picture)
    if not description.picture or sidecar.describes(description, picture):
        return description, None
    problem = f"{picture} is not the file that {sidecar_of(picture)} describes"
    carries = sidecar.read_carried(picture)
    if carries is None:
        raise ReportError(f"Cannot show {picture}: {problem}, and it carries no description.")
    return carries, f"{problem}; shown is what the picture carries."


def _source(source, picture, folder, thumbnails):
    """Look for an input where the sidecar says, seen from there and from here, and beside it."""
    path, sha256 = source.path, source.sha256
    named = [sidecar.lead_to(place, path, folder) for place in (picture, "")]
    beside = os.path.join(os.path.dirname(picture), os.path.basename(path))
    for candidate in dict.fromkeys((*filter(None, named), beside)):
        if thumbnails.checksum(candidate) == sha256:
            with contextlib.suppress(ImageError):
                return Source(path, sha256, thumbnails.of(candidate), "")
    if not any(named):
        remark = "not read, because it is outside of the report's folder and the working folder"
    elif any(os.path.exists(candidate) for candidate in named if candidate):
        remark = "changed since"
    else:
        remark = "not found"
    return Source(path, sha256, None, remark)


def _log(path, description):
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
    last, losses = steps[-1], description.losses
    # An interruption may come between a step and its line.
    if abs(last.step - description.steps) > 1 or (losses and set(losses) != set(last.losses)):
        return steps, "The log does not fit the picture: it may be of another run.", None
    if losses and last.step == description.steps:
        # What no log can have: the losses at the image that the last step made.
        steps = (*steps, log.Step(last.step + 1, last.scale, losses))
    return steps, "", None
