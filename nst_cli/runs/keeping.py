"""Keeps a checkpoint of one run while it lasts: when to write it, and what it is called."""

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Optional, Union

from ..config import Config
from ..errors import CheckpointError, OutputError, SidecarError
from ..files import StrPath
from ..synthesis import Record, State, scale_sizes, steps_at
from . import checkpoints, claims, log, sidecar
from .checkpoints import Saved

if TYPE_CHECKING:
    from .runner import Job

#: When checkpoints are written: ``auto``, ``off`` or seconds.
Every = Union[str, float]

# Under auto: seconds between two checkpoints, in runs that take longer than this in all.
_INTERVAL = 30.0
_LONG_RUN = 60.0
# Under auto, writing takes at most this part of the time.
_MOST_COST = 0.01
# Bytes written per second, until it has been measured.
_USUAL_RATE = 150e6


class Keeper:
    """The checkpoint of one run.

    Parameters
    ----------
    job : runner.Job
    every : str or float
        ``auto``: every 30 seconds in runs of over a minute, and so rarely that writing takes at
        most a hundredth of the time. ``off``: never. Seconds: as often as that says.
    clock : callable
        Returns seconds.

    Attributes
    ----------
    step : int or None
        The step of the checkpoint that exists.
    error : str
        Why the last checkpoint could not be written; empty if it could.

    Raises
    ------
    OutputError
        The user asks for checkpoints, and none can be written.
    """

    def __init__(
        self, job: "Job", every: Every = "auto", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._every, self._clock = name_of(job), every, clock
        self._output, self._iterations = os.path.abspath(job.output), job.config.iterations
        scales = len(scale_sizes(job.config.scales, job.content.shape[2:]))
        self._steps = sum(steps_at(self._iterations, n, scales) for n in range(1, scales + 1))
        self._lines: list[bytes] = []
        self._began = self._last = clock()
        self._record: Optional[Record] = None
        # The time of the first step, and the cost of those after it, in steps of full size.
        self._first, self._cost = 0.0, 0.0
        self._rate: Optional[float] = None
        self._claim: Optional[claims.Claim] = None
        self.step: Optional[int] = None
        self.error = ""
        if not isinstance(every, str):
            checkpoints.make_folder()

    def load(self) -> Optional[Saved]:
        """Return the checkpoint of an earlier run like this one; None if there is none.

        Raises
        ------
        CheckpointError
            It cannot be used.
        """
        saved = checkpoints.read(self._name)
        if saved is not None:
            try:
                steps = [line.step for line in log.parse(saved.log)]
            except ValueError as error:
                raise CheckpointError(f"The checkpoint cannot be used: {error}.") from error
            if steps != list(range(1, saved.step + 1)):
                raise CheckpointError("The checkpoint cannot be used: its log is not complete.")
            self._lines, self.step = [saved.log], saved.step
        return saved

    def forget(self) -> None:
        """Start afresh after `load`."""
        self._lines, self.step = [], None

    def exists(self) -> bool:
        """Return whether an earlier run like this one left a checkpoint."""
        path = checkpoints.path_of(self._name)
        return path is not None and path.exists()

    def after(self, record: Record) -> None:
        """Take note of a step."""
        if self._every == "off":
            return
        self._lines.append(log.line_of(record).encode())
        weight = 4.0 ** (record.scale - record.scales)
        if self._record is None:
            self._first = self._clock()
        else:
            self._cost += weight
        self._record = record

    def offer(self, export: Callable[[], State], must: bool = False) -> None:
        """Write a checkpoint if it is time to, or if it must be written.

        Parameters
        ----------
        export : callable
            Returns the state after the last step.
        must : bool
            Whether the run is about to be interrupted.
        """
        record, now = self._record, self._clock()
        if self._every == "off" or record is None:
            return
        interval = _INTERVAL if isinstance(self._every, str) else self._every
        if not must and now - self._last < interval:
            return
        if not must and self._every == "auto" and now - self._began + self._left(now) < _LONG_RUN:
            return
        state = export()
        size = checkpoints.size_of(state)
        expected = size / (self._rate or _USUAL_RATE)
        if not must and self._every == "auto" and expected > _MOST_COST * (now - self._last):
            return
        if self._rate is None:
            checkpoints.prune(self._name, size)
        try:
            self._own()
            description = {"output": os.fsencode(self._output).decode("utf-8", "replace"),
                           "steps": max(self._steps, record.step)}  # fmt: skip
            saved = Saved(state, record.step, b"".join(self._lines))
            checkpoints.write(self._name, saved, description)
            self.step, self.error = record.step, ""
        except OutputError as error:
            self.error = str(error)
        self._last = self._clock()
        self._rate = size / max(self._last - now, 1e-3)

    def remove(self) -> None:
        """Remove the checkpoint, because the run has ended."""
        with contextlib.suppress(OutputError):
            if self.exists():
                self._own()
                checkpoints.remove(self._name)
        self.step = None
        self.close()

    def close(self) -> None:
        """Let other runs like this one have the checkpoint."""
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def _own(self) -> None:
        """Claim the checkpoint, or raise an `OutputError`."""
        if self._claim is None or self._claim.holder:
            place = checkpoints.make_folder()
            self._claim = claims.Claim(place / self._name, patience=0.2)
        if self._claim.holder:
            raise OutputError(
                f"No checkpoint is kept: {self._claim.holder} makes the same picture and keeps "
                "its own."
            )

    def _left(self, now: float) -> float:
        """Return the seconds that the rest of the run takes at most; infinite if unknown."""
        record = self._record
        if record is None or not self._cost:
            return math.inf
        left = steps_at(self._iterations, record.scale, record.scales) - record.step_of_scale
        cost = left * 4.0 ** (record.scale - record.scales)
        for scale in range(record.scale + 1, record.scales + 1):
            steps = steps_at(self._iterations, scale, record.scales)
            cost += steps * 4.0 ** (scale - record.scales)
        return cost * (now - self._first) / self._cost


def name_of(job: "Job") -> str:
    """Return the name of a run's checkpoint: 64 hex digits that depend on all that makes it.

    These are the options, the content of all inputs, the versions of nst and of its libraries,
    the kind of device and the precision; not the paths.
    """
    return _name(job.provenance, job.config)


def remove_finished(picture: StrPath) -> None:
    """Remove the checkpoint of a finished picture's run, which was killed before it could."""
    place = checkpoints.folder()
    with contextlib.suppress(OSError, SidecarError):
        if place is None or not os.listdir(place):
            return
        description = sidecar.read(picture)
        name = _name(description.document, description.config())
        if not claims.is_claimed(place / name):
            checkpoints.remove(name)


def _name(document: Mapping[str, Any], config: Config) -> str:
    options = {**sidecar.without_paths(config), "device": None}
    parts: dict[str, Any] = {
        "config": options,
        "inputs": sidecar.checksums_of(document),
        "versions": {key: value for key, value in document["versions"].items() if key != "python"},
        "plugins": document.get("plugins"),
        "device": document["device"].partition("(")[0],
        "precision": document["precision"],
        "convolution": document["convolution"],
        "size": [document["height"], document["width"]],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
