"""How tiles cover a map: each computes more than its core, so that the core is exact."""

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """Positions from `begin` up to `end`, along one axis."""

    begin: int
    end: int

    def divided(self, factor: int) -> "Span":
        """Return the same span on a map that is `factor` times smaller."""
        return Span(self.begin // factor, self.end // factor)


class Region(NamedTuple):
    """A rectangle of positions of a map."""

    rows: Span
    columns: Span

    @classmethod
    def whole(cls, size: Sequence[int]) -> "Region":
        """Return the region of all positions of a map of a height and width."""
        return cls(*(Span(0, side) for side in size))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return tuple(span.end - span.begin for span in self)  # type: ignore[return-value]

    def divided(self, factor: int) -> "Region":
        """Return the same region on a map that is `factor` times smaller."""
        return Region(*(span.divided(factor) for span in self))

    def within(self, other: "Region") -> "Region":
        """Return this region in the coordinates of one that contains it."""
        pairs = zip(self, other)
        return Region(*(Span(a.begin - b.begin, a.end - b.begin) for a, b in pairs))


class Tile(NamedTuple):
    """What a tile reads, and its core: the part that it computes exactly."""

    read: Region
    core: Region


class _Axis(NamedTuple):
    """An axis of a map, of some length, whose tiles begin at multiples of `step`.

    A tile is exact from `halo` positions inside its ends on, except at the ends of the axis.
    """

    length: int
    halo: int
    step: int

    def sizes(self) -> list[int]:
        """Return the sizes of tiles by their number, for 1, 2, … tiles, ever smaller."""
        sizes = [self.length]
        for count in itertools.count(2):
            size = self._size(count)
            if size < 2 * self.halo + self.step or size >= sizes[-1]:
                return sizes
            sizes.append(size)
        raise AssertionError("unreachable")

    def _size(self, count: int) -> int:
        """Return the least size of `count` tiles that cover the axis."""
        size = -(-(self.length + 2 * self.halo * (count - 1)) // count)
        # The last tile ends where the axis does, and must begin at a multiple of `step` too.
        size += (self.length - size) % self.step
        while size < self.length and len(list(self.spans(size))) > count:
            size += self.step
        return min(size, self.length)

    def spans(self, size: int) -> Iterator[tuple[Span, Span]]:
        """Yield what each tile of a size reads, and its core; the cores cover the axis."""
        origin = begin = 0
        while origin + size < self.length:
            end = origin + size // self.step * self.step - self.halo
            if end <= begin:
                break
            yield Span(origin, origin + size), Span(begin, end)
            begin, origin = end, min(end - self.halo, self.length - size)
        # The last tile is moved inwards, so that all have the same size.
        origin = self.length - size
        yield Span(origin, self.length), Span(begin, self.length)


def tiles(
    size: Sequence[int], halo: int, step: int, most: float, widest: float = math.inf
) -> list[Tile]:
    """Cover a map by tiles of one size.

    Parameters
    ----------
    size : (int, int)
        Height and width of the map.
    halo : int
        How far from an end of a tile its results are wrong, unless the map ends there too; a
        multiple of `step`.
    step : int
        Tiles and cores begin at multiples of it.
    most : float
        The most positions that a tile should read. Where this is too few for a core, tiles are as
        small as they can be.
    widest : float, optional
        The most positions that a row of a tile may have.

    Returns
    -------
    list of Tile
        Those with the least work in all. The cores cover the map without overlap, and end at
        multiples of `step` or where the map ends.
    """
    axes = [_Axis(side, halo, step) for side in size]
    heights, widths = (axis.sizes() for axis in axes)
    choices = []
    for row_count, height in enumerate(heights, 1):
        # Sizes fall, so their negatives can be searched.
        place = bisect.bisect_left([-width for width in widths], -min(most / height, widest))
        if place < len(widths):
            work = row_count * height * (place + 1) * widths[place]
            choices.append((work, height, widths[place]))
    _, height, width = min(choices, default=(0, heights[-1], widths[-1]))
    return [
        Tile(Region(rows, columns), Region(core_rows, core_columns))
        for rows, core_rows in axes[0].spans(height)
        for columns, core_columns in axes[1].spans(width)
    ]
