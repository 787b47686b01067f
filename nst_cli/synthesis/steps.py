"""The optimisers: generators that yield one `Step` after another.

Each takes the objective, a start image that it does not change, and `Config.lr`, whose unit
depends on the optimiser. It yields for ever, or until it finds no lower value.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Optional

from .. import engine
from . import lbfgs
from .basis import Cosines
from .objective import Evaluation, Objective

# The authors' SGD: momentum, weight decay on the image, and a learning rate that falls by a tenth
# every 80 steps.
_MOMENTUM = 0.9
_WEIGHT_DECAY = 5e-4
_DECAY_STEPS = 80
_DECAY = 0.9


class Step(NamedTuple):
    """What an optimiser yields.

    Attributes
    ----------
    image : NDArray
        The new image.
    before : objective.Evaluation
        At the image the step started from; its gradient may have been overwritten.
    after : objective.Evaluation or None
        At the new image, with the draws of the step; None if the optimiser has not evaluated
        there.
    """

    image: Any
    before: Evaluation
    after: Optional[Evaluation] = None


def sgd(goal: Callable[[Any], Evaluation], image: Any, lr: float) -> Iterator[Step]:
    """Take the steps of the authors' code.

    Parameters
    ----------
    goal : callable
        Maps an image to an `objective.Evaluation`.
    image : NDArray, shape (1, 3, H, W)
    lr : float
        Learning rate of the first steps.

    Yields
    ------
    Step
    """
    nd = engine.nd
    momentum = nd.zeros_like(image)
    for step in itertools.count():
        evaluation = goal(image)
        # The authors clip the gradient's L2 norm to clip_norm = 3 H W, one per value.
        bound = float(image.size)
        norm = nd.maximum(evaluation.gradient_norm, bound)
        gradient = nd.broadcast_mul(evaluation.gradient, (bound / norm).reshape((1, 1, 1, 1)))
        if evaluation.smoothing_gradient is not None:
            gradient = gradient + evaluation.smoothing_gradient
        new = nd.empty(image.shape, ctx=image.context, dtype=image.dtype)
        nd.sgd_mom_update(
            image, gradient, momentum, out=new,
            lr=lr * _DECAY ** (step // _DECAY_STEPS), momentum=_MOMENTUM, wd=_WEIGHT_DECAY,
        )  # fmt: skip
        yield Step(new, evaluation)
        image = new


def adam(goal: Callable[[Any], Evaluation], image: Any, lr: float) -> Iterator[Step]:
    """Take steps of Adam [1]_ with its usual constants.

    Parameters
    ----------
    goal : callable
        Maps an image to an `objective.Evaluation`.
    image : NDArray, shape (1, 3, H, W)
    lr : float
        About the largest change of a value in one step, in grey levels.

    Yields
    ------
    Step

    References
    ----------
    .. [1] Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    """
    nd = engine.nd
    mean, square = nd.zeros_like(image), nd.zeros_like(image)
    beta1, beta2 = 0.9, 0.999
    for step in itertools.count(1):
        evaluation = goal(image)
        new = nd.empty(image.shape, ctx=image.context, dtype=image.dtype)
        nd.adam_update(
            image, evaluation.total_gradient(), mean, square, out=new,
            lr=lr * (1 - beta2**step) ** 0.5 / (1 - beta1**step), beta1=beta1, beta2=beta2,
        )  # fmt: skip
        yield Step(new, evaluation)
        image = new


def quasi_newton(goal: Objective, image: Any, lr: float) -> Iterator[Step]:
    """Take steps of L-BFGS on the coefficients of a cosine transform.

    Parameters
    ----------
    goal : objective.Objective
        If it draws at random, each step costs one evaluation more.
    image : NDArray, shape (1, 3, H, W)
    lr : float
        Length of the first trial step: the root mean square over the image, in grey levels.

    Yields
    ------
    Step
    """
    basis = Cosines(image)
    before: Optional[Evaluation] = None

    def evaluate(coefficients: Any) -> tuple[Any, Any, Any]:
        nonlocal before
        new = image + basis.image(coefficients)
        evaluation = goal(new)
        # The first evaluation of a step uses a draw that the image has not been fitted to yet.
        before = before or evaluation
        gradient = basis.gradient(evaluation.total_gradient())
        return evaluation.value(), gradient, (new, evaluation)

    def redraw() -> bool:
        nonlocal before
        # One draw per step: within a line search the function must not change, and with one
        # draw for all steps the image would be fitted to the draw, not to the distribution.
        if goal.draws:
            goal.hold()
            before = None
        return goal.draws

    start = engine.nd.zeros_like(image)
    history = lbfgs.history_of(image.size)
    points = lbfgs.minimise(evaluate, start, lr, history, redraw, basis.adapt)
    next(points)
    for point in points:
        assert before is not None  # every step has evaluated
        new, evaluation = point.extra
        yield Step(new, before, evaluation)
        before = evaluation


OPTIMIZERS: dict[str, Callable[[Objective, Any, float], Iterator[Step]]] = {
    "sgd": sgd,
    "adam": adam,
    "lbfgs": quasi_newton,
}
