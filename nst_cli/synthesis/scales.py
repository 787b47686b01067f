"""The sizes that a transfer optimises at, and its inputs and start at each of them."""

from collections.abc import Sequence
from typing import Optional, Union

import numpy

from .. import images
from ..config import Config
from ..errors import ConfigError
from . import starts, vgg
from .streams import START, START_COLOURS, START_NOISE, stream
from .styles import Group

# With `scales` auto, no scale has a long edge below this.
_SMALLEST_EDGE = 256


def steps_at(iterations: int, scale: int, scales: int) -> int:
    """Return the limit on steps at a scale: `iterations` at the last, a third of it before.

    The smaller scales only place the large strokes; more steps there save none later.
    """
    return iterations if scale == scales else -(-iterations // 3)


def scale_sizes(scales: Union[str, int], size: Sequence[int]) -> list[tuple[int, int]]:
    """Return the sizes to optimise at, the smallest first.

    Parameters
    ----------
    scales : str or int
        As in `Config`. Sizes that are too small for the network are left out.
    size : (int, int)
        Height and width of the result.

    Returns
    -------
    list of (int, int)
    """
    height, width = size
    sizes = [(height, width)]
    while isinstance(scales, str) or len(sizes) < scales:
        # Growing by √2 takes 16 to 21 % more work to the same loss (benchmarks/RESULTS.md).
        factor = 2 ** len(sizes)
        smaller = round(height / factor), round(width / factor)
        least = _SMALLEST_EDGE if scales == "auto" else 0
        if min(smaller) < vgg.SMALLEST_SIDE or max(smaller) < least:
            break
        sizes.insert(0, smaller)
    return sizes


def sizes_of(
    config: Config, content: numpy.ndarray, groups: Sequence[Group]
) -> list[tuple[int, int]]:
    """Return the sizes to optimise at, without those where a style would have no position."""
    *smaller, full = scale_sizes(config.scales, content.shape[2:])
    if all(group.whole for group in groups):
        return [*smaller, full]

    def covered(size: tuple[int, int]) -> bool:
        _, resized = inputs_at(size, content, groups)
        return all(group.covers_any(config) for group in resized)

    return [*filter(covered, smaller), full]


def inputs_at(
    size: tuple[int, int], content: numpy.ndarray, groups: Sequence[Group]
) -> tuple[numpy.ndarray, Sequence[Group]]:
    """Return the content resized to `size`, and the styles resized by the same factor."""
    if size == content.shape[2:]:
        return content, groups
    factor = size[0] / content.shape[2]
    smaller = [group.at_size(size, factor) for group in groups]
    return images.resize_input(content, size), smaller


def start_image(
    config: Config,
    content: numpy.ndarray,
    groups: Sequence[Group],
    init: Optional[numpy.ndarray],
) -> numpy.ndarray:
    """Return the image that the first scale starts from."""
    if init is not None:
        image = init
    elif config.init == "random":
        image = noise_of(config, content.shape)
    elif config.init == "content":
        image = content
    elif config.init == "style":
        random = stream(config.seed, START_COLOURS)
        pictures = [(one, group) for group in groups for one in group.pictures]
        weights = [one.share * group.weight for one, group in pictures]
        image = starts.in_colours_of(
            [one.image for one, _ in pictures], weights, content.shape, random
        )
    else:
        raise ConfigError(f"init {config.init!r} names a picture: pass it to transfer.", "init")
    return starts.with_noise(image, config.init_noise, stream(config.seed, START_NOISE))


def next_start(image: numpy.ndarray, content: numpy.ndarray) -> numpy.ndarray:
    """Enlarge a scale's result to start the next scale, whose content is given.

    Enlarging cannot restore fine detail, so the content's is added.
    """
    size = content.shape[2:]
    coarse = images.resize_input(content, image.shape[2:])
    detail = content - images.resize_input(coarse, size)
    start: numpy.ndarray = images.resize_input(image, size) + detail
    return start


def noise_of(config: Config, shape: tuple[int, ...]) -> numpy.ndarray:
    return starts.noise(shape, stream(config.seed, START))
