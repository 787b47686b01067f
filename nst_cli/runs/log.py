"""The log of a run: a file with a line of JSON for each step."""

import contextlib
import json
import os
import sys
from dataclasses import dataclass

from ..errors import LogError, OutputError


class Log:
    """A file of steps, each a line of JSON; one that breaks off does not take the run with it.

    Parameters
    ----------
    path : path-like

    Attributes
    ----------
    error : OSError or None
        Why the file is not complete.

    Raises
    ------
    OutputError
        The file cannot be made.
    """

    def __init__(self, path):
        self.error = None
        try:
            self._stream = open(path, "w", buffering=1, encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise OutputError(f"Cannot write the log {path}: {error.strerror}.") from error

    def write(self, record):
        """Add a line for an `optimise.Record`."""
        line = {
            "step": record.step,
            "scale": record.scale,
            "relative_change": record.relative_change,
            "gradient_norm": record.gradient_norm,
            "losses": record.losses,
        }
        if not self.error:
            with self._keeping_error():
                self._stream.write(json.dumps(line) + "\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self._keeping_error():
            self._stream.close()

    @contextlib.contextmanager
    def _keeping_error(self):
        try:
            yield
        except OSError as error:
            self.error = self.error or error


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
