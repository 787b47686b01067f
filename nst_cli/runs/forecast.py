"""What a run will take, before it starts: memory from a model, time from a trial."""

import math
import statistics
import time
from dataclasses import dataclass, replace
from typing import Optional

from .. import engine, images, machine
from ..config import LAYERS
from ..errors import EngineError
from ..synthesis import scale_sizes, steps_at, transfer, vgg

# The peak of a process, fitted by benchmarks/memory.py to 42 runs from 256 to 768 pixels, which
# it meets within 14 %: a fixed part, and bytes for each pixel of the picture; for each of its
# channels in all feature maps down to the deepest layer used, and in the maps that losses read.
_FIXED, _PIXEL, _MAP, _TAP = 330 << 20, 705, 6.4, 4.6
# For each channel of the largest map that a loss reads: the Gaussian MMD gathers pairs; and for
# each further method at the same layers.
_GAUSSIAN, _FURTHER = 11.5, 8.4
# For each pixel again: the history of L-BFGS, and the copies in another precision.
_LBFGS, _LOW_PRECISION = 1100, 51
# Without gradients a network takes so much less, with what its losses keep.
_FORWARD = 0.5

# Long edges at which steps are tried. Time is linear in the pixels, with a small fixed part.
_TRIAL_EDGES = (160, 320)
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
        The process's peak in bytes.
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
        memory=memory(config, content.shape[2:], style.shape[2:]),
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
    needed, free = memory(config, size, style_size), _reachable(engine.device_of(config))
    if free is None or needed <= free:
        return
    share = max(free - _FIXED, 0) / (needed - _FIXED)
    fitting = math.floor(config.size * math.sqrt(share))
    advice = f"--size {fitting} would fit" if fitting >= images.MIN_SIDE else "free some first"
    raise EngineError(
        f"Not enough memory for size {config.size}: it takes about {_gigabytes(needed)}, and "
        f"{_gigabytes(free)} can be had; {advice}."
    )


def memory(config, size, style_size):
    """Return the bytes that a process holds at most during a transfer.

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
    tried = []
    for edge in _TRIAL_EDGES:
        factor = min(1, edge / max(content.shape[2:]))
        smaller = [_shrunk(image, factor) for image in (content, style)]
        tried.append((math.prod(smaller[0].shape[2:]), *_timed(*smaller, config)))
        if factor == 1:
            break
    return [_line([(row[0], row[n]) for row in tried]) for n in (1, 2)]


def _shrunk(image, factor):
    size = [max(vgg.SMALLEST_SIDE, round(side * factor)) for side in image.shape[2:]]
    return images.resize_input(image, size)


def _timed(content, style, config):
    moments = []
    init = content if config.init not in ("random", "content") else None
    choices = replace(config, scales=1, iterations=_TRIAL_STEPS, stop_eps=0)
    began = time.perf_counter()
    transfer(
        content, style, choices, init=init,
        on_step=lambda record: moments.append(time.perf_counter()),
    )  # fmt: skip
    steps = [later - earlier for earlier, later in zip(moments, moments[1:])]
    return moments[0] - began, statistics.median(steps)


def _line(points):
    """Return pixels to seconds: the line through two points, or through one and the origin."""
    (x1, y1), (x2, y2) = ((0, 0.0), *points)[-2:]
    slope = max(y2 - y1, 0) / (x2 - x1)
    return lambda size: y1 + slope * (math.prod(size) - x1)


def _gigabytes(size):
    return f"{size / 1e9:.1f} GB"
