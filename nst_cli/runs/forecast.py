"""Predicts what a run will take: memory from a fitted model, time from a short trial."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Optional

from .. import engine, images, machine
from ..config import INITS, Config
from ..errors import EngineError, ShortageError
from ..synthesis import basis, lbfgs, masks, scale_sizes, steps_at, transfer, vgg
from ..synthesis.margin import padded_size
from ..synthesis.memory import (
    MAX_MAP_VALUES,
    MAX_VALUES,
    Size,
    available,
    largest_map,
    memory_at_most,
    scaled,
    tile_bytes,
    tiles_at,
    values_per_pixel,
    work_in_tiles,
)
from ..synthesis.styles import StyleImage, grouped
from ..weights import Weights
from . import sizes as dimensions

# Long edges of the trials. Time is linear in the number of pixels, plus a small constant.
_TRIAL_EDGE, _SMALLEST_TRIAL_EDGE = 320, 80
_TRIAL_STEPS = 7

# How often the range of sizes that may fit is halved.
_HALVINGS = 24


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
    tiles : list of int
        Bytes of a tile at each scale, 0 for one without tiles.
    """

    sizes: list[tuple[int, int]]
    steps: list[int]
    memory: int
    free: Optional[int]
    step_seconds: float
    seconds: float
    tiles: list[int]


def forecast(
    content: Any, styles: Any, config: Config, weights: Optional[Weights] = None
) -> Forecast:
    """Predict memory and time of a transfer, after a trial of a few seconds.

    Parameters
    ----------
    content : numpy.ndarray, shape (1, 3, H, W)
        As for `synthesis.transfer`.
    styles : numpy.ndarray or sequence of StyleImage
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
    terms = _terms(styles, content.shape[2:], config)
    shapes = sorted((image.shape[2:] for image in _images(styles)), key=math.prod, reverse=True)
    first, later = _trial(content, styles, config, weights)
    padded_sizes = [padded_size(config, size) for size in sizes]
    at_scales = [
        (size, *(scaled(shape, size[0] / content.shape[2]) for shape in shapes)) for size in sizes
    ]
    at_tiles = tiles_at(config, sizes, *shapes, **terms)
    work = [work_in_tiles(config, size, tile) for size, tile in zip(sizes, at_tiles)]
    transforms = [_transform_seconds(config, size) for size in padded_sizes]
    seconds = sum(
        factor * (first(size) + max(count - 1, 0) * later(size)) + max(count, 1) * further
        for factor, size, count, further in zip(work, padded_sizes, steps, transforms)
    )
    # A smaller scale may take more memory without tiles than the last takes in tiles.
    peak = max(memory_at_most(config, *each, **terms) for each in at_scales)
    return Forecast(
        sizes=sizes,
        steps=steps,
        memory=round(peak),
        free=available(device),
        step_seconds=work[-1] * later(padded_sizes[-1]) + transforms[-1],
        seconds=seconds,
        tiles=at_tiles,
    )


def check_memory(
    config: Config,
    size: Size,
    style_size: Size,
    *more: Size,
    groups: int = 1,
    masked: bool = False,
) -> None:
    """Check, before the long work, that a transfer fits into memory.

    Parameters
    ----------
    config : Config
    size, style_size : (int, int)
        Height and width of the content image and of the style image, the largest of several.
    *more : (int, int)
        Sizes of further style images.
    groups, masked : int, bool
        As in `memory`.

    Raises
    ------
    ShortageError
        It does not fit; the message names a size that would.
    """
    free = available(engine.device_of(config))
    style_sizes = style_size, *more
    terms: dict[str, Any] = {"groups": groups, "masked": masked}
    needed = memory_at_most(config, size, *style_sizes, **terms)
    pixels = f"{size[1]} x {size[0]} pixels"
    if free is not None and needed > free:

        def fits(factor: float) -> bool:
            smaller = (scaled(one, factor) for one in (size, *style_sizes))
            return memory_at_most(config, *smaller, **terms) <= free

        raise ShortageError(
            f"Not enough memory for {pixels}: the run takes up to {_gigabytes(needed)}, and "
            f"{_gigabytes(free)} are available{_within()}",
            _advice(config, size, fits),
        )
    values, most = _largest_array(config, size, *style_sizes, **terms)
    if values > most:

        def small_enough(factor: float) -> bool:
            smaller = (scaled(one, factor) for one in (size, *style_sizes))
            largest, limit = _largest_array(config, *smaller, **terms)
            return largest <= limit

        raise EngineError(
            f"A picture of {pixels} is too large for MXNet: an array would have {values:.2g} "
            f"values, and MXNet can hold {most:.2g}; {_advice(config, size, small_enough)}."
        )


def _within() -> str:
    """Return which limits of the process apply, for a message."""
    commands = [command for command, _, _ in machine.process_limits()]
    return f" within {' and '.join(commands)}" if commands else ""


def _advice(config: Config, size: Size, fits: Callable[[float], bool]) -> str:
    """Return the advice for a run that does not fit.

    Parameters
    ----------
    config : Config
    size : (int, int)
    fits : callable
        Takes a factor of the size below 1, and returns whether it would fit.
    """
    least, most = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (least + most) / 2
        least, most = (middle, most) if fits(middle) else (least, middle)
    long_edge, ratio = Fraction(max(size)), Fraction(least)
    if long_edge * ratio < images.MIN_SIDE:
        return "free some memory first"
    return f"{dimensions.resized_option(config, long_edge, ratio)} would fit"


def _largest_array(
    config: Config, size: Size, style_size: Size, *more: Size, **terms: Any
) -> tuple[float, int]:
    """Return the number of values in the array nearest to its limit, and the limit."""
    pixels, history = math.prod(padded_size(config, size)), 0
    if config.optimizer == "lbfgs":
        history = lbfgs.matrix_values(pixels)
    maps, limit = largest_map(config, size, style_size), MAX_MAP_VALUES
    if tile_bytes(config, size, style_size, *more, **terms):
        # Whole maps are kept after the second pooling, and of the content.
        kept = max(map(values_per_pixel, ("relu3_1", *config.content_layers)))
        maps, limit = kept * max(pixels, math.prod(style_size)), MAX_VALUES
    pairs_of_samples = config.samples**2 if "remd" in config.methods else 0
    arrays = (maps, limit), (history, MAX_VALUES), (pairs_of_samples, MAX_VALUES)
    return max(arrays, key=lambda array: array[0] / array[1])


def _trial(
    content: Any, styles: Any, config: Config, weights: Optional[Weights]
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
        small = _shrunk(content, edge / longest)
        small_styles = _shrunk_styles(styles, edge / longest, small.shape[2:])
        pixels = math.prod(padded_size(config, small.shape[2:]))
        trials.append((pixels, *_timed(small, small_styles, config, weights)))
    return [_line([(row[0], row[n]) for row in trials]) for n in (1, 2)]


def _transform_seconds(config: Config, size: Size) -> float:
    """Return the seconds that the transforms of an image take in a step of L-BFGS.

    They grow with pixels times sides, so a trial of a small image says nothing about them.
    """
    if config.optimizer != "lbfgs":
        return 0.0
    height, width = size
    device = engine.device_of(config)
    one = height * basis.line_seconds(device, width) + width * basis.line_seconds(device, height)
    # Three colours, there and back.
    return 2 * 3 * one


def _shrunk(image: Any, factor: float) -> Any:
    size = [max(vgg.SMALLEST_SIDE, round(side * factor)) for side in image.shape[2:]]
    return images.resize_input(image, size)


def _images(styles: Any) -> list[Any]:
    """Return all pictures of styles that are given as for `transfer`."""
    if isinstance(styles, Sequence):
        return [image for style in styles for image in style.images]
    return [styles]


def _terms(styles: Any, size: Size, config: Config) -> dict[str, Any]:
    """Return what `memory` needs to know of the terms of styles."""
    if not isinstance(styles, Sequence):
        return {}
    groups = grouped(styles, size, config)
    return {"groups": len(groups), "masked": not all(group.whole for group in groups)}


def _shrunk_styles(styles: Any, factor: float, size: Sequence[int]) -> Any:
    """Return styles resized by a factor; `size` is that of the content, resized."""
    if not isinstance(styles, Sequence):
        return _shrunk(styles, factor)
    return tuple(_shrunk_style(style, factor, size) for style in styles)


def _shrunk_style(style: StyleImage, factor: float, size: Sequence[int]) -> StyleImage:
    small = tuple(_shrunk(image, factor) for image in style.images)
    style_masks = tuple(
        mask if mask is None else masks.resized(mask, image.shape[2:])
        for mask, image in zip(style.style_masks, small)
    )
    mask = style.mask if style.mask is None else masks.resized(style.mask, size)
    return replace(style, images=small, mask=mask, style_masks=style_masks)


def _timed(
    content: Any, styles: Any, config: Config, weights: Optional[Weights]
) -> tuple[float, float]:
    """Return the seconds until the first step ends, and those of a later step."""
    moments: list[float] = []
    init = content if config.init not in INITS else None
    choices = replace(
        config, scales=1, iterations=_TRIAL_STEPS, stop_eps=0, stop_decrease=0, tile="off"
    )
    began = time.perf_counter()
    transfer(
        content, styles, choices, init=init, weights=weights,
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
