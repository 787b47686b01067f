"""Pictures in, pictures out: every mode, every format, every way a file can be wrong."""

import functools
import hashlib
import io
import json
import math
import os
import pathlib
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms

from nst_cli import images
from nst_cli.errors import ImageError

ENDINGS = [".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp"]
METADATA = {"method": "poly", "style": "Nuit étoilée 星月夜 🌌", "gamma": 5.0, "losses": [1, None]}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def save(tmp_path):
    """Save a Pillow image, or bytes, under a name; return the path."""

    def save_as(name, content, **options):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.save(path, **options)
        return str(path)

    return save_as


def noise(height=24, width=32, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(height=48, width=64):
    """A picture that lossy formats keep almost as it is."""
    y, x = np.mgrid[0:height, 0:width]
    planes = (40 + 2 * x, 60 + 3 * y, 220 - x - y)
    return np.stack(planes, axis=-1).astype(np.uint8)


# -- Profiles and PNG files that Pillow cannot make -----------------------------------------------


def icc_profile(space, connection, tags):
    """An ICC version 2 profile from its tags, a dict of 4-byte names to data."""
    offset, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += struct.pack(">4sLL", name, offset + len(body), len(data))
        body += data
    head = struct.pack(
        ">L4sL4s4s4s", offset + len(body), b"", 0x02100000, b"mntr", space, connection
    )
    head += b"\0" * 12 + b"acsp" + b"\0" * 28 + xyz(0.9642, 1, 0.8249)[8:]
    return head.ljust(128, b"\0") + struct.pack(">L", len(tags)) + table + body


def xyz(*values):
    return b"XYZ \0\0\0\0" + struct.pack(">3l", *(round(65536 * value) for value in values))


def gamma_curve(gamma):
    return b"curv\0\0\0\0" + struct.pack(">LH", 1, round(256 * gamma))


def adobe_rgb(gamma=563 / 256):
    """Adobe RGB (1998): its primaries adapted to D50, and its gamma or the one given."""
    return icc_profile(
        b"RGB ",
        b"XYZ ",
        {
            b"wtpt": xyz(0.9642, 1, 0.8249),
            b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
            b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
            b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
            **{name: gamma_curve(gamma) for name in (b"rTRC", b"gTRC", b"bTRC")},
        },
    )


def linear_grey():
    return icc_profile(
        b"GRAY", b"XYZ ", {b"wtpt": xyz(0.9642, 1, 0.8249), b"kTRC": gamma_curve(1.0)}
    )


def odd_cmyk():
    """A press that prints cyan as a red, L*a*b* = (50, 60, 0), and neither magenta nor yellow."""
    identity = bytes(range(256))
    # With a true black; otherwise the black of the press would be scaled to that of the screen.
    paper, red, black = bytes([255, 128, 128]), bytes([128, 188, 128]), bytes([0, 128, 128])
    grid = 4 * (paper + black) + 4 * (red + black)
    matrix = struct.pack(">9l", *(65536 * (i % 4 == 0) for i in range(9)))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + 4 * identity + grid + 3 * identity
    return icc_profile(b"CMYK", b"Lab ", {b"wtpt": xyz(0.9642, 1, 0.8249), b"A2B0": table})


def srgb_of(linear):
    """The sRGB transfer function (IEC 61966-2-1), 0 to 1 to 0 to 255."""
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


# XYZ at D50 to linear sRGB, Bradford-adapted (Lindbloom's tables).
TO_LINEAR_SRGB = np.array(
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
)


def srgb_of_lab(lightness, a, b):
    y = (lightness + 16) / 116
    f = np.array([y + a / 500, y, y - b / 200])
    ratio = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
    return srgb_of(TO_LINEAR_SRGB @ (ratio * [0.9642, 1, 0.8249]))


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


def test_16_bit_colour_is_read_with_8_bits(save):
    row = struct.pack(">6H", 0, 257 * 5, 65535, 257 * 7, 257 * 8, 257 * 9)
    pixels = images.read(save("a.png", png(2, 1, 16, 2, [row]))).pixels
    np.testing.assert_array_equal(pixels, [[[0, 5, 255], [7, 8, 9]]])


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


# -- Sizes ----------------------------------------------------------------------------------------


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    value=st.floats(0, 255, width=32),
    channels=st.sampled_from([None, 1, 3]),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_constant_stays_that_constant_at_any_size(size, value, channels):
    array = np.full((13, 17) + (() if channels is None else (channels,)), value, np.float32)
    resized = images.resize(array, size)
    assert resized.shape == size + array.shape[2:] and resized.dtype == np.float32
    np.testing.assert_allclose(resized, value, rtol=1e-6)


def test_the_same_size_gives_an_equal_copy(rng):
    array = rng.uniform(-10, 300, (5, 7, 3)).astype(np.float32)
    copy = images.resize(array, (5, 7))
    np.testing.assert_array_equal(copy, array)
    assert not np.shares_memory(copy, array)


def test_channels_are_resized_independently_and_a_plane_like_a_channel(rng):
    array = rng.uniform(0, 255, (20, 30, 3)).astype(np.float32)
    together = images.resize(array, (9, 14))
    for c in range(3):
        np.testing.assert_array_equal(together[..., c], images.resize(array[..., c], (9, 14)))


def test_shrinking_averages_instead_of_picking(rng):
    array = rng.uniform(100, 150, (96, 128, 3)).astype(np.float32)
    small = images.resize(array, (12, 16))
    np.testing.assert_allclose(small.mean(axis=(0, 1)), array.mean(axis=(0, 1)), atol=0.5)
    # 64 independent values to each new one leave an eighth of the deviation, a bit more by the
    # filter's shape; one picked value would leave it whole.
    assert small.std() < array.std() / 5


def test_a_checkerboard_shrinks_to_grey():
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.float32)
    inner = images.resize(board, (16, 16))[2:-2, 2:-2]
    np.testing.assert_allclose(inner, 127.5, atol=1)


def test_resizing_neither_rounds_nor_exceeds_the_range():
    edge = np.zeros((16, 16), np.float32)
    edge[:, 8:] = 255
    resized = images.resize(edge, (48, 48))
    assert resized.min() == 0 and resized.max() == 255
    assert np.any(resized % 1)


@given(
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    long_edge=st.integers(images.MIN_SIDE, 4000),
)
@settings(derandomize=True, deadline=None)
def test_the_long_edge_is_exact_and_the_aspect_kept_to_half_a_pixel(height, width, long_edge):
    try:
        fitted = images.fit((height, width, 3), long_edge)
    except ImageError:
        assert min(height, width) * long_edge / max(height, width) < images.MIN_SIDE - 0.5
        return
    assert max(fitted) == long_edge and min(fitted) >= images.MIN_SIDE
    for side, was in zip(fitted, (height, width)):
        assert abs(side - was * long_edge / max(height, width)) <= 0.5


@given(height=st.integers(1, 300), width=st.integers(1, 300))
@settings(derandomize=True, deadline=None)
def test_the_size_that_a_refusal_advises_is_the_least_that_works(height, width):
    try:
        images.fit((height, width), images.MIN_SIDE, "a.png")
    except ImageError as error:
        assert "a.png" in str(error) and f"{width} x {height}" in str(error)
        if "too elongated" in str(error):
            advised = 4097
        else:
            advised = int(str(error).split("--size ")[1].split()[0])
            assert min(images.fit((height, width), advised)) >= images.MIN_SIDE
        with pytest.raises(ImageError):
            images.fit((height, width), advised - 1)


def test_an_error_for_a_refused_size_names_both_sizes():
    with pytest.raises(ImageError) as error:
        images.fit((20, 400), 100, "strip.png")
    assert str(error.value) == (
        "Cannot work on strip.png: its 400 x 20 pixels become 100 x 5 at size 100, "
        "and each side needs 16; use --size 310 or more."
    )


def test_an_error_for_a_picture_too_elongated_says_to_crop_it():
    with pytest.raises(ImageError, match="too elongated, crop it"):
        images.fit((1, 5000), 600)


# -- Network input --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_all_256_values_come_back_from_the_network_form(dtype):
    pixels = np.stack([np.arange(256)] * 3, axis=-1).reshape(16, 16, 3).astype(dtype)
    pixels[..., 1] = pixels[::-1, :, 1]
    image = images.to_input(pixels)
    assert image.shape == (1, 3, 16, 16) and image.dtype == np.float32
    assert image.flags["C_CONTIGUOUS"]
    back = images.to_pixels(image)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, pixels)


def test_the_means_are_subtracted_in_the_order_red_green_blue():
    image = images.to_input(np.array([[[255, 0, 51]]], np.uint8))
    np.testing.assert_allclose(image[0, :, 0, 0], [131.32, -116.779, -52.939], atol=1e-4)


def test_scale_256_is_that_of_the_authors_code():
    pixels = noise()
    expected = (pixels / 255.0 * 256 - np.array([123.68, 116.779, 103.939])).transpose(2, 0, 1)
    np.testing.assert_allclose(images.to_input(pixels, scale=256)[0], expected, atol=5e-5)


def test_pixels_are_clipped_then_rounded_or_truncated():
    values = np.array([-3.0, 0.4, 0.6, 254.6, 300.0], np.float32)
    image = (np.tile(values, (3, 1)) - np.float32(images.MEANS)[:, None])[None, :, None, :]
    assert images.to_pixels(image)[0, :, 2].tolist() == [0, 0, 1, 255, 255]
    assert images.to_pixels(image, rounding="truncate")[0, :, 2].tolist() == [0, 0, 0, 254, 255]


# -- Writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS + [".PNG", ".Jpg"])
def test_a_written_picture_reads_the_same(tmp_path, ending):
    path = tmp_path / ("a" + ending)
    images.write(path, smooth())
    difference = np.abs(images.read(path).pixels - smooth())
    is_lossless = ending.lower() in (".png", ".tif", ".tiff")
    assert difference.max() <= (0 if is_lossless else 8)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_written_picture_says_that_it_is_srgb(tmp_path, ending):
    images.write(tmp_path / ("a" + ending), smooth())
    with Image.open(tmp_path / ("a" + ending)) as image:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    assert "sRGB" in ImageCms.getProfileDescription(profile)


def test_jpeg_keeps_its_full_chroma(tmp_path):
    images.write(tmp_path / "a.jpg", smooth())
    with Image.open(tmp_path / "a.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


@pytest.mark.parametrize("ending", [".png", ".tif", ".webp"])
def test_alpha_is_written_if_the_format_supports_it(tmp_path, ending, rng):
    path = tmp_path / ("a" + ending)
    alpha = rng.uniform(-1, 256, smooth().shape[:2]).astype(np.float32)
    assert images.holds_alpha(path)
    images.write(path, smooth(), alpha)
    np.testing.assert_array_equal(images.read(path).alpha, np.rint(np.clip(alpha, 0, 255)))


def test_colours_under_a_transparent_alpha_survive(tmp_path):
    for ending, tolerance in ((".png", 0), (".tif", 0), (".webp", 8)):
        path = tmp_path / ("a" + ending)
        images.write(path, smooth(), np.zeros(smooth().shape[:2], np.float32))
        with Image.open(path) as image:
            assert np.abs(np.asarray(image)[..., :3].astype(int) - smooth()).max() <= tolerance


def test_jpeg_drops_the_alpha(tmp_path):
    path = tmp_path / "a.JPEG"
    assert not images.holds_alpha(path)
    images.write(path, smooth(), np.zeros(smooth().shape[:2], np.float32))
    assert images.read(path).alpha is None


@pytest.mark.parametrize("with_alpha", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
def test_metadata_come_back_from_every_format(tmp_path, ending, with_alpha):
    path = tmp_path / ("a" + ending)
    alpha = np.full(smooth().shape[:2], 99, np.float32) if with_alpha else None
    images.write(path, smooth(), alpha, METADATA)
    assert images.read_metadata(path) == METADATA


def test_metadata_are_written_where_other_programs_read_them(tmp_path):
    images.write(tmp_path / "a.png", smooth(), metadata=METADATA)
    with Image.open(tmp_path / "a.png") as image:
        assert json.loads(image.text["nst"]) == METADATA
    for ending in (".jpg", ".tif", ".webp"):
        images.write(tmp_path / ("a" + ending), smooth(), metadata=METADATA)
        with Image.open(tmp_path / ("a" + ending)) as image:
            comment = image.getexif().get_ifd(0x8769)[0x9286]
        assert comment.startswith(b"ASCII\0\0\0")
        assert json.loads(comment[8:]) == {"nst": METADATA}


def test_the_user_comment_of_a_jpeg_has_the_type_that_the_standard_asks_for(tmp_path):
    images.write(tmp_path / "a.jpg", smooth(), metadata=METADATA)
    content = (tmp_path / "a.jpg").read_bytes()
    entry = content[content.index(struct.pack("<HH", 0x9286, 7)) :]
    size, offset = struct.unpack("<LL", entry[4:12])
    start = content.index(b"Exif\0\0") + 6 + offset
    assert json.loads(content[start + 8 : start + size]) == {"nst": METADATA}


def test_a_picture_without_our_metadata_has_none(save, tmp_path):
    for ending in ENDINGS:
        images.write(tmp_path / ("a" + ending), smooth())
        assert images.read_metadata(tmp_path / ("a" + ending)) is None
    foreign = Image.Exif()
    for comment in (
        b"ASCII\0\0\0seaside",
        b'ASCII\0\0\0{"steps": 20}',
        b"\0" * 8,
        b"ASCII\0\0\0[1]",
        b'UNICODE\0{"nst": {"steps": 20}}',
    ):
        foreign.get_ifd(0x8769)[0x9286] = comment
        assert images.read_metadata(save("b.jpg", Image.fromarray(smooth()), exif=foreign)) is None


def test_long_metadata_are_refused_by_jpeg_alone(tmp_path):
    metadata = {"note": "x" * 70000}
    with pytest.raises(ImageError, match=r"a\.jpg.*a JPEG holds 65533.*\.png"):
        images.write(tmp_path / "a.jpg", smooth(), metadata=metadata)
    assert os.listdir(tmp_path) == []
    for ending in (".png", ".tif", ".webp"):
        images.write(tmp_path / ("a" + ending), smooth(), metadata=metadata)
        assert images.read_metadata(tmp_path / ("a" + ending)) == metadata


def test_a_jpeg_takes_metadata_up_to_the_limit_that_its_error_names(tmp_path):
    empty = len(images.metadata.exif_block({"note": ""}, *smooth().shape[:2]))
    metadata = {"note": "x" * (65533 - empty)}
    images.write(tmp_path / "a.jpg", smooth(), metadata=metadata)
    assert images.read_metadata(tmp_path / "a.jpg") == metadata
    with pytest.raises(ImageError, match="65534"):
        images.write(tmp_path / "a.jpg", smooth(), metadata={"note": metadata["note"] + "x"})


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_same_picture_gives_the_same_bytes_at_any_time(tmp_path, monkeypatch, ending):
    alpha = np.full(smooth().shape[:2], 7, np.float32)
    contents = set()
    for name, stamp in (("a", b"\x07\xea\0\x01\0\x02\0\x03\0\x04\0\x05"), ("b", b"\0" * 12)):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        stamped = profile[:24] + stamp + profile[36:]
        monkeypatch.setattr(
            ImageCms.ImageCmsProfile, "tobytes", lambda self, profile=stamped: profile
        )
        images.write(tmp_path / (name + ending), smooth(), alpha, METADATA)
        contents.add((tmp_path / (name + ending)).read_bytes())
    assert len(contents) == 1


@pytest.mark.parametrize(
    "raised", [OSError(28, "No space left on device", ".tmp"), ValueError("x")]
)
def test_a_failed_write_leaves_the_existing_file(tmp_path, monkeypatch, raised):
    (tmp_path / "old.png").write_bytes(b"old")

    def fail(self, name, *args, **options):
        pathlib.Path(name).write_bytes(b"half")
        raise raised

    monkeypatch.setattr(Image.Image, "save", fail)
    for name in ("old.png", "new.png"):
        with pytest.raises(ImageError) as error:
            images.write(tmp_path / name, smooth())
        assert name in one_line(error)
    assert os.listdir(tmp_path) == ["old.png"]
    assert (tmp_path / "old.png").read_bytes() == b"old"


def test_a_size_beyond_the_format_is_an_image_error(tmp_path):
    with pytest.raises(ImageError, match=r"a\.webp"):
        images.write(tmp_path / "a.webp", np.zeros((1, 16384, 3), np.uint8))
    assert os.listdir(tmp_path) == []


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(self, name, *args, **options):
        pathlib.Path(name).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        images.write(tmp_path / "a.png", smooth())
    assert os.listdir(tmp_path) == []


# -- Checking the output beforehand ---------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_endings_that_can_be_written_pass(ending):
    images.check_ending("folder/a" + ending)


@pytest.mark.parametrize("name", ["a.bmp", "a", ".png", "a.png.gz"])
def test_an_unknown_ending_is_refused_with_the_known_ones(tmp_path, name):
    for function in (images.check_ending, images.holds_alpha):
        with pytest.raises(ImageError, match=r"\.png, \.jpg, \.jpeg, \.tif, \.tiff, \.webp"):
            function(tmp_path / name)
    with pytest.raises(ImageError):
        images.write(tmp_path / name, smooth())


@given(
    rgba=hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(4))),
    ending=st.sampled_from([".png", ".tif"]),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_opaque_pixels_and_alpha_survive_a_lossless_round_trip(tmp_path_factory, rgba, ending):
    path = tmp_path_factory.getbasetemp() / ("a" + ending)
    images.write(path, rgba[..., :3], rgba[..., 3])
    picture = images.read(path)
    alpha = np.full(rgba.shape[:2], 255) if picture.alpha is None else picture.alpha
    np.testing.assert_array_equal(alpha, rgba[..., 3])
    opaque = alpha == 255
    np.testing.assert_array_equal(picture.pixels[opaque], rgba[..., :3][opaque])
    assert math.isfinite(picture.pixels.sum())
