"""Runs a transfer: optimises at each scale, applies the stop rule, reports each step."""

import functools
import itertools
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Optional, Union

import numpy

from .. import engine, images
from ..config import LAYERS, Config
from ..errors import CheckpointError, ConfigError, NonFiniteError, ShapeError
from ..weights import Weights
from . import memory, objective, starts, vgg
from .kit import NetworkKey, NetworkKit
from .margin import margin_of, padded_size, with_margin, without_margin
from .pooling import pooled_targets
from .reading import StepNumbers, read_steps
from .state import State, joined, real, restore_streams, state_of_streams
from .steps import OPTIMIZERS
from .styles import Group, StyleImage, coverage, grouped, shares
from .tiled_objective import TiledObjective, kept_positions
from .tiled_styles import tiled_targets
from .tiles import OnTile, TiledNetwork

# The stop rules apply from this step on. Momentum takes about ten steps to build up, and until
# then a small change does not mean convergence. The authors' code may stop at its first step.
_FEWEST_STEPS = 10

# `Config.stop_decrease` is compared with the average over this many steps.
_DECREASES = 5

# On a GPU, the numbers of this many steps are read at once, so that it does not wait at each step.
READ_EVERY = 10

# The random streams of a seed, one for each purpose: the start image, the style image's pairs of
# positions, each step's pairs, the pairs for measuring β′, and the bases that sums are taken in,
# which are the same at all scales. A seed's results depend on these numbers, so they never change.
# The pairs of each step have a stream for each group of styles: that of the first group is
# (_PAIRS,), and that of group n is (_PAIRS, n). So another style leaves the draws for those before
# it as they are. A target depends on the style's pictures alone, not on the place of its group.
# The last is for the positions that losses keep of maps in tiles, at each size.
_START, _STYLE_PAIRS, _PAIRS, _BETA_PAIRS, _BASES, _KEPT = range(6)
# The colours of `init` style, and the noise of `init_noise`.
_START_COLOURS, _START_NOISE = 10, 11

# No state has larger tiles.
_MOST_TILE_BYTES = 1 << 50

# With `scales` auto, no scale has a long edge below this.
_SMALLEST_EDGE = 256


@dataclass(frozen=True)
class Record:
    """The numbers and the image of one step.

    Attributes
    ----------
    step : int
        Counted from 1, over all scales.
    scale, scales : int
        The step's scale, counted from 1, the smallest; and the number of scales.
    losses : dict of str to float
        ``total`` and its weighted parts: one for each method and layer (``poly/relu1_1``), and
        ``smoothing``. If several styles have a method, the number of the style follows
        (``poly/relu1_1/2``). Computed at the image the step started from, with its margin.
    relative_change : float
        ‖new − old‖ / ‖new‖ of the image with its margin.
    gradient_norm : float
        L2 norm of the gradient without the smoothing, before clipping.
    beta : dict of str to float
        β′ of each method, given or measured.
    tiling : memory.Tiling or None
        How the full size is computed in tiles; None if it is not.
    step_of_scale : int
        The step, counted from 1 at each scale.
    """

    step: int
    scale: int
    scales: int
    losses: dict[str, float]
    relative_change: float
    gradient_norm: float
    beta: dict[str, float]
    _image: Any = field(repr=False)
    _margin: int = field(repr=False)
    _size: tuple[int, int] = field(repr=False)
    tiling: Optional[memory.Tiling] = None
    step_of_scale: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image at this scale without its margin, (1, 3, h, w)."""
        *first, height, width = self._image.shape
        return (*first, height - 2 * self._margin, width - 2 * self._margin)

    @property
    def image(self) -> numpy.ndarray:
        """The image after the step, float32 (1, 3, H, W), copied from the device when read.

        Its margin is cut off. At the smaller scales it is enlarged to the size of the result.
        """
        return _enlarged(self._image, self._margin, self._size)


@dataclass(frozen=True)
class Result:
    """The result of a transfer.

    Attributes
    ----------
    image : numpy.ndarray
        float32, (1, 3, H, W): RGB, means subtracted.
    steps : int
    stop_reason : str
        Why the last scale ended: ``converged`` (a stop rule), ``iterations`` (the limit) or
        ``stalled`` (L-BFGS finds no lower loss within float32's precision). In the result that
        `NonFiniteError` carries: ``non-finite``.
    losses : dict of str to float
        ``total`` and its parts at `image` with its margin, as in `Record`; empty if
        ``non-finite``.
    beta : dict of str to float
        β′ of each method, given or measured.
    tiling : memory.Tiling or None
        How the full size was computed in tiles; None if it was not.
    """

    image: numpy.ndarray = field(repr=False)
    steps: int
    stop_reason: str
    losses: dict[str, float]
    beta: dict[str, float]
    tiling: Optional[memory.Tiling] = None


def transfer(
    content: Any,
    styles: Any,
    config: Config,
    *,
    init: Any = None,
    on_step: Optional[Callable[[Record], Any]] = None,
    kit: Optional[NetworkKit] = None,
    weights: Optional[Weights] = None,
    on_state: Optional[Callable[[Callable[[], State]], Any]] = None,
    state: Optional[State] = None,
) -> Result:
    """Make an image with the content of one image and the style of one or several others.

    Parameters
    ----------
    content : array_like, shape (1, 3, H, W)
        Network input: RGB, 0 to 255, minus the channel means (`images.to_input`). The result has
        its size.
    styles : array_like, shape (1, 3, H, W), or StyleImage, or a sequence of StyleImage
        A style image, which may differ in size from the content; or one or several styles with
        their weights, methods and masks.
    config : Config
        `size`, `style_fit`, `keep_colors` and `denoise` apply to files and are ignored here.
    init : array_like, optional
        Start image, shaped like `content`; by default, ``config.init`` decides.
    on_step : callable, optional
        Called with a `Record` after each step. On a GPU, records come up to ten at a time.
    kit : NetworkKit, optional
        Lets several transfers share parameters, networks and the style's statistics. The result
        is the same as without a kit.
    weights : Weights, optional
        The weights, if the caller has found them already; by default ``config.weights`` decides.
    on_state : callable, optional
        Called after each step that another call could go on from, with a function that returns
        the `state.State` to do so; the function must be called at once, if at all. On a GPU these
        are one step in ten.
    state : state.State, optional
        What that function returned in a transfer of the same inputs. On a CPU, the result is then
        the same as without the interruption. `on_step` is called for the steps after it.

    Returns
    -------
    Result

    Raises
    ------
    CheckpointError
        `state` does not fit the inputs.
    ShapeError
        An array has another shape, is too small for the network, or is not finite; or a mask does
        not fit its picture.
    ConfigError
        ``config.init`` names a picture and `init` is not given; or the weights or the methods of
        the styles are not valid.
    PluginError
        The loss of a plugin takes no masks and a style has one.
    WeightsError
        The weights are missing or lack a layer.
    EngineError
        The device cannot be used, or has too little memory.
    NonFiniteError
        The loss or the gradient is not finite; its `result` holds the last good image.
    """
    content = _input_array("content", content)
    groups = grouped(_styles_of(styles), content.shape[2:], config)
    if init is not None:
        init = _input_array("init", init)
        if init.shape != content.shape:
            raise ShapeError(f"init has shape {init.shape}, the content {content.shape}.")
    device = engine.device_of(config)
    with engine.failures():
        tiling = tiling_for(config, groups, content.shape[2:], state)
        if tiling and tiling.by_fourier:
            config = replace(config, estimator="fourier")
        setting = _Setting(
            config=config,
            device=device,
            kit=kit or NetworkKit(keep=False),
            content=content,
            groups=groups,
            random=stream(config.seed, _PAIRS),
            on_step=on_step,
            weights=weights or Weights.find(config.weights),
            streams={
                group.index: stream(config.seed, _PAIRS, group.index) for group in groups[1:]
            },
            tiling=tiling,
            on_state=on_state,
        )
        return _run_scales(setting, init, state)


@dataclass(frozen=True)
class _Setting:
    """What all scales of a transfer share."""

    config: Config
    device: Any
    kit: NetworkKit
    content: numpy.ndarray
    groups: Sequence[Group]
    # Draws the pairs of positions of each step.
    random: numpy.random.RandomState
    on_step: Optional[Callable[[Record], Any]]
    weights: Weights
    # The same for the second group of styles and further ones, by index.
    streams: Mapping[int, numpy.random.RandomState] = field(default_factory=dict)
    # How the full size is computed in tiles; None if all sizes do without.
    tiling: Optional[memory.Tiling] = None
    on_state: Optional[Callable[[Callable[[], State]], Any]] = None

    @property
    def tile(self) -> int:
        """Bytes of a tile; 0 without tiles."""
        return self.tiling.tile_bytes if self.tiling else 0

    @property
    def all_streams(self) -> tuple[numpy.random.RandomState, ...]:
        return self.random, *self.streams.values()

    @property
    def with_content(self) -> bool:
        """Whether the content is needed, for its loss or for measuring β′."""
        return self.config.alpha > 0 or self.config.beta == "auto"

    @property
    def with_style(self) -> bool:
        return self.config.gamma > 0


class _Scale(NamedTuple):
    """One size of the coarse-to-fine optimisation."""

    number: int
    scales: int
    steps_before: int
    margin: int
    tile_bytes: int


class _ScaleResult(NamedTuple):
    """The result of the optimisation at one scale."""

    image: numpy.ndarray
    steps: int
    stop_reason: str
    losses: dict[str, float]
    beta: Optional[dict[str, float]]


class _Resumed(NamedTuple):
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
    def of(cls, state: State, config: Config, scales: int, methods: Sequence[str]) -> "_Resumed":
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


def _run_scales(
    setting: _Setting, init: Optional[numpy.ndarray], state: Optional[State] = None
) -> Result:
    """Optimise at each scale.

    The first starts from `init` or, if it is None, as the config says; or from a state.
    """
    config, content, groups = setting.config, setting.content, setting.groups
    wide_shape = (*content.shape[:2], *padded_size(config, content.shape[2:]))
    pictures = (picture.image.shape for group in groups for picture in group.pictures)
    setting.kit.begin(_network_key(setting), wide_shape, *pictures)
    sizes = _sizes(setting)
    beta, steps = objective.given_beta(config, shares(groups)), 0
    image: Optional[numpy.ndarray] = None
    resumed: Optional[_Resumed] = None
    if state is not None:
        resumed = _Resumed.of(state, config, len(sizes), list(shares(groups)))
        restore_streams(setting.all_streams, state.part("random"))
        image, beta, steps = resumed.image(sizes, config), resumed.beta, resumed.steps_before
    for number, size in enumerate(sizes, 1):
        if resumed and number < resumed.scale:
            continue
        begun = resumed if resumed and resumed.steps and number == resumed.scale else None
        small_content, small_groups = _inputs_at(size, content, groups)
        margin = margin_of(config, size)
        if image is None:
            small_init = None if init is None else _resized(init, size)
            image = _start_image(config, small_content, small_groups, small_init)
        elif not begun:
            image = _next_start(image, small_content)
        if not begun:
            image = with_margin(image, margin)
        tile_bytes = 0
        if setting.tiling:
            # Smaller scales than the last may fit.
            style_sizes, terms = _needs(small_groups)
            tile_bytes = memory.tile_bytes(config, size, *style_sizes, **terms)
        if begun:
            tile_bytes = begun.state.whole("scale_tile", 0, _MOST_TILE_BYTES)
        scale = _Scale(number, len(sizes), steps, margin, tile_bytes)
        small_content = with_margin(small_content, margin)
        small_groups = [group.with_margin(scale.margin) for group in small_groups]
        result = _optimise(setting, scale, small_content, small_groups, image, beta, begun)
        image, beta, steps = result.image, result.beta, steps + result.steps
        engine.release(setting.device)
        if setting.on_state and number < len(sizes):
            setting.on_state(
                functools.partial(_state_between, setting, number + 1, steps, beta, image)
            )
    return Result(
        result.image, steps, result.stop_reason, result.losses, beta or {}, setting.tiling
    )


def tiling_for(
    config: Config,
    groups: Sequence[Group],
    size: Sequence[int],
    state: Optional[State] = None,
) -> Optional[memory.Tiling]:
    """Return how a transfer to a size is computed in tiles; None if it is not.

    A transfer that goes on from a state keeps its tiles, whatever memory is available now.
    """
    height, width = size
    methods = list(dict.fromkeys(method for group in groups for method in group.methods))
    if state is not None:
        chosen = state.whole("tile", 0, _MOST_TILE_BYTES)
        return memory.tiling_with(config, methods, chosen) if chosen else None
    style_sizes, terms = _needs(groups)
    return memory.tiling(config, methods, (height, width), *style_sizes, **terms)


def _needs(groups: Sequence[Group]) -> tuple[list[tuple[int, int]], dict[str, Any]]:
    """Return the sizes of style images, the largest first, and further needs of memory."""
    shapes = [picture.image.shape for group in groups for picture in group.pictures]
    sizes = [(height, width) for *_, height, width in shapes]
    sizes.sort(key=math.prod, reverse=True)
    return sizes, {"groups": len(groups), "masked": not all(group.whole for group in groups)}


def _state_between(
    setting: _Setting,
    scale: int,
    steps_before: int,
    beta: Optional[dict[str, float]],
    image: numpy.ndarray,
) -> State:
    """Return the state before a scale begins; the image is the result of the one before."""
    numbers = {
        "scale": scale, "steps_before": steps_before, "count": 0, "beta": beta,
        "tile": setting.tile,
    }  # fmt: skip
    random = state_of_streams(setting.all_streams)
    return joined(numbers, {"image": image}, random=random)


def _network_key(setting: _Setting) -> NetworkKey:
    config = setting.config
    return NetworkKey(
        weights=setting.weights,
        layers=_ordered(
            config.style_layers if setting.with_style else (),
            config.content_layers if setting.with_content else (),
        ),
        pooling=config.pooling,
        precision=engine.precision_of(config, setting.device),
        convolution=config.convolution,
        device=setting.device,
    )


def _sizes(setting: _Setting) -> list[tuple[int, int]]:
    """Return the sizes to optimise at, without those where a style would have no position."""
    config, content, groups = setting.config, setting.content, setting.groups
    *smaller, full = scale_sizes(config.scales, content.shape[2:])
    if all(group.whole for group in groups):
        return [*smaller, full]

    def covered(size: tuple[int, int]) -> bool:
        _, resized = _inputs_at(size, content, groups)
        return all(group.covers_any(config) for group in resized)

    return [*filter(covered, smaller), full]


def _inputs_at(
    size: tuple[int, int], content: numpy.ndarray, groups: Sequence[Group]
) -> tuple[numpy.ndarray, Sequence[Group]]:
    """Return the content resized to `size`, and the styles resized by the same factor."""
    if size == content.shape[2:]:
        return content, groups
    factor = size[0] / content.shape[2]
    smaller = [group.at_size(size, factor) for group in groups]
    return images.resize_input(content, size), smaller


def _start_image(
    config: Config,
    content: numpy.ndarray,
    groups: Sequence[Group],
    init: Optional[numpy.ndarray],
) -> numpy.ndarray:
    """Return the image that the first scale starts from."""
    if init is not None:
        image = init
    elif config.init == "random":
        image = _noise(config, content.shape)
    elif config.init == "content":
        image = content
    elif config.init == "style":
        random = stream(config.seed, _START_COLOURS)
        pictures = [(one, group) for group in groups for one in group.pictures]
        weights = [one.share * group.weight for one, group in pictures]
        image = starts.in_colours_of(
            [one.image for one, _ in pictures], weights, content.shape, random
        )
    else:
        raise ConfigError(f"init {config.init!r} names a picture: pass it to transfer.", "init")
    return starts.with_noise(image, config.init_noise, stream(config.seed, _START_NOISE))


def _next_start(image: numpy.ndarray, content: numpy.ndarray) -> numpy.ndarray:
    """Enlarge a scale's result to start the next scale, whose content is given.

    Enlarging cannot restore fine detail, so the content's is added.
    """
    size = content.shape[2:]
    coarse = images.resize_input(content, image.shape[2:])
    detail = content - images.resize_input(coarse, size)
    start: numpy.ndarray = images.resize_input(image, size) + detail
    return start


def _objective(
    setting: _Setting,
    content: numpy.ndarray,
    groups: Sequence[Group],
    start: numpy.ndarray,
    beta: Optional[dict[str, float]],
    tile_bytes: int = 0,
) -> tuple[objective.Objective, Optional[dict[str, float]]]:
    """Build the objective of a scale, with its network and targets; measure β′ if it is None."""
    config, device = setting.config, setting.device
    network = _network(setting, content.shape, tile_bytes)
    kind: type[objective.Objective] = objective.Objective
    if isinstance(network, TiledNetwork):
        kind = TiledObjective
    content_terms: list[objective.Term] = []
    style_terms: list[objective.Term] = []
    if setting.with_content:
        image = engine.array(content, device)
        if isinstance(network, TiledNetwork):
            features = network.features(image, config.content_layers)
        else:
            features = network.forward(image)
        content_terms = objective.content_terms(config, features)
    if setting.with_style:
        like = engine.array([0.0], device)
        for group in groups:
            targets = _style_targets(setting, group, network)
            style_terms += objective.style_terms(config, targets, group, like)
        if beta is None:
            starts = start, _noise(config, content.shape)
            measure = functools.partial(_measured_beta, setting, network, kind)
            beta = measure(content_terms, style_terms, starts, groups)
    terms = objective.scaled(content_terms, {"content": config.alpha}) if config.alpha else []
    if setting.with_style and beta is not None:
        factors = {method: config.gamma * value for method, value in beta.items()}
        terms += objective.scaled(style_terms, factors)
    smoothing = config.smoothing_weight(content.shape[2] * content.shape[3])
    return kind(network, terms, smoothing, setting.random, setting.streams), beta


def _network(
    setting: _Setting, shape: tuple[int, ...], tile_bytes: int
) -> Union[vgg.Network, TiledNetwork]:
    """Return the network for the images of a scale, in tiles unless `tile_bytes` is 0."""
    if not tile_bytes:
        return setting.kit.network(shape)
    network = setting.kit.tiled_network(shape, tile_bytes)
    random = stream(setting.config.seed, _KEPT, *shape[2:])
    network.kept = kept_positions(network.shapes, random)
    return network


def _style_targets(
    setting: _Setting, group: Group, network: Union[vgg.Network, TiledNetwork]
) -> dict[tuple[str, str], Any]:
    """Return the targets of a group's losses, from the kit or from its pictures."""
    config, pictures = setting.config, group.pictures
    losses = objective.style_losses(config, group.methods)
    objective.check_pools(group, losses)
    first = pictures[0].image
    seeded = not group.plain or any(loss.seeded for loss in losses.values())
    seed = config.seed if seeded else None
    # A network for each size of several pictures would take too much memory.
    keep = sum(len(one.pictures) for one in setting.groups) == 1
    tile_bytes = network.tile_bytes if isinstance(network, TiledNetwork) else 0
    reader: Any = None

    def read(image: numpy.ndarray) -> dict[str, Any]:
        nonlocal reader
        if not tile_bytes and image.shape == network.image_shape:
            reader = network
        elif reader is None or image.shape != reader.image_shape:
            reader = None
            reader = setting.kit.network(image.shape, gradient=False, keep=keep)
        features: dict[str, Any] = reader.forward(engine.array(image, setting.device))
        return features

    def sweep(image: numpy.ndarray, on_tile: OnTile) -> None:
        tiled = setting.kit.tiled_network(image.shape, tile_bytes)
        tiled.forward(engine.array(image, setting.device), on_tile, keep=False)

    def make() -> dict[tuple[str, str], Any]:
        # Each size has its own stream, so results do not depend on what the kit holds already.
        random = stream(config.seed, _STYLE_PAIRS, *first.shape[2:])
        bases = stream(config.seed, _BASES)
        if tile_bytes:
            like = engine.array([0.0], setting.device)
            return tiled_targets(losses, pictures, sweep, like, config.mask_inside, random, bases)
        if group.plain:
            return objective.style_targets(config, read(first), random, bases, group.methods)
        return pooled_targets(losses, pictures, read, config.mask_inside, random, bases)

    arrays = [array for one in pictures for array in (one.image, one.mask)]
    parts = () if group.plain else (config.mask_inside, *(one.share for one in pictures))
    parts = (tile_bytes, *parts)
    targets: dict[tuple[str, str], Any]
    targets = setting.kit.targets(arrays, (*losses.items(), seed, *parts), make)
    return targets


def _measured_beta(
    setting: _Setting,
    network: Union[vgg.Network, TiledNetwork],
    kind: type[objective.Objective],
    content: list[objective.Term],
    style: list[objective.Term],
    starts: tuple[numpy.ndarray, ...],
    groups: Sequence[Group],
) -> dict[str, float]:
    """Measure β′ at the first of `starts` where the content loss has a gradient."""
    random = stream(setting.config.seed, _BETA_PAIRS)
    parts = shares(groups)
    covers = {
        method: coverage([group for group in groups if group.methods.get(method)])
        for method in parts
    }
    on_device = {
        method: engine.array(cover[None, None], setting.device)
        for method, cover in covers.items()
        if cover is not None
    }
    for start in starts:
        image = engine.array(start, setting.device)
        beta = objective.measured_beta(
            setting.config, network, content, style, image, random, parts, on_device, kind
        )
        if beta:
            return beta
    raise ConfigError(
        "beta auto: the content loss has no gradient to balance with; give beta a number.",
        "beta",
    )


def _optimise(
    setting: _Setting,
    scale: _Scale,
    content: numpy.ndarray,
    groups: Sequence[Group],
    start: numpy.ndarray,
    beta: Optional[dict[str, float]],
    resumed: Optional[_Resumed] = None,
) -> _ScaleResult:
    """Take steps at a scale until the stop rule or the limit on steps ends them.

    Content and start have the scale's margin; the result has none. If `resumed` says so, some
    steps have been made before, and `start` is the image after them.
    """
    config = setting.config
    height, width = setting.content.shape[2:]
    final_size = height, width
    image = engine.array(start, setting.device)
    goal, beta = _objective(setting, content, groups, start, beta, scale.tile_bytes)
    limit = steps_at(config.iterations, scale.number, scale.scales)
    # The last image with a finite loss and gradient, and the step that made it.
    good = image, scale.steps_before
    count, last, decreases = 0, None, _Decreases()
    optimiser_state: Optional[State] = None
    if resumed:
        state, count = resumed.state, resumed.steps
        optimiser_state = state.part("optimiser")
        decreases.restore(state.part("decreases"))
        good = state.on_device("good", image), state.whole("good_step", 0)
        last = _last_step(state, goal, image)
    optimiser = OPTIMIZERS[config.optimizer](goal, image, config.learning_rate, optimiser_state)
    every = _read_every(setting.device)
    steps = read_steps(itertools.islice(optimiser, limit - count), goal, image, every)
    # For the same change of the features, a loss of degree 4 changes twice as much as one of
    # degree 2.
    least_decrease = config.stop_decrease * goal.degree / 2

    def failure(step: int, what: str) -> NonFiniteError:
        last_good = _enlarged(good[0], scale.margin, final_size)
        where = f"Step {step}" if step else "At the start"
        return NonFiniteError(
            f"{where}: {what} is not finite; a smaller {_remedies(what)} may help.",
            Result(last_good, good[1], "non-finite", {}, beta or {}, setting.tiling),
        )

    def state_now() -> State:
        assert last
        numbers = {
            "scale": scale.number, "steps_before": scale.steps_before, "count": count,
            "beta": beta, "good_step": good[1], "parts_after": last.parts_after,
            "tile": setting.tile, "scale_tile": scale.tile_bytes,
        }  # fmt: skip
        return joined(
            numbers,
            {"image": image, "good": good[0]},
            random=state_of_streams(setting.all_streams),
            decreases=decreases.state(),
            optimiser=optimiser.state(),
        )

    for last in steps:
        count += 1
        number = scale.steps_before + count
        if not _finite(*last.parts, last.gradient_norm):
            goal.resume(last.state)
            raise failure(number, goal.non_finite(image))
        good = image, number - 1
        if not _finite(last.size):
            raise failure(number, "the image after it")
        image = last.image
        decreases.add(last)
        if setting.on_step:
            setting.on_step(
                Record(
                    number, scale.number, scale.scales, _losses(goal, last.parts),
                    last.relative_change, last.gradient_norm, beta or {}, image, scale.margin,
                    final_size, setting.tiling, count,
                )
            )  # fmt: skip
        settled = last.relative_change < config.stop_eps or (
            config.stop_decrease > 0 and decreases.average() < least_decrease
        )
        if settled and count >= _FEWEST_STEPS:
            reason = "converged"
            break
        if setting.on_state and last.is_latest and count < limit:
            setting.on_state(state_now)
    else:
        reason = "iterations" if count == limit else "stalled"
        # L-BFGS also ends where the gradient is too large for float32.
        if reason == "stalled" and not _finite(goal(image).gradient_norm.asscalar()):
            raise failure(scale.steps_before + count, goal.non_finite(image))
    parts = _last_parts(goal, image, last)
    if not _finite(*parts):
        raise failure(scale.steps_before + count, goal.non_finite(image))
    picture = without_margin(image.asnumpy(), scale.margin)
    return _ScaleResult(picture, count, reason, _losses(goal, parts), beta)


def _remedies(what: str) -> str:
    """Return the options to lower, by what `Objective.non_finite` returned."""
    factors = {"content": "alpha", "smoothing": "tv_weight"}
    methods = [part.split()[-1].partition("/")[0] for part in what.split(", ")]
    options = sorted({factors.get(method, "gamma") for method in methods})
    return f"{', '.join(options)} or lr"


def _last_step(state: State, goal: objective.Objective, image: Any) -> StepNumbers:
    """Return the step before a resumed one, as far as the end of a scale needs it."""
    after = None
    if state.numbers.get("parts_after") is not None:
        after = state.reals("parts_after")
        if len(after) != len(goal.names):
            raise CheckpointError("'parts_after' has another length")
    return StepNumbers(image, [], 0.0, 0.0, 0.0, after, goal.state())


def _last_parts(goal: objective.Objective, image: Any, last: Optional[StepNumbers]) -> list[float]:
    """Return the parts of the objective at the image after the last step."""
    if last:
        goal.resume(last.state)
    if goal.draws:
        goal.hold()
    # With random draws, the parts after a step are those of the draw that the image was just
    # fitted to, and too low to report.
    if last and last.parts_after and not goal.draws:
        return last.parts_after
    parts: list[float] = goal(image).parts.asnumpy().tolist()
    return parts


class _Decreases:
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


def _read_every(device: Any) -> int:
    """Return how many steps are computed between two reads from the device."""
    return 1 if engine.is_host(device) else READ_EVERY


def steps_at(iterations: int, scale: int, scales: int) -> int:
    """Return the limit on steps at a scale: `iterations` at the last, a third of it before.

    The smaller scales only place the large strokes; more steps there save none later.
    """
    return iterations if scale == scales else -(-iterations // 3)


def scale_sizes(scales: Union[str, int], size: Sequence[int]) -> list[tuple[int, int]]:
    """Return the sizes to optimise at, the smallest first.

    Parameters
    ----------
    scales : str or int
        As in `Config`. Sizes that are too small for the network are left out.
    size : (int, int)
        Height and width of the result.

    Returns
    -------
    list of (int, int)
    """
    height, width = size
    sizes = [(height, width)]
    while isinstance(scales, str) or len(sizes) < scales:
        factor = 2 ** len(sizes)
        smaller = round(height / factor), round(width / factor)
        least = _SMALLEST_EDGE if scales == "auto" else 0
        if min(smaller) < vgg.SMALLEST_SIDE or max(smaller) < least:
            break
        sizes.insert(0, smaller)
    return sizes


def _resized(image: numpy.ndarray, size: tuple[int, int]) -> numpy.ndarray:
    return image if image.shape[2:] == size else images.resize_input(image, size)


def _enlarged(image: Any, margin: int, size: tuple[int, int]) -> numpy.ndarray:
    return _resized(without_margin(image.asnumpy(), margin), size)


def _finite(*numbers: float) -> bool:
    return all(map(math.isfinite, numbers))


def _losses(goal: objective.Objective, parts: list[float]) -> dict[str, float]:
    """Return the parts by name, with their sum as ``total``."""
    return {"total": math.fsum(parts), **dict(zip(goal.names, parts))}


def stream(seed: int, *key: int) -> numpy.random.RandomState:
    """Return the random stream of a seed for one purpose, ``SeedSequence(seed).spawn(…)[key]``.

    All versions of NumPy draw the same numbers from a `RandomState`, unlike from a `Generator`.

    Parameters
    ----------
    seed : int
    *key : int
        The purpose; other keys give independent numbers.

    Returns
    -------
    numpy.random.RandomState
    """
    sequence = numpy.random.SeedSequence(seed, spawn_key=key)
    return numpy.random.RandomState(numpy.random.MT19937(sequence))


def _noise(config: Config, shape: tuple[int, ...]) -> numpy.ndarray:
    return starts.noise(shape, stream(config.seed, _START))


def _ordered(*groups: Sequence[str]) -> tuple[str, ...]:
    """Return the layers of all groups, each once, in network order."""
    return tuple(sorted({layer for group in groups for layer in group}, key=LAYERS.index))


def _styles_of(styles: Any) -> list[StyleImage]:
    """Return the styles of a transfer with their images as float32."""
    if isinstance(styles, StyleImage):
        styles = [styles]
    elif not isinstance(styles, (list, tuple)) or not any(
        isinstance(style, StyleImage) for style in styles
    ):
        return [StyleImage((_input_array("style", styles),))]
    result = []
    for number, style in enumerate(styles, 1):
        if not isinstance(style, StyleImage):
            raise ShapeError(f"Style {number} is a {type(style).__name__}, not a StyleImage.")
        name = "style" if len(styles) == 1 else f"style {number}"
        pictures = tuple(_input_array(name, image) for image in style.images)
        if not pictures:
            raise ShapeError(f"{name} has no picture.")
        result.append(replace(style, images=pictures))
    return result


def _input_array(name: str, values: Any) -> numpy.ndarray:
    """Return network input as float32, or raise `ShapeError`."""
    # Values beyond float32's range become infinite and are rejected below.
    with numpy.errstate(over="ignore"):
        array = numpy.ascontiguousarray(values, dtype=numpy.float32)
    if array.ndim != 4 or array.shape[:2] != (1, 3) or min(array.shape[2:]) < vgg.SMALLEST_SIDE:
        raise ShapeError(
            f"{name} has shape {array.shape}; it must be (1, 3, H, W) with sides of at least "
            f"{vgg.SMALLEST_SIDE}."
        )
    if not numpy.isfinite(array).all():
        raise ShapeError(f"{name} contains values that are not finite.")
    return array
