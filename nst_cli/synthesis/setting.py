"""What all scales of a transfer share."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

import numpy

from .. import engine
from ..config import LAYERS, Config
from ..weights import Weights
from . import memory
from .kit import NetworkKey, NetworkKit
from .records import Record
from .state import State
from .styles import Group

#: No state has larger tiles.
MOST_TILE_BYTES = 1 << 50


@dataclass(frozen=True)
class Setting:
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
        chosen = state.whole("tile", 0, MOST_TILE_BYTES)
        return memory.tiling_with(config, methods, chosen) if chosen else None
    style_sizes, terms = needs(groups)
    return memory.tiling(config, methods, (height, width), *style_sizes, **terms)


def needs(groups: Sequence[Group]) -> tuple[list[tuple[int, int]], dict[str, Any]]:
    """Return the sizes of style images, the largest first, and further needs of memory."""
    shapes = [picture.image.shape for group in groups for picture in group.pictures]
    sizes = [(height, width) for *_, height, width in shapes]
    sizes.sort(key=math.prod, reverse=True)
    return sizes, {"groups": len(groups), "masked": not all(group.whole for group in groups)}


def network_key(setting: Setting) -> NetworkKey:
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


def _ordered(*groups: Sequence[str]) -> tuple[str, ...]:
    """Return the layers of all groups, each once, in network order."""
    return tuple(sorted({layer for group in groups for layer in group}, key=LAYERS.index))
