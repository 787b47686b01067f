"""VGG-19 on images whose feature maps do not fit into memory: exact, in tiles.

Whole maps are kept only between stages, a stage being one block of the network or two. Inside a
stage, a tile after another is read from the map that the stage begins with. A tile is read with a
halo as wide as its core's results depend on, so they are those of the whole map. The zero padding
of convolutions then falls on the edge of the image, or inside a halo. For the gradient, each tile
computes its features again.
"""

import functools
import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from .. import engine
from . import vgg
from .tiling import Region, Tile, tiles

#: The bytes that the maps of a tile may take, unless the caller gives another number.
TILE_BYTES = 512 << 20

# The blocks of each stage. The map between the first two blocks would take more memory than all
# others together; to compute tiles through both takes 2 % longer.
STAGES = ((1, 2), (3,), (4,), (5,))

# The maps of a tile take this many times the bytes of its features: forward, backward, and the
# copies that losses make; without a gradient, maps are freed as soon as they are used.
_COPIES, _COPIES_FORWARD = 3.0, 1.2

# By AMX, oneDNN converts each map to another layout besides.
_AMX_FACTOR = 2.1

# Takes a layer, a tile's features there, and their region of the whole map.
OnTile = Callable[[str, Any, Region], None]
HeadGradient = Callable[[str, Any, Region], Any]


@dataclass(frozen=True)
class _Stage:
    """Consecutive blocks of the network that are computed tile by tile.

    Attributes
    ----------
    names : tuple of tuple of str
        The convolutions and poolings of each part.
    graphs : tuple
        The same as `vgg.blocks` returns them.
    shape : tuple
        That of the map that it reads, (1, C, H, W).
    """

    names: tuple[tuple[str, ...], ...]
    graphs: tuple[Any, ...]
    shape: tuple[int, ...]

    @property
    def _flat(self) -> list[str]:
        return [name for part in self.names for name in part]

    @property
    def step(self) -> int:
        """How many times smaller the output is than the input."""
        return 1 << sum(name.startswith("pool") for name in self._flat)

    @property
    def halo(self) -> int:
        """How far the output sees beyond its own positions, a multiple of `step`."""
        reach, scale = 0, 1
        for name in self._flat:
            if name.startswith("conv"):
                reach += scale
            else:
                # The next convolution sees whole windows of this pooling.
                reach += scale * (name != self._flat[-1])
                scale *= 2
        return -(-reach // self.step) * self.step

    @property
    def values(self) -> float:
        """The values of all its maps per position of its input."""
        first = vgg.block_of(self._flat[0])
        total = float(self.shape[1])
        for name in self._flat:
            scale = vgg.block_of(name) - first + name.startswith("pool")
            total += vgg.channels(name) / 4**scale
        return total

    @property
    def products(self) -> float:
        """The products of channels that its convolutions take per position of its input."""
        first = vgg.block_of(self._flat[0])
        return math.fsum(
            vgg.input_channels(name) * vgg.channels(name) / 4 ** (vgg.block_of(name) - first)
            for name in self._flat
            if name.startswith("conv")
        )

    def tiles(self, gradient: bool, most_bytes: float, value_bytes: float) -> list[Tile]:
        """Return the tiles whose maps take about `most_bytes`."""
        copies = _COPIES if gradient else _COPIES_FORWARD
        most = most_bytes / (copies * value_bytes * self.values)
        # A gradient depends on the features as far as these depend on the input.
        halo = 2 * self.halo if gradient else self.halo
        widest = vgg.WIDEST_BY_AMX if gradient else math.inf
        return tiles(self.shape[2:], halo, self.step, most, widest)


def value_bytes(precision: str, device: Any, itemsize: int = 4) -> float:
    """Return the bytes that a value of a map counts in the memory of a tile."""
    return itemsize * (_AMX_FACTOR if engine.by_amx(precision, device) else 1)


def tile_bytes_of(shape: Sequence[int], layers: Sequence[str], value_bytes: float) -> int:
    """Return the bytes of a tile that covers a whole image; see `TiledNetwork`."""
    names = vgg.parts(layers)
    first = _stages(names, names, tuple(shape))[0]
    return int(_COPIES * value_bytes * first.values * shape[2] * shape[3])


def work(
    shape: Sequence[int], layers: Sequence[str], tile_bytes: int, value_bytes: float = 4
) -> float:
    """Return how many times the work of an untiled evaluation one in tiles takes.

    Each of forward and backward pass counts alike; halos are computed several times.
    """
    names = vgg.parts(layers)
    done = needed = 0.0
    for stage in _stages(names, names, tuple(shape)):
        sweeps = (stage.tiles(gradient, tile_bytes, value_bytes) for gradient in (False, True))
        forward, backward = (sum(math.prod(tile.read.shape) for tile in one) for one in sweeps)
        done += stage.products * (forward + 2 * backward)
        needed += stage.products * 2 * math.prod(stage.shape[2:])
    return done / needed


class TiledNetwork:
    """`vgg.Network` in tiles: features and gradients of it are seen in parts.

    Parameters
    ----------
    shared, layers, shape, pooling, precision, convolution
        As for `vgg.Network`.
    tile_bytes : int
        The memory for the maps of a tile, about. Tiles cannot be smaller than their halos.
    """

    def __init__(
        self,
        shared: MutableMapping[str, Any],
        layers: Sequence[str],
        shape: Sequence[int],
        pooling: str = "avg",
        precision: str = "float32",
        convolution: str = "direct",
        tile_bytes: int = TILE_BYTES,
    ) -> None:
        first = shared[f"{vgg.FULL_PRECISION}_weight"]
        #: The shape of the image, (1, 3, H, W).
        self.image_shape = tuple(shape)
        #: The shape of each layer's features, ``{layer: (1, N, h, w)}``.
        self.shapes: dict[str, tuple[int, ...]] = {}
        #: The positions whose features losses keep, by layer, as
        #: `tiled_objective.kept_positions` returns them; those of other layers are all kept.
        self.kept: Mapping[str, numpy.ndarray] = {}
        self._shared, self._layers, self._precision = shared, tuple(layers), precision
        #: As given.
        self.tile_bytes = tile_bytes
        self._device = first.context
        itemsize = first.dtype().itemsize
        self._value_bytes = value_bytes(precision, self._device, itemsize)
        for layer in layers:
            scale = vgg.block_of(layer) - 1
            size = (side >> scale for side in shape[2:])
            self.shapes[layer] = (1, vgg.channels(layer), *size)
        native = engine.convolves_natively(precision, self._device)
        separate = vgg.winograd_convolutions(
            layers, shape[2:], convolution, precision, self._device
        )
        self._stages = _stages(
            vgg.parts(layers, separate),
            vgg.blocks(layers, pooling, precision, native, separate),
            self.image_shape,
        )
        # What each stage read in the last forward sweep.
        self._inputs: list[Any] = []

    def forward(self, image: Any, on_tile: OnTile, keep: bool = True) -> None:
        """Compute the features of an image and show them part by part.

        Parameters
        ----------
        image : NDArray, shape (1, 3, H, W)
            Network input: RGB, means subtracted.
        on_tile : callable
            Called with each layer, a part of its features, (1, N, h, w), and the part's region.
            The parts of a layer cover its map without overlap.
        keep : bool
            False frees what `backward` needs.
        """
        self._inputs, values = [], image
        for stage in self._stages:
            if keep:
                self._inputs.append(values)
            values = self._forward_stage(stage, values, on_tile)

    def features(self, image: Any, layers: Sequence[str]) -> dict[str, Any]:
        """Return the whole features of an image at some layers; `backward` cannot follow."""
        maps: dict[str, Any] = {}

        def on_tile(layer: str, features: Any, region: Region) -> None:
            if layer in layers:
                part, shape = Region.whole(features.shape[2:]), self.shapes[layer]
                maps[layer] = pasted(maps.get(layer), features, region, part, shape)

        self.forward(image, on_tile, keep=False)
        return maps

    def backward(self, head_gradient: HeadGradient) -> Any:
        """Return the gradient on the image of the last `forward`; call it once after each.

        Parameters
        ----------
        head_gradient : callable
            Takes a layer's name, a part of its features, and the part's region; returns the
            gradient on these features. Parts overlap. Within a part, the deepest layer comes
            first.
        """
        below: Any = None  # the gradient on the next stage's input
        for stage in reversed(self._stages):
            below = self._backward_stage(stage, self._inputs.pop(), head_gradient, below)
        return below

    def _forward_stage(self, stage: _Stage, source: Any, on_tile: OnTile) -> Any:
        """Return the output of a stage; None for the last."""
        stage_tiles = stage.tiles(False, self.tile_bytes, self._value_bytes)
        chain = self._chain(stage, stage_tiles, gradient=False)
        output: Any = None
        for tile in stage_tiles:
            features, values = chain.forward(cut(source, tile.read))
            for layer in list(features):
                core, read = (self._at(stage, layer, region) for region in (tile.core, tile.read))
                on_tile(layer, cut(features.pop(layer), core.within(read)), core)
            if stage is not self._stages[-1]:
                core, read = tile.core.divided(stage.step), tile.read.divided(stage.step)
                shape = (1, values.shape[1], *(side // stage.step for side in stage.shape[2:]))
                output = pasted(output, values, core, core.within(read), shape)
            # MXNet queues work, and would reserve memory for tiles far ahead.
            values.wait_to_read()
        # The next stage has arrays of other sizes.
        engine.return_freed_memory()
        return output

    def _backward_stage(
        self, stage: _Stage, source: Any, head_gradient: HeadGradient, below: Any
    ) -> Any:
        stage_tiles = stage.tiles(True, self.tile_bytes, self._value_bytes)
        chain = self._chain(stage, stage_tiles, gradient=True)
        gradient: Any = None
        for tile in stage_tiles:
            features, _ = chain.forward(cut(source, tile.read))
            head = functools.partial(self._head, stage, tile, features, head_gradient)
            tile_below = None
            if below is not None:
                tile_below = cut(below, tile.read.divided(stage.step))
            part = self._tile_gradient(chain, head, tile_below)
            gradient = pasted(gradient, part, tile.core, tile.core.within(tile.read), stage.shape)
            gradient.wait_to_read()
        engine.return_freed_memory()
        return gradient

    def _head(
        self,
        stage: _Stage,
        tile: Tile,
        features: dict[str, Any],
        head_gradient: HeadGradient,
        layer: str,
    ) -> Any:
        return head_gradient(layer, features.pop(layer), self._at(stage, layer, tile.read))

    def _tile_gradient(self, chain: vgg.Chain, head: Callable[[str], Any], below: Any) -> Any:
        """Return the gradient on a tile, in float32 under precision float16."""
        if self._precision != "float16":
            return chain.backward(head, below)
        # Each tile has a scale of its own, so between stages gradients are kept in float32.
        nd = engine.nd
        heads = {layer: head(layer) for layer in vgg.deepest_first(chain.shapes)}
        scale = vgg.power_of_two([*heads.values(), *([] if below is None else [below])])
        if below is not None:
            below = nd.amp_cast(nd.broadcast_mul(below, scale), dtype="float16")
        gradient = chain.backward(lambda layer: nd.broadcast_mul(heads.pop(layer), scale), below)
        return nd.broadcast_div(nd.amp_cast(gradient, dtype="float32"), scale)

    def _chain(self, stage: _Stage, stage_tiles: Sequence[Tile], gradient: bool) -> vgg.Chain:
        shape = (*stage.shape[:2], *stage_tiles[0].read.shape)
        return vgg.Chain(self._shared, stage.graphs, shape, gradient)

    def _at(self, stage: _Stage, layer: str, region: Region) -> Region:
        """Return a region of a stage's input as one of a layer's map."""
        return region.divided(2 ** (vgg.block_of(layer) - vgg.block_of(stage.names[0][0])))


def _stages(
    names: Sequence[Sequence[str]], graphs: Sequence[Any], shape: tuple[int, ...]
) -> list[_Stage]:
    """Divide the parts of the network into stages."""
    stages = []
    for blocks in STAGES:
        members = [number for number, part in enumerate(names) if vgg.block_of(part[0]) in blocks]
        if not members:
            break
        stage = _Stage(
            tuple(tuple(names[number]) for number in members),
            tuple(graphs[number] for number in members),
            shape,
        )
        stages.append(stage)
        size = (side // stage.step for side in shape[2:])
        shape = (1, vgg.channels(stage.names[-1][-1]), *size)
    return stages


def cut(array: Any, region: Region) -> Any:
    """Return a region of a map; the map itself if it is all of it."""
    if region == Region.whole(array.shape[2:]):
        return array
    (top, bottom), (left, right) = region
    return engine.nd.slice(array, begin=(0, 0, top, left), end=(*array.shape[:2], bottom, right))


def pasted(target: Any, values: Any, region: Region, part: Region, shape: Sequence[int]) -> Any:
    """Write a part of `values` into a region of `target`, made at first; return the target."""
    if target is None:
        if part.shape == tuple(shape[2:]):
            return cut(values, part)
        target = engine.nd.empty(tuple(shape), ctx=values.context, dtype=values.dtype)
    (top, bottom), (left, right) = region
    target[:, :, top:bottom, left:right] = cut(values, part)
    return target
