"""What all scales of a transfer share."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

import numpy

from .. import engine
from ..config import LAYERS, Config
from ..errors import CheckpointError, ConfigError
from ..weights import Weights
from . import memory
from .kit import NetworkKey, NetworkKit
from .records import Record
from .state import State, whole
from .styles import Group

# No state has larger tiles.
_MOST_TILE_BYTES = 1 << 50


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
    # See `Record.work`.
    work: tuple[float, ...] = ()
    on_state: Optional[Callable[[Callable[[], State]], Any]] = None

    @property
    def tiles(self) -> tuple[int, ...]:
        """Bytes of a tile at each scale, 0 for none; empty if no scale has tiles."""
        return self.tiling.scales if self.tiling else ()

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
    sizes: Sequence[tuple[int, int]],
    given: Optional[Sequence[int]] = None,
) -> Optional[memory.Tiling]:
    """Return how a transfer is computed in tiles; None if it is not.

    Parameters
    ----------
    config : Config
    groups : sequence of Group
        For the content's full size.
    sizes : sequence of (int, int)
        Those of all scales, the largest last.
    given : sequence of int, optional
        As `memory.Tiling.scales`, or empty for none; by default the config and the memory that is
        available decide.

    Raises
    ------
    ConfigError
        `given` does not have a number for each scale.
    """
    if given is None:
        style_sizes, terms = needs(groups)
        given = memory.tiles_at(config, sizes, *style_sizes, **terms)
    if not any(given):
        return None
    if len(given) != len(sizes):
        raise ConfigError(f"There are tiles for {len(given)} scales, and {len(sizes)} scales.")
    methods = list(dict.fromkeys(method for group in groups for method in group.methods))
    return memory.tiling_with(config, methods, given)


def tiles_in(state: State, scales: int) -> list[int]:
    """Return the bytes of a tile at each scale that a state has; empty for none."""
    tiles = [whole(value, "tiles", 0, _MOST_TILE_BYTES) for value in state.list("tiles")]
    if len(tiles) not in (0, scales):
        raise CheckpointError("'tiles' has another length")
    return tiles


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
