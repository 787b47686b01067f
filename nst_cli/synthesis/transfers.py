"""From two images and a Config to a third: scales, the stop rule, records and results."""

import hashlib
import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy

from .. import engine, images, weights
from ..config import LAYERS
from ..errors import ConfigError, NonFiniteError, ShapeError
from . import objective, vgg
from .memo import make_anew
from .reading import taken
from .steps import OPTIMIZERS

# The rule compares two images, and momentum takes about ten steps to build up: before that a
# small change says nothing. The authors' code may stop at its first step.
_FEWEST_STEPS = 10

# Where reading from the device costs time and nobody waits for the numbers.
READ_EVERY = 10

START_AMPLITUDE = 0.1

# What is drawn at random: the start image, the pairs of positions of a style image, those of each
# step, and those of the evaluations that measure β′. Each has a stream of its own for each seed;
# these numbers are part of what a seed means, and never change.
_START, _STYLE_PAIRS, _PAIRS, _BETA_PAIRS = range(4)

# With `auto`, the smallest scale's long edge is the shortest from here on.
_SMALLEST_EDGE = 256


@dataclass(frozen=True)
class Record:
    """What one step did.

    Attributes
    ----------
    step : int
        From 1, over all scales.
    scale, scales : int
        Which scale the step was made at, from 1, the smallest, and how many there are.
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
    scale: int
    scales: int
    losses: dict
    relative_change: float
    gradient_norm: float
    beta: dict
    _image: Any = field(repr=False)
    _size: tuple = field(repr=False)

    @property
    def shape(self):
        """Shape of the image at this scale, (1, 3, h, w)."""
        return self._image.shape

    @property
    def image(self):
        """The image after the step, float32 (1, 3, H, W), copied from the device when read.

        At the smaller scales it is enlarged to the size of the result.
        """
        return _enlarged(self._image, self._size)


@dataclass(frozen=True)
class Result:
    """What a transfer made.

    Attributes
    ----------
    image : numpy.ndarray
        float32, (1, 3, H, W): RGB, means subtracted.
    steps : int
    stop_reason : str
        At the last scale: ``converged`` (the stop rule), ``iterations`` (the most allowed) or
        ``stalled`` (L-BFGS finds no way down, for want of digits); what `NonFiniteError`
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


def transfer(content, style, config, *, init=None, on_step=None, at_once=True, recall=make_anew):
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
    at_once : bool
        False lets the records come up to ten at a time, which spares a GPU from waiting for the
        host at each step. The steps are the same, and so is what they make.
    recall : callable, optional
        A `memo.Memo`, by which transfers one after another share parameters, executors and the
        style's statistics. What they make is the same as without.

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
    device = engine.device_of(config)
    with engine.failures():
        return _Transfer(config, device, content, style, on_step, at_once, recall).run(init)


class _Transfer:
    """The scales of a transfer one after another, and what they share."""

    def __init__(self, config, device, content, style, on_step, at_once, recall):
        self._config, self._device, self._recall = config, device, recall
        self._on_step, self._at_once = on_step, at_once
        self._content, self._style = content, style
        self._sizes = scale_sizes(config.scales, content.shape[2:])
        self._precision = engine.resolved_precision(config.precision, device)
        self._random = _stream(config.seed, _PAIRS)
        self._beta = objective.given_beta(config)
        self._with_content = config.alpha > 0 or self._beta is None
        self._with_style = config.gamma > 0
        self._layers = _ordered(
            config.style_layers if self._with_style else (),
            config.content_layers if self._with_content else (),
        )
        # Whatever is made by this network goes by these.
        self._which = weights.find(config.weights or None)
        self._kind = (self._which, self._layers, config.pooling, self._precision, str(device))
        self._steps = 0

    def run(self, init):
        """Return the `Result` from a start image (or what the config says)."""
        image = None
        for scale, size in enumerate(self._sizes, 1):
            content, style = self._resized(size)
            if image is None:
                image = self._start(content, init if init is None else _fitted(init, size))
            else:
                # The content's detail that the smaller scale could not hold comes on top.
                coarse = images.resize_input(content, image.shape[2:])
                detail = content - images.resize_input(coarse, size)
                image = images.resize_input(image, size) + detail
            start = engine.array(image, self._device)
            # Not held by a name: each scale's executor is gone before the next is bound.
            image, reason, losses = self._optimised(
                self._objective(content, style, image), scale, start
            )
            engine.release(self._device)
        return Result(image, self._steps, reason, losses, self._beta or {})

    def _resized(self, size):
        """Return content and style for a scale, the style smaller by the same factor."""
        if size == self._content.shape[2:]:
            return self._content, self._style
        factor = size[0] / self._content.shape[2]
        style = [max(vgg.SMALLEST_SIDE, round(side * factor)) for side in self._style.shape[2:]]
        return images.resize_input(self._content, size), images.resize_input(self._style, style)

    def _start(self, content, init):
        if init is not None:
            return init
        if self._config.init == "random":
            return _noise(self._config, content.shape)
        if self._config.init == "content":
            return content
        raise ConfigError(
            f"init {self._config.init!r} names a picture: pass it to transfer.", "init"
        )

    def _parameters(self):
        # Not held by a name: the file's pages are given back once they are on the device.
        return vgg.parameters(
            weights.load(self._which), self._layers, self._device, precision=self._precision
        )

    def _network(self, shape, gradient=True):
        shared = self._recall(("parameters", *self._kind), self._parameters)
        choices = self._layers, shape, self._config.pooling, gradient, self._precision
        return self._recall(
            ("network", *self._kind, shape, gradient), lambda: vgg.Network(shared, *choices)
        )

    def _style_targets(self, style, network):
        """Return what the style losses keep of a style image."""
        config, device = self._config, self._device
        # By the scale, so that it makes no difference to others whether these are kept.
        random = _stream(config.seed, _STYLE_PAIRS, *style.shape[2:])
        digest = hashlib.sha256(style).hexdigest(), style.shape
        losses = tuple(config.methods), config.style_layers, config.c, config.seed

        def make():
            own = style.shape == network.image_shape
            reader = network if own else self._network(style.shape, gradient=False)
            features = reader.forward(engine.array(style, device))
            return objective.style_targets(config, features, random)

        return self._recall(("targets", *self._kind, *digest, *losses), make)

    def _objective(self, content, style, start):
        """Bind the network for a scale and take every target; the first scale measures β′."""
        config, device = self._config, self._device
        network = self._network(content.shape)
        content_terms, style_terms = [], []
        if self._with_content:
            features = network.forward(engine.array(content, device))
            content_terms = objective.content_terms(config, features)
        if self._with_style:
            targets = self._style_targets(style, network)
            style_terms = objective.style_terms(config, targets)
            if self._beta is None:
                starts = start, _noise(config, content.shape)
                self._beta = self._measured(network, content_terms, style_terms, starts)
        terms = objective.scaled(content_terms, {"content": config.alpha}) if config.alpha else []
        if self._with_style:
            factors = {method: config.gamma * value for method, value in self._beta.items()}
            terms += objective.scaled(style_terms, factors)
        return objective.Objective(network, terms, config.tv_weight, self._random)

    def _measured(self, network, content, style, starts):
        random = _stream(self._config.seed, _BETA_PAIRS)
        for start in starts:
            image = engine.array(start, self._device)
            beta = objective.measured_beta(self._config, network, content, style, image, random)
            if beta:
                return beta
        raise ConfigError(
            "beta auto: the content loss has no gradient to be balanced with; give beta a number.",
            "beta",
        )

    def _optimised(self, goal, scale, image):
        """Take steps until the rule or their count ends them; image, stop reason, losses."""
        config = self._config
        most = steps_at(config.iterations, scale, len(self._sizes))
        iterates = OPTIMIZERS[config.optimizer](goal, image, config.learning_rate)
        steps = taken(itertools.islice(iterates, most), goal, image, self._read_every())
        # The last image whose loss and gradient are known to be finite, or the start.
        self._good = image, self._steps
        count, last = 0, None
        for count, last in enumerate(steps, 1):
            self._check(goal, image, last)
            self._steps, image = self._steps + 1, last.image
            if self._on_step:
                self._on_step(self._record(goal, scale, last))
            if last.relative_change < config.stop_eps and count >= _FEWEST_STEPS:
                reason = "converged"
                break
        else:
            reason = "iterations" if count == most else "stalled"
        return image.asnumpy(), reason, self._losses(goal, image, last)

    def _check(self, goal, image, step):
        """Raise for a step from `image` whose numbers are not finite."""
        if not _finite(*step.parts, step.gradient_norm):
            goal.resume(step.state)
            raise self._failure(self._steps + 1, goal.non_finite(image))
        self._good = image, self._steps
        if not _finite(step.size):
            raise self._failure(self._steps + 1, "the image after it")

    def _losses(self, goal, image, last):
        """Return the losses at the image after the last step."""
        if last:
            goal.resume(last.state)
        if goal.draws:
            goal.hold()
        known = last and last.parts_after is not None
        parts = (last.parts_after if known else goal(image).parts).asnumpy().tolist()
        if not _finite(*parts):
            raise self._failure(self._steps, goal.non_finite(image))
        return _named(goal, parts)

    def _read_every(self):
        """Return how many steps may pass between two reads from the device."""
        free = engine.is_host(self._device)
        watched = self._on_step is not None and self._at_once
        return 1 if free or watched else READ_EVERY

    def _record(self, goal, scale, step):
        return Record(
            self._steps, scale, len(self._sizes), _named(goal, step.parts), step.relative_change,
            step.gradient_norm, self._beta or {}, step.image, self._content.shape[2:],
        )  # fmt: skip

    def _failure(self, step, what):
        image, steps = self._good
        kept = _enlarged(image, self._content.shape[2:])
        return NonFiniteError(
            f"Step {step}: {what} is not finite; a smaller gamma or lr may help.",
            Result(kept, steps, "non-finite", {}, self._beta or {}),
        )


def steps_at(iterations, scale, scales):
    """Return the steps at most at a scale: all at the last, a third at those before.

    They only find where the large strokes go; more steps there do not save any later.
    """
    return iterations if scale == scales else -(-iterations // 3)


def scale_sizes(scales, size):
    """Return the sizes to optimise at, the smallest first.

    Parameters
    ----------
    scales : str or int
        As in `Config`. Fewer where a side would be too small for the network.
    size : (int, int)
        Height and width of the result.

    Returns
    -------
    list of (int, int)
    """
    sizes = [tuple(size)]
    while scales == "auto" or len(sizes) < scales:
        smaller = tuple(round(side / 2 ** len(sizes)) for side in size)
        least = _SMALLEST_EDGE if scales == "auto" else 0
        if min(smaller) < vgg.SMALLEST_SIDE or max(smaller) < least:
            break
        sizes.insert(0, smaller)
    return sizes


def _fitted(image, size):
    return image if image.shape[2:] == size else images.resize_input(image, size)


def _enlarged(image, size):
    return _fitted(image.asnumpy(), tuple(size))


def _finite(*numbers):
    return all(map(math.isfinite, numbers))


def _named(goal, parts):
    return {"total": math.fsum(parts), **dict(zip(goal.names, parts))}


def _stream(seed, *key):
    """Return the random numbers of a seed for one purpose, ``SeedSequence(seed).spawn(…)[key]``.

    NumPy keeps the numbers of `RandomState` the same in all its versions, those of `Generator`
    not.
    """
    sequence = numpy.random.SeedSequence(seed, spawn_key=key)
    return numpy.random.RandomState(numpy.random.MT19937(sequence))


def _noise(config, shape):
    random = _stream(config.seed, _START)
    return random.uniform(-START_AMPLITUDE, START_AMPLITUDE, shape).astype(numpy.float32)


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
