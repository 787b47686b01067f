"""A score as lines of text of at most 100 columns."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Optional

from .measures import Left
from .scoring import Score, Scored

_WIDTH, _COLUMN = 100, 19
# The longest method's name, a layer's, and a space after each.
_LABEL = 24
_DECIMALS = 4


def lines(score: Score) -> Iterator[str]:
    """Yield the lines of a `Score`, in ASCII except for the pictures' names."""
    yield f"content  {_described(score.content)}"
    yield f"style    {_described(score.style)}"
    for number, scored in enumerate(score.pictures, 1):
        yield f"{number:<9}{_described(scored.source)}"
    yield ""
    yield "What is left of each alignment: 0 equals the style, 1 is as far from it as the content."
    if any(left.error is not None for left in _all(score)):
        yield f"Estimates have their standard error, from up to {score.draws} draws."
    if any(left.value is None for left in _all(score)):
        yield "-: the content itself has nothing left that could be measured."
    numbered = list(enumerate(score.pictures, 1))
    columns = (_WIDTH - _LABEL) // _COLUMN
    for start in range(0, len(numbered), columns):
        yield ""
        yield from _block(score, numbered[start : start + columns])


def _block(score: Score, numbered: Sequence[tuple[int, Scored]]) -> Iterator[str]:
    """Yield the lines of a few pictures."""
    pictures = [scored for _, scored in numbered]
    heads = [f"{number} {_name(scored)}" for number, scored in numbered]
    yield _line("", "", [_cut(head, _COLUMN - 1) for head in heads])
    layers = score.config.style_layers
    for method in score.config.methods:
        for place, layer in enumerate(layers):
            label = method if place == 0 else ""
            yield _line(label, layer, [_left(one.left[method][layer]) for one in pictures])
        if len(layers) > 1:
            yield _line("", "mean", [_left(one.mean(method)) for one in pictures])
    yield ""
    yield "Content loss: 0 is the content, 1 its features in random order."
    for place, layer in enumerate(score.config.content_layers):
        label = "content" if place == 0 else ""
        yield _line(label, layer, [_number(one.content[layer]) for one in pictures])
    if len(score.pictures) > 1:
        yield ""
        yield f"Rank among {len(score.pictures)}, and the mean of the ranks by each line above."
        yield _line("rank", "", [_number(one.rank) for one in pictures])
        yield _line("mean rank", "", [_number(one.mean_rank) for one in pictures])


def _all(score: Score) -> Iterator[Left]:
    for scored in score.pictures:
        for by_layer in scored.left.values():
            yield from by_layer.values()


def _described(source: dict[str, Any]) -> str:
    return f"{source['path']}, {source['width']} x {source['height']}"


def _name(scored: Scored) -> str:
    return str(scored.source["path"]).rpartition("/")[2]


def _cut(text: str, width: int) -> str:
    """Return a text of at most `width` characters; the middle is left out of a longer one."""
    if len(text) <= width:
        return text
    tail = (width - 2) // 2
    return f"{text[: width - 2 - tail]}..{text[-tail:]}"


def _line(label: str, layer: str, cells: Sequence[str]) -> str:
    text = f"{label:<{_LABEL - 9}} {layer:<8}" + "".join(f"{cell:>{_COLUMN}}" for cell in cells)
    return text.rstrip()


def _left(left: Left) -> str:
    if left.value is None or not left.error:
        return _number(left.value)
    # One digit of the error, and as many decimals of the value.
    decimals = min(max(-math.floor(math.log10(left.error)), 0), _DECIMALS)
    return f"{left.value:.{decimals}f} +-{left.error:.{decimals}f}"


def _number(value: Optional[float]) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.{_DECIMALS}f}"
