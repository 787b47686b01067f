"""Winograd convolutions: 3 × 3 kernels with fewer multiplications, made of MXNet's operators.

oneDNN convolves directly, near the peak of the cores, so only fewer multiplications are faster.
The form is F(4 × 4, 3 × 3) [1]_: 4 × 4 outputs from 6 × 6 inputs in 36 multiplications per pair of
channels instead of 144.

The input transform is a strided convolution of each channel with 36 fixed filters, which reads
all tiles at once. The products are 36 matrix products over the channels. The output transform is
a strided deconvolution. Maps are viewed as volumes, (1, 1, C, H, W): thus the results of one
operator lie in memory as the next one reads them, without a transposition.

References
----------
.. [1] Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016,
   arXiv:1509.09308v2, section 4.3.
"""

from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy

from .. import engine

# Bᵀ, G and A of F(4, 3), which transform inputs, kernels and outputs. Each row is for one product:
# the values of polynomials at 0, 1, 1/2, -2, -1 and infinity. The points of the reference, 0, ±1,
# ±2 and infinity, have 1.5 times the rounding errors, and with them the backward pass would need
# kernels of its own (see `_filters`).
_INPUTS = (
    (1, -3 / 2, -2, 3 / 2, 1, 0),
    (0, -1, 1 / 2, 5 / 2, 1, 0),
    (0, 8, 4, -8, -4, 0),
    (0, 1 / 2, -1, -1 / 2, 1, 0),
    (0, -1, 5 / 2, -1 / 2, -1, 0),
    (0, 1, -3 / 2, -2, 3 / 2, 1),
)
_KERNELS = (
    (1, 0, 0),
    (1 / 3, 1 / 3, 1 / 3),
    (4 / 15, 2 / 15, 1 / 15),
    (1 / 15, -2 / 15, 4 / 15),
    (1 / 3, -1 / 3, 1 / 3),
    (0, 0, 1),
)
_OUTPUTS = (
    (1, 0, 0, 0),
    (1, 1, 1, 1),
    (1, 1 / 2, 1 / 4, 1 / 8),
    (1, -2, 4, -8),
    (1, -1, 1, -1),
    (0, 0, 0, 1),
)
# Sides of the tiles that are read and written.
_READ, _WRITTEN = 6, 4
#: Products per tile and pair of channels, and so the transformed values of a kernel.
PRODUCTS = _READ * _READ
# The output transform copies this product, the second in both dimensions, to the whole tile.
_CONSTANT = _READ + 1

# With fewer channels, the transforms cost more than the products save.
_LEAST_CHANNELS = 128

# The positions from which on a map is convolved faster than directly, by what
# `engine.instruction_set` returns; "any" is for convolution winograd. On an AMD EPYC with AVX2
# this form took 0.40 to 0.98 of the time of direct convolutions, the less the larger the map. On
# an Intel Xeon held to AVX2 the network took 1.2 of it at 512 pixels, and with AVX-512 direct
# convolutions are faster still (benchmarks/RESULTS.md).
_LEAST_POSITIONS = {"any": 1, "amd avx2": 500}

# The transformed input and the products of a band of rows take at most this many bytes each. The
# C library maps fresh pages for each block over 16 MiB (`engine.loading`), which costs a third of
# the time on large maps, and such blocks would add to the peak of memory.
_BAND_BYTES = 15 << 20


def suits(inputs: int, outputs: int, positions: int, instructions: str) -> bool:
    """Return whether a convolution is computed by Winograd's algorithm.

    Parameters
    ----------
    inputs, outputs : int
        Numbers of channels.
    positions : int
        Height times width of the map.
    instructions : str
        What `engine.instruction_set` returned; "any" if it need not be faster.
    """
    least = _LEAST_POSITIONS.get(instructions)
    return min(inputs, outputs) >= _LEAST_CHANNELS and least is not None and positions >= least


class Layer:
    """A convolution with its ReLU; `forward` and `backward` are those of `engine.Executor`.

    The backward pass is explicit: MXNet's own, through these operators, is slower than a direct
    convolution.

    Parameters
    ----------
    shared : dict of str to NDArray
        What `vgg.parameters` returned. Transformed kernels are added when they are first needed;
        networks for all image sizes share them.
    name : str
        The convolution, such as ``conv2_2``.
    size : (int, int)
        Height and width of the map.
    gradient : bool
        False leaves out what `backward` needs.
    """

    def __init__(
        self,
        shared: MutableMapping[str, Any],
        name: str,
        size: Sequence[int],
        gradient: bool = True,
    ) -> None:
        kernels, bias = _transformed(shared, name), shared[f"{name}_bias"]
        self._convolve = Convolution(kernels, size, bias)
        self._convolve_back = Convolution(kernels, size) if gradient else None
        self._features: Any = None

    def forward(self, data: Any) -> list[Any]:
        """Return the features of an input, shape (1, C, H, W), in a list."""
        features = self._convolve(data)
        if self._convolve_back:
            self._features = features
        return [features]

    def backward(self, head_gradients: Sequence[Any]) -> Any:
        """Return the gradient on the input, given that on the features in a list."""
        assert self._convolve_back, "bound for forward alone"
        (head,), features, self._features = head_gradients, self._features, None
        return self._convolve_back(head, features)


class Convolution:
    """A 3 × 3 convolution with zero padding, for maps of one size.

    Parameters
    ----------
    kernels : NDArray, shape (36, K, C)
        Transformed kernels.
    size : (int, int)
        Height and width of the map.
    bias : NDArray, shape (K,), optional
        If given, it is added, and a ReLU is applied. If not, the convolution is that of the
        backward pass, from K to C channels with flipped kernels.
    """

    def __init__(self, kernels: Any, size: Sequence[int], bias: Optional[Any] = None) -> None:
        self._kernels, self._size = kernels, tuple(size)
        self._backward = bias is None
        self._bias = None if bias is None else bias.reshape((-1, 1))
        self._input_filters, self._output_filter = (
            _filters(matrix, kernels.context, self._backward) for matrix in (_INPUTS, _OUTPUTS)
        )
        self._columns = _tiling(size[1], 0, size[1])
        bytes_per_row = 4 * self._columns.tiles * PRODUCTS * max(kernels.shape[1:])
        self._bands = _bands(size[0], max(1, _BAND_BYTES // bytes_per_row))

    def __call__(self, data: Any, features: Any = None) -> Any:
        """Convolve a map.

        Parameters
        ----------
        data : NDArray, shape (1, C, H, W)
        features : NDArray, shape (1, C, H, W), optional
            The result of a ReLU. If given, `data` is the gradient on it, and what is convolved is
            the gradient on the ReLU's input.

        Returns
        -------
        NDArray, shape (1, K, H, W)
        """
        arrays = [data] if features is None else [data, features]
        bands = zip(self._bands, *map(self._divided, arrays))
        results = [self._band(band.tiling, *volumes) for band, *volumes in bands]
        result = engine.nd.concat(*results, dim=3) if len(results) > 1 else results[0]
        return result.reshape((1, -1, *self._size))

    def _divided(self, data: Any) -> Iterator[Any]:
        """Yield the rows that each band reads, shape (1, 1, C, rows, W)."""
        shape = (1, 1, -1, *self._size)
        if len(self._bands) == 1:
            yield data.reshape(shape)
            return
        # The operator converts oneDNN's blocked layout once. With the method of the same name,
        # each slice would convert the whole map.
        volume = engine.nd.reshape(data, shape=shape)
        for band in self._bands:
            yield engine.nd.slice_axis(volume, axis=3, begin=band.begin, end=band.end)

    def _band(self, rows: "_Tiling", volume: Any, features: Any = None) -> Any:
        nd, columns = engine.nd, self._columns
        if features is not None:
            volume = volume * (features > 0)
        transformed = nd.Convolution(
            volume, self._input_filters, num_filter=PRODUCTS, no_bias=True,
            kernel=(1, _READ, _READ), stride=(1, _WRITTEN, _WRITTEN),
            pad=(0, rows.pad, columns.pad),
        )  # fmt: skip
        products = nd.batch_dot(
            self._kernels,
            transformed.reshape((PRODUCTS, volume.shape[2], -1)),
            transpose_a=self._backward,
        )
        if self._bias is not None:
            constant = products[_CONSTANT]
            nd.broadcast_add(constant, self._bias, out=constant)
        result = nd.Deconvolution(
            products.reshape((1, PRODUCTS, -1, rows.tiles, columns.tiles)),
            self._output_filter, num_filter=1, no_bias=True,
            kernel=(1, _WRITTEN, _WRITTEN), stride=(1, _WRITTEN, _WRITTEN),
            pad=(0, rows.crop, columns.crop), adj=(0, rows.adj, columns.adj),
        )  # fmt: skip
        return result if self._bias is None else nd.Activation(result, act_type="relu")


class _Tiling(NamedTuple):
    """How tiles cover one dimension: `pad` is for the input, `crop` and `adj` for the output."""

    tiles: int
    pad: int
    crop: int
    adj: int


class _Band(NamedTuple):
    """The rows of the input that a band of the output reads, and its tiles."""

    begin: int
    end: int
    tiling: _Tiling


def _tiling(length: int, skip: int, wanted: int) -> _Tiling:
    """Return the fewest tiles whose padding and cropping give the wanted outputs exactly.

    Parameters
    ----------
    length : int
        Number of inputs; zeros surround them.
    skip : int
        1 if the first output is not wanted, else 0.
    wanted : int
        Number of outputs.
    """
    tilings = []
    for pad in range(1 - skip, 4 * _WRITTEN + 2):
        tiles = (length + 2 * pad - _READ) // _WRITTEN + 1
        # The first tile starts at the input -pad, and its outputs at 1 - pad.
        crop = pad - 1 + skip
        # The deconvolution crops both ends alike, and gives back `adj` outputs at the far one.
        adj = wanted - (tiles * _WRITTEN - 2 * crop)
        if tiles * _WRITTEN >= crop + wanted and 0 <= adj < _WRITTEN:
            tilings.append(_Tiling(tiles, pad, crop, adj))
    return min(tilings)


def _bands(height: int, most: int) -> list[_Band]:
    """Divide the rows of a map into bands of about equal height, of about `most` rows of tiles."""
    tiles = -(-height // _WRITTEN)
    rows = _WRITTEN * -(-tiles // -(-tiles // most))
    bands = []
    for first in range(0, height, rows):
        last = min(first + rows, height)
        begin, end = max(first - 1, 0), min(last + 1, height)
        bands.append(_Band(begin, end, _tiling(end - begin, first - begin, last - first)))
    return bands


def _transformed(shared: MutableMapping[str, Any], name: str) -> Any:
    """Return the transformed kernels of a convolution, shape (36, K, C)."""
    key = f"{name}_winograd"
    if key not in shared:
        weight = shared[f"{name}_weight"]
        kernels = weight.asnumpy().astype(numpy.float64).reshape((-1, 9))
        values = numpy.kron(_KERNELS, _KERNELS) @ kernels.T
        shared[key] = engine.array(values.reshape((PRODUCTS, *weight.shape[:2])), weight.context)
    return shared[key]


def _filters(matrix: Sequence[Sequence[float]], device: Any, flipped: bool) -> Any:
    """Return a transform in two dimensions as filters, shape (36, 1, 1, side, side).

    For a convolution with flipped kernels, the kernels stay as they are, and the other transforms
    change. Times (-1)ⁿ, a flipped kernel has at the point p the value of the kernel at -1/p. That
    is the row opposite in `_KERNELS`, so all rows change places, and the inputs and outputs are
    multiplied by (-1)ⁿ as well.
    """
    rows = numpy.array(matrix)
    if flipped:
        rows = rows[::-1] * (-1.0) ** numpy.arange(rows.shape[1])
    side = rows.shape[1]
    return engine.array(numpy.kron(rows, rows).reshape((PRODUCTS, 1, 1, side, side)), device)
