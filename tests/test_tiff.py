"""TIFF files: every kind is read, or refused for the true reason."""

import struct
import subprocess
import sys
import zlib

import encoders
import numpy as np
import pytest
from patterns import HEIGHT, RGB, WIDTH, levels, refusal, smooth
from PIL import Image

from nst_cli import images
from nst_cli.errors import ImageError


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
    expected = stored * (255 / (2**bits - 1))
    # Half a step of 16 bits.
    np.testing.assert_allclose(pixels, expected, atol=0.002)


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
    np.testing.assert_allclose(pixels, stored / 257, atol=1e-4)


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


@pytest.mark.parametrize("value", [70_000, 2**32 - 1])
@pytest.mark.parametrize(
    "tag",
    [258, 259, 262, 266, 277, 284, 292, 293, 317, 320, 322, 332, 338, 339, 512, 515, 530, 531],
)
def test_a_number_too_large_for_its_tag_is_ignored_or_refused_in_a_line(file, tag, value):
    entries = {
        256: (4, [WIDTH]), 257: (4, [HEIGHT]), 258: (3, [8] * 3), 262: (3, [2]), 273: (4, [8]),
        277: (3, [3]), 278: (4, [HEIGHT]), 279: (4, [HEIGHT * WIDTH * 3]),
    }  # fmt: skip
    pixels = RGB.astype(np.uint8)
    entries[tag] = (4, [value])
    path = file(encoders.with_folder(pixels.tobytes(), entries))
    try:
        picture = images.read(path, max_pixels=10**6)
    except ImageError as error:
        assert "\n" not in str(error)
    else:
        np.testing.assert_array_equal(picture.pixels, pixels)


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
