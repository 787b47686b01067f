"""Logs of runs, as ``nst stylize --log`` writes them: their steps, and the curves these make."""

import json
import math
import os
import sys
from dataclasses import dataclass

from .errors import LogError

# Of the largest value in a picture: a curve below is left out, an axis that has to pass 0 turns
# linear.
_FAINT, _LINEAR = 1e-5, 1e-3


@dataclass(frozen=True)
class Step:
    """A line of a log.

    Attributes
    ----------
    step : int
        From 1, over all scales.
    scale : int
        From 1, the smallest.
    losses : dict of str to float
        ``total`` and its parts at the image the step started from, after ``step - 1`` steps.
    """

    step: int
    scale: int
    losses: dict


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


def read(path):
    """Read the steps in a log; a tuple of `Step`.

    Raises
    ------
    LogError
        The file cannot be read, or a line is no step or does not follow the one before; it
        holds the steps before that line.
    """
    path, steps = os.fspath(path), []
    try:
        with open(path, "rb") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    steps.append(_step(line, steps[-1] if steps else None))
                except ValueError as error:
                    raise LogError(
                        f"Cannot read the log {path}: line {number} is broken: {error}.", steps
                    ) from error
    except OSError as error:
        raise LogError(f"Cannot read the log {path}: {error.strerror}.") from error
    return tuple(steps)


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


def is_number(value):
    """Tell whether a value that came out of JSON is a finite number."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _step(line, previous):
    """Return the step in a line of bytes, or raise a ValueError that says why it is none."""
    try:
        record = json.loads(line)
    except ValueError:
        raise ValueError("it is not JSON") from None
    fields = record if isinstance(record, dict) else {}
    step, scale, losses = (fields.get(key) for key in ("step", "scale", "losses"))
    for key, value in (("step", step), ("scale", scale)):
        if type(value) is not int or value < 1:
            raise ValueError(f"it has no {key!r}, a whole number from 1 on")
    if not isinstance(losses, dict) or "total" not in losses:
        raise ValueError("it has no 'losses' with their 'total'")
    for name, value in losses.items():
        if not is_number(value):
            raise ValueError(f"its loss {name!r} is no finite number")
    if previous and (step <= previous.step or scale < previous.scale):
        raise ValueError(
            f"step {step} of scale {scale} comes after step {previous.step} of scale "
            f"{previous.scale}, so this is more than one run"
        )
    return Step(step, scale, losses)
