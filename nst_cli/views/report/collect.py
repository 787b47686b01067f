"""Collects the runs in a folder: pictures, sidecars and logs."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Optional

from ... import images
from ...errors import ImageError, LogError, ReportError, SidecarError, reason
from ...runs import log, provenance, sidecar
from ...runs.provenance import Sidecar
from ...runs.sidecar import log_of, sidecar_of
from .thumbnails import Thumbnail, Thumbnails

# Pictures of a folder that the page shows.
_MOST_SHOWN = 4


@dataclass(frozen=True)
class Source:
    """An input picture of a run: content, style or mask.

    Attributes
    ----------
    path, sha256 : str
        As in the sidecar.
    thumbnail : Thumbnail or None
    remark : str
        Why the thumbnail is missing; empty if it is not.
    """

    path: str
    sha256: str
    thumbnail: Optional[Thumbnail]
    remark: str


@dataclass(frozen=True)
class Style:
    """One style of a run.

    Attributes
    ----------
    sources : tuple of Source
        Its picture, or those of a folder.
    description : provenance.StyleSource
        As in the sidecar.
    mask, style_mask : Source or None
    """

    sources: tuple[Source, ...]
    description: provenance.StyleSource
    mask: Optional[Source]
    style_mask: Optional[Source]


@dataclass(frozen=True)
class Run:
    """A finished picture and everything known about it.

    Attributes
    ----------
    name : str
        Path relative to the report's folder.
    thumbnail : Thumbnail
    content : Source
    styles : tuple of Style
    document : dict
        The sidecar.
    steps : tuple of log.Step
        From the log, plus one for the losses of the finished picture.
    remark : str
        A remark on the log, or empty.
    """

    name: str
    thumbnail: Thumbnail
    content: Source
    styles: tuple[Style, ...]
    document: dict[str, Any]
    steps: tuple[log.Step, ...]
    remark: str


def pictures(folder: str) -> list[str]:
    """Return the sorted paths of the pictures with a sidecar in and below a folder.

    Raises
    ------
    ReportError
        The folder does not exist or holds no such picture.
    """
    if not os.path.isdir(folder):
        problem = "it is not a folder" if os.path.exists(folder) else "it does not exist"
        raise ReportError(f"Cannot report on {folder}: {problem}.")
    paths = []
    for place, _, names in os.walk(folder, onerror=_unreadable):
        known = set(names)
        for name in names:
            if name.lower().endswith(images.ENDINGS) and sidecar_of(name) in known:
                paths.append(os.path.join(place, name))
    if not paths:
        raise ReportError(
            f"Cannot report on {folder}: no picture in it has a sidecar beside it, such as "
            "picture.png.json beside picture.png, which nst stylize writes."
        )
    return sorted(paths)


def _unreadable(error: OSError) -> NoReturn:
    raise ReportError(f"Cannot read the folder {error.filename}: {reason(error)}.") from error


def files_of(picture: str) -> tuple[str, str, str]:
    """Return the paths of a picture, its sidecar and its log."""
    return picture, sidecar_of(picture), log_of(picture)


def runs(folder: str, paths: Sequence[str]) -> tuple[list[Run], list[str]]:
    """Read pictures with their sidecars, logs and inputs.

    Parameters
    ----------
    folder : str
    paths : sequence of str
        As returned by `pictures`.

    Returns
    -------
    runs : list of Run
    notes : list of str
        One line for each broken file: a log, or what keeps a picture from being shown.

    Raises
    ------
    ReportError
        No picture can be shown.
    """
    result: list[Run] = []
    notes: list[str] = []
    thumbnails = Thumbnails()
    for picture in paths:
        try:
            run, note = _run(folder, picture, thumbnails)
        except (ImageError, ReportError, SidecarError) as error:
            notes.append(str(error))
            continue
        result.append(run)
        if note:
            notes.append(note)
    if not result:
        count = "The one picture" if len(paths) == 1 else f"None of the {len(paths)} pictures"
        verb = "cannot" if len(paths) == 1 else "can"
        raise ReportError(f"{count} with a sidecar in {folder} {verb} be shown. {notes[0]}")
    return result, notes


def _run(folder: str, picture: str, thumbnails: Thumbnails) -> tuple[Run, Optional[str]]:
    """Return the `Run` of a picture, and a note if its sidecar or its log is broken."""
    description, note = _description(picture)
    steps, remark, log_note = _log(log_of(picture), description)

    def source(recorded: provenance.Source) -> Source:
        return _source(recorded, picture, folder, thumbnails)

    styles = tuple(
        Style(
            tuple(map(source, style.files[:_MOST_SHOWN])),
            style,
            source(style.mask) if style.mask else None,
            source(style.style_mask) if style.style_mask else None,
        )
        for style in description.styles
    )
    run = Run(
        name=os.path.relpath(picture, folder),
        thumbnail=thumbnails.of(picture),
        content=source(description.content),
        styles=styles,
        document=description.document,
        steps=steps,
        remark=remark,
    )
    return run, note or log_note


def _description(picture: str) -> tuple[Sidecar, Optional[str]]:
    """Return a picture's description, and a note if its sidecar describes another file."""
    description = sidecar.read(picture)
    if not description.picture or sidecar.describes(description, picture):
        return description, None
    problem = f"{picture} is not the file that {sidecar_of(picture)} describes"
    carries = sidecar.read_carried(picture)
    if carries is None:
        raise ReportError(f"Cannot show {picture}: {problem}, and it carries no description.")
    return carries, f"{problem}; the page shows what the picture itself carries."


def _source(
    source: provenance.Source, picture: str, folder: str, thumbnails: Thumbnails
) -> Source:
    """Find an input by its path in the sidecar, or beside the picture.

    The path is taken as relative to the picture, then to the working folder.
    """
    path, sha256 = source.path, source.sha256
    named = [sidecar.lead_to(place, path, folder) for place in (picture, "")]
    beside = os.path.join(os.path.dirname(picture), os.path.basename(path))
    for candidate in dict.fromkeys((*filter(None, named), beside)):
        if thumbnails.checksum(candidate) == sha256:
            with contextlib.suppress(ImageError):
                return Source(path, sha256, thumbnails.of(candidate), "")
    if not any(named):
        remark = "not read, because it is outside the report's folder and the working folder"
    elif any(os.path.exists(candidate) for candidate in named if candidate):
        remark = "changed since"
    else:
        remark = "not found"
    return Source(path, sha256, None, remark)


def _log(path: str, description: Sidecar) -> tuple[tuple[log.Step, ...], str, Optional[str]]:
    """Return the steps of a log, a remark for the page, and a note for the user."""
    if not os.path.lexists(path):
        return (), f"No log: {os.path.basename(path)} does not exist.", None
    try:
        steps = log.read(path)
    except LogError as error:
        shown = " The steps before it are shown." if error.steps else ""
        return error.steps, f"{error}{shown}", str(error)
    if not steps:
        return (), f"The log {os.path.basename(path)} holds no step.", None
    last, losses = steps[-1], description.losses
    # A run may be interrupted between a step and the writing of its line.
    if abs(last.step - description.steps) > 1 or (losses and set(losses) != set(last.losses)):
        return steps, "The log does not match the picture: it may be of another run.", None
    if losses and last.step == description.steps:
        # A log lacks the losses of the final image: each line holds those before its step.
        steps = (*steps, log.Step(last.step + 1, last.scale, losses))
    return steps, "", None
