"""Makes a picture again from its own record, and compares the two."""

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional, Union

import numpy

from .. import files, images
from ..config import Config, init_of_path
from ..errors import (
    ConfigError,
    EngineError,
    ImageError,
    OutputError,
    ShortageError,
    SidecarError,
    WeightsError,
    reason,
)
from ..files import StrPath
from ..weights import BUILTIN, Weights
from . import runner, sidecar
from .provenance import Sidecar, Source, StyleSource, printable
from .styles import Style, check

# If one of these differs, the last digits of the result may differ.
_MACHINE = ("device", "precision", "convolution", "threads", "processor")
# The new picture repeats these fields unchanged, wherever its inputs are now.
_KEPT = ("config", "content", "style", "styles", "init", "weights")


@dataclass(frozen=True)
class Recipe:
    """How a picture was made, and where its inputs are now.

    Attributes
    ----------
    picture : str
    document : dict
        The record in the picture, or in its sidecar if the picture has none.
    config : Config
        With the current paths of weights and start image, and the tiles of the full size.
    weights : Weights
    content : str
        Current path.
    styles : tuple of Style
        With current paths.
    tiles : tuple of int
        As `Sidecar.tiles`. Other tiles, or none, would make another picture.
    """

    picture: str
    document: dict[str, Any]
    config: Config
    weights: Weights
    content: str
    styles: tuple[Style, ...]
    tiles: tuple[int, ...] = ()


@dataclass(frozen=True)
class Replay:
    """A picture made again.

    Attributes
    ----------
    path : str
    identical : bool
        Whether the files are equal, byte for byte.
    largest : float or None
        Largest difference of a pixel's value, in grey levels of 8 bits; None if the sizes differ.
    """

    path: str
    identical: bool
    largest: Optional[float]


def read(picture: StrPath, locations: Optional[Mapping[str, Any]] = None) -> Recipe:
    """Read how a picture was made, and find its inputs.

    An input may be in the picture's folder or in the working folder. If a sidecar describes the
    picture, the path in it is tried too, if it leads into or below one of these folders.

    Parameters
    ----------
    picture : path-like
        Made by nst.
    locations : dict, optional
        Current paths: one of ``content``, ``init`` and ``weights``, and any number of ``style``
        and ``mask``, which are files or folders in any order.

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
        role: _same_picture(
            role,
            getattr(description, role),
            _places(picture, getattr(description, role), getattr(beside, role, None)),
            [locations[role]] if locations.get(role) else [],
        )
        for role in ("content", "init")
        if getattr(description, role)
    }
    styles = _same_styles(picture, description, beside, locations)
    weights = _same_weights(picture, description, beside, locations.get("weights"))
    tile = max(description.tiles) if description.tiles else "off"
    changes: dict[str, Any] = {"weights": weights.source, "tile": tile}
    if "init" in inputs:
        changes["init"] = init_of_path(inputs["init"])
    try:
        config = description.config(**changes)
        check(styles, config)
    except (ConfigError, SidecarError) as error:
        raise SidecarError(f"Cannot replay {picture}: {error}") from error
    return Recipe(
        picture, description.document, config, weights, inputs["content"], styles,
        description.tiles,
    )  # fmt: skip


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
    try:
        job = runner.prepare(
            recipe.content, recipe.styles, output, recipe.config,
            overwrite=overwrite, weights=recipe.weights,
        )  # fmt: skip
    except ShortageError as error:
        how = f"in tiles of {max(recipe.tiles)} MB" if recipe.tiles else "without tiles"
        raise EngineError(
            f"Cannot replay {recipe.picture}, which was made {how}: {error.shortage}."
        ) from error
    kept = {name: recipe.document[name] for name in _KEPT if name in recipe.document}
    # The sidecar has the original choices and the current paths.
    provenance = {**job.provenance, "config": recipe.document["config"]}
    tiles = tuple(megabytes << 20 for megabytes in recipe.tiles)
    return replace(job, provenance=provenance, carried=kept, tiles=tiles)


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
        largest = round(float(numpy.abs(first - second).max()), 3)
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


def _same_styles(
    picture: str,
    description: Sidecar,
    beside: Optional[Sidecar],
    locations: Mapping[str, Any],
) -> tuple[Style, ...]:
    """Return the recorded styles with the current paths of their files."""
    # In one sidecar or the other, the styles are the same.
    there: Sequence[Optional[StyleSource]] = beside.styles if beside else ()
    given = {role: _files_in(locations.get(role)) for role in ("style", "mask")}
    checksums: dict[str, str] = {}

    def checksum(path: StrPath) -> str:
        # A folder's files may be compared with many records.
        name = os.fspath(path)
        if name not in checksums:
            checksums[name] = files.sha256(name)
        return checksums[name]

    def current(
        role: str, recorded: Optional[Source], other: Optional[Source], folder: str = ""
    ) -> str:
        if recorded is None:
            return ""
        places = _places(picture, recorded, other, folder)
        option = "style" if role == "style" else "mask"
        return _same_picture(role, recorded, places, given[option], option, checksum)

    styles = []
    for place, style in enumerate(description.styles):
        other = there[place] if place < len(there) else None
        folder = os.path.basename(style.folder or "")
        others: Sequence[Optional[Source]] = other.files if other else ()
        others = [*others, *[None] * len(style.files)]
        paths = tuple(current("style", *pair, folder) for pair in zip(style.files, others))
        whole = style.folder is None
        styles.append(
            Style(
                path=paths[0] if whole else os.path.dirname(paths[0]) or os.curdir,
                weight=style.weight,
                scale=style.scale,
                mask=current("mask", style.mask, other.mask if other else None),
                style_mask=current(
                    "style mask", style.style_mask, other.style_mask if other else None
                ),
                method=style.method,
                files=None if whole else paths,
            )
        )
    return tuple(styles)


def _files_in(paths: Union[None, StrPath, Sequence[StrPath]]) -> list[str]:
    """Return files, and in place of each folder the files in it."""
    paths = [paths] if isinstance(paths, (str, os.PathLike)) else paths or ()
    result = []
    for path in [os.fspath(path) for path in paths]:
        try:
            names = sorted(os.listdir(path))
        except OSError:
            # A file, or what `_same_picture` reports.
            result.append(path)
        else:
            result += [os.path.join(path, name) for name in names]
    return result


def _same_picture(
    role: str,
    recorded: Source,
    places: Sequence[str],
    given: Sequence[StrPath] = (),
    option: str = "",
    checksum: Callable[[StrPath], str] = files.sha256,
) -> str:
    """Return the path of an input whose content is the one recorded.

    Parameters
    ----------
    role : str
    recorded : Source
    places : sequence of str
        Where it may be.
    given : sequence of path-like
        Where the user says it is; these override `places`.
    option : str
        The option by which the user can say so; `role` if it is left out.
    checksum : callable
        Returns the SHA-256 of a file.
    """
    problems: list[str] = []
    for path in given or places:
        try:
            digest = checksum(path)
        except OSError as error:
            advice = "" if given else f"; say where it is now with --{option or role}"
            problems.append(f"Cannot read the {role} {path}: {reason(error)}{advice}.")
            continue
        if digest == recorded.sha256:
            return os.fspath(path)
        problems.insert(0, (
            f"The {role} {path} differs from the one the picture was made from: its SHA-256 is "
            f"{digest[:12]}…, and was {recorded.sha256[:12]}…."
        ))  # fmt: skip
    if len(given) > 1:
        name = printable(os.path.basename(recorded.path))
        raise ImageError(
            f"None of the {len(given)} files given with --{option or role} is the {role} {name} "
            "that the picture was made from."
        )
    raise ImageError(problems[0])


def _places(
    picture: str, recorded: Source, beside: Optional[Source], folder: str = ""
) -> list[str]:
    """Return where an input may be: beside the picture, at its sidecar's path, or here."""
    name = os.path.basename(recorded.path)
    is_name = folder not in ("", os.curdir, os.pardir)
    names = [os.path.join(folder, name), name] if is_name else [name]
    places = [os.path.join(os.path.dirname(picture), each) for each in names]
    if beside:
        path = sidecar.lead_to(picture, beside.path)
        places += [path] if path else []
    return list(dict.fromkeys((*places, *names)))


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
        places = _places(picture, recorded, beside.weights if beside else None)
        choices = [None, *(place for place in places if os.path.isfile(place))]
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
