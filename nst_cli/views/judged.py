"""Which distributions a method aligns without being asked: minimised by row, judged by column."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from PIL import Image, ImageDraw, ImageFont

from .. import __version__, files
from ..config import SIZES
from . import figures
from .score import DRAWS, Job, Left, Score, Scored, config_of, mean_of, prepare, score

# Sizes of the heat map, in pixels.
_FONT, _GAP, _WIDTH, _HEIGHT, _BAR = 15, 12, 92, 34, 240
_INK, _LIGHT, _PAPER = (32, 32, 32), (255, 255, 255), (255, 255, 255)
# What is left, as powers of ten, and their colours; the scale is linear between them.
_SCALE = (
    (-2.0, (8, 64, 110)),
    (-1.0, (70, 150, 180)),
    (0.0, (245, 242, 225)),
    (1.0, (196, 70, 36)),
)
# A colour of less lightness than this has light words on it.
_DARK = 130


@dataclass(frozen=True)
class Matrix:
    """What pictures by each method leave of each alignment.

    Attributes
    ----------
    left : dict of str to dict of str to Left
        By the method that was minimised, and the one that judges: the mean over pairs and layers.
    content : dict of str to float or None
        Content loss by minimised method, the mean over pairs and content layers.
    mean_rank : dict of str to float or None
        Mean rank by minimised method; see `Scored`.
    scores : list of Score
        One for each pair.
    """

    left: dict[str, dict[str, Left]]
    content: dict[str, Optional[float]]
    mean_rank: dict[str, Optional[float]]
    scores: list[Score]

    @property
    def methods(self) -> list[str]:
        """The methods, in the order of rows and columns."""
        return list(self.left)


def jobs(layout: figures.Figure, draws: int = DRAWS) -> list[Job]:
    """Read the finished pictures of the figure, one job of scoring for each pair.

    Parameters
    ----------
    layout : figures.Figure
        The figure ``judged``.
    draws : int
        As in `prepare`.

    Raises
    ------
    ImageError, WeightsError, EngineError
        An input cannot be used.
    """
    pairs: dict[tuple[str, str], list[figures.Cell]] = {}
    for cell in layout.cells:
        pairs.setdefault((cell.run.content, cell.run.style), []).append(cell)
    made_by = layout.cells[0].run.config
    names = (*SIZES, "weights", "device", "seed", "pooling", "max_pixels")
    config = config_of(_methods(layout), **{name: getattr(made_by, name) for name in names})
    return [
        prepare(*pair, [cell.run.output for cell in cells], config, draws=draws)
        for pair, cells in pairs.items()
    ]


def judge(
    layout: figures.Figure,
    prepared: Sequence[Job],
    on_step: Optional[Callable[[], object]] = None,
) -> Matrix:
    """Judge the pictures of the figure by every method.

    Parameters
    ----------
    layout : figures.Figure
    prepared : sequence of Job
        What `jobs` returned.
    on_step : callable, optional
        Called as often as all jobs have steps.

    Returns
    -------
    Matrix
    """
    methods = _methods(layout)
    scores = [score(job, on_step) for job in prepared]
    by_method: dict[str, list[Scored]] = {
        method: [of_pair.pictures[place] for of_pair in scores]
        for place, method in enumerate(methods)
    }
    return Matrix(
        left={
            method: {
                judge: mean_of(left for one in many for left in one.left[judge].values())
                for judge in methods
            }
            for method, many in by_method.items()
        },
        content={
            method: _mean([value for one in many for value in one.content.values()])
            for method, many in by_method.items()
        },
        mean_rank={
            method: _mean([one.mean_rank for one in many]) for method, many in by_method.items()
        },
        scores=scores,
    )


def write(layout: figures.Figure, matrix: Matrix) -> None:
    """Write the heat map and the numbers.

    Raises
    ------
    OutputError
    """
    figures.save(draw(matrix), layout.grid)
    document = {
        "program": "nst",
        "figure": layout.number,
        "version": __version__,
        "pictures": layout.source,
        "methods": matrix.methods,
        "left": _plain(matrix, lambda left: left.value),
        "standard_error": _plain(matrix, lambda left: left.error),
        "content_loss": matrix.content,
        "mean_rank": matrix.mean_rank,
        "pairs": [one.to_dict() for one in matrix.scores],
    }
    files.write_json(layout.manifest, document)


def markdown(matrix: Matrix) -> Iterator[str]:
    """Yield the lines of a table in Markdown: a row for each method that was minimised."""
    heads = ["minimised", *matrix.methods, "content loss", "mean rank"]
    yield _row(heads)
    yield _row(["---", *["---:"] * (len(heads) - 1)])
    for method in matrix.methods:
        cells = [
            f"**{_number(left.value)}**" if judge == method else _number(left.value)
            for judge, left in matrix.left[method].items()
        ]
        yield _row([f"`{method}`", *cells, *_further(matrix, method)])


def draw(matrix: Matrix) -> Image.Image:
    """Return the matrix as a heat map, a PIL image."""
    font = ImageFont.load_default(_FONT)
    methods, further = matrix.methods, ("content loss", "mean rank")
    margin = max(round(font.getlength(word)) for word in (*methods, "minimised")) + 2 * _GAP
    top = 2 * _HEIGHT + _GAP
    width = margin + (len(methods) + len(further)) * _WIDTH + 2 * _GAP
    height = top + len(methods) * _HEIGHT + 2 * _HEIGHT + 2 * _GAP
    image = Image.new("RGB", (max(width, margin + _BAR + 2 * _WIDTH), height), _PAPER)
    canvas = ImageDraw.Draw(image)

    def left_of(column: int) -> int:
        # The numbers that are no alignments stand apart.
        return margin + column * _WIDTH + (_GAP if column >= len(methods) else 0)

    def words(x: float, y: float, text: str, anchor: str = "mm", ink: Any = _INK) -> None:
        canvas.text((x, y), text, ink, font, anchor=anchor)

    words(_GAP, top - _HEIGHT // 2, "minimised", "lm")
    words(margin, _GAP + _HEIGHT // 2, "what is left, judged by", "lm")
    for column, name in enumerate((*methods, *further)):
        words(left_of(column) + _WIDTH // 2, top - _HEIGHT // 2, name)
    for row, method in enumerate(methods):
        y = top + row * _HEIGHT
        words(_GAP, y + _HEIGHT // 2, method, "lm")
        for column, left in enumerate(matrix.left[method].values()):
            x, colour = left_of(column), _colour(left.value)
            box = (x + 1, y + 1, x + _WIDTH - 2, y + _HEIGHT - 2)
            same = row == column
            canvas.rectangle(box, colour, _INK if same else colour, width=3 if same else 1)
            ink = _LIGHT if _lightness(colour) < _DARK else _INK
            words(x + _WIDTH // 2, y + _HEIGHT // 2, _number(left.value), ink=ink)
        for column, text in enumerate(_further(matrix, method), len(methods)):
            words(left_of(column) + _WIDTH // 2, y + _HEIGHT // 2, text)
    _draw_scale(canvas, words, margin, top + len(methods) * _HEIGHT + _GAP)
    return image


def _draw_scale(
    canvas: ImageDraw.ImageDraw, words: Callable[..., None], left: int, top: int
) -> None:
    """Draw the colours of the scale, with the value at each of its points."""
    low, high = _SCALE[0][0], _SCALE[-1][0]
    for x in range(_BAR + 1):
        colour = _colour(10 ** (low + (high - low) * x / _BAR))
        canvas.line((left + x, top, left + x, top + _HEIGHT // 2), colour)
    for power, _ in _SCALE:
        words(left + _BAR * (power - low) / (high - low), top + _HEIGHT, f"{10**power:g}")
    words(left + _BAR + _GAP, top + _HEIGHT // 4, "1: as far from the style as the content", "lm")


def _colour(value: Optional[float]) -> tuple[int, int, int]:
    """Return the colour of what is left; values beyond the scale have that of its end."""
    if value is None:
        return _PAPER
    low, high = _SCALE[0][0], _SCALE[-1][0]
    power = min(max(math.log10(value), low), high) if value > 0 else low
    for (start, first), (end, second) in zip(_SCALE, _SCALE[1:]):
        if power <= end:
            share = (power - start) / (end - start)
            red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second))
            return red, green, blue
    return _SCALE[-1][1]


def _lightness(colour: tuple[int, int, int]) -> float:
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _methods(layout: figures.Figure) -> list[str]:
    return list(dict.fromkeys(cell.run.config.method for cell in layout.cells))


def _further(matrix: Matrix, method: str) -> list[str]:
    rank = matrix.mean_rank[method]
    return [_number(matrix.content[method]), "-" if rank is None else f"{rank:.1f}"]


def _plain(matrix: Matrix, part: Callable[[Left], Any]) -> dict[str, dict[str, Any]]:
    return {
        method: {judge: part(left) for judge, left in lefts.items()}
        for method, lefts in matrix.left.items()
    }


def _mean(values: Sequence[Optional[float]]) -> Optional[float]:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _number(value: Optional[float]) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
