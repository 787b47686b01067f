"""Networks and style targets that consecutive transfers share."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional, Union

import numpy

from ..weights import Weights
from . import vgg
from .tiles import TiledNetwork


class NetworkKey(NamedTuple):
    """What a network's parameters and graph depend on, apart from the image size.

    Attributes
    ----------
    weights : Weights
    layers : tuple of str
        The layers whose features are read, in network order.
    pooling, precision, convolution : str
    device : Context
    """

    weights: Weights
    layers: tuple[str, ...]
    pooling: str
    precision: str
    convolution: str
    device: Any


class NetworkKit:
    """A cache of parameters, networks by image shape, and style targets.

    A caller that runs several transfers creates one kit, passes it to each of them
    (`transfer(…, kit=kit)`) and drops it at the end. The kit holds what the last transfer used:
    a different network empties it, different image sizes drop the networks, and a different
    style drops the targets. Results are the same as without a kit.

    Parameters
    ----------
    keep : bool
        False keeps the parameters alone, which suits a single transfer: the network of each
        scale is freed before the next one is built.
    """

    def __init__(self, keep: bool = True) -> None:
        self._keep = keep
        self._key: Optional[NetworkKey] = None
        self._shapes: tuple[Sequence[int], ...] = ()
        self._parameters: Optional[dict[str, Any]] = None
        self._networks: dict[tuple[Any, bool], vgg.Network] = {}
        self._targets: dict[Any, Any] = {}
        self._used: set[Any] = set()

    def begin(self, key: NetworkKey, *shapes: Sequence[int]) -> None:
        """Prepare for a transfer and free what it cannot use.

        Parameters
        ----------
        key : NetworkKey
        *shapes : tuple of int
            Shapes of the content and the style images at full size.
        """
        if key != self._key:
            self._key, self._parameters, self._networks, self._targets = key, None, {}, {}
        if shapes != self._shapes:
            self._shapes, self._networks = shapes, {}
        # Targets that the previous transfer did not use are not worth their memory.
        self._targets = {name: self._targets[name] for name in self._used & self._targets.keys()}
        self._used = set()

    def network(
        self, shape: Sequence[int], gradient: bool = True, keep: bool = True
    ) -> vgg.Network:
        """Return the network for images of a shape, (1, 3, H, W); see `vgg.Network`.

        With `keep` False, a new network is not held.
        """
        name = tuple(shape), gradient
        if name in self._networks:
            return self._networks[name]
        key = self._begun()
        network = vgg.Network(
            self._shared(), key.layers, shape, key.pooling, gradient, key.precision,
            key.convolution,
        )  # fmt: skip
        if self._keep and keep:
            self._networks[name] = network
        return network

    def tiled_network(self, shape: Sequence[int], tile_bytes: int) -> TiledNetwork:
        """Return a network in tiles for images of a shape; see `TiledNetwork`."""
        key = self._begun()
        return TiledNetwork(
            self._shared(), key.layers, shape, key.pooling, key.precision, key.convolution,
            tile_bytes,
        )  # fmt: skip

    def targets(
        self,
        style: Union[numpy.ndarray, Sequence[Optional[numpy.ndarray]]],
        losses: Any,
        make: Callable[[], Any],
    ) -> Any:
        """Return the style losses' targets for a style image; call `make` if they are not held.

        Parameters
        ----------
        style : numpy.ndarray, shape (1, 3, H, W), or a sequence of arrays or None
            The style image, or all images and masks that the targets depend on.
        losses : hashable
            Everything else that the targets depend on besides the network: the losses by layer,
            and the seed if a loss draws at random.
        make : callable
            Takes nothing and returns the targets.
        """
        arrays = (style,) if isinstance(style, numpy.ndarray) else style
        name = tuple(map(_digest, arrays)), losses
        if name not in self._targets:
            targets = make()
            if not self._keep:
                return targets
            self._targets[name] = targets
        self._used.add(name)
        return self._targets[name]

    def _begun(self) -> NetworkKey:
        assert self._key is not None, "begin comes first"
        return self._key

    def _shared(self) -> dict[str, Any]:
        if self._parameters is None:
            key = self._begun()
            # No variable holds the arrays, so the file's pages are freed once the values are on
            # the device.
            self._parameters = vgg.parameters(
                key.weights.load(), key.layers, key.device, precision=key.precision
            )
        return self._parameters


def _digest(array: Optional[numpy.ndarray]) -> Any:
    """Return what stands for an array in a name."""
    return None if array is None else (hashlib.sha256(array.data).hexdigest(), array.shape)
