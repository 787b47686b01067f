"""The interface of every loss."""

from typing import Any, ClassVar, NamedTuple, Protocol


class LossGrad(NamedTuple):
    """A loss and its gradient.

    Attributes
    ----------
    value : NDArray, shape (1,)
    grad : NDArray
        With respect to the features or image, and shaped like it.
    """

    value: Any
    grad: Any


class Loss(Protocol):
    """The interface of every loss: a target once, then a value and a gradient at each step.

    Attributes
    ----------
    draws : bool
        Whether a value depends on a random draw.
    """

    draws: ClassVar[bool]

    def target(self, features: Any, random: Any = None) -> Any:
        """Reduce content or style features, shape (1, N, H, W), to the loss's target.

        `random`, a `numpy.random.RandomState`, is only used by losses that draw.
        """

    def draw(self, random: Any, shape: tuple[int, ...], target: Any) -> Any:
        """Return the random draw for one evaluation of features of a shape, (1, N, H, W)."""

    def __call__(
        self, features: Any, target: Any, weight: float = 1.0, drawn: Any = None
    ) -> LossGrad:
        """Compare features with a target; `drawn` is what `draw` returned."""


class Deterministic:
    """A loss without random draws."""

    draws: ClassVar[bool] = False

    def draw(self, random: Any, shape: tuple[int, ...], target: Any) -> None:
        """Return None, because this loss draws nothing."""
