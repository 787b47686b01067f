"""How fast this machine is: preset `paper`, and `fast` to the loss at which it ends."""

import concurrent.futures
import multiprocessing
import statistics
import tempfile
import time
from dataclasses import dataclass
from typing import Any, Optional

import numpy

from . import engine, images, machine, samples
from .config import Config
from .synthesis import transfer
from .synthesis.kit import NetworkKit

# The Gaussian MMD draws pairs at random, so its loss is a mean over as many draws. A single one
# scatters by a quarter.
_DRAWS = 100


@dataclass(frozen=True)
class Row:
    """What one run took.

    Attributes
    ----------
    size : (int, int)
        Height and width of the picture made.
    method, preset, precision : str
    steps : int
        To the loss, over all scales.
    step_seconds : float
        Median of a step at the full size.
    seconds : float or None
        From the call to the loss at which preset `paper` ends; None where it is not reached.
    loss_ratio : float
        Final loss over that of preset `paper`, both judged in float32.
    memory : int or None
        The process's peak, in bytes.
    """

    size: tuple
    method: str
    preset: str
    precision: str
    steps: int
    step_seconds: float
    seconds: Optional[float]
    loss_ratio: float
    memory: Optional[int]


@dataclass(frozen=True)
class Timed:
    """A run with the moment of each step.

    Attributes
    ----------
    result : optimise.Result
    moments : list of float
        Seconds from the call, set-up included, to the end of each step.
    images : numpy.ndarray, shape (K, 1, 3, H, W)
        After each of the last K steps, those at the full size.
    memory : int or None
        Peak of the process so far, in bytes.
    precision : str
        Of the convolutions.
    """

    result: Any
    moments: list
    images: Any
    memory: int
    precision: str

    @property
    def step_seconds(self):
        """Median over the steps at the full size, of which the first pays for allocations."""
        full = self.moments[-len(self.images) :]
        return statistics.median([b - a for a, b in zip(full, full[1:])][1:])


def pictures(size, content=samples.CONTENT, style=samples.STYLES[0]):
    """Return a pair as network input, the style squeezed to the content's size."""
    pair = images.read(content), images.read(style)
    shape = images.fit(pair[0].pixels.shape, size, pair[0].path)
    return [images.to_input(images.resize(picture.pixels, shape)) for picture in pair]


def rows(content, style, method, device="auto"):
    """Run both presets on a pair, each in a process of its own.

    Parameters
    ----------
    content, style : numpy.ndarray, shape (1, 3, H, W)
    method, device : str
        As in `Config`.

    Yields
    ------
    Row
        Of preset `paper`, then of `fast`.
    """
    choices = {"method": method, "device": device}
    paper = Config(**choices)
    target = None
    for config in (paper, Config(preset="fast", **choices)):
        run = apart(timed, content, style, config)
        final = judged(run.result.image, content, style, paper)
        if target is None:
            target, reached = final, len(run.moments) - 1
        else:
            reached = first_below(target, run, lambda image: judged(image, content, style, paper))
        yield Row(
            size=content.shape[2:],
            method=method,
            preset=config.preset,
            precision=run.precision,
            steps=run.result.steps if reached is None else reached + 1,
            step_seconds=run.step_seconds,
            seconds=None if reached is None else run.moments[reached],
            loss_ratio=final / target,
            memory=run.memory,
        )


def apart(function, *arguments):
    """Call a function in a new process, whose peak memory is its own."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(function, *arguments).result()


def timed(content, style, config):
    """Run a transfer; return it as `Timed`."""
    moments, kept = [], 0
    # In a file, because hundreds of images would count as memory that the run needs.
    with tempfile.TemporaryFile() as stream:
        device = engine.device_of(config)
        began = time.perf_counter()

        def on_step(record):
            nonlocal kept
            moments.append(time.perf_counter() - began)
            if record.scale == record.scales:
                stream.write(record.image.tobytes())
                kept += 1

        result = transfer(content, style, config, on_step=on_step)
        memory = machine.peak_memory()
        stream.seek(0)
        values = numpy.fromfile(stream, numpy.float32).reshape((kept, *content.shape))
    precision = engine.resolved_precision(config.precision, device)
    return Timed(result, moments, values, memory, precision)


def judged(image, content, style, config):
    """Return the objective of a float32 `config` at an image."""
    seeds = range(_DRAWS if "gaussian" in config.methods else 1)
    choices, kit = dict(config.to_dict(), iterations=0), NetworkKit()
    losses = []
    for seed in seeds:
        settings = Config(**dict(choices, seed=seed))
        losses.append(transfer(content, style, settings, init=image, kit=kit).losses["total"])
    return statistics.fmean(losses)


def first_below(target, run, judge):
    """Return the index of the first full-size step at or below a loss that falls, or None."""
    first = len(run.moments) - len(run.images)
    if judge(run.images[-1]) > target:
        return None
    low, high = 0, len(run.images) - 1
    while low < high:
        middle = (low + high) // 2
        if judge(run.images[middle]) <= target:
            high = middle
        else:
            low = middle + 1
    return first + low
