"""Each format is read as its specification says, or the file is refused for the true reason."""

import io
import os
import re
import struct
import subprocess
import sys
import zlib

import encoders
import numpy as np
import pytest
from PIL import Image, ImageCms
from test_images import (
    adobe_rgb,
    gamma_curve,
    icc_profile,
    linear_grey,
    noise,
    smooth,
    srgb_of,
    xyz,
)

from nst_cli import images
from nst_cli.errors import ImageError

WIDTH, HEIGHT = 64, 32
RAMP = np.tile(np.linspace(0, 1, WIDTH), (HEIGHT, 1))
GREY = np.rint(RAMP * 255).astype("u1")
RGB = np.dstack([GREY, GREY[:, ::-1], GREY])


def refusal(path, function=images.read, **options):
    """Return the one-line error with which `read` refuses a file."""
    with pytest.raises(ImageError) as error:
        function(path, **options)
    line = str(error.value)
    assert "\n" not in line and line.startswith("Cannot read") and line.endswith(".")
    return line


def levels(bits):
    """A ramp of greys from black to white, shape (H, W, 1)."""
    return np.rint(RAMP * (2**bits - 1)).astype(int)[..., None]


# -- TIFF -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("photometric", [0, 1], ids=["white is 0", "black is 0"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8, 10, 12, 14, 16])
def test_a_grey_tiff_goes_from_black_to_white(file, bits, order, photometric):
    values = levels(bits)
    stored = values if photometric else 2**bits - 1 - values
    pixels = images.read(file(encoders.tiff(stored, bits, photometric, order))).pixels
    expected = values * (255 / (2**bits - 1))
    np.testing.assert_allclose(pixels, expected.repeat(3, axis=2), atol=0.002)


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [12, 16])
def test_a_compressed_grey_tiff_goes_from_black_to_white(file, bits, order, photometric):
    values = levels(bits)
    stored = values if photometric else 2**bits - 1 - values
    data = zlib.compress(encoders.packed(stored[..., 0], bits, order))
    entries = {
        256: (4, [WIDTH]), 257: (4, [HEIGHT]), 258: (3, [bits]), 259: (3, [8]),
        262: (3, [photometric]), 273: (4, [8]), 277: (3, [1]), 278: (4, [HEIGHT]),
        279: (4, [len(data)]),
    }  # fmt: skip
    path = file(encoders.with_folder(data + bytes(len(data) % 2), entries, order))
    expected = values[..., 0] * (255 / (2**bits - 1))
    np.testing.assert_allclose(images.read(path).pixels[..., 0], expected, atol=0.002)


def test_a_largest_sample_value_does_not_change_what_is_seen(file):
    # TIFF 6.0, p. 39: MaxSampleValue is for statistics alone.
    values = levels(12)
    path = file(encoders.tiff(values, 16, 1, tags=[(281, 3, [4095])]))
    assert images.read(path).pixels.max() == pytest.approx(4095 / 257)


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [4, 8, 10, 12, 16])
def test_a_colour_tiff_is_read_with_any_depth_and_planes(file, bits, order, planar):
    stored = np.rint(RGB / 255 * (2**bits - 1)).astype(int)
    pixels = images.read(file(encoders.tiff(stored, bits, 2, order, planar))).pixels
    expected = stored >> 8 if bits == 16 else np.rint(stored * (255 / (2**bits - 1)))
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planar", [False, True])
def test_alpha_of_a_tiff_may_be_multiplied_into_colours_or_not(file, bits, planar):
    top, share = 2**bits - 1, 0.4
    for kind, factor in ((2, 1), (1, share)):
        for samples, photometric in ((1, 1), (3, 2)):
            colours = np.full((4, 6, samples), round(0.8 * factor * top))
            alpha = np.full((4, 6, 1), round(share * top))
            stored = np.concatenate([colours, alpha], axis=2)
            path = file(encoders.tiff(stored, bits, photometric, "<", planar, [(338, 3, [kind])]))
            picture = images.read(path)
            np.testing.assert_allclose(picture.alpha, share * 255, atol=1)
            expected = 255 * (1 - share + share * 0.8)
            np.testing.assert_allclose(picture.pixels, expected, atol=1.5)


def test_a_bigtiff_is_read_in_either_byte_order(file):
    for order in "<>":
        path = file(encoders.tiff(RGB, order=order, is_big=True))
        np.testing.assert_array_equal(images.read(path).pixels, RGB)
        assert images.size_of(path) == (HEIGHT, WIDTH)


def test_16_bit_tiles_in_separate_planes_are_read(file):
    stored = (np.arange(40 * 24 * 3).reshape(40, 24, 3) * 22).astype("<u2")
    grid = np.zeros((48, 32, 3), "<u2")
    grid[:40, :24] = stored
    tiles = [
        grid[top : top + 16, left : left + 16, plane].tobytes()
        for plane in range(3)
        for top in (0, 16, 32)
        for left in (0, 16)
    ]
    entries = {
        256: (4, [24]), 257: (4, [40]), 258: (3, [16] * 3), 259: (3, [1]), 262: (3, [2]),
        277: (3, [3]), 284: (3, [2]), 322: (3, [16]), 323: (3, [16]),
        324: (4, [8 + 512 * n for n in range(18)]), 325: (4, [512] * 18),
    }  # fmt: skip
    pixels = images.read(file(encoders.with_folder(b"".join(tiles), entries))).pixels
    np.testing.assert_array_equal(pixels, stored >> 8)


@pytest.mark.parametrize(
    "bits, options, words",
    [
        (32, {"tags": [(339, 3, [3] * 3)]}, "32-bit floating-point RGB"),
        (16, {"tags": [(339, 3, [3] * 3)]}, "16-bit floating-point RGB"),
        (8, {"tags": [(339, 3, [2] * 3)]}, "8-bit signed RGB"),
        (8, {"photometric": 6}, "8-bit YCbCr"),
        (8, {"photometric": 9}, "8-bit ICCLab"),
        (8, {"photometric": 32845}, "8-bit LogLuv"),
    ],
)
def test_an_error_names_an_unsupported_pixel_layout(file, bits, options, words):
    values = RGB.astype("f4") if bits == 32 else RGB
    line = refusal(file(encoders.tiff(values, bits, **options)))
    assert words in line and "save it with 8 or 16 bits per channel as RGB" in line


def test_an_error_names_an_unsupported_compression(file):
    for number, name in ((50001, "WebP"), (34887, "LERC"), (12345, "number 12345")):
        assert name in refusal(file(encoders.tiff(RGB, tags=[(259, 3, [number])])))


@pytest.mark.parametrize(
    "tags",
    [
        [(254, 4, [1])],
        [(255, 3, [2])],
        [(50706, 1, b"\1\4\0\0")],
        [(262, 3, [32803])],
    ],
    ids=["reduced", "reduced in TIFF 5", "DNG", "colour filter array"],
)
def test_a_raw_file_is_refused_instead_of_reading_its_thumbnail(file, tags):
    path = file(encoders.tiff(RGB, tags=tags))
    for function in (images.read, images.size_of):
        assert "develop it first" in refusal(path, function)


def test_a_raw_file_whose_first_page_is_a_thumbnail_is_refused(file):
    content = encoders.tiff(RGB[::4, ::4])
    at = len(content) + len(content) % 2
    below = struct.pack("<H", 2) + struct.pack("<HHLL", 256, 4, 1, 6000)
    below += struct.pack("<HHLL", 257, 4, 1, 4000) + bytes(4)
    first = encoders.tiff(RGB[::4, ::4], tags=[(330, 4, [at + 12])])
    assert len(first) == at + 12
    assert "raw file" in refusal(file(first + below))
    # A pyramid stores its smaller copies there.
    smaller = below.replace(struct.pack("<L", 6000), struct.pack("<L", 6)).replace(
        struct.pack("<L", 4000), struct.pack("<L", 4)
    )
    assert images.read(file(first + smaller)).pixels.shape == (8, 16, 3)


def test_tags_of_unusual_types_and_positions_are_ignored(file):
    strange = [
        (282, 3, [72]),
        (305, 99, b"x"),
        (700, 3, [1, 2, 3]),
        (34675, 3, [300]),
        (315, 4, [9]),
    ]
    np.testing.assert_array_equal(images.read(file(encoders.tiff(RGB, tags=strange))).pixels, RGB)


def test_a_strip_beyond_the_end_is_refused(file):
    for bits in (8, 12):
        content = encoders.tiff(levels(bits), bits, 1, tags=[(273, 4, [1 << 20])])
        assert "truncated" in refusal(file(content))


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_and_pixels_of_a_tiff_agree_in_every_orientation(file, orientation, compression):
    stored = Image.fromarray(smooth(24, 40))
    path = file(
        encoders.saved(stored, "TIFF", tiffinfo={274: orientation}, compression=compression)
    )
    picture = images.read(path)
    assert images.size_of(path) == picture.pixels.shape[:2]
    assert (picture.pixels.shape[0] == 40) == (orientation > 4)


def test_messages_of_libtiff_are_not_printed(file, capfd):
    content = bytearray(encoders.saved(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"))
    content[40:80] = b"\xff" * 40
    refusal(file(bytes(content)))
    assert capfd.readouterr() == ("", "")


def test_a_tiff_is_read_with_standard_error_closed(file):
    path = file(encoders.saved(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"))
    script = (
        "import os, sys; os.close(2); from nst_cli import images\n"
        f"print(images.read({path!r}).pixels.shape)\n"
        "try: os.fstat(2)\nexcept OSError: print('closed')"
    )
    result = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    assert result.stdout.decode().splitlines() == [f"({HEIGHT}, {WIDTH}, 3)", "closed"]


# -- PNG ------------------------------------------------------------------------------------------


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


GREY_ROWS = [row.tobytes() for row in GREY]


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


# -- JPEG -----------------------------------------------------------------------------------------


def photograph():
    """Texture over gradients: all kinds of blocks."""
    texture = noise(96, 144).astype(int) // 6
    return Image.fromarray(np.clip(smooth(96, 144) * 0.7 + texture, 0, 255).astype("u1"))


JPEGS = {
    "plain": {},
    "optimised": {"optimize": True, "quality": 90},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "halved": {"subsampling": 2, "quality": 60},
}


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("picture", [photograph(), photograph().convert("L")], ids=["RGB", "grey"])
def test_a_jpeg_that_ends_in_zeros_is_refused(file, picture, options, share):
    content = encoders.saved(picture, "JPEG", **options)
    assert images.read(file(content)).pixels.shape == (96, 144, 3)
    at = int(len(content) * share)
    zeros = bytes(len(content) - at)
    refusal(file(content[:at] + zeros))
    # The same with its end marker, as if a part in the middle of the file was zeroed.
    refusal(file(content[:at] + zeros[:-2] + b"\xff\xd9"))
    refusal(file(content[:at] + b"\xff\xd9"))


def test_a_jpeg_whose_frame_and_data_differ_in_height_is_refused(file):
    content = encoders.saved(photograph(), "JPEG")
    higher = content.replace(struct.pack(">HH", 96, 144), struct.pack(">HH", 192, 144))
    assert "its data end before its rows do" in refusal(file(higher))
    lower = content.replace(struct.pack(">HH", 96, 144), struct.pack(">HH", 48, 144))
    assert "go on after its last row" in refusal(file(lower))


def test_restart_markers_out_of_order_are_refused(file):
    content = encoders.saved(photograph(), "JPEG", restart_marker_rows=1)
    assert "restart markers" in refusal(file(content.replace(b"\xff\xd1", b"\xff\xd4")))


def test_bytes_after_the_end_of_a_jpeg_and_padding_are_ignored(file):
    content = encoders.saved(photograph(), "JPEG")
    pixels = images.read(file(content)).pixels
    for after in (b"\0" * 5000, b"SAMSUNG" * 9, content):
        np.testing.assert_array_equal(images.read(file(content + after)).pixels, pixels)
    # Surplus bytes, or fill bytes, before the marker.
    for padding in (b"\0" * 5, b"\xff" * 7):
        padded = content[:-2] + padding + b"\xff\xd9"
        np.testing.assert_array_equal(images.read(file(padded)).pixels, pixels)


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
def test_blank_jpegs_are_not_taken_for_truncated_ones(file, options, value):
    for mode in ("L", "RGB", "CMYK"):
        blank = Image.new("RGB", (200, 100), (value,) * 3).convert(mode)
        assert images.read(file(encoders.saved(blank, "JPEG", **options))).pixels.shape[0] == 100


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (16, 16), (17, 33), (300, 5)])
def test_small_jpegs_are_not_taken_for_truncated_ones(file, size):
    for options in JPEGS.values():
        picture = Image.fromarray(noise(*size))
        assert (
            images.read(file(encoders.saved(picture, "JPEG", **options))).pixels.shape[:2] == size
        )


def test_an_error_names_a_12_bit_or_lossless_jpeg(file):
    content = encoders.saved(photograph(), "JPEG")
    at = content.index(b"\xff\xc0")
    for marker, bits, words in ((0xC1, 12, "JPEG of 12 bits"), (0xC3, 8, "lossless JPEG")):
        changed = content[: at + 1] + bytes([marker]) + content[at + 2 : at + 4]
        changed += bytes([bits]) + content[at + 5 :]
        assert words in refusal(file(changed))


def test_a_jpeg_beyond_the_pixel_limit_is_decoded_at_a_smaller_scale(file):
    path = file(encoders.saved(Image.fromarray(smooth(200, 300)), "JPEG"))
    whole = images.read(path, max_pixels=60000).pixels
    half = images.read(path, max_pixels=59999, long_edge=150).pixels
    assert (whole.shape, half.shape) == ((200, 300, 3), (100, 150, 3))
    shrunk = images.resize(whole, (100, 150))
    assert np.abs(half - shrunk).mean() < 4
    # The first scale that is small enough but not smaller than the result.
    assert images.read(path, max_pixels=5000, long_edge=64).pixels.shape == (50, 75, 3)
    for long_edge in (151, None):
        line = refusal(path, max_pixels=59999, long_edge=long_edge)
        assert "--max-pixels 60000" in line
    assert images.size_of(path) == (200, 300)
    refusal(path, images.size_of, max_pixels=59999)
    assert images.size_of(path, max_pixels=59999, long_edge=150) == (200, 300)


# -- Other formats --------------------------------------------------------------------------------


def half_zeros(content):
    return content[: len(content) // 2] + bytes(len(content) - len(content) // 2)


@pytest.mark.parametrize("options", [{}, {"lossless": True}], ids=["lossy", "lossless"])
@pytest.mark.parametrize("picture", [Image.fromarray(noise(80, 120)), photograph()])
def test_a_webp_whose_second_half_is_zeros_is_refused(file, picture, options):
    content = encoders.saved(picture, "WEBP", **options)
    assert images.read(file(content)).pixels.shape[2] == 3
    for share in (0.3, 0.5, 0.9):
        at = int(len(content) * share)
        refusal(file(content[:at] + bytes(len(content) - at)))


def test_blank_and_animated_webps_are_not_taken_for_truncated_ones(file):
    for options in ({}, {"lossless": True}):
        for colour in ("black", "white"):
            blank = Image.new("RGB", (300, 200), colour)
            assert images.read(file(encoders.saved(blank, "WEBP", **options))).alpha is None
        frames = [photograph(), photograph().rotate(180)]
        content = encoders.saved(
            frames[0], "WEBP", save_all=True, append_images=frames[1:], **options
        )
        assert images.read(file(content)).pixels.shape == (96, 144, 3)


Image.init()
has_avif = pytest.mark.skipif("AVIF" not in Image.OPEN, reason="this Pillow reads no AVIF")


@has_avif
def test_an_avif_whose_second_half_is_zeros_is_refused(file):
    content = encoders.saved(photograph(), "AVIF")
    assert images.read(file(content)).pixels.shape == (96, 144, 3)
    refusal(file(half_zeros(content)))


@has_avif
def test_colours_described_only_by_nclx_are_converted(file):
    content = encoders.saved(Image.new("RGB", (32, 32), (200, 100, 50)), "AVIF", quality=100)
    stored = images.read(file(content)).pixels[16, 16]
    at = content.index(b"nclx") + 4
    linear = content[:at] + struct.pack(">2H", 1, 8) + content[at + 4 :]
    pixels = images.read(file(linear)).pixels
    np.testing.assert_allclose(pixels[16, 16], srgb_of(stored / 255), atol=1)
    pq = content[:at] + struct.pack(">2H", 9, 16) + content[at + 4 :]
    assert "PQ" in refusal(file(pq))


def test_the_profile_of_a_jpeg_2000_is_converted(file):
    content = encoders.saved(Image.fromarray(np.dstack([GREY] * 3)), "JPEG2000")
    profile = encoders.box(b"colr", b"\2\0\0" + adobe_rgb(1.0))
    pixels = images.read(file(encoders.with_jp2_boxes(content, profile))).pixels
    assert np.abs(pixels[..., 0] - srgb_of(RAMP)).max() <= 2


def test_a_jpeg_2000_that_pillow_misreads_is_refused(file):
    content = encoders.saved(Image.fromarray(RGB), "JPEG2000")
    at = content.index(b"\xff\x4f\xff\x51")
    # Its origin, and the sign of its first component.
    shifted = bytearray(content)
    shifted[at + 16 : at + 24] = struct.pack(">2L", 5, 3)
    assert "offset" in refusal(file(bytes(shifted)))
    signed = bytearray(content)
    signed[at + 42] |= 0x80
    assert "signed" in refusal(file(bytes(signed)))


def gif(canvas, place, colours=b"\xff\0\0\0\xff\0", flags=0x80):
    """A GIF with one frame, all of colour 0, at (left, top, width, height)."""
    _, _, width, height = place
    # LZW of 3 bits: a clear code after each index keeps the codes short.
    bits = "".join(f"{code:03b}"[::-1] for _ in range(width * height) for code in (4, 0)) + "101"
    bits += "0" * (-len(bits) % 8)
    data = bytes(int(bits[n : n + 8][::-1], 2) for n in range(0, len(bits), 8))
    blocks = b"".join(
        bytes([len(data[n : n + 255])]) + data[n : n + 255] for n in range(0, len(data), 255)
    )
    head = b"GIF89a" + struct.pack("<HHBBB", *canvas, flags, 1, 0) + colours
    return head + b"," + struct.pack("<4HB", *place, 0) + b"\2" + blocks + b"\0;"


def test_pixels_outside_the_first_frame_of_a_gif_are_transparent(file):
    picture = images.read(file(gif((20, 18), (4, 2, 8, 6))))
    expected = np.zeros((18, 20))
    expected[2:8, 4:12] = 255
    np.testing.assert_array_equal(picture.alpha, expected)
    np.testing.assert_array_equal(picture.pixels[3, 5], [255, 0, 0])
    np.testing.assert_array_equal(picture.pixels[0, 0], [255, 255, 255])
    assert images.read(file(gif((8, 6), (0, 0, 8, 6)))).alpha is None


def test_a_gif_larger_than_its_canvas_has_one_size(file):
    path = file(gif((4, 3), (0, 0, 8, 6)))
    assert images.size_of(path) == images.read(path).pixels.shape[:2] == (6, 8)


def bmp(values, masks, head_size=124, profile=b""):
    """A BMP of 16-bit pixels with masks for red, green, blue and alpha."""
    height, width = values.shape
    rows = b"".join(row.astype("<u2").tobytes() + bytes(width * 2 % 4) for row in values[::-1])
    info = struct.pack("<LllHHLLllLL", head_size, width, height, 1, 16, 3, len(rows), 0, 0, 0, 0)
    info += struct.pack("<4L", *masks)
    info = (info + (b"DEBM" if profile else b"BGRs")).ljust(head_size, b"\0")
    info = info[:112] + struct.pack("<LLL", head_size + len(rows), len(profile), 0)
    start = 14 + head_size
    return b"BM" + struct.pack("<LHHL", start + len(rows), 0, 0, start) + info + rows + profile


def test_16_bit_pixels_of_a_bmp_have_alpha(file):
    values = np.array([[0x7FFF, 0xFFFF, 0x8000]])
    picture = images.read(file(bmp(values, (0x7C00, 0x3E0, 0x1F, 0x8000))))
    np.testing.assert_array_equal(picture.alpha, [[0, 255, 255]])
    opaque = images.read(file(bmp(values & 0x7FFF, (0x7C00, 0x3E0, 0x1F, 0x8000))))
    assert opaque.alpha is None


def test_the_profile_in_a_bmp_is_converted(file):
    values = np.full((4, 4), 0b0_10000_10000_10000)
    path = file(bmp(values, (0x7C00, 0x3E0, 0x1F, 0), profile=adobe_rgb(1.0)))
    assert np.abs(images.read(path).pixels - srgb_of(16 / 31)).max() <= 3


# -- Unsupported kinds ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head, words",
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC picture.*export it as JPEG"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "camera's raw"),
        (b"FUJIFILMCCD-RAW 0201", "camera's raw"),
        (b"IIRO\x08\0\0\0", "camera's raw"),
        (b"IIU\0\x18\0\0\0", "camera's raw"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "camera's raw"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isomavc1", "video"),
        (b"\x1aE\xdf\xa3\1\0\0\0", "video"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"8BPS\0\1", "Photoshop"),
        (b"%PDF-1.7\n", "PDF"),
        (b"%!PS-Adobe-3.0", "PostScript"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x">', "SVG"),
        (b"\xef\xbb\xbf  <SVG>", "SVG"),
        (b"<!DOCTYPE html>\n<html>", "web page"),
        (b"P7\nWIDTH 3\n", "PAM"),
        (b"PK\3\4\x14\0", "archive"),
        (b"\0\5\x16\7\0\2\0\0", "macOS"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (bytes(9000), "nothing but zeros|empty but for zeros"),
        (b"", "it is empty"),
        (b"BMW owners\n" * 20, "not a picture"),
        (b"v/1\1\2\0\0\0", "OpenEXR"),
        (b"\1\xda\1\1\0\3", "SGI"),
    ],
)
def test_files_of_other_kinds_are_recognised_by_their_first_bytes(file, head, words):
    path = file(head)
    for function in (images.read, images.size_of, images.read_metadata):
        assert re.search(words, refusal(path, function))


def test_a_pipe_or_a_device_is_refused_before_it_is_read_as_a_picture(file, monkeypatch):
    path = file(b"words\n" * 1000)
    monkeypatch.setattr(images.reading, "content_of", None)
    assert "not a picture" in refusal(path)


@pytest.mark.parametrize("name", ["a\0b.jpg", "a\ud800.jpg"])
def test_impossible_file_names_are_refused(name):
    for function in (images.read, images.size_of, images.read_metadata):
        with pytest.raises(ImageError, match="no file can have this name"):
            function(name)


def test_checksum_and_pixels_are_of_the_same_bytes_even_if_the_file_is_replaced(
    file, monkeypatch, tmp_path
):
    path = file(encoders.saved(Image.fromarray(RGB), "PNG"))
    other = encoders.saved(Image.fromarray(RGB[::-1, ::-1]), "PNG")
    before = images.read(path)
    content_of = images.reading.content_of

    def replaced(stream):
        (tmp_path / "new").write_bytes(other)
        os.replace(tmp_path / "new", path)
        return content_of(stream)

    monkeypatch.setattr(images.reading, "content_of", replaced)
    picture = images.read(path)
    assert picture.sha256 == before.sha256
    np.testing.assert_array_equal(picture.pixels, before.pixels)


def test_an_error_says_that_memory_is_too_small(file, monkeypatch):
    path = file(encoders.saved(Image.fromarray(RGB), "PNG"))

    def exhausted(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(images.reading, "to_srgb", exhausted)
        assert "not enough memory" in refusal(path)
    monkeypatch.setattr(images.reading, "_SMALL", 0)
    monkeypatch.setattr(images.reading.machine, "free_memory", lambda: 50000)
    assert re.search("take about .* GB of memory, and .* GB can be had", refusal(path))


def test_a_bug_of_nst_keeps_its_traceback(file, monkeypatch):
    path = file(encoders.saved(Image.fromarray(RGB), "PNG"))

    def bug(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(images.reading, "_opacity", bug)
    with pytest.raises(ZeroDivisionError):
        images.read(path)


# -- Writing --------------------------------------------------------------------------------------


def folder_of(content, offset):
    (count,) = struct.unpack_from("<H", content, offset)
    rows = [struct.unpack_from("<HHL4s", content, offset + 2 + 12 * n) for n in range(count)]
    return {tag: (kind, number, value) for tag, kind, number, value in rows}


@pytest.mark.parametrize("has_alpha", [False, True])
def test_a_written_tiff_has_what_baseline_tiff_and_exif_require(tmp_path, has_alpha):
    alpha = np.full((48, 64), 99) if has_alpha else None
    images.write(tmp_path / "a.tif", smooth(), alpha, {"steps": 3})
    content = (tmp_path / "a.tif").read_bytes()
    root = folder_of(content, struct.unpack_from("<L", content, 4)[0])
    assert {282, 283, 296, 256, 257, 258, 259, 262, 273, 277, 278, 279} <= root.keys()
    assert (338 in root) == has_alpha
    exif = folder_of(content, struct.unpack("<L", root[34665][2])[0])
    assert exif[37510][0] == 7
    assert list(root) == sorted(root) and list(exif) == sorted(exif)
    with Image.open(tmp_path / "a.tif") as image:
        assert image.info["dpi"] == (72, 72)
        assert image.mode == ("RGBA" if has_alpha else "RGB")


@pytest.mark.parametrize(
    "name, height, width, alpha",
    [
        ("a.webp", 10, 16384, False),
        ("a.jpg", 65501, 10, False),
        ("a.png", 1, 2**31, False),
        ("a.tif", 40000, 40000, False),
        ("a.tif", 32768, 32768, True),
    ],
)
def test_a_size_beyond_the_format_is_refused_before_the_work(name, height, width, alpha):
    with pytest.raises(ImageError, match=rf"Cannot write {name}.*choose a name that ends in"):
        images.check_size(name, height, width, alpha)


@pytest.mark.parametrize("name", ["a.webp", "a.jpg", "a.png", "a.tif"])
def test_sizes_and_metadata_that_a_format_holds_pass(name):
    images.check_size(name, 16383, 16383, np.zeros(1), {"note": "x" * 60000})
    images.check_size(name, 16, 16)


def test_metadata_too_long_for_a_jpeg_are_refused_before_the_work():
    with pytest.raises(ImageError, match=r"a JPEG holds 65533.*\.png"):
        images.check_size("a.jpg", 16, 16, metadata={"note": "x" * 66000})
    images.check_size("a.tif", 16, 16, metadata={"note": "x" * 66000})


def test_nsts_metadata_are_read_after_long_texts_and_when_compressed(file):
    text = b'{"steps": 3}'
    long = encoders.chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * 3_000_000))
    for ours in (
        encoders.chunk(b"tEXt", b"nst\0" + text),
        encoders.chunk(b"zTXt", b"nst\0\0" + zlib.compress(text)),
        encoders.chunk(b"iTXt", b"nst\0\0\0en\0\0" + text),
        encoders.chunk(b"iTXt", b"nst\0\1\0\0\0" + zlib.compress(text)),
    ):
        assert images.read_metadata(file(encoders.png(GREY_ROWS, 8, 0, long, ours))) == {
            "steps": 3
        }


def test_profiles_are_read_from_every_format_that_is_written(tmp_path):
    for ending in images.ENDINGS:
        images.write(tmp_path / ("a" + ending), smooth())
        with Image.open(tmp_path / ("a" + ending)) as image:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)


# -- Orientation beside Exif ----------------------------------------------------------------------

XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def with_xmp(kind, exif_orientation=None):
    """A picture whose XMP says 6, and whose Exif data may say something else."""
    exif = Image.Exif()
    if exif_orientation:
        exif[274] = exif_orientation
    image = Image.fromarray(smooth(24, 40))
    if kind == "PNG":
        content = encoders.saved(image, kind, exif=exif)
        packet = encoders.chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
        return content[:33] + packet + content[33:]
    if kind == "TIFF":
        options = {274: exif_orientation} if exif_orientation else {}
        return encoders.saved(image, kind, tiffinfo={700: XMP, **options})
    if kind == "JPEG":
        segment = b"http://ns.adobe.com/xap/1.0/\0" + XMP
        content = encoders.saved(image, kind, exif=exif)
        return (
            content[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + content[2:]
        )
    return encoders.saved(image, kind, exif=exif, xmp=XMP)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_the_orientation_in_xmp_is_used_if_exif_has_none(file, kind):
    for exif_orientation, shape in ((None, (40, 24)), (1, (24, 40)), (8, (40, 24))):
        path = file(with_xmp(kind, exif_orientation))
        assert images.size_of(path) == images.read(path).pixels.shape[:2] == shape


def test_exif_data_in_a_text_chunk_of_a_png_are_used(file):
    exif = Image.Exif()
    exif[274] = 6
    data = exif.tobytes()
    text = f"\nexif\n{len(data):8d}\n{data.hex()}\n".encode()
    chunk = encoders.chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
    path = file(encoders.png(GREY_ROWS, 8, 0, chunk))
    assert images.size_of(path) == images.read(path).pixels.shape[:2] == (WIDTH, HEIGHT)


def test_reference_black_and_white_of_ycbcr_are_taken_from_the_file(file):
    stored = np.full((16, 16, 3), (16, 128, 128))
    data = zlib.compress(encoders.packed(stored.reshape(16, -1), 8, "<"))
    entries = {
        256: (4, [16]), 257: (4, [16]), 258: (3, [8] * 3), 259: (3, [8]), 262: (3, [6]),
        273: (4, [8]), 277: (3, [3]), 278: (4, [16]), 279: (4, [len(data)]), 530: (3, [1, 1]),
        532: (4, [16, 235, 128, 240, 128, 240]),
    }  # fmt: skip
    path = file(encoders.with_folder(data + bytes(len(data) % 2), entries))
    assert images.read(path).pixels.max() <= 1


@has_avif
def test_an_avif_is_cropped_to_its_clean_aperture(file):
    content = encoders.saved(Image.fromarray(smooth(48, 64)), "AVIF", quality=100)
    whole = images.read(file(content)).pixels
    # Width and height, and how far its centre is from that of the picture, as fractions.
    crop = struct.pack(">LLLLlLlL", 40, 1, 20, 1, -4, 1, 6, 1)
    path = file(encoders.with_avif_property(content, b"clap", crop))
    assert images.size_of(path) == (20, 40)
    np.testing.assert_array_equal(images.read(path).pixels, whole[20:40, 8:48])
    beyond = struct.pack(">LLLLlLlL", 40, 1, 20, 1, -40, 1, 6, 1)
    assert "clean aperture" in refusal(file(encoders.with_avif_property(content, b"clap", beyond)))


def test_channels_of_a_jpeg_2000_out_of_order_are_refused(file):
    content = encoders.saved(Image.fromarray(RGB), "JPEG2000")
    sycc = encoders.box(b"colr", b"\1\0\0" + struct.pack(">L", 18))
    permuted = encoders.box(b"cdef", struct.pack(">10H", 3, 0, 0, 3, 1, 0, 2, 2, 0, 1))
    mapped = encoders.box(b"cmap", struct.pack(">HBBHBB", 0, 1, 1, 0, 1, 0))
    for boxes in ((sycc, permuted), (sycc, mapped)):
        line = refusal(file(encoders.with_jp2_boxes(content, *boxes)), images.size_of)
        assert "in an order that nst does not read" in line
