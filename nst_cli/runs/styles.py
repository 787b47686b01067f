"""The styles of a run as a user names them: pictures, shares, sizes, masks and methods."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional, Union

from .. import images
from ..checks import number, parse_weights, short
from ..config import OPTIONS, Config
from ..errors import ConfigError, ImageError, reason
from ..files import StrPath
from . import sidecar, sizes
from .provenance import AUTO, MOST_PICTURES, MOST_SCALE, MOST_STYLES
from .sizes import Size

# From this long edge on, a note says when a style is enlarged by this factor or more.
_LARGE, _BLURRED = 1000, 1.5
#: The word for a style without a mask, where others have one.
NO_MASK = "none"


@dataclass(frozen=True)
class Style:
    """One style of a run.

    Attributes
    ----------
    path : str
        A picture, or a folder of pictures whose statistics are pooled.
    weight : float
        Share of this style beside the others; 0 leaves it out.
    scale : float or str
        Factor on the long edge of the finished picture, for that of the style; larger values give
        larger strokes. ``auto``: 1 as far as the style has the pixels, at each size on the way.
    mask : str
        A picture of the content's size that is white where the style applies; empty for
        everywhere.
    style_mask : str
        A picture of the style's size that is white where the style is taken from; empty for
        everywhere.
    method : str
        A style loss or fusion; empty for that of the config.
    files : tuple of str or None
        The pictures of a folder, which `listed` finds; None if `path` is a picture.
    """

    path: str
    weight: float = 1.0
    scale: Union[float, str] = 1.0
    mask: str = ""
    style_mask: str = ""
    method: str = ""
    files: Optional[tuple[str, ...]] = None

    @property
    def pictures(self) -> tuple[str, ...]:
        """The paths of the pictures of the style."""
        return (self.path,) if self.files is None else self.files

    @property
    def is_plain(self) -> bool:
        """Whether the style is one whole picture, everywhere."""
        return self == Style(self.path)

    @property
    def stem(self) -> str:
        """The name without folder and ending, for the names of outputs."""
        name = os.path.basename(os.path.abspath(self.path))
        return name if self.files is not None else os.path.splitext(name)[0]


#: Styles as functions accept them: the path of one picture or folder, or several styles.
Styles = Union[StrPath, Iterable[Style]]


def as_styles(styles: Styles) -> tuple[Style, ...]:
    """Return styles as a tuple; a path alone is one style."""
    if isinstance(styles, (str, os.PathLike)):
        return (Style(os.fspath(styles)),)
    return tuple(styles)


def used(styles: Styles) -> tuple[Style, ...]:
    """Return the styles that count: those with a weight; one alone has weight 1."""
    weighed = [style for style in as_styles(styles) if style.weight]
    return (replace(weighed[0], weight=1.0),) if len(weighed) == 1 else tuple(weighed)


def check(styles: Sequence[Style], config: Config) -> None:
    """Check values that can be checked without reading a file.

    Raises
    ------
    ConfigError
        A number or a method is not valid, there are too many styles, or all weights are 0.
    """
    if len(styles) > MOST_STYLES:
        raise ConfigError(f"There are {len(styles)} styles; a run takes up to {MOST_STYLES}.")
    for style in styles:
        number("style_weights", style.weight, what=f"weight of the style {style.path}")
        check_scale("style_scale", style.scale, f"scale of the style {style.path}")
        if style.method:
            OPTIONS["method"].check("method", style.method)
        if style.style_mask and style.files is not None:
            raise ConfigError(
                f"The style {style.path} is a folder, and a style mask belongs to one picture: "
                "name the picture as a style of its own."
            )
    if not any(style.weight for style in styles):
        names = ", ".join(style.path for style in styles)
        raise ConfigError(
            f"Every weight of the styles is 0 ({names}); give one of them a weight above 0.",
            "style_weights",
        )


def check_scale(field: Optional[str], value: Any, what: str = "style_scale") -> Union[float, str]:
    """Return a style's scale: ``auto``, or a float.

    Raises
    ------
    ConfigError
        It is neither, or out of range.
    """
    if value == AUTO:
        return AUTO
    if isinstance(value, str) and value.isalpha():
        raise ConfigError(f"{what} is {short(value)}; it must be a number, or {AUTO}.", field)
    scale = number(field, value, positive=True, what=what)
    if scale > MOST_SCALE:
        raise ConfigError(f"{what} is {scale:g}; it must be at most {MOST_SCALE:g}.", field)
    return scale


def listed(style: Style) -> Style:
    """Return a style with the pictures of its folder, if it is one.

    Files that are no pictures, hidden files, folders in it and pictures that nst made are left
    out.

    Raises
    ------
    ImageError
        The folder cannot be listed, or has no pictures or too many.
    """
    if style.files is not None or not os.path.isdir(style.path):
        return style
    masks = {os.path.realpath(path) for path in (style.mask, style.style_mask) if path}
    try:
        names = sorted(name for name in os.listdir(style.path) if not name.startswith("."))
    except OSError as error:
        raise ImageError(f"Cannot list the folder {style.path}: {reason(error)}.") from error
    paths = [os.path.join(style.path, name) for name in names]
    pictures = [
        path for path in paths if os.path.realpath(path) not in masks and images.is_picture(path)
    ]
    kept = [path for path in pictures if not is_by_nst(path)]
    if not kept:
        others = " but pictures that nst made" if pictures else ""
        raise ImageError(
            f"The style {style.path} is a folder without pictures{others}: name a picture, or a "
            "folder that holds some."
        )
    if len(kept) > MOST_PICTURES:
        raise ImageError(
            f"The style {style.path} is a folder of {len(kept)} pictures; a style takes up to "
            f"{MOST_PICTURES}."
        )
    return replace(style, files=tuple(kept))


def is_by_nst(path: str) -> bool:
    """Return whether a picture has nst's metadata, or a sidecar of nst's beside it."""
    try:
        if images.read_metadata(path) is not None:
            return True
    # Reading the picture reports that it is broken.
    except ImageError:
        pass
    return sidecar.is_sidecar(sidecar.sidecar_of(path))


def files_of(styles: Sequence[Style]) -> dict[str, str]:
    """Return the path of each file of some styles by its role, which names it in a run.

    The one picture of a single style is ``style``; others are ``style-1``, ``style-2-3`` for the
    third picture of the second style, ``mask-2`` and ``style-mask-2``.
    """
    if len(styles) == 1 and styles[0].is_plain:
        return {"style": styles[0].path}
    return dict(_files_of(styles))


def _files_of(styles: Sequence[Style]) -> Iterator[tuple[str, str]]:
    for place, style in enumerate(styles, 1):
        if style.files is None:
            yield f"style-{place}", style.path
        else:
            yield from (
                (f"style-{place}-{file}", path) for file, path in enumerate(style.files, 1)
            )
        for role, path in (("mask", style.mask), ("style-mask", style.style_mask)):
            if path:
                yield f"{role}-{place}", path


def masks_of(style: Style, content: StrPath) -> list[tuple[str, StrPath]]:
    """Return the path of each mask of a style with that of the picture it belongs to."""
    pairs: list[tuple[str, StrPath]] = [(style.mask, content), (style.style_mask, style.path)]
    return [(mask, picture) for mask, picture in pairs if mask]


def moved(style: Style, places: Callable[[str], str]) -> Style:
    """Return a style with each path of a file replaced by another."""
    if style.files is None:
        style = replace(style, path=places(style.path))
    else:
        style = replace(style, files=tuple(map(places, style.files)))
    mask, style_mask = (path and places(path) for path in (style.mask, style.style_mask))
    return replace(style, mask=mask, style_mask=style_mask)


def methods_of(styles: Iterable[Any], config: Config) -> list[str]:
    """Return the methods of some styles, each once; `styles` are of any class with a method."""
    fusions = dict.fromkeys(style.method or config.method for style in styles)
    names = (parse_weights(fusion) if "=" in fusion else [fusion] for fusion in fusions)
    return list(dict.fromkeys(name for several in names for name in several))


def record(styles: Styles, checksum: Callable[[str], str]) -> dict[str, Any]:
    """Return the entry of a sidecar for the styles that count.

    Parameters
    ----------
    styles : path-like or sequence of Style
    checksum : callable
        Returns the SHA-256 of the file at a path.

    Returns
    -------
    dict
        ``style``, path and checksum, if there is one whole picture for everywhere; else
        ``styles``, a list.
    """

    def source(path: str) -> dict[str, str]:
        return {"path": path, "sha256": checksum(path)}

    def entry(style: Style) -> dict[str, Any]:
        files = (
            source(style.path)
            if style.files is None
            else {"path": style.path, "files": list(map(source, style.files))}
        )
        return {
            **files,
            "weight": style.weight,
            "scale": style.scale,
            "mask": source(style.mask) if style.mask else None,
            "style_mask": source(style.style_mask) if style.style_mask else None,
            "method": style.method,
        }

    styles = used(styles)
    if len(styles) == 1 and styles[0].is_plain:
        return {"style": source(styles[0].path)}
    return {"styles": list(map(entry, styles))}


def long_edge(style: Style, finished: int) -> int:
    """Return the long edge to which a style is resized at most, beside a finished picture's."""
    scale = 1.0 if style.scale == AUTO else float(style.scale)
    return max(1, math.floor(finished * scale + 0.5))


def resized_shape(
    shape: Sequence[int], path: str, style: Style, size: tuple[int, int], config: Config
) -> tuple[int, int]:
    """Return the size to which a picture of a style is resized.

    Parameters
    ----------
    shape : tuple
        Height and width of the picture.
    path : str
        For messages.
    style : Style
    size : (int, int)
        Size of the content, resized.
    config : Config

    Raises
    ------
    ImageError
        A side would be too small.
    """
    if style.scale == 1 or (style.scale == AUTO and max(shape) >= max(size)):
        return sizes.style_size(shape, size, config, path)
    if style.scale == AUTO:
        return _own_size(shape, path, size, config)
    edge = long_edge(style, max(size))
    try:
        return images.fit(size if config.style_fit == "squeeze" else shape, edge, path)
    except ImageError as error:
        raise ImageError(
            f"The style {path} is too small at scale {float(style.scale):g}: its long edge "
            f"becomes {edge} pixels, and each side needs {images.MIN_SIDE}; give a larger scale."
        ) from error


def ratio(shape: Sequence[int], style: Style, size: Sequence[int]) -> float:
    """Return how many times larger a style would be in proportion to a picture, from 1 on.

    Parameters
    ----------
    shape : tuple
        Height and width of a picture of the style, as `resized_shape` returns them.
    style : Style
    size : (int, int)
        Size of the content, resized.
    """
    return max(1.0, max(size) / max(shape[:2])) if style.scale == AUTO else 1.0


def notes(style: Style, path: str, in_file: Size, resized: Size, finished: Size) -> Iterator[str]:
    """Yield what a user should know of the size of a picture of a style.

    Parameters
    ----------
    style : Style
    path : str
    in_file, resized, finished : (int, int)
        Height and width: in the file, as the network gets them, and of the finished picture.
    """
    described = f"The style {path} has {in_file[1]} x {in_file[0]} pixels"
    part = ratio(resized, style, finished)
    if part > 1:
        yield (
            f"{described} and is not enlarged to the picture's {max(finished)}, so the finest "
            f"strokes are {1 / part:.2g} times as large as in proportion."
        )
    enlarged = max(resized) / max(in_file)
    if max(finished) >= _LARGE and enlarged >= _BLURRED:
        yield (
            f"{described} and is enlarged {enlarged:.2g} times, which blurs its strokes; with "
            f"--style-scale {AUTO} it is not."
        )


def _own_size(
    shape: Sequence[int], path: str, size: tuple[int, int], config: Config
) -> tuple[int, int]:
    """Return the size of a style that is smaller than the finished picture, not enlarged."""
    try:
        return images.fit(size if config.style_fit == "squeeze" else shape, max(shape[:2]), path)
    except ImageError as error:
        raise ImageError(
            f"The style {path} has {shape[1]} x {shape[0]} pixels, and each side needs "
            f"{images.MIN_SIDE}: use another, or scale 1, which enlarges it."
        ) from error
