"""The objective on a `TiledNetwork`: first the sums of all tiles, then the gradient of each.

Losses that need only sums, and the content loss, are exact. The others look at positions one by
one, or at pairs or ranks of them: they see the features at positions that are kept for the whole
run, and their gradient is scaled so that its expectation is that of the loss of the whole map.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Optional, Protocol

import numpy

from .. import engine
from . import losses
from .losses.arrays import index_array
from .objective import Objective, Term, finite
from .tiles import TiledNetwork, cut
from .tiling import Region

#: The most positions of a map that losses keep which look at them one by one.
KEPT_POSITIONS = 1 << 16


class TiledObjective(Objective):
    """`Objective` on a network in tiles.

    Parameters
    ----------
    network : TiledNetwork
    *arguments, **named
        As for `Objective`.
    """

    def __init__(self, network: TiledNetwork, *arguments: Any, **named: Any) -> None:
        super().__init__(network, *arguments, **named)
        self._samples = {
            term.name: _sampled(term, network) for term in self.terms if estimated(term.loss)
        }

    def _evaluated(self, image: Any, drawn: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
        parts = self._read(image, drawn)
        values = {name: part.finish() for name, part in parts.items()}
        gradient = self._network.backward(
            lambda layer, features, region: self._gradient(parts, layer, features, region)
        )
        return values, gradient

    def non_finite(self, image: Any) -> str:
        """Describe the parts whose value or gradient at `image` is not finite."""
        parts = self._read(image, self._held or self._drawn())
        values = {name: part.finish() for name, part in parts.items()}
        steep: set[str] = set()

        def gradient(layer: str, features: Any, region: Region) -> Any:
            for term in self._at(layer):
                grad = parts[term.name].gradient(features, region)
                if not finite(engine.nd.norm(grad)):
                    steep.add(term.name)
            return engine.nd.zeros_like(features)

        self._network.backward(gradient)
        failures = []
        for name, value in values.items():
            if not finite(value):
                failures.append(f"the loss {name}")
            elif name in steep:
                failures.append(f"the gradient of {name}")
        return self._described(failures, image)

    def _read(self, image: Any, drawn: Mapping[str, Any]) -> dict[str, "_Part"]:
        """Return the parts of the objective after a forward sweep."""
        parts = {term.name: self._part(term, drawn) for term in self.terms}

        def on_tile(layer: str, features: Any, region: Region) -> None:
            for term in self._at(layer):
                parts[term.name].read(features, region)

        self._network.forward(image, on_tile)
        return parts

    def _part(self, term: Term, drawn: Mapping[str, Any]) -> "_Part":
        if term.name in self._samples:
            return _FromSample(self._samples[term.name], drawn[term.name])
        if term.loss.needs == "sums":
            return _FromSums(term)
        return _ByPosition(term)

    def _gradient(
        self, parts: Mapping[str, "_Part"], layer: str, features: Any, region: Region
    ) -> Any:
        total = None
        for term in self._at(layer):
            grad = parts[term.name].gradient(features, region)
            total = grad if total is None else total + grad
        return engine.nd.zeros_like(features) if total is None else total

    def _at(self, layer: str) -> list[Term]:
        return [term for term in self.terms if term.layer == layer]

    def _drawn(self) -> dict[str, Any]:
        drawn = {}
        for term in self.terms:
            sample = self._samples.get(term.name)
            random, shape = self._random_of(term), self._network.shapes[term.layer]
            drawn[term.name] = sample.draw(random) if sample else term.draw(random, shape)
        return drawn


def estimated(loss: losses.Loss) -> bool:
    """Return whether tiles estimate a loss from kept positions."""
    return loss.needs != "sums" and not isinstance(loss, losses.Content)


class _Part(Protocol):
    """A term during one evaluation."""

    def read(self, features: Any, region: Region) -> None:
        """Take in a region of the map; regions do not overlap."""

    def finish(self) -> Any:
        """Return the value, shape (1,), after the whole map was read."""

    def gradient(self, features: Any, region: Region) -> Any:
        """Return the gradient at the features of a region."""


class RunningSums:
    """Sums over the positions of a map, as tiles come by.

    Parameters
    ----------
    sums : callable
        Takes features and a mask, or None; returns sums that can be added and scaled.
    mask : losses.Mask, optional
        That of the whole map.
    """

    def __init__(
        self, sums: Callable[[Any, Optional[losses.Mask]], Any], mask: Optional[losses.Mask]
    ) -> None:
        self._sums, self._mask = sums, mask
        #: None before the first region.
        self.total: Any = None
        #: The mass of the regions so far.
        self.mass = 0.0
        self._empty = True

    def read(self, features: Any, region: Region) -> None:
        """Add the sums of a region; regions do not overlap."""
        mask = mask_at(self._mask, region, features)
        sums = self._sums(features, mask)
        self.mass += losses.mass_of(features, mask)
        empty = mask is not None and not mask.values.any()
        # A region outside of the mask has a tiny mass, not 0, so that it alone gives no 0 / 0.
        if self.total is None:
            self.total = sums
        elif empty:
            self.total = self.total + sums.scaled(0)
        elif self._empty:
            self.total = sums + self.total.scaled(0)
        else:
            self.total = self.total + sums
        self._empty = self._empty and empty


def sums_of(loss: Any, basis: Any) -> Callable[[Any, Optional[losses.Mask]], Any]:
    """Return what takes features and a mask and returns the sums of a loss with a basis."""
    return lambda features, mask: loss.sums(features, basis, mask)


class _FromSums:
    """A term whose loss needs sums alone."""

    def __init__(self, term: Term) -> None:
        self._term, self._loss, self._head = term, term.loss, None
        basis = self._loss.basis_in(term.target)  # type: ignore[attr-defined]
        self._sums = RunningSums(sums_of(self._loss, basis), term.mask)

    def read(self, features: Any, region: Region) -> None:
        self._sums.read(features, region)

    def finish(self) -> Any:
        term = self._term
        head = self._loss.head(  # type: ignore[attr-defined]
            self._sums.total, term.target, term.weight
        )
        self._head = head
        return head.value

    def gradient(self, features: Any, region: Region) -> Any:
        mask = mask_at(self._term.mask, region, features)
        return self._loss.gradient(features, self._head, mask)  # type: ignore[attr-defined]


class _ByPosition:
    """The content term: each position has a target of its own."""

    def __init__(self, term: Term) -> None:
        self._term, self._value = term, None

    def read(self, features: Any, region: Region) -> None:
        value = self._evaluate(features, region).value
        self._value = value if self._value is None else self._value + value

    def finish(self) -> Any:
        return self._value

    def gradient(self, features: Any, region: Region) -> Any:
        return self._evaluate(features, region).grad

    def _evaluate(self, features: Any, region: Region) -> losses.LossGrad:
        target = cut(self._term.target, region)
        return self._term.loss(features, target, self._term.weight)


class Kept:
    """The features at some positions of a map, as tiles come by.

    Parameters
    ----------
    positions : numpy.ndarray
        Indices in the flat map, in ascending order.
    width : int
        That of the map.
    """

    def __init__(self, positions: numpy.ndarray, width: int) -> None:
        self._positions, self._width = positions, width
        self._columns: list[Any] = []
        self._ranks: list[numpy.ndarray] = []

    def inside(self, region: Region) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return the ranks of the positions in a region, and their places in the flat region."""
        (top, bottom), (left, right) = region
        # Positions ascend, so those of its rows are consecutive.
        first, last = numpy.searchsorted(
            self._positions, (top * self._width, bottom * self._width)
        )
        rows, columns = numpy.divmod(self._positions[first:last], self._width)
        chosen = numpy.flatnonzero((columns >= left) & (columns < right))
        places = (rows[chosen] - top) * (right - left) + columns[chosen] - left
        return first + chosen, places

    def read(self, features: Any, region: Region) -> None:
        """Take in the features of a region."""
        ranks, places = self.inside(region)
        if len(ranks):
            flat = losses.plain(features)
            self._columns.append(
                engine.nd.take(flat, index_array(places, flat), axis=1, mode="clip")
            )
            self._ranks.append(ranks)

    def features(self) -> Any:
        """Return the features at all positions, shape (N, n), and forget them."""
        columns = engine.nd.concat(*self._columns, dim=1)
        order = numpy.argsort(numpy.concatenate(self._ranks))
        self._columns, self._ranks = [], []
        if (numpy.diff(order) == 1).all():
            return columns
        return engine.nd.take(columns, index_array(order, columns), axis=1, mode="clip")


class _Sample:
    """A term as it is at the kept positions of its map.

    Attributes
    ----------
    term : Term
    positions : numpy.ndarray
        Indices in the flat map, in ascending order.
    width : int
        That of the map.
    """

    def __init__(self, term: Term, positions: numpy.ndarray, shape: tuple[int, ...]) -> None:
        self.term, self.positions, self.width = term, positions, shape[3]
        self._shape = (1, shape[1], 1, len(positions))

    def draw(self, random: numpy.random.RandomState) -> Any:
        return self.term.draw(random, self._shape)


def _sampled(term: Term, network: TiledNetwork) -> _Sample:
    """Return a term at the kept positions of its map."""
    shape = network.shapes[term.layer]
    count = shape[2] * shape[3]
    positions = network.kept.get(term.layer, numpy.arange(count))
    weight, mask = term.weight, None
    if term.loss.needs != "pairs":
        # These losses grow with the number of positions, and those of pairs do not.
        weight *= count / len(positions)
    if term.mask is not None:
        values = term.mask.values.reshape(1, -1)[:, positions]
        mask = losses.Mask.of(values, term.mask.column)
    return _Sample(replace(term, weight=weight, mask=mask), positions, shape)


class _FromSample:
    """A term during one evaluation at its kept positions."""

    def __init__(self, sample: _Sample, drawn: Any) -> None:
        self._sample, self._drawn = sample, drawn
        self._kept = Kept(sample.positions, sample.width)
        self._grad: Any = None

    def read(self, features: Any, region: Region) -> None:
        self._kept.read(features, region)

    def finish(self) -> Any:
        nd, flat = engine.nd, self._kept.features()
        maps = flat.reshape((1, flat.shape[0], 1, -1))
        value, grad = self._sample.term(maps, self._drawn)
        flat = losses.plain(grad)
        # The positions that are not kept take the column of zeros.
        self._grad = nd.concat(flat, nd.zeros_like(flat[:, :1]), dim=1)
        return value

    def gradient(self, features: Any, region: Region) -> Any:
        ranks, places = self._kept.inside(region)
        height, width = region.shape
        columns = numpy.full(height * width, self._grad.shape[1] - 1, dtype=numpy.int32)
        columns[places] = ranks
        grad = engine.nd.take(self._grad, index_array(columns, self._grad), axis=1, mode="clip")
        return grad.reshape(features.shape)


def mask_at(mask: Optional[losses.Mask], region: Region, like: Any) -> Optional[losses.Mask]:
    """Return the part of a mask in a region."""
    if mask is None:
        return None
    (top, bottom), (left, right) = region
    return losses.Mask.of(mask.values[top:bottom, left:right], like)


def kept_positions(
    shapes: Mapping[str, tuple[int, ...]],
    random: numpy.random.RandomState,
    most: int = KEPT_POSITIONS,
) -> dict[str, numpy.ndarray]:
    """Draw the positions of each layer's map that losses keep, for maps with more than `most`.

    Parameters
    ----------
    shapes : dict of str to tuple
        The shape of each layer's map, (1, N, H, W).
    random : numpy.random.RandomState
    most : int

    Returns
    -------
    dict of str to numpy.ndarray
        In ascending order; without the layers whose positions are all kept.
    """
    kept = {}
    for layer, (*_, height, width) in shapes.items():
        if height * width > most:
            kept[layer] = numpy.sort(random.permutation(height * width)[:most])
    return kept
