"""Makes a picture again from its own record, and compares the two."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

import numpy

from .. import files, images
from ..config import Config, init_of_path
from ..errors import ImageError, OutputError, SidecarError, WeightsError, reason
from ..files import StrPath
from ..weights import BUILTIN, Weights
from . import runner, sidecar
from .provenance import Sidecar, printable

# If one of these differs, the last digits of the result may differ.
_MACHINE = ("device", "precision", "convolution", "threads", "processor")
# The new picture repeats these fields unchanged, wherever its inputs are now.
_KEPT = ("config", "content", "style", "init", "weights")


@dataclass(frozen=True)
class Recipe:
    """How a picture was made, and where its inputs are now.

    Attributes
    ----------
    picture : str
    document : dict
        The record in the picture, or in its sidecar if the picture has none.
    config : Config
        With the current paths of weights and start image.
    weights : Weights
    content, style : str
        Current paths.
    """

    picture: str
    document: dict[str, Any]
    config: Config
    weights: Weights
    content: str
    style: str


@dataclass(frozen=True)
class Replay:
    """A picture made again.

    Attributes
    ----------
    path : str
    identical : bool
        Whether the files are equal, byte for byte.
    largest : int or None
        Largest difference of a pixel's value, in grey levels; None if the sizes differ.
    """

    path: str
    identical: bool
    largest: Optional[int]


def read(picture: StrPath, locations: Optional[Mapping[str, StrPath]] = None) -> Recipe:
    """Read how a picture was made, and find its inputs.

    An input may be in the picture's folder or in the working folder. If a sidecar describes the
    picture, the path in it is tried too, if it leads into or below one of these folders.

    Parameters
    ----------
    picture : path-like
        Made by nst.
    locations : dict of str to path-like, optional
        Current paths of ``content``, ``style``, ``init`` and ``weights``.

    Returns
    -------
    Recipe

    Raises
    ------
    ImageError
        The picture has no record, its run did not finish, or an input is missing or differs.
    SidecarError
        The record is broken, or has an unknown option.
    WeightsError
        The weights are missing or differ.
    """
    picture, locations = os.fspath(picture), locations or {}
    description, beside = _records(picture)
    if not description.finished:
        raise ImageError(
            f"{picture} was saved at step {description.steps} of an unfinished run "
            f"({printable(description.stop_reason)}); only finished runs can be replayed."
        )
    inputs = {
        role: _same_picture(picture, role, description, beside, locations.get(role))
        for role in ("content", "style", "init")
        if getattr(description, role)
    }
    weights = _same_weights(picture, description, beside, locations.get("weights"))
    changes = {"weights": weights.source}
    if "init" in inputs:
        changes["init"] = init_of_path(inputs["init"])
    try:
        config = description.config(**changes)
    except SidecarError as error:
        raise SidecarError(f"Cannot replay {picture}: {error}") from error
    return Recipe(
        picture, description.document, config, weights, inputs["content"], inputs["style"]
    )


def prepare(recipe: Recipe, output: StrPath, *, overwrite: bool = False) -> runner.Job:
    """Return the `runner.Job` that makes the picture again as the file `output`.

    Raises
    ------
    OutputError
        `output` has a different ending than the picture, so the files could not be equal.
    NstError
        As `runner.prepare`.
    """
    ending = Path(recipe.picture).suffix
    if Path(output).suffix != ending:
        raise OutputError(f"Cannot write {output}: to be the same it must end in {ending}.")
    protected = [recipe.picture, sidecar.sidecar_of(recipe.picture)]
    files.check_output(output, protected, overwrite=overwrite, ours=sidecar.is_picture)
    job = runner.prepare(
        recipe.content, recipe.style, output, recipe.config,
        overwrite=overwrite, weights=recipe.weights,
    )  # fmt: skip
    kept = {name: recipe.document[name] for name in _KEPT}
    # The sidecar has the original choices and the current paths.
    provenance = {**job.provenance, "config": recipe.document["config"]}
    return replace(job, provenance=provenance, carried=kept)


def differences(recipe: Recipe, job: runner.Job) -> list[str]:
    """Return which versions and properties of the machine differ, each in a few words."""
    # Before there was a choice, convolutions were direct.
    then, now = {"convolution": "direct", **recipe.document}, job.provenance
    old, new = then["versions"], now["versions"]
    pairs = [(name, old.get(name), new[name]) for name in new]
    pairs += [(name, then.get(name), now[name]) for name in _MACHINE]
    old, new = (_packages(document) for document in (then, now))
    pairs += [
        (f"the package of {name}", old.get(name, "nst"), new.get(name, "nst"))
        for name in {**old, **new}
    ]
    return [f"{printable(name)} was {printable(a)}, is {b}" for name, a, b in pairs if a != b]


def _packages(document: Mapping[str, Any]) -> dict[str, str]:
    """Return name and version of the packages of the plugins, by method."""
    plugins = document.get("plugins", {}).items()
    return {method: f"{one['package']} {one['version']}" for method, one in plugins}


def compare(recipe: Recipe, output: StrPath) -> Replay:
    """Compare the picture made again with the original."""
    identical = Path(recipe.picture).read_bytes() == Path(output).read_bytes()
    first, second = (images.read(path).pixels for path in (recipe.picture, output))
    largest = None
    if first.shape == second.shape:
        largest = round(float(numpy.abs(first - second).max()))
    return Replay(os.fspath(output), identical, largest)


def _records(picture: str) -> tuple[Sidecar, Optional[Sidecar]]:
    """Return a picture's record, and its sidecar or None if that does not describe it.

    The record is the one in the picture, or that of the sidecar if the picture has none.
    """
    beside = None
    carries = sidecar.read_carried(picture)
    with contextlib.suppress(SidecarError):
        description = sidecar.read(picture)
        if sidecar.describes(description, picture):
            beside = description
    record = carries or beside
    if not record:
        raise ImageError(
            f"{picture} does not say how it was made: nst did not make it, or it was edited, or "
            "made with --no-metadata and separated from its sidecar."
        )
    return record, beside


def _same_picture(
    picture: str,
    role: str,
    description: Sidecar,
    beside: Optional[Sidecar],
    given: Optional[StrPath],
) -> str:
    """Return the path of an input whose content is the one recorded."""
    recorded, problems = getattr(description, role), []
    for path in [given] if given else _places(picture, role, description, beside):
        try:
            digest = files.sha256(path)
        except OSError as error:
            advice = "" if given else f"; say where it is now with --{role}"
            problems.append(f"Cannot read the {role} {path}: {reason(error)}{advice}.")
            continue
        if digest == recorded.sha256:
            return os.fspath(path)
        problems.insert(0, (
            f"The {role} {path} differs from the one the picture was made from: its SHA-256 is "
            f"{digest[:12]}…, and was {recorded.sha256[:12]}…."
        ))  # fmt: skip
    raise ImageError(problems[0])


def _places(picture: str, role: str, description: Sidecar, beside: Optional[Sidecar]) -> list[str]:
    """Return where an input may be: beside the picture, at its sidecar's path, or here."""
    name = os.path.basename(getattr(description, role).path)
    places = [os.path.join(os.path.dirname(picture), name)]
    if beside and getattr(beside, role):
        path = sidecar.lead_to(picture, getattr(beside, role).path)
        places += [path] if path else []
    return list(dict.fromkeys((*places, name)))


def _same_weights(
    picture: str,
    description: Sidecar,
    beside: Optional[Sidecar],
    given: Optional[StrPath],
) -> Weights:
    """Return the recorded weights: those given, this machine's, or at the sidecar's path."""
    recorded = description.weights
    choices: list[Optional[StrPath]] = [given or recorded.path]
    if not given and recorded.path != BUILTIN:
        choices = [None, *filter(os.path.isfile, _places(picture, "weights", description, beside))]
    problem: Optional[WeightsError] = None
    for choice in choices:
        try:
            weights = Weights.find(choice)
            digest = weights.sha256
        except WeightsError as error:
            problem = problem or error
            continue
        if digest == recorded.sha256:
            return weights
        problem = WeightsError(
            f"The weights {weights.source} differ from those the picture was made with: their "
            f"SHA-256 is {digest[:12]}…, and was {recorded.sha256[:12]}…; name the right ones "
            "with --weights."
        )
    assert problem
    raise problem
