"""What a GPU computes, against the CPU.

    make test-gpu

Both compute in float32, without TF32. They sum in a different order, which the first tolerances
allow for. A run amplifies the difference step by step, but not more than between two programs on
a CPU; the tolerances are those of test_golden.py.
"""

import numpy
import pytest

from nst_cli import Config, engine, transfer, weights
from nst_cli.config import METHODS
from nst_cli.errors import EngineError
from nst_cli.synthesis import vgg
from nst_cli.synthesis.denoise import chambolle
from nst_cli.synthesis.losses import smoothing, style_loss
from nst_cli.weights import Weights

pytestmark = pytest.mark.gpu

DEVICE = "gpu"
TOLERANCES = {1: 1e-5, 5: 5e-3, 20: 1e-2}
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1")
FUSION = "bn=0.3,poly=0.7"


@pytest.fixture(scope="module", autouse=True)
def devices():
    """The CPU and the GPU; skips, with the reason, without a usable GPU."""
    try:
        # First, because it decides which MXNet is loaded.
        gpu = engine.context(DEVICE)
    except EngineError as error:
        pytest.skip(str(error))
    return engine.context("cpu"), gpu


def relative(result, expected):
    """Return ‖result − expected‖ / ‖expected‖."""
    return numpy.linalg.norm(result - expected) / numpy.linalg.norm(expected)


def random_map(seed, shape):
    return numpy.random.RandomState(seed).gamma(1.0, 2.0, shape).astype(numpy.float32)


def random_image(seed, height, width):
    values = numpy.random.RandomState(seed).uniform(-120, 120, (1, 3, height, width))
    return values.astype(numpy.float32)


@pytest.mark.parametrize("method", METHODS)
def test_a_style_loss_and_its_gradient_are_those_of_the_cpu(devices, method):
    shape, loss = (1, 64, 31, 23), style_loss(method)
    results = []
    for device in devices:
        style, features = (engine.array(random_map(seed, shape), device) for seed in (1, 2))
        random = numpy.random.RandomState(3)
        target = loss.target(style, random)
        value, grad = loss(features, target, drawn=loss.draw(random, shape, target))
        results.append((value.asscalar(), grad.asnumpy()))
    (expected_value, expected), (value, grad) = results
    assert value == pytest.approx(expected_value, rel=1e-4)
    assert relative(grad, expected) < 1e-4


def test_the_smoothing_and_its_gradient_are_those_of_the_cpu(devices):
    results = [smoothing(engine.array(random_image(1, 37, 50), device)) for device in devices]
    values, gradients = zip(
        *((result.value.asscalar(), result.grad.asnumpy()) for result in results)
    )
    assert values[1] == pytest.approx(values[0], rel=1e-5)
    assert relative(gradients[1], gradients[0]) < 1e-5


# Odd sides: pooling drops a row or column.
@pytest.mark.parametrize("size", [(64, 96), (61, 83)])
@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_the_networks_features_and_gradient_are_those_of_the_cpu(devices, size, pooling):
    arrays, image = Weights().load(), random_image(2, *size)
    features, gradients = [], []
    for device in devices:
        shared = vgg.parameters(arrays, LAYERS, device)
        network = vgg.Network(shared, LAYERS, image.shape, pooling)
        maps = network.forward(engine.array(image, device))
        gradients.append(network.backward({n: 1e-3 * a for n, a in maps.items()}.get).asnumpy())
        features.append({layer: array.asnumpy() for layer, array in maps.items()})
    for layer in LAYERS:
        assert relative(features[1][layer], features[0][layer]) < 1e-4, layer
    # If two values of a window are nearly equal, rounding decides which is the maximum.
    assert relative(gradients[1], gradients[0]) < (1e-2 if pooling == "max" else 1e-4)


def test_in_float16_the_networks_gradient_is_that_of_a_cpu(devices):
    arrays, image = Weights().load(), random_image(2, 64, 96)
    try:
        engine.resolved_precision("float16", devices[1])
    except EngineError as error:
        pytest.skip(str(error))
    gradients = []
    for device in devices:
        shared = vgg.parameters(arrays, LAYERS, device, precision="float16")
        network = vgg.Network(shared, LAYERS, image.shape, precision="float16")
        maps = network.forward(engine.array(image, device))
        # A gradient that float16 could not hold.
        gradients.append(network.backward({n: 1e9 * a for n, a in maps.items()}.get).asnumpy())
    # Both round at the same places, but sums in another order round some values differently.
    assert relative(gradients[1], gradients[0]) < 1e-2


def run(device, content, style, **choices):
    """Return a run's result, and its image after each step that has a tolerance."""
    images = {}

    def on_step(record):
        if record.step in TOLERANCES:
            images[record.step] = record.image

    config = Config(device=device, iterations=20, stop_eps=0, **choices)
    return transfer(content, style, config, on_step=on_step), images


@pytest.mark.parametrize("method", [*METHODS, FUSION])
def test_twenty_steps_follow_the_cpu(method):
    content, style = random_image(3, 64, 80), random_image(4, 64, 80)
    choices = {"method": method, "weights": weights.BUILTIN}
    expected, course = run("cpu", content, style, **choices)
    result, images = run(DEVICE, content, style, **choices)
    assert result.steps == expected.steps == 20
    for step, tolerance in TOLERANCES.items():
        assert relative(images[step], course[step]) <= tolerance, step
    assert result.losses["total"] == pytest.approx(expected.losses["total"], rel=1e-2)


@pytest.mark.parametrize("name", ["poly", "bn"])
def test_twenty_golden_steps_follow_the_authors_code(golden, real_weights, name):
    expected = numpy.load(golden / f"{name}.npz")
    content, style, init = (expected[part] for part in ("content", "style", "init"))
    images = {}

    def on_step(record):
        if record.step in TOLERANCES:
            images[record.step] = record.image

    config = Config(
        method=name, gamma={"poly": 5, "bn": 1}[name], iterations=20, device=DEVICE,
        weights=str(real_weights),
    )  # fmt: skip
    transfer(content, style, config, init=init, on_step=on_step)
    for step, tolerance in TOLERANCES.items():
        assert relative(images[step], expected[f"it{step}"]) <= tolerance, step


@pytest.mark.parametrize("scales", [1, 2])
def test_preset_fast_reaches_the_loss_that_it_reaches_on_the_cpu(scales):
    content, style = random_image(5, 96, 128), random_image(6, 96, 128)
    losses = [
        transfer(
            content, style,
            Config(preset="fast", precision="float32", scales=scales, iterations=30,
                   device=device, weights=weights.BUILTIN),
        ).losses["total"]
        for device in ("cpu", DEVICE)
    ]  # fmt: skip
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_denoising_is_that_of_the_cpu(devices):
    pixels = numpy.random.RandomState(7).randint(0, 256, (40, 50, 3)).astype(numpy.uint8)
    expected, result = (chambolle(pixels, 0.1, device) for device in devices)
    numpy.testing.assert_allclose(result, expected, atol=0.5)


def test_a_run_frees_all_its_memory(devices):
    content, style = random_image(8, 256, 320), random_image(9, 256, 320)
    free = []
    for _ in range(3):
        run(DEVICE, content, style, weights=weights.BUILTIN)
        engine.release(devices[1])
        free.append(engine.load().context.gpu_memory_info(devices[1].device_id)[0])
    # The first run also loads libraries, which keep their memory.
    assert free[2] == pytest.approx(free[1], rel=0.01)
