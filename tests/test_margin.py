"""The margin around the image while it is optimised: what it changes, and that it is cut off."""

import math
from dataclasses import replace

import numpy
import pytest

from nst_cli import Config, engine, machine, transfer
from nst_cli.errors import ConfigError, EngineError, NonFiniteError
from nst_cli.runs import forecast, provenance
from nst_cli.synthesis import memory
from nst_cli.synthesis.kit import NetworkKit
from nst_cli.synthesis.margin import margin_of, padded_size, with_margin, without_margin

SHAPE = (1, 3, 20, 24)


def random_image(seed, shape=SHAPE):
    values = numpy.random.RandomState(seed).uniform(-100, 100, shape)
    return values.astype(numpy.float32)


CONTENT, STYLE, START = random_image(1), random_image(2, (1, 3, 18, 33)), random_image(3)


def choices(**others):
    defaults = {
        "style_layers": "relu1_1,relu2_1", "content_layers": "relu2_2", "device": "cpu",
        "iterations": 3, "beta": "auto", "gamma": 1, "stop_eps": 0,
    }  # fmt: skip
    return Config(**{**defaults, **others})


# The arrays


@pytest.mark.parametrize("shape", [(5, 7), (1, 3, 5, 7)])
def test_the_margin_is_the_reflection_of_the_picture(shape):
    array = numpy.arange(math.prod(shape), dtype=numpy.float32).reshape(shape)
    wide = with_margin(array, 3)
    assert wide.shape == (*shape[:-2], 11, 13)
    numpy.testing.assert_array_equal(without_margin(wide, 3), array)
    numpy.testing.assert_array_equal(wide[..., 2, 3:-3], array[..., 1, :])
    numpy.testing.assert_array_equal(wide[..., 3:-3, -1], array[..., :, -4])


def test_a_margin_wider_than_the_picture_repeats_the_reflections():
    array = numpy.tile(numpy.arange(4.0), (4, 1))
    wide = with_margin(array, 7)
    assert wide.shape == (18, 18)
    assert wide[0].tolist() == [1, 0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2]


def test_without_a_margin_nothing_is_copied():
    assert with_margin(CONTENT, 0) is CONTENT and without_margin(CONTENT, 0) is CONTENT


# Transfers


@pytest.mark.usefixtures("small_network")
class TestTransfers:
    @pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
    def test_a_margin_is_a_larger_picture_that_is_cut_off(self, optimizer):
        wide_content, wide_start = (with_margin(image, 6) for image in (CONTENT, START))
        config = choices(optimizer=optimizer)
        expected = transfer(wide_content, STYLE, config, init=wide_start)
        records = []
        result = transfer(
            CONTENT, STYLE, replace(config, margin=6), init=START, on_step=records.append
        )
        numpy.testing.assert_array_equal(result.image, expected.image[..., 6:-6, 6:-6])
        assert (result.losses, result.beta) == (expected.losses, expected.beta)
        numpy.testing.assert_array_equal(records[-1].image, result.image)

    def test_it_changes_the_border_more_than_the_middle(self):
        config = choices(optimizer="lbfgs", iterations=10)
        narrow, wide = (
            transfer(CONTENT, STYLE, replace(config, margin=margin), init=START).image
            for margin in (0, 8)
        )
        change = abs(wide - narrow).mean(axis=(0, 1))
        inside = change[6:-6, 6:-6].mean()
        assert change.mean() > inside > 0

    def test_results_and_records_of_every_scale_have_the_contents_size(self):
        content, records = random_image(1, (1, 3, 40, 48)), []
        result = transfer(content, STYLE, choices(margin=5, scales=2), on_step=records.append)
        assert result.image.shape == content.shape
        assert {record.shape for record in records} == {(1, 3, 20, 24), content.shape}
        assert {record.image.shape for record in records} == {content.shape}

    def test_the_last_good_image_before_a_failure_has_the_contents_size(self):
        config = choices(margin=4, lr=1e4, tv_weight=0, iterations=100, init="content", beta=1)
        with pytest.raises(NonFiniteError) as caught:
            transfer(CONTENT, STYLE, config)
        assert caught.value.result.image.shape == CONTENT.shape

    def test_a_shared_kit_gives_the_results_of_single_runs(self):
        kit = NetworkKit()
        for margin in (0, 4, 0, 9):
            config = choices(margin=margin)
            shared = transfer(CONTENT, STYLE, config, kit=kit).image
            numpy.testing.assert_array_equal(shared, transfer(CONTENT, STYLE, config).image)

    def test_the_smallest_picture_takes_a_margin_wider_than_itself(self):
        content = random_image(1, (1, 3, 16, 16))
        assert transfer(content, STYLE, choices(margin=40)).image.shape == content.shape


# Options, memory and records


def test_preset_fast_has_a_margin_and_preset_paper_none():
    for size, margin in (((600, 450), 16), ((300, 240), 10), ((300, 128), 8), ((16, 24), 2)):
        assert margin_of(Config(preset="fast"), size) == margin
        assert margin_of(Config(), size) == 0
        assert margin_of(Config(margin="7"), size) == 7


@pytest.mark.parametrize("margin", [-1, 1.5, 1025, "wide"])
def test_an_impossible_margin_is_refused_in_one_line(margin):
    with pytest.raises(ConfigError, match="margin") as caught:
        Config(margin=margin)
    assert "\n" not in str(caught.value)


def test_the_forecast_of_a_margin_is_that_of_the_larger_picture():
    narrow, wide = Config(device="cpu"), Config(device="cpu", margin=20)
    assert padded_size(wide, (100, 80)) == (140, 120)
    assert memory.memory(wide, (100, 80), (100, 80)) == memory.memory(
        narrow, (140, 120), (100, 80)
    )


@pytest.mark.parametrize("size", [(1000, 750), (300, 1000), (1000, 1000)])
def test_the_size_that_would_fit_fits_with_its_margin(monkeypatch, size):
    config = Config(device="cpu", size=1000, margin=300, tile="off")
    monkeypatch.setattr(engine, "free_memory", lambda device: 35 * 10**8)
    monkeypatch.setattr(machine, "own_memory", lambda: 5 * 10**8)
    with pytest.raises(EngineError, match="--size") as failure:
        forecast.check_memory(config, size, size)
    fitting = int(str(failure.value).split("--size ")[1].split()[0])
    smaller = [round(side * fitting / 1000) for side in size]
    assert 1.25 * memory.memory(config, smaller, smaller) <= 4e9 * (1 + 1e-3)


def test_the_forecast_of_time_counts_the_margin(monkeypatch):
    monkeypatch.setattr(forecast, "_timed", lambda content, *_: (1.0, 1.0 * content.size))
    content = random_image(1, (1, 3, 60, 60))
    narrow, wide = (
        forecast.forecast(content, content, Config(device="cpu", margin=margin, scales=1))
        for margin in (0, 30)
    )
    # One trial, at the full size: both steps take what was measured.
    assert narrow.step_seconds == pytest.approx(wide.step_seconds)
    assert narrow.sizes == wide.sizes == [(60, 60)]


def test_a_record_from_before_there_was_a_margin_means_none():
    plain = Config(preset="fast").to_dict()
    source = {"path": "a.png", "sha256": "0" * 64}
    document = {
        "program": "nst", "config": plain, "content": source, "style": source, "init": None,
        "weights": {"source": "w", "sha256": "0" * 64}, "steps": 1, "stop_reason": "converged",
        "beta": {}, "losses": {}, "versions": {},
    }  # fmt: skip
    assert provenance.parse(document).config().margin == "auto"
    del plain["margin"]
    assert provenance.parse(document).config().margin == 0
