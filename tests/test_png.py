"""PNG files: every kind is read, or refused for the true reason."""

import struct
import zlib

import encoders
import numpy as np
import pytest
from patterns import (
    GREY,
    GREY_ROWS,
    HEIGHT,
    RAMP,
    WIDTH,
    adobe_rgb,
    gamma_curve,
    icc_profile,
    linear_grey,
    noise,
    refusal,
    srgb_of,
    xyz,
)
from PIL import Image

from nst_cli import images


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_one_grey_of_any_depth_may_be_transparent(file, depth):
    values = np.arange(8) % 2**depth
    row = encoders.packed(values[None], depth, ">")
    key = 1
    path = file(
        encoders.png([row], depth, 0, encoders.chunk(b"tRNS", struct.pack(">H", key)), width=8)
    )
    np.testing.assert_array_equal(images.read(path).alpha, [np.where(values == key, 0, 255)])


def test_one_colour_of_16_bits_may_be_transparent_and_its_neighbours_not(file):
    key = (1000, 2000, 3000)
    row = struct.pack(">9H", *key, 1000, 2000, 3001, 1001, 2000, 3000)
    path = file(encoders.png([row], 16, 2, encoders.chunk(b"tRNS", struct.pack(">3H", *key))))
    np.testing.assert_array_equal(images.read(path).alpha, [[0, 255, 255]])


def test_long_texts_and_large_profiles_are_accepted(file):
    text = encoders.chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * 3_000_000))
    profile = encoders.chunk(b"iCCP", b"p\0\0" + zlib.compress(adobe_rgb(1.0) + bytes(2_000_000)))
    np.testing.assert_array_equal(
        images.read(file(encoders.png(GREY_ROWS, 8, 0, text))).pixels[..., 0], GREY
    )
    pixels = images.read(file(encoders.png(GREY_ROWS, 8, 0, profile))).pixels
    assert np.abs(pixels[..., 0] - srgb_of(RAMP)).max() <= 2


def broken(chunk):
    """A chunk whose checksum is wrong."""
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


@pytest.mark.parametrize(
    "text",
    [
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0"),
        (b"zTXt", b"Raw profile type APP1\0\0" + zlib.compress(b"")),
        (b"tEXt", b"Raw profile type exif\0"),
    ],
    ids=["XMP", "APP1", "Exif"],
)
def test_an_empty_text_is_no_obstacle(file, text):
    path = file(encoders.png(GREY_ROWS, 8, 0, encoders.chunk(*text)))
    assert images.size_of(path) == images.read(path).pixels.shape[:2]


def test_a_wrong_checksum_is_an_error_only_in_a_chunk_of_pixels(file):
    for name in (b"tEXt", b"gAMA", b"iCCP", b"eXIf", b"tRNS"):
        content = encoders.png(GREY_ROWS, 8, 0, broken(encoders.chunk(name, b"\0\0\0\1")))
        picture = images.read(file(content))
        np.testing.assert_array_equal(picture.pixels[..., 0], GREY)
    content = encoders.png(GREY_ROWS, 8, 0)
    at = content.index(b"IDAT") + 20
    line = refusal(file(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]))
    assert "checksum" in line and "IDAT" in line


def test_unknown_critical_chunks_and_apples_variant_are_refused(file):
    assert "QUAX" in refusal(file(encoders.png(GREY_ROWS, 8, 0, encoders.chunk(b"QUAX", b""))))
    content = encoders.png(GREY_ROWS, 8, 0)
    head = content[:8] + encoders.chunk(b"CgBI", b"\0" * 4)
    assert "Apple" in refusal(file(head + content[8:]))


def test_a_png_without_its_end_or_all_its_rows_is_refused(file):
    content = encoders.png(GREY_ROWS, 8, 0)
    assert "IEND" in refusal(file(content[:-12]))
    head = struct.pack(">LLBBBBB", WIDTH, HEIGHT + 1, 8, 0, 0, 0, 0)
    higher = content[:8] + encoders.chunk(b"IHDR", head) + content[33:]
    assert "rows are missing" in refusal(file(higher))


def interlaced(image):
    """The passes of Adam7, each row with filter 0, as a PNG of 8-bit grey."""
    rows = b""
    for left, top, across, down in (
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):  # fmt: skip
        part = image[top::down, left::across]
        rows += b"".join(b"\0" + row.tobytes() for row in part) if part.size else b""
    head = struct.pack(">LLBBBBB", image.shape[1], image.shape[0], 8, 0, 0, 0, 1)
    parts = encoders.chunk(b"IHDR", head) + encoders.chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + parts + encoders.chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (9, 17), (32, 64)])
def test_interlaced_rows_are_counted_right(file, size):
    image = noise(*size, channels=1)
    pixels = images.read(file(interlaced(image))).pixels
    np.testing.assert_array_equal(pixels[..., 0], image)


GAMMA_1 = encoders.chunk(b"gAMA", struct.pack(">L", 100000))
SRGB = encoders.chunk(b"sRGB", b"\0")
ADOBE = encoders.chunk(b"iCCP", b"p\0\0" + zlib.compress(adobe_rgb(1.8)))
GAMMA_2_8 = encoders.chunk(b"cICP", bytes([1, 5, 0, 1]))


@pytest.mark.parametrize(
    "chunks, exponent",
    [
        ([GAMMA_1], 1),
        ([encoders.chunk(b"gAMA", struct.pack(">L", 55556))], 1.8),
        ([encoders.chunk(b"gAMA", struct.pack(">L", 45455))], None),
        ([SRGB, GAMMA_1], None),
        ([ADOBE, SRGB, GAMMA_1], 1.8),
        ([GAMMA_2_8, ADOBE, SRGB, GAMMA_1], 2.8),
        ([encoders.chunk(b"gAMA", bytes(4))], None),
        ([encoders.chunk(b"cHRM", bytes(32))], None),
    ],
)
def test_colours_of_a_png_follow_the_chunk_that_takes_precedence(file, chunks, exponent):
    # PNG, third edition, section 4.3: cICP, iCCP, sRGB, then gAMA and cHRM.
    pixels = images.read(file(encoders.png(GREY_ROWS, 8, 0, *chunks))).pixels[..., 1]
    expected = GREY if exponent is None else srgb_of(RAMP**exponent)
    assert np.abs(pixels - expected).max() <= 2


def linear_p3():
    """An ICC profile of Display P3's primaries, adapted to D50, and no curve."""
    places = {
        b"rXYZ": xyz(0.51512, 0.2412, -0.00105),
        b"gXYZ": xyz(0.29198, 0.69225, 0.04189),
        b"bXYZ": xyz(0.1571, 0.06657, 0.78407),
    }
    curves = {name: gamma_curve(1.0) for name in (b"rTRC", b"gTRC", b"bTRC")}
    return icc_profile(b"RGB ", b"XYZ ", {b"wtpt": xyz(0.9642, 1, 0.8249), **places, **curves})


def test_primaries_of_a_png_are_converted_as_a_profile_of_them_is(file):
    p3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
    places = encoders.chunk(b"cHRM", struct.pack(">8L", *(round(100000 * x) for x in p3)))
    code = encoders.chunk(b"cICP", bytes([12, 8, 0, 1]))
    profile = encoders.chunk(b"iCCP", b"p\0\0" + zlib.compress(linear_p3()))
    rows = [bytes([200, 100, 50, 30, 90, 120, 255, 255, 255])]
    # By LittleCMS, which knows nothing of nst's matrices.
    expected = images.read(file(encoders.png(rows, 8, 2, profile))).pixels
    assert np.abs(images.read(file(encoders.png(rows, 8, 2, code))).pixels - expected).max() < 1
    assert (
        np.abs(
            images.read(file(encoders.png(rows, 8, 2, places, GAMMA_1))).pixels - expected
        ).max()
        < 1
    )


@pytest.mark.parametrize("transfer, name", [(16, "PQ"), (18, "HLG")])
def test_an_error_names_a_high_dynamic_range(file, transfer, name):
    chunk = encoders.chunk(b"cICP", bytes([9, transfer, 0, 1]))
    assert name in refusal(file(encoders.png([bytes(3)], 8, 2, chunk)))


@pytest.mark.parametrize("profile", [adobe_rgb(1.0), linear_grey()], ids=["RGB", "grey"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_profile_is_converted_for_16_bit_grey(file, profile, kind):
    image = Image.fromarray(np.rint(RAMP * 65535).astype("u2"))
    pixels = images.read(file(encoders.saved(image, kind, icc_profile=profile))).pixels
    # LittleCMS is coarse near black, where the curve of sRGB is steep.
    assert np.abs(pixels[..., 0] - srgb_of(RAMP))[:, 8:].max() <= 2


@pytest.mark.parametrize("late", [False, True])
def test_the_orientation_of_a_png_is_read_wherever_its_chunk_is(file, late):
    exif = Image.Exif()
    exif[274] = 6
    content = encoders.png(GREY_ROWS, 8, 0)
    at = len(content) - 12 if late else 33
    chunk = encoders.chunk(b"eXIf", exif.tobytes()[6:])
    path = file(content[:at] + chunk + content[at:])
    assert images.size_of(path) == (WIDTH, HEIGHT)
    assert images.read(path).pixels.shape == (WIDTH, HEIGHT, 3)
