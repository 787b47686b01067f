"""JPEG files: every kind is read, or refused for the true reason."""

import struct

import encoders
import numpy as np
import pytest
from patterns import noise, photograph, refusal, smooth
from PIL import Image

from nst_cli import images

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
