"""Runs one transfer between files: pictures in, a picture and its sidecar out."""

import contextlib
import itertools
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

import numpy
import PIL

from .. import __version__, engine, files, images, machine, plugins
from ..config import INITS, Config
from ..errors import ImageError, IncompleteError, NonFiniteError, NstError, OutputError, reason
from ..files import StrPath
from ..synthesis import Record, Result, denoise, memory, scale_sizes, steps_at, transfer, vgg
from ..synthesis.kit import NetworkKit
from ..synthesis.tiled_objective import KEPT_POSITIONS
from ..weights import Weights
from . import sidecar
from .inputs import Inputs, read_inputs
from .log import is_log
from .sidecar import is_picture, is_sidecar, sidecar_of, step_name


@dataclass(frozen=True)
class Job:
    """A transfer whose inputs have been read and checked.

    Attributes
    ----------
    config : Config
    weights : Weights
    output : str
    content, style : numpy.ndarray, shape (1, 3, H, W)
        Network input.
    init : numpy.ndarray or None
        The start image, if it is a picture.
    alpha : numpy.ndarray or None
        Transparency of the content, resized to the output.
    provenance : dict
        The part of the sidecar that is known before the run.
    notes : tuple of str
        Hints for the user, one line each.
    carried : dict
        Fields that replace their namesakes in the picture's metadata; a replay sets them.
    """

    config: Config
    weights: Weights
    output: str
    content: Any
    style: Any
    init: Any
    alpha: Any
    provenance: dict[str, Any]
    notes: tuple[str, ...]
    carried: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """The files and the result of a run.

    Attributes
    ----------
    path, sidecar : str
    result : synthesis.Result
    """

    path: str
    sidecar: str
    result: Result


def prepare(
    content: StrPath,
    style: StrPath,
    output: StrPath,
    config: Config,
    *,
    save_every: int = 0,
    log: Optional[StrPath] = None,
    overwrite: bool = False,
    weights: Optional[Weights] = None,
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
        The same as for `run`.
    log : path-like, optional
        A log that the caller will write.
    overwrite : bool
        Allow replacing existing files that nst did not make.
    weights : Weights, optional
        The weights, if the caller has found them already; by default ``config.weights`` decides.

    Returns
    -------
    Job

    Raises
    ------
    ImageError, WeightsError, EngineError
        An input cannot be used, or there is not enough memory.
    OutputError
        An output cannot be written, or would overwrite an input, another output, or a file that
        nst did not make.
    """
    output = os.fspath(output)
    start = () if config.init in INITS else (config.init,)
    weights = weights or Weights.find(config.weights)
    protected: list[StrPath] = [content, style, *start]
    if weights.path:
        protected.append(weights.path)
    images.check_ending(output)
    outputs: list[tuple[StrPath, Callable[[str], bool]]] = [
        (output, is_picture),
        (sidecar_of(output), is_sidecar),
    ]
    if log:
        outputs.append((log, is_log))
    for path, ours in outputs:
        files.check_output(path, protected, overwrite=overwrite, ours=ours)
        protected.append(path)
    if save_every:
        steps = range(save_every, _max_steps(content, config) + 1, save_every)
        _check_step_names(output, steps, protected, overwrite)
    # Checked before MXNet, which takes seconds to load.
    weights.load()
    return assemble(read_inputs(content, style, config), output, config, weights)


def assemble(inputs: Inputs, output: str, config: Config, weights: Weights) -> Job:
    """Return a `Job` for pictures that have been read; check device, weights and output format.

    Parameters
    ----------
    inputs : Inputs
    output : str
    config : Config
    weights : Weights

    Raises
    ------
    WeightsError, EngineError
        The weights cannot be read, or the device or precision cannot be used.
    ImageError
        The output's format does not support a picture of that size.
    """
    identity = weights.identity()
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
        **_plugins(config),
        "config": config.to_dict(),
        **{role: _identity(inputs.pictures.get(role)) for role in ("content", "style", "init")},
        "weights": identity,
        "device": str(device),
        "precision": engine.precision_of(config, device),
        "convolution": vgg.convolution_used(config, (height, width), device),
        "threads": engine.threads(),
        "processor": machine.describe(),
        "width": width,
        "height": height,
    }
    return Job(
        config=config,
        weights=weights,
        output=output,
        content=inputs.content,
        style=inputs.style,
        init=inputs.init,
        alpha=alpha,
        provenance=provenance,
        notes=tuple(_notes(config, inputs, weights, output, alpha, provenance)),
    )


def run(
    job: Job,
    *,
    on_step: Optional[Callable[[Record], object]] = None,
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
        Also write the picture each time this many steps have been made, with the name
        `step_name`; 0 means never.
    kit : NetworkKit, optional
        Shared with other runs; see `transfer`.

    Returns
    -------
    Outcome
        If the user interrupts the run, it has the image so far and the stop reason
        ``interrupted``.

    Raises
    ------
    KeyboardInterrupt
        The user interrupted before the first step, so there is nothing to write.
    NonFiniteError
        If a step was made before it, the last finite image has been written.
    IncompleteError
        The picture was made, but not every file could be written at its place.
    NstError
        Any other failure; nothing has been written.
    """
    last: Optional[Record] = None
    failures: list[NstError] = []

    def after_step(record: Record) -> None:
        nonlocal last
        last = record
        if on_step:
            on_step(record)
        if save_every and record.step % save_every == 0:
            try:
                partial = _partial_result(record, "save-every")
                _write_picture(job, step_name(job.output, record.step), partial)
            except NstError as error:
                failures.append(error)

    try:
        result = transfer(
            job.content, job.style, job.config, init=job.init, on_step=after_step, kit=kit,
            weights=job.weights,
        )  # fmt: skip
    except KeyboardInterrupt:
        if last is None:
            raise
        # The record has the losses before its step; those after it would take another step.
        result = _partial_result(last, "interrupted")
    except NonFiniteError as error:
        if error.result.steps:
            error.path = _write_last_finite(job, error.result)
        raise
    try:
        outcome = write(job, result)
    except KeyboardInterrupt:
        # The image is complete, so write it after all.
        outcome = write(job, replace(result, stop_reason="interrupted"))
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise IncompleteError(f"{failures[0]}{more} The picture {outcome.path} is made.", outcome)
    return outcome


def _partial_result(record: Record, stop_reason: str) -> Result:
    return Result(
        record.image, record.step, stop_reason, record.losses, record.beta, record.tiling
    )


def _write_last_finite(job: Job, result: Result) -> Optional[str]:
    """Write the last image before a failure; return its path, or None if that fails."""
    try:
        return write(job, result).path
    except IncompleteError as error:
        return str(error.outcome.path)
    except OutputError:
        return None


def write(job: Job, result: Result) -> Outcome:
    """Write a result's picture and sidecar, each whole or not at all.

    Raises
    ------
    IncompleteError
        The picture was written to another place, or its sidecar could not be written.
    OutputError
        The picture could not be written anywhere.
    """
    failure, path, pixels = "", job.output, finished_pixels(result.image, job.config)
    document = _document(job, result)
    try:
        _restore_folder(path)
        _save(job, path, pixels, document)
    except NstError as error:
        other = _save_elsewhere(job, pixels, document)
        if other is None:
            raise OutputError(
                f"{error} The picture could not be written anywhere else either."
            ) from error
        failure, path = f"{error} The picture is kept in {other}.", other
    try:
        sidecar.write(path, document)
    except OutputError as error:
        failure = failure or f"{error} The picture {path} is made."
    outcome = Outcome(path, sidecar_of(path), result)
    if failure:
        raise IncompleteError(failure, outcome)
    return outcome


def _restore_folder(path: str) -> None:
    """Create the folder of an output again if it was removed during the run."""
    try:
        folder = os.path.dirname(files.target_of(path))
        if folder:
            os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {reason(error)}.") from error


def _save_elsewhere(job: Job, pixels: Any, document: dict[str, Any]) -> Optional[str]:
    """Write a picture as PNG, which supports any size, to the first writable folder, if any."""
    stem = os.path.splitext(os.path.basename(job.output))[0]
    folders = [os.path.dirname(job.output), os.curdir]
    with contextlib.suppress(OSError):
        folders.append(tempfile.gettempdir())
    for folder in folders:
        path = _unused_name(os.path.normpath(os.path.join(folder, stem)))
        try:
            _save(job, path, pixels, document)
        except NstError:
            continue
        return path
    return None


def _unused_name(stem: str) -> str:
    names = (f"{stem}{number and -number or ''}.png" for number in itertools.count())
    return next(n for n in names if not any(map(os.path.lexists, (n, sidecar_of(n)))))


def _max_steps(content: StrPath, config: Config) -> int:
    """Return the maximum number of steps over all scales."""
    size = images.fit(images.size_of(content), config.size, content)
    scales = len(scale_sizes(config.scales, size))
    return sum(steps_at(config.iterations, scale, scales) for scale in range(1, scales + 1))


def _check_step_names(
    output: str, steps: range, protected: Sequence[StrPath], overwrite: bool
) -> None:
    targets = set(map(os.path.realpath, protected))
    for step in steps:
        path = step_name(output, step)
        # There may be hundreds of new names in one folder. Checking the longest is enough.
        if step == steps[-1] or os.path.lexists(path) or os.path.realpath(path) in targets:
            files.check_output(path, protected, overwrite=overwrite, ours=is_picture)


def _write_picture(job: Job, path: str, result: Result) -> None:
    _save(job, path, finished_pixels(result.image, job.config), _document(job, result))


def _document(job: Job, result: Result) -> dict[str, Any]:
    return dict(
        job.provenance,
        **_tiling(result),
        steps=result.steps,
        stop_reason=result.stop_reason,
        beta=result.beta,
        losses=result.losses,
    )


def _tiling(result: Result) -> dict[str, Any]:
    """Return the entry of the tiles, or none if there were none."""
    if result.tiling is None:
        return {}
    tile_bytes, by_fourier, by_sample = result.tiling
    return {
        "tiling": {
            "megabytes": tile_bytes >> 20,
            "by_fourier": list(by_fourier),
            "by_sample": list(by_sample),
        }
    }


def _save(job: Job, path: str, pixels: Any, document: dict[str, Any]) -> None:
    """Write a picture, with metadata if its format has room for them."""
    metadata = None
    if job.config.metadata:
        metadata = {**sidecar.carried(document), **job.carried}
        if not _fits(path, pixels.shape[:2], job.alpha, metadata):
            metadata = None
    images.write(path, pixels, job.alpha, metadata)


def _fits(path: str, size: Sequence[int], alpha: Any, metadata: Optional[dict[str, Any]]) -> bool:
    """Return whether a picture's format has room for its metadata."""
    try:
        height, width = size
        images.check_size(path, height, width, alpha, metadata)
    except ImageError:
        return False
    return True


def finished_pixels(image: Any, config: Config) -> Any:
    """Convert an optimised image to the pixels of the picture, and denoise it if asked to.

    Parameters
    ----------
    image : numpy.ndarray, shape (1, 3, H, W)
    config : Config

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), uint8
    """
    pixels = images.to_pixels(image, "truncate" if config.faithful else "round")
    if config.denoise:
        smooth = denoise.chambolle(pixels, config.denoise, engine.device_of(config))
        pixels = numpy.rint(smooth).astype(numpy.uint8)
    return pixels


def _plugins(config: Config) -> dict[str, dict[str, dict[str, str]]]:
    """Return the entry of the packages that methods come from, or none if all are nst's own."""
    packages = plugins.record(config.methods)
    return {"plugins": packages} if packages else {}


def _identity(picture: Optional[images.Picture]) -> Optional[dict[str, str]]:
    return {"path": picture.path, "sha256": picture.sha256} if picture else None


def _notes_of_tiles(config: Config, inputs: Inputs) -> Iterator[str]:
    """Yield what tiles change besides memory and time."""
    content, style = (array.shape[2:] for array in (inputs.content, inputs.style))
    tiling = memory.tiling(config, config.methods, content, style, engine.device_of(config))
    if tiling is None:
        return
    if tiling.by_fourier:
        yield (
            f"In tiles, {' and '.join(tiling.by_fourier)} uses random Fourier features, as with "
            "--estimator fourier."
        )
    if tiling.by_sample:
        yield (
            f"In tiles, {' and '.join(tiling.by_sample)} sees at most {KEPT_POSITIONS} positions "
            "of each feature map, the same at each step."
        )


def _notes(
    config: Config,
    inputs: Inputs,
    weights: Weights,
    output: str,
    alpha: Any,
    provenance: dict[str, Any],
) -> Iterator[str]:
    size = inputs.content.shape[2:]
    if not weights.path:
        yield (
            "The built-in filter bank stands in for the trained network: colours and brush "
            "strokes come through, objects' textures do not. nst weights fetch gets VGG-19."
        )
    if inputs.pictures["content"].alpha is not None and not images.holds_alpha(output):
        yield f"{output}: JPEG has no transparency, so the content's is left out."
    metadata = sidecar.carried(provenance)
    if provenance["config"]["metadata"] and not _fits(output, size, alpha, metadata):
        yield (
            f"{output}: its format has no room for the metadata, so the picture carries none; the "
            "sidecar has them."
        )
    yield from _notes_of_tiles(config, inputs)
    start = inputs.pictures.get("init")
    if start is not None:
        height, width = start.pixels.shape[:2]
        to_height, to_width = size
        # Shapes may differ by rounding, half a pixel of the smaller picture.
        if abs(height * to_width - width * to_height) > max(height, width, to_height, to_width):
            yield (
                f"The start image {start.path} has {width} x {height} pixels and is stretched to "
                f"the content's shape, {to_width} x {to_height}."
            )
