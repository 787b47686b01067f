"""The options of `nst stylize` for its styles: shares, sizes and masks."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Optional

import click

from .. import checks
from ..errors import ConfigError
from .options import PATH

if TYPE_CHECKING:
    from ..runs.styles import Style

_OPTIONS = (
    click.option(
        "--style-weights", metavar="X,...",
        help="Shares of the styles, one for each STYLE.  [default: equal]",
    ),
    click.option(
        "--style-scale", metavar="X|auto,...",
        help="Size of the styles as a factor on that of the finished picture, one for all or one "
        "for each STYLE; above 1 for larger strokes. auto: 1 where a style has the pixels, and "
        "no larger than its own size.  [default: 1]",
    ),
    click.option(
        "--mask", "masks", metavar="FILE|none", type=PATH, multiple=True,
        help="Where a style applies: once for each STYLE, in their order. A picture of CONTENT's "
        "size: white here, grey partly, black not; none: everywhere.",
    ),
    click.option(
        "--style-mask", "style_masks", metavar="FILE|none", type=PATH, multiple=True,
        help="Where a style is taken from: likewise, a picture of that STYLE's size.",
    ),
)  # fmt: skip


def style_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of styles to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def styles_of(
    paths: Sequence[str],
    style_weights: Optional[str],
    style_scale: Optional[str],
    masks: Sequence[str],
    style_masks: Sequence[str],
) -> list["Style"]:
    """Return the styles of a command line.

    Raises
    ------
    ConfigError
        A number is not valid, or there are more or fewer values than styles.
    """
    from ..runs.styles import NO_MASK, Style, check_scale

    count = len(paths)
    weights = _values("style_weights", style_weights, count, checks.number) or [1.0] * count
    scales = _values("style_scale", style_scale, count, check_scale, one_for_all=True) or [1.0]
    scales *= len(paths) if len(scales) == 1 else 1
    for field, given in (("mask", masks), ("style_mask", style_masks)):
        if given and len(given) != len(paths):
            raise ConfigError(
                f"{_counted(len(given), 'mask')} for {_counted(len(paths), 'style')}: give one "
                "for each style, in their order, and none for a style without a mask.",
                field,
            )
        if "" in given:
            raise ConfigError("it names no file; none stands for no mask.", field)
    masks, style_masks = (
        ["" if path == NO_MASK else path for path in given or [NO_MASK] * len(paths)]
        for given in (masks, style_masks)
    )
    return list(map(Style, paths, weights, scales, masks, style_masks))


def _values(
    field: str,
    text: Optional[str],
    styles: int,
    check: Callable[[str, str], Any],
    one_for_all: bool = False,
) -> list[Any]:
    """Return the checked values of a text with commas, none if there is no text."""
    if text is None:
        return []
    values = [check(field, part.strip()) for part in text.split(",")]
    if len(values) != styles and not (one_for_all and len(values) == 1):
        all_of_them = "one for all or " if one_for_all else ""
        raise ConfigError(
            f"{field} has {_counted(len(values), 'number')} for {_counted(styles, 'style')}; "
            f"give {all_of_them}one for each.",
            field,
        )
    return values


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count > 1)}"
