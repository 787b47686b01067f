"""Forecasts of a run: memory, time, and the size that would fit."""

import math
from dataclasses import replace

import numpy
import pytest

from nst_cli import Config, bench, engine, machine
from nst_cli.errors import EngineError
from nst_cli.runs import forecast
from nst_cli.synthesis import basis, memory, tiles

SHALLOW = {"style_layers": "relu1_1,relu2_1", "content_layers": "relu2_1", "weights": "builtin"}


def noise(seed, *size):
    values = numpy.random.RandomState(seed).uniform(-100, 100, (1, 3, *size))
    return values.astype(numpy.float32)


def test_memory_is_linear_in_the_number_of_pixels():
    config = Config(device="cpu")
    one, two, four = (memory.memory(config, (side, 100), (1, 1)) for side in (100, 200, 400))
    assert four - two == pytest.approx(2 * (two - one), abs=4)


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ({"method": "gaussian"}, {}),
        ({"method": "histogram"}, {}),
        ({"method": "wasserstein"}, {}),
        ({"method": "sliced", "directions": 64}, {"method": "sliced"}),
        ({"method": "fourier", "features": 256}, {"method": "fourier"}),
        ({"method": "remd", "samples": 4096}, {"method": "remd"}),
        ({"method": "bn=0.5,poly=0.5"}, {}),
        ({"optimizer": "lbfgs"}, {}),
        ({}, {"style_layers": "relu3_1", "content_layers": "relu3_1"}),
        ({"style_layers": "relu5_1"}, {"style_layers": "relu5_1", "gamma": 0}),
    ],
)
def test_a_run_that_needs_more_memory_has_a_higher_forecast(more, less):
    size = (400, 300), (400, 300)
    more, less = (Config(device="cpu", **choices) for choices in (more, less))
    assert memory.memory(more, *size) > memory.memory(less, *size)


def test_transformed_kernels_count_once_whatever_the_size():
    more, less = (Config(device="cpu", convolution=kind) for kind in ("winograd", "direct"))
    actual = {
        memory.memory(more, size, size) - memory.memory(less, size, size)
        for size in ((100, 90), (500, 300))
    }
    # conv2_2; conv3_1 and three more; conv4_1 and three more; conv5_1.
    pairs = 128**2 + 128 * 256 + 3 * 256**2 + 256 * 512 + 4 * 512**2
    assert actual == {4 * 36 * pairs}


def test_a_large_style_picture_raises_the_forecast_for_a_small_content():
    config = Config(device="cpu")
    small = memory.memory(config, (100, 100), (100, 100))
    assert memory.memory(config, (100, 100), (120, 120)) == small
    assert memory.memory(config, (100, 100), (1000, 1000)) > 2 * small


def test_an_error_for_a_run_that_does_not_fit_names_the_size_that_does(monkeypatch):
    config, size = Config(device="cpu", size=1000, tile="off"), (1000, 750)
    monkeypatch.setattr(engine, "free_memory", lambda device: 10**9)
    monkeypatch.setattr(machine, "own_memory", lambda: 5 * 10**8)
    with pytest.raises(
        EngineError, match="takes up to .* 1.5 GB are available; --size"
    ) as failure:
        forecast.check_memory(config, size, size)
    fitting = int(str(failure.value).split("--size ")[1].split()[0])
    for edge, fits in ((fitting, True), (fitting + 2, False)):
        smaller = [round(side * edge / 1000) for side in size]
        # RESULTS.md has runs that took 1.22 of the forecast.
        assert (1.25 * memory.memory(config, smaller, smaller) <= 1.5e9 * (1 + 1e-3)) == fits
    monkeypatch.setattr(engine, "free_memory", lambda device: 10**11)
    forecast.check_memory(config, size, size)


def test_no_size_is_suggested_if_none_fits(monkeypatch):
    monkeypatch.setattr(engine, "free_memory", lambda device: 0)
    monkeypatch.setattr(machine, "own_memory", lambda: 10**8)
    with pytest.raises(EngineError, match="free some memory first"):
        forecast.check_memory(Config(device="cpu"), (600, 600), (600, 600))


def test_nothing_is_refused_if_the_free_memory_is_unknown(monkeypatch):
    monkeypatch.setattr(engine, "free_memory", lambda device: None)
    forecast.check_memory(Config(device="cpu"), (5700, 5700), (16, 16))


@pytest.mark.parametrize(
    ("choices", "size"),
    [
        ({"tile": "off"}, (2900, 2900)),
        ({"tile": "off", "method": "gaussian"}, (2400, 2400)),
        # In tiles, the map after the second pooling.
        ({"optimizer": "lbfgs"}, (11600, 11600)),
    ],
)
def test_a_size_beyond_mxnets_largest_array_is_refused_with_the_size_that_fits(
    monkeypatch, choices, size
):
    monkeypatch.setattr(engine, "free_memory", lambda device: None)
    config = Config(device="cpu", size=size[0], **choices)
    with pytest.raises(EngineError, match="too large for MXNet.*--size") as failure:
        forecast.check_memory(config, size, (16, 16))
    fitting = int(str(failure.value).split("--size ")[1].split()[0])
    assert 0.95 * size[0] < fitting < size[0]
    forecast.check_memory(config, (fitting, fitting), (16, 16))
    with pytest.raises(EngineError, match="too large for MXNet"):
        forecast.check_memory(config, (fitting + 2, fitting + 2), (16, 16))


def test_a_style_picture_beyond_mxnets_largest_array_is_refused_too(monkeypatch):
    monkeypatch.setattr(engine, "free_memory", lambda device: None)
    with pytest.raises(EngineError, match="too large for MXNet"):
        config = Config(device="cpu", size=6000, tile="off")
        forecast.check_memory(config, (6000, 100), (6000, 6000))


def test_if_no_step_is_made_the_forecast_is_the_time_of_an_evaluation():
    choices = {"preset": "fast", "gamma": 0, "tv_weight": 0, "size": 48, "iterations": 20}
    config = Config(device="cpu", **choices, **SHALLOW)
    # At the content its loss is 0, so L-BFGS finds no lower point.
    prediction = forecast.forecast(noise(0, 48, 32), noise(1, 32, 48), config)
    assert 0 < prediction.step_seconds < math.inf and 0 < prediction.seconds < math.inf
    none = forecast.forecast(noise(0, 48, 32), noise(1, 32, 48), Config(
        device="cpu", iterations=0, size=48, **SHALLOW,
    ))  # fmt: skip
    assert none.steps == [0] and 0 < none.seconds < math.inf


@pytest.mark.parametrize("edge", [16, 40, 159, 160, 161, 200, 320, 1000])
def test_the_two_trial_sizes_differ_by_a_factor_of_two(monkeypatch, edge):
    tried = []

    def timed(content, style, config, weights):
        tried.append(content.shape[2:])
        return 1.0, 0.5

    monkeypatch.setattr(forecast, "_timed", timed)
    forecast._trial(noise(0, edge, edge), noise(1, 20, 20), Config(device="cpu"), None)
    pixels = [math.prod(size) for size in tried]
    assert len(pixels) == (1 if edge < 160 else 2)
    assert max(pixels) <= 320**2 and pixels[-1] >= 3.9 * pixels[0] * (len(pixels) > 1)


@pytest.mark.parametrize("later", [0.1, 0.5, 0.9, 100.0])
def test_times_are_never_negative_and_grow_with_the_pixels(later):
    # For the trial sizes, and the small scales below them.
    seconds = forecast._line([(100, 0.5), (400, later)])
    times = [seconds((1, pixels)) for pixels in (1, 25, 99, 100, 101, 400, 10000)]
    assert all(time > 0 for time in times) and times == sorted(times)


def test_the_time_is_the_sum_over_all_scales_and_steps():
    config = Config(size=96, device="cpu", scales=2, iterations=30, **SHALLOW)
    content, style = noise(0, 96, 64), noise(1, 64, 96)
    prediction = forecast.forecast(content, style, config)
    assert prediction.sizes == [(48, 32), (96, 64)] and prediction.steps == [10, 30]
    assert 29 * prediction.step_seconds < prediction.seconds < math.inf


@pytest.mark.slow
@pytest.mark.parametrize(
    "choices", [{}, {"preset": "fast", "method": "gaussian"}], ids=["paper", "fast"]
)
def test_the_memory_of_a_run_is_within_a_fifth_of_the_forecast(real_weights, choices):
    config = Config(iterations=4, stop_eps=0, device="cpu", weights=real_weights, **choices)
    content, style = noise(0, 384, 320), noise(1, 384, 320)
    measured = bench.in_new_process(bench.timed, content, style, config)
    predicted = memory.memory(config, (384, 320), (384, 320))
    # The model is off by up to 14 %, and runs differ by the placement of their arrays.
    assert measured.memory == pytest.approx(predicted, rel=0.2)


def test_a_run_that_fits_in_tiles_is_accepted_and_its_forecast_grows_with_what_is_kept(
    monkeypatch,
):
    monkeypatch.setattr(engine, "free_memory", lambda device: 10 * 10**9)
    monkeypatch.setattr(machine, "own_memory", lambda: 0)
    config, size = Config(device="cpu", preset="fast", size=4000), (3000, 4000)
    forecast.check_memory(config, size, size)
    with pytest.raises(EngineError, match="Not enough memory"):
        forecast.check_memory(replace(config, tile="off"), size, size)
    # Numbers per pixel: 24 for each remembered step of L-BFGS.
    by_lbfgs, by_sgd = (
        memory.memory(replace(config, optimizer=name), size, size) for name in ("lbfgs", "sgd")
    )
    assert by_lbfgs - by_sgd > 5 * 24 * 12e6


def test_the_work_of_tiles_is_half_more_and_that_of_their_halos():
    layers = ("relu4_2", "relu5_1")
    one, few, many = (
        tiles.work((1, 3, 1640, 730), layers, tile_bytes)
        for tile_bytes in (1 << 40, 1 << 28, 1 << 24)
    )
    assert one == 1.5 < few < 1.9 < many


def test_a_step_at_a_smaller_scale_without_tiles_counts_less_than_its_pixels():
    config, sizes = Config(device="cpu"), [(500, 600), (1000, 1200)]
    assert memory.work_at(config, sizes, None) == pytest.approx((0.25, 1), rel=0.02)
    tiling = memory.Tiling(64 << 20, scales=(0, 64 << 20))
    small, full = memory.work_at(config, sizes, tiling)
    assert full == 1 and 0.25 / 2.5 < small < 0.25 / 1.5


def test_more_styles_masks_and_pictures_take_more_memory():
    config, size = Config(device="cpu"), (300, 400)
    one = memory.memory(config, size, size)
    two = memory.memory(config, size, size, groups=2)
    assert one < two < memory.memory(config, size, size, groups=2, masked=True)
    # The others of a folder are only kept as pictures.
    assert one < memory.memory(config, size, size, size, size) < 1.01 * one


def test_the_transforms_of_l_bfgs_grow_faster_than_the_pixels(monkeypatch):
    monkeypatch.setattr(basis, "line_seconds", lambda device, length: length**2.0)
    config = Config(device="cpu", optimizer="lbfgs")
    assert forecast._transform_seconds(replace(config, optimizer="sgd"), (30, 40)) == 0
    small, large = (forecast._transform_seconds(config, size) for size in ((30, 40), (60, 80)))
    assert large == 8 * small and small == 2 * 3 * (30 * 40**2 + 40 * 30**2)
