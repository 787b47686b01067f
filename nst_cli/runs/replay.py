"""A picture made again from what it carries."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy

from .. import files, images, weights
from ..config import Config
from ..errors import ConfigError, ImageError, OutputError, WeightsError
from . import runner

# With any of these other than it was, the last digits may differ.
_MACHINE = ("device", "precision", "threads", "processor")
# What is known of the inputs; their paths may be others now, their content is not.
_KEPT = ("config", "content", "style", "init", "weights")


@dataclass(frozen=True)
class Recipe:
    """What a picture says of how it was made, its inputs found again.

    Attributes
    ----------
    picture : str
    document : dict
        What it carries.
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
    largest: int


def read(picture, found=None):
    """Read what a picture carries, and look at its inputs.

    Parameters
    ----------
    picture : path-like
        Made by nst.
    found : dict of str to path-like, optional
        Where ``content``, ``style``, ``init`` and ``weights`` are now, if not where they were.

    Returns
    -------
    Recipe

    Raises
    ------
    ImageError
        The picture carries nothing, was not finished, or an input is not there or another.
    WeightsError
        The weights are not there or others.
    """
    picture, found = os.fspath(picture), found or {}
    document = images.read_metadata(picture)
    if document is None or not runner.KEYS <= document.keys():
        raise ImageError(
            f"{picture} does not say how it was made: no nst made it, or it was edited."
        )
    if document["stop_reason"] not in runner.FINISHED:
        raise ImageError(
            f"{picture} is of step {document.get('steps')} of a run that went on or was broken "
            f"off ({document['stop_reason']}): there is no telling how to stop there again."
        )
    inputs = {
        name: _same_picture(name, document[name], found.get(name))
        for name in ("content", "style", "init")
        if document[name]
    }
    which = _same_weights(document["weights"], found.get("weights"))
    choices = {**document["config"], "weights": os.fspath(which)}
    if "init" in inputs:
        choices["init"] = inputs["init"]
    try:
        config = Config.from_dict(choices)
    except ConfigError as error:
        raise ImageError(
            f"{picture} was made with choices that nst has no more: {error}"
        ) from error
    return Recipe(picture, document, config, inputs["content"], inputs["style"])


def prepare(recipe, output):
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
    files.check_output(output, [recipe.picture])
    job = runner.prepare(recipe.content, recipe.style, output, recipe.config)
    kept = {name: recipe.document[name] for name in _KEPT}
    return replace(job, provenance={**job.provenance, **kept})


def differences(recipe, job):
    """Return what is another than when the picture was made, in words: versions and machine."""
    then, now = recipe.document, job.provenance
    old, new = then.get("versions", {}), now["versions"]
    pairs = [(name, old.get(name), new[name]) for name in new]
    pairs += [(name, then.get(name), now[name]) for name in _MACHINE]
    return [f"{name} was {a}, is {b}" for name, a, b in pairs if a != b]


def compare(recipe, output):
    """Return how a picture made again differs from the first."""
    one, other = Path(recipe.picture).read_bytes(), Path(output).read_bytes()
    first, second = (images.read(path).pixels for path in (recipe.picture, output))
    largest = None
    if first.shape == second.shape:
        largest = round(float(numpy.abs(first - second).max()))
    return Replay(os.fspath(output), one == other, largest)


def _same_picture(name, known, given):
    path = os.fspath(given or known["path"])
    try:
        digest = files.sha256(path)
    except OSError as error:
        advice = "" if given else f"; say where it is now with --{name}"
        raise ImageError(f"Cannot read the {name} {path}: {error.strerror}{advice}.") from error
    if digest != known["sha256"]:
        raise ImageError(
            f"The {name} {path} is another than the picture was made from: its SHA-256 is "
            f"{digest[:12]}…, and was {known['sha256'][:12]}…."
        )
    return path


def _same_weights(known, given):
    """Return the same weights: those given, those where they were, or those of this machine."""
    asked = given or (known["source"] if _is_there(known["source"]) else None)
    which = weights.find(asked)
    digest = weights.identity(which)["sha256"]
    if digest != known["sha256"]:
        raise WeightsError(
            f"The weights {which} are others than the picture was made with: their SHA-256 is "
            f"{digest[:12]}…, and was {known['sha256'][:12]}…; name them with --weights."
        )
    return which


def _is_there(source):
    return source == weights.BUILTIN or os.path.exists(source)
