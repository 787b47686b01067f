"""Written pictures: formats, metadata, and the checks before the work."""

import io
import json
import math
import os
import pathlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from patterns import smooth
from PIL import Image, ImageCms
from test_images import ENDINGS, METADATA, one_line

from nst_cli import images
from nst_cli.errors import ImageError

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
