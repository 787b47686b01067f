"""What a run will take, before it starts: memory from a model, time from a trial."""

import math
import statistics
import time
from dataclasses import dataclass, replace
from typing import Optional

from .. import engine, images, machine
from ..config import LAYERS
from ..errors import EngineError
from ..synthesis import lbfgs, scale_sizes, steps_at, transfer, vgg

# The peak of a process, fitted by benchmarks/memory.py to 42 runs from 256 to 768 pixels: a fixed
# part, and bytes for each pixel of the picture; for each of its channels in all feature maps down
# to the deepest layer used, and in the maps that losses read.
_FIXED, _PIXEL, _MAP, _TAP = 330 << 20, 705, 6.4, 4.6
# For each channel of the largest map that a loss reads: the Gaussian MMD gathers pairs; and for
# each further method at the same layers.
_GAUSSIAN, _FURTHER = 11.5, 8.4
# For each pixel again: the history of L-BFGS, and the copies in another precision.
_LBFGS, _LOW_PRECISION = 1100, 51
# Without gradients a network takes so much less, with what its losses keep.
_FORWARD = 0.5
# Runs took up to 1.22 of that (benchmarks/RESULTS.md), by how their arrays come to lie. What is
# said to fit has to fit.
_MARGIN = 1.25

# MXNet counts the values of an array in 31 bits.
_MOST_VALUES = 2**31 - 1
# The Gaussian MMD holds so many values for each of the map that it reads.
_GAUSSIAN_VALUES = 1.5

# Long edges at which steps are tried. Time is linear in the pixels, with a small fixed part.
_TRIAL_EDGE, _SMALLEST_TRIAL_EDGE = 320, 80
_TRIAL_STEPS = 7


@dataclass(frozen=True)
class Forecast:
    """What a run will take.

    Attributes
    ----------
    sizes : list of (int, int)
        Height and width at each scale, the smallest first.
    steps : list of int
        At most, at each scale.
    memory : int
        Bytes that the process holds at most.
    free : int or None
        Bytes that the process could hold; None where unknown.
    step_seconds : float
        Of a step at the full size.
    seconds : float
        From the call of `transfer` to its result, if all steps are made.
    """

    sizes: list
    steps: list
    memory: int
    free: Optional[int]
    step_seconds: float
    seconds: float


def forecast(content, style, config):
    """Foretell memory and time of a transfer, after a trial of a few seconds.

    Parameters
    ----------
    content, style : numpy.ndarray, shape (1, 3, H, W)
        As `optimise.transfer` will get them.
    config : Config

    Returns
    -------
    Forecast
    """
    device = engine.device_of(config)
    sizes = scale_sizes(config.scales, content.shape[2:])
    steps = [steps_at(config.iterations, n, len(sizes)) for n in range(1, len(sizes) + 1)]
    first, later = _trial(content, style, config)
    seconds = sum(
        first(size) + max(count - 1, 0) * later(size) for size, count in zip(sizes, steps)
    )
    return Forecast(
        sizes=sizes,
        steps=steps,
        memory=round(_MARGIN * memory(config, content.shape[2:], style.shape[2:])),
        free=_reachable(device),
        step_seconds=later(sizes[-1]),
        seconds=seconds,
    )


def check_memory(config, size, style_size):
    """Find out, before the long work, whether a transfer fits into memory.

    Parameters
    ----------
    config : Config
    size, style_size : (int, int)
        Height and width of the picture to be made and of the style image.

    Raises
    ------
    EngineError
        It does not; the message names the size that would.
    """
    free = _reachable(engine.device_of(config))
    needed = _MARGIN * memory(config, size, style_size)
    values = _largest_array(config, size, style_size)
    share = _MOST_VALUES / values
    if free is not None and needed > free:
        fixed = _MARGIN * _FIXED
        share = min(share, max(free - fixed, 0) / (needed - fixed))
        raise EngineError(
            f"Not enough memory for size {config.size}: it takes up to {_gigabytes(needed)}, and "
            f"{_gigabytes(free)} can be had; {_advice(config, share)}."
        )
    if share < 1:
        raise EngineError(
            f"Size {config.size} is too large for MXNet: an array would have {values:.2g} values, "
            f"and MXNet can hold {_MOST_VALUES:.2g}; {_advice(config, share)}."
        )


def _advice(config, share):
    """Return which size would fit, where so large a share of the pixels does."""
    fitting = math.floor(config.size * math.sqrt(share))
    return f"--size {fitting} would fit" if fitting >= images.MIN_SIDE else "free some first"


def _largest_array(config, size, style_size):
    """Return how many values the largest array of a transfer has."""
    layers = [_channels(LAYERS[0])]
    if config.gamma and "gaussian" in config.methods:
        layers.append(_GAUSSIAN_VALUES * max(map(_channels, config.style_layers)))
    history = 2 * lbfgs.HISTORY * 3 if config.optimizer == "lbfgs" else 0
    pixels, style_pixels = math.prod(size), math.prod(style_size)
    return max(max(layers) * max(pixels, style_pixels), history * pixels)


def memory(config, size, style_size):
    """Return the bytes that a process holds during a transfer, at its peak, as far as known.

    Parameters
    ----------
    config : Config
    size, style_size : (int, int)
        Height and width of the picture to be made and of the style image.
    """
    layers = {*config.style_layers * bool(config.gamma), *config.content_layers}
    deepest = max(map(LAYERS.index, layers))
    maps = sum(map(_channels, LAYERS[: deepest + 1]))
    losses = _GAUSSIAN * ("gaussian" in config.methods) + _FURTHER * (len(config.methods) - 1)
    taps = _TAP * sum(map(_channels, layers)) + losses * max(map(_channels, layers))
    network = _PIXEL + _MAP * maps + taps
    steps = network + _LBFGS * (config.optimizer == "lbfgs")
    device = engine.device_of(config)
    if engine.resolved_precision(config.precision, device) in vgg.ROUNDED:
        steps += _LOW_PRECISION
    return round(_FIXED + max(steps * math.prod(size), _FORWARD * network * math.prod(style_size)))


def _channels(layer):
    """Return the channels of a layer for each pixel of the picture."""
    block = int(layer[len("relu")])
    return min(64 << (block - 1), 512) / 4 ** (block - 1)


def _reachable(device):
    """Return the bytes that this process could hold, with what it holds now; or None."""
    free = engine.free_memory(device)
    if device.device_type != "cpu" or free is None:
        return free
    return free + (machine.own_memory() or 0)


def _trial(content, style, config):
    """Return two functions of a size: seconds to the end of the first step, and of a later one."""
    longest = max(content.shape[2:])
    edges = [min(longest, _TRIAL_EDGE)]
    if edges[0] >= 2 * _SMALLEST_TRIAL_EDGE:
        # Far enough apart for the line through both.
        edges.insert(0, edges[0] // 2)
    tried = []
    for edge in edges:
        smaller = [_shrunk(image, edge / longest) for image in (content, style)]
        tried.append((math.prod(smaller[0].shape[2:]), *_timed(*smaller, config)))
    return [_line([(row[0], row[n]) for row in tried]) for n in (1, 2)]


def _shrunk(image, factor):
    size = [max(vgg.SMALLEST_SIDE, round(side * factor)) for side in image.shape[2:]]
    return images.resize_input(image, size)


def _timed(content, style, config):
    """Return the seconds to the end of the first step, and those of a later one."""
    moments = []
    init = content if config.init not in ("random", "content") else None
    choices = replace(config, scales=1, iterations=_TRIAL_STEPS, stop_eps=0)
    began = time.perf_counter()
    transfer(
        content, style, choices, init=init,
        on_step=lambda record: moments.append(time.perf_counter()),
    )  # fmt: skip
    # L-BFGS makes no step where there is no way down.
    first = (moments[0] if moments else time.perf_counter()) - began
    steps = [later - earlier for earlier, later in zip(moments, moments[1:])]
    return first, statistics.median(steps or [first])


def _line(points):
    """Return pixels to seconds: the line through two points, or through one and the origin."""
    (x1, y1), (x2, y2) = ((0, 0.0), *points)[-2:]
    slope = max(y2 - y1, 0) / (x2 - x1)

    def seconds(size):
        pixels = math.prod(size)
        time_there = y1 + slope * (pixels - x1)
        # Below both points the line may fall to nothing.
        return max(time_there, y1 * pixels / x1) if pixels < x1 else time_there

    return seconds


def _gigabytes(size):
    return f"{size / 1e9:.1f} GB"
