"""Runs a transfer: optimises at each scale, applies the stop rule, reports each step."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Optional

import numpy

from .. import engine
from ..config import Config
from ..errors import NonFiniteError, ShapeError
from ..weights import Weights
from . import memory, objective, vgg
from .building import objective_at
from .kit import NetworkKit
from .margin import margin_of, padded_size, with_margin, without_margin
from .reading import StepNumbers, read_steps
from .records import Record, Result, enlarged, resized
from .resuming import Resumed, last_step, state_between
from .scales import inputs_at, next_start, sizes_of, start_image, steps_at
from .setting import Setting, network_key, tiles_in, tiling_for
from .state import State, joined, restore_streams, state_of_streams
from .steps import OPTIMIZERS
from .stopping import FEWEST_STEPS, Decreases
from .streams import PAIRS, stream
from .styles import StyleImage, grouped, shares

# On a GPU, the numbers of this many steps are read at once, so that it does not wait at each step.
READ_EVERY = 10


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
    tiles: Optional[Sequence[int]] = None,
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
    tiles : sequence of int, optional
        The tiles of another transfer, `Result.tiling.scales`, or an empty sequence if it had none.
        By default ``config.tile`` and the available memory decide. A `state` keeps its own.

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
        sizes = sizes_of(config, content, groups)
        given = tiles if state is None else tiles_in(state, len(sizes))
        tiling = tiling_for(config, groups, sizes, given)
        if tiling:
            engine.hold_few_operators()
        if tiling and tiling.by_fourier:
            config = replace(config, estimator="fourier")
        setting = Setting(
            config=config,
            device=device,
            kit=kit or NetworkKit(keep=False),
            content=content,
            groups=groups,
            random=stream(config.seed, PAIRS),
            on_step=on_step,
            weights=weights or Weights.find(config.weights),
            streams={group.index: stream(config.seed, PAIRS, group.index) for group in groups[1:]},
            tiling=tiling,
            work=memory.work_at(config, sizes, tiling),
            on_state=on_state,
        )
        return _run_scales(setting, sizes, init, state)


class _Scale(NamedTuple):
    """One size of the coarse-to-fine optimisation."""

    number: int
    scales: int
    size: tuple[int, int]
    steps_before: int
    margin: int


class _ScaleResult(NamedTuple):
    """The result of the optimisation at one scale."""

    image: numpy.ndarray
    steps: int
    stop_reason: str
    losses: dict[str, float]
    beta: Optional[dict[str, float]]


class _Begun(NamedTuple):
    """What the steps of a scale begin with, on the device."""

    goal: objective.Objective
    image: Any
    beta: Optional[dict[str, float]]


@dataclass
class _SoFar:
    """What the scales so far have made.

    Attributes
    ----------
    image : numpy.ndarray or None
        The result of the last scale, or the start image of a scale that goes on. `_begin` removes
        it, because at full size it takes memory that the steps need.
    beta : dict of str to float, or None
    steps : int
    """

    image: Optional[numpy.ndarray]
    beta: Optional[dict[str, float]]
    steps: int


def _run_scales(
    setting: Setting,
    sizes: Sequence[tuple[int, int]],
    init: Optional[numpy.ndarray],
    state: Optional[State] = None,
) -> Result:
    """Optimise at each scale.

    The first starts from `init` or, if it is None, as the config says; or from a state.
    """
    config, content, groups = setting.config, setting.content, setting.groups
    wide_shape = (*content.shape[:2], *padded_size(config, content.shape[2:]))
    pictures = (picture.image.shape for group in groups for picture in group.pictures)
    setting.kit.begin(network_key(setting), wide_shape, *pictures)
    so_far = _SoFar(None, objective.given_beta(config, shares(groups)), 0)
    resumed: Optional[Resumed] = None
    if state is not None:
        resumed = Resumed.of(state, config, len(sizes), list(shares(groups)))
        restore_streams(setting.all_streams, state.part("random"))
        so_far = _SoFar(resumed.image(sizes, config), resumed.beta, resumed.steps_before)
    for number, size in enumerate(sizes, 1):
        if resumed and number < resumed.scale:
            continue
        begun = resumed if resumed and resumed.steps and number == resumed.scale else None
        scale = _Scale(number, len(sizes), size, so_far.steps, margin_of(config, size))
        result = _optimise(setting, scale, so_far, init, begun)
        so_far = _SoFar(result.image, result.beta, so_far.steps + result.steps)
        engine.release(setting.device)
        if setting.on_state and number < len(sizes):
            setting.on_state(
                functools.partial(
                    state_between, setting, number + 1, so_far.steps, so_far.beta, result.image
                )
            )
    return Result(
        result.image, so_far.steps, result.stop_reason, result.losses, so_far.beta or {},
        setting.tiling,
    )  # fmt: skip


def _begin(
    setting: Setting,
    scale: _Scale,
    so_far: _SoFar,
    init: Optional[numpy.ndarray],
    resumed: Optional[Resumed],
) -> _Begun:
    """Prepare a scale; remove the image of `so_far`.

    The host's copies of pictures at this scale end with this function.
    """
    config = setting.config
    content, groups = inputs_at(scale.size, setting.content, setting.groups)
    start, so_far.image = so_far.image, None
    if start is None:
        small_init = None if init is None else resized(init, scale.size)
        start = start_image(config, content, groups, small_init)
    elif not resumed:
        start = next_start(start, content)
    if not resumed:
        start = with_margin(start, scale.margin)
    tile_bytes = setting.tiles[scale.number - 1] if setting.tiles else 0
    content = with_margin(content, scale.margin)
    groups = [group.with_margin(scale.margin) for group in groups]
    goal, beta = objective_at(setting, content, groups, start, so_far.beta, tile_bytes)
    return _Begun(goal, engine.array(start, setting.device), beta)


def _optimise(
    setting: Setting,
    scale: _Scale,
    so_far: _SoFar,
    init: Optional[numpy.ndarray],
    resumed: Optional[Resumed] = None,
) -> _ScaleResult:
    """Take steps at a scale until the stop rule or the limit on steps ends them.

    If `resumed` is given, some of them have been made before.
    """
    config = setting.config
    height, width = setting.content.shape[2:]
    final_size = height, width
    goal, image, beta = _begin(setting, scale, so_far, init, resumed)
    limit = steps_at(config.iterations, scale.number, scale.scales)
    # The last image with a finite loss and gradient, and the step that made it.
    good = image, scale.steps_before
    count, last, decreases = 0, None, Decreases()
    optimiser_state: Optional[State] = None
    if resumed:
        state, count = resumed.state, resumed.steps
        optimiser_state = state.part("optimiser")
        decreases.restore(state.part("decreases"))
        good = state.on_device("good", image), state.whole("good_step", 0)
        last = last_step(state, goal, image)
    optimiser = OPTIMIZERS[config.optimizer](goal, image, config.learning_rate, optimiser_state)
    every = _read_every(setting.device)
    steps = read_steps(itertools.islice(optimiser, limit - count), goal, image, every)
    # For the same change of the features, a loss of degree 4 changes twice as much as one of
    # degree 2.
    least_decrease = config.stop_decrease * goal.degree / 2

    def failure(step: int, what: str) -> NonFiniteError:
        last_good = enlarged(good[0], scale.margin, final_size)
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
            "tiles": list(setting.tiles),
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
        if last.parts_after:
            # The optimiser has evaluated there, and its steps end where all is finite.
            good = image, number
        decreases.add(last)
        if setting.on_step:
            setting.on_step(
                Record(
                    number, scale.number, scale.scales, _losses(goal, last.parts),
                    last.relative_change, last.gradient_norm, beta or {}, image, scale.margin,
                    final_size, setting.tiling, count, setting.work,
                )
            )  # fmt: skip
        settled = last.relative_change < config.stop_eps or (
            config.stop_decrease > 0 and decreases.average() < least_decrease
        )
        if settled and count >= FEWEST_STEPS:
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


def _read_every(device: Any) -> int:
    """Return how many steps are computed between two reads from the device."""
    return 1 if engine.is_host(device) else READ_EVERY


def _finite(*numbers: float) -> bool:
    return all(map(math.isfinite, numbers))


def _losses(goal: objective.Objective, parts: list[float]) -> dict[str, float]:
    """Return the parts by name, with their sum as ``total``."""
    return {"total": math.fsum(parts), **dict(zip(goal.names, parts))}


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
