"""A plot of a comparison: the theorem, each map's positions, and what is left of each MMD."""

import os

from ...config import METHODS
from .. import canvas

_COLOURS = {"style": "#a9b3bd", "content": "#e07b28", "made": "#1f5fa8"}
_SHORT = {"linear": "linear", "poly": "poly", "gaussian": "Gauss", "bn": "BN"}
# Positions of each picture: more would hide one another.
_POINTS = 500
_DPI = 110


def write(comparison, path: os.PathLike) -> None:
    """Plot a `Comparison` to a file, whole or not at all.

    Raises
    ------
    OutputError
    """
    with canvas.styled(**{"font.size": 9, "axes.titlesize": 10}):
        canvas.save(_figure(comparison), path, _DPI)


def _figure(comparison):
    from matplotlib.figure import Figure

    layers, made = comparison.layers, "made" in comparison.pixels
    heights = 2.5, 4.9 if made else 2.7
    figure = Figure((max(9.5, 2.1 * len(layers)), sum(heights)), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=heights)
    roles = [role for role in ("content", "style", "made") if role in comparison.pixels]
    *places, last = upper.subplots(1, len(roles) + 1)
    for place, role in zip(places, roles):
        place.imshow(comparison.pixels[role])
        place.set_title(role, color=_COLOURS[role], fontweight="bold")
        place.set_anchor("N")
        place.set_axis_off()
    _theorem(last, layers)
    # One grid, so that what is said of a layer stands in one column.
    rows = lower.subplots(2 if made else 1, len(layers), squeeze=False)
    for place, layer in zip(rows[0], layers):
        _positions(place, layer)
    _heading(
        rows[0][0],
        "Positions of the maps on the two leading axes of the style's Gram matrix, "
        "and the axes' part of its trace",
    )
    if made:
        for place, layer in zip(rows[1], layers):
            _left(place, layer)
        for place in rows[1][1:]:
            place.sharey(rows[1][0])
            place.tick_params(labelleft=False)
        _heading(rows[1][0], "MMD² of made and style, over MMD² of content and style")
    return figure


def _heading(place, text):
    """Write above the first panel of a row, across the others, in the empty line of its title."""
    written = place.annotate(
        text, (0, 1), (0, 24 if place.get_title().strip() else 6), xycoords="axes fraction",
        textcoords="offset points", fontsize=11,
    )  # fmt: skip
    # It would widen the first column.
    written.set_in_layout(False)


def _theorem(place, layers):
    """Draw Eq. 6 over Eq. 8, on the same positions, a point for each layer."""
    place.set_title("Gram loss = MMD² / 4N²")
    place.set(xlabel="double sum over pairs (Eq. 8)", ylabel="Gram matrices (Eq. 6)")
    # A layer where the two maps are one has no place on these axes.
    points = sorted(
        (layer.sample_pairs, layer.sample_gram, layer.name) for layer in layers if layer.gram
    )
    for number, (pairs, gram, name) in enumerate(points):
        place.loglog(pairs, gram, "o", color="0.2", markersize=4)
        # On either side of the diagonal in turn, since two may be close.
        offset, across, up = (
            ((-6, 1), "right", "bottom") if number % 2 else ((6, -1), "left", "top")
        )
        place.annotate(
            name, (pairs, gram), offset, textcoords="offset points", fontsize=7, ha=across, va=up
        )
    place.margins(0.35)
    if points:
        ends = place.get_xlim()
        place.loglog(ends, ends, color="0.8", zorder=0)
        place.set(xlim=ends, ylim=ends)


def _positions(place, layer):
    place.set_title(f"\n{layer.name}")
    place.set(xticks=[], yticks=[], xlabel=f"{100 * layer.share:.0f} %")
    for role, size in (("style", 22), ("content", 4), ("made", 4)):
        if role in layer.axes:
            across, up = layer.axes[role][:_POINTS].T
            place.scatter(
                across, up, s=size, color=_COLOURS[role], alpha=0.7, linewidths=0, rasterized=True
            )


def _left(place, layer):
    """Draw what is left of each MMD², hanging from 1."""
    place.set_title(" ")
    place.set_yscale("log")
    place.axhline(1, color=_COLOURS["content"])
    for number, method in enumerate(METHODS):
        left = layer.left(method)
        # An estimate of the Gaussian's may be below 0.
        if left is not None and left > 0:
            place.plot([number, number], [1, left], color="0.8", zorder=0)
            place.plot(number, left, "o", color=_COLOURS["made"], markersize=5)
            place.annotate(
                f"{100 * left:.2g} %", (number, left), (0, -6), textcoords="offset points",
                fontsize=7, ha="center", va="top",
            )  # fmt: skip
    place.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    place.set_xticks(range(len(METHODS)), [_SHORT[method] for method in METHODS])
    place.set_xlim(-0.6, len(METHODS) - 0.4)
    place.margins(y=0.2)
