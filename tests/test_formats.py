"""Each format is read as its specification says, or the file is refused for the true reason."""

import io
import os
import re
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
    RGB,
    WIDTH,
    adobe_rgb,
    noise,
    photograph,
    refusal,
    smooth,
    srgb_of,
)
from PIL import Image, ImageCms

from nst_cli import images
from nst_cli.errors import ImageError

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

    monkeypatch.setattr(images.reading, "opacity", bug)
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
