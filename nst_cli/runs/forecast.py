"""Predicts what a run will take: memory from a fitted model, time from a short trial."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from .. import engine, images
from ..config import Config
from ..errors import EngineError
from ..synthesis import lbfgs, scale_sizes, steps_at, tiles, transfer, vgg
from ..synthesis.memory import (
    MAX_VALUES,
    Size,
    available,
    largest_map,
    memory_at_most,
    tile_bytes,
    values_per_pixel,
)
from ..weights import Weights

# Long edges of the trials. Time is linear in the number of pixels, plus a small constant.
_TRIAL_EDGE, _SMALLEST_TRIAL_EDGE = 320, 80
_TRIAL_STEPS = 7


@dataclass(frozen=True)
class Forecast:
    """The predicted memory and time of a run.

    Attributes
    ----------
    sizes : list of (int, int)
        Height and width at each scale, the smallest first.
    steps : list of int
        Maximum number of steps at each scale.
    memory : int
        Peak memory of the process, in bytes.
    free : int or None
        Bytes available to the process, including those it uses already; None if unknown.
    step_seconds : float
        Time of one step at the full size.
    seconds : float
        Time of a call of `transfer` that makes all steps.
    """

    sizes: list[tuple[int, int]]
    steps: list[int]
    memory: int
    free: Optional[int]
    step_seconds: float
    seconds: float


def forecast(
    content: Any, style: Any, config: Config, weights: Optional[Weights] = None
) -> Forecast:
    """Predict memory and time of a transfer, after a trial of a few seconds.

    Parameters
    ----------
    content, style : numpy.ndarray, shape (1, 3, H, W)
        As for `synthesis.transfer`.
    config : Config
    weights : Weights, optional
        As for `synthesis.transfer`.

    Returns
    -------
    Forecast
    """
    device = engine.device_of(config)
    sizes = scale_sizes(config.scales, content.shape[2:])
    steps = [steps_at(config.iterations, n, len(sizes)) for n in range(1, len(sizes) + 1)]
    first, later = _trial(content, style, config, weights)
    style_sizes = [_style_size(size, content, style) for size in sizes]
    work = [_work(config, *both, device) for both in zip(sizes, style_sizes)]
    seconds = sum(
        factor * (first(size) + max(count - 1, 0) * later(size))
        for factor, size, count in zip(work, sizes, steps)
    )
    # A smaller scale may take more memory without tiles than the last takes in tiles.
    peak = max(memory_at_most(config, *both) for both in zip(sizes, style_sizes))
    return Forecast(
        sizes=sizes,
        steps=steps,
        memory=round(peak),
        free=available(device),
        step_seconds=work[-1] * later(sizes[-1]),
        seconds=seconds,
    )


def _style_size(size: Size, content: Any, style: Any) -> Size:
    """Return the size of the style image at a scale whose content has a size."""
    factor = size[0] / content.shape[2]
    height, width = (max(vgg.SMALLEST_SIDE, round(side * factor)) for side in style.shape[2:])
    return height, width


def _work(config: Config, size: Size, style_size: Size, device: Any) -> float:
    """Return how many times the time of an untiled step one takes at a size."""
    tile = tile_bytes(config, size, style_size, device)
    layers = (*config.style_layers, *config.content_layers)
    value = tiles.value_bytes(engine.precision_of(config, device), device)
    return tiles.work((1, 3, *size), layers, tile, value) if tile else 1.0


def check_memory(config: Config, size: Size, style_size: Size) -> None:
    """Check, before the long work, that a transfer fits into memory.

    Parameters
    ----------
    config : Config
    size, style_size : (int, int)
        Height and width of the content image and of the style image.

    Raises
    ------
    EngineError
        It does not fit; the message names a size that would.
    """
    free = available(engine.device_of(config))
    needed = memory_at_most(config, size, style_size)
    if free is not None and needed > free:

        def fits(share: float) -> bool:
            both = (_scaled(one, share) for one in (size, style_size))
            return memory_at_most(config, *both) <= free

        raise EngineError(
            f"Not enough memory for size {config.size}: it takes up to {_gigabytes(needed)}, and "
            f"{_gigabytes(free)} are available; {_advice(config, fits)}."
        )
    values = _largest_array(config, size, style_size)
    if values > MAX_VALUES:
        most = math.sqrt(MAX_VALUES / values)
        raise EngineError(
            f"Size {config.size} is too large for MXNet: an array would have {values:.2g} values, "
            f"and MXNet can hold {MAX_VALUES:.2g}; {_advice(config, lambda s: s <= most)}."
        )


def _advice(config: Config, fits: Callable[[float], bool]) -> str:
    """Return the advice for a run that does not fit.

    Parameters
    ----------
    config : Config
    fits : callable
        Takes a factor of the size, and returns whether it would fit.
    """
    most, least = config.size, images.MIN_SIDE - 1
    while most - least > 1:
        middle = (most + least) // 2
        if fits(middle / config.size):
            least = middle
        else:
            most = middle
    return f"--size {least} would fit" if least >= images.MIN_SIDE else "free some memory first"


def _scaled(size: Size, factor: float) -> Size:
    height, width = (max(1, round(side * factor)) for side in size)
    return height, width


def _largest_array(config: Config, size: Size, style_size: Size) -> float:
    """Return the number of values in the largest array of a transfer."""
    pixels, history = math.prod(size), 0
    if config.optimizer == "lbfgs":
        history = 2 * 3 * lbfgs.history_of(3 * pixels)
    maps = largest_map(config, size, style_size)
    if tile_bytes(config, size, style_size, engine.device_of(config)):
        # Whole maps are kept after the second pooling, and of the content.
        kept = max(map(values_per_pixel, ("relu3_1", *config.content_layers)))
        maps = kept * max(pixels, math.prod(style_size))
    pairs_of_samples = config.samples**2 if "remd" in config.methods else 0
    return max(maps, history * pixels, pairs_of_samples)


def _trial(
    content: Any, style: Any, config: Config, weights: Optional[Weights]
) -> list[Callable[[Sequence[int]], float]]:
    """Return two functions of a size: the seconds until the first step ends, and of a later step.

    The first includes the preparation before the steps.
    """
    longest = max(content.shape[2:])
    edges = [min(longest, _TRIAL_EDGE)]
    if edges[0] >= 2 * _SMALLEST_TRIAL_EDGE:
        # The two sizes differ enough for a line through both points.
        edges.insert(0, edges[0] // 2)
    trials = []
    for edge in edges:
        small, small_style = (_shrunk(image, edge / longest) for image in (content, style))
        trials.append((math.prod(small.shape[2:]), *_timed(small, small_style, config, weights)))
    return [_line([(row[0], row[n]) for row in trials]) for n in (1, 2)]


def _shrunk(image: Any, factor: float) -> Any:
    size = [max(vgg.SMALLEST_SIDE, round(side * factor)) for side in image.shape[2:]]
    return images.resize_input(image, size)


def _timed(
    content: Any, style: Any, config: Config, weights: Optional[Weights]
) -> tuple[float, float]:
    """Return the seconds until the first step ends, and those of a later step."""
    moments: list[float] = []
    init = content if config.init not in ("random", "content") else None
    choices = replace(
        config, scales=1, tile="off", iterations=_TRIAL_STEPS, stop_eps=0, stop_decrease=0
    )
    began = time.perf_counter()
    transfer(
        content, style, choices, init=init, weights=weights,
        on_step=lambda record: moments.append(time.perf_counter()),
    )  # fmt: skip
    # L-BFGS makes no step from a stationary point.
    first = (moments[0] if moments else time.perf_counter()) - began
    steps = [later - earlier for earlier, later in zip(moments, moments[1:])]
    return first, statistics.median(steps or [first])


def _line(points: Sequence[tuple[int, float]]) -> Callable[[Sequence[int]], float]:
    """Return seconds as a function of a size: linear in pixels through two (pixels, seconds).

    If only one point is given, the line passes through the origin.
    """
    (x1, y1), (x2, y2) = ((0, 0.0), *points)[-2:]
    slope = max(y2 - y1, 0) / (x2 - x1)

    def seconds(size: Sequence[int]) -> float:
        pixels = math.prod(size)
        value = y1 + slope * (pixels - x1)
        # Below both points the line could reach 0.
        return max(value, y1 * pixels / x1) if pixels < x1 else value

    return seconds


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
