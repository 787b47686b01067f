"""Transfers between small arrays on a small random network: steps, stopping rule and bad input."""

import itertools
import math
import weakref

import numpy
import pytest

from nst_cli import Config, engine, images, machine, transfer
from nst_cli.config import PAPER_BETA
from nst_cli.errors import ConfigError, EngineError, NonFiniteError, NstError, ShapeError
from nst_cli.synthesis import lbfgs, streams, vgg
from nst_cli.synthesis.building import objective_at
from nst_cli.synthesis.kit import NetworkKit
from nst_cli.synthesis.objective import Evaluation
from nst_cli.synthesis.scales import scale_sizes
from nst_cli.synthesis.setting import Setting, network_key
from nst_cli.synthesis.steps import SGD, Adam
from nst_cli.synthesis.styles import Group, Picture
from nst_cli.weights import Weights

SHAPE = (1, 3, 20, 24)
FUSION = "bn=0.3,poly=0.7"


def random_image(seed, shape=SHAPE, amplitude=100):
    values = numpy.random.RandomState(seed).uniform(-amplitude, amplitude, shape)
    return values.astype(numpy.float32)


CONTENT, STYLE = random_image(1), random_image(2, (1, 3, 18, 33))
ANOTHER = random_image(3)


@pytest.fixture(autouse=True)
def small(small_network):
    pass


def choices(**others):
    defaults = {
        "style_layers": "relu1_1,relu2_1",
        "content_layers": "relu2_2",
        "device": "cpu",
        "iterations": 3,
        "beta": "auto",
        "gamma": 1,
    }
    return Config(**{**defaults, **others})


def run(content=CONTENT, style=STYLE, start=None, **others):
    """Return the result and the records of a transfer; `start` is an array to start from."""
    records = []
    result = transfer(content, style, choices(**others), init=start, on_step=records.append)
    return result, records


def evaluated(gradient, smoothing_gradient=None):
    """Return an evaluation as the optimiser needs it, of an objective that has no parts."""
    norm = engine.nd.norm(gradient).reshape((1,))
    return Evaluation(None, gradient, norm, smoothing_gradient)


class TestSteps:
    def authors_steps(self, gradient, smoothing, image, lr, steps):
        """The update of the authors' code, written out in NumPy."""
        images, momentum = [], numpy.zeros_like(image)
        for step in range(1, steps + 1):
            actual = gradient(image)
            limit = image.size
            norm = numpy.sqrt((actual**2).sum())
            if norm > limit:
                actual = actual * (limit / norm)
            actual = actual + smoothing(image)
            rate = lr * 0.9 ** ((step - 1) // 80)
            momentum = 0.9 * momentum - rate * (actual + 5e-4 * image)
            image = image + momentum
            images.append(image)
        return images

    def test_they_are_those_of_the_authors_code(self):
        start = numpy.random.RandomState(3).uniform(-1, 1, (1, 3, 4, 5))
        far = numpy.random.RandomState(4).uniform(-50, 50, start.shape)
        norms = []

        def goal(image):
            gradient = 3 * (image - engine.array(far, image.context, image.dtype))
            evaluation = evaluated(gradient, image / 10)
            norms.append(evaluation.gradient_norm.asscalar())
            return evaluation

        device = engine.context("cpu")
        iterates = iter(SGD(goal, engine.array(start, device, "float64"), lr=0.02))
        actual = [next(iterates)[0].asnumpy() for _ in range(170)]
        expected = self.authors_steps(lambda x: 3 * (x - far), lambda x: x / 10, start, 0.02, 170)
        # Clipped at first and free later, and on both sides of the first two decays of the rate.
        assert norms[0] > start.size > norms[100]
        for step, (image, other) in enumerate(zip(actual, expected), 1):
            # MXNet keeps the rates in float32.
            numpy.testing.assert_allclose(image, other, rtol=1e-5, atol=1e-5, err_msg=f"{step}")

    @pytest.mark.parametrize(("step", "rate"), [(80, 1.0), (81, 0.9), (160, 0.9), (161, 0.81)])
    def test_the_learning_rate_falls_by_a_tenth_after_each_80_steps(self, step, rate):
        ones = engine.nd.ones((1, 1, 2, 2), ctx=engine.context("cpu"), dtype="float64")
        iterates = iter(SGD(lambda image: evaluated(ones), ones, lr=1.0))
        images = [numpy.ones((1, 1, 2, 2))] + [next(iterates)[0].asnumpy() for _ in range(step)]
        moves = numpy.diff([image[0, 0, 0, 0] for image in images])
        before = moves[-2]
        image = images[-2][0, 0, 0, 0]
        assert moves[-1] == pytest.approx(0.9 * before - rate * (1 + 5e-4 * image), rel=1e-5)

    def test_the_start_image_is_not_changed(self):
        start = engine.nd.ones((1, 3, 4, 5), ctx=engine.context("cpu"))
        next(iter(SGD(lambda image: evaluated(3 * image), start, lr=0.1)))
        assert (start.asnumpy() == 1).all()

    def test_a_record_says_what_its_step_did(self):
        start = random_image(5)
        result, records = run(start=start, iterations=3, method=FUSION)
        assert [record.step for record in records] == [1, 2, 3]
        images = [start] + [record.image for record in records]
        for record, old, new in zip(records, images, images[1:]):
            change = numpy.linalg.norm(new - old) / numpy.linalg.norm(new)
            assert record.relative_change == pytest.approx(change, rel=1e-4)
            assert record.beta == result.beta
        numpy.testing.assert_array_equal(result.image, images[-1])

    def test_a_records_image_is_still_that_steps_image_when_read_later(self):
        at_once = []
        kept = []

        def on_step(record):
            kept.append(record)
            at_once.append(record.image)

        transfer(CONTENT, STYLE, choices(iterations=4), on_step=on_step)
        for record, image in zip(kept, at_once):
            numpy.testing.assert_array_equal(record.image, image)
        assert (at_once[0] != at_once[1]).any()

    def test_losses_and_gradient_norm_of_a_record_are_those_of_the_image_before(self):
        start = random_image(5)
        at_start, _ = run(start=start, iterations=0, beta="paper")
        result, records = run(start=start, iterations=2, beta="paper")
        assert records[0].losses == at_start.losses
        again, _ = run(start=records[0].image, iterations=0, beta="paper")
        assert records[1].losses == pytest.approx(again.losses, rel=1e-6)
        assert result.losses != records[1].losses

    def test_the_loss_falls(self):
        _, records = run(iterations=30, init="content", method=FUSION)
        assert records[-1].losses["total"] < 0.9 * records[0].losses["total"]


def test_gaussian_by_fourier_features_is_the_method_fourier():
    choices = {"optimizer": "lbfgs", "init": "content", "iterations": 3}
    by_name, _ = run(method="fourier", **choices)
    by_estimator, records = run(method="gaussian", estimator="fourier", **choices)
    numpy.testing.assert_array_equal(by_estimator.image, by_name.image)
    assert any(name.startswith("gaussian/") for name in records[0].losses)
    by_pairs, _ = run(method="gaussian", **choices)
    assert (by_pairs.image != by_name.image).any()


class TestStopRule:
    def test_it_waits_for_ten_steps(self):
        result, records = run(stop_eps=1e9, iterations=50)
        assert (result.steps, len(records), result.stop_reason) == (10, 10, "converged")

    def test_it_stops_at_the_first_change_below_its_bound_after_that(self):
        _, records = run(stop_eps=0, iterations=30, init="content")
        changes = [record.relative_change for record in records]
        bound = sorted(changes[12:])[len(changes[12:]) // 2]
        expected = next(n for n, change in enumerate(changes, 1) if n >= 10 and change < bound)
        result, _ = run(stop_eps=bound, iterations=30, init="content")
        assert (result.steps, result.stop_reason) == (expected, "converged")

    def test_zero_means_never(self):
        # So low a rate that in float32 no step changes the image at all.
        result, records = run(stop_eps=0, iterations=15, lr=1e-30)
        assert records[-1].relative_change == 0
        assert (result.steps, result.stop_reason) == (15, "iterations")

    @pytest.mark.parametrize("method", ["linear", "poly", "bn=0.5,poly=0.5"])
    @pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
    def test_it_stops_when_the_objective_decreases_by_less_than_its_share(self, optimizer, method):
        choices = {
            "stop_eps": 0, "optimizer": optimizer, "init": "content", "iterations": 40,
            "method": method,
        }  # fmt: skip
        result, records = run(**choices)
        totals = [record.losses["total"] for record in records] + [result.losses["total"]]
        # L-BFGS knows the value after a step, the others only that before the next.
        ends = range(1, 41) if optimizer == "lbfgs" else range(40)
        averages = {
            end + (optimizer == "sgd"): (totals[end - 5] - totals[end])
            / sum(totals[end - 4 : end + 1])
            for end in ends if end >= 5
        }  # fmt: skip
        bound = sorted(averages.values())[len(averages) // 2]
        expected = min(step for step in averages if step >= 10 and averages[step] < bound)
        # Gram matrices are of degree 4 in the features, means of degree 2.
        share = bound / 2 if "poly" in method else bound
        result, _ = run(stop_decrease=share, **choices)
        assert (result.steps, result.stop_reason) == (expected, "converged")

    def test_a_loss_of_random_draws_is_judged_under_the_draw_of_each_step(self):
        choices = {"stop_eps": 0, "optimizer": "lbfgs", "method": "gaussian", "init": "content"}
        result, _ = run(stop_decrease=1e9, iterations=30, **choices)
        assert (result.steps, result.stop_reason) == (10, "converged")
        # Each step lowers the loss of its own draw, so without a bound no run ends sooner.
        result, _ = run(stop_decrease=1e-12, iterations=30, **choices)
        assert (result.steps, result.stop_reason) == (30, "iterations")

    def test_no_iterations_only_evaluate(self):
        start = random_image(5)
        result, records = run(start=start, iterations=0)
        assert (result.steps, result.stop_reason, records) == (0, "iterations", [])
        numpy.testing.assert_array_equal(result.image, start)
        assert result.losses["total"] > 0


class TestStart:
    def test_an_array(self):
        start = random_image(5)
        numpy.testing.assert_array_equal(run(start=start, iterations=0)[0].image, start)

    def test_an_array_goes_before_what_the_config_says(self):
        start = random_image(5)
        result = transfer(CONTENT, STYLE, choices(iterations=0, init="content"), init=start)
        numpy.testing.assert_array_equal(result.image, start)

    def test_the_content(self):
        result = transfer(CONTENT, STYLE, choices(iterations=0, init="content"))
        numpy.testing.assert_array_equal(result.image, CONTENT)

    def test_by_default_small_noise(self):
        image = transfer(CONTENT, STYLE, choices(iterations=0)).image
        assert image.shape == SHAPE and image.dtype == numpy.float32
        assert 0.09 < abs(image).max() <= 0.1
        assert abs(image.mean()) < 0.01

    def test_the_name_of_a_picture_is_refused(self):
        with pytest.raises(ConfigError, match="'sea.jpg' names a picture") as caught:
            transfer(CONTENT, STYLE, choices(init="sea.jpg"))
        assert caught.value.field == "init"

    def test_arrays_given_are_not_changed(self):
        content, style, start = CONTENT.copy(), STYLE.copy(), random_image(5)
        transfer(content, style, choices(), init=start)
        for array, before in ((content, CONTENT), (style, STYLE), (start, random_image(5))):
            numpy.testing.assert_array_equal(array, before)


class TestSeed:
    @pytest.mark.parametrize("method", ["poly", "gaussian"])
    def test_an_equal_seed_gives_equal_bytes_and_another_does_not(self, method):
        images = [
            transfer(CONTENT, STYLE, choices(method=method, seed=seed)).image.tobytes()
            for seed in (3, 3, 4)
        ]
        assert images[0] == images[1] != images[2]

    def test_it_drives_the_gaussian_pairs_too(self):
        start = random_image(5)
        images = [run(start=start, method="gaussian", seed=seed)[0].image for seed in (3, 3, 4)]
        numpy.testing.assert_array_equal(images[0], images[1])
        assert (images[0] != images[2]).any()

    def test_each_purpose_has_a_stream_of_its_own(self):
        keys = [(streams.START,), (streams.PAIRS,), (streams.BETA_PAIRS,)]
        keys += [(streams.STYLE_PAIRS, *size) for size in ((30, 40), (40, 30))]
        drawn = [tuple(streams.stream(7, *key).randint(0, 10**6, 3)) for key in keys]
        assert len(set(drawn)) == len(keys)
        children = numpy.random.SeedSequence(7).spawn(4)
        for (purpose,), values in zip(keys[:3], drawn):
            child = numpy.random.RandomState(numpy.random.MT19937(children[purpose]))
            assert tuple(child.randint(0, 10**6, 3)) == values

    def test_its_numbers_are_the_same_under_every_numpy(self):
        # By NumPy 1.26.4 and 2.4.6.
        assert list(streams.stream(7, 0).randint(0, 10**6, 3)) == [865275, 571466, 364117]
        assert list(streams.stream(7, 1).randint(0, 10**6, 3)) == [933382, 522480, 278220]
        keyed = streams.stream(7, 2, 30, 40).randint(0, 10**6, 3)
        assert list(keyed) == [222541, 568146, 90127]


class TestParts:
    @pytest.mark.parametrize("method", ["linear", "poly", "gaussian", "bn", FUSION])
    def test_the_total_is_the_sum_of_the_parts(self, method):
        result, records = run(method=method, iterations=2)
        for losses in [result.losses] + [record.losses for record in records]:
            parts = {name: value for name, value in losses.items() if name != "total"}
            assert losses["total"] == pytest.approx(math.fsum(parts.values()), rel=1e-9)
            methods = choices(method=method).methods
            style = {f"{name}/{layer}" for name in methods for layer in ("relu1_1", "relu2_1")}
            assert set(parts) == style | {"content/relu2_2", "smoothing"}

    def losses(self, **others):
        return run(start=random_image(5), iterations=0, **{"beta": "paper", **others})[0].losses

    def test_layer_weights_scale_their_parts_alone(self):
        before = self.losses(method=FUSION)
        after = self.losses(method=FUSION, layer_weights="relu2_1=3")
        for name, value in before.items():
            if name != "total":
                factor = 3 if name.endswith("relu2_1") else 1
                assert after[name] == pytest.approx(factor * value, rel=1e-6)

    @pytest.mark.parametrize(
        ("field", "value", "default", "prefix"),
        [("alpha", 3, 1, "content/"), ("gamma", 4, 1, "poly/"), ("beta", 0.7, 0.1, "poly/"),
         ("tv_weight", 0.05, 0.01, "smooth")],
    )  # fmt: skip
    def test_a_weight_scales_its_parts_alone(self, field, value, default, prefix):
        before, after = self.losses(), self.losses(**{field: value})
        for name, part in before.items():
            if name != "total":
                factor = value / default if name.startswith(prefix) else 1
                assert after[name] == pytest.approx(factor * part, rel=1e-6)

    def test_alpha_zero_leaves_no_content_part(self):
        assert set(self.losses(alpha=0)) == {"total", "poly/relu1_1", "poly/relu2_1", "smoothing"}

    def test_gamma_zero_leaves_no_style_part(self):
        assert set(self.losses(gamma=0)) == {"total", "content/relu2_2", "smoothing"}

    def test_without_its_weight_there_is_no_smoothing_part(self):
        assert "smoothing" not in self.losses(tv_weight=0)

    def test_there_is_no_content_part_left_at_the_content_itself(self):
        result = transfer(CONTENT, STYLE, choices(init="content", iterations=0))
        assert result.losses["content/relu2_2"] == 0

    def test_pooling_reaches_the_network(self):
        average, maximum = self.losses(), self.losses(pooling="max")
        assert maximum["poly/relu1_1"] == pytest.approx(average["poly/relu1_1"], rel=1e-6)
        assert maximum["poly/relu2_1"] != pytest.approx(average["poly/relu2_1"], rel=1e-2)

    def test_a_style_of_another_size_is_compared_by_its_statistics_alone(self):
        wide = numpy.tile(random_image(2), (1, 1, 1, 2))
        tiled = numpy.tile(random_image(2), (1, 1, 2, 2))
        only = {"style_layers": "relu1_1", "beta": "paper", "iterations": 0}
        content = random_image(1, wide.shape)
        config = choices(**only)
        one = transfer(content, wide, config, init=wide).losses["poly/relu1_1"]
        other = transfer(content, tiled, config, init=wide).losses["poly/relu1_1"]
        reference = transfer(content, content, config, init=wide).losses["poly/relu1_1"]
        assert one == 0
        # The seams of the tiles alone tell them apart.
        assert 0 < other < 0.05 * reference


class TestBetaAuto:
    def first_gradient_norm(self, **others):
        _, records = run(iterations=1, **others)
        return records[0].gradient_norm

    @pytest.mark.parametrize("method", ["linear", "poly", "bn"])
    def test_it_makes_both_gradient_norms_equal_at_the_start(self, method):
        start = random_image(5)
        content = self.first_gradient_norm(start=start, gamma=0)
        style = self.first_gradient_norm(start=start, alpha=0, method=method)
        assert style == pytest.approx(content, rel=1e-4)

    def test_the_gaussian_is_of_the_same_order(self):
        start = random_image(5)
        content = self.first_gradient_norm(start=start, gamma=0)
        style = self.first_gradient_norm(start=start, alpha=0, method="gaussian")
        assert style == pytest.approx(content, rel=0.5)

    def test_from_the_content_it_is_measured_at_the_noise(self):
        noise = transfer(CONTENT, STYLE, choices(method=FUSION, iterations=0))
        content = transfer(CONTENT, STYLE, choices(method=FUSION, iterations=0, init="content"))
        assert set(content.beta) == {"bn", "poly"}
        assert content.beta == noise.beta

    # Measuring does not use up the numbers that the run's own pairs are drawn by.
    @pytest.mark.parametrize("method", [FUSION, "gaussian"])
    def test_it_is_reported_and_reproduces_the_run(self, method):
        measured, _ = run(method=method)
        given = ",".join(f"{name}={value!r}" for name, value in measured.beta.items())
        repeated, _ = run(method=method, beta=given)
        numpy.testing.assert_array_equal(repeated.image, measured.image)

    def test_it_is_the_authors_where_not_measured(self):
        assert run(beta="paper", iterations=0)[0].beta == {"poly": PAPER_BETA["poly"]}

    def test_it_is_not_measured_without_style(self):
        result, _ = run(gamma=0, init="content", iterations=1)
        assert "content/relu2_2" in result.losses

    def test_where_the_content_has_no_gradient_anywhere_it_asks_for_a_number(self, monkeypatch):
        arrays = {name: 0 * values for name, values in Weights.find().load().items()}
        monkeypatch.setattr(Weights, "load", lambda self: arrays)
        with pytest.raises(ConfigError) as caught:
            run()
        assert caught.value.field == "beta"


class TestNonFinite:
    def failure(self, **others):
        with pytest.raises(NonFiniteError) as caught:
            run(**others)
        assert "\n" not in str(caught.value)
        assert numpy.isfinite(caught.value.result.image).all()
        assert caught.value.result.stop_reason == "non-finite"
        assert caught.value.result.losses == {}
        return caught.value

    def test_an_error_for_a_loss_that_overflows_names_step_and_layer(self):
        start = random_image(5)
        error = self.failure(start=start, gamma=1e30, beta=1e30)
        assert str(error).startswith("Step 1: ")
        assert "poly/relu1_1" in str(error) and "content" not in str(error)
        assert error.result.steps == 0
        numpy.testing.assert_array_equal(error.result.image, start)

    def test_later_steps_keep_the_last_image_with_a_finite_loss(self):
        error = self.failure(start=random_image(5), lr=1e16, tv_weight=0, beta="paper")
        step = int(str(error).split()[1].rstrip(":"))
        assert step > 1
        # The image is that of `steps`, so that the two describe one run.
        repeated, _ = run(
            start=random_image(5),
            lr=1e16,
            tv_weight=0,
            beta="paper",
            iterations=error.result.steps,
        )
        numpy.testing.assert_array_equal(error.result.image, repeated.image)
        assert math.isfinite(repeated.losses["total"])

    def test_a_loss_that_overflows_at_the_last_image_is_an_error_too(self):
        with pytest.raises(NonFiniteError, match="poly/relu1_1"):
            run(start=random_image(5), gamma=1e30, beta=1e30, iterations=0)

    def test_an_update_that_overflows_is_not_blamed_on_the_gradient(self):
        error = self.failure(start=random_image(5), lr=1e30, tv_weight=1e12)
        assert "the gradient on the image is not finite" not in str(error)


class TestBadInput:
    @pytest.mark.parametrize(
        ("values", "actual"),
        [
            (numpy.zeros((3, 20, 24)), "(3, 20, 24)"),
            (numpy.zeros((2, 3, 20, 24)), "(2, 3, 20, 24)"),
            (numpy.zeros((1, 20, 24, 3)), "(1, 20, 24, 3)"),
            (numpy.zeros((1, 3, 15, 24)), "(1, 3, 15, 24)"),
            (numpy.full(SHAPE, numpy.nan), "not finite"),
            (numpy.full(SHAPE, 1e300), "not finite"),
        ],
        ids=lambda part: part if isinstance(part, str) else "",
    )
    @pytest.mark.parametrize("name", ["content", "style", "init"])
    def test_an_array_of_another_form_is_refused_by_name(self, name, values, actual):
        with pytest.raises(ShapeError) as caught:
            run(**{"start" if name == "init" else name: values})
        assert name in str(caught.value) and actual in str(caught.value)

    def test_a_start_of_another_size_is_refused(self):
        with pytest.raises(ShapeError, match=r"\(1, 3, 18, 33\).*\(1, 3, 20, 24\)"):
            run(start=STYLE)

    def test_a_missing_device_is_refused(self):
        with pytest.raises(EngineError, match="(?i)gpu"):
            run(device="gpu:99")

    def test_a_layer_that_the_weights_have_not_is_refused_by_name(self):
        # A file may end with conv5_1, as the small network here does with conv2_2.
        with pytest.raises(NstError, match="3_1"):
            run(style_layers="relu1_1,relu3_1")

    @pytest.mark.parametrize("method", ["linear", "poly", "gaussian", "bn"])
    def test_the_smallest_images_pass(self, monkeypatch, method):
        small = (1, 3, 16, 16)
        result, _ = run(random_image(1, small), random_image(2, small), method=method)
        assert numpy.isfinite(result.image).all()

    def test_images_may_be_any_array_like(self):
        expected = transfer(CONTENT, STYLE, choices()).image
        actual = transfer(CONTENT.tolist(), STYLE.astype("float64"), choices()).image
        numpy.testing.assert_array_equal(actual, expected)


class TestAdam:
    def test_its_steps_are_those_of_the_paper(self):
        start = numpy.random.RandomState(3).uniform(-1, 1, (1, 3, 4, 5))
        device = engine.context("cpu")

        def goal(image):
            return evaluated(image**3, image / 10)

        iterates = iter(Adam(goal, engine.array(start, device, "float64"), lr=0.02))
        image, mean, square = start, 0, 0
        for step in range(1, 30):
            gradient = image**3 + image / 10
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            rate = 0.02 * numpy.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            image = image - rate * mean / (numpy.sqrt(square) + 1e-8)
            # MXNet keeps the rates in float32.
            actual = next(iterates).image.asnumpy()
            numpy.testing.assert_allclose(actual, image, rtol=1e-4, atol=1e-5)


FEW = {"optimizer": "lbfgs", "init": "content", "stop_eps": 0}


class TestLBFGS:
    def test_it_gets_further_than_the_others_in_as_many_steps(self):
        reached = {
            name: run(**{**FEW, "optimizer": name}, iterations=20)[0].losses["total"]
            for name in ("sgd", "adam", "lbfgs")
        }
        assert reached["lbfgs"] < 0.9 * min(reached["sgd"], reached["adam"])

    def test_on_pixels_it_gets_as_far_as_scipys(self):
        scipy = pytest.importorskip("scipy.optimize")
        config, device = choices(beta=1e-3, optimizer="lbfgs"), engine.context("cpu")
        random = numpy.random.RandomState(0)
        setting = Setting(
            config, device, NetworkKit(), CONTENT, [Group((Picture(STYLE),), config.methods)],
            random, None, Weights.find(),
        )  # fmt: skip
        setting.kit.begin(network_key(setting), SHAPE, SHAPE)
        goal, _ = objective_at(setting, CONTENT, setting.groups, CONTENT, {"poly": 1e-3})

        def on_device(image):
            evaluation = goal(image)
            return evaluation.value(), evaluation.total_gradient(), None

        def on_host(vector):
            value, gradient, _ = on_device(engine.array(vector.reshape(SHAPE), device))
            return float(value.asscalar()), gradient.asnumpy().ravel().astype(float)

        ours = lbfgs.minimise(on_device, engine.array(CONTENT, device), 1.0)
        *_, last = itertools.islice(ours, 61)
        theirs = scipy.minimize(
            on_host, CONTENT.ravel().astype(float), jac=True, method="L-BFGS-B",
            options={"maxiter": 60, "maxcor": lbfgs.HISTORY},
        )  # fmt: skip
        # Not the same: the first step's length and the line search differ.
        assert last.value == pytest.approx(theirs.fun, rel=0.1)

    def test_its_losses_at_the_end_are_those_of_the_image(self):
        result, _ = run(**FEW, iterations=5, beta=1e-3)
        again, _ = run(start=result.image, iterations=0, beta=1e-3)
        assert result.losses == pytest.approx(again.losses, rel=1e-5)

    def test_it_stops_where_there_is_no_way_down(self):
        # From the content with hardly any style there is next to nothing to gain.
        result, _ = run(**FEW, iterations=200, gamma=1e-12, beta=1, tv_weight=0)
        assert result.stop_reason == "stalled" and result.steps < 200


class TestScales:
    @pytest.mark.parametrize(
        ("scales", "size", "expected"),
        [
            (1, (300, 400), [(300, 400)]),
            (3, (300, 401), [(75, 100), (150, 200), (300, 401)]),
            (4, (70, 100), [(18, 25), (35, 50), (70, 100)]),
            ("auto", (150, 500), [(150, 500)]),
            ("auto", (150, 512), [(75, 256), (150, 512)]),
            ("auto", (1024, 768), [(256, 192), (512, 384), (1024, 768)]),
        ],
    )
    def test_each_is_twice_the_one_before_and_none_too_small(self, scales, size, expected):
        assert scale_sizes(scales, size) == expected

    LARGE = (1, 3, 40, 48)

    def run(self, **others):
        content = random_image(1, self.LARGE)
        return run(content, random_image(2, (1, 3, 36, 64)), scales=2, **others)

    def test_records_tell_the_scale_and_images_have_the_size_of_the_result(self):
        result, records = self.run(iterations=4)
        assert [record.step for record in records] == [1, 2, 3, 4, 5, 6]
        assert [(r.scale, r.scales) for r in records] == [(1, 2)] * 2 + [(2, 2)] * 4
        assert [r.shape for r in records] == [(1, 3, 20, 24)] * 2 + [self.LARGE] * 4
        assert {record.image.shape for record in records} == {self.LARGE}
        assert result.steps == 6 and result.image.shape == self.LARGE

    def test_the_stop_rule_counts_at_each_scale(self):
        result, records = self.run(iterations=30, stop_eps=1e9)
        assert [record.scale for record in records] == [1] * 10 + [2] * 10
        assert result.stop_reason == "converged"

    def test_beta_is_measured_once(self):
        result, records = self.run(iterations=1)
        assert records[0].beta == records[1].beta == result.beta

    def test_from_the_content_without_a_step_it_is_the_content_again(self):
        # What the small scale cannot hold of the content comes back on top of its result.
        result, _ = self.run(iterations=0, init="content", beta="paper")
        numpy.testing.assert_allclose(result.image, random_image(1, self.LARGE), atol=1e-3)

    def test_a_start_image_is_resized_to_the_first_scale(self):
        start = random_image(5, self.LARGE)
        content = random_image(1, self.LARGE)
        kept = []
        transfer(
            content, STYLE, choices(scales=2, iterations=1, lr=1e-30), init=start,
            on_step=kept.append,
        )  # fmt: skip
        small = images.resize_input(start, (20, 24))
        numpy.testing.assert_allclose(
            kept[0].image, images.resize_input(small, self.LARGE[2:]), atol=1e-4
        )

    def test_an_overflow_at_a_small_scale_keeps_an_image_of_the_right_size(self):
        with pytest.raises(NonFiniteError) as caught:
            self.run(iterations=30, lr=1e30)
        assert caught.value.result.image.shape == self.LARGE

    def test_a_scale_that_is_done_is_freed_before_its_memory_is_released(self, monkeypatch):
        class Network(vgg.Network):
            def __init__(self, *arguments):
                super().__init__(*arguments)
                networks.append(weakref.ref(self))

        networks, left = [], []
        monkeypatch.setattr(vgg, "Network", Network)
        monkeypatch.setattr(
            engine, "release", lambda device: left.append(sum(1 for n in networks if n()))
        )
        for optimizer in ("sgd", "lbfgs"):
            self.run(optimizer=optimizer, iterations=3)
        assert len(networks) > 4 and left == [0, 0] * 2


class TestPrecision:
    @pytest.mark.skipif("avx512_bf16" not in machine.cpu_flags(), reason="no AVX-512 BF16 here")
    def test_bfloat16_reaches_the_loss_of_float32(self):
        reached = {}
        for precision in ("float32", "bfloat16"):
            result, _ = run(
                optimizer="lbfgs", init="content", stop_eps=0, iterations=40, beta=1e-3,
                precision=precision,
            )  # fmt: skip
            judged, _ = run(start=result.image, iterations=0, beta=1e-3)
            reached[precision] = judged.losses["total"]
        assert reached["bfloat16"] == pytest.approx(reached["float32"], rel=0.02)


class TestDraws:
    def test_losses_are_of_draws_that_the_image_was_not_fitted_to(self):
        usual = {"method": "gaussian", "beta": 1e11}
        result, records = run(**FEW, **usual, iterations=30)
        fresh = [
            run(start=result.image, **usual, iterations=0, seed=seed)[0].losses["total"]
            for seed in range(1, 20)
        ]
        logged = [record.losses["total"] for record in records[10:]]
        # Means of twenty values, which scatter by about the same.
        error = numpy.std(fresh) / 20**0.5
        assert abs(numpy.mean(logged) - numpy.mean(fresh)) < 4 * 2**0.5 * error
        assert abs(result.losses["total"] - numpy.mean(fresh)) < 4 * numpy.std(fresh)


class TestSharing:
    VARIED = (
        {"method": "poly"},
        {"method": "gaussian"},
        {"method": "gaussian", "seed": 1},
        {"method": "bn=0.3,poly=0.7", "gamma": 3},
        {"method": "poly", "c": 1},
        {"method": "poly", "pooling": "max"},
        {"method": "poly", "style_layers": "relu2_1"},
        {"method": "poly", "scales": 2, "size": 40, "optimizer": "lbfgs"},
        {"method": "poly"},
    )

    def test_what_is_shared_changes_no_result(self):
        kit = NetworkKit()
        for others in self.VARIED:
            alone = transfer(CONTENT, STYLE, choices(**others))
            shared = transfer(CONTENT, STYLE, choices(**others), kit=kit)
            numpy.testing.assert_array_equal(alone.image, shared.image)
            assert alone.losses == shared.losses

    def test_a_second_run_binds_nothing_and_reads_the_style_no_more(self, monkeypatch):
        kit = NetworkKit()
        transfer(CONTENT, STYLE, choices(), kit=kit)
        monkeypatch.setattr(vgg, "Network", None)
        monkeypatch.setattr(vgg, "parameters", None)
        monkeypatch.setattr("nst_cli.synthesis.objective.style_targets", None)
        transfer(ANOTHER, STYLE, choices(gamma=2), kit=kit)
