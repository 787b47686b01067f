"""The network: how deep it is built, what it computes, and what its executors share."""

import numpy
import pytest

from nst_cli import engine, machine
from nst_cli.config import LAYERS
from nst_cli.engine import precision as precisions
from nst_cli.synthesis import vgg
from nst_cli.weights.params import CONVOLUTIONS

TAPS = ("relu1_1", "relu2_1")
SHAPE = (1, 3, 6, 9)


def device_array(values, dtype="float64"):
    return engine.array(values, engine.context("cpu"), dtype)


def random_arrays(layers=TAPS, seed=0):
    """Return parameters that keep the size of activations from layer to layer."""
    random, arrays = numpy.random.RandomState(seed), {}
    for name in vgg.convolutions(layers):
        shape = CONVOLUTIONS[name]
        scale = (2 / numpy.prod(shape[1:])) ** 0.5
        arrays[f"{name}_weight"] = random.normal(scale=scale, size=shape)
        arrays[f"{name}_bias"] = random.normal(scale=0.1, size=shape[0])
    return arrays


def shared_parameters(layers=TAPS):
    return vgg.parameters(random_arrays(layers), layers, engine.context("cpu"), dtype="float64")


def random_image(shape=SHAPE, seed=1):
    return numpy.random.RandomState(seed).normal(size=shape)


def convolve(values, weight, bias):
    """Convolve a map (1, N, H, W) with 3 × 3 kernels under zero padding."""
    height, width = values.shape[2:]
    padded = numpy.pad(values[0], ((0, 0), (1, 1), (1, 1)))
    total = bias[:, None, None] + numpy.zeros((height, width))
    for row in range(3):
        for column in range(3):
            window = padded[:, row : row + height, column : column + width]
            total += numpy.tensordot(weight[:, :, row, column], window, 1)
    return total[None]


def pool(values, reduction):
    """Reduce each whole 2 × 2 block of a map; what is left over at an edge is dropped."""
    _, channels, height, width = values.shape
    blocks = values[:, :, : height // 2 * 2, : width // 2 * 2]
    blocks = blocks.reshape(1, channels, height // 2, 2, width // 2, 2)
    return reduction(blocks, axis=(3, 5))


@pytest.mark.parametrize("deepest", ["relu1_1", "relu2_1", "relu4_2", "relu5_1", "relu5_4"])
def test_the_blocks_stop_at_the_deepest_layer_asked_for(deepest):
    needed = LAYERS[: LAYERS.index(deepest) + 1]
    names = [layer.replace("relu", "conv") for layer in needed]
    expected = [f"{name}_{part}" for name in names for part in ("weight", "bias")]
    graphs = [graph for _, graph in vgg.blocks([deepest, "relu1_1"])]
    assert [n for graph in graphs for n in graph.list_arguments() if n != "data"] == expected


def test_a_block_gives_the_layers_asked_for_and_what_the_next_one_reads():
    actual = [(names, graph.list_outputs()) for names, graph in vgg.blocks(["relu3_4", "relu1_1"])]
    assert actual == [
        (("relu1_1",), ["relu1_1_output", "pool1_output"]),
        ((), ["pool2_output"]),
        (("relu3_4",), ["relu3_4_output"]),
    ]


def test_the_shapes_are_those_of_vgg_19():
    shapes = {}
    for _, graph in vgg.blocks(LAYERS):
        given = shapes.get("data", (1, 3, 48, 32))
        arguments, outputs, _ = graph.infer_shape(data=given)
        shapes.update(zip(graph.list_arguments(), arguments), data=outputs[-1])
    assert {name: shapes[f"{name}_weight"] for name in CONVOLUTIONS} == CONVOLUTIONS
    actual = vgg.Network(shared_parameters(), TAPS, (1, 3, 48, 32)).shapes
    assert actual == {"relu1_1": (1, 64, 48, 32), "relu2_1": (1, 128, 24, 16)}


def test_parameters_are_those_needed_and_copies():
    arrays = random_arrays(("relu2_1",))
    shared = vgg.parameters(arrays, ("relu1_2",), engine.context("cpu"))
    assert set(shared) == {f"conv1_{i}_{part}" for i in (1, 2) for part in ("weight", "bias")}
    assert all(array.dtype == numpy.float32 for array in shared.values())
    shared["conv1_1_bias"][:] = 7
    assert (arrays["conv1_1_bias"] != 7).all()


@pytest.mark.parametrize(("pooling", "reduction"), [("avg", numpy.mean), ("max", numpy.max)])
def test_features_are_the_convolutions_written_out(pooling, reduction):
    layers = ("relu1_1", "relu1_2", "relu2_1")
    arrays, image = random_arrays(layers), random_image()
    expected, values = {}, image
    for layer in layers:
        name = layer.replace("relu", "conv")
        if name == "conv2_1":
            values = pool(values, reduction)
        values = convolve(values, arrays[f"{name}_weight"], arrays[f"{name}_bias"])
        values = expected[layer] = numpy.maximum(values, 0)
    network = vgg.Network(shared_parameters(layers), layers, SHAPE, pooling)
    features = network.forward(device_array(image))
    assert tuple(features) == layers
    for layer in layers:
        numpy.testing.assert_allclose(features[layer].asnumpy(), expected[layer], atol=1e-12)


def gradient(network, image, heads):
    """Return the gradient on the image for heads given by layer; layers left out get zeros."""
    features = network.forward(image)
    filled = {
        layer: device_array(heads[layer]) if layer in heads else engine.nd.zeros_like(array)
        for layer, array in features.items()
    }
    return network.backward(filled.get).asnumpy()


def random_heads(network, image, seed=2):
    random = numpy.random.RandomState(seed)
    features = network.forward(image)
    return {layer: random.normal(size=array.shape) for layer, array in features.items()}


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_the_gradient_agrees_with_central_differences(pooling):
    network, image = vgg.Network(shared_parameters(), TAPS, SHAPE, pooling), random_image()
    heads = random_heads(network, device_array(image))

    def projection(values):
        features = network.forward(device_array(values))
        return sum((features[layer].asnumpy() * heads[layer]).sum() for layer in TAPS)

    actual = gradient(network, device_array(image), heads)
    for seed in range(8):
        # So short a step that hardly a ReLU or a maximum changes sides along it.
        step = 1e-6 * random_image(seed=10 + seed)
        rise = (projection(image + step) - projection(image - step)) / 2
        assert (actual * step).sum() == pytest.approx(rise, rel=1e-5)


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_the_gradient_of_heads_on_two_layers_is_the_sum_of_single_ones(pooling):
    network = vgg.Network(shared_parameters(), TAPS, SHAPE, pooling)
    image = device_array(random_image())
    heads = random_heads(network, image)
    together = gradient(network, image, heads)
    single = [gradient(network, image, {layer: heads[layer]}) for layer in TAPS]
    assert all(abs(part).max() > 0 for part in single)
    numpy.testing.assert_allclose(together, sum(single), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_gradients_are_asked_for_once_each_and_the_deepest_first(precision):
    layers, asked = ("relu2_1", "relu1_2", "relu3_1", "relu1_1"), []
    network, image = network_in(precision, layers, SHAPE), device_array(random_image(), "float32")
    maps = network.forward(image)
    assert tuple(maps) == layers

    def head_gradient(layer):
        asked.append(layer)
        return maps[layer]

    network.backward(head_gradient)
    assert asked == ["relu3_1", "relu2_1", "relu1_2", "relu1_1"]


def test_networks_of_two_sizes_stand_on_the_very_same_parameters():
    shared = shared_parameters()
    small = vgg.Network(shared, TAPS, SHAPE)
    large = vgg.Network(shared, TAPS, (1, 3, 12, 10))
    images = [device_array(random_image(shape)) for shape in (SHAPE, (1, 3, 12, 10))]
    # With no weight left the first layer is its bias; to see that, both must read this array.
    shared["conv1_1_weight"][:] = 0
    shared["conv1_1_bias"][:] = 3
    for network, image in zip((small, large), images):
        assert (network.forward(image)["relu1_1"].asnumpy() == 3).all()


def test_networks_of_two_sizes_do_not_disturb_each_other():
    shared = shared_parameters()
    small = vgg.Network(shared, TAPS, SHAPE)
    large = vgg.Network(shared, TAPS, (1, 3, 12, 10))
    image, other = device_array(random_image()), device_array(random_image((1, 3, 12, 10)))
    heads = random_heads(small, image)
    expected = gradient(small, image, heads)
    features = small.forward(image)
    before = {layer: array.asnumpy() for layer, array in features.items()}
    gradient(large, other, random_heads(large, other))
    for layer in TAPS:
        numpy.testing.assert_array_equal(features[layer].asnumpy(), before[layer])
    actual = small.backward(lambda layer: device_array(heads[layer]))
    numpy.testing.assert_array_equal(actual.asnumpy(), expected)


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_a_network_without_a_gradient_has_the_same_features(pooling):
    shared, image = shared_parameters(), device_array(random_image())
    reader = vgg.Network(shared, TAPS, SHAPE, pooling, gradient=False)
    full = vgg.Network(shared, TAPS, SHAPE, pooling)
    for layer in TAPS:
        numpy.testing.assert_array_equal(
            reader.forward(image)[layer].asnumpy(), full.forward(image)[layer].asnumpy()
        )


def test_the_image_given_to_forward_is_copied_and_not_kept():
    network, image = vgg.Network(shared_parameters(), TAPS, SHAPE), device_array(random_image())
    heads = random_heads(network, image)
    expected = gradient(network, image, heads)
    network.forward(image)
    image[:] = 0
    actual = network.backward(lambda layer: device_array(heads[layer]))
    numpy.testing.assert_array_equal(actual.asnumpy(), expected)


rounded = pytest.mark.parametrize(
    "precision",
    [
        "float16",
        pytest.param(
            "bfloat16",
            marks=pytest.mark.skipif(
                "avx512_bf16" not in machine.cpu_flags(), reason="no AVX-512 BF16 here"
            ),
        ),
    ],
)


def network_in(precision, layers, shape, pooling="avg"):
    device = engine.context("cpu")
    shared = vgg.parameters(random_arrays(layers), layers, device, precision=precision)
    return vgg.Network(shared, layers, shape, pooling, precision=precision)


@rounded
@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_rounded_it_comes_close_to_float32_and_gives_float32(precision, pooling):
    layers, shape = ("relu1_1", "relu2_1", "relu3_1"), (1, 3, 40, 48)
    image = device_array(40 * random_image(shape), "float32")
    features, gradients = {}, {}
    for one in ("float32", precision):
        network = network_in(one, layers, shape, pooling)
        maps = network.forward(image)
        features[one] = {layer: array.asnumpy() for layer, array in maps.items()}
        gradients[one] = network.backward({n: 1e-3 * a for n, a in maps.items()}.get).asnumpy()
    for layer in layers:
        exact, actual = features["float32"][layer], features[precision][layer]
        assert actual.dtype == numpy.float32
        # Eight or eleven bits of mantissa round by at most 2⁻⁹ or 2⁻¹²; some layers add up.
        tolerance = {"bfloat16": 0.01, "float16": 0.00125}[precision]
        assert numpy.linalg.norm(actual - exact) < tolerance * numpy.linalg.norm(exact)
        assert layer == "relu1_1" or (actual != exact).any()
    exact, actual = gradients["float32"], gradients[precision]
    assert actual.dtype == numpy.float32
    assert numpy.linalg.norm(actual - exact) < 0.1 * numpy.linalg.norm(exact)


@pytest.mark.skipif("avx512_bf16" not in machine.cpu_flags(), reason="no AVX-512 BF16 here")
def test_a_gradient_of_maps_too_wide_for_amx_is_computed():
    """By AMX, oneDNN would prepare it for ever."""
    layers, shape = ("relu1_1", "relu2_1"), (1, 3, 16, 800)
    image, gradients = device_array(40 * random_image(shape), "float32"), {}
    for precision in ("float32", "bfloat16"):
        network = network_in(precision, layers, shape)
        maps = network.forward(image)
        heads = {layer: 1e-3 * features for layer, features in maps.items()}
        gradients[precision] = network.backward(heads.get).asnumpy()
    exact, actual = gradients["float32"], gradients["bfloat16"]
    assert numpy.linalg.norm(actual - exact) < 0.1 * numpy.linalg.norm(exact)


@pytest.mark.parametrize(
    ("width", "precision", "names"),
    [
        (736, "bfloat16", []), (737, "bfloat16", ["conv1_2"]), (1473, "bfloat16", ["conv1_2"]),
        (1474, "bfloat16", ["conv1_2", "conv2_1", "conv2_2"]), (4000, "float32", []),
    ],
)  # fmt: skip
def test_amx_gets_no_map_wider_than_it_supports(width, precision, names, monkeypatch):
    monkeypatch.setattr(precisions, "instruction_set", lambda device: "amx")
    device = engine.context("cpu")
    assert vgg.wide_convolutions(("relu3_1",), width, precision, device) == names
    assert not vgg.wide_convolutions(("relu3_1",), width, precision, device, gradient=False)
    monkeypatch.setattr(precisions, "instruction_set", lambda device: "avx512")
    assert not vgg.wide_convolutions(("relu3_1",), width, precision, device)


@rounded
def test_rounded_the_first_layer_is_exact(precision):
    layers, image = ("relu1_1", "relu1_2"), device_array(40 * random_image(), "float32")
    actual = [
        network_in(one, layers, SHAPE).forward(image)["relu1_1"].asnumpy()
        for one in ("float32", precision)
    ]
    numpy.testing.assert_array_equal(*actual)


def test_in_float16_gradients_of_any_size_are_as_accurate():
    layers, image = ("relu1_1", "relu2_1"), device_array(40 * random_image(), "float32")
    network = network_in("float16", layers, SHAPE)

    def gradient(scale):
        maps = network.forward(image)
        return network.backward(lambda layer: scale * maps[layer]).asnumpy() / scale

    # Beyond float16's range at either end, and within it; powers of two, which round nothing.
    expected = gradient(1.0)
    assert numpy.isfinite(expected).all() and abs(expected).max() > 0
    for exponent in (-60, -20, 40):
        numpy.testing.assert_array_equal(gradient(2.0**exponent), expected)
    maps = network.forward(image)
    actual = network.backward(lambda layer: engine.nd.zeros_like(maps[layer]))
    assert (actual.asnumpy() == 0).all()
