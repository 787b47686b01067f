"""VGG-19 as a Symbol, bound to an executor: image to feature maps, gradients back [1]_.

References
----------
.. [1] Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
   Recognition", ICLR 2015, configuration E.
"""

from . import engine
from .config import BLOCKS, LAYERS
from .errors import WeightsError

# Each pooling halves the map, so below this a map of the deepest block has no position left.
SMALLEST_SIDE = 16

#: The convolution that is always float32: the image's own rounding would double the error of the
#: gradient.
FULL_PRECISION = "conv1_1"

_ROUNDED = ("bfloat16", "float16")

# What float16 is to hold is brought to this norm. The gradients of all losses stay accurate from
# 1 to 2¹⁶; beyond, they leave the range of 6e-8 to 65504 at the one end or the other.
_HEAD_NORM = 2.0**8


def convolutions(layers):
    """Return the names of the convolutions needed for `layers`, ``conv1_1`` onwards."""
    deepest = max(LAYERS.index(layer) for layer in layers)
    return [layer.replace("relu", "conv") for layer in LAYERS[: deepest + 1]]


def symbol(layers, pooling="avg", precision="float32", native=True):
    """Build VGG-19 from ``data`` no deeper than the deepest of `layers`.

    Parameters
    ----------
    layers : sequence of str
        ``relu1_1`` to ``relu5_4``; they become the outputs, in this order.
    pooling : str
        ``avg``, as in the paper, or ``max``, as VGG-19 was trained.
    precision : str
        ``float32``; ``tf32``, which a card sees to; or ``bfloat16`` or ``float16``, to which all
        maps and parameters are rounded but those of the first convolution. The outputs are
        float32.
    native : bool
        Whether the device multiplies what is so rounded. Otherwise the products are made in
        float32: what a card's tensor cores do, which add up in float32.

    Returns
    -------
    Symbol
    """
    sym = engine.sym
    rounded = precision in _ROUNDED
    wanted = convolutions(layers)
    taps, node = {}, sym.var("data")
    for block, depth in enumerate(BLOCKS, 1):
        for index in range(1, depth + 1):
            name = f"conv{block}_{index}"
            if name not in wanted:
                return sym.Group([taps[layer] for layer in layers])
            if index == 1 and block > 1:
                node = sym.Pooling(
                    node, kernel=(2, 2), stride=(2, 2), pool_type=pooling, name=f"pool{block - 1}"
                )
            widened = rounded and not native and name != FULL_PRECISION
            if widened:
                node = sym.amp_cast(node, dtype="float32")
            node = sym.Convolution(
                node, kernel=(3, 3), pad=(1, 1), num_filter=min(64 << (block - 1), 512), name=name
            )
            if widened:
                node = sym.amp_cast(node, dtype=engine.data_type(precision))
            layer = f"relu{block}_{index}"
            node = taps[layer] = sym.Activation(node, act_type="relu", name=layer)
            if rounded and name == FULL_PRECISION:
                node = sym.amp_cast(node, dtype=engine.data_type(precision))
            elif rounded and layer in layers:
                taps[layer] = sym.amp_cast(node, dtype="float32")
    return sym.Group([taps[layer] for layer in layers])


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
        As `symbol` gets it.

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
            if precision in _ROUNDED and convolution != FULL_PRECISION:
                array = engine.nd.amp_cast(array, dtype=engine.data_type(precision))
                if not engine.multiplies(precision, device):
                    array = engine.nd.amp_cast(array, dtype=dtype)
            shared[name] = array
    return shared


class Network:
    """VGG-19 bound for one image size, with a gradient on the image alone.

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
        device, dtype = first.context, first.dtype
        graph = symbol(layers, pooling, precision, engine.multiplies(precision, device))
        self._scales = precision == "float16"
        self.layers = tuple(layers)
        #: The shape of each layer's features, ``{layer: (1, N, h, w)}``.
        self.shapes = dict(zip(self.layers, graph.infer_shape(data=shape)[1]))
        self._image = engine.nd.zeros(shape, ctx=device, dtype=dtype)
        self._gradient = engine.nd.zeros(shape, ctx=device, dtype=dtype) if gradient else None
        arguments = {name: shared[name] for name in graph.list_arguments() if name != "data"}
        self._executor = engine.bind(
            graph,
            dict(arguments, data=self._image),
            {"data": self._gradient} if gradient else {},
        )

    @property
    def image_shape(self):
        """The shape of the image, (1, 3, H, W)."""
        return self._image.shape

    def forward(self, image):
        """Return ``{layer: features}`` of an image, (1, N, H, W) each.

        Parameters
        ----------
        image : NDArray, shape (1, 3, H, W)
            Network input: RGB, means subtracted.
        """
        image.copyto(self._image)
        return dict(zip(self.layers, self._executor.forward()))

    def backward(self, head_gradients):
        """Return the gradient on the image of the last `forward`; the next call overwrites it.

        Parameters
        ----------
        head_gradients : dict of str to NDArray
            One for every layer of the network, shaped like its features.
        """
        heads = [head_gradients[layer] for layer in self.layers]
        if not self._scales:
            self._executor.backward(heads)
            return self._gradient
        scale = _power_of_two(heads)
        self._executor.backward([engine.nd.broadcast_mul(head, scale) for head in heads])
        return engine.nd.broadcast_div(self._gradient, scale)


def _power_of_two(heads):
    """Return the power of two that brings the norm of all heads near `_HEAD_NORM`, rank 4."""
    nd = engine.nd
    squares = nd.concat(*(engine.dot(head, head) for head in heads), dim=0)
    norm = nd.sqrt(engine.dot(squares, nd.ones_like(squares)))
    return 2 ** nd.floor(nd.log2(_HEAD_NORM / nd.maximum(norm, 1e-30))).reshape((1, 1, 1, 1))
