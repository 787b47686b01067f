"""Builds the objective of a scale: its network, the targets of its losses, and β′."""

import functools
from collections.abc import Sequence
from typing import Any, Optional, Union

import numpy

from .. import engine
from ..errors import ConfigError
from . import objective, vgg
from .pooling import pooled_targets
from .scales import noise_of
from .setting import Setting
from .streams import BASES, BETA_PAIRS, KEPT, STYLE_PAIRS, stream
from .styles import Group, coverage, shares
from .tiled_objective import TiledObjective, kept_positions
from .tiled_styles import tiled_targets
from .tiles import OnTile, TiledNetwork


def objective_at(
    setting: Setting,
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
            starts = start, noise_of(config, content.shape)
            measure = functools.partial(_measured_beta, setting, network, kind)
            beta = measure(content_terms, style_terms, starts, groups)
    terms = objective.scaled(content_terms, {"content": config.alpha}) if config.alpha else []
    if setting.with_style and beta is not None:
        factors = {method: config.gamma * value for method, value in beta.items()}
        terms += objective.scaled(style_terms, factors)
    smoothing = config.smoothing_weight(content.shape[2] * content.shape[3])
    return kind(network, terms, smoothing, setting.random, setting.streams), beta


def _network(
    setting: Setting, shape: tuple[int, ...], tile_bytes: int
) -> Union[vgg.Network, TiledNetwork]:
    """Return the network for the images of a scale, in tiles unless `tile_bytes` is 0."""
    if not tile_bytes:
        return setting.kit.network(shape)
    network = setting.kit.tiled_network(shape, tile_bytes)
    random = stream(setting.config.seed, KEPT, *shape[2:])
    network.kept = kept_positions(network.shapes, random)
    return network


def _style_targets(
    setting: Setting, group: Group, network: Union[vgg.Network, TiledNetwork]
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
        random = stream(config.seed, STYLE_PAIRS, *first.shape[2:])
        bases = stream(config.seed, BASES)
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
    setting: Setting,
    network: Union[vgg.Network, TiledNetwork],
    kind: type[objective.Objective],
    content: list[objective.Term],
    style: list[objective.Term],
    starts: tuple[numpy.ndarray, ...],
    groups: Sequence[Group],
) -> dict[str, float]:
    """Measure β′ at the first of `starts` where the content loss has a gradient."""
    random = stream(setting.config.seed, BETA_PAIRS)
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
