"""The pictures that a transfer starts from, read and resized."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import images
from ..config import INITS, Config
from ..files import StrPath
from ..images import kept
from ..synthesis import masks
from ..synthesis.styles import StyleImage
from . import forecast, sizes
from . import styles as named
from .styles import Style, Styles


@dataclass(frozen=True)
class Inputs:
    """The pictures of a transfer, read and resized.

    Attributes
    ----------
    content : numpy.ndarray, shape (1, 3, H, W)
        Network input.
    styles : tuple of StyleImage
        Those with a weight, with network inputs.
    init : numpy.ndarray or None
        The start image, if it is a picture.
    pictures : dict of str to images.Picture
        The pictures before resizing, by role: ``content``, ``style`` if it is one picture, and
        ``init`` if it is a picture.
    record : dict
        The entries of a sidecar for all files: ``content``, ``style`` or ``styles``, ``init``.
    colours : numpy.ndarray or None, shape (H, W, 3)
        The content's pixels, if the result gets their colours (`images.kept`).
    notes : tuple of str
        Hints for the user, one line each.
    """

    content: Any
    styles: tuple[StyleImage, ...]
    init: Any
    pictures: dict[str, images.Picture]
    record: dict[str, Any]
    colours: Any = None
    notes: tuple[str, ...] = ()

    @property
    def style(self) -> Any:
        """The first picture of the first style, network input."""
        return self.styles[0].images[0]


def read_inputs(content: StrPath, styles: Styles, config: Config) -> Inputs:
    """Read and resize the pictures that a transfer starts from.

    Parameters
    ----------
    content : path-like
    styles : path-like or sequence of Style
        Those that are folders as `styles.listed` returns them.
    config : Config

    Returns
    -------
    Inputs

    Raises
    ------
    ImageError
        A picture or a mask cannot be used.
    ConfigError
        A weight, a scale or a method of a style is not valid.
    EngineError
        A transfer of that size would not fit into memory.
    """
    styles = named.as_styles(styles)
    named.check(styles, config)
    paths = {"content": content}
    if config.init not in INITS:
        paths["init"] = config.init
    edge = sizes.long_edge_of(content, config)
    pictures = {
        role: images.read(path, long_edge=edge, max_pixels=config.max_pixels)
        for role, path in paths.items()
    }
    size = sizes.finished_size(pictures["content"].own_size, config, content)
    shapes, notes = _shapes(content, styles, config, size)
    # First, because the resized pictures themselves might not fit.
    forecast.check_memory(config, size, *_largest_first(shapes), **_terms(styles, config))
    checksums: dict[str, str] = {}
    read = []
    pixels, colours = _pixels(pictures, size, config)
    alpha = pictures["content"].alpha
    moved = _Recoloured(
        config.keep_colors, colours, None if alpha is None else images.resize(alpha, size)
    )
    for style in named.used(styles):
        one, picture = _read_style(style, content, size, config, checksums, moved)
        read.append(one)
        if len(styles) == len(style.pictures) == 1:
            pictures["style"] = picture
    identities = {role: _identity(pictures[role]) for role in paths}
    return Inputs(
        content=_network_input(pixels["content"], config),
        styles=tuple(read),
        init=_network_input(pixels["init"], config) if "init" in pixels else None,
        pictures=pictures,
        colours=colours if kept.returns_chroma(config.keep_colors) else None,
        record={
            "content": identities["content"],
            **named.record(styles, checksums.__getitem__),
            "init": identities.get("init"),
        },
        notes=tuple(notes),
    )


def _shapes(
    content: StrPath, styles: Sequence[Style], config: Config, size: tuple[int, int]
) -> tuple[list[tuple[int, int]], list[str]]:
    """Check all files' headers; return the resized sizes of the pictures that count, and notes."""
    shapes: list[tuple[int, int]] = []
    notes: list[str] = []
    limit = config.max_pixels
    for style in styles:
        edge = named.long_edge(style, max(size))
        for path in style.pictures:
            shape = images.size_of(path, long_edge=edge, max_pixels=limit)
            resized = named.resized_shape(shape, path, style, size, config)
            if style.weight:
                shapes.append(resized)
                notes += named.notes(style, path, shape, resized, size)
        for mask, picture in named.masks_of(style, content):
            images.check_mask_size(mask, picture, max_pixels=limit)
    return shapes, notes


def _largest_first(shapes: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    return sorted(shapes, key=lambda shape: shape[0] * shape[1], reverse=True)


def _terms(styles: Sequence[Style], config: Config) -> dict[str, Any]:
    """Return what `forecast.memory` needs to know of the terms of styles that count."""
    counted = named.used(styles)
    # Under mix, styles with the same mask and method have the same terms.
    alike = {(style.mask, style.method) for style in counted}
    masked = any(style.mask or style.style_mask for style in counted)
    return {"groups": len(counted if config.blend == "between" else alike), "masked": masked}


def _read_style(
    style: Style,
    content: StrPath,
    size: tuple[int, int],
    config: Config,
    checksums: dict[str, str],
    recoloured: "_Recoloured",
) -> tuple[StyleImage, images.Picture]:
    """Read and resize the files of a style; add their checksums to `checksums`.

    Returns
    -------
    StyleImage
    images.Picture
        The last of its pictures before resizing.
    """
    resized, shape = [], size
    for path in style.pictures:
        edge = named.long_edge(style, max(size))
        picture = images.read(path, long_edge=edge, max_pixels=config.max_pixels)
        checksums[path] = picture.sha256
        shape = named.resized_shape(picture.own_size, path, style, size, config)
        resized.append(images.resize(picture.pixels, shape))

    def mask(path: str, picture: StrPath, size: tuple[int, int]) -> Any:
        if not path:
            return None
        whole = images.read_mask(path, picture, max_pixels=config.max_pixels)
        checksums[path] = whole.sha256
        return masks.resized(whole.values, size)

    style_mask = mask(style.style_mask, style.path, shape)
    image = StyleImage(
        images=tuple(_network_input(recoloured(pixels, style_mask), config) for pixels in resized),
        weight=style.weight,
        method=style.method,
        mask=mask(style.mask, content, size),
        style_masks=() if style_mask is None else (style_mask,),
        ratios=tuple(named.ratio(pixels.shape, style, size) for pixels in resized),
    )
    return image, picture


def _identity(picture: images.Picture) -> dict[str, str]:
    return {"path": picture.path, "sha256": picture.sha256}


@dataclass(frozen=True)
class _Recoloured:
    """Gives the pixels of a style picture the colours that `Config.keep_colors` asks for."""

    mode: str
    content: Any
    alpha: Any

    def __call__(self, pixels: Any, mask: Any) -> Any:
        return kept.style_pixels(self.mode, pixels, self.content, mask, self.alpha)


def _pixels(
    pictures: dict[str, images.Picture], size: tuple[int, int], config: Config
) -> tuple[dict[str, Any], Any]:
    """Return the pixels of content and start as the network gets them, and the content's own."""
    content = images.resize(pictures["content"].pixels, size)
    pixels = {"content": kept.input_pixels(config.keep_colors, content)}
    if "init" in pictures:
        start = pictures["init"].pixels
        middle = images.cropped(start, images.crop_size(start.shape, size))
        pixels["init"] = kept.input_pixels(config.keep_colors, images.resize(middle, size))
    return pixels, content


def _network_input(pixels: Any, config: Config) -> Any:
    return images.to_input(pixels, 256 if config.faithful else 255)
