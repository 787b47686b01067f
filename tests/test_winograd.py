"""Winograd convolutions compute what direct ones do, at every size, forward and backward."""

import numpy
import pytest
from test_vgg import convolve, device_array, random_arrays

from nst_cli import Config, bench, engine, images, samples, transfer
from nst_cli.config import LAYERS
from nst_cli.errors import ConfigError
from nst_cli.synthesis import vgg, winograd
from nst_cli.weights import Weights

PAPER_LAYERS = (*Config().style_layers, *Config().content_layers)

# Float32 has 24 bits. The transforms enlarge rounding errors some tens of times (a direct
# convolution is off by 0.5e-6 in the norm): 2.5e-6 was measured, with real and random weights.
RELATIVE = 6e-6


@pytest.fixture
def avx2(monkeypatch):
    """Let `auto` see a processor with AVX2 and without AVX-512."""
    monkeypatch.setattr(engine, "instruction_set", lambda device: "amd avx2")


@pytest.fixture
def small_bands(monkeypatch):
    """Give each band a single row of tiles."""
    monkeypatch.setattr(winograd, "_BAND_BYTES", 1)


def parameters(outputs, inputs, seed=0):
    """Return random kernels and biases: as numbers in float64, and as the network has them."""
    random = numpy.random.RandomState(seed)
    kernels = random.normal(scale=(2 / 9 / inputs) ** 0.5, size=(outputs, inputs, 3, 3))
    biases = random.normal(scale=0.5, size=outputs)
    shared = {
        "conv_weight": device_array(kernels, "float32"),
        "conv_bias": device_array(biases, "float32"),
    }
    return kernels, biases, shared


def error(actual, exact):
    """Return the relative error in the norm."""
    return numpy.linalg.norm(actual - exact) / numpy.linalg.norm(exact)


def check(height, width, outputs=7, inputs=5):
    """Compare a layer's features and gradient with the convolution written out in float64."""
    kernels, biases, shared = parameters(outputs, inputs)
    random = numpy.random.RandomState(1)
    values = random.normal(size=(1, inputs, height, width))
    heads = random.normal(size=(1, outputs, height, width))
    layer = winograd.Layer(shared, "conv", (height, width))
    (features,) = layer.forward(device_array(values, "float32"))
    exact = convolve(values, kernels, biases)
    assert features.shape == exact.shape
    # The largest of few values may be close to 0: errors are relative to the sums' usual size.
    scale = (exact.size / (exact**2).sum()) ** 0.5
    assert abs(features.asnumpy() - numpy.maximum(exact, 0)).max() * scale < 3e-5
    # What lies within rounding errors of 0 may pass ReLU or not.
    heads[abs(exact) < 1e-4] = 0
    actual = layer.backward([device_array(heads, "float32")]).asnumpy()
    flipped = kernels[:, :, ::-1, ::-1].swapaxes(0, 1)
    gradient = convolve(heads * (exact > 0), flipped, numpy.zeros(inputs))
    assert actual.shape == gradient.shape
    assert error(actual, gradient) < 2e-5


@pytest.mark.parametrize("height", range(1, 15))
def test_features_and_gradients_are_those_of_a_direct_convolution(height):
    for width in range(1, 15):
        check(height, width)


@pytest.mark.parametrize("height", range(1, 30))
def test_maps_in_bands_have_no_seams(small_bands, height):
    check(height, 6)


@pytest.mark.parametrize(
    ("outputs", "inputs", "size"), [(128, 128, (21, 14)), (256, 128, (9, 11)), (512, 512, (7, 6))]
)
def test_errors_are_those_of_rounding(outputs, inputs, size):
    kernels, biases, shared = parameters(outputs, inputs)
    values = numpy.maximum(numpy.random.RandomState(1).normal(size=(1, inputs, *size)), 0)
    layer = winograd.Layer(shared, "conv", size, gradient=False)
    actual = layer.forward(device_array(values, "float32"))[0].asnumpy()
    assert error(actual, numpy.maximum(convolve(values, kernels, biases), 0)) < RELATIVE
    check(*size, outputs, inputs)


NETWORK = ("relu1_2", "relu2_2", "relu3_1", "relu3_2")
# Blocks of odd height and width: 37 × 51, 18 × 25 and 9 × 12.
SHAPE = (1, 3, 37, 51)


@pytest.fixture(scope="module")
def arrays():
    return random_arrays(NETWORK)


def network(arrays, convolution, shape=SHAPE, layers=NETWORK, **choices):
    shared = vgg.parameters(arrays, layers, engine.context("cpu"))
    return vgg.Network(shared, layers, shape, convolution=convolution, **choices)


def random_image(shape=SHAPE, seed=1):
    return device_array(40 * numpy.random.RandomState(seed).normal(size=shape), "float32")


def passes(network, image):
    """Return features, by layer, and the gradient of half the sum of their squares."""
    maps = network.forward(image)
    gradient = network.backward(maps.get).asnumpy()
    return {layer: features.asnumpy() for layer, features in maps.items()}, gradient


@pytest.mark.parametrize("pooling", ["avg", "max"])
@pytest.mark.parametrize("layers", [NETWORK, NETWORK[:1] + NETWORK[3:], ("relu3_1",)])
def test_a_network_with_winograd_has_the_features_and_the_gradient_of_a_direct_one(
    arrays, layers, pooling
):
    (exact, exact_gradient), (actual, gradient) = (
        passes(network(arrays, kind, layers=layers, pooling=pooling), random_image())
        for kind in ("direct", "winograd")
    )
    assert tuple(actual) == layers
    for layer in layers:
        assert error(actual[layer], exact[layer]) < RELATIVE
    # Some ReLUs and maxima near a tie change sides, as between two processors.
    assert error(gradient, exact_gradient) < 5e-3


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 3, 149, 223), (1, 3, 171, 121)])
def test_with_the_real_weights_too(real_weights, shape):
    arrays = Weights.find(real_weights).load()
    (exact, exact_gradient), (actual, gradient) = (
        passes(network(arrays, kind, shape, PAPER_LAYERS), random_image(shape))
        for kind in ("direct", "winograd")
    )
    for layer in PAPER_LAYERS:
        # Errors of up to thirteen convolutions add up.
        assert error(actual[layer], exact[layer]) < 2 * RELATIVE
    assert error(gradient, exact_gradient) < 5e-3


def test_head_gradients_are_asked_for_the_deepest_first_and_not_changed(arrays):
    one, asked = network(arrays, "winograd"), []
    maps = one.forward(random_image())
    heads = {layer: features.asnumpy() for layer, features in maps.items()}

    def head_gradient(layer):
        asked.append(layer)
        return maps[layer]

    one.backward(head_gradient)
    assert asked == ["relu3_2", "relu3_1", "relu2_2", "relu1_2"]
    for layer, features in maps.items():
        numpy.testing.assert_array_equal(features.asnumpy(), heads[layer])


def test_without_a_gradient_the_features_are_the_same(arrays):
    image = random_image()
    full, reader = (network(arrays, "winograd", gradient=g).forward(image) for g in (True, False))
    for layer in NETWORK:
        # Direct float32 convolutions differ in their last digits too.
        assert error(full[layer].asnumpy(), reader[layer].asnumpy()) < RELATIVE


def test_networks_of_all_sizes_share_kernels_that_are_made_when_they_are_needed(arrays):
    shared = vgg.parameters(arrays, NETWORK, engine.context("cpu"))
    given = set(shared)
    vgg.Network(shared, NETWORK, SHAPE)
    assert set(shared) == given
    vgg.Network(shared, NETWORK, SHAPE, convolution="winograd", gradient=False)
    transformed = {name: shared[name] for name in set(shared) - given}
    assert set(transformed) == {f"{name}_winograd" for name in ("conv2_2", "conv3_1", "conv3_2")}
    vgg.Network(shared, NETWORK, SHAPE, convolution="winograd")
    vgg.Network(shared, NETWORK, (1, 3, 60, 40), convolution="winograd")
    assert {name: shared[name] for name in set(shared) - given} == transformed


def chosen(convolution, size, precision="float32"):
    device = engine.context("cpu")
    return vgg.winograd_convolutions(LAYERS, size, convolution, precision, device)


def test_forced_it_computes_each_convolution_between_128_or_more_channels():
    # From 128 to 128 channels, and so on: all but the first three.
    names = vgg.convolutions(LAYERS)
    assert chosen("winograd", (16, 16)) == names[3:]
    assert chosen("direct", (900, 900)) == []


def test_auto_is_direct_where_winograd_is_not_faster(avx2, monkeypatch):
    assert chosen("auto", (16, 16)) == []
    assert chosen("auto", (149, 224)) == [
        name for name in vgg.convolutions(LAYERS)[3:] if name[4] != "5"
    ]
    assert chosen("auto", (512, 512)) == chosen("winograd", (512, 512))
    assert chosen("auto", (512, 512), "bfloat16") == []
    for others in ("avx512", "avx2", "other"):
        monkeypatch.setattr(engine, "instruction_set", lambda device, name=others: name)
        assert chosen("auto", (2000, 2000)) == []


def test_auto_on_small_maps_is_the_direct_network_bit_by_bit(avx2, arrays):
    shape = (1, 3, 33, 34)
    (features, gradient), (others, other_gradient) = (
        passes(network(arrays, kind, shape), random_image(shape)) for kind in ("direct", "auto")
    )
    numpy.testing.assert_array_equal(gradient, other_gradient)
    for layer in NETWORK:
        numpy.testing.assert_array_equal(features[layer], others[layer])


def test_preset_paper_makes_no_winograd_convolution(avx2, monkeypatch, small_network):
    monkeypatch.setattr(winograd, "Layer", None)
    layers = {"style_layers": "relu1_1,relu2_2", "content_layers": "relu2_2", "device": "cpu"}
    pair = [random_image((1, 3, 96, 80), seed).asnumpy() for seed in (1, 2)]
    transfer(*pair, Config(iterations=1, **layers))
    with pytest.raises(TypeError, match="not callable"):
        transfer(*pair, Config(preset="fast", precision="float32", iterations=1, **layers))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_winograd_in_a_precision_that_rounds_is_an_error(precision):
    with pytest.raises(ConfigError, match="convolution winograd needs float32.*use"):
        Config(convolution="winograd", precision=precision)
    Config(convolution="auto", precision=precision)


def test_under_winograd_precision_auto_does_not_round(monkeypatch):
    monkeypatch.setattr(engine, "resolved_precision", lambda precision, device: "bfloat16")
    device = engine.context("cpu")
    for convolution, precision in (("winograd", "float32"), ("auto", "bfloat16")):
        config = Config(preset="fast", convolution=convolution)
        assert engine.precision_of(config, device) == precision
        expected = "winograd" if convolution == "winograd" else "direct"
        assert vgg.convolution_used(config, (600, 600), device) == expected


def losses(pair, **choices):
    config = Config(preset="fast", precision="float32", stop_eps=0, device="cpu", **choices)
    result = transfer(*pair, config)
    judge = Config(method=config.method, iterations=0, device="cpu", weights=config.weights)
    return transfer(*pair, judge, init=result.image).losses["total"]


def test_preset_fast_reaches_the_same_loss():
    pair = bench.pictures(48, samples.CONTENT, samples.STYLES[0])
    direct, fast = (
        losses(pair, convolution=kind, method="bn", iterations=30, weights="builtin")
        for kind in ("direct", "winograd")
    )
    assert fast == pytest.approx(direct, rel=0.01)


@pytest.mark.slow
def test_with_the_real_weights_preset_fast_reaches_the_same_loss(real_weights, pictures):
    pair = []
    for name in ("golden_gate.jpg", "starry_night.jpg"):
        pixels = images.read(pictures / name).pixels
        pair.append(images.to_input(images.resize(pixels, images.fit(pixels.shape, 160))))
    direct, fast = (
        losses(
            pair,
            convolution=kind,
            method="bn",
            iterations=40,
            stop_decrease=0,
            weights=str(real_weights),
        )
        for kind in ("direct", "winograd")
    )
    assert fast == pytest.approx(direct, rel=0.01)
