"""One transfer between files: pictures in, a picture and its sidecar out."""

import contextlib
import itertools
import os
import platform
import tempfile
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Optional

import numpy
import PIL

from .. import __version__, engine, files, images, machine, weights
from ..config import INITS, Config
from ..errors import ImageError, IncompleteError, NonFiniteError, NstError, OutputError, reason
from ..synthesis import Result, denoise, scale_sizes, steps_at, transfer
from ..synthesis.kit import NetworkKit
from . import sidecar
from .inputs import read_inputs
from .log import is_log
from .sidecar import is_picture, is_sidecar, sidecar_of, step_name


@dataclass(frozen=True)
class Job:
    """A transfer whose inputs have been read and whose output can be written.

    Attributes
    ----------
    config : Config
    output : str
    content, style : numpy.ndarray, shape (1, 3, H, W)
        Network input.
    init : numpy.ndarray or None
        The start image where it is a picture.
    alpha : numpy.ndarray or None
        Of the content, at the output's size.
    provenance : dict
        What is known of the result before it is made, for its metadata.
    notes : tuple of str
        What the user should know, one line each.
    carried : dict
        What the picture carries in place of its own provenance, where it is made again.
    """

    config: Config
    output: str
    content: Any
    style: Any
    init: Any
    alpha: Any
    provenance: dict
    notes: tuple
    carried: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """A picture that was made.

    Attributes
    ----------
    path, sidecar : str
    result : synthesis.Result
    """

    path: str
    sidecar: str
    result: Result


def prepare(
    content: os.PathLike,
    style: os.PathLike,
    output: os.PathLike,
    config: Config,
    *,
    save_every: int = 0,
    log: Optional[os.PathLike] = None,
    overwrite: bool = False,
) -> Job:
    """Read and check everything that a transfer needs, before the long work.

    Parameters
    ----------
    content, style : path-like
        Pictures.
    output : path-like
        The picture to make; its ending decides the format.
    config : Config
    save_every : int
        As `run` will get it.
    log : path-like, optional
        Another file that the caller will write.
    overwrite : bool
        Whether existing files may be replaced that nst did not make.

    Returns
    -------
    Job

    Raises
    ------
    ImageError, WeightsError, EngineError
        An input cannot be used, or memory will not do.
    OutputError
        An output cannot be written, or would overwrite an input, another output, or a file that
        nst did not make.
    """
    output = os.fspath(output)
    start = () if config.init in INITS else (config.init,)
    weights_path = weights.find(config.weights or None)
    taken = [content, style, *start] + [weights_path] * (weights_path != weights.BUILTIN)
    images.check_ending(output)
    outputs = [(output, is_picture), (sidecar_of(output), is_sidecar)]
    for path, ours in outputs + [(log, is_log)] * bool(log):
        files.check_output(path, taken, overwrite=overwrite, ours=ours)
        taken.append(path)
    if save_every:
        steps = range(save_every, _most_steps(content, config) + 1, save_every)
        _check_step_names(output, steps, taken, overwrite)
    # Before MXNet, which takes seconds to load.
    weights.load(weights_path)
    return assemble(read_inputs(content, style, config), output, config)


def assemble(inputs, output, config):
    """Return a `Job` for pictures that have been read; checks machine, weights and format.

    Parameters
    ----------
    inputs : Inputs
    output : str
    config : Config

    Raises
    ------
    WeightsError, EngineError
    ImageError
        The output's format cannot hold a picture of that size.
    """
    weights_path = weights.find(config.weights or None)
    identity = weights.identity(weights_path)
    device = engine.device_of(config)
    height, width = inputs.content.shape[2:]
    alpha = inputs.pictures["content"].alpha
    if alpha is not None:
        alpha = images.resize(alpha, (height, width))
    images.check_size(output, height, width, alpha, None)
    provenance = {
        "program": "nst",
        "versions": {
            "nst": __version__,
            "mxnet": engine.version(),
            "numpy": numpy.__version__,
            "pillow": PIL.__version__,
            "python": platform.python_version(),
        },
        "config": config.to_dict(),
        **{role: _identity(inputs.pictures.get(role)) for role in ("content", "style", "init")},
        "weights": identity,
        "device": str(device),
        "precision": engine.resolved_precision(config.precision, device),
        "threads": engine.threads(),
        "processor": machine.describe(),
        "width": width,
        "height": height,
    }
    return Job(
        config=config,
        output=output,
        content=inputs.content,
        style=inputs.style,
        init=inputs.init,
        alpha=alpha,
        provenance=provenance,
        notes=tuple(_notes(inputs, weights_path, output, alpha, provenance)),
    )


def run(
    job: Job,
    *,
    on_step: Optional[Callable] = None,
    save_every: int = 0,
    kit: Optional[NetworkKit] = None,
) -> Outcome:
    """Make the picture of a job, and write it with its sidecar.

    Parameters
    ----------
    job : Job
    on_step : callable, optional
        Called with a `synthesis.Record` after each step.
    save_every : int
        Also write the picture after every so many steps, under the name `step_name` gives; 0
        means never.
    kit : NetworkKit, optional
        Shared with other runs, as `transfer` takes it.

    Returns
    -------
    Outcome
        If the user interrupts, of the image so far, with ``interrupted`` as stop reason.

    Raises
    ------
    KeyboardInterrupt
        Interrupted before the first step, so that there is nothing to write.
    NonFiniteError
        The last good image, if a step was made, has been written.
    IncompleteError
        The picture was made, but not every file could be written where it should be.
    NstError
        Anything else that went wrong; nothing has been written.
    """
    last, failures = None, []

    def after_step(record):
        nonlocal last
        last = record
        if on_step:
            on_step(record)
        if save_every and record.step % save_every == 0:
            try:
                so_far = _so_far(record, "save-every")
                _write_picture(job, step_name(job.output, record.step), so_far)
            except NstError as error:
                failures.append(error)

    try:
        result = transfer(
            job.content, job.style, job.config, init=job.init, on_step=after_step, kit=kit
        )
    except KeyboardInterrupt:
        if last is None:
            raise
        # The losses at this very image would take another step's time to know.
        result = _so_far(last, "interrupted")
    except NonFiniteError as error:
        if error.result.steps:
            error.path = _last_good(job, error.result)
        raise
    try:
        outcome = write(job, result)
    except KeyboardInterrupt:
        # The work is done, so the picture is finished for whoever can wait no longer.
        outcome = write(job, replace(result, stop_reason="interrupted"))
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise IncompleteError(f"{failures[0]}{more} The picture {outcome.path} is made.", outcome)
    return outcome


def _so_far(record, stop_reason):
    return Result(record.image, record.step, stop_reason, record.losses, record.beta)


def _last_good(job, result):
    """Write the image before a failure; return where it is, or None."""
    try:
        return write(job, result).path
    except IncompleteError as error:
        return error.outcome.path
    except OutputError:
        return None


def write(job: Job, result: Result) -> Outcome:
    """Write a result's picture and sidecar, each whole or not at all.

    Raises
    ------
    IncompleteError
        The picture was kept at another place, or its sidecar could not be written.
    OutputError
        The picture could be written nowhere.
    """
    failure, path, pixels = None, job.output, finished(result.image, job.config)
    document = _document(job, result)
    try:
        _make_folder_again(path)
        _save(job, path, pixels, document)
    except NstError as error:
        failure = str(error)
        path = _rescued(job, pixels, document)
        if path is None:
            raise OutputError(f"{failure} No other place takes the picture either.") from error
        failure = f"{failure} The picture is kept in {path}."
    try:
        sidecar.write(path, document)
    except OutputError as error:
        failure = failure or f"{error} The picture {path} is made."
    outcome = Outcome(path, sidecar_of(path), result)
    if failure:
        raise IncompleteError(failure, outcome)
    return outcome


def _make_folder_again(path):
    """Make the folder of an output that existed before the run."""
    try:
        folder = os.path.dirname(files.target_of(path))
        if folder:
            os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {reason(error)}.") from error


def _rescued(job, pixels, document):
    """Write a picture as PNG, which holds any size, to the first place that takes it."""
    stem = os.path.splitext(os.path.basename(job.output))[0]
    folders = [os.path.dirname(job.output), os.curdir]
    with contextlib.suppress(OSError):
        folders.append(tempfile.gettempdir())
    for folder in folders:
        path = _free_name(os.path.normpath(os.path.join(folder, stem)))
        try:
            _save(job, path, pixels, document)
        except NstError:
            continue
        return path
    return None


def _free_name(stem):
    names = (f"{stem}{number and -number or ''}.png" for number in itertools.count())
    return next(n for n in names if not any(map(os.path.lexists, (n, sidecar_of(n)))))


def _most_steps(content, config):
    """Return the steps at most over all scales."""
    size = images.fit(images.size_of(content), config.size, content)
    scales = len(scale_sizes(config.scales, size))
    return sum(steps_at(config.iterations, scale, scales) for scale in range(1, scales + 1))


def _check_step_names(output, steps, taken, overwrite):
    reserved = set(map(os.path.realpath, taken))
    for step in steps:
        path = step_name(output, step)
        # Hundreds of names in one folder: all else about them is known from the longest.
        if step == steps[-1] or os.path.lexists(path) or os.path.realpath(path) in reserved:
            files.check_output(path, taken, overwrite=overwrite, ours=is_picture)


def _write_picture(job, path, result):
    _save(job, path, finished(result.image, job.config), _document(job, result))


def _document(job, result):
    return dict(
        job.provenance,
        steps=result.steps,
        stop_reason=result.stop_reason,
        beta=result.beta,
        losses=result.losses,
    )


def _save(job, path, pixels, document):
    """Write a picture with what it carries, as far as its format has room for it."""
    metadata = None
    if job.config.metadata:
        metadata = {**sidecar.carried(document), **job.carried}
        if not _has_room(path, pixels.shape[:2], job.alpha, metadata):
            metadata = None
    images.write(path, pixels, job.alpha, metadata)


def _has_room(path, size, alpha, metadata):
    """Return whether a picture's format holds its metadata."""
    try:
        images.check_size(path, *size, alpha, metadata)
    except ImageError:
        return False
    return True


def finished(image, config):
    """Return the pixels of the picture that an optimised image becomes.

    Parameters
    ----------
    image : numpy.ndarray, shape (1, 3, H, W)
    config : Config

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8
        Denoised, where the config says so.
    """
    pixels = images.to_pixels(image, "truncate" if config.faithful else "round")
    if config.denoise:
        smooth = denoise.chambolle(pixels, config.denoise, engine.device_of(config))
        pixels = numpy.rint(smooth).astype(numpy.uint8)
    return pixels


def _identity(picture):
    return picture and {"path": picture.path, "sha256": picture.sha256}


def _notes(inputs, weights_path, output, alpha, provenance):
    size = inputs.content.shape[2:]
    if weights_path == weights.BUILTIN:
        yield (
            "The built-in filter bank stands in for the trained network: colours and brush "
            "strokes come through, objects' textures do not. nst weights fetch gets VGG-19."
        )
    if inputs.pictures["content"].alpha is not None and not images.holds_alpha(output):
        yield f"{output}: JPEG has no transparency, so the content's is left out."
    metadata = sidecar.carried(provenance)
    if provenance["config"]["metadata"] and not _has_room(output, size, alpha, metadata):
        yield (
            f"{output}: the metadata are more than its format holds, so the picture carries none; "
            "its sidecar has them."
        )
    start = inputs.pictures.get("init")
    if start is not None:
        height, width = start.pixels.shape[:2]
        to_height, to_width = size
        # Half a pixel of the smaller picture is rounding.
        if abs(height * to_width - width * to_height) > max(height, width, to_height, to_width):
            yield (
                f"The start image {start.path} has {width} x {height} pixels and is stretched to "
                f"the content's shape, {to_width} x {to_height}."
            )
