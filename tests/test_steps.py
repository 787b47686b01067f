"""Steps of SGD and Adam against their formulas in NumPy, and those of L-BFGS on coefficients."""

import math

import numpy
import pytest

from nst_cli import engine
from nst_cli.errors import CheckpointError
from nst_cli.synthesis import lbfgs
from nst_cli.synthesis.basis import Cosines
from nst_cli.synthesis.objective import Evaluation
from nst_cli.synthesis.state import State
from nst_cli.synthesis.steps import SGD, Adam, QuasiNewton, _power_of_two

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


@pytest.mark.parametrize(("lr", "moved"), [(1e-45, False), (1e-37, False), (2e-37, True)])
def test_sgd_does_not_move_at_a_rate_that_mxnet_would_refuse(lr, moved):
    optimiser = SGD(goal(1.0, True), device_array(numpy.ones(SHAPE)), lr)
    images_of(optimiser, 1)
    assert optimiser.state().arrays["momentum"].asnumpy().all() == moved


@pytest.mark.parametrize(("kind", "names"), [(SGD, ["momentum"]), (Adam, ["mean", "square"])])
def test_only_a_number_of_steps_from_0_on_can_be_restored(kind, names):
    arrays = {name: numpy.zeros(SHAPE) for name in names}
    image = device_array(numpy.ones(SHAPE))
    assert kind(goal(1.0, False), image, 1.0, State({"steps": 0}, arrays))
    with pytest.raises(CheckpointError, match="'steps'"):
        kind(goal(1.0, False), image, 1.0, State({"steps": -1}, arrays))


class Bowl:
    """A quadratic objective of two parts, whose minimum depends on the draw if it draws."""

    def __init__(self, scale=1.0, draws=False):
        self.draws, self.held, self.evaluated, self._scale = draws, 0, [], scale
        self._curvature = numpy.geomspace(1, 100, math.prod(SHAPE)).reshape(SHAPE)

    def hold(self):
        self.held += 1
        self.evaluated.append("hold")

    def __call__(self, image):
        self.evaluated.append(image.asnumpy())
        away = image.asnumpy() - 0.1 * self.held
        gradient = self._scale * self._curvature * away
        value = (gradient * away).sum() / 2
        smoothing = device_array(gradient / 4)
        parts, norm = (
            device_array([0.75 * value, 0.25 * value]),
            numpy.linalg.norm(gradient * 0.75),
        )
        return Evaluation(parts, device_array(gradient * 0.75), device_array([norm]), smoothing)


def start_image():
    return device_array(numpy.random.RandomState(0).normal(size=SHAPE))


class TestQuasiNewton:
    def steps_of(self, bowl, count, image=None, state=None):
        optimiser = QuasiNewton(bowl, start_image() if image is None else image, 0.5, state)
        return optimiser, [step for _, step in zip(range(count), optimiser)]

    def images(self, *arguments):
        return [step.image.asnumpy() for step in self.steps_of(*arguments)[1]]

    def test_its_steps_are_those_of_l_bfgs_on_cosine_coefficients_of_the_change(self):
        start, basis, bowl = start_image(), Cosines(start_image()), Bowl()

        def function(coefficients):
            image = basis.image(coefficients) + start
            evaluation = bowl(image)
            return evaluation.value(), basis.gradient(evaluation.total_gradient()), image

        points = lbfgs.minimise(function, engine.nd.zeros_like(start), 0.5, rescale=basis.adapt)
        expected = [point.extra.asnumpy() for _, point in zip(range(9), points)]
        actual = self.images(Bowl(), 8)
        numpy.testing.assert_array_equal(actual, expected[1:])

    @pytest.mark.parametrize("power", [-60, 60])
    def test_the_unit_of_the_objective_changes_no_step(self, power):
        expected = self.images(Bowl(), 8)
        numpy.testing.assert_allclose(self.images(Bowl(2.0**power), 8), expected, rtol=1e-9)

    def test_the_evaluation_after_a_step_is_that_before_the_next(self):
        bowl = Bowl()
        _, actual = self.steps_of(bowl, 5)
        images = [start_image(), *(step.image for step in actual)]
        for step, old, new in zip(actual, images, images[1:]):
            for evaluation, image in ((step.before, old), (step.after, new)):
                expected = bowl(image)
                assert evaluation.parts.asnumpy().tolist() == expected.parts.asnumpy().tolist()
                assert evaluation.gradient_norm.asscalar() == expected.gradient_norm.asscalar()
                assert evaluation.gradient is evaluation.smoothing_gradient is None

    def test_each_step_has_a_draw_of_its_own_and_is_first_evaluated_where_it_starts(self):
        bowl = Bowl(draws=True)
        _, actual = self.steps_of(bowl, 5)
        images = [start_image().asnumpy(), *(step.image.asnumpy() for step in actual)]
        holds = [place for place, one in enumerate(bowl.evaluated) if isinstance(one, str)]
        # Before the first draw, the start is evaluated once.
        assert len(holds) == 5 and holds[0] == 1
        for number, (step, place) in enumerate(zip(actual, holds), 1):
            numpy.testing.assert_array_equal(bowl.evaluated[place + 1], images[number - 1])
            judge = Bowl()
            judge.held = number
            for evaluation, image in zip((step.before, step.after), images[number - 1 :]):
                value = judge(device_array(image)).value().asscalar()
                assert evaluation.value().asscalar() == value

    @pytest.mark.parametrize(
        ("count", "scale", "draws"), [(1, 1.0, False), (3, 1.0, True), (4, 2.0**-60, False)]
    )
    def test_it_goes_on_from_its_state_as_if_it_had_not_stopped(self, count, scale, draws):
        _, expected = self.steps_of(Bowl(scale, draws), 8)
        bowl = Bowl(scale, draws)
        optimiser, actual = self.steps_of(bowl, count)
        state = optimiser.state()
        arrays = {
            name: getattr(array, "asnumpy", lambda array=array: array)()
            for name, array in state.arrays.items()
        }
        state = State(state.numbers, arrays)
        _, others = self.steps_of(bowl, 8 - count, actual[-1].image, state)
        for one, other in zip([*actual, *others], expected):
            numpy.testing.assert_array_equal(one.image.asnumpy(), other.image.asnumpy())
            for name in ("before", "after"):
                evaluations = getattr(one, name), getattr(other, name)
                parts, norms = zip(*((e.parts, e.gradient_norm) for e in evaluations))
                numpy.testing.assert_array_equal(*(array.asnumpy() for array in parts))
                numpy.testing.assert_array_equal(*(array.asnumpy() for array in norms))


@pytest.mark.parametrize(
    ("norm", "factor"),
    [
        (2.0**-40, 1), (0.99 * 2.0**-40, 2.0**40), (2.0**50, 1), (1.01 * 2.0**50, 2.0**-50),
        (2.0**-60.6, 2.0**61), (2.0**-60.4, 2.0**60), (2.0**70, 2.0**-70), (1.0, 1),
        (0.0, 1), (math.inf, 1), (math.nan, 1),
    ],
)  # fmt: skip
def test_a_norm_that_float32_cannot_square_is_scaled_to_about_1_by_a_power_of_two(norm, factor):
    assert _power_of_two(norm) == factor
