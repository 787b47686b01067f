"""The sample pictures: shipped files that fit their purpose, and the program that draws them."""

import numpy as np
import paint
import pytest
from PIL import Image

from nst_cli import samples

SHIPPED = (samples.CONTENT, *samples.STYLES)
DRAWN = (paint.landscape, paint.whirls, paint.patchwork)
SMALL = 48


@pytest.fixture(scope="module")
def small():
    """Each drawing at a small size, by its name."""
    return {draw.__name__: draw(SMALL) for draw in DRAWN}


def _drawing(name, picture):
    """Return a drawing function with that name that returns a given picture."""

    def draw():
        return picture

    draw.__name__ = name
    return draw


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_sample_is_an_rgb_jpeg_of_moderate_size(path):
    with Image.open(path) as image:
        assert (image.format, image.mode, max(image.size)) == ("JPEG", "RGB", paint.LONG_EDGE)
    assert path.stat().st_size <= 150_000


def test_there_is_one_content_and_two_styles_all_different():
    assert len(samples.STYLES) == 2
    assert len({path.read_bytes() for path in SHIPPED}) == 3


@pytest.mark.parametrize("draw", DRAWN)
def test_the_same_seed_draws_the_same_picture(draw, small):
    np.testing.assert_array_equal(draw(SMALL), small[draw.__name__])


@pytest.mark.parametrize("draw", DRAWN)
def test_another_seed_draws_another_picture(draw, small):
    assert (draw(SMALL, seed=99) != small[draw.__name__]).any()


@pytest.mark.parametrize("draw", DRAWN)
def test_a_drawing_is_a_colour_picture_with_light_and_dark(draw, small):
    picture = small[draw.__name__]
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (SMALL, 3)
    # A flat or a black picture has a deviation of 0; those shipped have more than 40.
    assert picture.std() > 25
    assert np.ptp(picture.astype(int), axis=2).max() > 50


def test_main_writes_the_three_files_and_nothing_else(tmp_path, monkeypatch, small):
    for name, picture in small.items():
        monkeypatch.setattr(paint, name, _drawing(name, picture))
    paint.main(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in SHIPPED)
    for name, picture in small.items():
        assert pixels(tmp_path / f"{name}.jpg").shape == picture.shape


@pytest.mark.slow
@pytest.mark.parametrize(
    "path, draw", list(zip(SHIPPED, DRAWN)), ids=["content", "first style", "second style"]
)
def test_the_program_draws_what_is_shipped(path, draw):
    difference = np.abs(draw().astype(int) - pixels(path).astype(int))
    # JPEG at this quality costs up to about 5 levels; two different drawings differ by 40.
    assert difference.mean() < 8
