"""How much memory a transfer takes, by a fitted model, and how much there is."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Optional

from .. import engine, machine
from ..config import LAYERS, METHODS, ROUNDED, Config
from ..methods import BY_FOURIER
from . import lbfgs, losses, tiled_objective, tiles, vgg, winograd
from .margin import padded_size

# MXNet indexes arrays with 31 bits.
MAX_VALUES = 2**31 - 1

# A feature map of more than 2 GiB in float32, at 12 megapixels, has ended MXNet by a segmentation
# fault. Larger pictures are computed in tiles.
MAX_MAP_VALUES = 2**29

# Height and width.
Size = tuple[int, int]

# The terms of `untiled_memory`, fitted by benchmarks/memory.py to 47 runs of 256 to 1732 pixels.
_FIXED_BYTES = 314 << 20
_BYTES_PER_PIXEL = 1370
_BYTES_PER_MAP_VALUE = 0.59
_BYTES_PER_TAP_VALUE = 4.2
# The C library keeps freed blocks below 16 MiB, and they leave gaps. Beyond this many pixels, the
# arrays of the layers that take most of the memory are larger.
_PIXELS_OF_SMALL_ARRAYS = 200_000
_GAP_BYTES = 800
# Bytes per value of a method's own largest array (`_own_values`), beyond what poly takes.
_METHOD_BYTES = {
    **dict.fromkeys(("gaussian", "rbf", "laplace", "energy"), 12.0),
    **dict.fromkeys(("wasserstein", "remd"), 11.5),
    "histogram": 22.0,
    "sliced": 33.0,
    "fourier": 5.8,
}
# Arrays of samples by samples in remd, of 4 bytes a value.
_REMD_BYTES = 6 * 4
# What the loss of a plugin takes is unknown: as much as histogram, which takes most for a channel.
_PLUGIN_BYTES = _METHOD_BYTES["histogram"]
_FURTHER_METHOD_BYTES = 8.4
# Measured in runs of two and four masks, and of a folder of six pictures, at 384 x 320.
_MASKED_BYTES = 8.0
# Bytes per pixel of a style picture that waits for its turn.
_STYLE_PICTURE_BYTES = 24
_LOW_PRECISION_BYTES = 51
# By AMX, oneDNN converts each map to another layout, and back for a loss; and it has code and
# memory of its own for each convolution.
_AMX_BYTES = 460
_AMX_FIXED_BYTES = 404 << 20
# A transformed kernel of a Winograd convolution, in float32.
_BYTES_PER_KERNEL = 4 * winograd.PRODUCTS
_FORWARD_ONLY_FACTOR = 0.5
# What a value of an image takes in L-BFGS besides the history: a test counts 8 arrays of an
# evaluation, and a further trial of a line search has 3 more.
_LBFGS_BYTES = 4 * 8
# Depending on how their arrays are allocated, runs took up to 1.19 times the forecast
# (benchmarks/RESULTS.md). A run that is accepted must fit.
SAFETY_FACTOR = 1.25

# Smaller tiles would consist of halos.
_LEAST_TILE_BYTES = 64 << 20
# Beside the tiles, a value of an image takes this many bytes in the images, gradients and copies
# of a step.
_TILED_IMAGE_BYTES = 4 * 9
# A tile takes about this many times its bytes.
_TILED_FACTOR = 1.1
# By AMX, oneDNN generates code for each convolution and size, and has memory of its own for each.
_TILED_AMX_BYTES = 400 << 20
# Runs in tiles took 0.84 to 1.09 times the forecast (benchmarks/RESULTS.md).
_TILED_SAFETY_FACTOR = 1.1


class Tiling(NamedTuple):
    """How a transfer is computed in tiles.

    Attributes
    ----------
    tile_bytes : int
        For the maps of a tile.
    by_fourier : tuple of str
        Methods that estimate their MMD by random Fourier features because of the tiles.
    by_sample : tuple of str
        Methods that see the features at kept positions only.
    scales : tuple of int
        `tile_bytes` at each scale, the smallest first; 0 for one without tiles.
    """

    tile_bytes: int
    by_fourier: tuple[str, ...] = ()
    by_sample: tuple[str, ...] = ()
    scales: tuple[int, ...] = ()


def tile_bytes(config: Config, size: Size, *style_sizes: Size, **terms: Any) -> int:
    """Return the bytes of a tile for images of a size, or 0 if they do without tiles.

    Parameters
    ----------
    config : Config
    size : (int, int)
        Height and width of the content image, without the margin.
    *style_sizes : (int, int)
        Those of the style images, the largest first.
    **terms
        As for `untiled_memory`.
    """
    if config.tile == "off":
        return 0
    device = engine.device_of(config)
    if config.tile != "auto":
        most = int(config.tile) << 20
        layers = (*config.style_layers, *config.content_layers)
        shapes = [(1, 3, *one) for one in (padded_size(config, size), *style_sizes[:1])]
        value = tiles.value_bytes(engine.precision_of(config, device), device)
        larger = any(tiles.tile_bytes_of(shape, layers, value) > most for shape in shapes)
        return most if larger else 0
    free, needed = available(device), untiled_memory(config, size, *style_sizes, **terms)
    fits = free is None or SAFETY_FACTOR * needed <= free
    if fits and largest_map(config, size, style_sizes[0]) <= MAX_MAP_VALUES:
        return 0
    if free is None:
        return tiles.TILE_BYTES
    chosen = max(_LEAST_TILE_BYTES, min(tiles.TILE_BYTES, free // 8))
    while chosen > _LEAST_TILE_BYTES:
        at_most = _TILED_SAFETY_FACTOR * tiled_memory(config, size, *style_sizes, tile=chosen)
        if at_most <= free:
            break
        chosen = max(_LEAST_TILE_BYTES, chosen // 2)
    # Whole megabytes, because the sidecar has those.
    return chosen >> 20 << 20


def largest_map(config: Config, size: Size, style_size: Size) -> float:
    """Return the number of values in the largest feature map, or array of a loss, untiled."""
    layers = [values_per_pixel(LAYERS[0])]
    if config.gamma:
        layers += [_most_own_values(config, method) for method in config.methods]
    return max(layers) * max(math.prod(padded_size(config, size)), math.prod(style_size))


def tiles_at(config: Config, sizes: Sequence[Size], *style_sizes: Size, **terms: Any) -> list[int]:
    """Return the bytes of a tile at each scale, 0 for one without tiles.

    Parameters
    ----------
    config : Config
    sizes : sequence of (int, int)
        Those of the content at each scale, the largest last.
    *style_sizes, **terms
        As for `tile_bytes`, at the largest scale.
    """
    result = []
    for size in sizes:
        factor = size[0] / sizes[-1][0]
        resized = [scaled(one, factor) for one in style_sizes]
        result.append(tile_bytes(config, size, *resized, **terms))
    return result


def work_in_tiles(config: Config, size: Size, tile: int) -> float:
    """Return how many times the time of an untiled step one in tiles takes; 1 if `tile` is 0."""
    if not tile:
        return 1.0
    device = engine.device_of(config)
    value = tiles.value_bytes(engine.precision_of(config, device), device)
    layers = (*config.style_layers, *config.content_layers)
    return tiles.work((1, 3, *padded_size(config, size)), layers, tile, value)


def work_at(config: Config, sizes: Sequence[Size], tiling: Optional[Tiling]) -> tuple[float, ...]:
    """Return what a step takes at each scale, relative to one at the last."""
    at_scales = tiling.scales if tiling else (0,) * len(sizes)
    costs = [
        math.prod(padded_size(config, size)) * work_in_tiles(config, size, tile)
        for size, tile in zip(sizes, at_scales)
    ]
    return tuple(cost / costs[-1] for cost in costs)


def scaled(size: Size, factor: float) -> Size:
    """Return a size multiplied by a factor, as large as the network needs at least."""
    height, width = (max(vgg.SMALLEST_SIDE, round(side * factor)) for side in size)
    return height, width


def tiling_with(config: Config, methods: Iterable[str], scales: Sequence[int]) -> Tiling:
    """Return how a transfer with some methods is computed in tiles; see `Tiling.scales`."""
    by_fourier, by_sample = [], []
    for method in methods:
        if method in BY_FOURIER:
            if config.estimator != "fourier":
                by_fourier.append(method)
        elif losses.style_loss(method, **config.loss_choices(method)).needs != "sums":
            by_sample.append(method)
    return Tiling(max(scales), tuple(by_fourier), tuple(by_sample), tuple(scales))


def memory(config: Config, size: Size, *style_sizes: Size, **terms: Any) -> int:
    """Return the peak memory of a transfer, in tiles where it is computed so.

    The parameters are those of `tile_bytes`.
    """
    chosen = tile_bytes(config, size, *style_sizes, **terms)
    if chosen:
        return tiled_memory(config, size, *style_sizes, tile=chosen)
    return untiled_memory(config, size, *style_sizes, **terms)


def memory_at_most(config: Config, size: Size, *style_sizes: Size, **terms: Any) -> float:
    """Return the bytes that a transfer must be able to get, so that it surely fits."""
    tiled = tile_bytes(config, size, *style_sizes, **terms)
    factor = _TILED_SAFETY_FACTOR if tiled else SAFETY_FACTOR
    return factor * memory(config, size, *style_sizes, **terms)


def tiled_memory(config: Config, size: Size, style_size: Size, *more: Size, tile: int) -> int:
    """Return the peak memory of a transfer in tiles, in bytes.

    Parameters
    ----------
    config : Config
    size, style_size : (int, int)
        Height and width of the content image, without the margin, and of the largest style image.
    *more : (int, int)
        Sizes of further style images.
    tile : int
        The bytes of a tile.
    """
    device, pixels = engine.device_of(config), math.prod(padded_size(config, size))
    precision = engine.precision_of(config, device)
    value = 2 if precision in ROUNDED else 4
    # The maps between stages: of the second, third and fourth pooling, and gradients on two.
    between = value * (8 + 4 + 2) + 4 * 8
    content = 4 * sum(map(values_per_pixel, config.content_layers))
    image = 3 * _TILED_IMAGE_BYTES + _optimiser_bytes(config, pixels)
    kept = 0
    if any(losses.style_loss(method).needs != "sums" for method in config.methods):
        kept = sum(map(_channels, config.style_layers)) * tiled_objective.KEPT_POSITIONS * 4 * 4
    per_pixel = between + content + image
    style = between + 3 * _TILED_IMAGE_BYTES
    largest = max(per_pixel * pixels, style * math.prod(style_size))
    largest += _STYLE_PICTURE_BYTES * sum(map(math.prod, more))
    fixed = _FIXED_BYTES + _TILED_FACTOR * tile + kept
    fixed += _TILED_AMX_BYTES * engine.by_amx(precision, device)
    return round(fixed + largest)


def untiled_memory(
    config: Config,
    size: Size,
    style_size: Size,
    *more: Size,
    groups: int = 1,
    masked: bool = False,
) -> int:
    """Return the peak memory of a transfer without tiles, as far as the model knows, in bytes.

    ::

        peak    = fixed + transformed kernels + gaps
                  + max(pixels x steps, forward factor x style pixels x network)
        steps   = network + L-BFGS + copies in low precision
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
    maps = sum(map(values_per_pixel, LAYERS[: deepest + 1]))
    taps = list(map(values_per_pixel, layers))
    method_bytes = max(
        _METHOD_BYTES.get(method, 0.0 if method in METHODS else _PLUGIN_BYTES)
        * _most_own_values(config, method)
        for method in (_costing(config, name) for name in config.methods)
    )
    further = len(config.methods) + groups - 2
    method_bytes += (_FURTHER_METHOD_BYTES * further + _MASKED_BYTES * masked) * max(taps)
    network = _BYTES_PER_PIXEL + _BYTES_PER_MAP_VALUE * maps
    network += _BYTES_PER_TAP_VALUE * sum(taps) + method_bytes
    pixels = math.prod(size)
    steps = network + _optimiser_bytes(config, pixels)
    device = engine.device_of(config)
    precision = engine.precision_of(config, device)
    by_amx = engine.by_amx(precision, device)
    if precision in ROUNDED:
        steps += _AMX_BYTES if by_amx else _LOW_PRECISION_BYTES
    convolutions = vgg.winograd_convolutions(
        [*layers], size, config.convolution, precision, device
    )
    kernels = sum(vgg.input_channels(name) * vgg.channels(name) for name in convolutions)
    style = _FORWARD_ONLY_FACTOR * network * math.prod(style_size)
    fixed = _FIXED_BYTES + _AMX_FIXED_BYTES * by_amx + _BYTES_PER_KERNEL * kernels
    fixed += _REMD_BYTES * config.samples**2 * ("remd" in config.methods)
    fixed += _STYLE_PICTURE_BYTES * sum(map(math.prod, more))
    fixed += _GAP_BYTES * min(pixels, _PIXELS_OF_SMALL_ARRAYS)
    return round(fixed + max(steps * pixels, style))


def _optimiser_bytes(config: Config, pixels: int) -> int:
    """Return what L-BFGS takes for each pixel; the other optimisers' arrays count elsewhere."""
    if config.optimizer != "lbfgs":
        return 0
    return 3 * (2 * 4 * lbfgs.history_of(3 * pixels) + _LBFGS_BYTES)


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


def available(device: Any) -> Optional[int]:
    """Return the bytes available to this process, including those it uses; None if unknown."""
    free: Optional[int] = engine.free_memory(device)
    if device.device_type != "cpu" or free is None:
        return free
    return free + (machine.own_memory() or 0)
