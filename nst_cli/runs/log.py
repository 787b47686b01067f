"""The log of a run: a file with a line of JSON for each step."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

from .. import files
from ..errors import LogError, OutputError, reason

# A line has about 1 kB.
_LONGEST_LINE = 1 << 20
_MOST_STEPS = 10**9
_LARGEST = 1e300


class Log:
    """A file of steps, each a line of JSON; a failing write does not end the run.

    Parameters
    ----------
    path : path-like

    Attributes
    ----------
    error : OSError or None
        Why the file is not complete.
    steps : int
        How many have been written.

    Raises
    ------
    OutputError
        The file cannot be made.
    """

    def __init__(self, path, mode="w"):
        self.error, self.steps = None, 0
        try:
            self._stream = open(path, mode, buffering=1, encoding="utf-8")  # noqa: SIM115
        except FileExistsError:
            raise
        except OSError as error:
            raise OutputError(f"Cannot write the log {path}: {reason(error)}.") from error

    def write(self, record):
        """Add a line for a `synthesis.Record`."""
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
                self.steps += 1

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


@contextlib.contextmanager
def writing(path: os.PathLike) -> Iterator[Log]:
    """Yield a `Log` that grows under its name, or takes the place of an older one at the end.

    A run that is killed loses no older log. A run that fails keeps its steps, if it made any.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    OutputError
        The file cannot be made.
    """
    target = files.target_of(path)
    try:
        fresh = Log(target, "x")
    except FileExistsError:
        yield from _replacing_older(target)
        return
    try:
        with fresh:
            yield fresh
    except BaseException:
        if not fresh.steps:
            os.unlink(target)
        raise


def _replacing_older(path):
    """Yield a `Log` that is renamed to `path` at the end, if it has a step or nothing failed."""
    lines = failure = None
    try:
        with (
            contextlib.suppress(_NothingToKeepError),
            files.replacing(path) as temporary,
            Log(temporary) as lines,
        ):
            try:
                yield lines
            except BaseException as error:
                failure = error
                if not lines.steps:
                    raise _NothingToKeepError from error
    except OSError as error:
        if not lines:
            raise OutputError(f"Cannot write the log {path}: {reason(error)}.") from error
        lines.error = lines.error or error
    if failure:
        raise failure


class _NothingToKeepError(Exception):
    """A run failed before its first step."""


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


def read(path: os.PathLike) -> tuple[Step, ...]:
    """Read the steps in a log.

    Raises
    ------
    LogError
        The file cannot be read, or a line is no step or does not follow the one before. It holds
        the steps before that line, and whether the file ends within it.
    """
    path, steps = os.fspath(path), []
    try:
        with files.open_regular(path) as stream:
            for number, line in enumerate(_lines(stream), 1):
                try:
                    steps.append(_step(line, steps[-1] if steps else None))
                except ValueError as error:
                    is_cut = not line.endswith(b"\n") and len(line) <= _LONGEST_LINE
                    raise LogError(
                        f"Cannot read the log {path}: line {number} is broken: {error}.",
                        steps,
                        is_cut,
                    ) from error
    except (OSError, ValueError) as error:
        raise LogError(f"Cannot read the log {path}: {reason(error)}.") from error
    return tuple(steps)


def is_log(path: os.PathLike) -> bool:
    """Return whether a file is a log: it starts with a step, or a run ended before its first."""
    try:
        with files.open_regular(path) as stream:
            line = next(_lines(stream), b"")
    except OSError:
        return False
    if not line.endswith(b"\n"):
        # Nothing, or a step that a killed run did not finish.
        start = b'{"step": 1, "scale": 1, '
        return line.startswith(start) or start.startswith(line)
    try:
        _step(line, None)
    except ValueError:
        return False
    return True


def is_number(value: object) -> bool:
    """Return whether a value that came out of JSON is a finite number, and sums of it are."""
    return type(value) in (int, float) and abs(value) <= _LARGEST


def _lines(stream):
    return iter(lambda: stream.readline(_LONGEST_LINE + 1), b"")


def _step(line, previous):
    """Return the step in a line of bytes, or raise a ValueError that says why it is none."""
    record = files.from_json(line)
    fields = record if isinstance(record, dict) else {}
    step, scale, losses = (fields.get(key) for key in ("step", "scale", "losses"))
    for key, value in (("step", step), ("scale", scale)):
        if type(value) is not int or not 1 <= value <= _MOST_STEPS:
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
