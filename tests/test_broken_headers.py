"""Headers that are truncated or contradict themselves: each is refused, or read as decoders do."""

import struct

import encoders
import numpy as np
import pytest
from patterns import GREY, RGB, adobe_rgb, levels, refusal, smooth, srgb_of
from PIL import Image
from test_formats import gif

from nst_cli import images
from nst_cli.images.boxes import boxes

PICTURE = Image.fromarray(RGB)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content[:10], "it ends within its header"),
        (lambda content: content[:20], "no frame begins in it"),
        (lambda content: content[:19] + b"," + bytes(9), "its first frame is empty"),
        (lambda content: content[:19] + b"?" + content[19:], "no frame begins in it"),
        (lambda content: content[:19] + b"!\xfe\3abc", "no frame begins in it"),
    ],
    ids=["header", "descriptor", "size", "block", "extension"],
)
def test_an_error_for_a_broken_gif_names_the_broken_part(file, change, words):
    content = gif((8, 6), (0, 0, 8, 6))
    assert words in refusal(file(change(content)), images.size_of)


def test_a_gif_may_have_extensions_and_no_table_of_colours(file):
    content = gif((8, 6), (0, 0, 8, 6), colours=b"", flags=0)
    content = content[:13] + b"!\xfe\3abc\0\0" + content[13:]
    assert images.size_of(file(content)) == (6, 8)


def test_the_profile_of_an_avif_is_converted(file):
    grey = Image.new("RGB", (32, 32), (128, 128, 128))
    content = encoders.saved(grey, "AVIF", quality=100, icc_profile=adobe_rgb(1.0))
    pixels = images.read(file(content)).pixels
    assert np.abs(pixels - srgb_of(128 / 255)).max() <= 3


def test_an_avif_whose_data_lie_beyond_its_end_is_refused(file):
    content = encoders.saved(Image.fromarray(smooth(48, 64)), "AVIF", quality=100)
    place = content.index(b"mdat") + 4
    at = content.index(struct.pack(">L", place), content.index(b"iloc"))
    moved = content[:at] + struct.pack(">L", place + 100) + content[at + 4 :]
    assert "beyond its end" in refusal(file(moved))


@pytest.mark.parametrize(
    ("numbers", "is_read"),
    [
        # Width and height, each with its denominator, then the distances of the centre.
        ((64, 1, 48, 1, 0, 1, 0, 1), True),
        ((64, 0, 48, 1, 0, 1, 0, 1), True),
        ((65, 1, 48, 1, 0, 1, 0, 1), False),
        ((63, 1, 48, 1, 0, 1, 0, 1), False),
    ],
    ids=["whole", "malformed", "outside", "half a pixel"],
)
def test_a_clean_aperture_must_lie_on_whole_pixels_of_the_picture(file, numbers, is_read):
    content = encoders.saved(Image.fromarray(smooth(48, 64)), "AVIF", quality=100)
    path = file(encoders.with_avif_property(content, b"clap", struct.pack(">LLLLlLlL", *numbers)))
    if is_read:
        assert images.size_of(path) == (48, 64)
    else:
        assert "clean aperture" in refusal(path, images.size_of)


def test_boxes_end_at_the_first_that_does_not_fit():
    large = struct.pack(">L4sQ", 1, b"wide", 20) + b"abcd"
    data = large + encoders.box(b"last", b"ef")
    assert [(name, data[a:b]) for name, a, b in boxes(data)] == [
        (b"wide", b"abcd"),
        (b"last", b"ef"),
    ]
    open_ended = struct.pack(">L4s", 0, b"rest") + b"ghi"
    assert [(name, open_ended[a:b]) for name, a, b in boxes(open_ended)] == [(b"rest", b"ghi")]
    for length in (7, 100):
        assert not list(boxes(struct.pack(">L4s", length, b"none") + b"jkl"))


def jpeg_2000(image=PICTURE):
    content = bytearray(encoders.saved(image, "JPEG2000"))
    return content, content.index(b"\xff\x4f\xff\x51")


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (43, 3, "header makes no sense"),
        (40, 0, "header makes no sense"),
        (42, 9, "its channels have 10/8/8 bits"),
    ],
    ids=["cut", "channels", "bits"],
)
def test_an_error_for_a_broken_jpeg_2000_names_the_broken_part(file, place, value, words):
    content, at = jpeg_2000()
    if place == 43:
        content = content[: at + place]
    else:
        content[at + place : at + place + 2] = (
            struct.pack(">H", value) if place == 40 else bytes([value, content[at + place + 1]])
        )
    assert words in refusal(file(bytes(content)), images.size_of)


def test_a_jpeg_2000_without_a_codestream_is_refused(file):
    content, at = jpeg_2000()
    assert "no codestream" in refusal(file(bytes(content[:at])), images.size_of)


def test_a_bare_jpeg_2000_codestream_is_read(file):
    content, at = jpeg_2000()
    np.testing.assert_array_equal(images.read(file(bytes(content[at:]))).pixels, RGB)


@pytest.mark.parametrize(("stored", "level"), [(120, 0), (128, 8 * 17), (135, 255)])
def test_white_of_a_jpeg_2000_is_the_top_of_its_bits(file, stored, level):
    content, at = jpeg_2000(Image.new("L", (16, 16), stored))
    # As 4 bits: values are stored as the difference from the middle, which is 128 or 8.
    assert content[at + 42] == content[content.index(b"ihdr") + 14] == 7
    content[at + 42] = content[content.index(b"ihdr") + 14] = 3
    pixels = images.read(file(bytes(content))).pixels
    assert np.abs(pixels - level).max() < 1


def old_bmp():
    """A BMP with the header of OS/2, 2 x 2 pixels of 24 bits."""
    head = struct.pack("<LHHHH", 12, 2, 2, 1, 24)
    rows = b"\0\0\xff\0\xff\0\0\0" * 2
    size = 14 + len(head) + len(rows)
    return b"BM" + struct.pack("<LHHL", size, 0, 0, 26) + head + rows


def test_a_bmp_of_os_2_is_read(file):
    pixels = images.read(file(old_bmp())).pixels
    np.testing.assert_array_equal(pixels[0], [[255, 0, 0], [0, 255, 0]])


def test_a_compressed_bmp_without_its_end_is_refused(file):
    head = struct.pack("<LllHHLLllLL", 40, 4, 2, 1, 8, 1, 0, 0, 0, 2, 0)
    palette = b"\xff\0\0\0\0\0\xff\0"
    rows = b"\4\1\0\0\4\0\0\1"

    def bmp(data):
        start = 14 + len(head) + len(palette)
        return b"BM" + struct.pack("<LHHL", start + len(data), 0, 0, start) + head + palette + data

    assert images.read(file(bmp(rows))).pixels.shape == (2, 4, 3)
    assert "the end of its compressed pixels" in refusal(file(bmp(rows[:-1])))


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ([(257, 4, [0])], "has no size"),
        ([(277, 3, [65])], "65 samples"),
        ([(254, 4, [4])], "a mask for another"),
        ([(332, 3, [2]), (262, 3, [5])], "inks are not cyan"),
        ([(278, 4, [4])], "fewer strips"),
        ([(259, 3, [32773]), (339, 3, [2, 2, 2])], "layout that nst does not read"),
    ],
    ids=["size", "samples", "mask", "inks", "strips", "signed"],
)
def test_an_error_for_a_broken_tiff_names_the_broken_part(file, tags, words):
    stored = np.dstack([RGB, GREY])[..., : 4 if "inks" in words else 3]
    bits = 12 if words == "fewer strips" else 8
    assert words in refusal(file(encoders.tiff(stored, bits, tags=tags)))


def test_broken_sub_pages_of_a_tiff_are_ignored(file):
    path = file(encoders.tiff(RGB, tags=[(330, 4, [1 << 20])]))
    np.testing.assert_array_equal(images.read(path).pixels, RGB)


def test_tiles_without_a_size_are_refused(file):
    tags = [(324, 4, [8]), (325, 4, [100]), (322, 4, [0])]
    assert "have no size" in refusal(file(encoders.tiff(levels(12), 12, 1, tags=tags)))


def test_a_truncated_header_of_a_tiff_is_refused(file):
    refusal(file(b"II*\0\xff\xff\xff\0"), images.size_of)


def test_a_png_must_begin_with_its_header(file):
    signature = b"\x89PNG\r\n\x1a\n"
    text = encoders.chunk(b"tEXt", b"a\0b")
    assert "first chunk is not IHDR" in refusal(file(signature + text), images.size_of)
    refusal(file(signature), images.size_of)


def test_a_webp_without_a_frame_is_refused(file):
    refusal(file(b"RIFF" + struct.pack("<L", 4) + b"WEBP"))
