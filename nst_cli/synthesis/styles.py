"""The styles of a transfer: their pictures, their shares, and where they apply.

The styles that share a mask and a method form a group, which has one target and one term for each
method and layer. Under ``blend = "mix"`` the target is that of the mixed distribution of all their
pictures, Σ w_k S_k; under ``between`` each style is a group of its own, so their losses add up.
For an MMD both have the same gradient. For other losses the minimum of the sum is a style between
the given ones, such as the Wasserstein barycentre, and that of the mixture contains them all.

Weights are divided by s with Σ w_k a_k / s = a, where a_k is the mean of style k's mask, and a the
mean of min(1, Σ masks). So they sum to 1 without masks, and regions that do not overlap have
weight 1 each: a mask changes where a style applies, and not how much.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

import numpy

from .. import checks, images
from ..checks import parse_weights, short
from ..config import Config
from ..errors import ConfigError, ShapeError
from ..plugins import NAMES
from . import masks, vgg
from .margin import with_margin

_checked_method = checks.fusion(NAMES)


@dataclass(frozen=True)
class StyleImage:
    """One style of a transfer.

    Attributes
    ----------
    images : tuple of numpy.ndarray, shape (1, 3, H, W)
        Network input. The statistics of several pictures are pooled, each with the same weight.
    weight : float
        Share of this style beside the others, not negative; `transfer` normalises the shares.
    method : str
        A style loss or fusion as in `Config.method`; empty for that of the config.
    mask : numpy.ndarray or None, shape (H, W)
        Where the style applies in the picture, from 0 to 1, in the content's size; None for
        everywhere.
    style_masks : tuple of (numpy.ndarray or None)
        Which parts of each picture are the style; empty for all of every picture.
    ratios : tuple of float
        How many times larger each picture would be in proportion to the content, from 1 on; empty
        for 1. At smaller scales, a picture is reduced no further than to its proportion.
    """

    images: tuple[Any, ...]
    weight: float = 1.0
    method: str = ""
    mask: Any = None
    style_masks: tuple[Any, ...] = ()
    ratios: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of a group of styles.

    Attributes
    ----------
    image : numpy.ndarray, shape (1, 3, H, W)
    share : float
        Its part of the group.
    mask : numpy.ndarray or None, shape (H, W)
        Which parts of it are the style; None for all.
    ratio : float
        How many times larger it would be in proportion to the content.
    """

    image: numpy.ndarray
    share: float = 1.0
    mask: Optional[numpy.ndarray] = None
    ratio: float = 1.0


@dataclass(frozen=True, eq=False)
class Group:
    """Styles with one target and one term for each method and layer.

    Attributes
    ----------
    pictures : tuple of Picture
    methods : dict of str to float
        The style losses and their weights in the fusion.
    weight : float
        The normalised weight of its styles.
    mask : numpy.ndarray or None, shape (H, W)
        Where it applies; None for everywhere.
    number : int
        The number of its first style, counted from 1, for names and messages.
    index : int
        Its place among the groups, counted from 0, by which its random draws are keyed.
    numbered : frozenset of str
        The methods that other groups have too: the names of its terms end with `number`.
    """

    pictures: tuple[Picture, ...]
    methods: dict[str, float]
    weight: float = 1.0
    mask: Optional[numpy.ndarray] = None
    number: int = 1
    index: int = 0
    numbered: frozenset[str] = field(default_factory=frozenset)

    @property
    def plain(self) -> bool:
        """Whether its style is a single whole picture."""
        return len(self.pictures) == 1 and self.pictures[0].mask is None

    @property
    def whole(self) -> bool:
        """Whether it has no mask at all."""
        return self.mask is None and all(picture.mask is None for picture in self.pictures)

    @property
    def area(self) -> float:
        """The mean of its mask."""
        return 1.0 if self.mask is None else float(self.mask.mean(dtype=numpy.float64))

    def at_size(self, size: tuple[int, int], factor: float) -> "Group":
        """Return the group for content of a size, `factor` times as large as now."""
        pictures = []
        for picture in self.pictures:
            part = min(1.0, factor * picture.ratio)
            sides = [max(vgg.SMALLEST_SIDE, round(side * part)) for side in _size(picture.image)]
            mask = None if picture.mask is None else masks.resized(picture.mask, sides)
            image = images.resize_input(picture.image, sides)
            pictures.append(replace(picture, image=image, mask=mask))
        mask = None if self.mask is None else masks.resized(self.mask, size)
        return replace(self, pictures=tuple(pictures), mask=mask)

    def with_margin(self, margin: int) -> "Group":
        """Return the group for content with a margin."""
        if not margin or self.mask is None:
            return self
        return replace(self, mask=with_margin(self.mask, margin))

    def covers_any(self, config: Config) -> bool:
        """Return whether its masks leave a position of any style layer, on both sides."""
        inside = config.mask_inside
        return any(
            _leaves(self.mask, layer, inside)
            and any(_leaves(picture.mask, layer, inside) for picture in self.pictures)
            for layer in config.style_layers
        )


def grouped(styles: Sequence[StyleImage], size: Sequence[int], config: Config) -> list[Group]:
    """Check styles, leave out those of weight 0, and group the others.

    Parameters
    ----------
    styles : sequence of StyleImage
        Their images have been checked.
    size : (int, int)
        Height and width of the content.
    config : Config

    Returns
    -------
    list of Group
        In the order of their first styles.

    Raises
    ------
    ShapeError
        A mask has another shape than its picture, a value that is not from 0 to 1, or no other
        value than 0; or it covers no position of any style layer.
    ConfigError
        A weight or method is not valid, every weight is 0, or `Config.beta` lacks a method.
    """
    checked = [
        _checked(style, _name(number, styles), size, config)
        for number, style in enumerate(styles, 1)
    ]
    groups: list[Group] = []
    for number, style in enumerate(checked, 1):
        if style.weight:
            group = Group(
                _pictures(style), _methods(style, config), style.weight, style.mask, number
            )
            fellow = next((one for one in groups if _alike(one, group)), None)
            if fellow is None or config.blend == "between":
                groups.append(group)
            else:
                groups[groups.index(fellow)] = _joined(fellow, group)
    if not groups:
        raise ConfigError("Every weight of the styles is 0.", "style_weights")
    check_beta(config, {method for group in groups for method in group.methods})
    groups = _normalised(groups)
    for group in groups:
        if not group.covers_any(config):
            inside = ", with all that its features see" if config.mask_inside else ""
            raise ShapeError(
                f"{_name(group.number, styles)}: its mask covers less than one position of every "
                f"style layer{inside}."
            )
    return groups


def check_beta(config: Config, methods: Iterable[str]) -> None:
    """Raise a `ConfigError` unless `Config.beta` fits the methods of all styles."""
    methods = sorted(methods)
    way = "use beta paper or auto, or name all methods in method and in beta."
    if isinstance(config.beta, float) and len(methods) > 1:
        raise ConfigError(
            f"beta {config.beta:g} is one value, and the styles have the methods "
            f"{', '.join(methods)}: {way}",
            "beta",
        )
    if isinstance(config.beta, str) and config.beta not in ("paper", "auto"):
        missing = [method for method in methods if method not in parse_weights(config.beta)]
        if missing:
            raise ConfigError(
                f"beta {short(config.beta)} has no value for {', '.join(missing)}, which a style "
                f"has as its method: {way}",
                "beta",
            )


def shares(groups: Sequence[Group]) -> dict[str, float]:
    """Return the part of all style that each method has, ``{method: share}``.

    That of a single style is its weight in the fusion. With masks it is the mean over the area
    where any style has the method.
    """
    result = {}
    for method in dict.fromkeys(method for group in groups for method in group.methods):
        users = [group for group in groups if group.methods.get(method)]
        parts = (group.weight * group.area * group.methods[method] for group in users)
        result[method] = sum(parts, 0.0) / _area(users) if users else 0.0
    return result


def coverage(groups: Sequence[Group]) -> Optional[numpy.ndarray]:
    """Return min(1, Σ masks), shape (H, W), or None if some group applies everywhere."""
    total = None
    for group in groups:
        if group.mask is None:
            return None
        total = group.mask if total is None else total + group.mask
    return None if total is None else numpy.minimum(total, 1)


def _area(groups: Sequence[Group]) -> float:
    cover = coverage(groups)
    return 1.0 if cover is None else float(cover.mean(dtype=numpy.float64))


def _checked(style: StyleImage, name: str, size: Sequence[int], config: Config) -> StyleImage:
    """Return a style with weight, method and masks in their final form."""
    weight = checks.number("style_weights", style.weight, what=f"The weight of {_lower(name)}")
    method = _checked_method("method", style.method) if style.method else ""
    style_masks = tuple(style.style_masks) or (None,) * len(style.images)
    if len(style_masks) != len(style.images):
        raise ShapeError(
            f"{name} has {len(style.images)} pictures and {len(style_masks)} masks of them; it "
            "must have one for each, or none."
        )
    ratios = tuple(style.ratios) or (1.0,) * len(style.images)
    if len(ratios) != len(style.images) or not all(ratio >= 1 for ratio in ratios):
        raise ShapeError(
            f"{name} has ratios {ratios}; it must have one from 1 on for each of its "
            f"{len(style.images)} pictures, or none."
        )
    return StyleImage(
        style.images,
        weight,
        method,
        masks.checked(f"The mask of {_lower(name)}", style.mask, size),
        tuple(
            masks.checked(f"The mask of a picture of {_lower(name)}", mask, _size(image))
            for mask, image in zip(style_masks, style.images)
        ),
        ratios,
    )


def _name(number: int, styles: Sequence[StyleImage]) -> str:
    return "The style" if len(styles) == 1 else f"Style {number}"


def _lower(name: str) -> str:
    return name[0].lower() + name[1:]


def _pictures(style: StyleImage) -> tuple[Picture, ...]:
    share = 1 / len(style.images)
    return tuple(
        Picture(image, share, mask, ratio)
        for image, mask, ratio in zip(style.images, style.style_masks, style.ratios)
    )


def _methods(style: StyleImage, config: Config) -> dict[str, float]:
    if not style.method:
        return config.methods
    return parse_weights(style.method) if "=" in style.method else {style.method: 1.0}


def _alike(one: Group, other: Group) -> bool:
    """Return whether two groups have the same methods and mask."""
    if one.mask is None or other.mask is None:
        same = one.mask is other.mask
    else:
        same = numpy.array_equal(one.mask, other.mask)
    return same and one.methods == other.methods


def _joined(one: Group, other: Group) -> Group:
    """Return the mixture of two groups, with the number of the first."""
    weight = one.weight + other.weight
    pictures = tuple(
        replace(picture, share=picture.share * group.weight / weight)
        for group in (one, other)
        for picture in group.pictures
    )
    return replace(one, pictures=pictures, weight=weight)


def _normalised(groups: Sequence[Group]) -> list[Group]:
    """Return the groups with their final weights, places and names."""
    scale = sum(group.weight * group.area for group in groups) / _area(groups)
    methods = [method for group in groups for method in group.methods]
    return [
        replace(
            group,
            weight=group.weight / scale,
            index=index,
            numbered=frozenset(one for one in group.methods if methods.count(one) > 1),
        )
        for index, group in enumerate(groups)
    ]


def _leaves(mask: Optional[numpy.ndarray], layer: str, inside: bool) -> bool:
    """Return whether a mask leaves a position of a layer."""
    return mask is None or masks.at_layer(mask, layer, inside).sum() >= masks.LEAST_MASS


def _size(image: numpy.ndarray) -> tuple[int, int]:
    height, width = image.shape[2:]
    return height, width
