"""Draws loss curves as SVG; the page's style sheet sets the colours."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Optional

from ...runs.log import Step
from ..curves import Curve, Panel, panels, scale_starts
from .escape import escaped

# Steps made and loss.
_Point = tuple[int, float]
_Ticks = list[tuple[float, str]]

_WIDTH, _HEIGHT = 480, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 10, 22, 34

# Smaller losses are drawn as 0: below this, powers of ten soon leave the range of floats.
_SMALLEST = 1e-300

# Width of the label "scale 2".
_WORD = 46

# Longer pieces are thinned to the minimum and maximum of this many sections.
_SECTIONS = 150

_DASHES = ("", "7 3", "2 3", "9 3 2 3")
# The hue of each method; layers go from violet to red.
_HUES = {"content": 255, "linear": 145, "poly": 40, "gaussian": 340, "bn": 95}
_PLAIN = ("total", "smoothing")
_FIRST_HUE, _LAST_HUE = 300, 25


def figures(steps: Sequence[Step], name: str) -> list[str]:
    """Draw all curves of a run.

    Parameters
    ----------
    steps : sequence of log.Step
    name : str
        What the descriptions call the run.

    Returns
    -------
    list of str
        HTML, one figure for each panel; none without steps.
    """
    starts = scale_starts(steps)
    return [
        figure(panel, starts, f"Loss curves of {name}. {_in_words(panel)}")
        for panel in (panels(steps) if steps else ())
    ]


def figure(panel: Panel, starts: Sequence[tuple[int, int]], description: str) -> str:
    """Draw a panel, the losses on a logarithmic scale.

    Parameters
    ----------
    panel : curves.Panel
    starts : sequence of (int, int)
        Scale, and the steps made before it.
    description : str
        For screen readers.

    Returns
    -------
    str
        HTML: a figure with its legend.
    """
    below = panel.linear_below
    lines = [(line.name, _drawable(line, below)) for line in panel.curves]
    points = [point for _, pieces in lines for piece in pieces for point in piece]
    if not points:
        return f"<p>{escaped(panel.title)}: every loss is 0.</p>"
    across = _Axis.linear([x for x, _ in points])
    up = _Axis.logarithmic([y for _, y in points], below)
    styles = _styles([name for name, _ in lines])
    drawn = [
        *_grid(across, up),
        *_marks(across, starts),
        *(_line(pieces, style, across, up) for (_, pieces), style in zip(lines, styles)),
    ]
    legend = [
        f'<li><svg class="key" viewBox="0 0 24 8" aria-hidden="true">'
        f'<path {style} d="M0 4H24"/></svg>{escaped(name)}</li>'
        for (name, _), style in zip(lines, styles)
    ]
    legend += [
        f"<li>{escaped(line.name)}: below {number(max(line.values))}, not drawn</li>"
        for line in panel.left_out
    ]
    return (
        f'<figure class="panel"><figcaption>{escaped(panel.title)}</figcaption>'
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escaped(description)}">{"".join(drawn)}</svg>'
        f'<ul class="legend">{"".join(legend)}</ul></figure>'
    )


def _in_words(panel: Panel) -> str:
    """Describe a panel in words."""
    ends = [
        f"{line.name} from {number(line.values[0])} to {number(line.values[-1])}"
        for line in panel.curves
    ]
    return f"{panel.title}: {', '.join(ends)}."


def number(value: float) -> str:
    """Return a loss with three significant digits."""
    return f"{value:.3g}".replace("e+", "e")


def _drawable(line: Curve, below: Optional[float]) -> list[list[_Point]]:
    """Return the pieces of a curve without the points that a logarithmic axis cannot show."""
    pieces = [[(x, y) for x, y in piece if y > _SMALLEST or below] for piece in line.pieces]
    return [piece for piece in pieces if piece]


class _Axis:
    """Maps values to positions in the drawing; `ticks` are pairs ``(value, label)``."""

    def __init__(
        self,
        low: float,
        high: float,
        start: float,
        end: float,
        transform: Callable[[float], float],
        ticks: _Ticks,
    ) -> None:
        self._low, self._start, self._transform = low, start, transform
        self._scale = (end - start) / (high - low)
        self.ticks = ticks

    def __call__(self, value: float) -> float:
        return self._start + (self._transform(value) - self._low) * self._scale

    @classmethod
    def linear(cls, values: Sequence[int]) -> "_Axis":
        high = max(values) or 1
        step = _round_step(high / 5)
        ticks: _Ticks = [(x, f"{x}") for x in range(0, high + 1, step)]
        return cls(0, high, _LEFT, _WIDTH - _RIGHT, float, ticks)

    @classmethod
    def logarithmic(cls, values: Sequence[float], below: Optional[float] = None) -> "_Axis":
        transform: Callable[[float], float] = math.log10
        ticks: Callable[[float, float], _Ticks] = _log_ticks
        if below:

            def transform(value: float) -> float:
                return math.copysign(math.log10(1 + abs(value) / below), value)

            def ticks(low: float, high: float) -> _Ticks:
                return _signed_ticks(low, high, below, transform)

        low, high = transform(min(values)), transform(max(values))
        margin = max(0.03 * (high - low), 0.02)
        low, high = low - margin, high + margin
        return cls(low, high, _HEIGHT - _BOTTOM, _TOP, transform, ticks(low, high))


def _round_step(least: float) -> int:
    """Return the smallest of 1, 2, 5, 10, 20 … that is at least `least`."""
    power = 10 ** max(0, math.floor(math.log10(least))) if least > 1 else 1
    return next(n * power for n in (1, 2, 5, 10) if n * power >= least)


def _log_ticks(low: float, high: float) -> _Ticks:
    """Return ticks at powers of ten, or finer ones on a short axis."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    factors: tuple[float, ...] = (1, 2, 5)
    every = 1
    if high - low < 0.5:
        factors = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
    elif high - low > 2:
        factors, every = (1,), math.ceil((high - low) / 7)
    ticks = [(n * 10.0**k, _power(n, k)) for k in decades if k % every == 0 for n in factors]
    ticks = [(value, label) for value, label in ticks if low <= math.log10(value) <= high]
    # The range of a nearly constant loss may contain no round number.
    return ticks if len(ticks) > 1 else [_exact(low), _exact(high)]


def _exact(power: float) -> tuple[float, str]:
    exponent = math.floor(power)
    factor = float(f"{10 ** (power - exponent):.3g}")
    return 10**power, _power(factor, exponent)


def _signed_ticks(
    low: float, high: float, below: float, transform: Callable[[float], float]
) -> _Ticks:
    """Return ticks at 0 and at the powers of ten outside the linear part of the axis."""
    first = math.ceil(math.log10(below))
    powers = range(first, first + math.ceil(max(-low, high)) + 1)
    ticks = [(0.0, "0")]
    for sign, mark in ((1, ""), (-1, "−")):
        ticks += [(sign * 10.0**k, mark + _power(1, k)) for k in powers]
    return [(value, label) for value, label in ticks if low <= transform(value) <= high]


def _power(factor: float, exponent: int) -> str:
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}" if factor == 1 else f"{factor:g}·10{raised}"


def _grid(across: _Axis, up: _Axis) -> Iterator[str]:
    for value, label in up.ticks:
        y = f"{up(value):.1f}"
        yield f'<path class="grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y}" dy=".32em" text-anchor="end">{label}</text>'
    floor = _HEIGHT - _BOTTOM
    for value, label in across.ticks:
        yield f'<text x="{across(value):.1f}" y="{floor + 14}" text-anchor="middle">{label}</text>'
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield f'<text x="{middle:g}" y="{_HEIGHT - 4}" text-anchor="middle">steps made</text>'


def _marks(across: _Axis, starts: Sequence[tuple[int, int]]) -> Iterator[str]:
    """Mark the step at which each scale begins."""
    if not starts:
        return
    starts = ((starts[0][0] - 1, 0), *starts)
    positions = [across(steps) for _, steps in starts]
    narrow = min(after - before for before, after in zip(positions, positions[1:])) < _WORD
    for (scale, steps), x in zip(starts, positions):
        if steps:
            yield f'<path class="mark" d="M{x:.1f} {_TOP - 14}V{_HEIGHT - _BOTTOM}"/>'
        label = scale if narrow else f"scale {scale}"
        yield f'<text x="{x + 4:.1f}" y="{_TOP - 8}"><title>scale {scale}</title>{label}</text>'


def _line(pieces: Sequence[Sequence[_Point]], style: str, across: _Axis, up: _Axis) -> str:
    drawn = []
    for piece in pieces:
        points = [f"{across(x):.1f} {up(y):.1f}" for x, y in thinned(piece)]
        # A line from a point to itself shows as a dot.
        drawn.append(f"M{'L'.join(points if len(points) > 1 else points * 2)}")
    return f'<path {style} d="{"".join(drawn)}"/>'


def thinned(piece: Sequence[_Point], sections: int = _SECTIONS) -> list[_Point]:
    """Thin a piece of a curve to the lowest and the highest point of each section."""
    if len(piece) <= 2 * sections:
        return list(piece)
    kept = {0, len(piece) - 1}
    for n in range(sections - 1):
        section = range(n * len(piece) // (sections - 1), (n + 1) * len(piece) // (sections - 1))
        kept.add(min(section, key=lambda index: piece[index][1]))
        kept.add(max(section, key=lambda index: piece[index][1]))
    return [piece[index] for index in sorted(kept)]


def _styles(names: Sequence[str]) -> list[str]:
    """Return the SVG attributes of each line: hue and dashes; the total is a heavier line."""
    layers = [name for name in names if name not in _HUES and name not in _PLAIN]
    span = (_LAST_HUE - _FIRST_HUE) / max(1, len(layers) - 1)
    styles = []
    for name in names:
        if name in _PLAIN:
            styles.append(f'class="line {name}"')
            continue
        others = list(_HUES) if name in _HUES else layers
        hue = _HUES[name] if name in _HUES else _FIRST_HUE + layers.index(name) * span
        dash = _DASHES[others.index(name) % len(_DASHES)]
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        styles.append(f'class="line" style="--hue:{hue:.0f}"{dashes}')
    return styles
