"""Small picture files that would take much time or memory, or are read as another picture."""

import io
import struct
import tracemalloc
import zlib

import encoders
import numpy as np
import pytest
from patterns import GREY, GREY_ROWS, RGB, icc_profile, noise, refusal, smooth, xyz
from PIL import Image

from nst_cli import images
from nst_cli.images import icc, ifd

WIDTH, HEIGHT = GREY.shape[::-1]
EXIF_TEXT = b"Raw profile type exif\0\0"
XMP_TEXT = b"XML:com.adobe.xmp\0\0"
TURNED = b"<a tiff:Orientation='6'/>"


def memory_of(function, *arguments):
    """Return the most bytes that Python and NumPy have at one time for a call."""
    tracemalloc.start()
    try:
        function(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def folder_of_overlapping(count, size, kind=1):
    """Exif data of tags whose values are all the same bytes."""
    table = b"".join(struct.pack("<HHLL", 300 + tag, kind, size, 8) for tag in range(count))
    head = b"II*\0" + struct.pack("<L", 8 + size)
    return head + bytes(size) + struct.pack("<H", count) + table + bytes(4)


def test_the_values_of_a_folder_are_together_no_longer_than_the_file():
    content = folder_of_overlapping(100, 5000)
    folder = ifd.first_folder(io.BytesIO(content))
    assert 0 < sum(map(len, folder.tags.values())) <= len(content)


def test_the_numbers_of_a_folder_are_limited(monkeypatch):
    monkeypatch.setattr(ifd, "_MOST_NUMBERS", 5000)
    assert ifd.first_folder(io.BytesIO(folder_of_overlapping(1, 5000))).tags
    assert not ifd.first_folder(io.BytesIO(folder_of_overlapping(1, 5001))).tags
    # Text is not numbers.
    assert ifd.first_folder(io.BytesIO(folder_of_overlapping(1, 5001, kind=7))).tags


def test_few_of_many_sub_pages_are_looked_at(file, monkeypatch):
    visited, folder_at = [], ifd.folder_at

    def counted(*arguments):
        visited.append(arguments)
        return folder_at(*arguments)

    monkeypatch.setattr(ifd, "folder_at", counted)
    images.size_of(file(encoders.tiff(RGB, tags=[(330, 4, [8] * 1000)])))
    assert len(visited) < 20


def test_tiles_of_one_pixel_are_counted_before_they_are_listed(file):
    side = 600
    tags = {
        256: (4, [side]), 257: (4, [side]), 258: (3, [12]), 259: (3, [1]), 262: (3, [1]),
        277: (3, [1]), 322: (4, [1]), 323: (4, [1]), 324: (4, [8]), 325: (4, [8]),
    }  # fmt: skip
    path = file(encoders.with_folder(bytes(8), tags))
    assert memory_of(refusal, path) < 1 << 20
    assert "fewer strips or tiles" in refusal(path)


@pytest.mark.parametrize("bits", [0, 65])
def test_a_tiff_whose_samples_have_no_bits_is_refused(file, bits):
    # Found by fuzzing: it was read here, and NumPy raised.
    stored = encoders.tiff(RGB[..., :1], 8, 1)
    at = stored.index(struct.pack("<HHLH", 258, 3, 1, 8))
    content = stored[: at + 8] + struct.pack("<H", bits) + stored[at + 10 :]
    assert "bits of its samples" in refusal(file(content), images.size_of)


def test_a_negative_number_in_a_tiff_counts_as_missing(file):
    # Rows per strip as a signed number: no row was read, and memory as it was became the picture.
    stored = np.arange(48).reshape(6, 8, 1)
    content = encoders.tiff(stored, 12, 1)
    at = content.index(struct.pack("<HHL", 278, 4, 1))
    content = content[:at] + struct.pack("<HHLl", 278, 9, 1, -1) + content[at + 12 :]
    pixels = images.read(file(content)).pixels[..., 0]
    np.testing.assert_allclose(pixels, stored[..., 0] * (255 / 4095), atol=0.002)


def test_a_second_header_of_a_png_is_refused(file):
    content = encoders.png(GREY_ROWS, 8, 0)
    large = encoders.chunk(b"IHDR", struct.pack(">LLBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
    assert "two chunks IHDR" in refusal(file(content[:33] + large + content[33:]))


def test_exif_data_in_a_very_long_text_are_ignored(file):
    text = zlib.compress(b"\nexif\n 9\n" + b"ab " * (1 << 20))
    path = file(encoders.png(GREY_ROWS, 8, 0, encoders.chunk(b"zTXt", EXIF_TEXT + text)))
    assert images.size_of(path) == (HEIGHT, WIDTH)
    assert memory_of(images.size_of, path) < 16 << 20


@pytest.mark.parametrize(("broken", "size"), [(7, (WIDTH, HEIGHT)), (8, (HEIGHT, WIDTH))])
def test_a_few_texts_of_one_keyword_are_looked_at(file, broken, size):
    texts = [b"????"] * broken + [zlib.compress(TURNED)]
    chunks = [encoders.chunk(b"zTXt", XMP_TEXT + text) for text in texts]
    assert images.size_of(file(encoders.png(GREY_ROWS, 8, 0, *chunks))) == size


@pytest.mark.parametrize("place", ["header", "codestream"])
def test_a_jpeg_2000_of_two_sizes_is_refused_before_it_is_decoded(file, place):
    content = bytearray(encoders.saved(Image.fromarray(RGB), "JPEG2000"))
    at = content.index(b"ihdr") + 4 if place == "header" else content.index(b"\xff\x51") + 6
    content[at : at + 8] = struct.pack(">LL", 9000, 9000)
    assert "it has two sizes" in refusal(file(bytes(content)))


def test_a_jpeg_of_two_frames_is_refused_before_it_is_decoded(file):
    content = encoders.saved(Image.fromarray(RGB), "JPEG")
    at = content.index(b"\xff\xc0")
    frame = content[at : at + 19]
    larger = frame[:5] + struct.pack(">HH", 9000, 9000) + frame[9:]
    assert "it has two sizes" in refusal(file(content[:at] + frame + larger + content[at + 19 :]))


def test_a_jpeg_of_very_many_scans_is_refused(file):
    content = encoders.saved(Image.fromarray(smooth()).convert("L"), "JPEG", progressive=True)
    at = content.rindex(b"\xff\xda")
    images.read(file(content))
    assert "105 scans" in refusal(file(content[:at] + content[at:-2] * 100 + b"\xff\xd9"))


@pytest.mark.timeout(300)
def test_a_file_of_bytes_ff_is_searched_once(file):
    # As a worn memory card leaves it. Searching from each byte to the end would take an hour.
    content = encoders.saved(Image.fromarray(RGB), "JPEG")
    assert "no frame" in refusal(file(content[:20] + b"\xff" * (2 << 20)))
    assert "end marker is missing" in refusal(file(content[:-20] + b"\xff" * (2 << 20)))


def test_a_marker_of_a_jpeg_may_have_many_bytes_ff_before_it(file):
    content = encoders.saved(Image.fromarray(noise()), "JPEG")
    filled = content[:-2] + b"\xff" * 300 + content[-2:]
    filled = filled.replace(b"\xff\xda", b"\xff" * 300 + b"\xff\xda", 1)
    np.testing.assert_array_equal(
        images.read(file(filled)).pixels, images.read(file(content)).pixels
    )


@pytest.mark.parametrize(("points", "is_read"), [(1 << 16, True), ((1 << 16) + 1, False)])
def test_a_curve_of_a_profile_has_at_most_a_point_for_each_value(points, is_read):
    curve = b"curv\0\0\0\0" + struct.pack(">L", points) + np.arange(points, dtype=">u2").tobytes()
    tags = {
        b"wtpt": xyz(0.9642, 1, 0.8249),
        b"kTRC": curve[: 12 + 2 * (1 << 16)].ljust(len(curve)),
    }
    profile = icc_profile(b"GRAY", b"XYZ ", tags)
    assert (icc.shaper_of(profile) is not None) == is_read


def test_the_tags_of_a_profile_are_not_copied():
    tags = struct.pack(">L", 200) + b"".join(
        struct.pack(">4sLL", b"%04d" % tag, 1, 1 << 20) for tag in range(200)
    )
    profile = (icc_profile(b"RGB ", b"XYZ ", {})[:128] + tags).ljust(1 << 20, b"\0")
    assert memory_of(icc.shaper_of, profile) < 1 << 20


def test_a_record_that_is_too_long_is_not_parsed(file):
    text = zlib.compress(b'{"a": [' + b"{}," * (1 << 20) + b"0]}")
    path = file(encoders.png(GREY_ROWS, 8, 0, encoders.chunk(b"zTXt", b"nst\0\0" + text)))
    assert images.read_metadata(path) is None
    assert memory_of(images.read_metadata, path) < 32 << 20


@pytest.mark.parametrize(("width", "is_read"), [(1 << 16, True), ((1 << 16) + 1, False)])
def test_a_compressed_bmp_has_rows_of_limited_length(file, width, is_read):
    # The pixels skip 255 rows, and the picture has one.
    head = struct.pack("<LllHHLLllLL", 40, width, 1, 1, 8, 1, 0, 0, 0, 2, 0) + bytes(8)
    content = b"BM" + struct.pack("<LLL", 0, 0, 62) + head + b"\0\2\0\xff\0\1"
    if is_read:
        assert images.read(file(content)).pixels.shape == (1, width, 3)
    else:
        assert "compressed rows" in refusal(file(content))
