"""Preset `fast` against preset `paper`, on the real network and real pictures."""

import functools
from unittest import mock

import numpy
import pytest

from nst_cli import Config, bench, images, machine, transfer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair(pictures, real_weights):
    content = images.read(pictures / "golden_gate.jpg")
    style = images.read(pictures / "starry_night.jpg")
    shape = images.fit(content.pixels.shape, 128)
    return [images.to_input(images.resize(picture.pixels, shape)) for picture in (content, style)]


@pytest.fixture(scope="module")
def judged(pair, real_weights):
    """Return a function: the objective in float32 at an image; for gaussian, over 20 draws."""

    def judge(image, method):
        with mock.patch.object(bench, "_DRAWS", 20):
            return bench.final_loss(image, *pair, Config(method=method, weights=str(real_weights)))

    return judge


@pytest.fixture(scope="module")
def make_image(pair, real_weights):
    """Return a function that makes an image by a preset in a number of steps."""

    @functools.cache
    def make(**choices):
        # Preset paper has no margin, and its loss counts the frame along the border.
        fixed = {"stop_eps": 0, "stop_decrease": 0, "margin": 0}
        config = Config(**fixed, weights=str(real_weights), **choices)
        return transfer(*pair, config).image

    return make


@pytest.mark.parametrize(("method", "steps"), [("poly", 40), ("bn", 60), ("linear", 60)])
def test_preset_fast_is_below_the_authors_loss_in_a_third_of_the_steps(
    make_image, judged, method, steps
):
    paper = judged(make_image(preset="paper", method=method, iterations=3 * steps), method)
    fast = judged(make_image(preset="fast", method=method, iterations=steps, scales=1), method)
    assert fast < paper


def test_gaussian_by_fourier_features_is_below_the_authors_loss_by_pairs(make_image, judged):
    paper = judged(make_image(preset="paper", method="gaussian", iterations=150), "gaussian")
    fast = judged(
        make_image(preset="fast", method="gaussian", iterations=30, scales=1), "gaussian"
    )
    assert fast < paper


def frame(pixels):
    """Return the mean luminance of the outer 4 pixels less that of the next 12."""
    luminance = pixels @ numpy.array([0.299, 0.587, 0.114])
    rows, columns = (numpy.minimum(n, n[::-1]) for n in map(numpy.arange, luminance.shape))
    depth = numpy.minimum(rows[:, None], columns)
    return luminance[depth < 4].mean() - luminance[(depth >= 4) & (depth < 16)].mean()


def test_the_margin_weakens_the_frame_along_the_border(pictures, real_weights):
    excess = dict.fromkeys((0, "auto"), 0.0)
    for names in (("tubingen", "candy"), ("brad_pitt", "picasso_selfport1907")):
        content, style = (images.read(pictures / f"{name}.jpg").pixels for name in names)
        content, style = (
            images.resize(each, images.fit(each.shape, 128)) for each in (content, style)
        )
        for margin in excess:
            config = Config(preset="fast", margin=margin, weights=str(real_weights))
            result = transfer(images.to_input(content), images.to_input(style), config)
            excess[margin] += abs(frame(images.to_pixels(result.image)) - frame(content))
    assert excess["auto"] < 0.85 * excess[0]


@pytest.mark.parametrize(
    "precision",
    [
        pytest.param(
            "bfloat16",
            marks=pytest.mark.skipif("avx512_bf16" not in machine.cpu_flags(), reason="float32"),
        ),
        "float16",
    ],
)
def test_low_precision_reaches_the_loss_of_float32(make_image, judged, precision):
    exact, rounded = (
        judged(make_image(preset="fast", iterations=40, scales=1, precision=one), "poly")
        for one in ("float32", precision)
    )
    assert rounded == pytest.approx(exact, rel=0.02)
