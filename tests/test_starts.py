"""Start images: colours of the style, noise blended in, and pictures of another shape."""

from pathlib import Path

import numpy
import pytest
from click.testing import CliRunner
from PIL import Image

from nst_cli import Config, cli, images, transfer
from nst_cli.errors import ConfigError
from nst_cli.runs import runner
from nst_cli.synthesis import starts

SHAPE = (1, 3, 40, 50)


def random_of(seed=0):
    return numpy.random.RandomState(seed)


def style_image(seed, mean, spread):
    """Return network input whose three channels vary together."""
    random = numpy.random.RandomState(seed)
    shared = random.standard_normal((1, 1, 30, 20))
    single = random.standard_normal((1, 3, 30, 20))
    image = numpy.reshape(mean, (1, 3, 1, 1)) + spread * (shared + single / 2)
    return image.astype(numpy.float32)


WARM = style_image(1, (40, 0, -40), 10)
COLD = style_image(2, (-40, 0, 40), 5)


def moments(image):
    flat = image.reshape(3, -1).astype(float)
    return flat.mean(axis=1), numpy.cov(flat, bias=True)


# The arrays


def test_the_colours_of_a_style_have_its_mean_and_covariance():
    image = starts.in_colours_of([WARM], [1.0], (1, 3, 200, 200), random_of())
    (mean, covariance), (expected_mean, expected) = moments(image), moments(WARM)
    assert image.dtype == numpy.float32
    # 2500 spots: 4 standard errors.
    numpy.testing.assert_allclose(mean, expected_mean, atol=1)
    numpy.testing.assert_allclose(covariance, expected, rtol=0.1)


def test_the_colours_form_spots_and_no_grain_of_single_pixels():
    image = starts.in_colours_of([WARM], [1.0], (1, 3, 200, 200), random_of())[0, 0]
    centred = image - image.mean()
    for near, far in (
        (centred[1:] * centred[:-1], centred[8:] * centred[:-8]),
        (centred[:, 1:] * centred[:, :-1], centred[:, 8:] * centred[:, :-8]),
    ):
        assert near.mean() > 0.8 * image.var() and abs(far.mean()) < 0.1 * image.var()


@pytest.mark.parametrize("shares", [[0.25, 0.75], [1, 3]])
def test_pixels_belong_to_the_styles_by_their_shares(shares):
    image = starts.in_colours_of([WARM, COLD], shares, (1, 3, 200, 200), random_of())
    warm = (image[0, 0] > image[0, 2]).mean()
    assert warm == pytest.approx(0.25, abs=0.04)


def test_a_style_without_a_share_adds_nothing():
    image = starts.in_colours_of([WARM, COLD], [0, 1], SHAPE, random_of())
    assert (image[0, 0] < image[0, 2]).all()


def test_the_colours_of_a_grey_style_are_grey_and_all_colours_are_within_the_range():
    grey = images.to_input(numpy.repeat(random_of(3).uniform(0, 255, (20, 20, 1)), 3, axis=2))
    image = starts.in_colours_of([grey], [1.0], SHAPE, random_of())
    pixels = image[0].transpose(1, 2, 0) + numpy.asarray(images.MEANS)
    assert numpy.ptp(pixels, axis=2).max() < 0.1
    assert pixels.min() >= -1e-3 and pixels.max() <= 255 + 1e-3
    assert pixels.min() < 1 and pixels.max() > 254


def test_noise_replaces_a_share_of_the_start_image():
    image = numpy.full(SHAPE, 60, numpy.float32)
    assert starts.with_noise(image, 0.0, random_of()) is image
    half = starts.with_noise(image, 0.5, random_of())
    assert half.dtype == numpy.float32
    assert 20 <= half.min() < 21 and 39 < half.max() <= 40
    whole = starts.with_noise(image, 1.0, random_of())
    numpy.testing.assert_allclose(half, (image + whole) / 2, rtol=1e-6)
    assert -20 <= whole.min() < -19 and 19 < whole.max() <= 20


# Transfers


def start(content, style, **others):
    """Return the image that a transfer starts from."""
    config = Config(**{
        "style_layers": "relu1_1", "content_layers": "relu1_1", "device": "cpu", "iterations": 0,
        **others,
    })  # fmt: skip
    return transfer(content, style, config).image


@pytest.mark.usefixtures("small_network")
class TestTransfers:
    content = style_image(4, (0, 10, 0), 30)

    def test_the_start_in_the_colours_of_the_style_depends_on_style_and_seed_alone(self):
        image = start(self.content, WARM, init="style")
        assert image.shape == self.content.shape
        numpy.testing.assert_allclose(moments(image)[0], moments(WARM)[0], atol=2)
        numpy.testing.assert_array_equal(image, start(0 * self.content, WARM, init="style"))
        assert (image != start(self.content, WARM, init="style", seed=1)).mean() > 0.9
        numpy.testing.assert_allclose(
            moments(start(self.content, COLD, init="style"))[0], moments(COLD)[0], atol=2
        )

    @pytest.mark.parametrize("init", ["content", "style", "random"])
    def test_noise_is_blended_into_any_start(self, init):
        plain, noisy, whole = (
            start(self.content, WARM, init=init, init_noise=share) for share in (0, 0.3, 1)
        )
        numpy.testing.assert_allclose(noisy, 0.7 * plain + 0.3 * whole, atol=1e-4)
        assert abs(whole).max() <= 20 and whole.std() == pytest.approx(20 / 3**0.5, rel=0.05)

    def test_noise_is_blended_into_a_given_start_image_too(self):
        config = Config(
            style_layers="relu1_1", content_layers="relu1_1", device="cpu", iterations=0,
            init_noise=0.25,
        )  # fmt: skip
        image = transfer(self.content, WARM, config, init=0 * self.content).image
        assert 4.9 < abs(image).max() <= 5

    def test_the_random_start_of_a_seed_stays_what_it_was(self):
        image = start(self.content, WARM, init="random", seed=7)
        sequence = numpy.random.SeedSequence(7, spawn_key=(0,))
        random = numpy.random.RandomState(numpy.random.MT19937(sequence))
        expected = random.uniform(-0.1, 0.1, image.shape).astype(numpy.float32)
        numpy.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("share", [-0.1, 1.01, "x", "nan"])
def test_an_impossible_share_of_noise_is_refused_in_one_line(share):
    with pytest.raises(ConfigError, match="init_noise") as caught:
        Config(init_noise=share)
    assert "\n" not in str(caught.value)


# Files


@pytest.fixture
def folder(tmp_path, monkeypatch, small_network):
    monkeypatch.chdir(tmp_path)
    save("content.png", 1, 32, 48)
    save("style.png", 2, 60, 30)
    return tmp_path


def save(name, seed, height, width):
    values = numpy.random.RandomState(seed).randint(0, 256, (height, width, 3))
    Image.fromarray(values.astype(numpy.uint8)).save(name, "png")


OPTIONS = ["--size=24", "--style-layers=relu1_1", "--content-layers=relu1_1", "--device=cpu",
           "--iterations=2", "-q"]  # fmt: skip


def stylize(*options):
    result = CliRunner().invoke(
        cli.main, ["stylize", "content.png", "style.png", *OPTIONS, *options],
        catch_exceptions=False,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return result.output


def replay(path):
    result = CliRunner().invoke(cli.main, ["replay", path, "-q"], catch_exceptions=False)
    assert "Identical, byte for byte." in result.output


@pytest.mark.parametrize("shape", [(60, 30), (20, 90), (33, 48)])
def test_the_middle_of_a_start_picture_of_another_shape_is_used(folder, shape):
    save("start.png", 3, *shape)
    config = Config(size=24, init="start.png", device="cpu")
    job = runner.prepare("content.png", "style.png", "out.png", config)
    height, width = images.crop_size(shape, (16, 24))
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    with Image.open("start.png") as picture:
        pixels = numpy.asarray(picture, numpy.float32)[top : top + height, left : left + width]
    expected = images.to_input(images.resize(pixels, (16, 24)), 256)
    numpy.testing.assert_array_equal(job.init, expected)


@pytest.mark.parametrize(
    ("shape", "size", "part"),
    [
        ((60, 30), (16, 24), (20, 30)),
        ((20, 90), (16, 24), (20, 30)),
        ((64, 96), (16, 24), (64, 96)),
        ((33, 48), (16, 24), (33, 48)),
        ((400, 3), (16, 160), (1, 3)),
        ((3, 400), (160, 16), (3, 1)),
    ],
)
def test_the_part_of_a_picture_that_has_another_shape(shape, size, part):
    assert images.crop_size(shape, size) == part


def test_the_word_style_is_a_start_and_a_file_of_that_name_needs_its_folder(folder):
    save("style", 3, 16, 24)
    stylize("-o", "word.png", "--init", "style")
    stylize("-o", "file.png", "--init", "./style")
    word, file = (images.read_metadata(name) for name in ("word.png", "file.png"))
    assert word["config"]["init"] == "style" and word["init"] is None
    assert file["init"]["path"] == "style" and file["config"]["init"] != "style"
    assert Path("word.png").read_bytes() != Path("file.png").read_bytes()
    for name in ("word.png", "file.png"):
        replay(name)


def test_every_start_can_be_replayed(folder):
    save("start.png", 3, 60, 30)
    for name in ("random", "content", "style", "start.png"):
        stylize("-o", "x.png", "--overwrite", "--init", name, "--init-noise", "0.3")
        replay("x.png")
