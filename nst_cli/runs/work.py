"""How much of a run's work is done, and how long the rest takes at most."""

import time
from collections import deque
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    # At run time it would load the engine, which the command line does without.
    from ..synthesis import Record

# The time left is estimated from this many steps. On a GPU they come ten at a time.
_RECENT = 100


class Work:
    """The work of a run, in steps at the full size.

    Steps are weighted by their pixels and tiles, so that the time left is right at the small
    scales too.

    Parameters
    ----------
    iterations : int
        As in `Config`.

    Attributes
    ----------
    done : float
    total : float
        At most; a stop rule may end the run sooner.
    most : int
        The largest number that a step can have.
    skipped : float
        What the steps before an interruption took, about, if the run goes on from a checkpoint.
    """

    def __init__(self, iterations: int) -> None:
        self.done, self.total, self.most = 0.0, float(iterations), iterations
        self.skipped = 0.0
        self._iterations = iterations
        self._scale: Optional[int] = None
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT)

    def add(self, record: "Record") -> None:
        """Count a step."""
        from ..synthesis import steps_at

        scales = range(record.scale, record.scales + 1)
        weights = [record.work[scale - 1] for scale in scales]
        if record.scale != self._scale:
            behind = max(record.step_of_scale, 1) - 1
            if self._scale is None:
                earlier = record.step - 1 - behind
                before = record.work[record.scale - 2] if earlier else 0.0
                self.done = self.skipped = weights[0] * behind + before * earlier
            self._scale = record.scale
            steps = [steps_at(self._iterations, scale, record.scales) for scale in scales]
            steps[0] -= behind
            self.most = record.step - 1 + sum(steps)
            self.total = self.done + sum(weight * n for weight, n in zip(weights, steps))
        self.done += weights[0]
        self._recent.append((time.monotonic(), self.done))

    def seconds_left(self) -> Optional[float]:
        """Return the time that the remaining steps take from now; None if not known yet."""
        if len(self._recent) < 2:
            return None
        (first, before), (last, after) = self._recent[0], self._recent[-1]
        left = (self.total - after) * (last - first) / (after - before)
        return max(0.0, left - (time.monotonic() - last))


def duration(seconds: float) -> str:
    """Return a duration in words, no more precise than a forecast."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 600:
        minutes, rest = divmod(10 * round(seconds / 10), 60)
        return f"{minutes} min {rest} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
