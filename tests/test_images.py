"""Pictures in, pictures out: every mode, every format, every way a file can be wrong."""

import functools
import hashlib
import io
import os
import pathlib
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patterns import (
    TO_LINEAR_SRGB,
    adobe_rgb,
    linear_grey,
    noise,
    odd_cmyk,
    smooth,
    srgb_of,
    srgb_of_lab,
)
from PIL import Image

from nst_cli import images
from nst_cli.errors import ImageError

ENDINGS = [".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp"]
METADATA = {"method": "poly", "style": "Nuit étoilée 星月夜 🌌", "gamma": 5.0, "losses": [1, None]}


# -- Profiles and PNG files that Pillow cannot make -----------------------------------------------


def png(width, height, depth, colour, rows, *chunks):
    """A PNG of rows given as packed bytes."""

    def chunk(name, data):
        return (
            struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))
        )

    header = struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [
        (b"IHDR", header),
        *chunks,
        (b"IDAT", zlib.compress(b"".join(b"\0" + r for r in rows))),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in [*parts, (b"IEND", b"")])


# -- Reading: orientation -------------------------------------------------------------------------

# The operation that turns the upright picture into the stored one, by the Exif standard's
# description of the stored row 0 and column 0.
STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: p.transpose(1, 0, 2)[::-1],
    7: lambda p: p.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda p: p.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("ending", [".png", ".tif", ".webp", ".jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_read_upright(save, orientation, ending):
    upright = smooth()
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    path = save(
        "a" + ending, stored, exif=exif, **({"lossless": True} if "webp" in ending else {})
    )
    pixels = images.read(path).pixels
    assert pixels.shape == upright.shape
    assert np.abs(pixels - upright).max() <= (12 if ending == ".jpg" else 0)


def test_the_alpha_turns_with_the_picture(save):
    stored = noise(channels=4)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = images.read(save("a.png", Image.fromarray(stored), exif=exif))
    np.testing.assert_array_equal(picture.alpha, stored[::-1, :, 3].T)


def test_16_bit_grey_turns_too(save):
    stored = np.arange(6, dtype=np.uint16).reshape(2, 3) * 257
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = images.read(save("a.png", Image.fromarray(stored), exif=exif))
    np.testing.assert_array_equal(picture.pixels[..., 0], stored[::-1].T / 257)


@pytest.mark.parametrize("exif", [b"Exif\0\0rubbish", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_broken_exif_data_are_ignored(save, exif):
    picture = images.read(save("a.jpg", Image.fromarray(smooth()), exif=exif))
    assert picture.pixels.shape == smooth().shape


# -- Reading: modes -------------------------------------------------------------------------------


def test_rgb_is_read_as_it_is(save):
    path = save("a.png", Image.fromarray(noise()))
    picture = images.read(path)
    np.testing.assert_array_equal(picture.pixels, noise())
    assert (picture.pixels.dtype, picture.alpha, picture.path) == (np.float32, None, path)


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp", ".gif", ".pgm"])
def test_grey_fills_three_equal_channels(save, ending):
    grey = noise(channels=1)
    pixels = images.read(save("a" + ending, Image.fromarray(grey))).pixels
    np.testing.assert_array_equal(pixels, np.dstack([grey] * 3))


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp", ".pbm"])
def test_one_bit_is_black_or_white(save, ending):
    bits = noise(channels=1) > 127
    pixels = images.read(save("a" + ending, Image.fromarray(bits))).pixels
    np.testing.assert_array_equal(pixels, np.dstack([bits * 255] * 3))


@pytest.mark.parametrize("ending", [".png", ".tif", ".gif", ".bmp"])
def test_a_palette_is_looked_up(save, ending):
    colours = noise(1, 16)[0]
    indices = noise(channels=1) % 16
    image = Image.fromarray(indices)
    image.putpalette(colours.tobytes())
    assert image.mode == "P"
    np.testing.assert_array_equal(images.read(save("a" + ending, image)).pixels, colours[indices])


def test_a_palette_may_have_transparent_entries(save):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    picture = images.read(save("a.png", image, transparency=bytes([0, 51, 255])))
    np.testing.assert_array_equal(picture.alpha, [[0, 51, 255]])
    np.testing.assert_allclose(picture.pixels, [[[255] * 3, [204, 244, 204], [0, 0, 200]]])


def test_a_gif_may_have_one_transparent_entry(save):
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([200, 0, 0, 0, 200, 0])
    picture = images.read(save("a.gif", image, transparency=0))
    np.testing.assert_array_equal(picture.alpha, [[0, 255]])
    np.testing.assert_array_equal(picture.pixels, [[[255] * 3, [0, 200, 0]]])


@pytest.mark.parametrize("ending", [".png", ".tif", ".webp"])
def test_alpha_is_kept_and_its_content_lies_over_white(save, ending):
    rgba = noise(channels=4)
    options = {"lossless": True, "exact": True} if ending == ".webp" else {}
    picture = images.read(save("a" + ending, Image.fromarray(rgba), **options))
    share = rgba[..., 3:] / 255
    np.testing.assert_array_equal(picture.alpha, rgba[..., 3])
    np.testing.assert_allclose(
        picture.pixels, rgba[..., :3] * share + 255 * (1 - share), atol=1e-4
    )
    assert (picture.alpha.dtype, picture.pixels.dtype) == (np.float32, np.float32)


def test_grey_may_have_alpha(save):
    picture = images.read(
        save("a.png", Image.fromarray(np.array([[[100, 255], [100, 51]]], np.uint8)))
    )
    np.testing.assert_array_equal(picture.alpha, [[255, 51]])
    np.testing.assert_allclose(picture.pixels[..., 0], [[100, 224]])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_opaque_alpha_is_no_alpha(save, mode):
    image = Image.fromarray(noise()).convert(mode)
    assert images.read(save("a.png", image)).alpha is None


@pytest.mark.parametrize(
    "colour, key, row, shown",
    [
        (2, [9, 8, 7], [9, 8, 7, 1, 2, 3], [[255, 255, 255], [1, 2, 3]]),
        (0, [9], [9, 7], [[255] * 3, [7] * 3]),
    ],
)
def test_one_colour_may_be_declared_transparent(save, colour, key, row, shown):
    chunk = (b"tRNS", struct.pack(f">{len(key)}H", *key))
    picture = images.read(save("a.png", png(2, 1, 8, colour, [bytes(row)], chunk)))
    np.testing.assert_array_equal(picture.alpha, [[0, 255]])
    np.testing.assert_array_equal(picture.pixels, [shown])


def test_one_16_bit_grey_may_be_declared_transparent(save):
    chunk = (b"tRNS", struct.pack(">H", 1000))
    picture = images.read(save("a.png", png(2, 1, 16, 0, [struct.pack(">2H", 1000, 1001)], chunk)))
    np.testing.assert_array_equal(picture.alpha, [[0, 255]])
    np.testing.assert_allclose(picture.pixels[0, :, 0], [255, 1001 / 257], rtol=1e-6)


@pytest.mark.parametrize("ending", [".jpg", ".tif"])
def test_cmyk_inks_become_colours(save, ending):
    inks = {
        (0, 0, 0, 0): (255, 255, 255),
        (255, 0, 0, 0): (0, 255, 255),
        (0, 0, 0, 255): (0, 0, 0),
    }
    for ink, colour in inks.items():
        pixels = images.read(save("a" + ending, Image.new("CMYK", (16, 16), ink))).pixels
        assert np.abs(pixels - colour).max() <= 2, ink


def test_ycbcr_becomes_rgb(save):
    image = Image.fromarray(smooth()).convert("YCbCr")
    path = save("a.tif", image, compression="tiff_lzw")
    assert np.abs(images.read(path).pixels - smooth()).max() <= 3


def test_lab_becomes_srgb(save):
    # Pillow holds a* and b* with 128 added.
    image = Image.merge("LAB", [Image.new("L", (8, 8), value) for value in (128, 188, 128)])
    pixels = images.read(save("a.tif", image)).pixels
    lightness = 100 * 128 / 255
    assert np.abs(pixels - srgb_of_lab(lightness, 60, 0)).max() <= 2


@pytest.mark.parametrize("ending", [".png", ".tif", ".jp2"])
def test_16_bit_grey_keeps_its_precision(save, ending):
    grey = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    pixels = images.read(save("a" + ending, Image.fromarray(grey))).pixels
    np.testing.assert_allclose(pixels[..., 1], grey / 257, rtol=1e-6)
    assert len(np.unique(pixels)) == 65536


def test_16_bit_grey_may_come_as_pgm_or_big_endian(save):
    grey = np.array([[0, 300, 65535]], np.uint16)
    pgm = save("a.pgm", b"P5 3 1 65535\n" + grey.astype(">u2").tobytes())
    np.testing.assert_allclose(images.read(pgm).pixels[..., 0], grey / 257, rtol=1e-6)
    big = save("a.tif", Image.frombytes("I;16B", (3, 1), grey.astype(">u2").tobytes()))
    np.testing.assert_allclose(images.read(big).pixels[..., 0], grey / 257, rtol=1e-6)


@pytest.mark.parametrize("colour", [2, 4, 6])
def test_16_bit_colour_and_alpha_keep_their_precision(save, colour):
    channels = {2: 3, 4: 2, 6: 4}[colour]
    stored = np.arange(0, 65536, 13, dtype=np.uint16)[: 5 * 7 * channels * 24]
    stored = np.resize(stored, (42, 20, channels))
    rows = [row.astype(">u2").tobytes() for row in stored]
    picture = images.read(save("a.png", png(20, 42, 16, colour, rows)))
    has_alpha = channels in (2, 4)
    opacity = stored[..., -1:] / 65535 if has_alpha else 1
    expected = 255 + (stored[..., : channels - has_alpha] / 257 - 255) * opacity
    np.testing.assert_allclose(picture.pixels, np.broadcast_to(expected, (42, 20, 3)), atol=1e-4)
    if has_alpha:
        np.testing.assert_allclose(picture.alpha, stored[..., -1] / 257, rtol=1e-6)
    assert len(np.unique(picture.pixels)) > 256


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_without_a_known_white_are_refused(save, dtype):
    path = save("a.tif", Image.fromarray(np.ones((4, 4), dtype)))
    with pytest.raises(ImageError, match=r"a\.tif.*save it with 8 or 16 bits"):
        images.read(path)


@pytest.mark.parametrize("ending", [".gif", ".png", ".webp", ".tif"])
def test_of_an_animation_the_first_frame_is_read(save, ending):
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    path = save("a" + ending, first, save_all=True, append_images=[second])
    pixels = images.read(path).pixels
    assert pixels.shape == (16, 16, 3)
    assert np.abs(pixels - (255, 0, 0)).max() <= 6


def test_reading_returns_the_checksum_of_the_file(save):
    path = save("a.png", Image.fromarray(noise()))
    content = pathlib.Path(path).read_bytes()
    assert images.read(path).sha256 == hashlib.sha256(content).hexdigest()


# -- Reading: profiles ----------------------------------------------------------------------------


def test_adobe_rgb_is_converted_to_srgb(save):
    stored = np.array([[[0, 0, 0], [128, 128, 128], [255, 255, 255], [180, 120, 90]]], np.uint8)
    path = save("a.png", Image.fromarray(stored), icc_profile=adobe_rgb())
    primaries = np.array(
        [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
    )
    linear = (stored / 255) ** (563 / 256) @ primaries.T @ TO_LINEAR_SRGB.T
    assert np.abs(images.read(path).pixels - srgb_of(linear)).max() <= 1.5
    # Far enough from the stored values for the tolerance to distinguish them.
    assert np.abs(srgb_of(linear) - stored).max() > 10


def test_alpha_and_palette_pictures_use_their_profile(save):
    colour = Image.fromarray(np.full((4, 4, 3), (180, 120, 90), np.uint8))
    plain = images.read(save("a.png", colour, icc_profile=adobe_rgb())).pixels
    rgba = colour.convert("RGBA")
    rgba.putpixel((0, 0), (0, 0, 0, 0))
    picture = images.read(save("b.png", rgba, icc_profile=adobe_rgb()))
    np.testing.assert_array_equal(picture.pixels[1:], plain[1:])
    palette = colour.quantize(4)
    pixels = images.read(save("c.png", palette, icc_profile=adobe_rgb())).pixels
    np.testing.assert_array_equal(pixels, plain)


def test_a_grey_profile_is_converted_for_8_and_16_bits(save):
    expected = srgb_of(np.array([0, 64, 128, 255]) / 255)
    for dtype, factor in ((np.uint8, 1), (np.uint16, 257)):
        grey = (np.array([[0, 64, 128, 255]]) * factor).astype(dtype)
        path = save("a.png", Image.fromarray(grey), icc_profile=linear_grey())
        pixels = images.read(path).pixels
        assert pixels.shape == (1, 4, 3)
        assert np.abs(pixels[0] - expected[:, None]).max() <= 1.5


def test_a_grey_picture_may_carry_a_colour_profile(save):
    grey = Image.fromarray(np.full((4, 4), 90, np.uint8))
    pixels = images.read(save("a.png", grey, icc_profile=adobe_rgb(gamma=1.0))).pixels
    assert np.abs(pixels - srgb_of(90 / 255)).max() <= 1.5


@pytest.mark.parametrize("ending", [".jpg", ".tif"])
def test_a_cmyk_profile_is_converted(save, ending):
    for ink, expected in {
        (0, 0, 0, 0): srgb_of_lab(100, 0, 0),
        (255, 0, 0, 0): srgb_of_lab(100 * 128 / 255, 60, 0),
        (0, 255, 255, 0): srgb_of_lab(100, 0, 0),
        (0, 0, 0, 255): (0, 0, 0),
    }.items():
        image = Image.new("CMYK", (16, 16), ink)
        pixels = images.read(save("a" + ending, image, icc_profile=odd_cmyk())).pixels
        assert np.abs(pixels - expected).max() <= 3, ink


@pytest.mark.parametrize(
    "profile", [b"rubbish", adobe_rgb()[:200], linear_grey(), odd_cmyk()], ids=range(4)
)
def test_a_broken_or_foreign_profile_is_taken_for_srgb(save, profile):
    path = save("a.png", Image.fromarray(noise()), icc_profile=profile)
    np.testing.assert_array_equal(images.read(path).pixels, noise())


def test_a_profile_of_an_unknown_colour_space_is_taken_for_srgb(save):
    grey = noise(channels=1)
    profile = adobe_rgb().replace(b"RGB ", b"\xed\xed\xed\xed")
    pixels = images.read(save("a.png", Image.fromarray(grey), icc_profile=profile)).pixels
    np.testing.assert_array_equal(pixels[..., 0], grey)


# -- Reading: broken files ------------------------------------------------------------------------


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("function", [images.read, images.read_metadata])
def test_a_file_that_is_no_picture_is_named_in_one_line(save, tmp_path, function):
    bad = {
        str(tmp_path / "missing.png"): "No such file",
        str(tmp_path): "folder",
        save("a.txt", b"words\n" * 100): "not a picture",
        save("empty.png", b""): "empty",
        save("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"): "not a picture",
        save("a.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"): "not a picture",
        save("zero.png", png(0, 1, 8, 0, [b""])): "not a picture",
        save("zero.ppm", b"P6 0 4 255\n"): "zero.ppm",
    }
    for path, reason in bad.items():
        with pytest.raises(ImageError) as error:
            function(path)
        assert path in one_line(error) and reason in one_line(error)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".webp", ".gif", ".bmp", ".jp2"])
def test_a_truncated_picture_is_refused(save, ending):
    content = io.BytesIO()
    Image.fromarray(noise(64, 64)).save(content, Image.registered_extensions()[ending])
    path = save("a" + ending, content.getvalue()[: len(content.getvalue()) // 2])
    with pytest.raises(ImageError) as error:
        images.read(path)
    assert path in one_line(error)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.filterwarnings("error")
def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ImageError, match="not a regular file"):
        images.read(tmp_path / "a.png")


def test_an_unreadable_file_is_refused(save, monkeypatch):
    path = save("a.png", Image.fromarray(noise()))

    def refuse(*_):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(images.source.os, "open", refuse)
    with pytest.raises(ImageError, match=r"a\.png: Permission denied"):
        images.read(path)


def test_a_file_without_read_permission_is_refused(save):
    path = save("a.png", Image.fromarray(noise()))
    os.chmod(path, 0)
    if os.access(path, os.R_OK):
        pytest.skip("permissions do not bind this user")
    with pytest.raises(ImageError, match="Permission denied"):
        images.read(path)


@pytest.mark.parametrize("limit", [767, 300])
def test_a_picture_of_more_pixels_than_the_limit_is_refused(save, limit):
    path = save("a.png", Image.fromarray(noise(24, 32)))
    before = warnings.filters[:]
    with pytest.raises(ImageError) as error:
        images.read(path, max_pixels=limit)
    assert f"32 x 24, 768 pixels, exceeds the limit of {limit} pixels" in one_line(error)
    assert "--max-pixels 768" in one_line(error)
    assert warnings.filters == before
    for enough in (768, 0):
        assert images.read(path, max_pixels=enough).pixels.shape == (24, 32, 3)


def test_reading_prints_no_warnings_and_leaves_the_filters_unchanged(save):
    # A description whose stated length exceeds the Exif data.
    entry = struct.pack("<HHHLLL", 1, 0x010E, 2, 1000, 8, 0)
    path = save("a.jpg", Image.fromarray(smooth()), exif=b"Exif\0\0II*\0\x08\0\0\0" + entry)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Image.open(path) as image:
            image.getexif()
        assert len(caught) == 1, "Pillow has nothing to say about this file"
        before = warnings.filters[:]
        images.read(path)
        assert warnings.filters == before
    assert len(caught) == 1


@functools.cache
def sample(kind):
    content = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth(24, 32)).save(content, kind, icc_profile=adobe_rgb(), exif=exif)
    return content.getvalue()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "TIFF", "WEBP", "GIF"]),
    places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_damage_gives_a_picture_or_an_image_error(tmp_path_factory, kind, places):
    content = bytearray(sample(kind))
    for place, value in places:
        content[int(place * len(content))] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    for function in (images.read, images.read_metadata):
        try:
            function(path)
        except ImageError as error:
            assert str(path) in str(error) and "\n" not in str(error)
