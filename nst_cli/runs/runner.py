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

from .. import __version__, engine, files, images, machine, plugins, signals
from ..config import INITS, Config
from ..errors import (
    ImageError,
    IncompleteError,
    NonFiniteError,
    NstError,
    OutputError,
    SidecarError,
    reason,
)
from ..files import StrPath
from ..images import kept
from ..synthesis import Record, Result, State, denoise, scale_sizes, steps_at, transfer, vgg
from ..synthesis.kit import NetworkKit
from ..synthesis.margin import padded_size
from ..synthesis.setting import tiling_for
from ..synthesis.styles import StyleImage, grouped
from ..synthesis.tiled_objective import KEPT_POSITIONS
from ..weights import Weights
from . import formats, sidecar, sizes
from . import styles as named
from .checkpoints import Saved
from .inputs import Inputs, read_inputs
from .keeping import Keeper
from .log import is_log
from .sidecar import is_picture, is_sidecar, sidecar_of, step_name
from .styles import Styles


@dataclass(frozen=True)
class Job:
    """A transfer whose inputs have been read and checked.

    Attributes
    ----------
    config : Config
    weights : Weights
    output : str
    content : numpy.ndarray, shape (1, 3, H, W)
        Network input.
    styles : tuple of StyleImage
        Those that count, with network inputs.
    init : numpy.ndarray or None
        The start image, if it is a picture.
    alpha : numpy.ndarray or None
        Transparency of the content, resized to the output.
    colours : numpy.ndarray or None
        The content's pixels, if the picture gets their colours.
    encoding : images.Encoding
        How the picture is stored.
    provenance : dict
        The part of the sidecar that is known before the run.
    notes : tuple of str
        Hints for the user, one line each.
    carried : dict
        Fields that replace their namesakes in the picture's metadata; a replay sets them.
    tiles : tuple of int or None
        For `transfer`; a replay sets them.
    existing : dict of str to tuple
        The outputs that exist and may be replaced: `files.state_of` by path.
    """

    config: Config
    weights: Weights
    output: str
    content: Any
    styles: tuple[StyleImage, ...]
    init: Any
    alpha: Any
    colours: Any
    encoding: images.Encoding
    provenance: dict[str, Any]
    notes: tuple[str, ...]
    carried: dict[str, Any] = field(default_factory=dict)
    tiles: Optional[tuple[int, ...]] = None
    existing: dict[str, Any] = field(default_factory=dict)

    @property
    def style(self) -> Any:
        """The first picture of the first style, network input."""
        return self.styles[0].images[0]


class StopRequest(Exception):
    """Raised by `on_step` to end a run whose user is content with the image so far."""


@dataclass(frozen=True)
class Outcome:
    """The files and the result of a run.

    Attributes
    ----------
    path, sidecar : str
    result : synthesis.Result
    checkpoint : int or None
        The step from which the same run can go on, if it was interrupted.
    """

    path: str
    sidecar: str
    result: Result
    checkpoint: Optional[int] = None


def prepare(
    content: StrPath,
    styles: Styles,
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
    content : path-like
        A picture.
    styles : path-like or sequence of styles.Style
        A picture or a folder of pictures, or several styles.
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
    ConfigError
        A weight, a scale or a method of a style is not valid.
    OutputError
        An output cannot be written, or would overwrite an input, another output, or a file that
        nst did not make.
    """
    output = os.fspath(output)
    formats.check(output, config)
    start = () if config.init in INITS else (config.init,)
    weights = weights or Weights.find(config.weights)
    styles = tuple(map(named.listed, named.as_styles(styles)))
    named.check(styles, config)
    protected: list[StrPath] = [content, *named.files_of(styles).values(), *start]
    if weights.path:
        protected.append(weights.path)
    outputs: list[tuple[StrPath, Callable[[str], bool]]] = [
        (output, is_picture),
        (sidecar_of(output), is_sidecar),
    ]
    if log:
        outputs.append((log, is_log))
    for path, ours in outputs:
        files.check_output(path, protected, overwrite=overwrite, ours=ours)
        protected.append(path)
    steps = range(save_every, _max_steps(content, config) + 1, save_every) if save_every else ()
    if steps:
        _check_step_names(output, steps, protected, overwrite)
    names = [output, sidecar_of(output), *(step_name(output, step) for step in steps)]
    existing = {path: files.state_of(path) for path in names}
    # Checked before MXNet, which takes seconds to load.
    weights.load()
    job = assemble(read_inputs(content, styles, config), output, config, weights)
    return replace(job, existing=existing)


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
    ConfigError, ShapeError
        The styles do not fit together or the content.
    WeightsError, EngineError
        The weights cannot be read, or the device or precision cannot be used.
    ImageError
        The output's format does not support a picture of that size.
    """
    identity = weights.identity()
    device = engine.device_of(config)
    height, width = inputs.content.shape[2:]
    # What `transfer` would refuse of the styles together is refused here, before the long work.
    grouped(inputs.styles, (height, width), config)
    alpha = inputs.pictures["content"].alpha
    if alpha is not None:
        alpha = images.resize(alpha, (height, width))
    encoding = formats.encoding_of(config, inputs.pictures["content"])
    images.check_size(output, height, width, alpha, None, encoding)
    provenance = {
        "program": "nst",
        "versions": {
            "nst": __version__,
            "mxnet": engine.version(),
            "numpy": numpy.__version__,
            "pillow": PIL.__version__,
            "python": platform.python_version(),
        },
        **_plugins(config, inputs.styles),
        "config": config.to_dict(),
        **inputs.record,
        "weights": identity,
        "device": str(device),
        "precision": engine.precision_of(config, device),
        "convolution": vgg.convolution_used(config, padded_size(config, (height, width)), device),
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
        styles=inputs.styles,
        init=inputs.init,
        alpha=alpha,
        colours=inputs.colours,
        encoding=encoding,
        provenance=provenance,
        notes=tuple(_notes(config, inputs, weights, output, alpha, encoding, provenance)),
    )


def run(
    job: Job,
    *,
    on_step: Optional[Callable[[Record], object]] = None,
    save_every: int = 0,
    kit: Optional[NetworkKit] = None,
    keeper: Optional[Keeper] = None,
    saved: Optional[Saved] = None,
) -> Outcome:
    """Make the picture of a job, and write it with its sidecar.

    Parameters
    ----------
    job : Job
    on_step : callable, optional
        Called with a `synthesis.Record` after each step. It may raise `StopRequest`.
    save_every : int
        Also write the picture each time this many steps have been made, with the name
        `step_name`; 0 means never.
    kit : NetworkKit, optional
        Shared with other runs; see `transfer`.
    keeper : keeping.Keeper, optional
        Writes checkpoints. An interruption then waits for the end of the step.
    saved : checkpoints.Saved, optional
        The checkpoint to go on from.

    Returns
    -------
    Outcome
        If the user interrupts the run, it has the image so far and the stop reason
        ``interrupted``; after a `StopRequest`, ``stopped``.

    Raises
    ------
    KeyboardInterrupt
        The user interrupted before the first step, so there is nothing to write.
    CheckpointError
        `saved` is not a checkpoint of this run; no step has been made.
    NonFiniteError
        If a step was made before it, the last finite image has been written.
    IncompleteError
        The picture was made, but not every file could be written at its place.
    NstError
        Any other failure; nothing has been written.
    """
    watch = _Watch(job, on_step, save_every, keeper, saved)
    try:
        with watch.deferral:
            outcome = _run(job, watch, kit, saved)
    except IncompleteError as error:
        if not watch.failures:
            raise
        files_left = (
            "1 more file" if len(watch.failures) == 1 else f"{len(watch.failures)} more files"
        )
        raise IncompleteError(
            f"{error} {files_left} could not be written.", error.outcome
        ) from error
    except OutputError as error:
        if keeper is None or not keeper.step:
            raise
        raise OutputError(f"{error} The checkpoint of step {keeper.step} is kept.") from error
    if watch.failures:
        number = len(watch.failures)
        more = f" (and {number - 1} more)" if number > 1 else ""
        raise IncompleteError(
            f"{watch.failures[0]}{more} The picture {outcome.path} is made.", outcome
        )
    return outcome


class _Watch:
    """Follows the steps of a run: passes them on, and saves pictures and checkpoints.

    Attributes
    ----------
    last : Record or None
        The last step.
    failures : list of NstError
        Pictures of steps that could not be written.
    deferral : ExitStack
        Open from the first step on, if interruptions have to wait for the end of a step.
    """

    def __init__(
        self,
        job: Job,
        on_step: Optional[Callable[[Record], object]],
        save_every: int,
        keeper: Optional[Keeper],
        saved: Optional[Saved],
    ) -> None:
        self._job, self._on_step, self._save_every, self._saved = job, on_step, save_every, saved
        self.keeper = keeper
        self._is_interrupted = False
        self.last: Optional[Record] = None
        self.failures: list[NstError] = []
        self.deferral = contextlib.ExitStack()

    def after_step(self, record: Record) -> None:
        if self.keeper is None:
            self._follow(record)
            return
        if self.last is None:
            self.deferral.enter_context(signals.deferred())
        self.keeper.after(record)
        try:
            self._follow(record)
        except KeyboardInterrupt:
            self._is_interrupted = True

    def _follow(self, record: Record) -> None:
        if self.last is None and self._saved:
            # All of it has been copied to the device.
            self._saved.unload()
        self.last = record
        if self._on_step:
            self._on_step(record)
        if self._save_every and record.step % self._save_every == 0:
            try:
                partial = _partial_result(record, "save-every")
                _write_picture(self._job, step_name(self._job.output, record.step), partial)
            except NstError as error:
                self.failures.append(error)

    def on_state(self, export: Callable[[], State]) -> None:
        """Save a checkpoint if it is time to, and raise an interruption that waited for this."""
        if self.keeper:
            self.keeper.offer(export, must=self._is_interrupted)
        if self._is_interrupted:
            raise KeyboardInterrupt


def _run(job: Job, watch: _Watch, kit: Optional[NetworkKit], saved: Optional[Saved]) -> Outcome:
    """Make the picture of a job and write it; an interruption writes the image so far."""
    keeper = watch.keeper
    try:
        result = transfer(
            job.content, job.styles, job.config, init=job.init, on_step=watch.after_step, kit=kit,
            weights=job.weights, on_state=watch.on_state if keeper else None,
            state=saved.state if saved else None, tiles=job.tiles,
        )  # fmt: skip
    except (KeyboardInterrupt, StopRequest) as end:
        if watch.last is None:
            raise
        # The record has the losses before its step; those after it would take another step.
        why = "stopped" if isinstance(end, StopRequest) else "interrupted"
        step = keeper.step if keeper else None
        try:
            outcome = write(job, _partial_result(watch.last, why))
        except IncompleteError as error:
            error.outcome = replace(error.outcome, checkpoint=step)
            raise
        return replace(outcome, checkpoint=step)
    except NonFiniteError as error:
        if error.result.steps:
            error.path = _write_last_finite(job, error.result)
        if keeper:
            keeper.remove()
        raise
    try:
        outcome = write(job, result)
    except KeyboardInterrupt:
        # The image is complete, so write it after all.
        outcome = write(job, replace(result, stop_reason="interrupted"))
    except IncompleteError:
        if keeper:
            keeper.remove()
        raise
    if keeper:
        keeper.remove()
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
    failure, path, pixels = "", job.output, _finished_pixels(job, result)
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
        _check_untouched(job, sidecar_of(path), _is_whole_sidecar)
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
    size = sizes.finished_size(images.size_of(content), config, content)
    scales = len(scale_sizes(config.scales, size))
    return sum(steps_at(config.iterations, scale, scales) for scale in range(1, scales + 1))


def _check_step_names(
    output: str, steps: Sequence[int], protected: Sequence[StrPath], overwrite: bool
) -> None:
    targets = set(map(os.path.realpath, protected))
    for step in steps:
        path = step_name(output, step)
        # There may be hundreds of new names in one folder. Checking the longest is enough.
        if step == steps[-1] or os.path.lexists(path) or os.path.realpath(path) in targets:
            files.check_output(path, protected, overwrite=overwrite, ours=is_picture)


def _write_picture(job: Job, path: str, result: Result) -> None:
    _save(job, path, _finished_pixels(job, result), _document(job, result))


def _finished_pixels(job: Job, result: Result) -> Any:
    return finished_pixels(result.image, job.config, job.colours)


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
    tile_bytes, by_fourier, by_sample, scales = result.tiling
    return {
        "tiling": {
            "megabytes": tile_bytes >> 20,
            "by_fourier": list(by_fourier),
            "by_sample": list(by_sample),
            "scales": [one >> 20 for one in scales],
        }
    }


def _save(job: Job, path: str, pixels: Any, document: dict[str, Any]) -> None:
    """Write a picture, with metadata if its format has room for them."""
    _check_untouched(job, path, is_picture)
    metadata = None
    if job.config.metadata:
        metadata = {**sidecar.carried(document), **job.carried}
        if not _fits(path, pixels.shape[:2], job.alpha, metadata, job.encoding):
            metadata = None
    images.write(path, pixels, job.alpha, metadata, job.encoding)
    job.existing[path] = files.state_of(path)


def _is_whole_sidecar(path: str) -> bool:
    """Return whether a file is a sidecar; one of nst's that was written lately is not damaged."""
    with contextlib.suppress(SidecarError):
        return bool(sidecar.read(path.removesuffix(".json")))
    return False


def _check_untouched(job: Job, path: str, ours: Callable[[str], bool]) -> None:
    files.check_untouched(path, job.existing.get(path), ours)


def _fits(
    path: str,
    size: Sequence[int],
    alpha: Any,
    metadata: Optional[dict[str, Any]],
    encoding: images.Encoding,
) -> bool:
    """Return whether a picture's format has room for its metadata."""
    try:
        height, width = size
        images.check_size(path, height, width, alpha, metadata, encoding)
    except ImageError:
        return False
    return True


def finished_pixels(image: Any, config: Config, colours: Any = None) -> Any:
    """Convert an optimised image to the pixels of the picture.

    It is denoised and gets the content's colours, if the config asks for them.

    Parameters
    ----------
    image : numpy.ndarray, shape (1, 3, H, W)
    config : Config
    colours : numpy.ndarray, shape (H, W, 3), optional
        The content's pixels, for `images.kept.with_colours`.

    Returns
    -------
    numpy.ndarray, shape (H, W, 3), float32
        sRGB, 0 to 255; whole numbers only if nothing was done after `images.to_pixels`.
    """
    if colours is not None:
        pixels = images.to_float_pixels(image)
    else:
        # The authors round before they denoise.
        rounding = "truncate" if config.faithful else "round"
        pixels = images.to_pixels(image, rounding, config.bits).astype(numpy.float32)
        if config.bits == 16:
            pixels /= 257
    if config.denoise:
        pixels = denoise.chambolle(pixels, config.denoise, engine.device_of(config))
    if colours is not None:
        pixels = kept.with_colours(config.keep_colors, pixels, colours)
    return pixels


def _plugins(config: Config, styles: Sequence[StyleImage]) -> dict[str, dict[str, dict[str, str]]]:
    """Return the entry of the packages that methods come from, or none if all are nst's own."""
    packages = plugins.record(named.methods_of(styles, config))
    return {"plugins": packages} if packages else {}


def _notes_of_tiles(config: Config, inputs: Inputs) -> Iterator[str]:
    """Yield what tiles change besides memory and time."""
    size = inputs.content.shape[2:]
    tiling = tiling_for(config, grouped(inputs.styles, size, config), [size])
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
    encoding: images.Encoding,
    provenance: dict[str, Any],
) -> Iterator[str]:
    content, size = inputs.pictures["content"], inputs.content.shape[2:]
    if not weights.path:
        yield (
            "The built-in filter bank stands in for the trained network: colours and brush "
            "strokes come through, objects' textures do not. nst weights fetch gets VGG-19."
        )
    if weights.is_altered():
        yield (
            f"The weights {weights.source} are not the published ones, so they may be damaged: "
            "nst weights fetch replaces them."
        )
    if content.alpha is not None and not images.holds_alpha(output):
        yield f"{output}: JPEG has no transparency, so the content's is left out."
    metadata = sidecar.carried(provenance)
    if provenance["config"]["profile"] == "keep" and encoding.profile is None:
        yield f"{content.path} has no ICC profile to keep, so the picture gets that of sRGB."
    if provenance["config"]["metadata"] and not _fits(output, size, alpha, metadata, encoding):
        yield (
            f"{output}: its format has no room for the metadata, so the picture carries none; the "
            "sidecar has them."
        )
    mode = provenance["config"]["keep_colors"]
    if mode != "off" and kept.is_grey(content.pixels):
        yield (
            f"The content {content.path} is grey, and keep_colors {mode} keeps its colours, so "
            "the picture will be grey."
        )
    yield from inputs.notes
    yield from _notes_of_tiles(config, inputs)
    start = inputs.pictures.get("init")
    if start is not None:
        (height, width), part = start.pixels.shape[:2], images.crop_size(start.pixels.shape, size)
        if part != (height, width):
            yield (
                f"The start image {start.path} has {width} x {height} pixels, and the content's "
                f"shape is {size[1]} x {size[0]}: only its middle of {part[1]} x {part[0]} is "
                "used."
            )
