"""Reads the losses and norms of an optimiser's steps from the device, several steps at once.

A read waits until the device has finished its queue, and a GPU then stands idle until it gets
new work.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional

from .. import engine
from .objective import Objective
from .steps import Step


class StepNumbers(NamedTuple):
    """A step whose losses and norms have been copied to the host.

    Attributes
    ----------
    image : NDArray
        After the step.
    parts : list of float
        The parts of the objective at the image before the step.
    gradient_norm : float
        At the image before the step.
    change, size : float
        Norms of the step and of `image`.
    parts_after : list of float or None
        The parts at `image`, with the draws of the step; None if the optimiser has not evaluated
        there.
    state : object
        For `Objective.resume`, to continue as if this had been the last step computed.
    is_latest : bool
        Whether the optimiser has not computed a later step yet.
    """

    image: Any
    parts: list[float]
    gradient_norm: float
    change: float
    size: float
    parts_after: Optional[list[float]]
    state: Any
    is_latest: bool = True

    @property
    def relative_change(self) -> float:
        """‖new − old‖ / ‖new‖ of the image."""
        return self.change / self.size if self.size else math.inf


def read_steps(
    iterates: Iterator[Step], goal: Objective, image: Any, every: int
) -> Iterator[StepNumbers]:
    """Run an optimiser, reading the losses and norms of `every` steps at once.

    Up to `every` − 1 steps may already have been computed past the one the caller stops at; they
    are discarded. `StepNumbers.image` and `StepNumbers.state` are those of the step itself.

    Parameters
    ----------
    iterates : iterator of steps.Step
    goal : objective.Objective
    image : NDArray
        Where the first step starts.
    every : int

    Yields
    ------
    StepNumbers
        One for each step, in order.
    """
    while queued := list(_queued(itertools.islice(iterates, every), goal, image)):
        rows = engine.nd.stack(*(numbers for numbers, *_ in queued)).asnumpy().tolist()
        count = len(goal.names)
        for place, (row, (_, new, state)) in enumerate(zip(rows, queued), 1):
            parts, (norm, change, size) = row[:count], row[count : count + 3]
            image, after = new, row[count + 3 :] or None
            yield StepNumbers(
                image, parts, norm, change, size, after, state, is_latest=place == len(queued)
            )


def _queued(steps: Iterator[Step], goal: Objective, old: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield each step's numbers, not read yet, its image and its random state.

    Gradients are dropped, because each is as large as an image.
    """
    for new, before, after in steps:
        norms = before.gradient_norm, _norm(new - old), _norm(new)
        later = [after.parts] if after else []
        numbers = engine.nd.concat(before.parts, *norms, *later, dim=0)
        yield numbers, new, goal.state()
        old = new


def _norm(array: Any) -> Any:
    return engine.nd.sqrt(engine.dot(array, array))
