"""Computes a bank of filters in VGG-19's shapes, for machines where nothing can be downloaded.

Nothing is learned. The first layer detects colours, edges and lines, each with both signs. In
later layers a passing channel copies a channel of the layer before and adds a small share of
edges and lines of a few other channels. In the first layer of a block, half of the channels are
such edges and lines alone. After the ReLU, an edge channel measures how much edge there is;
pooling averages that over ever larger neighbourhoods, together with the colours.

If every channel of every layer mixes other channels freely, the filters do not work: the
cascade responds most to ripples of one width, and the optimiser draws those ripples.
"""

import functools
from collections.abc import Iterator, Mapping

import numpy

from .params import CONVOLUTIONS

# Each layer's activations on the calibration picture are scaled to VGG-19's mean on pictures,
# after the ReLU and with average pooling, times a factor that is 1 for most layers. The factors
# make the gradients of content and style on the image as strong, relative to each other, as
# those of VGG-19, for which the authors chose β′.
_VGG_MEANS = (21, 107, 106, 98, 81, 96, 206, 284, 237, 164, 93, 22, 15, 4, 1.8, 0.2)
_FACTORS = {"conv2_1": 0.7, "conv4_1": 0.8, "conv4_2": 1.5}

#: Each layer's mean activation on the calibration picture.
MEANS = {layer: mean * _FACTORS.get(layer, 1.0) for layer, mean in zip(CONVOLUTIONS, _VGG_MEANS)}

_SEED = 1701
_CALIBRATION_SIZE = 160

# Strength of the edges that a passing channel adds, relative to the channel itself.
_MIXED_IN = 0.1
# Channels from which one edge filter takes its edges.
_SOURCES = 3
# A channel is divided by its mean to this power. 1 would make all channels equally strong; in
# deep layers fine detail, which is weak in any picture, would then be as strong as coarse.
_EQUALISATION = 0.5

_SMOOTH = numpy.array([1.0, 2.0, 1.0]) / 4
_SLOPE = numpy.array([-1.0, 0.0, 1.0]) / 2
_BEND = numpy.array([1.0, -2.0, 1.0])
_BLUR = numpy.outer(_SMOOTH, _SMOOTH)

# Brightness and the two opponent axes of colour.
_AXES = numpy.array([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [0.5, 0.5, -1.0]])
_CENTRE = numpy.array([[[123.68]], [[116.779]], [[103.939]]], numpy.float32)


def build() -> dict[str, numpy.ndarray]:
    """Compute the bank.

    Returns
    -------
    dict of str to ndarray
        ``conv1_1_weight``, shape (64, 3, 3, 3), ``conv1_1_bias``, shape (64,), and so on to
        conv5_4. Float32, read-only, the same at every call; every bias is zero. The network's
        input is RGB from 0 to 255 with the channel means subtracted.
    """
    return dict(_bank())


def calibration_picture(
    random: numpy.random.RandomState, size: int = _CALIBRATION_SIZE, leaves: int = 400
) -> numpy.ndarray:
    """Paint ellipses, curved strokes and stripes of all sizes on top of each other.

    Parameters
    ----------
    random : numpy.random.RandomState
    size, leaves : int

    Returns
    -------
    ndarray, shape (3, size, size)
        RGB, 0 to 255, float32. Like photographs and paintings it has flat and rough parts, sharp
        edges, and detail at all scales.
    """
    rows, columns = numpy.mgrid[:size, :size].astype(numpy.float32)
    picture = numpy.full((3, size, size), 110, numpy.float32)
    grain = 12 * _pink_noise(random, size)
    for _ in range(leaves):
        radius = min(size / 3, 4 / random.uniform(0.01, 1) ** 0.8)
        y, x = random.uniform(0, size, 2)
        angle, slimness = random.uniform(0, numpy.pi), (1, 1, 3, 8)[random.randint(4)]
        cos, sin = numpy.cos(angle), numpy.sin(angle)
        along = (columns - x) * cos + (rows - y) * sin
        across = (rows - y) * cos - (columns - x) * sin
        across += random.uniform(-1, 1) * along**2 / (4 * radius)
        edge = (1 - numpy.hypot(along, slimness * across) / radius) * radius / slimness
        colour = random.uniform(20, 235) + 45 * random.randn(3)
        fill = colour.clip(0, 255)[:, None, None] + random.uniform(0, 2) * grain
        if random.uniform() < 0.3:
            fill += 40 * numpy.sin(along * random.uniform(0.3, 1.5))
        picture += (edge + 0.5).clip(0, 1) * (fill - picture)
    return picture.clip(0, 255).astype(numpy.float32)


def activations(
    arrays: Mapping[str, numpy.ndarray], picture: numpy.ndarray
) -> Iterator[tuple[str, numpy.ndarray]]:
    """Yield ``(layer, features)`` of a picture, features (N, H, W) after the ReLU.

    Parameters
    ----------
    arrays : dict of str to ndarray
        The result of `build`.
    picture : ndarray, shape (3, H, W)
        RGB, 0 to 255; each side a multiple of 16.
    """
    features = picture - _CENTRE
    for layer in CONVOLUTIONS:
        features = _pooled_before(layer, features)
        bias = arrays[f"{layer}_bias"][:, None, None]
        features = numpy.maximum(_convolve(features, arrays[f"{layer}_weight"]) + bias, 0)
        yield layer, features


@functools.lru_cache(maxsize=1)
def _bank() -> dict[str, numpy.ndarray]:
    random = numpy.random.RandomState(_SEED)
    features = calibration_picture(random) - _CENTRE
    arrays = {}
    for layer, (outputs, inputs, _, _) in CONVOLUTIONS.items():
        features = _pooled_before(layer, features)
        if layer == "conv1_1":
            weight = _first_filters(random, outputs)
            response = _convolve(features, weight)
            power = 1.0
        else:
            weight = _edge_filters(random, outputs, inputs)
            response = _let_pass(weight, _convolve(features, weight), features, layer)
            power = _EQUALISATION
        features = numpy.maximum(response, 0)
        means = features.mean(axis=(1, 2))
        scale = means**-power
        scale *= MEANS[layer] / (scale * means).mean()
        features *= scale[:, None, None]
        weight *= scale[:, None, None, None]
        arrays[f"{layer}_weight"] = weight
        arrays[f"{layer}_bias"] = numpy.zeros(outputs, numpy.float32)
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


def _first_filters(random: numpy.random.RandomState, outputs: int) -> numpy.ndarray:
    """Return pairs of opposite sign: every other pair a colour, the rest edges and lines."""
    filters = []
    for pair in range(outputs // 2):
        if pair % 2 == 0:
            colour, kernel = random.randn(3), _BLUR
        else:
            colour = _AXES[(0, 1, 0, 2)[pair // 4 % 4]]
            kernel = _derivative(random, 1 + pair // 2 % 2)
        kernel = colour[:, None, None] * kernel
        filters += [kernel, -kernel]
    return numpy.array(filters, numpy.float32)


def _edge_filters(random: numpy.random.RandomState, outputs: int, inputs: int) -> numpy.ndarray:
    """Return filters that each apply one derivative to a few channels; every kernel sums to 0."""
    weight = numpy.zeros((outputs, inputs, 3, 3), numpy.float32)
    for output in range(outputs):
        kernel = _derivative(random, 1 + output % 2)
        sources = random.permutation(inputs)[:_SOURCES]
        weight[output, sources] = random.randn(_SOURCES)[:, None, None] * kernel
    return weight


def _let_pass(
    weight: numpy.ndarray, response: numpy.ndarray, features: numpy.ndarray, layer: str
) -> numpy.ndarray:
    """Add the passing channels to the edge filters, in place; return the response."""
    outputs, inputs = weight.shape[:2]
    passing = outputs // 2 if layer.endswith("_1") else outputs
    strength = features.std(axis=(1, 2)).mean() / response.std(axis=(1, 2))
    strength[:passing] *= _MIXED_IN
    weight *= strength[:, None, None, None]
    response *= strength[:, None, None]
    channels = numpy.arange(passing)
    weight[channels, channels % inputs, 1, 1] += 1
    response[:passing] += features[channels % inputs]
    return response


def _derivative(random: numpy.random.RandomState, order: int) -> numpy.ndarray:
    """Return the first or second derivative of a small Gaussian in a random direction, 3 × 3."""
    angle = random.uniform(0, 2 * numpy.pi)
    cos, sin = numpy.cos(angle), numpy.sin(angle)
    if order == 1:
        return cos * numpy.outer(_SMOOTH, _SLOPE) + sin * numpy.outer(_SLOPE, _SMOOTH)
    straight = cos**2 * numpy.outer(_SMOOTH, _BEND) + sin**2 * numpy.outer(_BEND, _SMOOTH)
    return straight + 2 * cos * sin * numpy.outer(_SLOPE, _SLOPE)


def _pink_noise(random: numpy.random.RandomState, size: int) -> numpy.ndarray:
    """Return noise whose amplitude falls as 1 / frequency, standard deviation 1."""
    rows, columns = numpy.fft.fftfreq(size)[:, None], numpy.fft.rfftfreq(size)
    frequency = numpy.hypot(rows, columns)
    frequency[0, 0] = numpy.inf
    spectrum = numpy.fft.rfft2(random.randn(size, size)) / frequency
    noise = numpy.fft.irfft2(spectrum, (size, size))
    return (noise / noise.std()).astype(numpy.float32)


def _pooled_before(layer: str, features: numpy.ndarray) -> numpy.ndarray:
    if not layer.endswith("_1") or layer == "conv1_1":
        return features
    channels, height, width = features.shape
    return features.reshape(channels, height // 2, 2, width // 2, 2).mean(axis=(2, 4))


def _convolve(features: numpy.ndarray, weight: numpy.ndarray) -> numpy.ndarray:
    """Convolve (N, H, W) with (M, N, 3, 3), zero padding, by sums over each filter's few inputs.

    A matrix product would be simpler. But its last digits change with the number of threads, and
    so would the bank and every picture made with it.
    """
    _, height, width = features.shape
    padded = numpy.pad(features, ((0, 0), (1, 1), (1, 1)))
    used = weight.any(axis=(2, 3))
    sources = numpy.argsort(~used, axis=1, kind="stable")[:, : used.sum(axis=1).max()]
    response = numpy.zeros((len(weight), height, width), numpy.float32)
    for source in sources.T:
        taken = padded[source]
        taps = weight[numpy.arange(len(weight)), source, :, :, None, None]
        for row in range(3):
            for column in range(3):
                shifted = taken[:, row : row + height, column : column + width]
                response += taps[:, row, column] * shifted
    return response
