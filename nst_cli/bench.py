"""Measures this machine: preset `paper`, and preset `fast` until it reaches the same loss."""

import concurrent.futures
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import numpy

from . import engine, images, machine, samples
from .config import Config
from .synthesis import Record, Result, transfer
from .synthesis.kit import NetworkKit

# The Gaussian MMD draws pairs at random, and its loss varies by a quarter from draw to draw. So
# final losses are the mean over this many draws.
_DRAWS = 100


@dataclass(frozen=True)
class Row:
    """The measurements of one run.

    Attributes
    ----------
    size : (int, int)
        Height and width of the picture.
    method, preset, precision : str
    steps : int
        Until the final loss of preset `paper`, over all scales; all steps if it is not reached.
    all_steps : int
        Until the run's own end.
    step_seconds : float
        Median time of a step at full size.
    seconds : float or None
        From the call to the final loss of preset `paper`; None if it is not reached.
    whole_seconds : float
        From the start of the process to the end of the run.
    loss_ratio : float
        Final loss divided by that of preset `paper`, both evaluated in float32.
    memory : int or None
        Peak of the process in bytes; None if unknown.
    """

    size: tuple[int, int]
    method: str
    preset: str
    precision: str
    steps: int
    all_steps: int
    step_seconds: float
    seconds: Optional[float]
    whole_seconds: float
    loss_ratio: float
    memory: Optional[int]


@dataclass(frozen=True)
class Timed:
    """A run, with the time and the image of each step.

    Attributes
    ----------
    result : synthesis.Result
    moments : list of float
        Seconds from the call, set-up included, to the end of each step.
    whole_seconds : float
        From `began` of `timed` to the end of the run.
    images : numpy.ndarray, shape (K, 1, 3, H, W)
        The images after the K steps at full size, which are the last ones.
    memory : int or None
        Peak of the process so far in bytes; None if unknown.
    precision : str
        The precision of the convolutions.
    """

    result: Result
    moments: list[float]
    whole_seconds: float
    images: numpy.ndarray
    memory: Optional[int]
    precision: str

    @property
    def step_seconds(self) -> float:
        """Median over the steps at full size, without the first, which allocates memory."""
        full = self.moments[-len(self.images) :]
        return statistics.median([b - a for a, b in zip(full, full[1:])][1:])


def pictures(
    size: int,
    content: Union[str, Path] = samples.CONTENT,
    style: Union[str, Path] = samples.STYLES[0],
) -> list[numpy.ndarray]:
    """Return a pair as network input, with the style squeezed to the content's size."""
    pair = images.read(content), images.read(style)
    shape = images.fit(pair[0].pixels.shape, size, pair[0].path)
    return [images.to_input(images.resize(picture.pixels, shape)) for picture in pair]


def rows(
    content: numpy.ndarray, style: numpy.ndarray, method: str, device: str = "auto"
) -> Iterator[Row]:
    """Run presets `paper` and `fast` on a pair, each in a new process.

    Parameters
    ----------
    content, style : numpy.ndarray, shape (1, 3, H, W)
    method, device : str
        As in `Config`.

    Yields
    ------
    Row
        First for preset `paper`, then for `fast` without a margin, so that both have the same
        objective.
    """
    paper = Config(method=method, device=device)
    fast = Config(preset="fast", method=method, device=device, margin=0)
    target = None
    for config in (paper, fast):
        run = in_new_process(timed, content, style, config, time.monotonic())
        final = final_loss(run.result.image, content, style, paper)
        if target is None:
            target = final
            reached: Optional[int] = len(run.moments) - 1
        else:
            reached = first_below(
                target, run, lambda image: final_loss(image, content, style, paper)
            )
        yield Row(
            size=(content.shape[2], content.shape[3]),
            method=method,
            preset=config.preset,
            precision=run.precision,
            steps=run.result.steps if reached is None else reached + 1,
            all_steps=run.result.steps,
            step_seconds=run.step_seconds,
            seconds=None if reached is None else run.moments[reached],
            whole_seconds=run.whole_seconds,
            loss_ratio=final / target,
            memory=run.memory,
        )


def in_new_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new process, so that its peak memory can be measured."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(function, *arguments).result()


def timed(
    content: numpy.ndarray, style: numpy.ndarray, config: Config, began: Optional[float] = None
) -> Timed:
    """Run a transfer and return it as `Timed`.

    Parameters
    ----------
    content, style : numpy.ndarray
    config : Config
    began : float, optional
        When the whole began, by `time.monotonic`; by default, now. All processes of a machine
        share this clock.
    """
    began = time.monotonic() if began is None else began
    moments: list[float] = []
    count = 0
    # Images go to a file, because in memory they would add to the peak that is measured.
    with tempfile.TemporaryFile() as stream:
        device = engine.device_of(config)
        called = time.perf_counter()

        def on_step(record: Record) -> None:
            nonlocal count
            moments.append(time.perf_counter() - called)
            if record.scale == record.scales:
                stream.write(record.image.tobytes())
                count += 1

        result = transfer(content, style, config, on_step=on_step)
        whole = time.monotonic() - began
        memory = machine.peak_memory()
        stream.seek(0)
        values = numpy.fromfile(stream, numpy.float32).reshape((count, *content.shape))
    precision = engine.precision_of(config, device)
    return Timed(result, moments, whole, values, memory, precision)


def final_loss(
    image: numpy.ndarray, content: numpy.ndarray, style: numpy.ndarray, config: Config
) -> float:
    """Return the objective of `config` at an image; its precision should be float32."""
    seeds = range(_DRAWS if "gaussian" in config.methods else 1)
    choices, kit = dict(config.to_dict(), iterations=0), NetworkKit()
    losses = []
    for seed in seeds:
        settings = Config(**dict(choices, seed=seed))
        losses.append(transfer(content, style, settings, init=image, kit=kit).losses["total"])
    return statistics.fmean(losses)


def first_below(
    target: float, run: Timed, loss_of: Callable[[numpy.ndarray], float]
) -> Optional[int]:
    """Return the index of the first full-size step with at most this loss, or None.

    The search bisects, so it assumes that the loss falls from step to step.
    """
    first = len(run.moments) - len(run.images)
    if loss_of(run.images[-1]) > target:
        return None
    low, high = 0, len(run.images) - 1
    while low < high:
        middle = (low + high) // 2
        if loss_of(run.images[middle]) <= target:
            high = middle
        else:
            low = middle + 1
    return first + low
