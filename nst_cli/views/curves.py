"""Loss curves of a run, grouped into panels, and the steps at which its scales begin."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from ..runs.log import Step

# Relative to the largest value in a panel: fainter curves are omitted, and an axis that passes 0
# is linear within ±_LINEAR.
_FAINT, _LINEAR = 1e-5, 1e-3


@dataclass(frozen=True)
class Curve:
    """A loss against the number of steps made.

    Attributes
    ----------
    name : str
        ``total``, a method, or a layer.
    pieces : tuple of tuple of (int, float)
        One piece for each scale: pairs of steps made and loss. Losses at different scales are
        not comparable, so no line joins the pieces.
    """

    name: str
    pieces: tuple[tuple[tuple[int, float], ...], ...]

    @property
    def values(self) -> list[float]:
        """The losses of all pieces."""
        return [value for piece in self.pieces for _, value in piece]


@dataclass(frozen=True)
class Panel:
    """Curves that are drawn together.

    Attributes
    ----------
    title : str
    curves : tuple of Curve
    left_out : tuple of Curve
        Curves omitted because they lie far below the others.
    """

    title: str
    curves: tuple[Curve, ...]
    left_out: tuple[Curve, ...] = ()

    @property
    def linear_below(self) -> Optional[float]:
        """The value below which a logarithmic axis is linear; None if no loss is negative.

        The Gaussian MMD is estimated from random pairs, and an estimate near 0 may be negative.
        """
        return linear_below(self.curves)


def parts(steps: Sequence[Step]) -> list[str]:
    """Return the names of all losses in the steps, in order of first appearance."""
    return list(dict.fromkeys(name for step in steps for name in step.losses))


def curve(steps: Sequence[Step], names: Sequence[str], title: str) -> Curve:
    """Return the `Curve` of the sum of the named losses."""
    pieces: dict[int, list[tuple[int, float]]] = {}
    for step in steps:
        values = [step.losses[name] for name in names if name in step.losses]
        if values:
            pieces.setdefault(step.scale, []).append((step.step - 1, math.fsum(values)))
    return Curve(title, tuple(map(tuple, pieces.values())))


def panels(steps: Sequence[Step]) -> list[Panel]:
    """Group the losses of a run into a list of `Panel`.

    The first shows the total, content, each style method and smoothing. One more follows for each
    of them that has several layers.
    """
    groups: dict[str, list[str]] = {}
    for name in parts(steps):
        groups.setdefault(name.partition("/")[0], []).append(name)
    methods = [curve(steps, names, title) for title, names in groups.items()]
    least = _FAINT * max((abs(value) for line in methods for value in line.values), default=0)
    faint = [line for line in methods if max(map(abs, line.values)) < least]
    shown = [line for line in methods if line not in faint]
    result = [Panel("By method", tuple(shown), tuple(faint))]
    for title, names in groups.items():
        if len(names) > 1:
            layers = [curve(steps, [name], name.partition("/")[2]) for name in names]
            result.append(Panel(f"{title} by layer", tuple(layers)))
    return result


def linear_below(curves: Sequence[Curve]) -> Optional[float]:
    """Return the value below which a logarithmic axis is linear, or None: see `Panel`."""
    values = [value for line in curves for value in line.values]
    return _LINEAR * max(map(abs, values)) if min(values, default=0) < 0 else None


def scale_starts(steps: Sequence[Step]) -> list[tuple[int, int]]:
    """Return ``(scale, steps made before it)`` for each scale after the first."""
    pairs = zip(steps, steps[1:])
    return [(new.scale, new.step - 1) for old, new in pairs if new.scale != old.scale]
