"""The numbers of an optimiser's steps, read from the device several steps at once.

A read waits for all that is queued on the device, which a GPU then has to do without.
"""

import itertools
import math
from typing import Any, NamedTuple

from .. import engine


class Taken(NamedTuple):
    """A step whose numbers the host knows.

    Attributes
    ----------
    image : NDArray
        After the step.
    parts : list of float
        The objective's at the image before the step.
    gradient_norm : float
        There.
    change, size : float
        Norms of the step and of `image`.
    parts_after : NDArray or None
        The parts at `image`, where the optimiser has evaluated there.
    state : object
        For `Objective.resume`: to go on as if no step had been made after this one.
    """

    image: Any
    parts: list
    gradient_norm: float
    change: float
    size: float
    parts_after: Any
    state: Any

    @property
    def relative_change(self):
        """‖new − old‖ / ‖new‖ of the image."""
        return self.change / self.size if self.size else math.inf


def taken(iterates, goal, image, every):
    """Follow an optimiser and read the numbers of `every` steps at once.

    Whoever stops at one of the steps yielded finds up to `every` − 1 later ones made in vain:
    `Taken.image` and `Taken.state` are as if they had not been.

    Parameters
    ----------
    iterates : iterator of steps.Step
    goal : objective.Objective
    image : NDArray
        Where the first step starts from.
    every : int

    Yields
    ------
    Taken
        One for each step, in their order.
    """
    while waiting := list(_queued(itertools.islice(iterates, every), goal, image)):
        rows = engine.nd.stack(*(numbers for numbers, _ in waiting)).asnumpy().tolist()
        for (*parts, norm, change, size), (_, kept) in zip(rows, waiting):
            image, parts_after, state = kept
            yield Taken(image, parts, norm, change, size, parts_after, state)


def _queued(steps, goal, old):
    """Queue on the device what is to be read of steps; yield it with what is to be kept of them.

    Not kept are gradients, each of which is as large as an image.
    """
    for new, before, after in steps:
        norms = before.gradient_norm, _norm(new - old), _norm(new)
        numbers = engine.nd.concat(before.parts, *norms, dim=0)
        yield numbers, (new, after and after.parts, goal.state())
        old = new


def _norm(array):
    return engine.nd.sqrt(engine.dot(array, array))
