"""Pictures and options at the ends of their ranges: results are finite, and losses fall.

L-BFGS searches for a lower loss, so no run of it ends above its start. SGD and Adam take steps of
a fixed length, as in the authors' code, and may pass a minimum that the start is near to: then a
shorter step from the same start must lower the loss. Losses that draw at random are compared under
the same draw. `make test-numbers` runs every case, and the quick tests a few of each kind.
"""

import dataclasses
import math
import os

import numpy
import pytest
from extremes import PAIRS, SIDES, flat, noise

from nst_cli import Config, NonFiniteError, StyleImage, engine, images, machine, transfer
from nst_cli.config import METHODS, OPTIMIZERS
from nst_cli.errors import ConfigError
from nst_cli.synthesis import steps
from nst_cli.synthesis.kit import NetworkKit
from nst_cli.synthesis.state import State

FUSION = "bn=0.3,poly=0.7,sliced=0.5"
ALL_METHODS = (*METHODS, FUSION)

#: Down to a layer with fewer positions than channels, and without the large convolutions below.
DEEP = {
    "style_layers": "relu1_1,relu2_1,relu3_1,relu4_1",
    "content_layers": "relu3_1",
    "iterations": 3,
}
SHALLOW = {"style_layers": "relu1_1,relu2_1", "content_layers": "relu2_1", "iterations": 3}

without_bfloat16 = pytest.mark.skipif(
    "avx512_bf16" not in machine.cpu_flags(), reason="no AVX-512 BF16 here"
)
PRECISIONS = ["float32", "float16", pytest.param("bfloat16", marks=without_bfloat16)]


@pytest.fixture(scope="module")
def kit():
    """Networks that the tests of this file share."""
    return NetworkKit()


class Run:
    """A transfer between two pictures, and the objective at its start and its end."""

    def __init__(self, pair, kit, style=None, **choices):
        self.content, self.style = map(images.to_input, pair)
        self.style = style or self.style
        choices = {"weights": "builtin", "tile": "off", "stop_eps": 0, **choices}
        self.config, self._kit, self.totals = Config(**choices), kit, []
        self.result = self._made(self.config, on_step=self._add)
        if self.result.beta and self.config.beta == "auto":
            beta = ",".join(f"{name}={value!r}" for name, value in self.result.beta.items())
            self.config = dataclasses.replace(self.config, beta=beta)

    def _add(self, record):
        self.totals.append(record.losses["total"])

    def _made(self, config, **options):
        return transfer(self.content, self.style, config, kit=self._kit, **options)

    def is_finite(self):
        """Return whether the picture and all losses are."""
        numbers = [*self.totals, *self.result.losses.values(), *self.result.beta.values()]
        return bool(numpy.isfinite(self.result.image).all()) and all(map(math.isfinite, numbers))

    def at(self, init=None):
        """Return the objective at an image, by default the start, under the first draw."""
        without_steps = dataclasses.replace(self.config, iterations=0)
        return self._made(without_steps, init=init).losses["total"]

    def falls(self):
        """Return whether the loss is not above that of the start, or a shorter step lowers it."""
        start = self.at()
        # Sums in float32 round.
        if self.at(self.result.image) <= start + 1e-6 * abs(start):
            return True
        if self.config.optimizer == "lbfgs":
            return False
        for shorter in range(1, 10):
            rate = self.config.learning_rate / 4**shorter
            step = dataclasses.replace(self.config, iterations=1, lr=rate)
            if self.at(self._made(step).image) < start:
                return True
        return False


def check(pairs, kit, **choices):
    """Check runs between pairs, by name; all failures are in one message."""
    failures = []
    for name in pairs:
        run = Run(PAIRS[name], kit, **choices)
        if not run.is_finite():
            failures.append(f"{name}: not finite")
        elif not run.falls():
            failures.append(f"{name}: from {run.at():g} to {run.at(run.result.image):g}")
    assert not failures, failures


@pytest.mark.parametrize("place", range(len(ALL_METHODS)))
def test_a_loss_falls_on_each_kind_of_picture(place, kit):
    # Every method and optimiser, and most pairs.
    names = list(PAIRS)[place : place + 1]
    optimizer = OPTIMIZERS[place % len(OPTIMIZERS)]
    choices = {**SHALLOW, "iterations": 1}
    check(names, kit, method=ALL_METHODS[place], optimizer=optimizer, **choices)


@pytest.mark.parametrize("gamma", [1e-6, 1e6, 1e20])
def test_lbfgs_lowers_the_loss_whatever_gamma_is(gamma, kit):
    run = Run(PAIRS["noise"], kit, optimizer="lbfgs", gamma=gamma, **SHALLOW)
    assert run.is_finite() and run.result.steps == 3
    assert run.result.losses["total"] < run.totals[0]


def test_lbfgs_lowers_tiny_losses_too(kit):
    run = Run(
        PAIRS["noise"], kit, optimizer="lbfgs", alpha=1e-25, gamma=1e-25, tv_weight=0, **SHALLOW
    )
    assert run.result.steps == 3 and run.result.losses["total"] < 0.9 * run.totals[0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_factor_too_large_for_float32_is_named_and_the_start_kept(optimizer, kit):
    for name, choices in {"gamma": {"gamma": 1e30}, "alpha": {"alpha": 1e30}}.items():
        with pytest.raises(NonFiniteError, match=f"a smaller {name} or lr may help") as error:
            Run(PAIRS["noise"], kit, optimizer=optimizer, **choices, **SHALLOW)
        assert str(error.value).startswith("At the start" if optimizer == "lbfgs" else "Step 1: ")
        assert numpy.isfinite(error.value.result.image).all()


def test_a_smoothing_that_diverges_is_named(kit):
    with pytest.raises(NonFiniteError, match="the loss smoothing is not finite; a smaller tv_w"):
        Run(PAIRS["noise"], kit, gamma=0, tv_weight=1e15, **SHALLOW)


@pytest.mark.parametrize("name", ["alpha", "gamma", "beta", "tv_weight", "lr", "c", "stop_eps"])
def test_a_weight_that_float32_cannot_hold_is_refused(name):
    for value in (5e-324, 1e-300, 1e-31, 1e31, 1e300):
        with pytest.raises(ConfigError, match=f"{name} is .*; it must be"):
            Config(**{name: value})
    for value in (1e-30, 1e30):
        assert getattr(Config(**{name: value}), name) == value


def test_products_of_the_least_weights_are_still_numbers_for_mxnet(kit):
    least = {"layer_weights": "relu1_1=1e-30,relu2_1=1e-30", "beta": 1e-30, "gamma": 1e-30}
    for method in ("gaussian", "wasserstein", "fourier"):
        run = Run(PAIRS["gradients"], kit, method=method, **{**SHALLOW, **least, "iterations": 1})
        assert run.is_finite()


def test_what_mxnet_and_onednn_keep_for_each_shape_is_bounded():
    engine.load()
    names = "MXNET_MKLDNN_CACHE_NUM", "DNNL_PRIMITIVE_CACHE_CAPACITY"
    assert all(0 < int(os.environ[name]) < 1024 for name in names)


def test_sgd_goes_on_after_its_learning_rate_has_vanished():
    image = engine.array(numpy.ones((1, 3, 16, 16)), engine.context("cpu"))

    def goal(image):
        norm = engine.nd.ones((1,))
        return steps.Evaluation(engine.nd.ones((1,)), image.copy(), norm, None)

    late = State({"steps": 80 * 10_000}, {"momentum": numpy.zeros((1, 3, 16, 16), numpy.float32)})
    step = next(iter(steps.SGD(goal, image, 1e-3, late)))
    assert (step.image.asnumpy() == 1).all()


def test_a_mask_may_cover_a_single_position(kit):
    mask = numpy.zeros(SIDES)
    mask[7, 11] = 1
    picture = images.to_input(noise(3))
    style = StyleImage((picture,), mask=mask, style_masks=(mask,))
    for method in ("poly", "gaussian", "sliced", "remd"):
        pair = flat(128), noise(3)
        run = Run(
            pair, kit, style=style, method=method, optimizer="lbfgs",
            style_layers="relu1_1", content_layers="relu1_1", iterations=1,
        )  # fmt: skip
        assert run.is_finite() and run.falls(), method


@pytest.mark.long
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", ALL_METHODS)
def test_every_method_lowers_its_loss_on_every_pair(method, optimizer, precision, kit):
    check(PAIRS, kit, method=method, optimizer=optimizer, precision=precision, **DEEP)


@pytest.mark.long
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", ALL_METHODS)
def test_gamma_may_be_anything_from_a_millionth_to_a_million(method, optimizer, kit):
    for gamma in (1e-6, 1e-3, 1.0, 1e3, 1e6):
        for choices in ({}, {"alpha": 0}):
            check(
                ["noise", "flat", "bright-pixel", "same-noise"], kit, method=method,
                optimizer=optimizer, gamma=gamma, **choices, **SHALLOW,
            )  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", ALL_METHODS)
def test_a_measured_beta_is_finite_or_refused_in_a_line(method, optimizer, kit):
    for name in PAIRS:
        for init in ("random", "content", "style"):
            choices = {**SHALLOW, "method": method, "optimizer": optimizer, "init": init}
            try:
                run = Run(PAIRS[name], kit, beta="auto", **choices)
            except ConfigError as error:
                assert str(error).startswith("beta auto: ") and "has no gradient" in str(error)
            else:
                assert run.is_finite(), name


@pytest.mark.long
@pytest.mark.parametrize("preset", ["paper", "fast"])
@pytest.mark.parametrize("method", ALL_METHODS)
def test_the_presets_give_finite_pictures_of_every_pair(method, preset, kit):
    for name in PAIRS:
        run = Run(PAIRS[name], kit, preset=preset, method=method, iterations=2)
        assert run.is_finite(), name


@pytest.mark.long
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["alpha", "gamma", "beta", "tv_weight", "lr", "c"])
def test_any_weight_gives_a_finite_picture_or_an_error_that_keeps_the_last(name, optimizer, kit):
    for value in (1e-30, 1e-10, 1e-3, 1e3, 1e10, 1e20, 1e30):
        for method in ("poly", "bn", "gaussian", "wasserstein"):
            choices = {**SHALLOW, "method": method, "optimizer": optimizer, name: value}
            try:
                assert Run(PAIRS["noise"], kit, **choices).is_finite(), choices
            except NonFiniteError as error:
                assert numpy.isfinite(error.result.image).all(), choices
