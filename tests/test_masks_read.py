"""Masks as files: which values they have, and which are refused."""

import numpy
import pytest
from PIL import Image
from processes import noise

from nst_cli import images
from nst_cli.errors import ImageError

VALUES = numpy.arange(0, 240, 10, dtype=numpy.uint8).reshape(4, 6)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise(1, 4, 6).save("photo.png")
    return tmp_path


def read(image, name="mask.png", **options):
    image.save(name, **options)
    return images.read_mask(name, "photo.png").values


def grey(array):
    return Image.fromarray(array)


def test_white_is_1_and_black_0_and_grey_lies_between_without_gamma():
    assert read(grey(VALUES)) == pytest.approx(VALUES / 255, abs=1e-6)


def test_16_bit_grey_keeps_its_steps():
    deep = (numpy.arange(24, dtype=numpy.uint16) + 40000).reshape(4, 6)
    values = read(grey(deep))
    assert values == pytest.approx(deep / 65535, abs=1e-6)
    assert len(numpy.unique(values)) == 24


def test_colours_count_by_their_luma():
    values = read(Image.new("RGB", (6, 4), (255, 0, 0)))
    assert values == pytest.approx(0.299, abs=1e-4)


def test_a_profile_does_not_change_a_mask():
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert (read(grey(VALUES), icc_profile=profile) == read(grey(VALUES))).all()


def test_gamma_in_a_png_does_not_change_a_mask(folder):
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", (100000).to_bytes(4, "big"))
    assert (read(grey(VALUES), pnginfo=info) == read(grey(VALUES))).all()


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 30, 90)])
def test_alpha_is_the_mask_where_all_that_is_visible_has_one_colour(colour):
    pixels = numpy.zeros((4, 6, 4), numpy.uint8)
    pixels[..., 3] = VALUES
    # Transparent pixels are black, as painting programs leave them.
    pixels[..., :3][VALUES > 0] = colour
    assert read(Image.fromarray(pixels)) == pytest.approx(VALUES / 255, abs=1e-6)


def test_alpha_and_grey_levels_that_both_vary_are_multiplied():
    pixels = numpy.stack([VALUES, VALUES[::-1]], axis=-1)
    expected = VALUES / 255 * (VALUES[::-1] / 255)
    assert read(Image.fromarray(pixels, "LA")) == pytest.approx(expected, abs=1e-6)


def test_an_opaque_alpha_channel_changes_nothing():
    pixels = numpy.stack([VALUES, numpy.full_like(VALUES, 255)], axis=-1)
    assert read(Image.fromarray(pixels, "LA")) == pytest.approx(VALUES / 255, abs=1e-6)


def test_the_orientation_of_the_mask_and_of_its_picture_are_applied():
    turned = Image.Exif()
    turned[0x0112] = 6
    noise(1, 6, 4).save("photo.png", exif=turned)
    assert (read(grey(VALUES)) == read(grey(numpy.rot90(VALUES)), exif=turned)).all()


@pytest.mark.parametrize("size", [(4, 7), (6, 4), (8, 12)])
def test_a_mask_of_another_size_than_its_picture_is_refused_with_both_sizes(size):
    with pytest.raises(ImageError) as failure:
        read(Image.new("L", size[::-1], 255))
    words = f"mask.png has {size[1]} x {size[0]} pixels, and its picture photo.png has 6 x 4"
    assert words in str(failure.value)


def test_a_mask_that_is_black_everywhere_is_refused():
    with pytest.raises(ImageError, match="mask.png is black everywhere"):
        read(Image.new("L", (6, 4), 0))
    clear = Image.new("RGBA", (6, 4), (255, 255, 255, 0))
    with pytest.raises(ImageError, match="mask.png is black everywhere"):
        read(clear)


def test_a_file_that_begins_as_a_picture_is_distinguished_from_others(folder):
    (folder / "notes.txt").write_text("a note")
    (folder / "empty.png").write_bytes(b"")
    names = ("photo.png", "notes.txt", "empty.png", "missing.png", ".")
    assert [images.is_picture(name) for name in names] == [True, False, False, False, False]
