"""Plots a comparison: the theorem, the positions of each map, and the remaining MMDs."""

from collections.abc import Sequence
from typing import Any

from ...config import PAPER_METHODS
from ...files import StrPath
from .. import canvas
from .comparison import Comparison, Layer

_COLOURS = {"style": "#a9b3bd", "content": "#e07b28", "made": "#1f5fa8"}
_SHORT = {"linear": "linear", "poly": "poly", "gaussian": "Gauss", "bn": "BN"}
# Positions to plot of each picture; more would hide one another.
_POINTS = 500
_DPI = 110


def write(comparison: Comparison, path: StrPath) -> None:
    """Plot a `Comparison` to a file, whole or not at all.

    Raises
    ------
    OutputError
    """
    with canvas.styled(**{"font.size": 9, "axes.titlesize": 10}):
        canvas.save(_figure(comparison), path, _DPI)


def _figure(comparison: Comparison) -> Any:
    from matplotlib.figure import Figure

    layers, has_made = comparison.layers, "made" in comparison.pixels
    heights = 2.5, 4.9 if has_made else 2.7
    figure = Figure((max(9.5, 2.1 * len(layers)), sum(heights)), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=heights)
    upper, lower = parts
    roles = [role for role in ("content", "style", "made") if role in comparison.pixels]
    *axes, last = upper.subplots(1, len(roles) + 1)
    for ax, role in zip(axes, roles):
        ax.imshow(comparison.pixels[role])
        ax.set_title(role, color=_COLOURS[role], fontweight="bold")
        ax.set_anchor("N")
        ax.set_axis_off()
    _theorem(last, layers)
    # One grid, so that each layer has one column.
    rows = lower.subplots(2 if has_made else 1, len(layers), squeeze=False)
    for ax, layer in zip(rows[0], layers):
        _positions(ax, layer)
    _heading(
        rows[0][0],
        "Positions of the maps on the two leading axes of the style's Gram matrix, "
        "and their share of its trace",
    )
    if has_made:
        for ax, layer in zip(rows[1], layers):
            _left(ax, layer)
        for ax in rows[1][1:]:
            ax.sharey(rows[1][0])
            ax.tick_params(labelleft=False)
        _heading(rows[1][0], "MMD² of made and style, over MMD² of content and style")
    return figure


def _heading(ax: Any, text: str) -> None:
    """Write a heading above a row, from its first panel on, in the empty line of the title."""
    written = ax.annotate(
        text, (0, 1), (0, 24 if ax.get_title().strip() else 6), xycoords="axes fraction",
        textcoords="offset points", fontsize=11,
    )  # fmt: skip
    # The layout would widen the first column for it.
    written.set_in_layout(False)


def _theorem(ax: Any, layers: Sequence[Layer]) -> None:
    """Plot Eq. 6 against Eq. 8 on the same positions, one point per layer."""
    ax.set_title("Gram loss = MMD² / 4N²")
    ax.set(xlabel="double sum over pairs (Eq. 8)", ylabel="Gram matrices (Eq. 6)")
    # Two identical maps give 0, which a logarithmic axis cannot show.
    points = sorted(
        (layer.sample_pairs, layer.sample_gram, layer.name) for layer in layers if layer.gram
    )
    for number, (pairs, gram, name) in enumerate(points):
        ax.loglog(pairs, gram, "o", color="0.2", markersize=4)
        # Alternate between the sides of the diagonal, since two points may be close.
        offset, across, up = (
            ((-6, 1), "right", "bottom") if number % 2 else ((6, -1), "left", "top")
        )
        ax.annotate(
            name, (pairs, gram), offset, textcoords="offset points", fontsize=7, ha=across, va=up
        )
    ax.margins(0.35)
    if points:
        ends = ax.get_xlim()
        ax.loglog(ends, ends, color="0.8", zorder=0)
        ax.set(xlim=ends, ylim=ends)


def _positions(ax: Any, layer: Layer) -> None:
    ax.set_title(f"\n{layer.name}")
    ax.set(xticks=[], yticks=[], xlabel=f"{100 * layer.share:.0f} %")
    for role, size in (("style", 22), ("content", 4), ("made", 4)):
        if role in layer.axes:
            across, up = layer.axes[role][:_POINTS].T
            ax.scatter(
                across, up, s=size, color=_COLOURS[role], alpha=0.7, linewidths=0, rasterized=True
            )


def _left(ax: Any, layer: Layer) -> None:
    """Plot the remaining share of each MMD², on lines that hang from 1."""
    ax.set_title(" ")
    ax.set_yscale("log")
    ax.axhline(1, color=_COLOURS["content"])
    for number, method in enumerate(PAPER_METHODS):
        left = layer.left(method)
        # The Gaussian's estimate may be negative.
        if left is not None and left > 0:
            ax.plot([number, number], [1, left], color="0.8", zorder=0)
            ax.plot(number, left, "o", color=_COLOURS["made"], markersize=5)
            ax.annotate(
                f"{100 * left:.2g} %", (number, left), (0, -6), textcoords="offset points",
                fontsize=7, ha="center", va="top",
            )  # fmt: skip
    ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    ax.set_xticks(range(len(PAPER_METHODS)), [_SHORT[method] for method in PAPER_METHODS])
    ax.set_xlim(-0.6, len(PAPER_METHODS) - 0.4)
    ax.margins(y=0.2)
