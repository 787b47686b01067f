"""The objective: its gradient through an executor, its parts and their weights."""

import math

import numpy
import pytest

from nst_cli import engine
from nst_cli.config import METHODS, PAPER_BETA, Config
from nst_cli.errors import ConfigError
from nst_cli.synthesis import losses, objective, vgg
from nst_cli.synthesis.objective import Objective, Term
from nst_cli.synthesis.styles import Group
from nst_cli.weights.params import CONVOLUTIONS

TAPS = ("relu1_1", "relu1_2", "relu2_1")
SHAPE = (1, 3, 6, 9)
STYLE_SHAPE = (1, 3, 8, 7)
FUSION = "bn=0.3,poly=0.7"
# Scaled like the features, so that no part of the objective dominates.
BETA = {"bn": 20.0, "poly": 1e3, "linear": 10.0, "gaussian": 1e5, "content": 0.02}


def device_array(values):
    return engine.array(values, engine.context("cpu"), "float64")


def random_image(shape=SHAPE, seed=1):
    return numpy.random.RandomState(seed).normal(size=shape)


def random_parameters(seed=0):
    random, arrays = numpy.random.RandomState(seed), {}
    for name in vgg.convolutions(TAPS):
        shape = CONVOLUTIONS[name]
        scale = (2 / numpy.prod(shape[1:])) ** 0.5
        arrays[f"{name}_weight"] = random.normal(scale=scale, size=shape)
        arrays[f"{name}_bias"] = random.normal(scale=0.1, size=shape[0])
    return vgg.parameters(arrays, TAPS, engine.context("cpu"), dtype="float64")


class Scene:
    """A small network in float64, and the terms of a content and a style image on it."""

    def __init__(self, pooling="avg", layers=TAPS):
        shared = random_parameters()
        self.network = vgg.Network(shared, layers, SHAPE, pooling)
        self._reader = vgg.Network(shared, layers, STYLE_SHAPE, pooling, gradient=False)

    def content(self, config):
        features = self.network.forward(device_array(random_image(seed=2)))
        return objective.content_terms(config, features)

    def style(self, config):
        features = self._reader.forward(device_array(random_image(STYLE_SHAPE, seed=3)))
        targets = objective.style_targets(config, features, numpy.random.RandomState(4))
        return objective.style_terms(config, targets)


def choices(method, **others):
    return Config(
        method=method, content_layers="relu1_2", **{"style_layers": "relu1_1,relu2_1", **others}
    )


def evaluate(terms, network, tv_weight=0.0, image=None, seed=0):
    """Return the parts and the whole gradient of an objective whose draws start from `seed`."""
    goal = Objective(network, terms, tv_weight, numpy.random.RandomState(seed))
    evaluation = goal(device_array(random_image() if image is None else image))
    gradient = evaluation.gradient.asnumpy()
    if evaluation.smoothing_gradient is not None:
        gradient = gradient + evaluation.smoothing_gradient.asnumpy()
    return dict(zip(goal.names, evaluation.parts.asnumpy())), gradient


def whole_objective(scene, config):
    """Return content and style terms weighted so that each matters."""
    return objective.scaled(scene.content(config) + scene.style(config), BETA)


def fixed_bandwidth(terms):
    """Return the terms with the Gaussian's bandwidth held constant, as its gradient takes it."""
    gaussian = losses.GaussianMMD(bandwidth=60.0)
    return [
        Term(t.method, t.layer, gaussian, t.target, t.weight) if t.method == "gaussian" else t
        for t in terms
    ]


@pytest.mark.parametrize("pooling", ["avg", "max"])
@pytest.mark.parametrize("method", [FUSION, "linear=1,gaussian=2"])
def test_the_whole_gradient_agrees_with_central_differences(method, pooling):
    scene = Scene(pooling)
    terms = fixed_bandwidth(whole_objective(scene, choices(method, c=0.5)))
    image = random_image()
    parts, actual = evaluate(terms, scene.network, tv_weight=0.2)
    assert len(parts) == 6 and min(map(abs, parts.values())) > 1e-3 * max(parts.values())
    scale = abs(actual).max()
    # So short a step that hardly a ReLU or a maximum changes sides along it.
    step = 1e-6
    for index in list(numpy.ndindex(*SHAPE))[::7]:
        shift = numpy.zeros_like(image)
        shift[index] = step
        above, below = (
            math.fsum(evaluate(terms, scene.network, 0.2, image + sign * shift)[0].values())
            for sign in (1, -1)
        )
        slope = (above - below) / (2 * step)
        assert actual[index] == pytest.approx(slope, rel=1e-5, abs=1e-6 * scale)


@pytest.mark.parametrize("fusion", [FUSION, "linear=2,bn=0.5,poly=1"])
def test_a_fusion_is_the_weighted_sum_of_its_methods(fusion):
    scene, config = Scene(), choices(fusion)
    parts, gradient = evaluate(objective.scaled(scene.style(config), BETA), scene.network)
    expected_parts, expected_gradient = {}, 0
    for method, weight in config.methods.items():
        single = objective.scaled(scene.style(choices(method)), BETA)
        single_parts, single_gradient = evaluate(single, scene.network)
        expected_parts.update({name: weight * part for name, part in single_parts.items()})
        expected_gradient = expected_gradient + weight * single_gradient
    assert parts == pytest.approx(expected_parts, rel=1e-9)
    numpy.testing.assert_allclose(gradient, expected_gradient, rtol=1e-9, atol=1e-12)


def test_content_and_style_at_one_layer_add_up():
    scene, config = Scene(), choices("poly", style_layers="relu1_2")
    content, style = scene.content(config), scene.style(config)
    _, together = evaluate(content + style, scene.network)
    single = [evaluate(terms, scene.network)[1] for terms in (content, style)]
    numpy.testing.assert_allclose(together, sum(single), rtol=1e-9, atol=1e-12)


def test_a_layer_of_the_network_without_a_term_changes_nothing():
    config = choices("poly", style_layers="relu1_1")
    small, large = Scene(layers=("relu1_1",)), Scene()
    expected = evaluate(small.style(config), small.network)
    actual = evaluate(large.style(config), large.network)
    assert actual[0] == pytest.approx(expected[0], rel=1e-12)
    numpy.testing.assert_allclose(actual[1], expected[1], rtol=1e-9, atol=1e-12)


def test_parts_are_named_by_method_and_layer_and_smoothing_counts_where_it_has_weight():
    scene, config = Scene(), choices(FUSION)
    terms = scene.content(config) + scene.style(config)
    names = ["content/relu1_2"]
    names += [f"{method}/{layer}" for method in ("bn", "poly") for layer in config.style_layers]
    assert list(evaluate(terms, scene.network)[0]) == names
    parts, _ = evaluate(terms, scene.network, tv_weight=0.5)
    assert list(parts) == [*names, "smoothing"]
    smoothing = losses.smoothing(device_array(random_image())).value.asscalar()
    assert parts["smoothing"] == pytest.approx(0.5 * smoothing, rel=1e-12)


@pytest.mark.parametrize("method", [*METHODS, FUSION])
def test_nothing_is_copied_to_the_host_in_an_evaluation(monkeypatch, method):
    scene, config, image = Scene(), choices(method, c=1), device_array(random_image())
    terms = scene.content(config) + scene.style(config)
    goal = Objective(scene.network, terms, 0.1, numpy.random.RandomState(0))

    def copied(array):
        raise AssertionError("an array was copied to the host")

    for name in ("asnumpy", "asscalar", "wait_to_read"):
        monkeypatch.setattr(engine.nd.NDArray, name, copied)
    goal(image)


def test_without_weight_the_smoothing_is_not_evaluated():
    scene = Scene()
    goal = Objective(scene.network, scene.content(choices("poly")), 0.0, None)
    assert goal(device_array(random_image())).smoothing_gradient is None


def test_the_weight_of_a_style_term_is_its_share_of_the_fusion_times_its_layers_weight():
    weights = {
        term.name: term.weight
        for term in Scene().style(choices(FUSION, layer_weights="relu2_1=4"))
    }
    assert weights == pytest.approx(
        {"bn/relu1_1": 0.3, "bn/relu2_1": 1.2, "poly/relu1_1": 0.7, "poly/relu2_1": 2.8}
    )


def test_the_constant_of_the_kernel_reaches_the_loss():
    assert {term.loss.c for term in Scene().style(choices("poly", c=5))} == {5}


@pytest.mark.parametrize(
    ("method", "option", "value"),
    [
        ("sliced", "directions", 7),
        ("rbf", "kernels", (0.5, 3.0)),
        ("fourier", "features", 6),
        ("cmd", "orders", 2),
        ("remd", "samples", 5),
    ],
)
def test_an_option_of_a_method_reaches_its_loss_and_changes_its_gradient(method, option, value):
    scene = Scene()
    terms = [scene.style(choices(method, **chosen)) for chosen in ({}, {option: value})]
    assert {getattr(term.loss, option) for term in terms[1]} == {value}
    default, changed = (evaluate(part, scene.network)[1] for part in terms)
    assert (default != changed).any()


def test_the_frequencies_of_fourier_depend_on_no_method_beside_it():
    features = Scene().network.forward(device_array(random_image()))

    def frequencies(method):
        streams = (numpy.random.RandomState(seed) for seed in (4, 5))
        targets = objective.style_targets(choices(method), features, *streams)
        return targets["fourier", "relu2_1"][0].frequencies.asnumpy()

    numpy.testing.assert_array_equal(frequencies("fourier"), frequencies("gaussian=1,fourier=1"))


def test_gaussian_pairs_are_drawn_anew_at_each_evaluation_and_from_the_seed_alone():
    scene = Scene()
    terms = scene.style(choices("gaussian"))
    image = device_array(random_image())

    def two_gradients(seed):
        goal = Objective(scene.network, terms, 0.0, numpy.random.RandomState(seed))
        return [goal(image).gradient.asnumpy() for _ in range(2)]

    first, second = two_gradients(seed=0)
    assert (first != second).any()
    numpy.testing.assert_array_equal(two_gradients(seed=0), [first, second])
    assert (two_gradients(seed=1)[0] != first).any()


def test_held_pairs_stay_until_they_are_drawn_anew():
    scene = Scene()
    image = device_array(random_image())
    goal = Objective(
        scene.network, scene.style(choices("gaussian")), 0.0, numpy.random.RandomState(0)
    )
    actual = []
    for _ in range(2):
        goal.hold()
        actual += [goal(image).gradient.asnumpy() for _ in range(2)]
    numpy.testing.assert_array_equal(actual[0], actual[1])
    numpy.testing.assert_array_equal(actual[2], actual[3])
    assert (actual[0] != actual[2]).any()


def test_a_term_draws_from_the_first_stream_unless_it_has_another():
    scene = Scene()
    terms = [
        Term(t.method, t.layer, t.loss, t.target, 1.0) for t in scene.style(choices("gaussian"))
    ]
    random, first, second = (numpy.random.RandomState(seed) for seed in (5, 6, 7))
    goal = Objective(scene.network, terms, 0.0, random, {0: first, 1: second})
    parts = goal(device_array(random_image())).parts.asnumpy()
    expected, _ = evaluate(terms, scene.network, seed=6)
    numpy.testing.assert_array_equal(parts, list(expected.values()))


@pytest.mark.parametrize(("method", "draws"), [("poly", False), ("bn=1,gaussian=1", True)])
def test_it_says_whether_it_draws(method, draws):
    scene = Scene()
    goal = Objective(scene.network, scene.style(choices(method)), 0.0, numpy.random.RandomState(0))
    assert goal.draws == draws


@pytest.mark.parametrize(
    ("method", "beta", "expected"),
    [
        ("poly", "paper", {"poly": PAPER_BETA["poly"]}),
        (FUSION, "paper", {"bn": 1e3, "poly": 0.1}),
        ("poly", 3, {"poly": 3.0}),
        (FUSION, "bn=5,poly=6", {"bn": 5.0, "poly": 6.0}),
        ("poly", "auto", None),
    ],
)
def test_beta_is_taken_as_given(method, beta, expected):
    assert objective.given_beta(Config(method=method, beta=beta)) == expected


def measured(scene, config, image, content=None, style=None):
    content = scene.content(config) if content is None else content
    style = scene.style(config) if style is None else style
    random = numpy.random.RandomState(0)
    return objective.measured_beta(
        config, scene.network, content, style, device_array(image), random
    )


WITHOUT_DRAWS = [method for method in METHODS if not losses.style_loss(method).draws]


@pytest.mark.parametrize("method", [*WITHOUT_DRAWS, "poly=5", FUSION])
def test_beta_auto_gives_each_method_the_norm_of_the_content_gradient(method):
    scene, config, image = Scene(), choices(method, beta="auto"), random_image()
    beta = measured(scene, config, image)
    _, content = evaluate(scene.content(config), scene.network)
    assert set(beta) == set(config.methods)
    for name, value in beta.items():
        _, style = evaluate(scene.style(choices(name)), scene.network)
        assert value * numpy.linalg.norm(style) == pytest.approx(
            numpy.linalg.norm(content), rel=1e-6
        )


def test_beta_auto_measures_the_gaussian_on_one_draw_near_its_usual_norm():
    scene, config = Scene(), choices("gaussian", beta="auto")
    beta = measured(scene, config, random_image())["gaussian"]
    norms = [
        numpy.linalg.norm(evaluate(scene.style(config), scene.network, seed=seed)[1])
        for seed in range(1, 9)
    ]
    _, content = evaluate(scene.content(config), scene.network)
    assert beta * numpy.median(norms) == pytest.approx(numpy.linalg.norm(content), rel=0.3)


def test_beta_auto_of_a_method_without_share_is_the_authors():
    scene, config = Scene(), choices("bn=0,poly=1", beta="auto")
    assert measured(scene, config, random_image())["bn"] == PAPER_BETA["bn"]


def test_beta_auto_cannot_be_measured_where_the_content_gradient_vanishes():
    assert measured(Scene(), choices("poly", beta="auto"), random_image(seed=2)) is None


def test_beta_auto_without_a_style_gradient_asks_for_a_number():
    scene, config = Scene(), choices("poly", beta="auto", layer_weights="relu1_1=0,relu2_1=0")
    with pytest.raises(ConfigError, match="poly style loss has no gradient") as caught:
        measured(scene, config, random_image())
    assert caught.value.field == "beta"


def test_the_weight_of_a_content_term_is_1_before_it_is_scaled():
    content = Scene().content(choices("poly"))
    assert [term.weight for term in content] == [1.0]
    assert [term.weight for term in objective.scaled(content, {"content": 3.0})] == [3.0]


@pytest.mark.parametrize(
    ("degrees", "expected"), [((), 2), ((1,), 1), ((None, 1), 2), ((4, 1), 4)]
)
def test_the_degree_is_the_highest_of_a_loss_which_is_2_unless_it_says_another(degrees, expected):
    class Loss:
        def __init__(self, degree):
            if degree is not None:
                self.degree = degree

    terms = [Term("m", f"relu1_{n}", Loss(degree), None, 1.0) for n, degree in enumerate(degrees)]
    assert Objective(None, terms, 0.0, None).degree == expected


def test_an_evaluation_without_gradients_keeps_the_numbers_alone():
    scene = Scene()
    goal = Objective(scene.network, scene.content(choices("poly")), 0.1, None)
    whole = goal(device_array(random_image()))
    numbers = whole.without_gradients()
    assert numbers.gradient is None and numbers.smoothing_gradient is None
    assert (numbers.parts, numbers.gradient_norm) == (whole.parts, whole.gradient_norm)
    assert whole.gradient is not None


@pytest.mark.parametrize("mass", [1 - 1e-6, numpy.nextafter(1 - 1e-6, 0)])
def test_a_layer_has_a_term_if_the_mask_covers_a_position_but_for_a_millionth(mass):
    scene, config = Scene(), choices("poly", style_layers="relu1_1")
    targets = {(term.method, term.layer): term.target for term in scene.style(config)}
    mask = numpy.zeros(SHAPE[2:])
    mask[2, 3] = mass
    group = Group((), config.methods, 1.0, mask)
    terms = objective.style_terms(config, targets, group, device_array([0.0]))
    assert len(terms) == (mass >= 1 - 1e-6)


@pytest.mark.parametrize(
    ("weight", "tv_weight", "expected"),
    [
        (math.inf, 1e308, "the loss poly/relu1_1"),
        (1.0, 1e308, "the loss smoothing"),
        (1.0, 0.5, "the gradient on the image"),
        (1.0, 0.0, "the gradient on the image"),
    ],
)
def test_the_smoothing_is_named_if_no_term_is_not_finite(weight, tv_weight, expected):
    scene = Scene()
    style = scene.style(choices("poly", style_layers="relu1_1"))
    terms = objective.scaled(style, {"poly": weight})
    goal = Objective(scene.network, terms, tv_weight, None)
    assert goal.non_finite(device_array(random_image())) == expected


def test_parts_that_are_not_finite_are_named():
    scene = Scene()
    style = objective.scaled(scene.style(choices("poly")), {"poly": 1e308 * 10})
    goal = Objective(scene.network, scene.content(choices("poly")) + style, 0.0, None)
    actual = goal.non_finite(device_array(random_image()))
    assert "the loss poly/relu1_1" in actual and "poly/relu2_1" in actual
    assert "content" not in actual
