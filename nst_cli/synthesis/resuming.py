"""Where a transfer goes on from a state that was exported."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import numpy

from ..config import Config
from ..errors import CheckpointError
from . import objective
from .margin import padded_size
from .reading import StepNumbers
from .scales import steps_at
from .setting import Setting
from .state import State, joined, state_of_streams


class Resumed(NamedTuple):
    """Where a transfer goes on.

    Attributes
    ----------
    scale : int
        The scale's number.
    steps_before : int
        Steps made at the scales before.
    steps : int
        Steps made at the scale; if it is 0, the image is the result of the scale before.
    beta : dict of str to float, or None
    state : State
    """

    scale: int
    steps_before: int
    steps: int
    beta: Optional[dict[str, float]]
    state: State

    @classmethod
    def of(cls, state: State, config: Config, scales: int, methods: Sequence[str]) -> "Resumed":
        """Return the place that a state says; it must be within the limits of the config."""
        scale = state.whole("scale", 1, scales)
        limits = [steps_at(config.iterations, number, scales) for number in range(1, scale + 1)]
        count = state.whole("count", 1 if scale == 1 else 0, limits[-1])
        steps_before = state.whole("steps_before", 0, sum(limits[:-1]))
        beta = None
        if state.numbers.get("beta") is not None:
            given = state.part("beta")
            beta = {method: given.real(method) for method in methods}
        elif objective.given_beta(config, methods) is None and config.gamma > 0:
            raise CheckpointError("it has no 'beta'")
        return cls(scale, steps_before, count, beta, state)

    def image(self, sizes: Sequence[tuple[int, int]], config: Config) -> numpy.ndarray:
        """Return the image to go on from, with its margin if the scale has begun."""
        if self.steps:
            return self.state.array("image", (1, 3, *padded_size(config, sizes[self.scale - 1])))
        return self.state.array("image", (1, 3, *sizes[self.scale - 2]))


def state_between(
    setting: Setting,
    scale: int,
    steps_before: int,
    beta: Optional[dict[str, float]],
    image: numpy.ndarray,
) -> State:
    """Return the state before a scale begins; the image is the result of the one before."""
    numbers = {
        "scale": scale, "steps_before": steps_before, "count": 0, "beta": beta,
        "tiles": list(setting.tiles),
    }  # fmt: skip
    random = state_of_streams(setting.all_streams)
    return joined(numbers, {"image": image}, random=random)


def last_step(state: State, goal: objective.Objective, image: Any) -> StepNumbers:
    """Return the step before a resumed one, as far as the end of a scale needs it."""
    after = None
    if state.numbers.get("parts_after") is not None:
        after = state.reals("parts_after")
        if len(after) != len(goal.names):
            raise CheckpointError("'parts_after' has another length")
    return StepNumbers(image, [], 0.0, 0.0, 0.0, after, goal.state())
