"""One transfer between files: pictures in, a picture and its sidecar out."""

import json
import os
import platform
from dataclasses import dataclass, replace
from typing import Any

import numpy
import PIL

from .. import __version__, engine, files, images, machine, weights
from ..config import INITS, Config
from ..errors import ImageError, NonFiniteError
from ..synthesis import Result, denoise, transfer
from ..synthesis.memo import make_anew
from . import forecast

#: What every sidecar has, among other things.
KEYS = {"config", "content", "style", "init", "weights", "stop_reason"}
#: The stop reasons of runs that came to their end.
FINISHED = ("converged", "iterations", "stalled")


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
        What the user should be told, one line each.
    """

    config: Config
    output: str
    content: Any
    style: Any
    init: Any
    alpha: Any
    provenance: dict
    notes: tuple


@dataclass(frozen=True)
class Inputs:
    """The pictures of a transfer, read and brought to its size.

    Attributes
    ----------
    content, style : numpy.ndarray, shape (1, 3, H, W)
        Network input.
    init : numpy.ndarray or None
        The start image where it is a picture.
    pictures : dict of str to images.Picture
        What was read, under the same names; ``init`` where there is one.
    """

    content: Any
    style: Any
    init: Any
    pictures: dict


@dataclass(frozen=True)
class Outcome:
    """A picture that was made.

    Attributes
    ----------
    path, sidecar : str
    result : optimise.Result
    """

    path: str
    sidecar: str
    result: Result


def prepare(content, style, output, config, *, save_every=0, log=None, recall=make_anew):
    """Read and check everything that a transfer needs, before the long work.

    Parameters
    ----------
    content, style : path-like
        Pictures.
    output : path-like
        The picture to make; its ending tells the format.
    config : Config
    save_every : int
        As `run` will get it.
    log : path-like, optional
        Another file that the caller will write.
    recall : callable, optional
        A `memo.Memo`, by which one run after another looks at the same weights once.

    Returns
    -------
    Job

    Raises
    ------
    ImageError, WeightsError, EngineError
        An input cannot be used, or memory will not do.
    OutputError
        An output cannot be written, or would overwrite an input or another output.
    """
    output = os.fspath(output)
    start = () if config.init in INITS else (config.init,)
    which = weights.find(config.weights or None)
    paths = [content, style, *start] + [which] * (which != weights.BUILTIN)
    images.check_ending(output)
    files.check_output(output, paths)
    files.check_output(sidecar_of(output), paths)
    if log:
        files.check_output(log, (*paths, output, sidecar_of(output)))
    for step in range(save_every, config.iterations + 1, save_every) if save_every else ():
        _check_step(step_name(output, step), (*paths, *([log] if log else [])))
    # Before MXNet, which takes seconds to load.
    weights.load(which)
    return assemble(read_inputs(content, style, config), output, config, recall)


def read_inputs(content, style, config):
    """Read the pictures that a transfer starts from.

    Parameters
    ----------
    content, style : path-like
    config : Config

    Returns
    -------
    Inputs

    Raises
    ------
    ImageError
        A picture cannot be used.
    EngineError
        A transfer of that size would not fit into memory.
    """
    paths = {"content": content, "style": style}
    if config.init not in INITS:
        paths["init"] = config.init
    limits = {"long_edge": config.size, "max_pixels": config.max_pixels}
    return fitted({name: images.read(path, **limits) for name, path in paths.items()}, config)


def fitted(pictures, config):
    """Return as `Inputs` the pictures that have been read, ``{"content": Picture, …}``.

    Raises
    ------
    ImageError
        A side would be too small.
    EngineError
        A transfer of that size would not fit into memory.
    """
    content, style = pictures["content"], pictures["style"]
    size = images.fit(content.pixels.shape, config.size, content.path)
    sizes = {"content": size, "style": size, "init": size}
    if config.style_fit == "keep":
        sizes["style"] = images.fit(style.pixels.shape, config.size, style.path)
    # Before they are brought to a size that would not fit.
    forecast.check_memory(config, size, sizes["style"])
    made = {name: _network_input(pictures[name], sizes[name], config) for name in pictures}
    return Inputs(made["content"], made["style"], made.get("init"), pictures)


def assemble(inputs, output, config, recall=make_anew):
    """Return a `Job` for pictures that have been read, after a look at machine and weights.

    Parameters
    ----------
    inputs : Inputs
    output : str
    config : Config
    recall : callable, optional
        As in `prepare`.

    Raises
    ------
    WeightsError, EngineError
    """
    which = weights.find(config.weights or None)
    identity = recall(("identity", which), lambda: weights.identity(which))
    device = engine.device_of(config)
    height, width = inputs.content.shape[2:]
    alpha = inputs.pictures["content"].alpha
    if alpha is not None:
        alpha = images.resize(alpha, (height, width))
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
        notes=(*_notes(which, output, alpha), *_stretching(inputs)),
    )


def run(job, *, on_step=None, save_every=0, at_once=True, recall=make_anew):
    """Make the picture of a job, and write it with its sidecar.

    Parameters
    ----------
    job : Job
    on_step : callable, optional
        Called with an `optimise.Record` after each step.
    save_every : int
        Also write the picture after every so many steps, under the name `step_name` gives; 0
        means never.
    at_once : bool
        As `optimise.transfer` takes it; an interruption then saves the last image recorded.
    recall : callable, optional
        As `optimise.transfer` takes it.

    Returns
    -------
    Outcome
        Where the user interrupts, of the image so far, with ``interrupted`` as stop reason.

    Raises
    ------
    KeyboardInterrupt
        Interrupted before the first step, so that there is nothing to write.
    NonFiniteError
        The last good image, if a step was made, has been written.
    NstError
        Anything else that went wrong; nothing has been written.
    """
    last = None

    def after_step(record):
        nonlocal last
        last = record
        if on_step:
            on_step(record)
        if save_every and record.step % save_every == 0:
            made = _so_far(record, "save-every")
            _write_picture(job, step_name(job.output, record.step), made)

    try:
        result = transfer(
            job.content, job.style, job.config, init=job.init, on_step=after_step,
            at_once=at_once, recall=recall,
        )  # fmt: skip
    except KeyboardInterrupt:
        if last is None:
            raise
        # The losses at this very image would take another step's time to know.
        result = _so_far(last, "interrupted")
    except NonFiniteError as error:
        if error.result.steps:
            write(job, error.result)
        raise
    try:
        return write(job, result)
    except KeyboardInterrupt:
        # The work is done, so the picture is finished for whoever can wait no longer.
        return write(job, replace(result, stop_reason="interrupted"))


def _so_far(record, reason):
    return Result(record.image, record.step, reason, record.losses, record.beta)


def write(job, result):
    """Write a result's picture and sidecar, each whole or not at all; return the `Outcome`."""
    document = _write_picture(job, job.output, result)
    sidecar = sidecar_of(job.output)
    try:
        with (
            files.replacing(sidecar) as temporary,
            open(temporary, "w", encoding="utf-8") as stream,
        ):
            json.dump(document, stream, indent=2)
            stream.write("\n")
    except OSError as error:
        raise ImageError(f"Cannot write {sidecar}: {error.strerror}.") from error
    return Outcome(job.output, sidecar, result)


def _check_step(path, others):
    # Hundreds of names in one folder: what else may be wrong with them is known from the output.
    if os.path.lexists(path):
        files.check_output(path, others)


def is_made(output, config, inputs):
    """Tell whether a picture is what a transfer would make, from what it and its sidecar say.

    Parameters
    ----------
    output : path-like
    config : Config
    inputs : dict of str to str
        SHA-256 of ``content``, ``style``, ``weights`` and, where it is a picture, ``init``.
    """
    try:
        document = read_sidecar(output)
        embedded = images.read_metadata(output)
    except ImageError:
        return False
    found = {name: document.get(name) for name in ("content", "style", "init", "weights")}
    sums = {name: entry["sha256"] for name, entry in found.items() if entry}
    return (
        document == embedded
        and document["stop_reason"] in FINISHED
        and sums == inputs
        and _without_paths(document["config"]) == _without_paths(config.to_dict())
    )


def _without_paths(choices):
    # Inputs go by their content, wherever they lie and however large they may be.
    init = choices["init"]
    init = init if init in INITS else None
    return {**choices, "weights": None, "init": init, "max_pixels": None}


def read_sidecar(output):
    """Return the sidecar of a picture as a dict.

    Raises
    ------
    ImageError
        It is not there or cannot be understood.
    """
    sidecar = sidecar_of(output)
    try:
        with open(sidecar, encoding="utf-8") as stream:
            document = json.load(stream)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not JSON"
        raise ImageError(f"Cannot read {sidecar}: {reason}.") from error
    if not isinstance(document, dict) or not KEYS <= document.keys():
        raise ImageError(f"Cannot read {sidecar}: it is not of nst's making.")
    return document


def sidecar_of(output):
    """Return the path of the JSON file beside a picture, ``OUT.png.json``."""
    return f"{output}.json"


def log_of(output):
    """Return the path of the log beside a picture of a batch, ``OUT.png.jsonl``."""
    return f"{output}.jsonl"


def step_name(output, step):
    """Return the path of the picture after a step: ``OUT-00100.png`` beside ``OUT.png``."""
    stem, ending = os.path.splitext(output)
    return f"{stem}-{step:05d}{ending}"


def _write_picture(job, path, result):
    pixels = finished(result.image, job.config)
    document = dict(
        job.provenance,
        steps=result.steps,
        stop_reason=result.stop_reason,
        beta=result.beta,
        losses=result.losses,
    )
    images.write(path, pixels, job.alpha, document)
    return document


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


def _network_input(picture, size, config):
    pixels = images.resize(picture.pixels, size)
    return images.to_input(pixels, 256 if config.faithful else 255)


def _identity(picture):
    return picture and {"path": picture.path, "sha256": picture.sha256}


def _notes(which, output, alpha):
    if which == weights.BUILTIN:
        yield (
            "The built-in filter bank stands in for the trained network: colours and brush "
            "strokes come through, objects' textures do not. nst weights fetch gets VGG-19."
        )
    if alpha is not None and not images.holds_alpha(output):
        yield f"{output}: JPEG has no transparency, so the content's is left out."


def _stretching(inputs):
    """Yield a note if the start image has another shape than the content, to within a pixel."""
    start, (height, width) = inputs.pictures.get("init"), inputs.content.shape[2:]
    if start is None:
        return
    rows, columns = start.pixels.shape[:2]
    if abs(rows * width / columns - height) > 1:
        yield (
            f"{start.path} has {columns} x {rows} pixels and is stretched to the content's shape, "
            f"{width} x {height}; crop it first if that is not what you want."
        )
