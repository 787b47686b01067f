"""Predicts what a run will take: memory from a fitted model, time from a short trial."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Optional

from .. import engine, images, machine
from ..config import INITS, LAYERS, METHODS, ROUNDED, Config
from ..errors import EngineError
from ..methods import BY_FOURIER
from ..synthesis import lbfgs, losses, masks, scale_sizes, steps_at, transfer, vgg, winograd
from ..synthesis.margin import padded_size
from ..synthesis.styles import StyleImage, grouped
from ..weights import Weights
from . import sizes
from .sizes import Size

# The terms of `memory`, fitted by benchmarks/memory.py to 42 runs from 256 to 768 pixels.
_FIXED_BYTES = 330 << 20
_BYTES_PER_PIXEL = 705
_BYTES_PER_MAP_VALUE = 6.4
_BYTES_PER_TAP_VALUE = 4.6
# Bytes per value of a method's own largest array (`_own_values`), beyond what poly takes.
_METHOD_BYTES = {
    **dict.fromkeys(("gaussian", "rbf", "laplace", "energy"), 7.7),
    **dict.fromkeys(("histogram", "wasserstein", "remd"), 11.5),
    "sliced": 10.0,
    "fourier": 5.8,
}
# Arrays of samples by samples in remd, of 4 bytes a value.
_REMD_BYTES = 6 * 4
# What the loss of a plugin takes is unknown: as much as the most that a method of nst's takes.
_PLUGIN_BYTES = max(_METHOD_BYTES.values())
_FURTHER_METHOD_BYTES = 8.4
# Measured in runs of two and four masks, and of a folder of six pictures, at 384 x 320.
_MASKED_BYTES = 8.0
# Bytes per pixel of a style picture that waits for its turn.
_STYLE_PICTURE_BYTES = 24
_LBFGS_BYTES = 1100
_LOW_PRECISION_BYTES = 51
# By AMX, oneDNN converts each map to another layout, and back for a loss.
_AMX_BYTES = 2050
# A transformed kernel of a Winograd convolution, in float32.
_BYTES_PER_KERNEL = 4 * winograd.PRODUCTS
_FORWARD_ONLY_FACTOR = 0.5
# Depending on how their arrays are allocated, runs took up to 1.22 times the forecast
# (benchmarks/RESULTS.md). A run that is accepted must fit.
_SAFETY_FACTOR = 1.25

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
    seconds = sum(
        first(size) + max(count - 1, 0) * later(size) for size, count in zip(padded_sizes, steps)
    )
    return Forecast(
        sizes=sizes,
        steps=steps,
        memory=round(_SAFETY_FACTOR * memory(config, content.shape[2:], *shapes, **terms)),
        free=_available(device),
        step_seconds=later(padded_sizes[-1]),
        seconds=seconds,
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
    EngineError
        It does not fit; the message names a size that would.
    """
    free = _available(engine.device_of(config))
    needed = _SAFETY_FACTOR * memory(config, size, style_size, *more, groups=groups, masked=masked)
    values = _largest_array(config, size, style_size)
    share = _MAX_VALUES / values
    pixels = f"{size[1]} x {size[0]} pixels"
    if free is not None and needed > free:
        fixed = _SAFETY_FACTOR * _FIXED_BYTES
        share = min(share, max(free - fixed, 0) / (needed - fixed))
        raise EngineError(
            f"Not enough memory for {pixels}: the run takes up to {_gigabytes(needed)}, and "
            f"{_gigabytes(free)} are available; {_advice(config, size, share)}."
        )
    if share < 1:
        raise EngineError(
            f"A picture of {pixels} is too large for MXNet: an array would have {values:.2g} "
            f"values, and MXNet can hold {_MAX_VALUES:.2g}; {_advice(config, size, share)}."
        )


def _advice(config: Config, size: Size, share: float) -> str:
    """Return the advice for a run of which only a share of the pixels would fit."""
    # The margin does not shrink with the picture. It takes the largest part of the short side,
    # so a short side that fits leaves room for the long one.
    margins = padded_size(config, size)[0] - size[0]
    long_edge, ratio = Fraction(max(size)), Fraction(math.sqrt(share))
    ratio -= (1 - ratio) * Fraction(margins, min(size))
    if long_edge * ratio < images.MIN_SIDE:
        return "free some memory first"
    return f"{sizes.resized_option(config, long_edge, ratio)} would fit"


def _largest_array(config: Config, size: Size, style_size: Size) -> float:
    """Return the number of values in the largest array of a transfer."""
    layers = [_values_per_pixel(LAYERS[0])]
    if config.gamma:
        layers += [_most_own_values(config, method) for method in config.methods]
    history = 2 * lbfgs.HISTORY * 3 if config.optimizer == "lbfgs" else 0
    pixels, style_pixels = math.prod(padded_size(config, size)), math.prod(style_size)
    pairs_of_samples = config.samples**2 if "remd" in config.methods else 0
    return max(max(layers) * max(pixels, style_pixels), history * pixels, pairs_of_samples)


def memory(
    config: Config,
    size: Size,
    style_size: Size,
    *more: Size,
    groups: int = 1,
    masked: bool = False,
) -> int:
    """Return the peak memory of a transfer's process, as far as the model knows, in bytes.

    ::

        peak    = fixed + transformed kernels
                  + max(pixels x steps, forward factor x style pixels x network)
        steps   = network + L-BFGS history + copies in low precision
        network = bytes per pixel + bytes per map value x maps + bytes per tap value x taps
                  + largest method + further method x (methods + groups - 2) x widest tap
                  + masked features x widest tap, if there are masks

    The margin counts as pixels of the picture. `maps`, `taps` and `widest tap` count values per
    pixel: in all feature maps down to the deepest layer used, in the maps that a loss reads, and
    in the largest of these.
    The style image needs no gradients, so only a part of the network's memory, the forward
    factor. The largest of several counts so, and the others only as pictures.

    Parameters
    ----------
    config : Config
    size, style_size : (int, int)
        Height and width of the content image, without the margin, and of the style image, the
        largest of several.
    *more : (int, int)
        Sizes of further style images.
    groups : int
        Number of groups of styles, each of which has its own terms.
    masked : bool
        Whether any style has a mask.
    """
    size = padded_size(config, size)
    layers = {*config.style_layers * bool(config.gamma), *config.content_layers}
    deepest = max(map(LAYERS.index, layers))
    maps = sum(map(_values_per_pixel, LAYERS[: deepest + 1]))
    taps = list(map(_values_per_pixel, layers))
    method_bytes = max(
        _METHOD_BYTES.get(method, 0.0 if method in METHODS else _PLUGIN_BYTES)
        * _most_own_values(config, method)
        for method in (_costing(config, name) for name in config.methods)
    )
    further = len(config.methods) + groups - 2
    method_bytes += (_FURTHER_METHOD_BYTES * further + _MASKED_BYTES * masked) * max(taps)
    network = _BYTES_PER_PIXEL + _BYTES_PER_MAP_VALUE * maps
    network += _BYTES_PER_TAP_VALUE * sum(taps) + method_bytes
    steps = network + _LBFGS_BYTES * (config.optimizer == "lbfgs")
    device = engine.device_of(config)
    precision = engine.precision_of(config, device)
    if precision in ROUNDED:
        by_amx = precision == "bfloat16" and engine.instruction_set(device) == "amx"
        steps += _AMX_BYTES if by_amx else _LOW_PRECISION_BYTES
    convolutions = vgg.winograd_convolutions(
        [*layers], size, config.convolution, precision, device
    )
    kernels = sum(vgg.input_channels(name) * vgg.channels(name) for name in convolutions)
    style = _FORWARD_ONLY_FACTOR * network * math.prod(style_size)
    fixed = _FIXED_BYTES + _BYTES_PER_KERNEL * kernels
    fixed += _REMD_BYTES * config.samples**2 * ("remd" in config.methods)
    fixed += _STYLE_PICTURE_BYTES * sum(map(math.prod, more))
    return round(fixed + max(steps * math.prod(size), style))


def _costing(config: Config, method: str) -> str:
    """Return the method that costs what a method does with the config's estimator."""
    return "fourier" if method in BY_FOURIER and config.estimator == "fourier" else method


def _values_per_pixel(layer: str) -> float:
    """Return the number of values in a layer's feature map per pixel of the picture."""
    return _channels(layer) * _positions_per_pixel(layer)


def _channels(layer: str) -> int:
    return min(64 << (_block(layer) - 1), 512)


def _positions_per_pixel(layer: str) -> float:
    return float(1 / 4 ** (_block(layer) - 1))


def _block(layer: str) -> int:
    return int(layer[len("relu")])


def _most_own_values(config: Config, method: str) -> float:
    """Return the values in the largest array of a method's own, per pixel of the picture."""
    return max(_own_values(config, method, layer) for layer in config.style_layers)


def _own_values(config: Config, method: str, layer: str) -> float:
    per_position = float(_channels(layer))
    if losses.style_loss(method).needs == "pairs":
        per_position *= 1.5
    elif method == "sliced":
        per_position = config.directions
    elif method == "fourier":
        per_position = losses.FourierMMD(config.features).waves(_channels(layer))
    return per_position * _positions_per_pixel(layer)


def _available(device: Any) -> Optional[int]:
    """Return the bytes available to this process, including those it uses; None if unknown."""
    free: Optional[int] = engine.free_memory(device)
    if device.device_type != "cpu" or free is None:
        return free
    return free + (machine.own_memory() or 0)


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
    choices = replace(config, scales=1, iterations=_TRIAL_STEPS, stop_eps=0, stop_decrease=0)
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
