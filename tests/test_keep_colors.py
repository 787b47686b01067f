"""Keeping the content's colours: the conversions, and runs in each mode."""

from pathlib import Path

import numpy
import pytest
from click.testing import CliRunner
from PIL import Image

from nst_cli import Config, cli, images
from nst_cli.config import KEEP_COLORS
from nst_cli.images import arrays, kept
from nst_cli.runs import runner
from nst_cli.synthesis.kit import NetworkKit

MODES = [mode for mode in KEEP_COLORS if mode != "off"]


def colours(seed, height=24, width=32, mean=(120, 110, 130), deviations=(20, 12, 6)):
    """Return pixels with correlated colours in the middle of the range, (H, W, 3)."""
    random = numpy.random.RandomState(seed)
    turn, _ = numpy.linalg.qr(random.standard_normal((3, 3)))
    draws = random.uniform(-1.7, 1.7, (height, width, 3)) * deviations
    return (draws @ turn.T + mean).astype(numpy.float32)


def moments(pixels):
    flat = pixels.reshape(-1, pixels.shape[-1]).astype(float)
    return flat.mean(axis=0), numpy.cov(flat.T, bias=True)


CONTENT, STYLE = colours(1), colours(2, 30, 20, (90, 140, 100), (30, 20, 9))


# The conversions


def test_match_gives_the_style_mean_and_covariance_of_the_content():
    mean, covariance = moments(kept.style_pixels("match", STYLE, CONTENT))
    new_mean, new_covariance = moments(CONTENT)
    numpy.testing.assert_allclose(mean, new_mean, atol=1e-3)
    numpy.testing.assert_allclose(covariance, new_covariance, atol=1e-2)


def test_match_does_not_depend_on_the_order_of_the_channels():
    reversed_order = kept.style_pixels("match", STYLE[..., ::-1], CONTENT[..., ::-1])
    expected = kept.style_pixels("match", STYLE, CONTENT)
    numpy.testing.assert_allclose(reversed_order[..., ::-1], expected, atol=1e-3)


def test_match_moves_the_colours_less_than_the_maps_by_cholesky_and_by_roots():
    def root(matrix):
        values, vectors = numpy.linalg.eigh(matrix)
        return (vectors * numpy.sqrt(values)) @ vectors.T

    (mean, covariance), (new_mean, new_covariance) = moments(STYLE), moments(CONTENT)
    moved = numpy.square(kept.style_pixels("match", STYLE, CONTENT) - STYLE).mean()
    for other in (numpy.linalg.cholesky, root):
        matrix = other(new_covariance) @ numpy.linalg.inv(other(covariance))
        by_other = (STYLE - mean) @ matrix.T + new_mean
        numpy.testing.assert_allclose(moments(by_other)[1], new_covariance, atol=1e-2)
        assert moved < numpy.square(by_other - STYLE).mean()


def test_match_does_not_turn_the_noise_of_a_grey_style_into_colours():
    random = numpy.random.RandomState(3)
    grey = numpy.repeat(random.uniform(60, 200, (24, 32, 1)), 3, axis=2).astype(numpy.float32)
    noisy = grey + random.uniform(-1, 1, grey.shape).astype(numpy.float32)
    clean, moved = (kept.style_pixels("match", each, CONTENT) for each in (grey, noisy))
    # Stretched to the content's deviations of up to 20, noise would add 20.
    assert (moved - clean).std() < 3


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("flat", ["style", "content"])
def test_a_picture_of_one_colour_gives_finite_pixels(mode, flat):
    pictures = {"style": STYLE, "content": CONTENT, flat: numpy.full_like(CONTENT, 200)}
    style = kept.style_pixels(mode, pictures["style"], pictures["content"])
    result = kept.with_colours(mode, CONTENT, pictures["content"])
    assert numpy.isfinite(style).all() and numpy.isfinite(result).all()


@pytest.mark.parametrize("mode", ["match", "luminance"])
def test_pixels_without_weight_do_not_count(mode):
    content, weights = CONTENT.copy(), numpy.ones(CONTENT.shape[:2], numpy.float32)
    content[:, 16:], weights[:, 16:] = 255, 0
    masked = kept.style_pixels(mode, STYLE, content, content_weights=weights)
    expected = kept.style_pixels(mode, STYLE, content[:, :16])
    numpy.testing.assert_allclose(masked, expected, atol=1e-3)
    nothing = kept.style_pixels(mode, STYLE, content, content_weights=0 * weights)
    numpy.testing.assert_array_equal(nothing, kept.style_pixels(mode, STYLE, content))
    style, style_weights = STYLE.copy(), numpy.ones(STYLE.shape[:2])
    style[20:], style_weights[20:] = 0, 0
    masked = kept.style_pixels(mode, style, CONTENT, style_weights=style_weights)
    expected = kept.style_pixels(mode, STYLE[:20], CONTENT)
    numpy.testing.assert_allclose(masked[:20], expected, atol=1e-3)


def test_statistics_of_a_picture_in_many_parts_are_those_of_the_whole(monkeypatch):
    expected = kept.style_pixels("match", STYLE, CONTENT)
    monkeypatch.setattr(arrays, "_BAND", 50)
    numpy.testing.assert_allclose(kept.style_pixels("match", STYLE, CONTENT), expected, atol=1e-3)


def test_luminance_gives_the_style_in_grey_with_brightness_and_contrast_of_the_content():
    style = kept.style_pixels("luminance", STYLE, CONTENT)
    assert (style == style[..., :1]).all()
    brightness = kept.luma(CONTENT)
    assert style.mean() == pytest.approx(brightness.mean(), abs=1e-3)
    assert style.std() == pytest.approx(brightness.std(), abs=1e-3)
    content = kept.input_pixels("luminance", CONTENT)
    numpy.testing.assert_array_equal(content, numpy.dstack([brightness] * 3))


@pytest.mark.parametrize("mode", ["luminance", "after"])
def test_the_result_has_its_brightness_exactly_and_the_contents_hue(mode):
    random = numpy.random.RandomState(4)
    result, content = random.uniform(0, 255, (2, 40, 50, 3)).astype(numpy.float32)
    picture = kept.with_colours(mode, result, content)
    assert picture.min() >= 0 and picture.max() <= 255
    numpy.testing.assert_allclose(kept.luma(picture), kept.luma(result), atol=1e-3)
    chroma, expected = (each - kept.luma(each)[..., None] for each in (picture, content))
    share = (chroma * expected).sum(axis=2) / numpy.square(expected).sum(axis=2)
    numpy.testing.assert_allclose(chroma, share[..., None] * expected, atol=1e-2)
    # As much chroma as fits: all of it, or up to the limit of the range.
    at_limit = (picture < 1e-2).any(axis=2) | (picture > 254.99).any(axis=2)
    assert ((abs(share - 1) < 1e-4) | at_limit).all()
    assert 0.1 < at_limit.mean() < 0.9


def test_the_colours_after_a_transfer_are_those_of_pillows_ycbcr():
    result, content = (numpy.rint(each[:24, :20]).astype(numpy.uint8) for each in (STYLE, CONTENT))
    brightness, chroma = (Image.fromarray(each).convert("YCbCr") for each in (result, content))
    merged = Image.merge("YCbCr", (brightness.getchannel(0), *chroma.split()[1:]))
    picture = kept.with_colours(
        "after", *(each.astype(numpy.float32) for each in (result, content))
    )
    # Pillow rounds to 8 bits twice.
    numpy.testing.assert_allclose(picture, numpy.asarray(merged.convert("RGB"), float), atol=4)


def test_match_and_off_leave_the_result_as_it_is():
    for mode in ("off", "match"):
        assert kept.with_colours(mode, STYLE, CONTENT) is STYLE
    assert kept.style_pixels("off", STYLE, CONTENT) is STYLE


def test_grey_pictures_are_recognised():
    assert kept.is_grey(kept.input_pixels("luminance", CONTENT))
    assert not kept.is_grey(CONTENT)


# Runs


@pytest.fixture
def folder(tmp_path, monkeypatch, small_network):
    monkeypatch.chdir(tmp_path)
    save("content.png", colours(5, 32, 48, deviations=(40, 30, 20)))
    save("style.png", colours(6, 60, 30, (100, 150, 90), (30, 20, 9)))
    return tmp_path


def save(name, pixels):
    Image.fromarray(numpy.rint(numpy.clip(pixels, 0, 255)).astype(numpy.uint8)).save(name)


OPTIONS = {
    "preset": "fast", "size": 32, "style_layers": "relu1_1,relu2_1", "content_layers": "relu2_1",
    "device": "cpu", "precision": "float32", "iterations": 6, "stop_decrease": 0,
}  # fmt: skip


def prepare(output="out.png", content="content.png", style="style.png", **others):
    return runner.prepare(content, style, output, Config(**{**OPTIONS, **others}))


def run(output="out.png", kit=None, **others):
    runner.run(prepare(output, **others), kit=kit)
    return pixels_in(output)


def pixels_in(path):
    with Image.open(path) as picture:
        return numpy.asarray(picture, float)


def test_each_mode_gives_another_picture(folder):
    pictures = {mode: run(keep_colors=mode) for mode in KEEP_COLORS}
    for mode in MODES:
        assert abs(pictures[mode] - pictures["off"]).mean() > 2
    assert abs(pictures["match"] - pictures["after"]).mean() > 2
    assert abs(pictures["luminance"] - pictures["after"]).mean() > 1


@pytest.mark.parametrize("denoise", [0, 0.05])
def test_after_keeps_the_brightness_of_the_picture_made_without_it(folder, denoise):
    plain, picture = (run(keep_colors=mode, denoise=denoise) for mode in ("off", "after"))
    # Rounding to 8 bits: once here, and once or twice there.
    numpy.testing.assert_allclose(kept.luma(picture), kept.luma(plain), atol=1.5)
    content = images.resize(pixels_in("content.png").astype(numpy.float32), picture.shape[:2])
    numpy.testing.assert_allclose(
        picture, kept.with_colours("after", picture.astype(numpy.float32), content), atol=1.5
    )


def test_in_mode_luminance_the_network_gets_grey_pictures_and_a_grey_start(folder):
    save("start.png", colours(7))
    job = prepare(keep_colors="luminance", init="start.png")
    for image in (job.content, job.style, job.init):
        pixels = images.to_float_pixels(image)
        numpy.testing.assert_allclose(pixels, numpy.repeat(pixels[..., :1], 3, axis=2), atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_pictures_on_the_way_have_the_colours_of_finished_ones(folder, mode):
    runner.run(prepare(keep_colors=mode, scales=1), save_every=2)
    short = run("short.png", keep_colors=mode, scales=1, iterations=2)
    numpy.testing.assert_array_equal(pixels_in("out-00002.png"), short)

    def interrupt(record):
        if record.step == 2:
            raise KeyboardInterrupt

    runner.run(prepare("interrupted.png", keep_colors=mode, scales=1), on_step=interrupt)
    numpy.testing.assert_array_equal(pixels_in("interrupted.png"), short)


def test_runs_that_share_style_targets_are_those_of_single_runs(folder):
    save("other.png", colours(8, 32, 48, (150, 60, 60)))
    kit = NetworkKit()
    for mode in ("match", "luminance", "off"):
        for content in ("content.png", "other.png"):
            choices = {"keep_colors": mode, "content": content}
            shared = run("shared.png", kit, **choices)
            numpy.testing.assert_array_equal(shared, run("single.png", **choices))


def invoke(*words):
    result = CliRunner().invoke(cli.main, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("mode", MODES)
def test_a_replay_gives_the_same_bytes(folder, mode):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
    invoke("stylize", "content.png", "style.png", "-o", "x.png", *options, "--keep-colors", mode)
    assert "Identical, byte for byte." in invoke("replay", "x.png", "-q").output
    assert Path("x-replay.png").read_bytes() == Path("x.png").read_bytes()


@pytest.mark.parametrize("mode", MODES)
def test_a_grey_content_is_noted_and_gives_a_grey_picture(folder, mode):
    save("grey.png", numpy.repeat(colours(9)[..., :1], 3, axis=2))
    (note,) = prepare(content="grey.png", keep_colors=mode).notes
    assert note == (
        f"The content grey.png is grey, and keep_colors {mode} keeps its colours, so the picture "
        "will be grey."
    )
    picture = run(content="grey.png", keep_colors=mode)
    assert numpy.ptp(picture, axis=2).max() <= (0 if mode != "match" else 25)
    assert prepare(content="grey.png").notes == () == prepare(keep_colors=mode).notes


@pytest.mark.parametrize("mode", MODES)
def test_a_transparent_content_keeps_its_transparency_and_its_visible_colours(folder, mode):
    pixels = numpy.dstack([pixels_in("content.png"), numpy.full((32, 48), 255.0)])
    pixels[:, 24:, 3] = 0
    save("clear.png", pixels)
    save("half.png", pixels[:, :24, :3])
    alpha = run(content="clear.png", keep_colors=mode)[..., 3]
    assert alpha[:, :13].min() == 255 and alpha[:, 19:].max() == 0
    if mode == "after":
        return
    clear, half = (
        images.to_float_pixels(prepare(content=name, keep_colors=mode, size=size).style)
        for name, size in (("clear.png", 48), ("half.png", 32))
    )
    # Not the white that the transparent half is composited over.
    numpy.testing.assert_allclose(moments(clear)[0], moments(half)[0], atol=4)


def test_an_unknown_mode_is_one_line_that_lists_the_modes():
    result = CliRunner().invoke(
        cli.main, ["stylize", "a.png", "b.png", "-o", "c.png", "--keep-colors", "before"]
    )
    assert result.exit_code == 2
    assert all(mode in result.output.splitlines()[-1] for mode in KEEP_COLORS)
