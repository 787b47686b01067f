"""Loss curves of logs, drawn by matplotlib."""

import math
import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from .. import files
from ..errors import LogError
from ..files import StrPath
from ..runs import log
from . import canvas, curves

# Size of a panel in inches, and the resolution of a PNG.
_WIDTH, _HEIGHT, _DPI = 4.8, 3.6, 150
_MOST_COLUMNS = 4

_STYLES: dict[str, dict[str, Any]] = {
    "total": {"color": "black", "linewidth": 2.5},
    "content": {"color": "tab:blue"},
    "linear": {"color": "tab:green"},
    "poly": {"color": "tab:orange"},
    "gaussian": {"color": "tab:pink"},
    "bn": {"color": "tab:olive"},
    "smoothing": {"color": "grey", "linestyle": ":"},
}


def draw(
    paths: Sequence[StrPath], output: StrPath, *, overwrite: bool = False
) -> tuple[str, list[str]]:
    """Draw the losses in some logs.

    Parameters
    ----------
    paths : sequence of path-like
        One log: panels by method and by layer. Several: a panel for each loss.
    output : path-like
        Its ending decides the format: ``.png``, ``.svg`` or ``.pdf``.
    overwrite : bool
        Whether an existing file may be replaced that nst did not make.

    Returns
    -------
    path : str
        `output`.
    notes : list of str
        One line for each log that is cut off.

    Raises
    ------
    LogError
        A log cannot be read, or holds no step.
    OutputError
        The picture cannot be written, or would overwrite a log or a file that nst did not make;
        or matplotlib is not installed.
    """
    output = os.fspath(output)
    notes: list[str] = []
    canvas.check(output)
    files.check_output(output, paths, overwrite=overwrite, ours=canvas.is_plot)
    runs = [_steps(path, notes) for path in paths]
    matplotlib = canvas.load()
    with canvas.styled():
        if len(runs) == 1:
            figure = _one(matplotlib, runs[0], os.fspath(paths[0]))
        else:
            figure = _several(matplotlib, list(zip(_labels(paths), runs)))
        canvas.save(figure, output, _DPI)
    return output, notes


def _steps(path: StrPath, notes: list[str]) -> Sequence[log.Step]:
    """Return the steps of a log. For one cut off in its last line, append a note."""
    try:
        steps = log.read(path)
    except LogError as error:
        if not (error.is_cut and error.steps):
            raise
        steps = error.steps
        notes.append(
            f"The log {os.fspath(path)} is cut off after step {steps[-1].step}; drawn so far."
        )
    if not steps:
        raise LogError(f"Cannot draw the log {os.fspath(path)}: it holds no step.")
    return steps


def _one(matplotlib: ModuleType, steps: Sequence[log.Step], path: str) -> Any:
    """Draw the panels of a run: its losses by method, then each method by layer."""
    panels, starts = curves.panels(steps), curves.scale_starts(steps)
    figure, axes = _grid(matplotlib, len(panels), legends=1.4)
    figure.suptitle(canvas.label(path))
    for ax, panel in zip(axes, panels):
        styles = _styles(matplotlib, [curve.name for curve in panel.curves])
        for curve, style in zip(panel.curves, styles):
            _line(ax, curve, curve.name, **style)
        for curve in panel.left_out:
            label = f"{curve.name}: below {max(curve.values):.2g}"
            ax.plot([], [], " ", label=canvas.label(label))
        for scale, steps_before in starts:
            ax.axvline(steps_before, color="grey", linewidth=0.8, linestyle="--")
            ax.annotate(
                f" scale {scale}", (steps_before, 1), xycoords=("data", "axes fraction"), va="top",
                color="grey", fontsize="small",
            )  # fmt: skip
        _finish(matplotlib, ax, panel.title, panel.curves, steps[-1].step)
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small", frameon=False)
    return figure


def _styles(matplotlib: ModuleType, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return how to draw each line: a fixed colour per method, layers from dark to light."""
    layers = [name for name in names if name not in _STYLES]
    shades = matplotlib.colormaps["viridis"]
    # The last shade, yellow, is not used: it would hardly show on white.
    return [
        _STYLES.get(name) or {"color": shades(layers.index(name) / len(layers))} for name in names
    ]


def _several(matplotlib: ModuleType, runs: list[tuple[str, Sequence[log.Step]]]) -> Any:
    """Draw a panel for each loss, with a line for each run of ``[(label, steps)]``."""
    names = list(dict.fromkeys(name for _, steps in runs for name in curves.parts(steps)))
    longest = max(steps[-1].step for _, steps in runs)
    figure, axes = _grid(matplotlib, len(names))
    few = len(runs) <= 10
    colours = matplotlib.colormaps["tab10" if few else "turbo"]
    for ax, name in zip(axes, names):
        lines = [curves.curve(steps, [name], name) for _, steps in runs]
        for index, ((label, _), curve) in enumerate(zip(runs, lines)):
            colour = colours(index if few else index / (len(runs) - 1))
            _line(ax, curve, label, color=colour, marked=True)
        _finish(matplotlib, ax, name, lines, longest)
    handles, labels = axes[0].get_legend_handles_labels()
    if any(curves.scale_starts(steps) for _, steps in runs):
        dot = matplotlib.lines.Line2D([], [], color="grey", marker="o", linestyle="", markersize=4)
        handles, labels = [*handles, dot], [*labels, "a scale begins"]
    figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(handles)))
    return figure


def _grid(matplotlib: ModuleType, count: int, legends: float = 0.0) -> tuple[Any, list[Any]]:
    """Return a figure of `count` panels, with `legends` inches beside each, and the panels."""
    columns = count if count < 4 else min(_MOST_COLUMNS, math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    size = columns * (_WIDTH + legends), rows * _HEIGHT + 0.5
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[count:]:
        spare.set_visible(False)
    return figure, axes[:count]


def _line(ax: Any, curve: curves.Curve, label: str, marked: bool = False, **style: Any) -> None:
    for index, piece in enumerate(curve.pieces):
        counts, values = zip(*piece)
        # A line of one point would be invisible.
        dot = (marked and index) or len(piece) == 1
        marker = {"marker": "o", "markersize": 4, "markevery": [0]} if dot else {}
        ax.plot(counts, values, label=None if index else canvas.label(label), **style, **marker)


def _finish(
    matplotlib: ModuleType, ax: Any, title: str, lines: Sequence[curves.Curve], steps: int
) -> None:
    below = curves.linear_below(lines)
    if below:
        ax.set_yscale("symlog", linthresh=below)
    else:
        ax.set_yscale("log", nonpositive="mask")
    ax.set_xlim(0, max(1, steps - 1))
    ax.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    ax.set_title(canvas.label(title))
    ax.set_xlabel("steps made")
    ax.grid(alpha=0.25)


def _labels(paths: Sequence[StrPath]) -> list[str]:
    """Label each log by its name, or by its path if two have the same name."""
    full = [os.fspath(path) for path in paths]
    names = [os.path.basename(path).removesuffix(".jsonl") for path in full]
    labels = names if len(set(names)) == len(names) else full
    # Matplotlib omits labels that start with an underscore from the legend.
    return [canvas.label(f" {label}" if label.startswith("_") else label) for label in labels]
