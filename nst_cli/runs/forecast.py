"""Predicts what a run will take: memory from a fitted model, time from a short trial."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from .. import engine, images
from ..config import LAYERS, Config
from ..errors import EngineError
from ..synthesis import lbfgs, scale_sizes, steps_at, transfer, vgg
from ..synthesis.memory import (
    FIXED_BYTES,
    SAFETY_FACTOR,
    Size,
    available,
    memory,
    most_own_values,
    values_per_pixel,
)
from ..weights import Weights

# MXNet indexes arrays with 31 bits.
_MAX_VALUES = 2**31 - 1

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
    seconds = sum(
        first(size) + max(count - 1, 0) * later(size) for size, count in zip(sizes, steps)
    )
    return Forecast(
        sizes=sizes,
        steps=steps,
        memory=round(SAFETY_FACTOR * memory(config, content.shape[2:], style.shape[2:])),
        free=available(device),
        step_seconds=later(sizes[-1]),
        seconds=seconds,
    )


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
    needed = SAFETY_FACTOR * memory(config, size, style_size)
    values = _largest_array(config, size, style_size)
    share = _MAX_VALUES / values
    if free is not None and needed > free:
        fixed = SAFETY_FACTOR * FIXED_BYTES
        share = min(share, max(free - fixed, 0) / (needed - fixed))
        raise EngineError(
            f"Not enough memory for size {config.size}: it takes up to {_gigabytes(needed)}, and "
            f"{_gigabytes(free)} are available; {_advice(config, share)}."
        )
    if share < 1:
        raise EngineError(
            f"Size {config.size} is too large for MXNet: an array would have {values:.2g} values, "
            f"and MXNet can hold {_MAX_VALUES:.2g}; {_advice(config, share)}."
        )


def _advice(config: Config, share: float) -> str:
    """Return the advice for a run of which only a share of the pixels would fit."""
    fitting = math.floor(config.size * math.sqrt(share))
    return (
        f"--size {fitting} would fit" if fitting >= images.MIN_SIDE else "free some memory first"
    )


def _largest_array(config: Config, size: Size, style_size: Size) -> float:
    """Return the number of values in the largest array of a transfer."""
    layers = [values_per_pixel(LAYERS[0])]
    if config.gamma:
        layers += [most_own_values(config, method) for method in config.methods]
    history = 0
    if config.optimizer == "lbfgs":
        history = 2 * 3 * lbfgs.history_of(3 * math.prod(size))
    pixels, style_pixels = math.prod(size), math.prod(style_size)
    pairs_of_samples = config.samples**2 if "remd" in config.methods else 0
    return max(max(layers) * max(pixels, style_pixels), history * pixels, pairs_of_samples)


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
    choices = replace(config, scales=1, iterations=_TRIAL_STEPS, stop_eps=0, stop_decrease=0)
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
