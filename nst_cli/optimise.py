"""One transfer between arrays: the objective, the optimiser's steps and the stopping rule.

It knows no files but the weights, and prints nothing.
"""

import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy

from . import engine, objective, vgg, weights
from .config import LAYERS
from .errors import ConfigError, NonFiniteError, ShapeError

# The authors' optimiser: SGD with momentum, weight decay on the image, a learning rate that
# falls by a tenth every 80 steps, and the gradient's L2 norm cut to one per value of the image.
_MOMENTUM = 0.9
_WEIGHT_DECAY = 5e-4
_DECAY_STEPS = 80
_DECAY = 0.9

# The rule compares two images, and momentum takes about ten steps to build up: before that a
# small change says nothing. The authors' code may stop at its first step.
_FEWEST_STEPS = 10

START_AMPLITUDE = 0.1


@dataclass(frozen=True)
class Record:
    """What one step did.

    Attributes
    ----------
    step : int
        From 1.
    losses : dict of str to float
        ``total`` and its parts, ``smoothing`` and one for each method and layer
        (``poly/relu1_1``), all with their weights, at the image the step started from.
    relative_change : float
        ‖new − old‖ / ‖new‖ of the image.
    gradient_norm : float
        L2 norm of the gradient of all but the smoothing, before it is clipped.
    beta : dict of str to float
        β′ of each method, as given or measured.
    """

    step: int
    losses: dict
    relative_change: float
    gradient_norm: float
    beta: dict
    _image: Any = field(repr=False)

    @property
    def image(self):
        """The image after the step, float32 (1, 3, H, W), copied from the device when read."""
        return self._image.asnumpy()


@dataclass(frozen=True)
class Result:
    """What a transfer made.

    Attributes
    ----------
    image : numpy.ndarray
        float32, (1, 3, H, W): RGB, means subtracted.
    steps : int
    stop_reason : str
        ``converged`` (the stop rule) or ``iterations`` (the most allowed); what `NonFiniteError`
        carries says ``non-finite``.
    losses : dict of str to float
        ``total`` and its parts at `image`, as in `Record`; empty where it is not finite.
    beta : dict of str to float
        β′ of each method, as given or measured.
    """

    image: numpy.ndarray = field(repr=False)
    steps: int
    stop_reason: str
    losses: dict
    beta: dict


def transfer(content, style, config, *, init=None, on_step=None):
    """Make an image with the content of one and the style of another.

    Parameters
    ----------
    content, style : array_like, shape (1, 3, H, W)
        Network input: RGB, 0 to 255, less the channel means (`images.to_input`). The two may
        differ in size; the result has the content's.
    config : Config
        `size`, `style_fit` and `denoise` concern files, and do nothing here.
    init : array_like, optional
        Start image, shaped like `content`; by default what ``config.init`` says.
    on_step : callable, optional
        Called with a `Record` after each step.

    Returns
    -------
    Result

    Raises
    ------
    ShapeError
        An array is not of that form, or too small for the network.
    ConfigError
        ``config.init`` names a picture and `init` is not given.
    WeightsError, EngineError
        No parameters, no such device, too little memory.
    NonFiniteError
        The loss or the gradient is not finite; its `result` holds the last good image.
    """
    content = _checked("content", content)
    style = _checked("style", style)
    if init is not None:
        init = _checked("init", init)
        if init.shape != content.shape:
            raise ShapeError(f"init has shape {init.shape}, the content {content.shape}.")
    noise = _noise(numpy.random.RandomState(config.seed), content.shape)
    # A stream of its own, so that the pairs do not depend on whether the start was drawn.
    random = numpy.random.RandomState(config.seed)
    start = _start(config, content, init, noise)
    device = engine.context(config.device)
    arrays = weights.load(weights.find(config.weights or None))
    with engine.failures():
        goal, beta = _objective(config, arrays, device, content, style, (start, noise), random)
        image = engine.array(start, device)
        return _run(config, goal, beta, image, on_step)


def _objective(config, arrays, device, content, style, starts, random):
    """Bind the network and take every target; returns the `Objective` and β′ by method."""
    beta = objective.given_beta(config)
    with_content = config.alpha > 0 or beta is None
    with_style = config.gamma > 0
    layers = _ordered(
        config.style_layers if with_style else (), config.content_layers if with_content else ()
    )
    shared = vgg.parameters(arrays, layers, device)
    network = vgg.Network(shared, layers, content.shape, config.pooling)
    content_terms, style_terms = [], []
    if with_content:
        features = network.forward(engine.array(content, device))
        content_terms = objective.content_terms(config, features)
    if with_style:
        reader = network
        if style.shape != content.shape:
            reader = vgg.Network(shared, layers, style.shape, config.pooling, gradient=False)
        features = reader.forward(engine.array(style, device))
        style_terms = objective.style_terms(config, features, random)
    for start in starts if beta is None and with_style else ():
        image = engine.array(start, device)
        beta = objective.measured_beta(config, network, content_terms, style_terms, image, random)
        if beta:
            break
    if beta is None and with_style:
        raise ConfigError(
            "beta auto: the content loss has no gradient to be balanced with; give beta a number.",
            "beta",
        )
    terms = objective.scaled(content_terms, {"content": config.alpha}) if config.alpha else []
    if with_style:
        factors = {method: config.gamma * value for method, value in beta.items()}
        terms += objective.scaled(style_terms, factors)
    return objective.Objective(network, terms, config.tv_weight, random), beta or {}


def _run(config, goal, beta, image, on_step):
    """Take the optimiser's steps until the rule or their count ends them."""
    # The last image whose loss and gradient are known to be finite, or the start.
    good, good_steps = image, 0

    def failure(step, what):
        result = Result(good.asnumpy(), good_steps, "non-finite", {}, beta)
        return NonFiniteError(
            f"Step {step}: {what} is not finite; a smaller gamma or lr may help.", result
        )

    steps, reason = 0, "iterations"
    iterates = sgd(goal, image, config.lr)
    for steps, (new, evaluation) in enumerate(itertools.islice(iterates, config.iterations), 1):
        parts, gradient_norm, change, size = _read(evaluation, image, new)
        if not all(map(math.isfinite, (*parts, gradient_norm))):
            raise failure(steps, goal.non_finite(image))
        good, good_steps = image, steps - 1
        if not math.isfinite(size):
            raise failure(steps, "the image after it")
        image = new
        relative = change / size if size else math.inf
        if on_step:
            on_step(Record(steps, _named(goal, parts), relative, gradient_norm, beta, image))
        if relative < config.stop_eps and steps >= _FEWEST_STEPS:
            reason = "converged"
            break
    parts = goal(image).parts.asnumpy().tolist()
    if not all(map(math.isfinite, parts)):
        raise failure(steps, goal.non_finite(image))
    return Result(image.asnumpy(), steps, reason, _named(goal, parts), beta)


def sgd(goal, image, lr):
    """Step as the authors' code does, without end.

    Parameters
    ----------
    goal : callable
        Image to `objective.Evaluation`.
    image : NDArray, shape (1, 3, H, W)
        The start; it is not changed.
    lr : float
        Learning rate of the first steps.

    Yields
    ------
    image, evaluation
        The new image, and the evaluation at the one before it.
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
        yield new, evaluation
        image = new


def _read(evaluation, old, new):
    """Copy a step's scalars to the host at once: parts, gradient, change and image norm."""
    norms = (evaluation.gradient_norm, _norm(new - old), _norm(new))
    scalars = engine.nd.concat(evaluation.parts, *norms, dim=0).asnumpy().tolist()
    return scalars[:-3], *scalars[-3:]


def _norm(array):
    vector = array.reshape((-1,))
    return engine.nd.sqrt(engine.nd.dot(vector, vector))


def _named(goal, parts):
    return {"total": math.fsum(parts), **dict(zip(goal.names, parts))}


def _noise(random, shape):
    return random.uniform(-START_AMPLITUDE, START_AMPLITUDE, shape).astype(numpy.float32)


def _start(config, content, init, noise):
    if init is not None:
        return init
    if config.init == "random":
        return noise
    if config.init == "content":
        return content
    raise ConfigError(f"init {config.init!r} names a picture: pass it to transfer.", "init")


def _ordered(*groups):
    """Return the layers of all groups, each once, shallow ones first."""
    return tuple(sorted({layer for group in groups for layer in group}, key=LAYERS.index))


def _checked(name, values):
    # What is beyond float32 shows as infinity below.
    with numpy.errstate(over="ignore"):
        array = numpy.ascontiguousarray(values, dtype=numpy.float32)
    if array.ndim != 4 or array.shape[:2] != (1, 3) or min(array.shape[2:]) < vgg.SMALLEST_SIDE:
        raise ShapeError(
            f"{name} has shape {array.shape}; it must be (1, 3, H, W) with sides of at least "
            f"{vgg.SMALLEST_SIDE}."
        )
    if not numpy.isfinite(array).all():
        raise ShapeError(f"{name} holds values that are not finite.")
    return array
