"""The stop rule on the objective: how much it decreased in the last steps."""

import math
from collections import deque
from typing import Optional

from ..errors import CheckpointError
from .reading import StepNumbers
from .state import State, real

#: The stop rules apply from this step on. Momentum takes about ten steps to build up, and until
#: then a small change does not mean convergence. The authors' code may stop at its first step.
FEWEST_STEPS = 10

# `Config.stop_decrease` is compared with the average over this many steps.
_DECREASES = 5


class Decreases:
    """How much the objective decreased in the last steps, each as its values before and after.

    L-BFGS gives both, under the same draw. For the other optimisers, a step's value after is the
    next one's before.
    """

    def __init__(self) -> None:
        self._values: deque[tuple[float, float]] = deque(maxlen=_DECREASES)
        self._before: Optional[float] = None

    def add(self, step: StepNumbers) -> None:
        before = math.fsum(step.parts)
        if step.parts_after:
            self._values.append((before, math.fsum(step.parts_after)))
        elif self._before is not None:
            self._values.append((self._before, before))
        self._before = before

    def state(self) -> State:
        return State({"values": list(map(list, self._values)), "before": self._before}, {})

    def restore(self, state: State) -> None:
        """Go on from what `state` returned."""
        if state.numbers.get("before") is not None:
            self._before = state.real("before")
        for pair in state.list("values"):
            if not isinstance(pair, list) or len(pair) != 2:
                raise CheckpointError("'values' are no pairs")
            before, after = (real(value, "values") for value in pair)
            self._values.append((before, after))

    def average(self) -> float:
        """Return the decrease per step, as a share of the objective; infinite if unknown yet."""
        if len(self._values) < _DECREASES:
            return math.inf
        decrease = math.fsum(before - after for before, after in self._values)
        size = math.fsum(abs(after) for _, after in self._values)
        return decrease / size if size else 0.0
