"""L-BFGS on functions whose minimum is known, and its line search."""

import math

import numpy
import pytest

from nst_cli import engine
from nst_cli.synthesis import lbfgs


def vector(values):
    return engine.array(values, engine.context("cpu"), "float64")


def on_numpy(function):
    """Return what `minimise` asks for, from a function of NumPy arrays to value and gradient."""

    def evaluated(x):
        value, gradient = function(x.asnumpy())
        return vector([value]), vector(gradient), None

    return evaluated


def quadratic(size, condition, seed=0):
    """Return a quadratic of that condition number, and its minimum."""
    random = numpy.random.RandomState(seed)
    turned, _ = numpy.linalg.qr(random.normal(size=(size, size)))
    hessian = turned @ numpy.diag(numpy.geomspace(1, condition, size)) @ turned.T
    lowest = random.normal(size=size)

    def function(x):
        away = x - lowest
        return 0.5 * away @ hessian @ away, hessian @ away

    return function, lowest


def rosenbrock(x):
    a, b = x[:-1], x[1:]
    gradient = numpy.zeros_like(x)
    gradient[:-1] = -400 * a * (b - a**2) - 2 * (1 - a)
    gradient[1:] += 200 * (b - a**2)
    return (100 * (b - a**2) ** 2 + (1 - a) ** 2).sum(), gradient


def points(function, start, first_step=0.1, most=300, history=lbfgs.HISTORY):
    actual = []
    for point in lbfgs.minimise(on_numpy(function), vector(start), first_step, history):
        actual.append(point)
        if len(actual) > most or not numpy.abs(point.gradient.asnumpy()).max() > 1e-9:
            break
    return actual


def rescaled(function, size):
    """Return a function of x / scale, what rescales it, and its scale so far."""
    scale = [numpy.ones(size)]

    def scaled(x):
        value, gradient = function(x * scale[0])
        return value, gradient * scale[0]

    def rescale(steps, changes):
        steps, changes = (
            numpy.array([row.asnumpy() for (row,) in rows]) for rows in (steps, changes)
        )
        factors = numpy.sqrt((steps**2).sum(0) / numpy.maximum((steps * changes).sum(0), 1e-9))
        scale[0] = scale[0] * factors
        return vector(factors)

    return scaled, rescale, scale


class TestMinimise:
    def test_better_coordinates_on_the_way_lead_to_the_same_minimum_sooner(self):
        curvature = numpy.geomspace(1, 1e4, 60)

        def function(x):
            return 0.5 * (curvature * (x - 1)) @ (x - 1), curvature * (x - 1)

        plain = points(function, numpy.zeros(60))
        scaled, rescale, scale = rescaled(function, 60)
        sooner = []
        for point in lbfgs.minimise(
            on_numpy(scaled), vector(numpy.zeros(60)), 0.1, rescale=rescale
        ):
            sooner.append(point)
            if not numpy.abs(point.gradient.asnumpy() / scale[0]).max() > 1e-9:
                break
        assert sooner[-1].vector.asnumpy() * scale[0] == pytest.approx(numpy.ones(60), abs=1e-8)
        assert len(sooner) < 0.7 * len(plain)

    def test_it_solves_an_ill_conditioned_quadratic(self):
        function, lowest = quadratic(12, condition=1000)
        actual = points(function, numpy.zeros(12))
        assert len(actual) < 80
        numpy.testing.assert_allclose(actual[-1].vector.asnumpy(), lowest, atol=1e-9)

    @pytest.mark.parametrize("size", [2, 7])
    def test_it_solves_rosenbrock(self, size):
        start = numpy.tile([-1.2, 1.0], size)[:size]
        actual = points(rosenbrock, start)
        assert len(actual) < 100
        numpy.testing.assert_allclose(actual[-1].vector.asnumpy(), 1, atol=1e-7)

    def test_every_step_meets_the_strong_wolfe_conditions(self):
        actual = points(rosenbrock, numpy.array([-1.2, 1.0]))
        for old, new in zip(actual, actual[1:]):
            step = (new.vector - old.vector).asnumpy()
            before, after = old.gradient.asnumpy() @ step, new.gradient.asnumpy() @ step
            assert new.value <= old.value + 1e-4 * before
            assert abs(after) <= 0.9 * abs(before)

    def test_the_first_point_is_the_start_and_the_start_is_not_changed(self):
        start = vector([3.0, 4.0])
        first = next(lbfgs.minimise(on_numpy(quadratic(2, 10)[0]), start, 0.1))
        assert first.vector.asnumpy().tolist() == start.asnumpy().tolist() == [3, 4]

    def test_the_first_trial_has_the_length_asked_for(self):
        tried = []

        def function(x):
            tried.append(x.copy())
            return 0.5 * x @ x, x

        steps = lbfgs.minimise(on_numpy(function), vector(numpy.full(9, 50.0)), 2.0)
        next(steps), next(steps)
        assert numpy.sqrt(((tried[1] - tried[0]) ** 2).mean()) == pytest.approx(2.0)

    def test_it_takes_the_steps_of_the_textbooks_recursion(self):
        # Two-loop recursion, algorithm 7.4 of Nocedal and Wright, on vectors.
        function, _ = quadratic(20, condition=300)
        actual = points(function, numpy.zeros(20), most=9, history=3)
        arrays = [(p.vector.asnumpy(), p.gradient.asnumpy()) for p in actual]
        pairs = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(arrays, arrays[1:])]
        for index in range(4, 9):
            s_y = pairs[max(0, index - 3) : index]
            q, alphas = arrays[index][1].copy(), []
            for s, y in reversed(s_y):
                alphas.append(s @ q / (s @ y))
                q -= alphas[-1] * y
            s, y = s_y[-1]
            q *= (s @ y) / (y @ y)
            for (s, y), alpha in zip(s_y, reversed(alphas)):
                q += s * (alpha - y @ q / (s @ y))
            taken = arrays[index + 1][0] - arrays[index][0]
            cosine = -(taken @ q) / numpy.linalg.norm(taken) / numpy.linalg.norm(q)
            assert cosine == pytest.approx(1, abs=1e-9)

    def test_it_ends_at_a_minimum(self):
        actual = list(lbfgs.minimise(on_numpy(lambda x: (x @ x, 2 * x)), vector([0.0, 0.0]), 1.0))
        assert len(actual) == 1

    def test_it_ends_where_no_step_leads_down(self):
        # A gradient that lies: the function rises wherever it points down.
        steps = lbfgs.minimise(on_numpy(lambda x: (x @ x, -2 * x)), vector([1.0, 2.0]), 1.0)
        assert len(list(steps)) == 1

    def test_it_steps_back_from_where_the_function_is_not_finite(self):
        def wall(x):
            if x[0] > 1:
                return math.nan, numpy.full_like(x, math.nan)
            return -x[0] - math.log(1.0001 - x[0]) * 1e-3, numpy.array(
                [-1 + 1e-3 / (1.0001 - x[0])]
            )

        actual = points(wall, numpy.array([0.0]), first_step=50.0, most=40)
        assert all(math.isfinite(point.value) for point in actual)
        assert actual[-1].vector.asnumpy()[0] == pytest.approx(0.9991, abs=1e-6)

    def test_a_renewed_function_is_evaluated_anew_before_its_step(self):
        # Two quadratics in turn; a step from one's gradient to the other's would be nonsense.
        lowest = [vector([1.0, 2.0]), vector([1.1, 2.1])]
        turn = []

        def function(x):
            away = x - lowest[len(turn) % 2]
            return 0.5 * (away * away).sum(), away, None

        steps = lbfgs.minimise(
            function, vector([50.0, -30.0]), 0.1, renew=lambda: turn.append(1) or True
        )
        for _, actual in zip(range(12), steps):
            last = actual
        assert numpy.abs(last.vector.asnumpy() - [1.05, 2.05]).max() < 0.06

    def test_the_colours_of_a_large_image_are_remembered_one_by_one(self, monkeypatch):
        function, _ = quadratic(3 * 4 * 5, 100)
        start = engine.array(numpy.ones((1, 3, 4, 5)), engine.context("cpu"), "float64")

        def on_images(x):
            value, gradient, extra = on_numpy(function)(x.reshape((-1,)))
            return value, gradient.reshape(x.shape), extra

        def rescale(steps, changes):
            parts.append(len(steps[0]))
            return engine.nd.ones_like(start) * 1.5

        def run():
            steps = lbfgs.minimise(on_images, start, 0.1, 5, rescale=rescale)
            return [point.value for _, point in zip(range(12), steps)]

        parts = []
        expected = run()
        monkeypatch.setattr(lbfgs, "_MOST_PIXELS_AT_ONCE", 19)
        assert run() == pytest.approx(expected, rel=1e-6)
        assert parts == [1, 1, 3, 3]

    def test_the_host_reads_a_few_numbers_once_for_each_evaluation(self, monkeypatch):
        sizes, evaluated = [], []
        monkeypatch.setattr(
            engine.nd.NDArray, "asnumpy", watched(engine.nd.NDArray.asnumpy, sizes)
        )
        hessian = vector(numpy.linspace(1, 50, 500))

        def function(x):
            evaluated.append(1)
            return 0.5 * engine.dot(hessian * x, x), hessian * x, None

        steps = lbfgs.minimise(function, vector(numpy.ones(500)), 0.1)
        for _ in range(30):
            next(steps)
        assert len(sizes) == len(evaluated) > 29
        assert max(sizes) < 500


def watched(function, sizes):
    def asnumpy(self):
        sizes.append(self.size)
        return function(self)

    return asnumpy


class TestLineSearch:
    def searched(self, function, slope, distance):
        """Return what a line search finds whose first trial is at `distance`, and its trials."""
        tried = []

        def at(t):
            x = t * distance
            return lbfgs.Point(t, function(x), slope(x) * distance, None, None, None)

        def try_at(t):
            tried.append(t * distance)
            return at(t), at(0.0)

        actual = lbfgs.line_search(try_at)
        if actual:
            actual = actual._replace(
                distance=actual.distance * distance, slope=actual.slope / distance
            )
        return actual, tried

    @pytest.mark.parametrize("distance", [1e-3, 0.1, 1.0, 30.0])
    def test_it_finds_its_point_from_near_and_far(self, distance):
        # Figure 3.3's kind of function: a slow descent, a minimum at 2, a steep rise.
        actual, _ = self.searched(
            lambda t: -t / (t**2 + 2), lambda t: (t**2 - 2) / (t**2 + 2) ** 2, distance
        )
        assert actual.value <= actual.distance * -0.5e-4
        assert abs(actual.slope) <= 0.45

    def test_a_good_first_trial_is_taken_at_once(self):
        _, tried = self.searched(lambda t: (t - 1) ** 2, lambda t: 2 * (t - 1), 1.0)
        assert tried == [1.0]

    def test_a_cubic_is_solved_at_the_second_trial(self):
        actual, tried = self.searched(
            lambda t: t**3 - 3 * t, lambda t: 3 * t**2 - 3, 1.9
        )  # fmt: skip
        assert len(tried) == 2 and actual.distance == pytest.approx(1)
