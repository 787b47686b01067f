"""Large pictures are converted some rows at a time: the bytes are those of the whole."""

import numpy
import pytest

from nst_cli import engine, images
from nst_cli.images import arrays, kept
from nst_cli.synthesis import denoise, masks, starts

HEIGHT, WIDTH = 37, 29


def pixels(seed=0, height=HEIGHT, width=WIDTH):
    random = numpy.random.RandomState(seed)
    return random.uniform(0, 255, (height, width, 3)).astype(numpy.float32)


def network_input(seed=0):
    return images.to_input(pixels(seed))


def colours_of(count):
    styles = [network_input(seed) for seed in range(count)]
    random = numpy.random.RandomState(5)
    return starts.in_colours_of(styles, [1] * count, (1, 3, 40, 30), random)


def written(folder, ending, encoding=None):
    path = folder / f"out.{ending}"
    images.write(path, pixels(), pixels(1)[..., 0], {"a": 1}, encoding or images.Encoding())
    return path.read_bytes()


#: What is done to a picture as large as the result, by name.
STEPS = {
    "input": lambda folder: images.to_input(pixels()),
    "input of uint8": lambda folder: images.to_input(pixels().astype(numpy.uint8), 256),
    "8 bits": lambda folder: images.to_pixels(network_input()),
    "16 bits": lambda folder: images.to_pixels(network_input(), "truncate", 16),
    "floats": lambda folder: images.to_float_pixels(network_input()),
    "enlarged": lambda folder: images.resize(pixels(), (70, 64)),
    "reduced": lambda folder: images.resize(pixels()[..., 0], (20, 17)),
    "input enlarged": lambda folder: images.resize_input(network_input(), (70, 64)),
    "grey": lambda folder: kept.input_pixels("luminance", pixels()),
    "chroma": lambda folder: kept.with_colours("after", pixels(), pixels(1)),
    "denoised": lambda folder: denoise.chambolle(pixels(), 0.05, engine.context("cpu")),
    "mask": lambda folder: masks.resized(pixels()[..., 0] / 255, (20, 17)),
    "noise": lambda folder: starts.noise((1, 3, 40, 30), numpy.random.RandomState(0)),
    "blend": lambda folder: starts.with_noise(network_input(), 0.3, numpy.random.RandomState(0)),
    "png": lambda folder: written(folder, "png"),
    "png of 16 bits": lambda folder: written(folder, "png", images.Encoding(16)),
    "tiff": lambda folder: written(folder, "tif"),
    "tiff of 16 bits": lambda folder: written(folder, "tif", images.Encoding(16)),
}


@pytest.mark.parametrize("step", STEPS)
def test_some_rows_at_a_time_give_the_bytes_of_the_whole(step, tmp_path, monkeypatch):
    whole = STEPS[step](tmp_path)
    # Two rows at a time, and a last one alone.
    monkeypatch.setattr(arrays, "_BAND", 2 * WIDTH + 1)
    monkeypatch.setattr(starts, "_AT_ONCE", 50)
    in_bands = STEPS[step](tmp_path)
    numpy.testing.assert_array_equal(in_bands, whole)
    assert getattr(in_bands, "dtype", None) == getattr(whole, "dtype", None)


@pytest.mark.parametrize("count", [1, 2])
def test_a_start_in_the_colours_of_styles_is_the_same_some_rows_at_a_time(count, monkeypatch):
    whole = colours_of(count)
    monkeypatch.setattr(arrays, "_BAND", 90)
    monkeypatch.setattr(starts, "_AT_ONCE", 50)
    # Sums of parts are rounded otherwise than those of the whole.
    numpy.testing.assert_allclose(colours_of(count), whole, atol=1e-3)


def test_bands_cover_every_row_once():
    bands = [*images.row_bands((10, 1 << 18)), *images.row_bands((3, 1 << 22))]
    assert [(rows.start, rows.stop) for rows in bands] == [
        (0, 4), (4, 8), (8, 10), (0, 1), (1, 2), (2, 3),
    ]  # fmt: skip
