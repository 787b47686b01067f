"""Single steps of SGD and Adam against their formulas in NumPy."""

import numpy
import pytest

from nst_cli import engine
from nst_cli.synthesis.objective import Evaluation
from nst_cli.synthesis.state import State
from nst_cli.synthesis.steps import SGD, Adam

SHAPE = (1, 3, 2, 4)
#: Images are about 1. MXNet's constants are in float32, in which 1 - 0.999 is off by 1.3e-5.
TOLERANCE = 5e-5


def device_array(values):
    return engine.array(values, engine.context("cpu"), "float64")


def goal(scale, smoothing):
    """Return a function whose gradient is `scale` times the image's sines, plus a smoothing."""

    def evaluated(image):
        values = image.asnumpy()
        gradient = scale * numpy.sin(values)
        extra = device_array(0.3 * values) if smoothing else None
        norm = device_array([numpy.linalg.norm(gradient)])
        return Evaluation(device_array([1.0]), device_array(gradient), norm, extra)

    return evaluated


def images_of(optimiser, count):
    return [step.image.asnumpy() for _, step in zip(range(count), optimiser)]


def sgd_by_hand(image, scale, smoothing, lr, steps, momentum):
    """Yield the images of the authors' updates, from a number of steps on."""
    while True:
        gradient = scale * numpy.sin(image)
        norm = numpy.linalg.norm(gradient)
        # The norm is at most 3 H W.
        gradient = gradient * min(1.0, image.size / norm)
        if smoothing:
            gradient = gradient + 0.3 * image
        rate = lr * 0.9 ** (steps // 80)
        momentum = 0.9 * momentum - rate * (gradient + 5e-4 * image)
        image, steps = image + momentum, steps + 1
        yield image


@pytest.mark.parametrize("smoothing", [False, True])
@pytest.mark.parametrize("scale", [1.0, 100.0], ids=["short", "clipped"])
@pytest.mark.parametrize("steps", [0, 78, 159])
def test_sgd_takes_the_steps_of_the_authors(steps, scale, smoothing):
    random = numpy.random.RandomState(0)
    image, momentum = random.normal(size=(2, *SHAPE))
    state = State({"steps": steps}, {"momentum": momentum})
    optimiser = SGD(goal(scale, smoothing), device_array(image), 0.1, state)
    expected = sgd_by_hand(image, scale, smoothing, 0.1, steps, momentum)
    actual = images_of(optimiser, 4)
    for one, other in zip(actual, expected):
        numpy.testing.assert_allclose(one, other, atol=TOLERANCE)
    assert optimiser.state().numbers == {"steps": steps + 4}


def test_sgd_starts_at_rest():
    image = numpy.random.RandomState(0).normal(size=SHAPE)
    optimiser = SGD(goal(1.0, False), device_array(image), 2.0)
    actual = images_of(optimiser, 2)
    expected = sgd_by_hand(image, 1.0, False, 2.0, 0, numpy.zeros(SHAPE))
    for one, other in zip(actual, expected):
        numpy.testing.assert_allclose(one, other, atol=TOLERANCE)
    assert optimiser.state().numbers == {"steps": 2}


@pytest.mark.parametrize("smoothing", [False, True])
@pytest.mark.parametrize("steps", [0, 5])
def test_adam_takes_the_steps_of_its_paper(steps, smoothing):
    random = numpy.random.RandomState(0)
    image, mean, square = random.normal(size=(3, *SHAPE))
    mean, square = mean * (steps > 0), square**2 * (steps > 0)
    state = State({"steps": steps}, {"mean": mean, "square": square}) if steps else None
    optimiser = Adam(goal(1.0, smoothing), device_array(image), 2.0, state)
    for number, actual in enumerate(images_of(optimiser, 3), steps + 1):
        gradient = numpy.sin(image) + (0.3 * image if smoothing else 0)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        rate = 2.0 * (1 - 0.999**number) ** 0.5 / (1 - 0.9**number)
        image = image - rate * mean / (numpy.sqrt(square) + 1e-8)
        numpy.testing.assert_allclose(actual, image, atol=TOLERANCE)
    assert optimiser.state().numbers == {"steps": steps + 3}


@pytest.mark.parametrize("kind", [SGD, Adam])
def test_a_step_changes_neither_its_start_nor_the_image_before(kind):
    image = device_array(numpy.random.RandomState(0).normal(size=SHAPE))
    before = image.asnumpy()
    steps = iter(kind(goal(1.0, False), image, 2.0))
    first = next(steps).image
    copy = first.asnumpy()
    next(steps)
    numpy.testing.assert_array_equal(image.asnumpy(), before)
    numpy.testing.assert_array_equal(first.asnumpy(), copy)
