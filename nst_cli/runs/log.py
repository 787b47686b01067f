"""The log of a run: a file with a line of JSON for each step."""

import contextlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Optional

from .. import files
from ..checks import short
from ..errors import LogError, OutputError, reason
from ..files import StrPath

if TYPE_CHECKING:
    # At run time it would load the engine, which reading a log does not need.
    from ..synthesis import Record

# A line takes about 1 kB.
_LONGEST_LINE = 1 << 20
_MAX_STEPS = 10**9
_LARGEST_NUMBER = 1e300
# The names of losses in a log. A run has one for each method and layer, and those of plugins.
_MOST_LOSSES = 1000


class Log:
    """A file with a line of JSON for each step; an error while writing does not end the run.

    Parameters
    ----------
    path : path-like
    mode : str
        As for `open`: ``w`` or ``x``.

    Attributes
    ----------
    error : OSError or None
        The first error while writing; the file is then incomplete.
    steps : int
        Number of steps written.

    Raises
    ------
    OutputError
        The file cannot be created.
    FileExistsError
        The file exists, and the mode is ``x``.
    """

    def __init__(self, path: StrPath, mode: str = "w"):
        self.error: Optional[OSError] = None
        self.steps = 0
        try:
            self._stream = open(path, mode, buffering=1, encoding="utf-8")  # noqa: SIM115
        except FileExistsError:
            raise
        except OSError as error:
            raise OutputError(f"Cannot write the log {path}: {reason(error)}.") from error

    def write(self, record: "Record") -> None:
        """Add a line for a `synthesis.Record`."""
        self._add(line_of(record), 1)

    def restore(self, lines: bytes) -> None:
        """Add the lines of the steps that were made before an interruption."""
        self._add(lines.decode(), lines.count(b"\n"))

    def _add(self, text: str, steps: int) -> None:
        if not self.error:
            with self._recording_error():
                self._stream.write(text)
                self.steps += steps

    def __enter__(self) -> "Log":  # noqa: PYI034 (Self needs Python 3.11)
        return self

    def __exit__(self, *_: object) -> None:
        with self._recording_error():
            self._stream.close()

    @contextlib.contextmanager
    def _recording_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error


def line_of(record: "Record") -> str:
    """Return the line of a log for a `synthesis.Record`."""
    line = {
        "step": record.step,
        "scale": record.scale,
        "relative_change": record.relative_change,
        "gradient_norm": record.gradient_norm,
        "losses": record.losses,
    }
    return json.dumps(line) + "\n"


@contextlib.contextmanager
def writing(path: StrPath) -> Iterator[Log]:
    """Yield a `Log` that is written to `path` at once; an older log is replaced at the end.

    If the run is killed, an older log remains. If the run fails, its steps are kept if
    there are any.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    OutputError
        The file cannot be created.
    """
    target = files.target_of(path)
    try:
        new_log = Log(target, "x")
    except FileExistsError:
        yield from _replacing_older(target)
        return
    try:
        with new_log:
            yield new_log
    except BaseException:
        if not new_log.steps:
            os.unlink(target)
        raise


def _replacing_older(path: str) -> Iterator[Log]:
    """Yield a `Log`; rename it to `path` at the end, unless the run fails without a step."""
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
        From 1, counted over all scales.
    scale : int
        From 1, the smallest.
    losses : dict of str to float
        ``total`` and its parts at the image before the step.
    """

    step: int
    scale: int
    losses: dict[str, float]


def read(path: StrPath) -> tuple[Step, ...]:
    """Read the steps in a log.

    Raises
    ------
    LogError
        The file cannot be read, or a line is not a step or does not follow the previous one. The
        error holds the steps before that line, and whether the file ends within it.
    """
    path = os.fspath(path)
    steps: list[Step] = []
    names: set[str] = set()
    try:
        with files.open_regular(path) as stream:
            for number, line in enumerate(_lines(stream), 1):
                try:
                    step = _step(line, steps[-1] if steps else None)
                    names.update(step.losses)
                    if len(names) > _MOST_LOSSES:
                        raise ValueError(f"its losses have more than {_MOST_LOSSES} names")
                    steps.append(step)
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


def parse(lines: bytes) -> list[Step]:
    """Return the steps in the lines of a log, or raise a ValueError that says what is wrong."""
    steps: list[Step] = []
    # As `read` does; `splitlines` would also end a line at a carriage return.
    for line in io.BytesIO(lines):
        if not line.endswith(b"\n"):
            raise ValueError("its log is cut off")
        steps.append(_step(line, steps[-1] if steps else None))
    lines.decode()
    return steps


def is_log(path: StrPath) -> bool:
    """Return whether a file is a log: empty, or starting with a step or a part of one."""
    try:
        with files.open_regular(path) as stream:
            line = next(_lines(stream), b"")
    except OSError:
        return False
    if not line.endswith(b"\n"):
        # The run was killed before its first line was complete.
        start = b'{"step": 1, "scale": 1, '
        return line.startswith(start) or start.startswith(line)
    try:
        _step(line, None)
    except ValueError:
        return False
    return True


def is_number(value: object) -> bool:
    """Return whether a JSON value is a number small enough that sums of such stay finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= _LARGEST_NUMBER


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: stream.readline(_LONGEST_LINE + 1), b"")


def _positive(fields: dict[str, Any], key: str) -> int:
    value = fields.get(key)
    if type(value) is not int or not 1 <= value <= _MAX_STEPS:
        raise ValueError(f"it has no {key!r} that is a whole number from 1 on")
    return value


def _step(line: bytes, previous: Optional[Step]) -> Step:
    """Return the step in a line of bytes, or raise a ValueError that says what is wrong."""
    record = files.from_json(line)
    fields = record if isinstance(record, dict) else {}
    step, scale = _positive(fields, "step"), _positive(fields, "scale")
    losses = fields.get("losses")
    if not isinstance(losses, dict) or "total" not in losses:
        raise ValueError("it has no 'losses' with their 'total'")
    for name, value in losses.items():
        if not is_number(value):
            raise ValueError(f"its loss {short(name)} is not a finite number")
    if previous and (step <= previous.step or scale < previous.scale):
        raise ValueError(
            f"step {step} of scale {scale} comes after step {previous.step} of scale "
            f"{previous.scale}, so the file has more than one run"
        )
    return Step(step, scale, losses)
