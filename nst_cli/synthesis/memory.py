"""How much memory a transfer takes, by a fitted model, and how much there is."""

import math
from typing import Any, Optional

from .. import engine, machine
from ..config import LAYERS, METHODS, ROUNDED, Config
from ..methods import BY_FOURIER
from . import losses, vgg, winograd

# Height and width.
Size = tuple[int, int]

# The terms of `memory`, fitted by benchmarks/memory.py to 42 runs from 256 to 768 pixels.
FIXED_BYTES = 330 << 20
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
_LBFGS_BYTES = 1100
_LOW_PRECISION_BYTES = 51
# By AMX, oneDNN converts each map to another layout, and back for a loss.
_AMX_BYTES = 2050
# A transformed kernel of a Winograd convolution, in float32.
_BYTES_PER_KERNEL = 4 * winograd.PRODUCTS
_FORWARD_ONLY_FACTOR = 0.5
# Depending on how their arrays are allocated, runs took up to 1.22 times the forecast
# (benchmarks/RESULTS.md). A run that is accepted must fit.
SAFETY_FACTOR = 1.25


def memory(config: Config, size: Size, style_size: Size) -> int:
    """Return the peak memory of a transfer's process, as far as the model knows, in bytes.

    ::

        peak    = fixed + transformed kernels
                  + max(pixels x steps, forward factor x style pixels x network)
        steps   = network + L-BFGS history + copies in low precision
        network = bytes per pixel + bytes per map value x maps + bytes per tap value x taps
                  + largest method + further method x (methods - 1) x widest tap

    `maps`, `taps` and `widest tap` count values per pixel of the picture: in all feature maps
    down to the deepest layer used, in the maps that a loss reads, and in the largest of these.
    The style image needs no gradients, so only a part of the network's memory, the forward
    factor.

    Parameters
    ----------
    config : Config
    size, style_size : (int, int)
        Height and width of the content image and of the style image.
    """
    layers = {*config.style_layers * bool(config.gamma), *config.content_layers}
    deepest = max(map(LAYERS.index, layers))
    maps = sum(map(values_per_pixel, LAYERS[: deepest + 1]))
    taps = list(map(values_per_pixel, layers))
    method_bytes = max(
        _METHOD_BYTES.get(method, 0.0 if method in METHODS else _PLUGIN_BYTES)
        * most_own_values(config, method)
        for method in (_costing(config, name) for name in config.methods)
    )
    method_bytes += _FURTHER_METHOD_BYTES * (len(config.methods) - 1) * max(taps)
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
    fixed = FIXED_BYTES + _BYTES_PER_KERNEL * kernels
    fixed += _REMD_BYTES * config.samples**2 * ("remd" in config.methods)
    return round(fixed + max(steps * math.prod(size), style))


def _costing(config: Config, method: str) -> str:
    """Return the method that costs what a method does with the config's estimator."""
    return "fourier" if method in BY_FOURIER and config.estimator == "fourier" else method


def values_per_pixel(layer: str) -> float:
    """Return the number of values in a layer's feature map per pixel of the picture."""
    return _channels(layer) * _positions_per_pixel(layer)


def _channels(layer: str) -> int:
    return min(64 << (_block(layer) - 1), 512)


def _positions_per_pixel(layer: str) -> float:
    return float(1 / 4 ** (_block(layer) - 1))


def _block(layer: str) -> int:
    return int(layer[len("relu")])


def most_own_values(config: Config, method: str) -> float:
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


def available(device: Any) -> Optional[int]:
    """Return the bytes available to this process, including those it uses; None if unknown."""
    free: Optional[int] = engine.free_memory(device)
    if device.device_type != "cpu" or free is None:
        return free
    return free + (machine.own_memory() or 0)
