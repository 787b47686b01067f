"""The numbers of a comparison as lines of text of at most 100 columns."""

from collections.abc import Iterator, Sequence
from typing import Any, Optional, Union

from ...config import PAPER_METHODS
from .comparison import Comparison, Layer

_TITLES = {"linear": "linear", "gaussian": "Gaussian", "bn": "BN (Eq. 11)"}


def lines(comparison: Comparison) -> Iterator[str]:
    """Yield the lines of a `Comparison`, in ASCII except for the pictures' names."""
    yield from _pictures(comparison.sources)
    yield ""
    yield from _theorem(comparison.layers)
    yield ""
    yield "MMD^2 between content and style"
    yield from _distances(comparison, "content")
    if "made" in comparison.sources:
        yield ""
        yield "MMD^2 between made and style, and its share of the one above"
        yield from _distances(comparison, "made")


def titles(comparison: Comparison) -> dict[str, str]:
    """Return the title of each method's distance, ``{method: title}``."""
    constant = f" + {comparison.c:g}" if comparison.c else ""
    by_method = {**_TITLES, "poly": f"(x.y{constant})^2"}
    return {method: by_method[method] for method in PAPER_METHODS}


def _pictures(sources: dict[str, dict[str, Any]]) -> Iterator[str]:
    for role in ("content", "style", "made"):
        if role in sources:
            source = sources[role]
            yield f"{role:<9}{source['path']}, {source['width']} x {source['height']}"


def _theorem(layers: Sequence[Layer]) -> Iterator[str]:
    yield "The Gram loss is a squared MMD: Eq. 6 = MMD^2 / 4N^2 with k(x, y) = (x.y)^2 (Eq. 9)"
    yield f"{'positions':>28}{'Eq. 6, all positions':>32}{'on the sampled positions':>40}"
    yield (
        f"{'layer':<8}{'N':>4}{'content':>8}{'style':>8}"
        f"{'stylize':>12}{'Gram':>12}{'diff':>8}"
        f"{'sampled':>8}{'Gram':>12}{'all pairs':>12}{'diff':>8}"
    )
    for layer in layers:
        yield (
            f"{layer.name:<8}{layer.channels:>4}"
            f"{layer.positions['content']:>8}{layer.positions['style']:>8}"
            f"{layer.loss:>12.4e}{layer.gram:>12.4e}{_difference(layer.loss_difference)}{_sample(layer):>8}"
            f"{layer.sample_gram:>12.4e}{layer.sample_pairs:>12.4e}{_difference(layer.sample_difference)}"
        )


def _distances(comparison: Comparison, role: str) -> Iterator[str]:
    names = titles(comparison).values()
    yield f"{'layer':<8}" + "".join(f"{name:>14}{'':<9}" for name in names).rstrip()
    for layer in comparison.layers:
        cells = [
            f"{layer.mmd[role][method]:>14.2e}{_share(layer, method) if role == 'made' else '':<9}"
            for method in PAPER_METHODS
        ]
        yield (f"{layer.name:<8}" + "".join(cells)).rstrip()


def _sample(layer: Layer) -> Union[str, int]:
    whole = layer.sampled == layer.positions
    return "all" if whole else max(layer.sampled.values())


def _difference(difference: Optional[float]) -> str:
    return f"{'-' if difference is None else format(difference, '.0e'):>8}"


def _share(layer: Layer, method: str) -> str:
    left = layer.left(method)
    return "  -" if left is None else f"  {100 * left:.2g} %"
