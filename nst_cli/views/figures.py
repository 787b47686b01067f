"""Figures: the runs of each, and a labelled grid of their pictures.

Figures 1 to 4 are those of the paper [1]_. Two more are of all alignments.

References
----------
.. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, section 4.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from .. import files, images, samples
from ..config import METHODS, PAPER_METHODS, PRESETS, Config
from ..errors import BatchError, ConfigError, OutputError, reason
from ..files import StrPath
from ..runs import plan, sidecar

# Content and style.
_Pair = tuple[str, str]
# Row, column, content and style, and the fields of `Config` that the cell sets.
_Cell = tuple[int, int, _Pair, dict[str, Any]]
# Labels of the rows and of the columns, the pictures beside each row, and the cells.
_Layout = tuple[list[str], list[str], list[list[tuple[str, str]]], list[_Cell]]

GAMMAS = (0.1, 0.2, 1.0, 5.0, 10.0)
SHARES = ((0.9, 0.1), (0.7, 0.3), (0.5, 0.5), (0.3, 0.7), (0.1, 0.9))
FUSIONS = (("bn", "poly"), ("linear", "gaussian"))
# γ of each row of figure 3, from memory of the paper, not checked against it.
_PAIR_GAMMAS = (2, 2, 2, 5, 5, 5)

# Pairs in the figures of all alignments, and rows for each.
_FEW_PAIRS, _ROWS = 2, 2
# The methods of each figure that shows some one by one.
_METHODS: dict[Union[int, str], tuple[str, ...]] = {
    1: PAPER_METHODS, 2: PAPER_METHODS, 3: PAPER_METHODS, "alignments": METHODS, "judged": METHODS,
}  # fmt: skip
# Both show the same pictures.
_FOLDERS: dict[Union[int, str], str] = {"alignments": "alignments", "judged": "alignments"}

#: Six pairs of the authors' pictures. The paper does not name its pairs; these are nst's choice.
PAPER_PAIRS = (
    ("brad_pitt.jpg", "starry_night.jpg"),
    ("tubingen.jpg", "shipwreck.jpg"),
    ("golden_gate.jpg", "wave_crop.jpg"),
    ("dog.jpg", "candy.jpg"),
    ("IMG_4343.jpg", "composition_vii.jpg"),
    ("brad_pitt.jpg", "picasso_selfport1907.jpg"),
)

# Defaults with which a figure takes a few minutes on two cores, and the paper's.
_LAPTOP = {"preset": "fast", "size": 192, "iterations": 80}
_FULL = {"preset": "paper"}

# Figure 1 starts from noise. Many images share the statistics of a style, and the optimiser
# decides which one is reached: L-BFGS would put large structures into a texture of `relu1_1`.
_LAPTOP_STYLES = {"preset": "paper", "size": 192, "iterations": 200}

# Marks a grid as made by nst; in the first bytes of the file.
_MARK, _START = ("Software", "nst figure"), 1024

_GAP, _FONT, _INK, _PAPER = 8, 15, (32, 32, 32), (255, 255, 255)


@dataclass(frozen=True)
class Cell:
    """A picture of a figure.

    Attributes
    ----------
    row, column : int
    run : plan.Run
    label : str
        Words below the picture.
    """

    row: int
    column: int
    run: plan.Run
    label: str = ""


@dataclass(frozen=True)
class Figure:
    """The layout of a figure, before its pictures are made.

    Attributes
    ----------
    number : int or str
        What `figure` was called with.
    rows, columns : list of str
        Labels.
    cells : list of Cell
    beside : list of list of (str, str)
        Label and path of the pictures shown left of each row.
    grid, manifest : str
        Paths of the files to write.
    source : str
        Where the content and style pictures come from.
    """

    number: Union[int, str]
    rows: list[str]
    columns: list[str]
    cells: list[Cell]
    beside: list[list[tuple[str, str]]]
    grid: str
    manifest: str
    source: str


def figure(
    number: Union[int, str],
    folder: StrPath,
    choices: Optional[dict[str, Any]] = None,
    pictures: Optional[StrPath] = None,
    full: bool = False,
    methods: Optional[Sequence[str]] = None,
) -> Figure:
    """Lay out a figure.

    Parameters
    ----------
    number : int or str
        1: styles alone, by method and depth; 2: methods and γ; 3: pairs and methods; 4: fusions;
        ``alignments``: all methods on two pairs; ``judged``: the same pictures, for
        `judged.judge`.
    folder : path-like
        Folder for its files.
    choices : dict, optional
        Fields of `Config` for all pictures; they override the defaults.
    pictures : path-like, optional
        Folder of the authors' pictures (``make images``); default: the sample pictures.
    full : bool
        Whether the defaults are the paper's; otherwise they give small pictures within minutes.
    methods : sequence of str, optional
        By default the paper's four, or all in ``alignments`` and ``judged``.

    Returns
    -------
    Figure

    Raises
    ------
    BatchError
        No such figure exists.
    ConfigError
        A choice is not valid.
    """
    if number not in _LAYOUTS:
        names = ", ".join(map(str, _LAYOUTS))
        raise BatchError(f"There is no figure {number}: choose from {names}.")
    if methods and number not in _METHODS:
        raise ConfigError(f"Figure {number} fuses methods of its own.", "method")
    small = _LAPTOP_STYLES if number == 1 else _LAPTOP
    folder, choices = os.fspath(folder), {**(_FULL if full else small), **(choices or {})}
    methods = methods or _METHODS.get(number, ())
    rows, columns, beside, runs = _LAYOUTS[number](_pairs(pictures), methods)
    pictures_folder = os.path.join(folder, _FOLDERS.get(number, f"fig{number}"))
    cells = []
    for row, column, (content, style), fields in runs:
        # Without labels of rows and columns, each picture has its own.
        label = "" if columns[column] else fields["method"]
        words = (label,) if label else (rows[row], columns[column])
        name = "-".join(map(_file_word, words))
        output = os.path.join(pictures_folder, f"{row + 1}{column + 1}-{name}.png")
        run = plan.Run(content, style, output, Config(**choices, **fields))
        cells.append(Cell(row, column, run, label))
    stem = f"fig{number}" if isinstance(number, int) else number
    grid, manifest = (os.path.join(folder, f"{stem}{end}") for end in (".png", ".json"))
    source = "the project's samples" if pictures is None else os.fspath(pictures)
    return Figure(number, rows, columns, cells, beside, grid, manifest, source)


def check(layout: Figure, *, overwrite: bool = False) -> None:
    """Check, before the first run, that the grid and the manifest can be written.

    `precheck.check` checks the runs.

    Parameters
    ----------
    layout : Figure
    overwrite : bool
        Whether existing files may be replaced that nst did not make.

    Raises
    ------
    OutputError
    """
    # In a folder that does not exist yet, nothing can be lost.
    if os.path.isdir(os.path.dirname(layout.grid) or os.curdir):
        for path, ours in ((layout.grid, _is_grid), (layout.manifest, _is_manifest)):
            files.check_output(path, overwrite=overwrite, ours=ours)


def write(layout: Figure) -> None:
    """Write the grid and the manifest of a figure whose pictures exist.

    Raises
    ------
    ImageError
        A picture is missing or cannot be read.
    SidecarError
        A sidecar is missing or broken.
    OutputError
        A file cannot be written.
    """
    cells = [
        {
            "row": layout.rows[cell.row],
            "column": layout.columns[cell.column],
            "picture": os.path.relpath(cell.run.output, os.path.dirname(layout.manifest) or "."),
            **sidecar.read(cell.run.output).document,
        }
        for cell in layout.cells
    ]
    document = {
        "program": "nst", "figure": layout.number, "pictures": layout.source, "cells": cells,
    }  # fmt: skip
    save(compose(layout), layout.grid)
    files.write_json(layout.manifest, document)


def save(image: Image.Image, path: StrPath) -> None:
    """Write a PIL image as the PNG of a figure, marked as made by nst.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    mark = PngImagePlugin.PngInfo()
    mark.add_text(*_MARK)
    try:
        with files.replacing(path) as temporary:
            image.save(temporary, "PNG", pnginfo=mark)
    except OSError as error:
        raise OutputError(f"Cannot write {os.fspath(path)}: {reason(error)}.") from error


def _is_grid(path: StrPath) -> bool:
    try:
        with files.open_regular(path) as stream:
            return "\0".join(_MARK).encode() in stream.read(_START)
    except OSError:
        return False


def _is_manifest(path: StrPath) -> bool:
    try:
        with files.open_regular(path) as stream:
            return stream.read(_START).startswith(b'{\n  "program": "nst",\n  "figure": ')
    except OSError:
        return False


def compose(layout: Figure) -> Image.Image:
    """Return the grid of a figure as a PIL image, with labels above and at the left."""
    results = {(cell.row, cell.column): _opened(cell.run.output) for cell in layout.cells}
    edge = max(max(picture.size) for picture in results.values())
    beside = [[(words, _opened(path)) for words, path in row] for row in layout.beside]
    lead = max(map(len, beside))
    for entries in beside:
        for _, picture in entries:
            picture.thumbnail((edge, edge))
    every = [*results.values(), *(picture for entries in beside for _, picture in entries)]
    width = max(picture.width for picture in every)
    heights = [
        max(
            [picture.height for _, picture in beside[row]]
            + [picture.height for (r, _), picture in results.items() if r == row]
        )
        for row in range(len(layout.rows))
    ]
    font = ImageFont.load_default(_FONT)
    margin = max(round(font.getlength(label)) for label in layout.rows) + 2 * _GAP
    line = _FONT + _GAP
    head = line if any(layout.columns) else 0
    total = margin + (lead + len(layout.columns)) * (width + _GAP) + _GAP
    grid = Image.new("RGB", (total, head + sum(h + line for h in heights) + 2 * _GAP), _PAPER)
    draw = ImageDraw.Draw(grid)

    def left(column: int) -> int:
        return margin + column * (width + _GAP)

    for column, label in enumerate(layout.columns):
        x = left(lead + column) + width // 2
        draw.text((x, _GAP + _FONT // 2), label, _INK, font, anchor="mm")
    top = head + _GAP
    for row, label in enumerate(layout.rows):
        draw.text((_GAP, top + heights[row] // 2), label, _INK, font, anchor="lm")
        for column, (words, picture) in enumerate(beside[row]):
            grid.paste(picture, (left(column), top))
            centre = left(column) + picture.width // 2, top + picture.height + line // 2
            draw.text(centre, words, _INK, font, anchor="mm")
        for cell in (cell for cell in layout.cells if cell.row == row):
            picture, x = results[row, cell.column], left(lead + cell.column)
            grid.paste(picture, (x, top))
            centre = x + picture.width // 2, top + picture.height + line // 2
            draw.text(centre, cell.label, _INK, font, anchor="mm")
        top += heights[row] + line
    return grid


def _file_word(label: str) -> str:
    return "-".join(re.findall(r"[\w.]+", label))


def _opened(path: StrPath) -> Image.Image:
    pixels = images.read(path).pixels
    return Image.fromarray(pixels.round().astype("uint8"))


def _pairs(pictures: Optional[StrPath]) -> list[_Pair]:
    """Return six pairs of content and style. Figures with a single pair use the first."""
    if pictures is not None:
        return [
            (os.path.join(pictures, content), os.path.join(pictures, style))
            for content, style in PAPER_PAIRS
        ]
    lake, (whirls, patches) = samples.CONTENT, samples.STYLES
    # All ordered pairs of three pictures.
    pairs = (
        (lake, whirls), (lake, patches), (whirls, patches),
        (patches, whirls), (whirls, lake), (patches, lake),
    )  # fmt: skip
    return [(str(content), str(style)) for content, style in pairs]


def _style_alone(pairs: Sequence[_Pair], methods: Sequence[str]) -> _Layout:
    pair, layers = pairs[0], PRESETS["paper"]["style_layers"]
    columns = [f"to {layer}" for layer in layers]
    beside: list[list[tuple[str, str]]] = [[("style", pair[1])], *([] for _ in methods[1:])]
    style_alone: dict[str, Any] = {"alpha": 0, "init": "random"}
    runs = [
        (
            row,
            column,
            pair,
            {**style_alone, "method": method, "style_layers": layers[: column + 1]},
        )
        for row, method in enumerate(methods)
        for column in range(len(layers))
    ]
    return list(methods), columns, beside, runs


def _balances(pairs: Sequence[_Pair], methods: Sequence[str]) -> _Layout:
    pair = pairs[0]
    runs: list[_Cell] = [
        (row, column, pair, {"method": method, "gamma": gamma})
        for row, method in enumerate(methods)
        for column, gamma in enumerate(GAMMAS)
    ]
    columns = [f"gamma {gamma:g}" for gamma in GAMMAS]
    return list(methods), columns, _spread(pair, len(methods)), runs


def _all_pairs(pairs: Sequence[_Pair], methods: Sequence[str]) -> _Layout:
    beside = [_both(pair) for pair in pairs]
    runs: list[_Cell] = [
        (row, column, pair, {"method": method, "gamma": gamma})
        for row, (pair, gamma) in enumerate(zip(pairs, _PAIR_GAMMAS))
        for column, method in enumerate(methods)
    ]
    return [f"gamma {gamma}" for gamma in _PAIR_GAMMAS], list(methods), beside, runs


def _fusions(pairs: Sequence[_Pair], _: Sequence[str]) -> _Layout:
    rows: list[str] = []
    beside: list[list[tuple[str, str]]] = []
    runs: list[_Cell] = []
    for methods in FUSIONS:
        for pair in pairs[:2]:
            for column, shares in enumerate(SHARES):
                method = ",".join(f"{name}={share}" for name, share in zip(methods, shares))
                runs.append((len(rows), column, pair, {"method": method, "gamma": 5.0}))
            rows.append(" + ".join(methods))
            beside.append(_both(pair))
    return rows, [f"{one} : {other}" for one, other in SHARES], beside, runs


def _alignments(pairs: Sequence[_Pair], methods: Sequence[str]) -> _Layout:
    """Lay out all methods in two rows for each pair, labelled below each picture."""
    columns = -(-len(methods) // _ROWS)
    count = -(-len(methods) // columns)
    beside: list[list[tuple[str, str]]] = []
    runs: list[_Cell] = []
    for pair in pairs[:_FEW_PAIRS]:
        for place, method in enumerate(methods):
            row, column = divmod(place, columns)
            runs.append((len(beside) + row, column, pair, {"method": method}))
        beside += _spread(pair, count)
    return [""] * len(beside), [""] * columns, beside, runs


def _spread(pair: _Pair, rows: int) -> list[list[tuple[str, str]]]:
    """Return a pair's pictures for the left of some rows, one in each of the first two."""
    content, style = _both(pair)
    return [[content, style]] if rows == 1 else [[content], [style], *([] for _ in range(2, rows))]


def _both(pair: _Pair) -> list[tuple[str, str]]:
    return [("content", pair[0]), ("style", pair[1])]


_LAYOUTS: dict[Union[int, str], Callable[[Sequence[_Pair], Sequence[str]], _Layout]] = {
    1: _style_alone,
    2: _balances,
    3: _all_pairs,
    4: _fusions,
    "alignments": _alignments,
    "judged": _alignments,
}
