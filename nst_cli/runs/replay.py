"""A picture made again from what it carries."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

import numpy

from .. import files, images, weights
from ..config import Config
from ..errors import ImageError, OutputError, SidecarError, WeightsError, reason
from . import runner, sidecar

# If one of these differs, the last digits may.
_MACHINE = ("device", "precision", "threads", "processor")
# What the picture carries again as it was, wherever its inputs are now.
_KEPT = ("config", "content", "style", "init", "weights")


@dataclass(frozen=True)
class Recipe:
    """How a picture was made, and where its inputs are now.

    Attributes
    ----------
    picture : str
    document : dict
        What it carries, or what its sidecar says if it carries nothing.
    config : Config
        With the paths that weights and start image have now.
    content, style : str
        Paths.
    """

    picture: str
    document: dict
    config: Config
    content: str
    style: str


@dataclass(frozen=True)
class Replay:
    """A picture made again.

    Attributes
    ----------
    path : str
    identical : bool
        The file is the same, byte for byte.
    largest : int or None
        The largest difference of a value of a pixel; None where the sizes differ.
    """

    path: str
    identical: bool
    largest: Optional[int]


def read(picture: os.PathLike, found: Optional[dict] = None) -> Recipe:
    """Read what a picture carries, and find its inputs.

    An input is looked for beside the picture, in the working folder, and where a sidecar that
    describes the picture says, if that is in or below one of these two folders.

    Parameters
    ----------
    picture : path-like
        Made by nst.
    found : dict of str to path-like, optional
        Where ``content``, ``style``, ``init`` and ``weights`` are now.

    Returns
    -------
    Recipe

    Raises
    ------
    ImageError
        The picture carries nothing, was not finished, or an input is missing or differs.
    SidecarError
        What the picture carries is broken, or an option in it is unknown.
    WeightsError
        The weights are missing or differ.
    """
    picture, given = os.fspath(picture), found or {}
    description, beside = _described(picture)
    if not description.finished:
        raise ImageError(
            f"{picture} was saved at step {description.steps} of an unfinished run "
            f"({_printable(description.stop_reason)}); only finished runs can be replayed."
        )
    inputs = {
        role: _same_picture(picture, role, description, beside, given.get(role))
        for role in ("content", "style", "init")
        if getattr(description, role)
    }
    changes = {"weights": _same_weights(picture, description, beside, given.get("weights"))}
    if "init" in inputs:
        changes["init"] = inputs["init"]
    try:
        config = description.config(**changes)
    except SidecarError as error:
        raise SidecarError(f"Cannot replay {picture}: {error}") from error
    return Recipe(picture, description.document, config, inputs["content"], inputs["style"])


def prepare(recipe: Recipe, output: os.PathLike, *, overwrite: bool = False) -> runner.Job:
    """Return the `runner.Job` that makes the picture again, at another place.

    Raises
    ------
    OutputError
        `output` has another ending, so that it could not be the same.
    NstError
        As `runner.prepare`.
    """
    ending = Path(recipe.picture).suffix
    if Path(output).suffix != ending:
        raise OutputError(f"Cannot write {output}: to be the same it must end in {ending}.")
    own = [recipe.picture, sidecar.sidecar_of(recipe.picture)]
    files.check_output(output, own, overwrite=overwrite, ours=sidecar.is_picture)
    job = runner.prepare(recipe.content, recipe.style, output, recipe.config, overwrite=overwrite)
    kept = {name: recipe.document[name] for name in _KEPT}
    # The sidecar has the choices as they were made, with the paths of today.
    provenance = {**job.provenance, "config": recipe.document["config"]}
    return replace(job, provenance=provenance, carried=kept)


def differences(recipe: Recipe, job: runner.Job) -> list[str]:
    """Return in words what differs from when the picture was made: versions and machine."""
    then, now = recipe.document, job.provenance
    old, new = then["versions"], now["versions"]
    pairs = [(name, old.get(name), new[name]) for name in new]
    pairs += [(name, then.get(name), now[name]) for name in _MACHINE]
    return [f"{name} was {_printable(a)}, is {b}" for name, a, b in pairs if a != b]


def compare(recipe: Recipe, output: os.PathLike) -> Replay:
    """Return how a picture made again differs from the first."""
    one, other = Path(recipe.picture).read_bytes(), Path(output).read_bytes()
    first, second = (images.read(path).pixels for path in (recipe.picture, output))
    largest = None
    if first.shape == second.shape:
        largest = round(float(numpy.abs(first - second).max()))
    return Replay(os.fspath(output), one == other, largest)


def _described(picture):
    """Return what a picture carries, or else its sidecar; and the sidecar, if it is about it."""
    carries = sidecar.read_carried(picture)
    try:
        beside = sidecar.read(picture)
        if not sidecar.describes(beside, picture):
            beside = None
    except SidecarError:
        beside = None
    if not carries and not beside:
        raise ImageError(
            f"{picture} does not say how it was made: nst did not make it, or it was edited, or "
            "made with --no-metadata and moved away from its sidecar."
        )
    return carries or beside, beside


def _same_picture(picture, role, description, beside, given):
    """Return the path of an input that is the same as then."""
    known, problems = getattr(description, role), []
    for path in [given] if given else _places(picture, role, description, beside):
        try:
            digest = files.sha256(path)
        except OSError as error:
            advice = "" if given else f"; say where it is now with --{role}"
            problems.append(f"Cannot read the {role} {path}: {reason(error)}{advice}.")
            continue
        if digest == known.sha256:
            return os.fspath(path)
        problems.insert(0, (
            f"The {role} {path} is another than the picture was made from: its SHA-256 is "
            f"{digest[:12]}…, and was {known.sha256[:12]}…."
        ))  # fmt: skip
    raise ImageError(problems[0])


def _places(picture, role, description, beside):
    """Return where an input may be: beside the picture, where its sidecar says, or here."""
    name = os.path.basename(getattr(description, role).path)
    places = [os.path.join(os.path.dirname(picture), name)]
    if beside and getattr(beside, role):
        place = sidecar.lead_to(picture, getattr(beside, role).path)
        places += [place] if place else []
    return list(dict.fromkeys((*places, name)))


def _same_weights(picture, description, beside, given):
    """Return the same weights: those given, those of this machine, or those of the sidecar."""
    known = description.weights
    if given or known.path == weights.BUILTIN:
        choices = [given or known.path]
    else:
        choices = [None, *filter(os.path.isfile, _places(picture, "weights", description, beside))]
    problem = None
    for choice in choices:
        try:
            path = weights.find(choice)
            digest = weights.identity(path)["sha256"]
        except WeightsError as error:
            problem = problem or error
            continue
        if digest == known.sha256:
            return os.fspath(path)
        problem = WeightsError(
            f"The weights {path} differ from those the picture was made with: their SHA-256 is "
            f"{digest[:12]}…, and was {known.sha256[:12]}…; name them with --weights."
        )
    raise problem


def _printable(value):
    """Return a value that a stranger may have written as a part of a line."""
    text = str(value)[:80]
    return "".join(letter if letter.isprintable() else "?" for letter in text)
