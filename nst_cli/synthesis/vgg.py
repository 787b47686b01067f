"""VGG-19, one Symbol per block: feature maps of an image, and the gradient on the image [1]_.

References
----------
.. [1] Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
   Recognition", ICLR 2015, configuration E.
"""

from collections.abc import Callable, Container, Iterable, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple, Union

from .. import engine
from ..config import LAYERS, ROUNDED, Config
from ..errors import WeightsError
from . import winograd

# Four poolings halve the map: a smaller image leaves the deepest block without a position.
SMALLEST_SIDE = 16

#: This convolution is always computed in float32: rounding the image itself would double the
#: error of the gradient.
FULL_PRECISION = "conv1_1"

#: oneDNN 2.4 does not return from preparing the gradient of a convolution by AMX on a map of more
#: columns than this.
WIDEST_BY_AMX = 736

# Head gradients are scaled to about this norm before a float16 backward pass. The gradients of
# all losses stay accurate for norms from 1 to 2¹⁶; outside of these, values leave float16's range
# of 6e-8 to 65504.
_HEAD_NORM = 2.0**8


def convolutions(layers: Iterable[str]) -> list[str]:
    """Return the names of the convolutions needed for `layers`, ``conv1_1`` onwards."""
    deepest = max(LAYERS.index(layer) for layer in layers)
    return [layer.replace("relu", "conv") for layer in LAYERS[: deepest + 1]]


def channels(layer: str) -> int:
    """Return the number of channels of a layer, ``relu1_1``, or of its convolution."""
    return min(64 << (int(layer[4]) - 1), 512)


def input_channels(name: str) -> int:
    """Return the number of channels that a convolution reads."""
    if name == FULL_PRECISION:
        return 3
    return channels(f"conv{int(name[4]) - 1}") if name.endswith("_1") else channels(name)


def blocks(
    layers: Sequence[str],
    pooling: str = "avg",
    precision: str = "float32",
    native: bool = True,
    separate: Container[str] = (),
    wide: Container[str] = (),
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
    separate : container of str
        Convolutions that are not part of a graph, such as ``conv2_2``. They divide their block.
    wide : container of str
        Convolutions that multiply in float32 what is rounded to `precision`; see
        `wide_convolutions`.

    Returns
    -------
    list of (tuple of str, Symbol or str)
        One ``(layers, graph)`` pair per block or part of a divided block. `graph` maps ``data``
        (the image, or the last output of the part before) to the requested layers of this part,
        followed by what the next part reads unless that is the last of these layers. For a
        convolution in `separate`, which includes its ReLU, it is the convolution's name.
    """
    graphs = []
    for names in parts(layers, separate):
        outputs = [name.replace("conv", "relu") for name in names]
        taps = tuple(layer for layer in outputs if layer in layers)
        if names[0] in separate:
            graphs.append((taps, names[0]))
            continue
        nodes = _nodes(names, taps, pooling, precision, native, wide)
        shown = taps if outputs[-1] in taps else (*taps, outputs[-1])
        graphs.append((taps, engine.sym.Group([nodes[name] for name in shown])))
    return graphs


def wide_convolutions(
    layers: Iterable[str], width: int, precision: str, device: Any, gradient: bool = True
) -> list[str]:
    """Return the names of the convolutions that AMX cannot compute for images of a width.

    Parameters
    ----------
    layers : iterable of str
    width : int
        Pixels.
    precision : str
        As for `Network`.
    device : Context
    gradient : bool, optional
        Whether their gradients are needed; AMX computes all others.
    """
    if not gradient or not engine.by_amx(precision, device):
        return []
    return [
        name
        for name in convolutions(layers)
        if name != FULL_PRECISION and width >> (block_of(name) - 1) > WIDEST_BY_AMX
    ]


def winograd_convolutions(
    layers: Sequence[str], size: Sequence[int], convolution: str, precision: str, device: Any
) -> list[str]:
    """Return the names of the convolutions that are computed by Winograd's algorithm.

    Parameters
    ----------
    layers : sequence of str
    size : (int, int)
        Height and width of the image.
    convolution, precision : str
        As for `Network`.
    device : Context
    """
    if convolution == "direct" or precision in ROUNDED:
        return []
    instructions = "any" if convolution == "winograd" else engine.instruction_set(device)
    chosen = []
    for name in convolutions(layers):
        height, width = (side >> (int(name[4]) - 1) for side in size)
        if winograd.suits(input_channels(name), channels(name), height * width, instructions):
            chosen.append(name)
    return chosen


def convolution_used(config: Config, size: Sequence[int], device: Any) -> str:
    """Return ``winograd`` if `config` leads to any such convolution for images of a size."""
    layers, precision = (*config.style_layers, *config.content_layers), engine.precision_of
    chosen = winograd_convolutions(
        layers, size, config.convolution, precision(config, device), device
    )
    return "winograd" if chosen else "direct"


def block_of(name: str) -> int:
    """Return the number of the block of a layer, a convolution or a pooling, from 1."""
    return int(name[4])


def parts(layers: Sequence[str], separate: Container[str] = ()) -> list[list[str]]:
    """Return the convolutions and poolings of each part of the network; see `blocks`."""
    names: list[list[str]] = [[]]
    for name in convolutions(layers):
        block = block_of(name)
        if block > 1 and name.endswith("_1"):
            names[-1].append(f"pool{block - 1}")
            names.append([])
        if name in separate:
            names += [[name], []]
        else:
            names[-1].append(name)
    return [part for part in names if part]


def _nodes(
    names: Sequence[str],
    taps: Sequence[str],
    pooling: str,
    precision: str,
    native: bool,
    wide: Container[str],
) -> dict[str, Any]:
    """Return the symbol of each layer and pooling of a part, by name."""
    sym, rounded = engine.sym, precision in ROUNDED
    node, nodes = sym.var("data"), {}
    for name in names:
        if name.startswith("pool"):
            nodes[name] = node = sym.Pooling(
                node, kernel=(2, 2), stride=(2, 2), pool_type=pooling, name=name
            )
            continue
        layer = name.replace("conv", "relu")
        emulated = rounded and not native and name != FULL_PRECISION
        emulated, kernel = emulated or name in wide, {}
        if emulated:
            node = sym.amp_cast(node, dtype="float32")
        if name in wide:
            kernel = {
                part: sym.amp_cast(sym.var(f"{name}_{part}"), dtype="float32")
                for part in ("weight", "bias")
            }
        node = sym.Convolution(
            node, kernel=(3, 3), pad=(1, 1), num_filter=channels(layer), name=name, **kernel
        )
        if emulated:
            node = sym.amp_cast(node, dtype=engine.data_type(precision))
        nodes[layer] = node = sym.Activation(node, act_type="relu", name=layer)
        if rounded and name == FULL_PRECISION:
            node = sym.amp_cast(node, dtype=engine.data_type(precision))
        elif rounded and layer in taps:
            nodes[layer] = sym.amp_cast(node, dtype="float32")
    return nodes


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


class _Part(NamedTuple):
    """A part of a network, with the requested layers that it computes.

    If it has one output more than layers, that is what the next part reads; else the next part
    reads the last layer.
    """

    layers: tuple[str, ...]
    outputs: int
    run: Union[engine.Executor, winograd.Layer]


class Chain:
    """Consecutive parts of the network, bound for one size of their input.

    Each part is bound by itself, so that `backward` can free a part's maps as soon as that part
    is done.

    Parameters
    ----------
    shared : dict of str to NDArray
        What `parameters` returned; not copied.
    graphs : sequence
        Consecutive elements of what `blocks` returned.
    shape : tuple
        Shape of the input of the first, (1, C, H, W).
    gradient : bool
        False binds for `forward` alone.
    """

    def __init__(
        self,
        shared: MutableMapping[str, Any],
        graphs: Iterable[tuple[tuple[str, ...], Any]],
        shape: Sequence[int],
        gradient: bool = True,
    ) -> None:
        #: The shape of each layer's features, ``{layer: (1, N, h, w)}``.
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._parts: list[_Part] = []
        for names, graph in graphs:
            part: Union[engine.Executor, winograd.Layer]
            if isinstance(graph, str):
                part = winograd.Layer(shared, graph, shape[2:], gradient)
                shapes = [(1, channels(graph), *shape[2:])]
            else:
                part = engine.bind(graph, shared, gradient)
                _, shapes, _ = graph.infer_shape(data=shape)
            self._parts.append(_Part(names, len(shapes), part))
            self.shapes.update(zip(names, shapes))
            shape = shapes[-1]
        #: The shape of the last output.
        self.output_shape: tuple[int, ...] = tuple(shape)

    def forward(self, values: Any) -> tuple[dict[str, Any], Any]:
        """Return the features by layer, and the last output, of an input."""
        features: dict[str, Any] = {}
        for part in self._parts:
            *_, values = outputs = part.run.forward(values)
            features.update(zip(part.layers, outputs))
        return features, values

    def backward(self, head_gradient: Callable[[str], Any], below: Any = None) -> Any:
        """Return the gradient on the input of the last `forward`.

        Parameters
        ----------
        head_gradient : callable
            Takes a layer's name and returns the gradient on its features. It is called once per
            layer, the deepest first.
        below : NDArray, optional
            The gradient on the last output, besides that of its layer.
        """
        for part in reversed(self._parts):
            heads = [head_gradient(layer) for layer in reversed(part.layers)][::-1]
            if below is None or part.outputs > len(heads):
                heads += [] if below is None else [below]
            else:
                heads[-1] = heads[-1] + below
            below = part.run.backward(heads)
        return below


class Network:
    """VGG-19 bound for one image size; gradients are computed on the image alone.

    The first block, which has the largest maps, comes last in `backward`.

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
    convolution : str
        ``direct``, ``winograd`` or ``auto``; `winograd.suits` has the rule. Transformed kernels
        are added to `shared`.
    """

    def __init__(
        self,
        shared: MutableMapping[str, Any],
        layers: Sequence[str],
        shape: Sequence[int],
        pooling: str = "avg",
        gradient: bool = True,
        precision: str = "float32",
        convolution: str = "direct",
    ) -> None:
        first = shared[f"{FULL_PRECISION}_weight"]
        device = first.context
        #: The shape of the image, (1, 3, H, W).
        self.image_shape = shape
        self._layers, self._scales = tuple(layers), precision == "float16"
        native = engine.convolves_natively(precision, device)
        separate = winograd_convolutions(layers, shape[2:], convolution, precision, device)
        wide = wide_convolutions(layers, shape[3], precision, device, gradient)
        graphs = blocks(layers, pooling, precision, native, separate, wide)
        self._chain = Chain(shared, graphs, shape, gradient)
        #: The shape of each layer's features, ``{layer: (1, N, h, w)}``.
        self.shapes = self._chain.shapes

    def forward(self, image: Any) -> dict[str, Any]:
        """Return ``{layer: features}`` of an image, each of shape (1, N, h, w).

        Parameters
        ----------
        image : NDArray, shape (1, 3, H, W)
            Network input: RGB, means subtracted.
        """
        features, _ = self._chain.forward(image)
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
            return self._chain.backward(head_gradient)
        heads = {layer: head_gradient(layer) for layer in deepest_first(self._layers)}
        scale = power_of_two(list(heads.values()))
        gradient = self._chain.backward(
            lambda layer: engine.nd.broadcast_mul(heads.pop(layer), scale)
        )
        return engine.nd.broadcast_div(gradient, scale)


def deepest_first(layers: Iterable[str]) -> list[str]:
    """Return layers in the order in which gradients are computed."""
    return sorted(layers, key=LAYERS.index, reverse=True)


def power_of_two(heads: Sequence[Any]) -> Any:
    """Return the power of two that scales the norm of all heads to about `_HEAD_NORM`, rank 4."""
    nd = engine.nd
    squares = nd.concat(*(engine.dot(head, head) for head in heads), dim=0)
    norm = nd.sqrt(engine.dot(squares, nd.ones_like(squares)))
    return 2 ** nd.floor(nd.log2(_HEAD_NORM / nd.maximum(norm, 1e-30))).reshape((1, 1, 1, 1))
