"""The optimisers: generators of images, one a step, over one objective.

Each takes the objective, a start image that it does not change, and the `Config.lr` whose unit
it documents, and yields `Step` without end, or until it finds no way down any more.
"""

import itertools
from typing import Any, NamedTuple

from .. import engine
from . import lbfgs

# The authors' SGD: momentum, weight decay on the image, a learning rate that falls by a tenth
# every 80 steps, and the gradient's L2 norm cut to one per value of the image.
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
        At the new image, where the optimiser has evaluated there.
    """

    image: Any
    before: Any
    after: Any = None


def sgd(goal, image, lr):
    """Step as the authors' code does.

    Parameters
    ----------
    goal : callable
        Image to `objective.Evaluation`.
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
        # One per value of the image, as a bound of the norm: their clip_norm = 3 H W.
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


def adam(goal, image, lr):
    """Step by Adam [1]_ with its usual constants.

    Parameters
    ----------
    goal : callable
        Image to `objective.Evaluation`.
    image : NDArray, shape (1, 3, H, W)
    lr : float
        How far a value of the image moves in a step, at most about, in levels of grey.

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


def quasi_newton(goal, image, lr):
    """Step by L-BFGS on the coefficients of a cosine transform.

    Parameters
    ----------
    goal : callable
        An `objective.Objective`. Where it draws at random, a step costs an evaluation more.
    image : NDArray, shape (1, 3, H, W)
    lr : float
        Length of the first trial step: the root mean square over the image, in levels of grey.

    Yields
    ------
    Step
    """
    basis = lbfgs.Cosines(image)
    before = None

    def evaluated(coefficients):
        nonlocal before
        new = image + basis.image(coefficients)
        evaluation = goal(new)
        # The first in a step, on whose draw the image does not depend yet.
        before = before or evaluation
        gradient = basis.gradient(evaluation.total_gradient())
        return evaluation.value(), gradient, (new, evaluation)

    def redrawn():
        nonlocal before
        # A line search needs one and the same function. Kept for longer, the image would fit
        # the draw and not the distribution.
        if goal.draws:
            goal.hold()
            before = None
        return goal.draws

    start = engine.nd.zeros_like(image)
    points = lbfgs.minimise(evaluated, start, lr, renew=redrawn)
    next(points)
    for point in points:
        new, evaluation = point.found
        # On the draw that the image was fitted to it would look better than it is.
        yield Step(new, before, None if goal.draws else evaluation)
        before = evaluation


OPTIMIZERS = {"sgd": sgd, "adam": adam, "lbfgs": quasi_newton}
