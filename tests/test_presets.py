"""Presets besides `paper` and `fast`: each against the formula of the tool it is named after.

The formulas are written here in NumPy, from the sources that docs/presets.md names. nst minimises
the same objective if all its terms have the same ratio to those of the other tool.
"""

import json
import math
import shlex

import numpy
import pytest
from click.testing import CliRunner
from processes import noise

from nst_cli import Config, cli, engine, transfer
from nst_cli.config import OPTIONS, PRESETS
from nst_cli.errors import ConfigError
from nst_cli.presets import PRESETS as TABLES
from nst_cli.synthesis import losses, objective

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_LAYER = "relu4_2"
# Divisible by 16, so that no pooling drops a row. The style's size differs.
SIZE, STYLE_SIZE = (32, 48), (48, 64)
PIXELS = SIZE[0] * SIZE[1]
# NumPy computes in float64, MXNet in float32.
ROUNDING = 1e-4


def random_features(seed, size):
    """Return features for all layers, (N, M) of float64 and not negative, as after a ReLU."""
    random = numpy.random.RandomState(seed)
    features = {}
    for layer in (*STYLE_LAYERS, CONTENT_LAYER):
        block = int(layer[4])
        positions = (size[0] >> block - 1) * (size[1] >> block - 1)
        values = random.standard_normal((min(32 << block, 512), positions))
        features[layer] = 50 * numpy.maximum(values, 0)
    return features


def random_image(seed=4):
    """Return network input whose border is 0, where smoothing differs between the tools."""
    values = numpy.random.RandomState(seed).uniform(-100, 100, (3, SIZE[0] - 2, SIZE[1] - 2))
    return numpy.pad(values, [(0, 0), (1, 1), (1, 1)])


def on_device(values, size=None):
    """Return an NDArray: of an image, or of the features of a layer of a picture of a size."""
    if size is None:
        return engine.array(values[None].astype("float32"), engine.context("cpu"))
    height = math.isqrt(values.shape[1] * size[0] // size[1])
    return on_device(values.reshape(values.shape[0], height, -1))


def terms_of(config, content, style, features):
    """Return the values of nst's content and style losses, ``{layer: value}``."""
    random = numpy.random.RandomState(0)
    content, features = (
        {layer: on_device(values, SIZE) for layer, values in maps.items()}
        for maps in (content, features)
    )
    style = {layer: on_device(values, STYLE_SIZE) for layer, values in style.items()}
    targets = objective.style_targets(config, style, random)
    factors = {m: config.gamma * beta for m, beta in objective.given_beta(config).items()}
    terms = [
        *objective.scaled(objective.content_terms(config, content), {"content": config.alpha}),
        *objective.scaled(objective.style_terms(config, targets), factors),
    ]
    return {
        term.layer: float(
            term(features[term.layer].copy(), term.draw(random, features[term.layer].shape))
            .value.asscalar()
        )
        for term in terms
    }  # fmt: skip


def smoothing_of(config, image):
    return config.smoothing_weight(PIXELS) * float(
        losses.smoothing(on_device(image)).value.asscalar()
    )


def squared_differences(image, excluded=0):
    """Return Σ dx² and Σ dy², without the last rows and columns that are excluded."""
    height, width = (side - excluded for side in image.shape[1:])
    across = numpy.diff(image, axis=2)[:, :height]
    down = numpy.diff(image, axis=1)[:, :, :width]
    return (across**2).sum(), (down**2).sum()


def gram(features):
    return features @ features.T


def mean_of_grams(weight):
    """Return the style loss of jcjohnson and others: means over Gram matrices that are means."""
    return lambda f, s: weight * numpy.mean((gram(f) / f.size - gram(s) / s.size) ** 2)


def mean_of_squares(weight):
    return lambda f, p: weight * numpy.mean((f - p) ** 2)


def same_ratio(config, content_loss, style_losses, tolerance=ROUNDING):
    """Check the ratio of each term to that of the other tool, and return it."""
    content, style, features = (
        random_features(1, SIZE), random_features(2, STYLE_SIZE), random_features(3, SIZE)
    )  # fmt: skip
    ours = terms_of(config, content, style, features)
    assert list(ours) == [CONTENT_LAYER, *STYLE_LAYERS]
    theirs = {CONTENT_LAYER: content_loss(features[CONTENT_LAYER], content[CONTENT_LAYER])}
    for layer, loss in zip(STYLE_LAYERS, style_losses):
        theirs[layer] = loss(features[layer], style[layer])
    ratios = {layer: ours[layer] / theirs[layer] for layer in theirs}
    assert ratios == pytest.approx(dict.fromkeys(ratios, ratios[CONTENT_LAYER]), rel=tolerance)
    return ratios[CONTENT_LAYER]


def test_preset_jcjohnson_is_the_objective_of_neural_style():
    config = Config(preset="jcjohnson")
    ratio = same_ratio(config, mean_of_squares(5), [mean_of_grams(100)] * 5)
    # Half the sum of squares: its gradient is what the module TVLoss adds.
    image = random_image()
    theirs = 1e-3 / 2 * sum(squared_differences(image, excluded=1))
    assert smoothing_of(config, image) == pytest.approx(ratio * theirs, rel=ROUNDING)


def test_preset_mxnet_is_the_objective_of_the_example_of_mxnet():
    config = Config(preset="mxnet")

    def style_loss(f, s):
        # The example squeezes the style to the content's size. nst takes other sizes too, and
        # compares Gram matrices that are means over the positions.
        same_size = gram(s) * (f.shape[1] / s.shape[1])
        return ((gram(f) - same_size) ** 2).sum() / (f.shape[0] * f.size)

    ratio = same_ratio(config, lambda f, p: 10 * ((f - p) ** 2).sum(), [style_loss] * 5)
    # Not only the ratio: the example clips gradients.
    assert ratio == pytest.approx(1, rel=ROUNDING)
    image = random_image()
    theirs = 1e-2 / 16 * sum(squared_differences(image))
    assert smoothing_of(config, image) == pytest.approx(theirs, rel=ROUNDING)
    assert config.faithful and config.optimizer == "sgd"


def test_preset_anishathalye_is_the_objective_of_neural_style():
    config = Config(preset="anishathalye")
    ratio = same_ratio(config, mean_of_squares(5), [mean_of_grams(500 / 5)] * 5)
    image, (height, width) = random_image(), SIZE
    across, down = squared_differences(image)
    theirs = 100 * (across / (3 * height * (width - 1)) + down / (3 * (height - 1) * width))
    # nst's weight takes both means over all pixels, a difference of 1 / 32 in this small picture.
    assert smoothing_of(config, image) == pytest.approx(ratio * theirs, rel=1 / 32)


def test_preset_neural_style_pt_has_the_losses_of_neural_style_pt():
    config = Config(preset="neural-style-pt")
    ratio = same_ratio(config, mean_of_squares(5), [mean_of_grams(100)] * 5)
    check_pull_at_ten_levels(config, ratio * 1e-3)


def test_preset_cysmith_has_the_losses_of_neural_style_tf_at_its_default_size():
    assert Config(preset="cysmith").gamma == pytest.approx(cysmith_gamma(512 * 384), rel=1e-4)
    config = Config(preset="cysmith", gamma=cysmith_gamma(PIXELS))

    def content_loss(f, p):
        return 5 * ((f - p) ** 2).sum() / (2 * math.sqrt(f.size))

    def style_loss(f, s):
        same_size = gram(s) * (f.shape[1] / s.shape[1])
        return 1e4 * 0.2 / 5 * ((gram(f) - same_size) ** 2).sum() / (4 * f.size**2)

    ratio = same_ratio(config, content_loss, [style_loss] * 5)
    # The ratio grows with the square root of the pixels, as γ falls.
    check_pull_at_ten_levels(config, ratio * 1e-3 * math.sqrt(512 * 384 / PIXELS))


def cysmith_gamma(pixels):
    """Return the γ of docs/presets.md for a picture with a number of pixels."""
    return 4525.5 / math.sqrt(pixels)


def check_pull_at_ten_levels(config, weight):
    """Check that smoothing pulls as hard as `weight` times Σ |dx| + |dy|, at 10 grey levels."""
    block = numpy.zeros((3, *SIZE))
    block[:, 8:20, 8:20] = 1
    edges = numpy.abs(numpy.diff(block, axis=2)).sum() + numpy.abs(numpy.diff(block, axis=1)).sum()
    slope = (smoothing_of(config, 11 * block) - smoothing_of(config, 9 * block)) / 2
    assert slope == pytest.approx(weight * edges, rel=0.01)


def test_preset_crowsonkb_has_the_losses_of_style_transfer_pytorch():
    config = Config(preset="crowsonkb")

    def wasserstein(weight):
        def loss(f, s):
            def moments(x):
                return x.mean(axis=1), numpy.cov(x, bias=True)

            (mean, cov), (style_mean, style_cov) = moments(f), moments(s)
            values, vectors = numpy.linalg.eigh(style_cov)
            root = (vectors * numpy.sqrt(numpy.maximum(values, 0))) @ vectors.T
            product = numpy.linalg.eigvalsh(root @ cov @ root)
            trace = numpy.sqrt(numpy.maximum(product, 0)).sum()
            shift = numpy.mean((mean - style_mean) ** 2)
            return weight * (shift + (cov.trace() + style_cov.trace() - 2 * trace) / len(f))

        return loss

    weights = [wasserstein(weight / 341) for weight in (256, 64, 16, 4, 1)]
    ratio = same_ratio(config, mean_of_squares(0.015), weights, tolerance=1e-3)
    # The smoothing is in units of 255 levels, and the features are taken as divided by the
    # deviation of the inputs. On smooth pictures, nine points and five are alike.
    rows, columns = (numpy.sin(numpy.linspace(0, math.pi, side)) for side in SIZE)
    image = 100 * numpy.broadcast_to(rows[:, None] * columns, (3, *SIZE))
    theirs = 2 * nine_points(image / 255) / (1 / (255 * 0.226)) ** 2
    assert smoothing_of(config, image) == pytest.approx(ratio * theirs, rel=0.05)


def nine_points(image):
    """Return the smoothing of style-transfer-pytorch, with a border of 0 as in `random_image`."""
    padded = numpy.pad(image, [(0, 0), (1, 1), (1, 1)], mode="edge")
    inner, first, last = slice(1, -1), slice(None, -1), slice(1, None)
    pairs = (
        (padded[:, inner, 2:] - padded[:, inner, 1:-1], 3),
        (padded[:, 2:, inner] - padded[:, 1:-1, inner], 3),
        (padded[:, last, last] - padded[:, first, first], 12),
        (padded[:, last, first] - padded[:, first, last], 12),
    )
    return 2 * sum((difference**2).mean() / share for difference, share in pairs)


@pytest.mark.parametrize("name", TABLES)
def test_a_presets_values_are_in_the_form_of_the_sidecar_so_that_reports_know_them(name):
    config = Config(preset=name)
    assert {option: getattr(config, option) for option in PRESETS[name]} == PRESETS[name]


@pytest.mark.parametrize("name", TABLES)
def test_a_presets_table_holds_valid_values_that_differ_from_its_base(name):
    table, config = TABLES[name], Config(preset=name)
    base = Config(preset=table.base)
    assert table.base in ("paper", "fast") and set(table.values) <= set(OPTIONS)
    for option in OPTIONS:
        differs = getattr(config, option) != getattr(base, option)
        assert differs == (option in table.values), option
        if differs:
            expected = OPTIONS[option].check(option, table.values[option])
            assert getattr(config, option) == expected


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_makes_a_picture_that_a_replay_repeats(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise(1, 24, 32).save("content.png")
    noise(2, 30, 20).save("style.png")

    def nst(command):
        result = CliRunner().invoke(cli.main, shlex.split(command))
        assert result.exit_code == 0, result.output
        return result

    nst(f"stylize content.png style.png -o out.png --preset {name} --size 32 --iterations 2 "
        "--scales 1 --weights builtin --quiet")  # fmt: skip
    document = json.loads((tmp_path / "out.png.json").read_text())
    config = Config(preset=name, size=32, iterations=2, scales=1, weights="builtin")
    assert Config.from_dict(document["config"]) == config
    nst("replay out.png -o again.png --quiet")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "out.png").read_bytes()


def test_weights_of_a_preset_for_layers_that_the_user_leaves_out_are_left_out():
    config = Config(preset="cysmith", style_layers="relu1_1,relu3_1")
    assert config.layer_weights == "relu3_1=16.0"
    assert Config(preset="jcjohnson", style_layers="relu4_1").layer_weights == ""
    # What the user gives is checked.
    with pytest.raises(ConfigError, match="layer_weights names 'relu5_1'"):
        Config(preset="jcjohnson", style_layers="relu4_1", layer_weights="relu5_1=4")


@pytest.mark.parametrize(
    ("text", "stored"), [("0.5 / pixel", "0.5/pixel"), ("2e3/pixel", "2000.0/pixel")]
)
def test_a_smoothing_weight_per_pixel_counts_the_pixels(text, stored):
    config = Config(tv_weight=text)
    assert config.tv_weight == stored
    assert config.smoothing_weight(12) == pytest.approx(12 * float(stored.partition("/")[0]))
    assert Config(tv_weight="0.5").smoothing_weight(12) == 0.5


def test_a_transfer_counts_the_pixels_of_its_image_with_the_margin():
    content, style = (on_device(random_image(seed)).asnumpy() for seed in (1, 2))
    choices = {"iterations": 1, "weights": "builtin", "margin": 4, "init": "content"}
    pixels = (SIZE[0] + 8) * (SIZE[1] + 8)

    def image(tv_weight):
        return transfer(content, style, Config(tv_weight=tv_weight, **choices)).image

    per_pixel = image("0.5/pixel")
    assert numpy.array_equal(per_pixel, image(0.5 * pixels))
    assert not numpy.array_equal(per_pixel, image(0.5))


@pytest.mark.parametrize("text", ["0.5/pixels", "x/pixel", "/pixel", "-1/pixel", "1/2/pixel"])
def test_a_bad_smoothing_weight_is_one_line_that_names_it(text):
    with pytest.raises(ConfigError, match="tv_weight") as caught:
        Config(tv_weight=text)
    assert "\n" not in str(caught.value) and caught.value.field == "tv_weight"
