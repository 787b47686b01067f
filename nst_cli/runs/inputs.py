"""The pictures that a transfer starts from, read and resized."""

from dataclasses import dataclass
from typing import Any

from .. import images
from ..config import INITS, Config
from ..files import StrPath
from . import forecast


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
    pictures = {
        name: images.read(path, long_edge=config.size, max_pixels=config.max_pixels)
        for name, path in paths.items()
    }
    return resize_inputs(pictures, config)


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
    size = images.fit(content.pixels.shape, config.size, content.path)
    sizes = {"content": size, "style": size, "init": size}
    if config.style_fit == "keep":
        sizes["style"] = images.fit(style.pixels.shape, config.size, style.path)
    # First, because the resized pictures themselves might not fit.
    forecast.check_memory(config, size, sizes["style"])
    arrays = {name: _network_input(pictures[name], sizes[name], config) for name in pictures}
    return Inputs(arrays["content"], arrays["style"], arrays.get("init"), pictures)


def _network_input(picture: images.Picture, size: tuple[int, int], config: Config) -> Any:
    pixels = images.resize(picture.pixels, size)
    return images.to_input(pixels, 256 if config.faithful else 255)
