"""L-BFGS on functions whose minimum is known, and its line search."""

import math

import numpy
import pytest

from nst_cli import engine
from nst_cli.errors import CheckpointError
from nst_cli.synthesis import lbfgs


def vector(values):
    return engine.array(values, engine.context("cpu"), "float64")


def on_numpy(function):
    """Return what `minimise` asks for, from a function of NumPy arrays to value and gradient."""

    def evaluated(x):
        value, gradient = function(x.asnumpy())
        return vector([value]), vector(gradient), None

    return evaluated


def on_host(state):
    """Return a state as it comes from a file."""
    arrays = {name: getattr(a, "asnumpy", lambda a=a: a)() for name, a in state.arrays.items()}
    return state._replace(arrays=arrays)


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

    def test_without_a_step_in_memory_each_first_trial_has_that_length_and_nothing_is_rescaled(
        self,
    ):
        # Along a plane, gradients do not change, and all twelve trials of a search fall.
        tried, slope = [], numpy.arange(1.0, 10)

        def plane(x):
            tried.append(x.copy())
            return slope @ x, slope.copy()

        progress = lbfgs.Progress(lbfgs.Memory(vector(slope), 3))
        steps = lbfgs.minimise(
            on_numpy(plane), vector(numpy.zeros(9)), 2.0, rescale=pytest.fail, progress=progress
        )
        for _ in range(5):
            next(steps)
            assert progress.memory.pairs == []
        expected = -2.0 * slope / numpy.sqrt((slope**2).mean())
        for number in range(0, 48, 12):
            numpy.testing.assert_allclose(tried[number + 1] - tried[number], expected, rtol=1e-6)

    def test_where_the_history_leads_nowhere_it_is_cleared(self):
        tried, bowl, blocked = [], quadratic(6, condition=100)[0], []

        def function(x):
            tried.append(x.copy())
            value, gradient = bowl(x)
            return (blocked.pop() if blocked else value), gradient

        progress = lbfgs.Progress(lbfgs.Memory(vector(numpy.zeros(6)), 5))
        steps = lbfgs.minimise(on_numpy(function), vector(numpy.zeros(6)), 0.1, progress=progress)
        for _ in range(5):
            here = next(steps)
        assert len(progress.memory.pairs) == 4
        blocked += [math.inf] * 12
        count = len(tried)
        next(steps)
        assert not blocked and len(progress.memory.pairs) == 1
        gradient, trial = here.gradient.asnumpy(), tried[count + 12] - here.vector.asnumpy()
        expected = -0.1 * gradient / numpy.sqrt((gradient**2).mean())
        numpy.testing.assert_allclose(trial, expected, rtol=1e-9)

    def test_a_point_is_not_held_while_the_next_one_is_searched(self):
        held, bowl = [], on_numpy(quadratic(6, condition=100)[0])
        progress = lbfgs.Progress(lbfgs.Memory(vector(numpy.zeros(6)), 5))

        def function(x):
            held.append(progress.here)
            return bowl(x)

        steps = lbfgs.minimise(function, vector(numpy.zeros(6)), 0.1, progress=progress)
        for _ in range(4):
            assert next(steps) is progress.here
        assert held == [None] * len(held)

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

    def test_coordinates_are_rescaled_after_3_6_12_and_24_steps(self):
        function, _ = quadratic(40, condition=1e6)
        progress = lbfgs.Progress(lbfgs.Memory(vector(numpy.zeros(40)), 5))
        rescaled_after = []

        def rescale(steps, changes):
            rescaled_after.append(progress.number)
            assert len(steps) == len(changes) == min(progress.number, 5)
            return vector(numpy.ones(40))

        points = lbfgs.minimise(
            on_numpy(function), vector(numpy.zeros(40)), 0.1, rescale=rescale, progress=progress
        )
        for _ in range(30):
            next(points)
        assert rescaled_after == [3, 6, 12, 24]

    @pytest.mark.parametrize(
        ("size", "steps"), [(1, 20), (10**6, 20), (15 * 10**6, 13), (36 * 10**6, 5), (10**9, 3)]
    )
    def test_the_history_of_a_large_image_is_shorter_but_has_three_steps(self, size, steps):
        assert lbfgs.history_of(size) == steps

    @pytest.mark.parametrize(
        ("height", "width", "parts"), [(512, 2048, 1), (512, 2049, 3), (2049, 512, 3)]
    )
    def test_beyond_a_megapixel_the_matrix_holds_one_colour_and_is_as_large_as_forecast(
        self, height, width, parts
    ):
        image = engine.nd.zeros((1, 3, height, width), ctx=engine.context("cpu"))
        memory = lbfgs.Memory(image, 1)
        assert [part.size for part in memory.parts(image)] == [image.size // parts] * parts
        # Two rows for each of 20 steps.
        assert lbfgs.matrix_values(height * width) == 2 * 20 * image.size // parts

    @pytest.mark.parametrize(("pixels", "steps"), [(5 * 10**6, 13), (12 * 10**6, 5)])
    def test_the_matrix_of_a_large_image_has_fewer_rows(self, pixels, steps):
        assert lbfgs.matrix_values(pixels) == 2 * steps * pixels

    @pytest.mark.parametrize("gradient", [0.0, math.nan, math.inf])
    def test_it_ends_where_the_gradient_gives_no_direction(self, gradient):
        def function(x):
            return 1.0, numpy.full_like(x, gradient)

        assert len(list(lbfgs.minimise(on_numpy(function), vector([1.0, 2.0]), 1.0))) == 1


class TestMemory:
    def filled(self, history, steps):
        """Return points of a minimisation, and where it is."""
        progress = lbfgs.Progress(lbfgs.Memory(vector(numpy.zeros(9)), history))
        function = on_numpy(quadratic(9, condition=1e4)[0])
        points = lbfgs.minimise(function, vector(numpy.zeros(9)), 0.1, progress=progress)
        return [next(points) for _ in range(steps + 1)], progress

    def matrix(self, memory):
        """Return the rows in use, and their inner products as the memory has them."""
        state = memory.state()
        slots = range(state.numbers["used"])
        rows = [f"{name}/{slot}/0" for name in ("step", "change") for slot in slots]
        places = [slot + part for part in (0, memory.rows // 2) for slot in slots]
        values = numpy.array([state.arrays[row].asnumpy() for row in rows])
        return values, state.arrays["products"][numpy.ix_(places, places)]

    def pairs(self, memory):
        """Return the remembered steps and gradient changes; small vectors have one part."""
        return [
            [numpy.concatenate([part.asnumpy() for part in parts]) for parts in pair]
            for pair in memory.pairs
        ]

    @pytest.mark.parametrize("steps", [1, 2, 3, 8])
    def test_it_holds_the_last_steps_and_gradient_changes(self, steps):
        actual, progress = self.filled(3, steps)
        pairs = self.pairs(progress.memory)
        assert len(pairs) == min(3, steps)
        last = list(zip(actual, actual[1:]))[-3:]
        for (step, change), (old, new) in zip(pairs, last):
            difference = new.vector - old.vector, new.gradient - old.gradient
            numpy.testing.assert_array_equal(step, difference[0].asnumpy())
            numpy.testing.assert_array_equal(change, difference[1].asnumpy())
        values, products = self.matrix(progress.memory)
        numpy.testing.assert_allclose(products, values @ values.T, rtol=1e-9, atol=1e-15)

    def test_in_other_coordinates_steps_are_divided_and_changes_multiplied(self):
        _, progress = self.filled(3, 8)
        memory, factors = progress.memory, numpy.linspace(0.5, 2, 9)
        before = self.pairs(memory)
        point = memory.rescale(progress.here, vector(factors))
        for (step, change), (old_step, old_change) in zip(self.pairs(memory), before):
            numpy.testing.assert_allclose(step, old_step / factors, rtol=1e-12)
            numpy.testing.assert_allclose(change, old_change * factors, rtol=1e-12)
        values, products = self.matrix(memory)
        numpy.testing.assert_allclose(products, values @ values.T, rtol=1e-9, atol=1e-15)
        gradient = progress.here.gradient.asnumpy() * factors
        numpy.testing.assert_allclose(
            point.vector.asnumpy() * factors, progress.here.vector.asnumpy(), rtol=1e-12
        )
        numpy.testing.assert_allclose(point.gradient.asnumpy(), gradient, rtol=1e-12)
        numpy.testing.assert_allclose(point.products[0, -1], gradient @ gradient, rtol=1e-9)

    @pytest.mark.parametrize("steps", [1, 5])
    def test_the_direction_is_that_of_the_textbooks_recursion_whatever_rows_products_has(
        self, steps
    ):
        _, progress = self.filled(3, steps)
        memory, here = progress.memory, progress.here
        pairs = self.pairs(memory)
        expected, alphas = here.gradient.asnumpy(), []
        for s, y in reversed(pairs):
            alphas.append(s @ expected / (s @ y))
            expected = expected - alphas[-1] * y
        s, y = pairs[-1]
        expected = expected * (s @ y) / (y @ y)
        for (s, y), alpha in zip(pairs, reversed(alphas)):
            expected = expected + s * (alpha - y @ expected / (s @ y))
        products = memory.products(here, here).asnumpy()
        for point in (here, here._replace(products=products)):
            actual = memory.direction(point).asnumpy()
            assert actual.dtype == "float64"
            numpy.testing.assert_allclose(actual, -expected, rtol=1e-6, atol=1e-12)

    @pytest.mark.parametrize("steps", [0, 1, 8])
    def test_a_restored_memory_goes_on_as_the_first_would_have(self, steps):
        _, progress = self.filled(3, steps)
        other = lbfgs.Progress(lbfgs.Memory(vector(numpy.zeros(9)), 3))
        other.restore(on_host(progress.state()), vector(numpy.zeros(9)), "extra")
        assert (other.number, other.here.extra) == (steps, "extra")
        assert other.memory.state().numbers["used"] == min(steps, 3)
        assert other.here.value == progress.here.value
        numpy.testing.assert_array_equal(self.pairs(progress.memory), self.pairs(other.memory))
        directions = [each.memory.direction(each.here) for each in (progress, other)]
        if steps:
            directions = [direction.asnumpy() for direction in directions]
            numpy.testing.assert_array_equal(*directions)
        else:
            assert directions == [None, None]

    @pytest.mark.parametrize(("number", "used"), [(-1, 2), (2, -1), (2, 3), (2, 4)], ids=str)
    def test_only_numbers_of_a_minimisation_can_be_restored(self, number, used):
        # The memory holds two steps, and has room for three.
        state = on_host(self.filled(3, 2)[1].state())
        state = state._replace(
            numbers={**state.numbers, "number": number, "memory": {"slots": [], "used": used}}
        )
        other = lbfgs.Progress(lbfgs.Memory(vector(numpy.zeros(9)), 3))
        with pytest.raises(CheckpointError):
            other.restore(state, vector(numpy.zeros(9)), None)

    @pytest.mark.parametrize(
        ("change", "remembered"), [(1.0, True), (1e-9, True), (1e-11, False), (-1.0, False)]
    )
    @pytest.mark.parametrize("scale", [1e-3, 1e3])
    def test_a_step_is_remembered_if_the_slope_rises_along_it(self, change, remembered, scale):
        memory = lbfgs.Memory(vector(numpy.zeros(2)), 2)
        # The cosine of step and change is about `change`.
        step = vector([scale, 0.0])
        gradients = vector([0.0, 0.0]), vector([change / scale**2, 1 / scale**2])
        old = lbfgs.Point(0.0, 1.0, 0.0, step * 0, gradients[0], None)
        new = lbfgs.Point(0.0, 0.0, 0.0, step, gradients[1], None)
        memory.remember(old, new._replace(products=memory.products(new, old).asnumpy()))
        assert len(memory.pairs) == remembered

    @pytest.mark.parametrize(
        ("shape", "allowed"),
        [((1, 7), True), ((1, 9), True), ((3, 9), True), ((1, 8), False), ((3, 7), False),
         ((2, 9), False), ((1, 5), False), ((1, 3), False), ((1, 6), False), ((3, 3), False)],
    )  # fmt: skip
    def test_only_products_of_a_step_can_be_restored(self, shape, allowed):
        _, progress = self.filled(3, 2)
        state = on_host(progress.state())
        state = state._replace(arrays={**state.arrays, "products": numpy.zeros(shape)})
        other = lbfgs.Progress(lbfgs.Memory(vector(numpy.zeros(9)), 3))
        if allowed:
            other.restore(state, vector(numpy.zeros(9)), None)
        else:
            with pytest.raises(CheckpointError, match="another shape"):
                other.restore(state, vector(numpy.zeros(9)), None)

    @pytest.mark.parametrize(
        ("slots", "allowed"), [([1, 0], True), ([2], False), ([-1], False), ([1, 1], False)]
    )
    def test_only_slots_in_use_can_be_restored(self, slots, allowed):
        _, progress = self.filled(3, 2)
        state = on_host(progress.memory.state())
        state = state._replace(numbers={**state.numbers, "slots": slots})
        other = lbfgs.Memory(vector(numpy.zeros(9)), 3)
        if allowed:
            other.restore(state)
        else:
            with pytest.raises(CheckpointError, match="'slots'"):
                other.restore(state)


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

    def tried_on(self, *points, start=(0.0, -1.0)):
        """Return the distances of trials with some values and slopes; the last one repeats."""
        tried = []

        def try_at(distance):
            value, slope = points[min(len(tried), len(points) - 1)]
            tried.append(distance)
            return end(distance, value, slope), end(0.0, *start)

        point = lbfgs.line_search(try_at)
        return tried, point and point.distance

    def test_each_of_twelve_trials_lies_four_times_as_far_while_the_function_falls(self):
        actual, tried = self.searched(lambda t: -t, lambda t: -1.0, 1.0)
        assert tried == [4.0**power for power in range(12)]
        assert actual.distance == 4.0**11

    @pytest.mark.parametrize(
        ("value", "taken"), [(-1.1e-4, True), (-1e-4, True), (-0.9e-4, False)]
    )
    def test_a_trial_needs_a_ten_thousandth_of_the_decrease_that_the_slope_promises(
        self, value, taken
    ):
        tried, _ = self.tried_on((value, 0.0), (-0.5, 0.0))
        assert (len(tried) == 1) == taken

    @pytest.mark.parametrize(
        ("slope", "taken"),
        [(0.89, True), (-0.89, True), (0.9, True), (0.91, False), (-0.91, False)],
    )
    def test_a_trial_needs_nine_tenths_of_the_slope_or_less(self, slope, taken):
        tried, _ = self.tried_on((-0.5, slope), (-0.6, 0.0))
        assert (len(tried) == 1) == taken

    def test_a_trial_no_lower_than_the_lowest_is_beyond_the_minimum(self):
        tried, _ = self.tried_on((-1.0, -1.0), (-1.0, -1.0), (-1.5, 0.0))
        assert tried[1] == 4.0 and 1.0 < tried[2] < 4.0

    def test_where_the_function_rises_again_the_minimum_lies_before(self):
        tried, _ = self.tried_on((-0.1, 0.95), (-0.2, 0.0))
        assert 0.0 < tried[1] < 1.0

    def test_where_it_falls_on_after_a_bracket_the_minimum_lies_towards_its_far_end(self):
        tried, _ = self.tried_on((1.0, 2.0), (-0.5, -0.95), (-0.6, 0.0))
        assert tried[1] < tried[2] < 1.0

    def test_where_it_rises_after_a_bracket_the_minimum_lies_towards_its_near_end(self):
        tried, _ = self.tried_on((1.0, 2.0), (-0.5, 0.95), (-0.6, 0.0))
        assert 0.0 < tried[2] < tried[1]

    def test_the_bracket_ends_at_the_lowest_trial_so_far_if_the_next_one_falls_towards_it(self):
        tried, _ = self.tried_on((-0.5, 0.95), (-0.6, -0.95), (-0.7, 0.0))
        assert tried[1] < tried[2] < 1.0

    def test_the_bracket_stays_if_the_next_trial_falls_away_from_the_lowest_so_far(self):
        tried, _ = self.tried_on((-0.5, 0.95), (-0.6, 0.95), (-0.7, 0.0))
        assert 0.0 < tried[2] < tried[1]

    @pytest.mark.parametrize("point", [(math.nan, -1.0), (-9.0, math.nan), (math.inf, 1.0)])
    def test_a_trial_that_is_not_finite_is_never_taken(self, point):
        tried, distance = self.tried_on(point, (-0.1, 0.0))
        assert tried == [1.0, 0.5] and distance == 0.5

    def test_at_a_kink_the_lowest_trial_is_taken(self):
        actual, tried = self.searched(
            lambda t: abs(t - 0.7), lambda t: math.copysign(1, t - 0.7), 1.0
        )
        assert len(tried) == 12
        assert actual.distance == min(tried, key=lambda t: abs(t - 0.7))

    @pytest.mark.parametrize("slope", [0.0, 0.5, math.nan])
    def test_where_the_function_does_not_fall_at_the_start_there_is_one_trial_and_no_point(
        self, slope
    ):
        assert self.tried_on((-1.0, 0.0), start=(0.0, slope)) == ([1.0], None)

    def test_without_a_decrease_there_is_no_point(self):
        tried, distance = self.tried_on((1.0, 1.0))
        assert distance is None and len(tried) == 12


def end(distance, value, slope):
    return lbfgs.Point(distance, value, slope, None, None, None)


class TestBetween:
    @pytest.mark.parametrize("ends", [(0.5, 3.0), (3.0, 0.5), (-1.0, 2.0)])
    @pytest.mark.parametrize("lowest", [1.0, 1.4])
    @pytest.mark.parametrize("scale", [1.0, 1e-3])
    def test_it_finds_the_minimum_of_a_cubic_of_any_scale(self, ends, lowest, scale):
        # Its slope is (t - lowest) (t + 5).
        def value(t):
            return t**3 / 3 + (5 - lowest) * t**2 / 2 - 5 * lowest * t

        low, high = (end(t, scale * value(t), scale * (t - lowest) * (t + 5)) for t in ends)
        assert lbfgs._between(low, high) == pytest.approx(lowest, rel=1e-12)

    @pytest.mark.parametrize(("lowest", "expected"), [(1.01, 1.2), (2.99, 2.8)])
    def test_it_keeps_a_tenth_of_the_bracket_from_both_ends(self, lowest, expected):
        low, high = (end(t, (t - lowest) ** 2, 2 * (t - lowest)) for t in (1.0, 3.0))
        assert lbfgs._between(low, high) == pytest.approx(expected, rel=1e-12)
        assert lbfgs._between(high, low) == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize(
        "high",
        [
            (math.inf, 1.0),
            (math.nan, 1.0),
            (1.0, math.nan),
            # The cubic falls all the way.
            (-2 / 3, -1.0),
            # A straight line.
            (-1.0, -1.0),
        ],
    )
    def test_without_a_minimum_of_the_cubic_it_halves_the_bracket(self, high):
        assert lbfgs._between(end(2.0, 0.0, -1.0), end(3.0, *high)) == 2.5
