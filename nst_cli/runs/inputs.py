"""The pictures that a transfer starts from, read and resized."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import images
from ..config import INITS, Config
from ..files import StrPath
from . import forecast, sizes


@dataclass(frozen=True)
class Inputs:
    """The pictures of a transfer, read and resized.

    Attributes
    ----------
    content, style : numpy.ndarray, shape (1, 3, H, W)
        Network input.
    init : numpy.ndarray or None
        The start image, if it is a picture.
    pictures : dict of str to images.Picture
        The pictures before resizing, by role: ``content``, ``style`` and, if given, ``init``.
    """

    content: Any
    style: Any
    init: Any
    pictures: dict[str, images.Picture]


def read_inputs(content: StrPath, style: StrPath, config: Config) -> Inputs:
    """Read and resize the pictures that a transfer starts from.

    Parameters
    ----------
    content, style : path-like
    config : Config

    Returns
    -------
    Inputs

    Raises
    ------
    ImageError
        A picture cannot be used.
    EngineError
        A transfer of that size would not fit into memory.
    """
    paths = {"content": content, "style": style}
    if config.init not in INITS:
        paths["init"] = config.init
    return resize_inputs(read_pictures(paths, config), config)


def read_pictures(paths: Mapping[str, StrPath], config: Config) -> dict[str, images.Picture]:
    """Read pictures in the detail that a transfer needs.

    Parameters
    ----------
    paths : dict of str to path-like
        By role, as in `Inputs`.
    config : Config

    Raises
    ------
    ImageError
        A picture cannot be used.
    """
    long_edge = sizes.long_edge_of(paths["content"], config)
    return {
        role: images.read(path, long_edge=long_edge, max_pixels=config.max_pixels)
        for role, path in paths.items()
    }


def resize_inputs(pictures: dict[str, images.Picture], config: Config) -> Inputs:
    """Resize pictures to the sizes that a config asks for.

    Parameters
    ----------
    pictures : dict of str to images.Picture
        By role, as in `Inputs`.
    config : Config

    Returns
    -------
    Inputs

    Raises
    ------
    ImageError
        A side would be too small.
    EngineError
        A transfer of that size would not fit into memory.
    """
    content, style = pictures["content"], pictures["style"]
    size = sizes.finished_size(content.own_size, config, content.path)
    style_size = sizes.style_size(style.own_size, size, config, style.path)
    # First, because the resized pictures themselves might not fit.
    forecast.check_memory(config, size, style_size)
    size_of = {"content": size, "style": style_size, "init": size}
    arrays = {role: _network_input(pictures[role], size_of[role], config) for role in pictures}
    return Inputs(arrays["content"], arrays["style"], arrays.get("init"), pictures)


def _network_input(picture: images.Picture, size: tuple[int, int], config: Config) -> Any:
    pixels = images.resize(picture.pixels, size)
    return images.to_input(pixels, 256 if config.faithful else 255)
