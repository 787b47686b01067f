"""The optimisers: each yields one `Step` after another.

Each takes the objective, a start image that it does not change, and `Config.lr`, whose unit
depends on the optimiser. It goes on for ever, or until it finds no lower value. After a step its
state can be exported, and another object can go on from there.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Optional, Protocol

from .. import engine
from . import lbfgs
from .basis import Cosines
from .objective import Evaluation, Objective
from .state import State, joined

# The authors' SGD: momentum, weight decay on the image, and a learning rate that falls by a tenth
# every 80 steps.
_MOMENTUM = 0.9
_WEIGHT_DECAY = 5e-4
_DECAY_STEPS = 80
_DECAY = 0.9
# MXNet refuses a learning rate that is not a normal number in float32. After some 61,000 steps
# the authors' rate is smaller, and no longer moves any pixel.
_LEAST_RATE = 1e-37

# L-BFGS takes a gradient as it is if its norm is in between. Inner products of larger ones
# overflow float32, and those of smaller ones become 0.
_LEAST_NORM, _MOST_NORM = 2.0**-40, 2.0**50


class Step(NamedTuple):
    """What an optimiser yields.

    Attributes
    ----------
    image : NDArray
        The new image.
    before : objective.Evaluation
        At the image the step started from; it may lack its gradients.
    after : objective.Evaluation or None
        At the new image, with the draws of the step; None if the optimiser has not evaluated
        there.
    """

    image: Any
    before: Evaluation
    after: Optional[Evaluation] = None


class Optimiser(Protocol):
    """Steps whose state can be exported after each of them."""

    def __iter__(self) -> Iterator[Step]: ...

    def state(self) -> State:
        """Return what is needed to go on after the last step, besides its image."""


class SGD:
    """The steps of the authors' code.

    Parameters
    ----------
    goal : callable
        Maps an image to an `objective.Evaluation`.
    image : NDArray, shape (1, 3, H, W)
    lr : float
        Learning rate of the first steps.
    state : State, optional
        To go on from, at the image of the step that it was exported after.
    """

    def __init__(
        self,
        goal: Callable[[Any], Evaluation],
        image: Any,
        lr: float,
        state: Optional[State] = None,
    ) -> None:
        self._goal, self._image, self._lr = goal, image, lr
        if state is None:
            self._steps, self._momentum = 0, engine.nd.zeros_like(image)
        else:
            self._steps = state.whole("steps", 0)
            self._momentum = state.on_device("momentum", image)

    def state(self) -> State:
        return State({"steps": self._steps}, {"momentum": self._momentum})

    def __iter__(self) -> Iterator[Step]:
        while True:
            yield self._next()

    def _next(self) -> Step:
        nd, image = engine.nd, self._image
        evaluation = self._goal(image)
        # The authors clip the gradient's L2 norm to clip_norm = 3 H W, one per value.
        bound = float(image.size)
        norm = nd.maximum(evaluation.gradient_norm, bound)
        gradient = nd.broadcast_mul(evaluation.gradient, (bound / norm).reshape((1, 1, 1, 1)))
        if evaluation.smoothing_gradient is not None:
            gradient += evaluation.smoothing_gradient
        new = nd.empty(image.shape, ctx=image.context, dtype=image.dtype)
        rate = self._lr * _DECAY ** (self._steps // _DECAY_STEPS)
        nd.sgd_mom_update(
            image, gradient, self._momentum, out=new, momentum=_MOMENTUM, wd=_WEIGHT_DECAY,
            lr=rate if rate > _LEAST_RATE else 0,
        )  # fmt: skip
        self._image, self._steps = new, self._steps + 1
        return Step(new, evaluation.without_gradients())


class Adam:
    """Steps of Adam [1]_ with its usual constants.

    Parameters
    ----------
    goal : callable
        Maps an image to an `objective.Evaluation`.
    image : NDArray, shape (1, 3, H, W)
    lr : float
        About the largest change of a value in one step, in grey levels.
    state : State, optional
        To go on from, at the image of the step that it was exported after.

    References
    ----------
    .. [1] Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    """

    def __init__(
        self,
        goal: Callable[[Any], Evaluation],
        image: Any,
        lr: float,
        state: Optional[State] = None,
    ) -> None:
        self._goal, self._image, self._lr = goal, image, lr
        if state is None:
            self._steps = 0
            self._mean, self._square = (engine.nd.zeros_like(image) for _ in range(2))
        else:
            self._steps = state.whole("steps", 0)
            self._mean, self._square = (
                state.on_device(name, image) for name in ("mean", "square")
            )

    def state(self) -> State:
        return State({"steps": self._steps}, {"mean": self._mean, "square": self._square})

    def __iter__(self) -> Iterator[Step]:
        while True:
            yield self._next()

    def _next(self) -> Step:
        nd, image = engine.nd, self._image
        beta1, beta2 = 0.9, 0.999
        evaluation, step = self._goal(image), self._steps + 1
        new = nd.empty(image.shape, ctx=image.context, dtype=image.dtype)
        nd.adam_update(
            image, evaluation.total_gradient(), self._mean, self._square, out=new,
            lr=self._lr * (1 - beta2**step) ** 0.5 / (1 - beta1**step), beta1=beta1, beta2=beta2,
        )  # fmt: skip
        self._image, self._steps = new, step
        return Step(new, evaluation.without_gradients())


class QuasiNewton:
    """Steps of L-BFGS on the coefficients of a cosine transform.

    Parameters
    ----------
    goal : objective.Objective
        If it draws at random, each step costs one evaluation more.
    image : NDArray, shape (1, 3, H, W)
    lr : float
        Length of the first trial step: the root mean square over the image, in grey levels.
    state : State, optional
        To go on from, at the image of the step that it was exported after.
    """

    def __init__(
        self, goal: Objective, image: Any, lr: float, state: Optional[State] = None
    ) -> None:
        self._goal, self._lr = goal, lr
        # At the image that the step started from; None until the step has evaluated there.
        self._before: Optional[Evaluation] = None
        # Coefficients are those of the difference from the start.
        self._start, self._basis = image, Cosines(image)
        # What L-BFGS minimises is the objective times this; None until the first evaluation.
        self._factor: Optional[float] = None
        self._progress = lbfgs.Progress(lbfgs.Memory(image, lbfgs.history_of(image.size)))
        if state is not None:
            self._restore(state, image)

    def _restore(self, state: State, image: Any) -> None:
        self._start = state.on_device("start", image)
        self._basis.scale = state.on_device("scale", image)
        norm = engine.array([state.real("gradient_norm")], image.context, image.dtype)
        parts = engine.array(state.reals("parts"), image.context, image.dtype)
        self._before = Evaluation(parts, None, norm, None)
        self._factor = state.real("factor")
        point = state.part("point")
        self._progress.restore(point, image, (image, self._before))

    def state(self) -> State:
        assert self._progress.here and self._before
        return joined(
            {
                "parts": self._before.parts.asnumpy().tolist(),
                "gradient_norm": float(self._before.gradient_norm.asscalar()),
                "factor": self._factor,
            },
            {"start": self._start, "scale": self._basis.scale},
            point=self._progress.state(),
        )

    def __iter__(self) -> Iterator[Step]:
        # Kept here and not by the object, so that no cycle of references delays its end.
        points = lbfgs.minimise(
            self._evaluated, engine.nd.zeros_like(self._start), self._lr, renew=self._redraw,
            rescale=self._basis.adapt, progress=self._progress,
        )  # fmt: skip
        next(points)
        for point in points:
            before = self._before
            assert before is not None  # every step has evaluated
            new, self._before = point.extra
            # While the next point is searched, this one's arrays may be replaced.
            del point
            yield Step(new, before, self._before)

    def _evaluated(self, coefficients: Any) -> tuple[Any, Any, Any]:
        new = self._basis.image(coefficients)
        new += self._start
        evaluation = self._goal(new)
        gradient = evaluation.total_gradient()
        evaluation = evaluation.without_gradients()
        # The first evaluation of a step uses a draw that the image has not been fitted to yet.
        self._before = self._before or evaluation
        gradient = self._basis.gradient(gradient)
        if self._factor is None:
            self._factor = _power_of_two(float(engine.nd.norm(gradient).asscalar()))
        gradient *= self._factor
        return evaluation.value() * self._factor, gradient, (new, evaluation)

    def _redraw(self) -> bool:
        # One draw per step: within a line search the function must not change, and with one
        # draw for all steps the image would be fitted to the draw, not to the distribution.
        if self._goal.draws:
            self._goal.hold()
            self._before = None
        return self._goal.draws


def _power_of_two(norm: float) -> float:
    """Return the power of two that scales a norm to about 1, or 1 if the norm needs none."""
    if _LEAST_NORM <= norm <= _MOST_NORM or not 0 < norm < math.inf:
        return 1.0
    return 2.0 ** -round(math.log2(norm))


OPTIMIZERS: dict[str, Callable[[Objective, Any, float, Optional[State]], Optimiser]] = {
    "sgd": SGD,
    "adam": Adam,
    "lbfgs": QuasiNewton,
}
