"""The figures of the paper [1]_: their runs, laid out in a labelled grid.

References
----------
.. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, section 4.
"""

import os
import re
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from .. import files, images, samples
from ..config import METHODS, PRESETS, Config
from ..errors import BatchError, OutputError, reason
from ..runs import plan, sidecar

GAMMAS = (0.1, 0.2, 1.0, 5.0, 10.0)
SHARES = ((0.9, 0.1), (0.7, 0.3), (0.5, 0.5), (0.3, 0.7), (0.1, 0.9))
FUSIONS = (("bn", "poly"), ("linear", "gaussian"))
# Of the rows of figure 3; recalled, not read off the page.
_PAIR_GAMMAS = (2, 2, 2, 5, 5, 5)

#: Six pairs of the authors' pictures. Which the paper shows is not known; these are a choice.
PAPER_PAIRS = (
    ("brad_pitt.jpg", "starry_night.jpg"),
    ("tubingen.jpg", "shipwreck.jpg"),
    ("golden_gate.jpg", "wave_crop.jpg"),
    ("dog.jpg", "candy.jpg"),
    ("IMG_4343.jpg", "composition_vii.jpg"),
    ("brad_pitt.jpg", "picasso_selfport1907.jpg"),
)

# Choices under which a figure takes some minutes on two cores, and those of the paper.
_LAPTOP = {"preset": "fast", "size": 192, "iterations": 80}
_FULL = {"preset": "paper"}

# Many images share the statistics of a style, and which of them is found from noise is a matter
# of the optimiser: L-BFGS settles large structures first, and so frames a texture of `relu1_1`.
_LAPTOP_OF_STYLES = {"preset": "paper", "size": 192, "iterations": 200}

# By which nst knows a grid, near its start.
_MARK, _START = ("Software", "nst figure"), 1024

_GAP, _FONT, _INK, _PAPER = 8, 15, (32, 32, 32), (255, 255, 255)


@dataclass(frozen=True)
class Cell:
    """A picture of a figure.

    Attributes
    ----------
    row, column : int
    run : plan.Run
    """

    row: int
    column: int
    run: plan.Run


@dataclass(frozen=True)
class Figure:
    """A figure before its pictures are made.

    Attributes
    ----------
    number : int
    rows, columns : list of str
        Labels.
    cells : list of Cell
    beside : list of list of (str, str)
        For each row, what stands left of it: words and the path of a picture.
    grid, manifest : str
        The files that hold it.
    source : str
        Where its contents and styles come from.
    """

    number: int
    rows: list
    columns: list
    cells: list
    beside: list
    grid: str
    manifest: str
    source: str


def figure(number, folder, choices=None, pictures=None, full=False):
    """Lay out a figure.

    Parameters
    ----------
    number : int
        1: styles alone, by method and depth; 2: methods and γ; 3: pairs and methods; 4: fusions.
    folder : path-like
        Where its files will be.
    choices : dict, optional
        Fields of `Config` for all pictures, over those that are usual.
    pictures : path-like, optional
        The folder of the authors' pictures (``make images``); default: the sample pictures.
    full : bool
        Whether the paper's choices are usual; otherwise small pictures, which take minutes.

    Returns
    -------
    Figure

    Raises
    ------
    BatchError
        There is no such figure.
    ConfigError
        A choice makes no sense.
    """
    if number not in _LAYOUTS:
        raise BatchError(f"There is no figure {number}: choose from 1 to {len(_LAYOUTS)}.")
    small = _LAPTOP_OF_STYLES if number == 1 else _LAPTOP
    folder, choices = os.fspath(folder), {**(_FULL if full else small), **(choices or {})}
    rows, columns, beside, runs = _LAYOUTS[number](_pairs(pictures))
    cells = []
    for row, column, (content, style), own in runs:
        name = "-".join(_file_word(label) for label in (rows[row], columns[column]))
        output = os.path.join(folder, f"fig{number}", f"{row + 1}{column + 1}-{name}.png")
        cells.append(Cell(row, column, plan.Run(content, style, output, Config(**choices, **own))))
    grid, manifest = (os.path.join(folder, f"fig{number}{end}") for end in (".png", ".json"))
    source = "the project's samples" if pictures is None else os.fspath(pictures)
    return Figure(number, rows, columns, cells, beside, grid, manifest, source)


def check(layout: Figure, *, overwrite: bool = False) -> None:
    """Check, before the first run, that the grid and the manifest can be written.

    The runs are checked by `plan.check`.

    Parameters
    ----------
    layout : Figure
    overwrite : bool
        Whether existing files may be replaced that nst did not make.

    Raises
    ------
    OutputError
    """
    # A folder that is missing yet holds nothing that could be lost.
    if os.path.isdir(os.path.dirname(layout.grid) or os.curdir):
        for path, ours in ((layout.grid, _is_grid), (layout.manifest, _is_manifest)):
            files.check_output(path, overwrite=overwrite, ours=ours)


def write(layout):
    """Compose the grid of a figure whose pictures are there, and write it and its manifest.

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
    mark = PngImagePlugin.PngInfo()
    mark.add_text(*_MARK)
    try:
        with files.replacing(layout.grid) as temporary:
            compose(layout).save(temporary, "PNG", pnginfo=mark)
    except OSError as error:
        raise OutputError(f"Cannot write {layout.grid}: {reason(error)}.") from error
    files.write_json(layout.manifest, document)


def _is_grid(path):
    try:
        with files.open_regular(path) as stream:
            return "\0".join(_MARK).encode() in stream.read(_START)
    except OSError:
        return False


def _is_manifest(path):
    try:
        with files.open_regular(path) as stream:
            return stream.read(_START).startswith(b'{\n  "program": "nst",\n  "figure": ')
    except OSError:
        return False


def compose(layout):
    """Return the grid of a figure as a PIL image: labels above and left, then pictures."""
    made = {(cell.row, cell.column): _opened(cell.run.output) for cell in layout.cells}
    edge = max(max(picture.size) for picture in made.values())
    beside = [[(words, _opened(path)) for words, path in row] for row in layout.beside]
    lead = max(map(len, beside))
    for row in beside:
        for _, picture in row:
            picture.thumbnail((edge, edge))
    every = [*made.values(), *(picture for row in beside for _, picture in row)]
    width = max(picture.width for picture in every)
    heights = [
        max(
            [picture.height for _, picture in beside[row]]
            + [picture.height for (r, _), picture in made.items() if r == row]
        )
        for row in range(len(layout.rows))
    ]
    font = ImageFont.load_default(_FONT)
    margin = max(round(font.getlength(label)) for label in layout.rows) + 2 * _GAP
    line = _FONT + _GAP
    total = margin + (lead + len(layout.columns)) * (width + _GAP) + _GAP
    grid = Image.new("RGB", (total, line + sum(h + line for h in heights) + 2 * _GAP), _PAPER)
    draw = ImageDraw.Draw(grid)

    def left(column):
        return margin + column * (width + _GAP)

    for column, label in enumerate(layout.columns):
        x = left(lead + column) + width // 2
        draw.text((x, _GAP + _FONT // 2), label, _INK, font, anchor="mm")
    top = line + _GAP
    for row, label in enumerate(layout.rows):
        draw.text((_GAP, top + heights[row] // 2), label, _INK, font, anchor="lm")
        for column, (words, picture) in enumerate(beside[row]):
            grid.paste(picture, (left(column), top))
            place = left(column) + picture.width // 2, top + picture.height + line // 2
            draw.text(place, words, _INK, font, anchor="mm")
        for column in range(len(layout.columns)):
            grid.paste(made[row, column], (left(lead + column), top))
        top += heights[row] + line
    return grid


def _file_word(label):
    return "-".join(re.findall(r"[\w.]+", label))


def _opened(path):
    pixels = images.read(path).pixels
    return Image.fromarray(pixels.round().astype("uint8"))


def _pairs(pictures):
    """Return six pairs of content and style; the first is that of figures with a single one."""
    if pictures is not None:
        return [tuple(os.path.join(pictures, name) for name in pair) for pair in PAPER_PAIRS]
    lake, (whirls, patches) = samples.CONTENT, samples.STYLES
    # All that three pictures give: each in the style of each other.
    pairs = (
        (lake, whirls), (lake, patches), (whirls, patches),
        (patches, whirls), (whirls, lake), (patches, lake),
    )  # fmt: skip
    return [tuple(map(str, pair)) for pair in pairs]


def _style_alone(pairs):
    pair, layers = pairs[0], PRESETS["paper"]["style_layers"]
    columns = [f"to {layer}" for layer in layers]
    beside = [[("style", pair[1])]] + [[] for _ in METHODS[1:]]
    own = {"alpha": 0, "init": "random"}
    runs = [
        (row, column, pair, {**own, "method": method, "style_layers": layers[: column + 1]})
        for row, method in enumerate(METHODS)
        for column in range(len(layers))
    ]
    return list(METHODS), columns, beside, runs


def _balances(pairs):
    pair = pairs[0]
    beside = [[("content", pair[0])], [("style", pair[1])], [], []]
    runs = [
        (row, column, pair, {"method": method, "gamma": gamma})
        for row, method in enumerate(METHODS)
        for column, gamma in enumerate(GAMMAS)
    ]
    return list(METHODS), [f"gamma {gamma:g}" for gamma in GAMMAS], beside, runs


def _all_pairs(pairs):
    beside = [_both(pair) for pair in pairs]
    runs = [
        (row, column, pair, {"method": method, "gamma": gamma})
        for row, (pair, gamma) in enumerate(zip(pairs, _PAIR_GAMMAS))
        for column, method in enumerate(METHODS)
    ]
    return [f"gamma {gamma}" for gamma in _PAIR_GAMMAS], list(METHODS), beside, runs


def _fusions(pairs):
    rows, beside, runs = [], [], []
    for methods in FUSIONS:
        for pair in pairs[:2]:
            for column, shares in enumerate(SHARES):
                method = ",".join(f"{name}={share}" for name, share in zip(methods, shares))
                runs.append((len(rows), column, pair, {"method": method, "gamma": 5.0}))
            rows.append(" + ".join(methods))
            beside.append(_both(pair))
    return rows, [f"{one} : {other}" for one, other in SHARES], beside, runs


def _both(pair):
    return [("content", pair[0]), ("style", pair[1])]


_LAYOUTS = {1: _style_alone, 2: _balances, 3: _all_pairs, 4: _fusions}
