"""Curves of a run's losses: which belong in one picture, and where a scale begins."""

import math
from dataclasses import dataclass

# Of the largest value in a picture: a curve below is left out, an axis that has to pass 0 turns
# linear.
_FAINT, _LINEAR = 1e-5, 1e-3


@dataclass(frozen=True)
class Curve:
    """A loss over the steps made.

    Attributes
    ----------
    name : str
        ``total``, a method, or a layer.
    pieces : tuple of tuple of (int, float)
        For each scale, steps made and loss. Losses at two scales do not compare, so nothing
        joins the pieces.
    """

    name: str
    pieces: tuple

    @property
    def values(self):
        """The losses of all pieces."""
        return [value for piece in self.pieces for _, value in piece]


@dataclass(frozen=True)
class Panel:
    """Curves that belong in one picture.

    Attributes
    ----------
    title : str
    curves : tuple of Curve
    left_out : tuple of Curve
        Those so far below the others that they would take the room of all.
    """

    title: str
    curves: tuple
    left_out: tuple = ()

    @property
    def linear_below(self):
        """Where a logarithmic axis has to turn linear, to pass 0; None if nothing is negative.

        The Gaussian MMD is estimated from pairs, and an estimate near 0 may lie below it.
        """
        return linear_below(self.curves)


def parts(steps):
    """Return the names of all losses of the steps, in the order they come in."""
    return list(dict.fromkeys(name for step in steps for name in step.losses))


def curve(steps, names, title):
    """Return the `Curve` of the sum of the losses of some names."""
    pieces = {}
    for step in steps:
        values = [step.losses[name] for name in names if name in step.losses]
        if values:
            pieces.setdefault(step.scale, []).append((step.step - 1, math.fsum(values)))
    return Curve(title, tuple(map(tuple, pieces.values())))


def panels(steps):
    """Sort the losses of a run into a list of `Panel`.

    First the total beside content, each style method and smoothing; then, by layer, each of
    them that has several.
    """
    groups = {}
    for name in parts(steps):
        groups.setdefault(name.partition("/")[0], []).append(name)
    methods = [curve(steps, names, title) for title, names in groups.items()]
    least = _FAINT * max((abs(value) for line in methods for value in line.values), default=0)
    faint = [line for line in methods if max(map(abs, line.values)) < least]
    shown = [line for line in methods if line not in faint]
    found = [Panel("By method", tuple(shown), tuple(faint))]
    for title, names in groups.items():
        if len(names) > 1:
            layers = [curve(steps, [name], name.partition("/")[2]) for name in names]
            found.append(Panel(f"{title} by layer", tuple(layers)))
    return found


def linear_below(curves):
    """Return where a logarithmic axis of some curves turns linear, or None: see `Panel`."""
    values = [value for line in curves for value in line.values]
    return _LINEAR * max(map(abs, values)) if min(values, default=0) < 0 else None


def scale_starts(steps):
    """Return ``(scale, steps made before it)`` for each scale but the first."""
    pairs = zip(steps, steps[1:])
    return [(new.scale, new.step - 1) for old, new in pairs if new.scale != old.scale]
