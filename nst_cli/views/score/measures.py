"""Measures what pictures leave of every alignment: from arrays to numbers."""

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy

from ... import engine
from ...config import LAYERS, Config
from ...synthesis import losses, objective, vgg
from ...synthesis.streams import stream
from ...weights import Weights

# Draws at a layer of many positions, of which a single draw takes many. A standard error needs
# some.
_FEWEST_DRAWS = 4
# A layer of more positions than this gets fewer draws in proportion.
_POSITIONS = 4096
# The maps of this many pictures are in memory at once.
_GROUP = 4
# Draws that deviate by less than this part of the content's value differ in rounding alone: each
# took all positions.
_ROUNDING = 1e-5
# Below this many standard errors, what the content has left is no more than noise.
_LEAST_ERRORS = 2


@dataclass(frozen=True)
class Left:
    """What a picture leaves of an alignment, relative to the content.

    Attributes
    ----------
    value : float or None
        0 if the picture's features are distributed as the style's, 1 if they are as far from it
        as the content's. None if the content itself has nothing left. An estimate of 0 may be
        negative.
    error : float or None
        Standard error of `value`, if it is an estimate by random draws.
    """

    value: Optional[float]
    error: Optional[float]


@dataclass(frozen=True)
class Measures:
    """The measures of one picture.

    Attributes
    ----------
    left : dict of str to dict of str to Left
        By method and style layer.
    content : dict of str to float or None
        Content loss by content layer, relative to that of the content's own features in random
        order: 0 for the content, 1 if nothing is where it was. None if the content is flat.
    """

    left: dict[str, dict[str, Left]]
    content: dict[str, Optional[float]]


def measure(
    content: numpy.ndarray,
    style: numpy.ndarray,
    pictures: Sequence[numpy.ndarray],
    config: Config,
    weights: Weights,
    draws: int,
    on_step: Optional[Callable[[], object]] = None,
) -> list[Measures]:
    """Measure pictures against a style, all by the same random draws.

    Parameters
    ----------
    content, style : numpy.ndarray, shape (1, 3, H, W)
        Network input.
    pictures : sequence of numpy.ndarray
        Network inputs, shaped like `content`.
    config : Config
        Its methods, layers, pooling, seed and device.
    weights : Weights
    draws : int
        Draws of each estimate at a layer of at most 4096 positions; fewer at larger ones, but
        at least four.
    on_step : callable, optional
        Called `steps` times.

    Returns
    -------
    list of Measures
        In the order of the pictures.

    Raises
    ------
    EngineError
        The device cannot be used, or has too little memory.
    """
    # Always in float32, so that no difference is hidden by rounding.
    device = engine.context(config.device, deterministic=config.deterministic)
    with engine.failures():
        shared = vgg.parameters(weights.load(), _layers(config), device)
        images = [content, *pictures]
        values: dict[tuple[str, str], list[numpy.ndarray]] = {}
        distances: dict[str, list[float]] = {}
        for layer in _layers(config):
            (style_map,) = _maps([style], layer, shared, config.pooling)
            (content_map,) = _maps([content], layer, shared, config.pooling)
            for group in _groups(images):
                maps = _maps(group, layer, shared, config.pooling)
                for method, loss in _losses_at(layer, config):
                    rows = _values(loss, (method, layer), maps, style_map, config.seed, draws)
                    values.setdefault((method, layer), []).extend(rows)
                    if on_step:
                        on_step()
                if layer in config.content_layers:
                    distances.setdefault(layer, []).extend(_distances(maps, content_map))
            engine.release(device)
    return [
        Measures(
            left={
                method: {
                    layer: _left(values[method, layer][place], values[method, layer][0])
                    for layer in config.style_layers
                }
                for method in config.methods
            },
            content={layer: _finite(distances[layer][place]) for layer in config.content_layers},
        )
        for place in range(1, len(images))
    ]


def steps(config: Config, pictures: int) -> int:
    """Return how often `measure` calls its `on_step` for a number of pictures."""
    groups = -(-(pictures + 1) // _GROUP)
    return groups * len(config.methods) * len(config.style_layers)


def _layers(config: Config) -> list[str]:
    return sorted({*config.style_layers, *config.content_layers}, key=LAYERS.index)


def _groups(images: list[numpy.ndarray]) -> Iterator[list[numpy.ndarray]]:
    for start in range(0, len(images), _GROUP):
        yield images[start : start + _GROUP]


def _maps(
    images: Sequence[numpy.ndarray], layer: str, shared: dict[str, Any], pooling: str
) -> list[Any]:
    """Return the feature maps of images of one shape at a layer, each (1, N, h, w)."""
    network = vgg.Network(shared, (layer,), images[0].shape, pooling, gradient=False)
    device = next(iter(shared.values())).context
    # Each pass overwrites the map of the one before.
    return [network.forward(engine.array(image, device))[layer].copy() for image in images]


def _losses_at(layer: str, config: Config) -> list[tuple[str, losses.Loss]]:
    """Return the loss of each method at a style layer; none at other layers."""
    everywhere = objective.style_losses(config)
    return [(method, everywhere[method, layer]) for method in config.methods
            if (method, layer) in everywhere]  # fmt: skip


def _values(
    loss: losses.Loss,
    key: tuple[str, str],
    maps: list[Any],
    style_map: Any,
    seed: int,
    draws: int,
) -> numpy.ndarray:
    """Return the value of a loss for each map and draw, shape (maps, draws)."""
    method, layer = key
    shape, columns = maps[0].shape, []
    count = _draws(draws, shape[2] * shape[3]) if loss.draws or loss.seeded else 1
    for number in range(count):
        # A method's draws do not depend on which other methods there are.
        place = zlib.crc32(method.encode()), LAYERS.index(layer), number
        random = stream(seed, *place)
        target = loss.target(style_map, random)
        drawn = loss.draw(random, shape, target)
        column = [_value(loss, features, target, drawn) for features in maps]
        columns.append(engine.nd.concat(*column, dim=0).asnumpy())
    return numpy.stack(columns, axis=1).astype(numpy.float64)


def _value(loss: losses.Loss, features: Any, target: Any, drawn: Any) -> Any:
    """Return the value of a loss, shape (1,)."""
    if isinstance(loss, losses.SumLoss):
        # Without the gradient, which costs as much again.
        return loss.head(loss.sums(features, loss.basis_in(target)), target).value
    return loss(features, target, 1.0, drawn).value


def _draws(draws: int, positions: int) -> int:
    return min(draws, max(_FEWEST_DRAWS, draws * _POSITIONS // positions))


def _distances(maps: list[Any], content_map: Any) -> list[float]:
    """Return the content loss of each map, relative to that of the content in random order."""
    loss = losses.Content()
    content = content_map.asnumpy().astype(numpy.float64)
    # On average over all orders of the positions.
    unit = 2 * ((content - content.mean(axis=(2, 3), keepdims=True)) ** 2).sum()
    values = [float(loss(features, content_map).value.asscalar()) for features in maps]
    return [value / unit if unit else math.nan for value in values]


def _left(values: numpy.ndarray, of_content: numpy.ndarray) -> Left:
    """Return the ratio of the means over draws, with its standard error."""
    reference, count = of_content.mean(), len(of_content)
    noise = of_content.std(ddof=1) / math.sqrt(count) if count > 1 else 0.0
    if not reference > max(_LEAST_ERRORS * noise, 0):
        return Left(None, None)
    ratio = _finite(float(values.mean() / reference))
    if count == 1 or ratio is None:
        return Left(ratio, None)
    # Both means are of the same draws, so the errors that they share cancel out.
    deviation = float((values - ratio * of_content).std(ddof=1) / reference)
    return Left(ratio, deviation / math.sqrt(count) if deviation > _ROUNDING else None)


def _finite(value: float) -> Optional[float]:
    return value if math.isfinite(value) else None
