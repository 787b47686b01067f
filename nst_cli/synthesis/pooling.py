"""Targets of styles that have several pictures, or masks of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy

from . import masks
from .losses import Loss, Mask, Sample, channel_moments, inside, mass_of
from .styles import Picture

# A sample has at most this many positions, or as many as its largest picture has: losses that
# look at positions one by one hold the features of the style.
_MOST_POSITIONS = 1 << 18


class LayerPart(NamedTuple):
    """One picture at one layer: its share, its mask there, and the positions of a sample of it."""

    share: float
    values: Optional[numpy.ndarray]
    positions: int

    def mask(self, features: Any) -> Optional[Mask]:
        return None if self.values is None else Mask.of(self.values, features)


def pooled_targets(
    losses: Mapping[tuple[str, str], Loss],
    pictures: Sequence[Picture],
    read: Callable[[numpy.ndarray], Mapping[str, Any]],
    mask_inside: bool,
    random: numpy.random.RandomState,
    bases: numpy.random.RandomState,
) -> dict[tuple[str, str], Any]:
    """Return the target of each style loss for several pictures, ``{(method, layer): target}``.

    The sums or the positions of a picture count as much as its share says, whatever its size.
    A loss of sums needs the features of one picture at a time. If one has a basis by moments,
    all pictures are read twice.

    Parameters
    ----------
    losses : dict of (str, str) to Loss
        By method and layer.
    pictures : sequence of Picture
    read : callable
        Takes an image; returns its features by layer, which the next call overwrites.
    mask_inside : bool
        As in `Config`.
    random, bases : numpy.random.RandomState
        For samples and for bases.

    Returns
    -------
    dict
        Without the layers where no mask covers a position.
    """
    layers = list(dict.fromkeys(layer for _, layer in losses))
    parts = [layer_parts(picture, layers, mask_inside) for picture in pictures]
    limit(parts)
    chosen: dict[tuple[str, str], Any] = {}
    by_moments = {key: loss for key, loss in losses.items() if getattr(loss, "by_moments", False)}
    if by_moments:
        moments = _moments({layer for _, layer in by_moments}, pictures, parts, read)
        for key, loss in by_moments.items():
            if key[1] in moments:
                chosen[key] = loss.basis_by(moments[key[1]], bases)  # type: ignore[attr-defined]
    sums: dict[tuple[str, str], Any] = {}
    samples: dict[str, list[tuple[Sample, float]]] = {}
    for picture, at_layers in zip(pictures, parts):
        features = read(picture.image)
        for layer, part in at_layers.items():
            mask = part.mask(features[layer])
            share = part.share / mass_of(features[layer], mask)
            for key, loss in losses.items():
                if key[1] == layer and loss.needs == "sums":
                    _add(sums, chosen, key, loss, features[layer], mask, share, bases)
            if any(key[1] == layer and loss.needs != "sums" for key, loss in losses.items()):
                sample = Sample.of(features[layer], mask, part.positions, random)
                samples.setdefault(layer, []).append((sample, part.share))
    joined = {layer: Sample.joined(*zip(*taken)) for layer, taken in samples.items()}
    return {
        key: loss.reduced(sums[key], chosen[key])  # type: ignore[attr-defined]
        if key in sums
        else loss.pooled(joined[key[1]], random)  # type: ignore[attr-defined]
        for key, loss in losses.items()
        if key in sums or key[1] in joined
    }


def layer_parts(
    picture: Picture, layers: Iterable[str], mask_inside: bool
) -> dict[str, LayerPart]:
    """Return the part of a picture at each layer where its mask covers a position."""
    parts = {}
    for layer in layers:
        values = None
        height, width = masks.layer_size(picture.image.shape[2:], layer)
        positions = height * width
        if picture.mask is not None:
            values = masks.at_layer(picture.mask, layer, mask_inside)
            if values.sum() < masks.LEAST_MASS:
                continue
            positions = numpy.count_nonzero(values)
        parts[layer] = LayerPart(picture.share, values, positions)
    return parts


def limit(parts: Sequence[dict[str, LayerPart]], most_of_all: int = 0) -> None:
    """Reduce the positions of pictures that would make too large a sample together.

    `most_of_all`, if given, takes the place of the number of positions of the largest picture.
    """
    for layer in {layer for at_layers in parts for layer in at_layers}:
        users = [at_layers for at_layers in parts if layer in at_layers]
        counts = [at_layers[layer].positions for at_layers in users]
        most = most_of_all or max(_MOST_POSITIONS, *counts)
        if sum(counts) > most:
            whole = sum(at_layers[layer].share for at_layers in users)
            for at_layers in users:
                part = at_layers[layer]
                positions = max(1, int(most * part.share / whole))
                at_layers[layer] = part._replace(positions=min(positions, part.positions))


def _moments(
    layers: Iterable[str],
    pictures: Sequence[Picture],
    parts: Sequence[dict[str, LayerPart]],
    read: Callable[[numpy.ndarray], Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the channels' means and squares about them of all pictures, by layer."""
    moments: dict[str, Any] = {}
    for picture, at_layers in zip(pictures, parts):
        features = read(picture.image)
        for layer in layers:
            if layer in at_layers:
                part = at_layers[layer]
                one = channel_moments(features[layer], part.mask(features[layer]))
                one = one.scaled(part.share / one.mass)
                moments[layer] = moments[layer] + one if layer in moments else one
    return moments


def _add(
    sums: dict[tuple[str, str], Any],
    chosen: dict[tuple[str, str], Any],
    key: tuple[str, str],
    loss: Any,
    features: Any,
    mask: Optional[Mask],
    share: float,
    bases: numpy.random.RandomState,
) -> None:
    """Add `share` times the sums of a map to those of a loss, which may lack a basis yet."""
    if key not in chosen:
        chosen[key] = loss.basis(inside(features, mask), bases)
    sums[key] = loss.combined(sums.get(key), loss.sums(features, chosen[key], mask), share)
