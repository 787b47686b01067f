"""The pictures that a transfer starts from, read and resized."""

from dataclasses import dataclass
from typing import Any

from .. import images
from ..config import INITS, Config
from ..files import StrPath
from ..images import kept
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
    colours : numpy.ndarray or None, shape (H, W, 3)
        The content's pixels, if the result gets their colours (`images.kept`).
    """

    content: Any
    style: Any
    init: Any
    pictures: dict[str, images.Picture]
    colours: Any = None


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
    style_size = size
    if config.style_fit == "keep":
        style_size = images.fit(style.pixels.shape, config.size, style.path)
    # First, because the resized pictures themselves might not fit.
    forecast.check_memory(config, size, style_size)
    content_pixels = images.resize(content.pixels, size)
    alpha = None if content.alpha is None else images.resize(content.alpha, size)
    mode = config.keep_colors
    pixels = {
        "content": kept.input_pixels(mode, content_pixels),
        "style": kept.style_pixels(
            mode, images.resize(style.pixels, style_size), content_pixels, content_weights=alpha
        ),
    }  # fmt: skip
    start = pictures.get("init")
    if start is not None:
        middle = images.cropped(start.pixels, images.crop_size(start.pixels.shape, size))
        pixels["init"] = kept.input_pixels(mode, images.resize(middle, size))
    scale = 256 if config.faithful else 255
    arrays = {name: images.to_input(values, scale) for name, values in pixels.items()}
    return Inputs(
        arrays["content"], arrays["style"], arrays.get("init"), pictures,
        content_pixels if kept.returns_chroma(mode) else None,
    )  # fmt: skip
