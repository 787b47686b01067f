"""How the finished picture is stored: bits, quality, chroma and colour profile."""

import io
import struct
import subprocess
import zlib
from pathlib import Path

import encoders
import numpy
import pytest
from click.testing import CliRunner
from patterns import adobe_rgb, gamma_curve, icc_profile, linear_grey, odd_cmyk, smooth, xyz
from PIL import Image, ImageCms

from nst_cli import Config, cli, images
from nst_cli.errors import ConfigError, ImageError, IncompleteError
from nst_cli.images import colour, icc, wide_png
from nst_cli.runs import batch, plan, precheck, replay, runner, sidecar

SMALL = {
    "style_layers": "relu1_1,relu2_1", "content_layers": "relu2_1", "device": "cpu",
    "iterations": 2, "stop_eps": 0, "weights": "builtin", "size": 32,
}  # fmt: skip
WIDE = images.Encoding(bits=16)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with a content in Adobe RGB and a style."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(smooth()).save("content.png", icc_profile=adobe_rgb())
    Image.fromarray(smooth()[::-1]).save("style.png")
    return tmp_path


def make(output, content="content.png", **choices):
    job = runner.prepare(content, "style.png", output, Config(**{**SMALL, **choices}))
    return runner.run(job), job


def nst(*arguments):
    return CliRunner().invoke(cli.main, arguments)


def gradient(height=40, width=50):
    """Pixels with values between those of 8 bits, float32."""
    values = numpy.linspace(0, 255, height * width * 3, dtype=numpy.float32)
    return values.reshape(height, width, 3)[:, ::-1]


def info_of(path):
    with Image.open(path) as image:
        image.load()
        return image.info


def layers_of(path):
    """Return the subsampling of a JPEG, as (horizontal, vertical) of its first component."""
    with Image.open(path) as image:
        return image.layer[0][1:3]


# 16 bits


@pytest.mark.parametrize("with_alpha", [False, True])
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_16_bits_come_back_as_written(tmp_path, ending, with_alpha):
    path = tmp_path / f"a{ending}"
    alpha = gradient()[..., 0] if with_alpha else None
    images.write(path, gradient(), alpha, {"a": 1}, WIDE)
    picture = images.read(path)
    shown = gradient()
    if with_alpha:
        shown = 255 + (shown - 255) * (alpha[..., None] / 255)
        numpy.testing.assert_allclose(picture.alpha, alpha, atol=0.5 / 257 + 1e-4)
    # Half a step of colour, and as much of alpha.
    numpy.testing.assert_allclose(picture.pixels, shown, atol=1 / 257)
    assert len(numpy.unique(picture.pixels)) > 5000
    assert images.read_metadata(path) == {"a": 1}
    assert info_of(path)["icc_profile"] == colour.srgb_bytes()


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_whole_levels_are_the_same_with_8_and_16_bits(tmp_path, ending):
    for encoding in (images.Encoding(), WIDE):
        images.write(tmp_path / f"a{ending}", smooth(), encoding=encoding)
        numpy.testing.assert_array_equal(images.read(tmp_path / f"a{ending}").pixels, smooth())


@pytest.mark.parametrize(("height", "width", "channels"), [(1, 1, 3), (7, 5, 4), (300, 1100, 3)])
def test_every_filter_of_a_png_is_undone_by_its_readers(height, width, channels):
    ramp = numpy.add.outer(numpy.arange(height) * 211, numpy.arange(width * channels) * 37)
    values = (ramp.reshape(height, width, channels) % 65536).astype(numpy.uint16)
    noise = numpy.random.default_rng(0).integers(0, 65536, (height // 3, width, channels))
    values[: height // 3] = noise
    values[height // 2 :] = values[height // 2 : height // 2 + 1] // 2 + 9
    stream = io.BytesIO()
    wide_png.write(stream, values, colour.srgb_bytes())
    content = stream.getvalue()
    head = images.png.header(io.BytesIO(content))
    stored, alpha = images.png.decode(content, head)
    numpy.testing.assert_array_equal(stored, values[..., :3])
    if channels == 4:
        numpy.testing.assert_allclose(alpha, values[..., 3] / 257, rtol=1e-6)
    # Filters are chosen by row; large pictures use several.
    rows = zlib.decompress(_data_of(content))[:: 1 + 2 * channels * width]
    assert set(rows) <= set(range(5)) and (height < 300 or len(set(rows)) > 1)


def _data_of(content):
    at, parts = 8, b""
    while at < len(content):
        length, name = struct.unpack_from(">L4s", content, at)
        parts += content[at + 8 : at + 8 + length] if name == b"IDAT" else b""
        at += 12 + length
    return parts


def compressed_tiff(values, *, order="<", predictor=1, planar=False, tile=None):
    """A TIFF of 16 bits compressed by Deflate, in strips of 7 rows or in tiles."""
    height, width, samples = values.shape
    rows, columns = tile or (7, width)
    planes = [values[..., [n]] for n in range(samples)] if planar else [values]
    blocks = []
    for plane in planes:
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                block = plane[top : top + rows, left : left + columns]
                if tile:
                    short = rows - block.shape[0], columns - block.shape[1]
                    block = numpy.pad(block, ((0, short[0]), (0, short[1]), (0, 0)), "edge")
                if predictor == 2:
                    block = numpy.diff(block, axis=1, prepend=numpy.uint16(0))
                blocks.append(zlib.compress(block.astype(f"{order}u2").tobytes()))
    offsets = [8 + sum(map(len, blocks[:n])) for n in range(len(blocks))]
    sizes = list(map(len, blocks))
    entries = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [16] * samples), 259: (3, [8]),
        262: (3, [2]), 277: (3, [samples]), 284: (3, [2 if planar else 1]), 317: (3, [predictor]),
    }  # fmt: skip
    if samples == 4:
        entries[338] = (3, [2])
    if tile:
        entries.update({322: (3, [columns]), 323: (3, [rows]), 324: (4, offsets), 325: (4, sizes)})
    else:
        entries.update({273: (4, offsets), 278: (3, [rows]), 279: (4, sizes)})
    data = b"".join(blocks)
    return encoders.with_folder(data + bytes(len(data) % 2), entries, order)


@pytest.mark.parametrize("samples", [3, 4])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
def test_compressed_16_bit_colour_keeps_its_precision(
    tmp_path, order, predictor, tile, planar, samples
):
    values = numpy.random.default_rng(3).integers(0, 65536, (37, 41, samples)).astype("u2")
    content = compressed_tiff(values, order=order, predictor=predictor, tile=tile, planar=planar)
    (tmp_path / "a.tif").write_bytes(content)
    picture = images.read(tmp_path / "a.tif")
    opacity = values[..., 3:] / 65535 if samples == 4 else 1
    expected = 255 + (values[..., :3] / 257 - 255) * opacity
    numpy.testing.assert_allclose(picture.pixels, expected, atol=1e-3)


def test_an_unknown_predictor_is_refused(tmp_path):
    content = compressed_tiff(numpy.zeros((8, 8, 3), numpy.uint16), predictor=3)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.tif"):
        images.read(tmp_path / "a.tif")


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_a_run_writes_more_levels_with_16_bits(folder, ending):
    for preset in ("paper", "fast"):
        make(f"a{ending}", bits=16, preset=preset, init="content")
        make(f"b{ending}", preset=preset, init="content")
        wide, usual = (images.read(f"{name}{ending}").pixels for name in "ab")
        assert len(numpy.unique(wide)) > 256 >= len(numpy.unique(usual))
        # Truncation and rounding to 8 bits, before the denoising and after it.
        assert numpy.abs(wide - usual).max() <= 2
    assert images.read_metadata(f"a{ending}")["config"]["bits"] == 16


def test_a_16_bit_content_reaches_the_network_with_its_precision(folder):
    images.write("wide.png", gradient(32, 24), encoding=WIDE)
    images.write("usual.png", gradient(32, 24))
    wide, usual = (
        runner.prepare(name, "style.png", "out.png", Config(**SMALL)).content
        for name in ("wide.png", "usual.png")
    )
    assert numpy.abs(wide - usual).max() > 0.3
    expected = images.to_input(gradient(32, 24), 256)
    numpy.testing.assert_allclose(wide, expected, atol=0.003)


# Quality and chroma


@pytest.mark.parametrize("ending", [".jpg", ".webp"])
def test_a_lower_quality_makes_a_smaller_file(folder, ending):
    make(f"usual{ending}", metadata=False)
    make(f"best{ending}", metadata=False, quality=95)
    make(f"low{ending}", metadata=False, quality=20)
    usual, best, low = (Path(f"{name}{ending}").read_bytes() for name in ("usual", "best", "low"))
    assert usual == best and len(low) < len(usual)


def test_chroma_is_stored_as_asked_for(folder):
    for chroma, factors in {
        None: (1, 1), "4:4:4": (1, 1), "4:2:2": (2, 1), "4:2:0": (2, 2),
    }.items():  # fmt: skip
        make("a.jpg", chroma=chroma)
        assert layers_of("a.jpg") == factors
    make("a.webp", chroma="4:2:0")


@pytest.mark.parametrize(
    ("output", "choices", "words"),
    [
        ("a.jpg", {"bits": 16}, ("bits 16", "a.jpg", ".png or .tif")),
        ("a.webp", {"bits": 16}, ("bits 16", "a.webp", "WebP", ".png or .tif")),
        ("a.png", {"quality": 90}, ("quality 90", "a.png", ".jpg or .webp")),
        ("a.tiff", {"quality": 90}, ("quality 90", "a.tiff", "TIFF")),
        ("a.png", {"chroma": "4:2:0"}, ("chroma 4:2:0", "a.png")),
        ("a.webp", {"chroma": "4:4:4"}, ("chroma 4:4:4", "a.webp", "4:2:0", ".jpg")),
    ],
)
def test_what_a_format_lacks_is_refused_before_the_work(folder, output, choices, words):
    (name,) = choices
    with pytest.raises(ConfigError) as error:
        make(output, **choices)
    assert error.value.field == name and all(word in str(error.value) for word in words)
    run = plan.Run("content.png", "style.png", output, Config(**{**SMALL, **choices}))
    assert [str(problem) for problem in precheck.check([run])[run]] == [str(error.value)]
    option = f"--{name}={choices[name]}"
    done = nst("stylize", "content.png", "style.png", "-o", output, option)
    assert done.exit_code == 2 and f"Invalid value for --{name}" in done.output
    assert sorted(path.name for path in folder.iterdir()) == ["content.png", "style.png"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--bits 12", ("--bits", "8 or 16")),
        ("--bits deep", ("--bits", "'deep'", "not a number")),
        ("--quality 0", ("--quality", "from 1 to 100")),
        ("--quality 101", ("--quality", "from 1 to 100")),
        ("--quality high", ("--quality", "'high'", "not a number")),
        ("--chroma 4:1:1", ("--chroma", "4:4:4")),
        ("--profile p3", ("--profile", "srgb", "keep")),
    ],
)
def test_an_invalid_value_is_a_usage_error_of_one_line(folder, words, expected):
    done = nst("stylize", "content.png", "style.png", "-o", "out.jpg", *words.split())
    line = done.output.strip().splitlines()[-1]
    assert done.exit_code == 2 and all(word in line for word in expected)


# Colour profiles


def table_profile():
    """A profile of RGB by tables: Lab from red, green and blue, and back."""
    identity = bytes(range(256))
    matrix = struct.pack(">9l", *(65536 * (i % 4 == 0) for i in range(9)))
    # Lightness is the mean of the channels; the other two are grey.
    corners = [(r + g + b) * 85 for r in (0, 1) for g in (0, 1) for b in (0, 1)]
    forth = b"".join(bytes([level, 128, 128]) for level in corners)
    back = b"".join(bytes([255 * bit] * 3) for bit in (0, 1) for _ in range(4))
    start = b"mft1\0\0\0\0" + bytes([3, 3, 2, 0]) + matrix + 3 * identity
    tags = {
        b"wtpt": xyz(0.9642, 1, 0.8249),
        b"A2B0": start + forth + 3 * identity,
        b"B2A0": start + back + 3 * identity,
    }
    return icc_profile(b"RGB ", b"Lab ", tags)


@pytest.mark.parametrize("gamma", [1.0, 1.8, 563 / 256])
def test_curves_and_matrix_agree_with_littlecms(gamma):
    profile = adobe_rgb(gamma)
    pixels = numpy.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(numpy.uint8)
    image, opened = Image.fromarray(pixels), ImageCms.ImageCmsProfile(io.BytesIO(profile))
    srgb = ImageCms.createProfile("sRGB")
    forth = ImageCms.buildTransform(opened, srgb, "RGB", "RGB")
    back = ImageCms.buildTransform(srgb, opened, "RGB", "RGB")
    theirs = numpy.asarray(ImageCms.applyTransform(image, forth), numpy.float32)
    ours = colour.to_srgb(pixels.astype(numpy.uint16) * 257, profile)
    assert numpy.abs(theirs - ours).max() <= 1.5
    theirs = numpy.asarray(ImageCms.applyTransform(image, back), numpy.float32)
    # LittleCMS rounds the light, of which near black much depends.
    assert numpy.abs(theirs - colour.from_srgb(pixels, profile)).max() <= 2.5


def curve(kind, *numbers):
    stored = (round(65536 * number) for number in numbers)
    return b"para\0\0\0\0" + struct.pack(f">HH{len(numbers)}l", kind, 0, *stored)


CURVES = [
    gamma_curve(2.2),
    b"curv\0\0\0\0" + struct.pack(">L", 0),
    b"curv\0\0\0\0" + struct.pack(">L5H", 5, 0, 3000, 14000, 34000, 65535),
    curve(0, 2.4),
    curve(1, 2.0, 1.1, -0.1),
    curve(2, 2.0, 1.1, -0.1, 0.0),
    curve(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    curve(4, 2.4, 0.9, 0.05, 0.1, 0.04, 0.02, 0.0),
]


@pytest.mark.parametrize("data", CURVES)
def test_every_kind_of_curve_agrees_with_littlecms_and_is_inverted(data):
    profile = icc_profile(
        b"RGB ", b"XYZ ",
        {
            b"wtpt": xyz(0.9642, 1, 0.8249), b"rXYZ": xyz(0.4361, 0.2225, 0.0139),
            b"gXYZ": xyz(0.3851, 0.7169, 0.0971), b"bXYZ": xyz(0.1431, 0.0606, 0.7139),
            b"rTRC": data, b"gTRC": data, b"bTRC": data,
        },
    )  # fmt: skip
    ramp = numpy.arange(256, dtype=numpy.uint8)
    pixels = numpy.stack([ramp, ramp, ramp], axis=-1)[None]
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    forth = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), "RGB", "RGB")
    theirs = numpy.asarray(ImageCms.applyTransform(Image.fromarray(pixels), forth), numpy.float32)
    ours = colour.to_srgb(pixels.astype(numpy.uint16) * 257, profile)
    assert numpy.abs(theirs - ours).max() <= 1.5
    there = colour.from_srgb(ours, profile)
    # What is clipped, or flat in sRGB, cannot come back.
    inside = (ours.min(axis=2) > 2) & (ours.max(axis=2) < 253)
    assert numpy.abs(there - pixels)[inside].max() <= 0.05


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".webp"])
def test_the_contents_profile_is_embedded_and_colours_are_converted_to_it(folder, ending, bits):
    if bits == 16 and ending in (".jpg", ".webp"):
        pytest.skip("8 bits alone")
    make(f"srgb{ending}", bits=bits, init="content")
    make(f"keep{ending}", bits=bits, init="content", profile="keep")
    assert info_of(f"keep{ending}")["icc_profile"] == adobe_rgb()
    assert info_of(f"srgb{ending}")["icc_profile"] == colour.srgb_bytes()
    srgb, keep = (images.read(f"{name}{ending}").pixels for name in ("srgb", "keep"))
    lossy = ending in (".jpg", ".webp")
    assert numpy.abs(srgb - keep).mean() <= (3 if lossy else 1.2 if bits == 8 else 0.01)
    with Image.open(f"srgb{ending}") as first, Image.open(f"keep{ending}") as second:
        if bits == 8:
            stored = numpy.asarray(first, float) - numpy.asarray(second, float)
            assert numpy.abs(stored).mean() > 3


def test_a_saturated_colour_survives_both_conversions_with_16_bits(tmp_path):
    pixels = gradient()
    encoding = images.Encoding(bits=16, profile=adobe_rgb())
    images.write(tmp_path / "a.tif", pixels, encoding=encoding)
    numpy.testing.assert_allclose(images.read(tmp_path / "a.tif").pixels, pixels, atol=0.05)


@pytest.mark.parametrize("ending", [".jpg", ".tif", ".webp"])
def test_exif_says_whether_the_colours_are_those_of_srgb(tmp_path, ending):
    for profile, expected in ((None, 1), (adobe_rgb(), 0xFFFF)):
        path = tmp_path / f"a{ending}"
        images.write(path, smooth(), metadata={}, encoding=images.Encoding(profile=profile))
        with Image.open(path) as image:
            assert image.getexif().get_ifd(0x8769)[0xA001] == expected


def test_a_content_without_a_profile_gives_srgb_and_a_note(folder):
    Image.fromarray(smooth()).save("plain.png")
    _, job = make("out.png", content="plain.png", profile="keep")
    assert [note for note in job.notes if "plain.png has no ICC profile to keep" in note]
    assert info_of("out.png")["icc_profile"] == colour.srgb_bytes()
    _, job = make("out.png", profile="keep")
    assert not [note for note in job.notes if "profile" in note]


@pytest.mark.parametrize(
    ("image", "profile", "words"),
    [
        (Image.fromarray(smooth()[..., 0]), linear_grey(), "it describes grey"),
        (Image.new("CMYK", (48, 48), (9, 8, 7, 6)), odd_cmyk(), "it describes CMYK inks"),
        (Image.fromarray(smooth()), b"no profile at all", "it is broken"),
        (Image.fromarray(smooth()), adobe_rgb()[:200], "it is broken, or works in one direction"),
    ],
)
def test_a_profile_that_cannot_be_kept_is_refused_before_the_work(folder, image, profile, words):
    image.save("odd.jpg", icc_profile=profile)
    with pytest.raises(ImageError) as error:
        make("out.png", content="odd.jpg", profile="keep")
    line = str(error.value)
    assert "odd.jpg" in line and words in line and "--profile srgb" in line and "\n" not in line
    assert not Path("out.png").exists()
    make("out.png", content="odd.jpg")


def test_a_profile_of_tables_is_kept_with_8_bits_and_refused_with_16(folder):
    Image.fromarray(smooth()).save("table.png", icc_profile=table_profile())
    make("out.png", content="table.png", profile="keep")
    assert info_of("out.png")["icc_profile"] == table_profile()
    with Image.open("out.png") as image:
        stored = numpy.asarray(image)
    assert (stored[..., 0] == stored[..., 1]).all()
    with pytest.raises(ImageError, match="a kind that nst applies with 8 bits.*--profile srgb"):
        make("wide.png", content="table.png", profile="keep", bits=16)


def test_16_bit_colour_with_a_profile_keeps_its_precision(tmp_path):
    row = struct.pack(">30H", *range(20000, 20300, 10))
    profile = encoders.chunk(b"iCCP", b"p\0\0" + zlib.compress(adobe_rgb()))
    (tmp_path / "a.png").write_bytes(encoders.png([row], 16, 2, profile))
    pixels = images.read(tmp_path / "a.png").pixels
    assert len(numpy.unique(pixels)) >= 30
    grey = numpy.arange(0, 65536, 7, dtype=numpy.uint16)[None, :9000]
    Image.fromarray(grey).save(tmp_path / "b.png", icc_profile=linear_grey())
    assert len(numpy.unique(images.read(tmp_path / "b.png").pixels)) > 8000


def test_a_broken_profile_never_ends_in_a_traceback():
    whole = adobe_rgb()
    generator = numpy.random.default_rng(0)
    pixels = numpy.full((2, 2, 3), 90, numpy.uint8)
    for _ in range(300):
        broken = bytearray(whole)
        for place in generator.integers(36, len(whole), 3):
            broken[place] = generator.integers(256)
        broken = bytes(broken[: generator.integers(100, len(whole) + 1)])
        assert numpy.isfinite(colour.to_srgb(pixels.astype(numpy.uint16) * 257, broken)).all()
        if colour.obstacle_to(broken, 8) is None:
            assert numpy.isfinite(colour.from_srgb(pixels, broken)).all()
    assert icc.shaper_of(b"") is None


# Replays, batches and other tools


@pytest.mark.parametrize(
    ("output", "choices"),
    [
        ("a.png", {"bits": 16}),
        ("a.tif", {"bits": 16, "profile": "keep"}),
        ("a.jpg", {"quality": 60, "chroma": "4:2:0", "profile": "keep"}),
        ("a.webp", {"quality": 60}),
    ],
)
def test_a_picture_is_made_again_byte_for_byte(folder, output, choices):
    make(output, **choices)
    config = Config(**{**SMALL, **choices})
    assert sidecar.read(output).config() == config
    recipe = replay.read(output)
    runner.run(replay.prepare(recipe, f"again-{output}"))
    assert replay.compare(recipe, f"again-{output}").identical
    runs = [
        plan.Run("content.png", "style.png", output, each) for each in (config, Config(**SMALL))
    ]
    assert [batch.make([run])[0].state for run in runs] == ["skipped", "done"]


def test_a_batch_file_has_the_same_keys(folder):
    (folder / "runs.toml").write_text(
        'output = "{quality}.jpg"\n[[run]]\ncontent = "content.png"\nstyle = "style.png"\n'
        'quality = 40\nchroma = "4:2:2"\nprofile = "keep"\nbits = 8\n'
    )
    (run,) = plan.read("runs.toml").runs
    assert run.output == "40.jpg"
    config = run.config
    assert (config.quality, config.chroma, config.profile) == (40, "4:2:2", "keep")


def test_a_picture_kept_elsewhere_is_a_png_whatever_was_asked_for(folder):
    (folder / "deep").mkdir()
    config = Config(**SMALL, quality=50, chroma="4:2:0")
    job = runner.prepare("content.png", "style.png", "deep/a.jpg", config)
    (folder / "deep").rmdir()
    (folder / "deep").write_text("in the way")
    with pytest.raises(IncompleteError, match=r"kept in a\.png"):
        runner.run(job)
    assert images.read_metadata("a.png")["config"]["quality"] == 50


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_other_readers_see_the_same_16_bits(tmp_path, ending):
    reader = next(iter(_readers()), None)
    if reader is None:
        pytest.skip("ImageMagick is missing")
    path = tmp_path / f"a{ending}"
    images.write(path, gradient(), encoding=WIDE)
    done = subprocess.run([reader, path, "-depth", "16", "rgb:-"], capture_output=True, check=True)
    values = numpy.frombuffer(done.stdout, "<u2").reshape(gradient().shape)
    numpy.testing.assert_array_equal(values, numpy.rint(gradient() * 257).astype("u2"))


def _readers():
    import shutil

    return filter(None, map(shutil.which, ("magick", "convert")))
