"""VGG-19, one Symbol per block: feature maps of an image, and the gradient on the image [1]_.

References
----------
.. [1] Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
   Recognition", ICLR 2015, configuration E.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .. import engine
from ..config import BLOCKS, LAYERS
from ..errors import WeightsError

# Four poolings halve the map: a smaller image leaves the deepest block without a position.
SMALLEST_SIDE = 16

#: This convolution is always computed in float32: rounding the image itself would double the
#: error of the gradient.
FULL_PRECISION = "conv1_1"

#: The precisions to which feature maps and parameters are rounded.
ROUNDED = ("bfloat16", "float16")

# Head gradients are scaled to about this norm before a float16 backward pass. The gradients of
# all losses stay accurate for norms from 1 to 2¹⁶; outside of these, values leave float16's range
# of 6e-8 to 65504.
_HEAD_NORM = 2.0**8


def convolutions(layers: Iterable[str]) -> list[str]:
    """Return the names of the convolutions needed for `layers`, ``conv1_1`` onwards."""
    deepest = max(LAYERS.index(layer) for layer in layers)
    return [layer.replace("relu", "conv") for layer in LAYERS[: deepest + 1]]


def blocks(
    layers: Sequence[str], pooling: str = "avg", precision: str = "float32", native: bool = True
) -> list[tuple[tuple[str, ...], Any]]:
    """Build VGG-19 block by block, no deeper than the deepest of `layers`.

    Parameters
    ----------
    layers : sequence of str
        ``relu1_1`` to ``relu5_4``.
    pooling : str
        ``avg``, as in the paper, or ``max``, as VGG-19 was trained.
    precision : str
        ``float32``; ``tf32``, which the GPU's libraries apply; or ``bfloat16`` or ``float16``, to
        which all maps and parameters are rounded except those of the first convolution. The
        requested layers are always returned in float32.
    native : bool
        True if the device convolves in `precision` itself. If False, inputs are cast to float32
        around each convolution; this emulates tensor cores, which take float16 and accumulate
        in float32.

    Returns
    -------
    list of (tuple of str, Symbol)
        One ``(layers, graph)`` pair per block. `graph` maps ``data`` (the image, or the previous
        block's last output) to the requested layers of this block, followed by the pooled map
        for the next block unless this is the last.
    """
    sym, graphs = engine.sym, []
    rounded, needed = precision in ROUNDED, convolutions(layers)
    for block, depth in enumerate(BLOCKS, 1):
        node, taps = sym.var("data"), {}
        for index in range(1, depth + 1):
            name, layer = f"conv{block}_{index}", f"relu{block}_{index}"
            if name not in needed:
                break
            emulated = rounded and not native and name != FULL_PRECISION
            if emulated:
                node = sym.amp_cast(node, dtype="float32")
            node = sym.Convolution(
                node, kernel=(3, 3), pad=(1, 1), num_filter=min(64 << (block - 1), 512), name=name
            )
            if emulated:
                node = sym.amp_cast(node, dtype=engine.data_type(precision))
            node = tap = sym.Activation(node, act_type="relu", name=layer)
            if rounded and name == FULL_PRECISION:
                node = sym.amp_cast(node, dtype=engine.data_type(precision))
            elif rounded and layer in layers:
                tap = sym.amp_cast(node, dtype="float32")
            if layer in layers:
                taps[layer] = tap
        outputs = list(taps.values())
        if f"conv{block + 1}_1" in needed:
            pooled = sym.Pooling(
                node, kernel=(2, 2), stride=(2, 2), pool_type=pooling, name=f"pool{block}"
            )
            outputs.append(pooled)
        if outputs:
            graphs.append((tuple(taps), sym.Group(outputs)))
    return graphs


def parameters(
    arrays: Mapping[str, Any],
    layers: Sequence[str],
    device: Any,
    dtype: str = "float32",
    precision: str = "float32",
) -> dict[str, Any]:
    """Copy the parameters that `layers` need to the device.

    Parameters
    ----------
    arrays : mapping of str to numpy.ndarray
        ``conv1_1_weight``, ``conv1_1_bias`` and so on.
    layers : sequence of str
    device : Context
    dtype : str
    precision : str
        As for `blocks`.

    Returns
    -------
    dict of str to NDArray
        Networks for all image sizes can share it.

    Raises
    ------
    WeightsError
        `arrays` lacks a convolution that one of `layers` needs.
    """
    shared = {}
    for convolution in convolutions(layers):
        for name in (f"{convolution}_weight", f"{convolution}_bias"):
            if name not in arrays:
                layer = convolution.replace("conv", "relu")
                raise WeightsError(
                    f"The weights have no {convolution}, so layers from {layer} on cannot be used."
                )
            array = engine.array(arrays[name], device, dtype)
            if precision in ROUNDED and convolution != FULL_PRECISION:
                array = engine.nd.amp_cast(array, dtype=engine.data_type(precision))
                if not engine.convolves_natively(precision, device):
                    array = engine.nd.amp_cast(array, dtype=dtype)
            shared[name] = array
    return shared


class Network:
    """VGG-19 bound for one image size; gradients are computed on the image alone.

    Each block is bound by itself, so that `backward` can free a block's maps as soon as that
    block is done. The first block, which has the largest maps, comes last.

    Parameters
    ----------
    shared : dict of str to NDArray
        What `parameters` returned; not copied.
    layers : sequence of str
    shape : tuple
        Shape of the image, (1, 3, H, W).
    pooling : str
    gradient : bool
        False binds for `forward` alone, which takes less than half of the memory.
    precision : str
        The precision that `shared` was prepared for.
    """

    def __init__(
        self,
        shared: Mapping[str, Any],
        layers: Sequence[str],
        shape: Sequence[int],
        pooling: str = "avg",
        gradient: bool = True,
        precision: str = "float32",
    ) -> None:
        first = shared[f"{FULL_PRECISION}_weight"]
        device = first.context
        #: The shape of the image, (1, 3, H, W).
        self.image_shape = shape
        #: The shape of each layer's features, ``{layer: (1, N, h, w)}``.
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._layers, self._scales = tuple(layers), precision == "float16"
        self._blocks: list[tuple[tuple[str, ...], engine.Executor]] = []
        native = engine.convolves_natively(precision, device)
        for names, graph in blocks(layers, pooling, precision, native):
            input_gradient = None
            if gradient:
                input_gradient = engine.nd.zeros(shape, ctx=device, dtype=first.dtype)
                if self._blocks and precision in ROUNDED:
                    input_gradient = engine.nd.amp_cast(
                        input_gradient, dtype=engine.data_type(precision)
                    )
            self._blocks.append((names, engine.bind(graph, shared, input_gradient)))
            _, shapes, _ = graph.infer_shape(data=shape)
            self.shapes.update(zip(names, shapes))
            shape = shapes[-1]

    def forward(self, image: Any) -> dict[str, Any]:
        """Return ``{layer: features}`` of an image, each of shape (1, N, h, w).

        Parameters
        ----------
        image : NDArray, shape (1, 3, H, W)
            Network input: RGB, means subtracted.
        """
        features: dict[str, Any] = {}
        values = image
        for names, block in self._blocks:
            *_, values = outputs = block.forward(values)
            features.update(zip(names, outputs))
        return {layer: features[layer] for layer in self._layers}

    def backward(self, head_gradient: Callable[[str], Any]) -> Any:
        """Return the gradient on the image of the last `forward`; the next call overwrites it.

        Parameters
        ----------
        head_gradient : callable
            Takes a layer's name and returns the gradient on its features, shaped like them. It
            is called once per layer, the deepest first, when the gradient is needed. Arrays that
            it does not keep are therefore freed before the largest maps are processed.
        """
        if not self._scales:
            return self._backpropagate(head_gradient)
        heads = {layer: head_gradient(layer) for layer in self._deepest_first()}
        scale = _power_of_two(list(heads.values()))
        gradient = self._backpropagate(
            lambda layer: engine.nd.broadcast_mul(heads.pop(layer), scale)
        )
        return engine.nd.broadcast_div(gradient, scale)

    def _backpropagate(self, head_gradient: Callable[[str], Any]) -> Any:
        below: list[Any] = []  # the gradient on the next block's input
        for names, block in reversed(self._blocks):
            heads = {layer: head_gradient(layer) for layer in reversed(names)}
            below = [block.backward([*(heads[layer] for layer in names), *below])]
        return below[0]

    def _deepest_first(self) -> list[str]:
        return sorted(self._layers, key=LAYERS.index, reverse=True)


def _power_of_two(heads: Sequence[Any]) -> Any:
    """Return the power of two that scales the norm of all heads to about `_HEAD_NORM`, rank 4."""
    nd = engine.nd
    squares = nd.concat(*(engine.dot(head, head) for head in heads), dim=0)
    norm = nd.sqrt(engine.dot(squares, nd.ones_like(squares)))
    return 2 ** nd.floor(nd.log2(_HEAD_NORM / nd.maximum(norm, 1e-30))).reshape((1, 1, 1, 1))
