"""From two images and a Config to a third: scales, the stop rule, records and results."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

import numpy

from .. import engine, images, weights
from ..config import LAYERS, Config
from ..errors import ConfigError, NonFiniteError, ShapeError
from . import objective, vgg
from .kit import NetworkKey, NetworkKit
from .reading import Taken, taken
from .steps import OPTIMIZERS

# The rule compares two images, and momentum takes about ten steps to build up: before that a
# small change says nothing. The authors' code may stop at its first step.
_FEWEST_STEPS = 10

# How many steps are computed before their numbers are read from a device other than the host, so
# that a GPU need not wait at each step.
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
        The scale of the step, from 1, the smallest, and how many there are.
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


def transfer(
    content: Any,
    style: Any,
    config: Config,
    *,
    init: Any = None,
    on_step: Optional[Callable[[Record], Any]] = None,
    kit: Optional[NetworkKit] = None,
) -> Result:
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
        Called with a `Record` after each step. On a GPU, records come up to ten at a time.
    kit : NetworkKit, optional
        Lets several transfers share parameters, networks and the style's statistics. The result
        is the same as without.

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
        setting = _Setting(
            config=config,
            device=device,
            kit=kit or NetworkKit(keep=False),
            content=content,
            style=style,
            random=_stream(config.seed, _PAIRS),
            on_step=on_step,
        )
        return _transferred(setting, init)


@dataclass(frozen=True)
class _Setting:
    """What the scales of a transfer have in common."""

    config: Config
    device: Any
    kit: NetworkKit
    content: numpy.ndarray
    style: numpy.ndarray
    # Draws the pairs of positions of each step.
    random: numpy.random.RandomState
    on_step: Optional[Callable[[Record], Any]]

    @property
    def with_content(self) -> bool:
        """Whether the content is needed: as a loss, or to measure β′ by."""
        return self.config.alpha > 0 or self.config.beta == "auto"

    @property
    def with_style(self) -> bool:
        return self.config.gamma > 0


class _Scale(NamedTuple):
    """One size of the coarse-to-fine optimisation."""

    number: int
    count: int
    size: tuple
    steps_before: int


class _ScaleResult(NamedTuple):
    """What the optimisation at one scale ended with."""

    image: numpy.ndarray
    steps: int
    stop_reason: str
    losses: dict
    beta: Optional[dict]


def _transferred(setting: _Setting, init: Any) -> Result:
    """Optimise at each scale, from a start image or what the config says."""
    config, content, style = setting.config, setting.content, setting.style
    setting.kit.begin(_network_key(setting), content.shape, style.shape)
    sizes = scale_sizes(config.scales, content.shape[2:])
    beta, image, steps = objective.given_beta(config), None, 0
    for number, size in enumerate(sizes, 1):
        small_content, small_style = _resized(content, style, size)
        if image is None:
            image = _start(config, small_content, init if init is None else _fitted(init, size))
        else:
            image = _refined(image, small_content)
        scale = _Scale(number, len(sizes), size, steps)
        result = _optimised(setting, scale, small_content, small_style, image, beta)
        image, beta, steps = result.image, result.beta, steps + result.steps
        engine.release(setting.device)
    return Result(image, steps, result.stop_reason, result.losses, beta or {})


def _network_key(setting: _Setting) -> NetworkKey:
    config = setting.config
    return NetworkKey(
        weights=weights.find(config.weights or None),
        layers=_ordered(
            config.style_layers if setting.with_style else (),
            config.content_layers if setting.with_content else (),
        ),
        pooling=config.pooling,
        precision=engine.resolved_precision(config.precision, setting.device),
        device=setting.device,
    )


def _resized(content: numpy.ndarray, style: numpy.ndarray, size: tuple) -> tuple:
    """Return content and style for a scale, the style smaller by the same factor."""
    if size == content.shape[2:]:
        return content, style
    factor = size[0] / content.shape[2]
    style_size = [max(vgg.SMALLEST_SIDE, round(side * factor)) for side in style.shape[2:]]
    return images.resize_input(content, size), images.resize_input(style, style_size)


def _start(config: Config, content: numpy.ndarray, init: Any) -> numpy.ndarray:
    """Return the image that the first scale starts from."""
    if init is not None:
        return init
    if config.init == "random":
        return _noise(config, content.shape)
    if config.init == "content":
        return content
    raise ConfigError(f"init {config.init!r} names a picture: pass it to transfer.", "init")


def _refined(image: numpy.ndarray, content: numpy.ndarray) -> numpy.ndarray:
    """Enlarge the result of a scale to the next one's content.

    The content's detail that the smaller scale could not hold is added.
    """
    size = content.shape[2:]
    coarse = images.resize_input(content, image.shape[2:])
    detail = content - images.resize_input(coarse, size)
    return images.resize_input(image, size) + detail


def _objective(
    setting: _Setting, content: numpy.ndarray, style: numpy.ndarray, start: Any, beta: Any
) -> tuple[objective.Objective, Optional[dict]]:
    """Bind the network for a scale and take every target; measure β′ where it is None."""
    config, device = setting.config, setting.device
    network = setting.kit.network(content.shape)
    content_terms, style_terms = [], []
    if setting.with_content:
        features = network.forward(engine.array(content, device))
        content_terms = objective.content_terms(config, features)
    if setting.with_style:
        targets = _style_targets(setting, style, network)
        style_terms = objective.style_terms(config, targets)
        if beta is None:
            starts = start, _noise(config, content.shape)
            beta = _measured(setting, network, content_terms, style_terms, starts)
    terms = objective.scaled(content_terms, {"content": config.alpha}) if config.alpha else []
    if setting.with_style:
        factors = {method: config.gamma * value for method, value in beta.items()}
        terms += objective.scaled(style_terms, factors)
    return objective.Objective(network, terms, config.tv_weight, setting.random), beta


def _style_targets(setting: _Setting, style: numpy.ndarray, network: vgg.Network) -> dict:
    """Return what the style losses keep of a style image."""
    config = setting.config
    losses = objective.style_losses(config)
    seed = config.seed if any(loss.draws for loss in losses.values()) else None

    def make() -> dict:
        same_size = style.shape == network.image_shape
        reader = network if same_size else setting.kit.network(style.shape, gradient=False)
        features = reader.forward(engine.array(style, setting.device))
        # A stream for each size, so that nothing else depends on whether the kit holds these
        # targets already.
        random = _stream(config.seed, _STYLE_PAIRS, *style.shape[2:])
        return objective.style_targets(config, features, random)

    return setting.kit.targets(style, (*losses.items(), seed), make)


def _measured(
    setting: _Setting, network: vgg.Network, content: list, style: list, starts: tuple
) -> dict:
    """Return the measured β′, at the first start where the content has a gradient."""
    random = _stream(setting.config.seed, _BETA_PAIRS)
    for start in starts:
        image = engine.array(start, setting.device)
        beta = objective.measured_beta(setting.config, network, content, style, image, random)
        if beta:
            return beta
    raise ConfigError(
        "beta auto: the content loss has no gradient to be balanced with; give beta a number.",
        "beta",
    )


def _optimised(
    setting: _Setting,
    scale: _Scale,
    content: numpy.ndarray,
    style: numpy.ndarray,
    start: numpy.ndarray,
    beta: Optional[dict],
) -> _ScaleResult:
    """Take steps at a scale until the stop rule or their number ends them."""
    config, final_size = setting.config, setting.content.shape[2:]
    image = engine.array(start, setting.device)
    goal, beta = _objective(setting, content, style, start, beta)
    most = steps_at(config.iterations, scale.number, scale.count)
    iterates = OPTIMIZERS[config.optimizer](goal, image, config.learning_rate)
    steps = taken(itertools.islice(iterates, most), goal, image, _read_every(setting.device))
    # The last image whose loss and gradient are known to be finite, and its step.
    good = image, scale.steps_before
    count, last = 0, None

    def failure(step: int, what: str) -> NonFiniteError:
        kept = _enlarged(good[0], final_size)
        return NonFiniteError(
            f"Step {step}: {what} is not finite; a smaller gamma or lr may help.",
            Result(kept, good[1], "non-finite", {}, beta or {}),
        )

    for count, last in enumerate(steps, 1):
        number = scale.steps_before + count
        if not _finite(*last.parts, last.gradient_norm):
            goal.resume(last.state)
            raise failure(number, goal.non_finite(image))
        good = image, number - 1
        if not _finite(last.size):
            raise failure(number, "the image after it")
        image = last.image
        if setting.on_step:
            setting.on_step(
                Record(
                    number, scale.number, scale.count, _named(goal, last.parts),
                    last.relative_change, last.gradient_norm, beta or {}, image, final_size,
                )
            )  # fmt: skip
        if last.relative_change < config.stop_eps and count >= _FEWEST_STEPS:
            reason = "converged"
            break
    else:
        reason = "iterations" if count == most else "stalled"
    parts = _last_parts(goal, image, last)
    if not _finite(*parts):
        raise failure(scale.steps_before + count, goal.non_finite(image))
    return _ScaleResult(image.asnumpy(), count, reason, _named(goal, parts), beta)


def _last_parts(goal: objective.Objective, image: Any, last: Optional[Taken]) -> list:
    """Return the parts of the objective at the image after the last step."""
    if last:
        goal.resume(last.state)
    if goal.draws:
        goal.hold()
    known = last and last.parts_after is not None
    return (last.parts_after if known else goal(image).parts).asnumpy().tolist()


def _read_every(device: Any) -> int:
    """Return how many steps may pass between two reads from the device."""
    return 1 if engine.is_host(device) else READ_EVERY


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
