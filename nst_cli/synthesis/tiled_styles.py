"""Targets of styles whose pictures are read in tiles."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy

from . import masks
from .losses import Loss, Mask, Sample, SumLoss, channel_moments
from .pooling import LayerPart, layer_parts, limit
from .styles import Picture
from .tiled_objective import KEPT_POSITIONS, Kept, RunningSums, sums_of
from .tiles import OnTile
from .tiling import Region

# Takes an image and what to call with each part of its features, and reads it.
Sweep = Callable[[numpy.ndarray, OnTile], None]


def tiled_targets(
    style_losses: Mapping[tuple[str, str], Loss],
    pictures: Sequence[Picture],
    sweep: Sweep,
    like: Any,
    mask_inside: bool,
    random: numpy.random.RandomState,
    bases: numpy.random.RandomState,
    most: int = KEPT_POSITIONS,
) -> dict[tuple[str, str], Any]:
    """Return the target of each style loss, as `pooling.pooled_targets` does, in tiles.

    Losses that look at positions one by one see `most` of them at each layer, over all pictures.
    A loss with a basis costs one more sweep.

    Parameters
    ----------
    style_losses : dict of (str, str) to Loss
        By method and layer.
    pictures : sequence of Picture
    sweep : callable
        Takes an image and a callback, which gets each layer, a part of its features and the
        part's region.
    like : NDArray
        Has the device and type of the features.
    mask_inside, random, bases
        As for `pooling.pooled_targets`.
    most : int

    Returns
    -------
    dict
        Without the layers where no mask covers a position.
    """
    layers = list(dict.fromkeys(layer for _, layer in style_losses))
    parts = [layer_parts(picture, layers, mask_inside) for picture in pictures]
    limit(parts, most)
    reading = _Reading(pictures, parts, sweep, like)
    summed: dict[tuple[str, str], Any] = {
        key: loss for key, loss in style_losses.items() if loss.needs == "sums"
    }
    others = {key: loss for key, loss in style_losses.items() if loss.needs != "sums"}
    chosen = _bases(summed, reading, random, bases)
    sums = reading.sums({key: sums_of(loss, chosen.get(key)) for key, loss in summed.items()})
    samples = reading.samples({layer for _, layer in others}, random)
    targets = {}
    for key, loss in style_losses.items():
        if key in sums:
            targets[key] = summed[key].reduced(sums[key], chosen.get(key))
        elif key[1] in samples:
            targets[key] = _from_sample(loss, samples[key[1]], random)
    return targets


def _bases(
    summed: Mapping[tuple[str, str], Any],
    reading: "_Reading",
    random: numpy.random.RandomState,
    bases: numpy.random.RandomState,
) -> dict[tuple[str, str], Any]:
    """Return the bases of the losses that have one."""
    with_basis = {key: loss for key, loss in summed.items() if _has_basis(loss)}
    by_moments = {key: loss for key, loss in with_basis.items() if loss.by_moments}
    layers = {layer for _, layer in by_moments}
    moments = reading.sums({("", layer): channel_moments for layer in layers}) if layers else {}
    chosen = {
        key: loss.basis_by(moments["", key[1]], bases)
        for key, loss in by_moments.items()
        if ("", key[1]) in moments
    }
    # The loss of a plugin may want a map: it gets one of the kept positions.
    wanting = {key: loss for key, loss in with_basis.items() if key not in by_moments}
    if wanting:
        samples = reading.samples({layer for _, layer in wanting}, random)
        for key, loss in wanting.items():
            if key[1] in samples:
                chosen[key] = loss.basis(_as_map(samples[key[1]].flat), bases)
    return chosen


def _has_basis(loss: Any) -> bool:
    return getattr(loss.basis, "__func__", None) is not SumLoss.basis


def _from_sample(loss: Any, sample: Sample, random: numpy.random.RandomState) -> Any:
    if getattr(loss, "pools", False):
        return loss.pooled(sample, random)
    return loss.target(_as_map(sample.flat), random)


def _as_map(flat: Any) -> Any:
    """Return features (N, K) as a map (1, N, 1, K)."""
    return flat.reshape((1, flat.shape[0], 1, -1))


class _Reading:
    """The pictures of a style, which are read in tiles as often as something is asked of them."""

    def __init__(
        self,
        pictures: Sequence[Picture],
        parts: Sequence[dict[str, LayerPart]],
        sweep: Sweep,
        like: Any,
    ) -> None:
        self._pictures, self._parts, self._sweep, self._like = pictures, parts, sweep, like

    def sums(self, functions: Mapping[tuple[str, str], Any]) -> dict[tuple[str, str], Any]:
        """Return sums over all pictures, each with its share, of functions by (name, layer)."""
        totals: dict[tuple[str, str], Any] = {}
        if not functions:
            return totals
        for picture, at_layers in zip(self._pictures, self._parts):
            running = {
                key: RunningSums(function, at_layers[key[1]].mask(self._like))
                for key, function in functions.items()
                if key[1] in at_layers
            }
            self._read(picture, running)
            for key, one in running.items():
                sums = one.total.scaled(at_layers[key[1]].share / one.mass)
                totals[key] = totals[key] + sums if key in totals else sums
        return totals

    def samples(
        self, layers: Iterable[str], random: numpy.random.RandomState
    ) -> dict[str, Sample]:
        """Return positions of all pictures at some layers."""
        taken: dict[str, list[tuple[Sample, float]]] = {}
        layers = sorted(layers)
        for picture, at_layers in zip(self._pictures, self._parts):
            size = picture.image.shape[2:]
            kept, values = {}, {}
            for layer in layers:
                if layer in at_layers:
                    positions, values[layer] = _positions(at_layers[layer], size, layer, random)
                    kept["", layer] = Kept(positions, masks.layer_size(size, layer)[1])
            if kept:
                self._read(picture, kept)
            for (_, layer), one in kept.items():
                features = _as_map(one.features())
                mask = None
                if values[layer] is not None:
                    mask = Mask.of(values[layer].reshape(1, -1), features)
                sample = Sample.of(features, mask)
                taken.setdefault(layer, []).append((sample, at_layers[layer].share))
        return {layer: Sample.joined(*zip(*pairs)) for layer, pairs in taken.items()}

    def _read(self, picture: Picture, readers: Mapping[tuple[str, str], Any]) -> None:
        def on_tile(layer: str, features: Any, region: Region) -> None:
            for (_, of), reader in readers.items():
                if of == layer:
                    reader.read(features, region)

        self._sweep(picture.image, on_tile)


def _positions(
    part: LayerPart, size: Sequence[int], layer: str, random: numpy.random.RandomState
) -> tuple[numpy.ndarray, Any]:
    """Return the positions of a picture's sample, in ascending order, and their weights."""
    height, width = masks.layer_size(size, layer)
    positions = numpy.arange(height * width)
    if part.values is not None:
        positions = numpy.flatnonzero(part.values)
    if len(positions) > part.positions:
        positions = numpy.sort(random.permutation(positions)[: part.positions])
    return positions, None if part.values is None else part.values.ravel()[positions]
