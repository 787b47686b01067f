"""Checks the inputs and outputs of all runs of a batch before the first of them."""

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Optional, TypeVar

from .. import files, images
from ..config import INITS
from ..errors import BatchError, NstError, OutputError, reason
from ..files import StrPath
from ..weights import Weights
from . import formats, sidecar, sizes, styles
from .plan import Run

_T = TypeVar("_T")
# Path, long edge and most pixels.
_Picture = tuple[str, int, int]
_LongEdge = Callable[..., int]


def check(
    runs: Iterable[Run],
    overwrite: bool = False,
    find_weights: Callable[[str], Weights] = Weights.find,
) -> dict[Run, list[NstError]]:
    """Check all inputs and outputs before the first run.

    Creates the output folders of the runs that can be made.

    Parameters
    ----------
    runs : iterable of Run
    overwrite : bool
        Allow replacing files that nst did not make.
    find_weights : callable, optional
        Finds the weights that a config names.

    Returns
    -------
    dict of Run to list of NstError
        The runs that cannot be made, each with all its problems: a picture or weights are missing
        or broken; an output cannot be written, or would overwrite an input or a file that nst did
        not make.

    Raises
    ------
    BatchError
        Two runs would write the same file.
    """
    runs = list(runs)
    _check_distinct(runs)
    long_edge_of = functools.cache(sizes.long_edge_of)
    pictures_of = functools.partial(_pictures, long_edge_of=long_edge_of)
    pictures = _errors(_check_picture, (picture for run in runs for picture in pictures_of(run)))
    # A mask is compared with its picture, whose own faults are in `pictures`.
    masks = _errors(
        _check_mask,
        (mask for run in runs if not _faults(pictures_of(run), pictures) for mask in _masks(run)),
    )
    names = {run.config.weights for run in runs}
    networks = _errors(lambda name: _check_weights(find_weights(name)), names)
    weights = [find_weights(name) for name in names - networks.keys()]
    inputs = _identities(runs, weights)
    problems: dict[Run, list[NstError]] = {}
    writable: set[str] = set()
    for run in runs:
        errors = _faults(pictures_of(run), pictures)
        errors += [masks[mask] for mask in _masks(run) if mask in masks]
        errors += [networks[name] for name in [run.config.weights] if name in networks]
        try:
            _check_outputs(run, inputs, overwrite, writable, can_be_made=not errors)
        except NstError as error:
            errors.append(error)
        if errors:
            problems[run] = errors
    return problems


def _pictures(run: Run, long_edge_of: _LongEdge) -> list[_Picture]:
    """Return each input with the limits of its reading: long edge and most pixels."""
    config, edge = run.config, long_edge_of(run.content, run.config)
    pairs = [(run.content, edge)]
    pairs += [
        (path, styles.long_edge(style, edge)) for style in run.styles for path in style.pictures
    ]
    pairs += [] if config.init in INITS else [(config.init, edge)]
    return [(path, edge, config.max_pixels) for path, edge in dict.fromkeys(pairs)]


def _faults(pictures: Iterable[_Picture], errors: Mapping[_Picture, NstError]) -> list[NstError]:
    """Return the errors of some pictures."""
    return [errors[picture] for picture in pictures if picture in errors]


def _masks(run: Run) -> list[tuple[str, str, int]]:
    """Return each mask with its picture and the most pixels."""
    pairs = [pair for style in run.styles for pair in styles.masks_of(style, run.content)]
    return [(mask, os.fspath(picture), run.config.max_pixels) for mask, picture in pairs]


def _check_mask(mask: tuple[str, str, int]) -> None:
    path, picture, max_pixels = mask
    images.read_mask(path, picture, max_pixels=max_pixels)


def _check_distinct(runs: Iterable[Run]) -> None:
    """Raise if two runs would write the same file."""
    numbers: dict[str, int] = {}
    folder_of = functools.cache(os.path.realpath)
    for number, run in enumerate(runs, 1):
        for path, _ in sidecar.outputs(run.output):
            folder, name = os.path.split(path)
            target = os.path.join(folder_of(folder), name)
            if os.path.islink(target):
                target = os.path.realpath(target)
            other = numbers.setdefault(target, number)
            if other != number:
                raise BatchError(
                    f"Runs {other} and {number} would both write {path}: add a field that differs "
                    "between them to the output's template, such as {gamma}, {content_folder} or "
                    "{number}."
                )


def _errors(check_one: Callable[[_T], None], values: Iterable[_T]) -> dict[_T, NstError]:
    """Return ``{value: error}`` of the values that fail a check; each value is checked once."""
    errors: dict[_T, NstError] = {}
    for value in dict.fromkeys(values):
        try:
            check_one(value)
        except NstError as error:
            errors[value] = error
    return errors


def _check_picture(picture: _Picture) -> None:
    path, long_edge, max_pixels = picture
    if os.path.isdir(path):
        raise BatchError(
            f"Cannot read {path}: it is a folder. In a [[grid]], {os.path.join(path, '*.jpg')} "
            "names the pictures in it."
        )
    images.size_of(path, long_edge=long_edge, max_pixels=max_pixels)


def _check_weights(weights: Weights) -> None:
    # Computing the built-in bank takes a second and cannot fail.
    if weights.path:
        weights.load()


def _identities(
    runs: Iterable[Run], weights: Iterable[Weights]
) -> dict[Optional[tuple[int, int]], StrPath]:
    """Return ``{(device, inode): path}`` of all files that the runs read."""
    paths: list[StrPath] = [path for run in runs for path in run.pictures.values()]
    paths += [each.path for each in weights if each.path]
    known = {_identity(path): path for path in dict.fromkeys(paths)}
    known.pop(None, None)
    return known


def _identity(path: StrPath) -> Optional[tuple[int, int]]:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _check_outputs(
    run: Run,
    inputs: Mapping[Optional[tuple[int, int]], StrPath],
    overwrite: bool,
    writable: set[str],
    can_be_made: bool,
) -> None:
    """Check the three files of a run; `writable` caches the folders known to be writable."""
    formats.check(run.output, run.config)
    folder = os.path.dirname(run.output)
    if not os.path.isdir(folder or os.curdir):
        if not can_be_made:
            return
        _make_folder(folder)
    for path, ours in sidecar.outputs(run.output):
        if _is_free(path):
            if folder not in writable:
                files.check_output(path)
                writable.add(folder)
        # `files.check_output` would compare each output with each input, which takes long.
        elif (source := inputs.get(_identity(path))) is not None:
            raise OutputError(
                f"Cannot write {path}: that would overwrite {source}; choose another name."
            )
        else:
            files.check_output(path, overwrite=overwrite, ours=ours)


def _is_free(path: str) -> bool:
    """Return whether a path is unused; False if it is impossible, for example too long."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def _make_folder(folder: str) -> None:
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise BatchError(f"Cannot make the folder {folder}: {reason(error)}.") from error
