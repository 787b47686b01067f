"""Networks and style targets that one transfer after another can share."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .. import weights
from . import vgg


class NetworkKey(NamedTuple):
    """What decides a network's parameters and graph, whatever the size of the image.

    Attributes
    ----------
    weights : str
        What `weights.find` returned.
    layers : tuple of str
        The tapped layers, shallow ones first.
    pooling, precision : str
    device : Context
    """

    weights: Any
    layers: tuple
    pooling: str
    precision: str
    device: Any


class NetworkKit:
    """Parameters, networks by image shape, and style targets, for transfers with one network.

    A caller that runs several transfers makes one, passes it to each (`transfer(…, kit=kit)`)
    and drops it at the end. It holds what the last transfer used: another network empties it,
    other image sizes drop the networks, another style drops the targets. Results are the same
    as without a kit.

    Parameters
    ----------
    keep : bool
        False keeps nothing but the parameters, which suits a single transfer: the network of
        each scale is freed before the next is made.
    """

    def __init__(self, keep: bool = True) -> None:
        self._keep = keep
        self._key: Any = None
        self._shapes: tuple = ()
        self._parameters: Any = None
        self._networks: dict = {}
        self._targets: dict = {}
        self._used: set = set()

    def begin(self, key: NetworkKey, *shapes: Sequence[int]) -> None:
        """Start a transfer: free what it cannot use.

        Parameters
        ----------
        key : NetworkKey
        *shapes : tuple of int
            Shapes of the content and style images at the full size.
        """
        if key != self._key:
            self._key, self._parameters, self._networks, self._targets = key, None, {}, {}
        if shapes != self._shapes:
            self._shapes, self._networks = shapes, {}
        # What the transfer before this one did not ask for is not worth its memory.
        self._targets = {name: self._targets[name] for name in self._used & self._targets.keys()}
        self._used = set()

    def network(self, shape: Sequence[int], gradient: bool = True) -> vgg.Network:
        """Return the network for images of a shape, (1, 3, H, W); see `vgg.Network`."""
        name = tuple(shape), gradient
        if name in self._networks:
            return self._networks[name]
        _, layers, pooling, precision, _ = self._key
        network = vgg.Network(self._shared(), layers, shape, pooling, gradient, precision)
        if self._keep:
            self._networks[name] = network
        return network

    def targets(self, style: Any, losses: Any, make: Callable[[], Any]) -> Any:
        """Return what style losses keep of a style image; `make` it where it is not known.

        Parameters
        ----------
        style : numpy.ndarray, shape (1, 3, H, W)
        losses : hashable
            All that the targets depend on besides network and image: the losses by layer, and
            the seed of those that draw.
        make : callable
        """
        name = hashlib.sha256(style).hexdigest(), style.shape, losses
        if name not in self._targets:
            made = make()
            if not self._keep:
                return made
            self._targets[name] = made
        self._used.add(name)
        return self._targets[name]

    def _shared(self) -> Any:
        if self._parameters is None:
            # The arrays are not held by a name: the file's pages are given back once they are
            # on the device.
            self._parameters = vgg.parameters(
                weights.load(self._key.weights), self._key.layers, self._key.device,
                precision=self._key.precision,
            )  # fmt: skip
        return self._parameters
