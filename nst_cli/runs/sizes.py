"""The size of the finished picture: from the content's own size and the options."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

from .. import images
from ..config import Config
from ..errors import ImageError
from ..files import StrPath

#: Height and width.
Size = tuple[int, int]


def finished_size(source: Sequence[int], config: Config, name: StrPath = "the content") -> Size:
    """Return the size of the picture that a content of a size becomes.

    Parameters
    ----------
    source : sequence of int
        Height and width of the content in its file; further entries are ignored.
    config : Config
    name : path-like, optional
        What an error calls the content, such as its path.

    Raises
    ------
    ImageError
        A side would be too small; the message names an option that works.
    """
    factor = _factor(source, config)
    return images.scaled(source, factor, name, _advice(config, max(source[:2]) * factor, factor))


def style_size(
    source: Sequence[int], finished: Size, config: Config, name: StrPath = "the style"
) -> Size:
    """Return the size at which a style is compared with a finished picture.

    Parameters
    ----------
    source : sequence of int
        Height and width of the style; further entries are ignored.
    finished : (int, int)
        Height and width of the finished picture.
    config : Config
    name : path-like, optional
        What an error calls the style, such as its path.

    Raises
    ------
    ImageError
        A side would be too small; the message names an option that works.
    """
    if config.style_fit == "squeeze":
        return finished
    long_edge = max(finished)
    factor = Fraction(long_edge, max(source[:2]))
    return images.scaled(source, factor, name, _advice(config, Fraction(long_edge), factor))


def long_edge_of(content: StrPath, config: Config) -> int:
    """Return the long edge of the picture that a content file becomes, from its header.

    If the content cannot be used, which reading it reports, it is the least of any picture.
    """
    if isinstance(config.size, int):
        return config.size
    try:
        return max(finished_size(images.size_of(content), config, content))
    except ImageError:
        return images.MIN_SIDE


def resized_option(config: Config, long_edge: Fraction, ratio: Fraction, up: bool = False) -> str:
    """Return the size as a user types it, for a finished picture `ratio` times as large.

    Parameters
    ----------
    config : Config
    long_edge : Fraction
        That of the finished picture, as `config` asks for it.
    ratio : Fraction
    up : bool
        Whether values are rounded up, else down.
    """
    to_integer = math.ceil if up else math.floor
    if config.scale is not None:
        value = Fraction(repr(config.scale)) * ratio
        # Three significant digits.
        step = Fraction(10) ** (math.floor(math.log10(value)) - 2)
        return f"--scale {float(to_integer(value / step) * step):g}"
    sides = {"--width": config.width, "--height": config.height}
    given = {name: Fraction(side) for name, side in sides.items() if side is not None}
    given = given or {"--size": long_edge}
    return " ".join(f"{name} {to_integer(side * ratio)}" for name, side in given.items())


def _factor(source: Sequence[int], config: Config) -> Fraction:
    height, width = source[:2]
    if config.scale is not None:
        # As it was typed: 0.7 and not the binary number next to it.
        return Fraction(repr(config.scale))
    limits = [
        Fraction(limit, side)
        for limit, side in ((config.width, width), (config.height, height))
        if limit is not None
    ]
    if limits:
        return min(limits)
    if isinstance(config.size, int):
        return Fraction(config.size, max(height, width))
    return Fraction(1)


def _advice(config: Config, long_edge: Fraction, factor: Fraction) -> Callable[[Fraction], str]:
    return lambda needed: resized_option(config, long_edge, needed / factor, up=True)
