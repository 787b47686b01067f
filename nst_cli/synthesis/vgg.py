"""VGG-19 as Symbols, block by block: image to feature maps, gradients back [1]_.

References
----------
.. [1] Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
   Recognition", ICLR 2015, configuration E.
"""

from .. import engine
from ..config import BLOCKS, LAYERS
from ..errors import WeightsError

# Each pooling halves the map, so below this a map of the deepest block has no position left.
SMALLEST_SIDE = 16

#: The convolution that is always float32: the image's own rounding would double the error of the
#: gradient.
FULL_PRECISION = "conv1_1"

#: The precisions in which the network keeps rounded maps.
ROUNDED = ("bfloat16", "float16")

# What float16 is to hold is brought to this norm. The gradients of all losses stay accurate from
# 1 to 2¹⁶; beyond, they leave the range of 6e-8 to 65504 at the one end or the other.
_HEAD_NORM = 2.0**8


def convolutions(layers):
    """Return the names of the convolutions needed for `layers`, ``conv1_1`` onwards."""
    deepest = max(LAYERS.index(layer) for layer in layers)
    return [layer.replace("relu", "conv") for layer in LAYERS[: deepest + 1]]


def blocks(layers, pooling="avg", precision="float32", native=True):
    """Build VGG-19 block by block, no deeper than the deepest of `layers`.

    Parameters
    ----------
    layers : sequence of str
        ``relu1_1`` to ``relu5_4``.
    pooling : str
        ``avg``, as in the paper, or ``max``, as VGG-19 was trained.
    precision : str
        ``float32``; ``tf32``, which a card sees to; or ``bfloat16`` or ``float16``, to which all
        maps and parameters are rounded but those of the first convolution. The layers are
        float32.
    native : bool
        Whether the device multiplies what is so rounded. Otherwise the products are made in
        float32: what a card's tensor cores do, which add up in float32.

    Returns
    -------
    list of (tuple of str, Symbol)
        Of each block those of `layers` that it has, and what it computes from ``data``, which is
        the image, or the last output of the block before. Its outputs are these layers and,
        where there is a block below, what that is given.
    """
    sym, found = engine.sym, []
    rounded, wanted = precision in ROUNDED, convolutions(layers)
    for block, depth in enumerate(BLOCKS, 1):
        node, taps = sym.var("data"), {}
        for index in range(1, depth + 1):
            name, layer = f"conv{block}_{index}", f"relu{block}_{index}"
            if name not in wanted:
                break
            widened = rounded and not native and name != FULL_PRECISION
            if widened:
                node = sym.amp_cast(node, dtype="float32")
            node = sym.Convolution(
                node, kernel=(3, 3), pad=(1, 1), num_filter=min(64 << (block - 1), 512), name=name
            )
            if widened:
                node = sym.amp_cast(node, dtype=engine.data_type(precision))
            node = tap = sym.Activation(node, act_type="relu", name=layer)
            if rounded and name == FULL_PRECISION:
                node = sym.amp_cast(node, dtype=engine.data_type(precision))
            elif rounded and layer in layers:
                tap = sym.amp_cast(node, dtype="float32")
            if layer in layers:
                taps[layer] = tap
        outputs = list(taps.values())
        if f"conv{block + 1}_1" in wanted:
            pooled = sym.Pooling(
                node, kernel=(2, 2), stride=(2, 2), pool_type=pooling, name=f"pool{block}"
            )
            outputs.append(pooled)
        if outputs:
            found.append((tuple(taps), sym.Group(outputs)))
    return found


def parameters(arrays, layers, device, dtype="float32", precision="float32"):
    """Copy to the device the parameters that `layers` need.

    Parameters
    ----------
    arrays : mapping of str to numpy.ndarray
        ``conv1_1_weight``, ``conv1_1_bias`` and so on.
    layers : sequence of str
    device : Context
    dtype : str
    precision : str
        As `blocks` gets it.

    Returns
    -------
    dict of str to NDArray
        To be shared by executors of any image size.

    Raises
    ------
    WeightsError
        `arrays` does not reach down to the deepest of `layers`.
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
    """VGG-19 bound for one image size, with a gradient on the image alone.

    Block by block, so that on the way back the maps of a block are given up when its gradient is
    known: the largest maps are those of the first block, which is the last to be needed.

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
        The one `shared` was made for.
    """

    def __init__(self, shared, layers, shape, pooling="avg", gradient=True, precision="float32"):
        first = shared[f"{FULL_PRECISION}_weight"]
        device = first.context
        #: The shape of the image, (1, 3, H, W).
        self.image_shape = shape
        #: The shape of each layer's features, ``{layer: (1, N, h, w)}``.
        self.shapes = {}
        self._layers, self._scales = tuple(layers), precision == "float16"
        self._blocks = []
        native = engine.convolves_natively(precision, device)
        for names, graph in blocks(layers, pooling, precision, native):
            own = engine.nd.zeros(shape, ctx=device, dtype=first.dtype) if gradient else None
            if gradient and self._blocks and precision in ROUNDED:
                own = engine.nd.amp_cast(own, dtype=engine.data_type(precision))
            self._blocks.append((names, engine.bind(graph, shared, own)))
            _, shapes, _ = graph.infer_shape(data=shape)
            self.shapes.update(zip(names, shapes))
            shape = shapes[-1]

    def forward(self, image):
        """Return ``{layer: features}`` of an image, (1, N, H, W) each.

        Parameters
        ----------
        image : NDArray, shape (1, 3, H, W)
            Network input: RGB, means subtracted.
        """
        features, values = {}, image
        for names, block in self._blocks:
            *_, values = outputs = block.forward(values)
            features.update(zip(names, outputs))
        return {layer: features[layer] for layer in self._layers}

    def backward(self, head_gradient):
        """Return the gradient on the image of the last `forward`; the next call overwrites it.

        Parameters
        ----------
        head_gradient : callable
            Is given a layer and returns the gradient on its features, shaped like them; for each
            layer of the network once, and the deepest first. What it makes then, and does not
            keep, is given up before the largest maps are needed.
        """
        if not self._scales:
            return self._walked(head_gradient)
        heads = {layer: head_gradient(layer) for layer in self._deepest_first()}
        scale = _power_of_two(list(heads.values()))
        gradient = self._walked(lambda layer: engine.nd.broadcast_mul(heads.pop(layer), scale))
        return engine.nd.broadcast_div(gradient, scale)

    def _walked(self, head_gradient):
        below = []
        for names, block in reversed(self._blocks):
            own = {layer: head_gradient(layer) for layer in reversed(names)}
            below = [block.backward([*(own[layer] for layer in names), *below])]
        return below[0]

    def _deepest_first(self):
        return sorted(self._layers, key=LAYERS.index, reverse=True)


def _power_of_two(heads):
    """Return the power of two that brings the norm of all heads near `_HEAD_NORM`, rank 4."""
    nd = engine.nd
    squares = nd.concat(*(engine.dot(head, head) for head in heads), dim=0)
    norm = nd.sqrt(engine.dot(squares, nd.ones_like(squares)))
    return 2 ** nd.floor(nd.log2(_HEAD_NORM / nd.maximum(norm, 1e-30))).reshape((1, 1, 1, 1))
