"""The theorem: both forms of each MMD compared, and the command that shows them."""

import json
import shlex
from pathlib import Path

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_cli import content_of, error_of, noise, nst

import nst_cli
from nst_cli import Config, engine, samples
from nst_cli.config import PAPER_METHODS
from nst_cli.runs import runner
from nst_cli.synthesis import losses
from nst_cli.views import canvas, theorem
from nst_cli.views.theorem import mmd

ROOT = Path(nst_cli.__file__).parents[1]

N = 4
KERNELS = {
    "linear": mmd.linear_kernel,
    "poly": mmd.polynomial_kernel(),
    "poly-c": mmd.polynomial_kernel(3.0),
    "gaussian": mmd.gaussian_kernel(9.0),
}
# The forms that do not sum over pairs.
FAST = {
    "linear": mmd.linear,
    "poly": mmd.polynomial,
    "poly-c": lambda a, b: mmd.polynomial(a, b, 3.0),
}


def random_rows(seed, positions, channels=N):
    """Return a map as rows, with another mean and deviation in each channel."""
    random = numpy.random.RandomState(seed)
    spread, shift = random.uniform(0.5, 2, (2, channels))
    return random.normal(size=(positions, channels)) * spread + shift


def to_map(rows, height):
    """Return rows as the feature map (1, N, H, W) in float64 on the device."""
    values = rows.T.reshape(1, rows.shape[1], height, -1)
    return engine.array(values, engine.context("cpu"), "float64")


class TestTheorem:
    @pytest.mark.parametrize("name", FAST)
    # The last pair does not fit into one block of the kernel matrix.
    @pytest.mark.parametrize("positions", [(1, 1), (7, 5), (30, 41), (1100, 2100)], ids=str)
    def test_the_form_without_pairs_is_the_sum_over_all_pairs(self, name, positions):
        x, y = (random_rows(seed, count) for seed, count in enumerate(positions))
        fast = FAST[name](mmd.moments(x), mmd.moments(y))
        assert fast == pytest.approx(mmd.by_pairs(KERNELS[name], x, y), rel=1e-10)

    @pytest.mark.parametrize("positions", [(7, 5), (1100, 2100)], ids=str)
    def test_the_gram_loss_is_the_mmd_over_four_times_the_squared_channels(self, positions):
        x, y = (random_rows(seed, count) for seed, count in enumerate(positions))
        by_pairs = mmd.by_pairs(mmd.polynomial_kernel(), x, y) / (4 * N**2)
        assert mmd.gram_loss(mmd.moments(x), mmd.moments(y)) == pytest.approx(by_pairs, rel=1e-10)

    def test_the_gram_loss_is_equation_6_for_maps_of_one_size(self):
        x, y = random_rows(0, 21), random_rows(1, 21)
        grams = ((x.T @ x - y.T @ y) ** 2).sum()
        expected = grams / (4 * N**2 * 21**2)
        assert mmd.gram_loss(mmd.moments(x), mmd.moments(y)) == pytest.approx(expected, rel=1e-12)

    def test_the_loss_of_the_transfer_is_the_gram_loss_times_the_positions(self):
        x, y = random_rows(0, 21), random_rows(1, 20)
        loss = losses.PolynomialMMD()
        value = loss(to_map(x, 3), loss.target(to_map(y, 4))).value.asscalar()
        assert value == pytest.approx(
            21 * mmd.gram_loss(mmd.moments(x), mmd.moments(y)), rel=1e-10
        )

    @pytest.mark.parametrize(
        ("loss", "distance", "factor"),
        [
            (losses.LinearMMD(), mmd.linear, 1 / (2 * N)),
            (losses.PolynomialMMD(3.0), FAST["poly-c"], 1 / (4 * N**2)),
            (losses.BNStatistics(), mmd.bn_statistics, 1 / 2),
        ],
        ids=["linear", "poly-c", "bn"],
    )
    def test_the_other_losses_are_their_distances_times_their_stated_factors(
        self, loss, distance, factor
    ):
        x, y = random_rows(0, 21), random_rows(1, 20)
        value = loss(to_map(x, 3), loss.target(to_map(y, 4))).value.asscalar()
        expected = 21 * factor * distance(mmd.moments(x), mmd.moments(y))
        assert value == pytest.approx(expected, rel=1e-10)


class TestKernels:
    @pytest.mark.parametrize(
        ("name", "formula"),
        [
            ("linear", lambda x, y: x @ y),
            ("poly", lambda x, y: (x @ y) ** 2),
            ("poly-c", lambda x, y: (x @ y + 3) ** 2),
            ("gaussian", lambda x, y: numpy.exp(-((x - y) ** 2).sum() / 9)),
        ],
    )
    def test_the_mmd_is_equation_2_summed_pair_by_pair(self, name, formula):
        x, y = random_rows(0, 6), random_rows(1, 5)

        def mean(one, other):
            return numpy.mean([formula(a, b) for a in one for b in other])

        expected = mean(x, x) + mean(y, y) - 2 * mean(x, y)
        assert mmd.by_pairs(KERNELS[name], x, y) == pytest.approx(expected, rel=1e-10)

    @pytest.mark.parametrize("name", KERNELS)
    @given(st.integers(1, 40), st.integers(0, 99))
    @settings(max_examples=10, derandomize=True, deadline=None)
    def test_a_map_against_itself_has_no_mmd(self, name, positions, seed):
        x = random_rows(seed, positions)
        scale = mmd.kernel_sum(KERNELS[name], x, x) / positions**2
        assert mmd.by_pairs(KERNELS[name], x, x) == pytest.approx(0, abs=1e-14 * scale)
        if name in FAST:
            assert FAST[name](mmd.moments(x), mmd.moments(x)) == 0

    def test_a_map_against_itself_has_no_bn_distance(self):
        one = mmd.moments(random_rows(0, 30))
        assert mmd.bn_statistics(one, one) == 0

    @given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
    @settings(max_examples=10, derandomize=True, deadline=None)
    def test_shuffling_the_positions_changes_nothing(self, of_x, of_y, seed):
        x, y = random_rows(seed, of_x), random_rows(seed + 1, of_y)
        shuffled = x[numpy.random.RandomState(seed).permutation(of_x)]
        for kernel in KERNELS.values():
            value = mmd.by_pairs(kernel, shuffled, y)
            assert value == pytest.approx(mmd.by_pairs(kernel, x, y), rel=1e-9, abs=1e-12)
        a, b, moved = (mmd.moments(rows) for rows in (x, y, shuffled))
        for distance in (*FAST.values(), mmd.gram_loss, mmd.bn_statistics, mmd.bandwidth):
            assert distance(moved, b) == pytest.approx(distance(a, b), rel=1e-9)

    def test_two_maps_that_differ_have_an_mmd_under_every_kernel(self):
        x, y = random_rows(0, 30), random_rows(1, 30)
        assert all(mmd.by_pairs(kernel, x, y) > 0.01 for kernel in KERNELS.values())


class TestGaussian:
    def test_the_bandwidth_is_the_mean_squared_distance_of_pairs_of_two_positions(self):
        x, y = random_rows(0, 9), random_rows(1, 7)

        def squares(one, other):
            return ((one[:, None] - other[None]) ** 2).sum(2)

        within = [squares(rows, rows)[~numpy.eye(len(rows), dtype=bool)].mean() for rows in (x, y)]
        expected = (sum(within) + 2 * squares(x, y).mean()) / 4
        assert mmd.bandwidth(mmd.moments(x), mmd.moments(y)) == pytest.approx(expected, rel=1e-12)

    def test_with_all_positions_drawn_the_estimate_is_the_sum_over_all_pairs(self):
        x, y = random_rows(0, 30), random_rows(1, 20)
        estimate = mmd.gaussian(x, y, 9.0, (30, 20))
        assert estimate == pytest.approx(mmd.by_pairs(mmd.gaussian_kernel(9.0), x, y), rel=1e-12)

    def test_with_some_positions_drawn_the_estimate_is_unbiased_and_the_plain_form_is_not(self):
        x, y, random = random_rows(0, 30), random_rows(1, 20), numpy.random.RandomState(2)
        kernel, estimates, plain = mmd.gaussian_kernel(9.0), [], []
        for _ in range(2000):
            drawn = [rows[random.permutation(len(rows))[:8]] for rows in (x, y)]
            estimates.append(mmd.gaussian(*drawn, 9.0, (30, 20)))
            plain.append(mmd.by_pairs(kernel, *drawn))
        expected, error = mmd.by_pairs(kernel, x, y), numpy.std(estimates) / 2000**0.5
        assert abs(numpy.mean(estimates) - expected) < 4 * error
        assert abs(numpy.mean(plain) - expected) > 10 * error

    def test_a_single_point_on_both_sides_has_no_mmd(self):
        x = numpy.full((5, N), 2.0)
        bandwidth = mmd.bandwidth(mmd.moments(x), mmd.moments(x[:3]))
        assert bandwidth == 0
        assert mmd.gaussian(x, x[:3], bandwidth, (5, 3)) == 0


# The command


def save_pair(folder):
    noise(1, 36, 48).save(folder / "content.png")
    noise(2, 60, 80).save(folder / "style.png")


SMALL = "--weights builtin --size 48 --device cpu "
CHOSEN = "--preset fast --seed 3 "


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A comparison that includes a finished picture: its process and its folder."""
    folder = tmp_path_factory.mktemp("shown")
    save_pair(folder)
    command = f"stylize content.png style.png -o made.png {SMALL} {CHOSEN} --iterations 12"
    assert nst(folder, *shlex.split(command)).returncode == 0
    command = (
        f"theorem content.png style.png --picture made.png {SMALL} {CHOSEN} --sample 200 --c 2"
    )
    more = ("--sample", "200", "-o", "plot.png", "--json", "numbers.json")
    done = nst(folder, *shlex.split(command), *more)
    assert done.returncode == 0, done.stderr
    return done, folder


def numbers_in(folder):
    return json.loads((folder / "numbers.json").read_text(), parse_constant=pytest.fail)


def test_the_table_fits_into_100_columns_of_ascii(shown):
    lines = shown[0].stdout.splitlines()
    assert shown[0].stdout.isascii() and max(map(len, lines)) <= 100


def test_stderr_has_the_note_on_the_builtin_weights_and_the_bars(shown):
    assert shown[0].stderr.startswith("Note: The built-in")
    assert "5/5" in shown[0].stderr


def test_both_forms_agree_to_the_rounding_of_float64_and_the_loss_to_that_of_float32(shown):
    for layer in numbers_in(shown[1])["layers"]:
        gram = layer["gram_loss"]
        assert gram["gram"] > 0
        assert gram["sample_pairs"] == pytest.approx(gram["sample_gram"], rel=1e-10)
        # The single precision of a Gram matrix, and of a difference of two.
        assert gram["stylize"] == pytest.approx(gram["gram"], rel=1e-4)
        whole = layer["sampled"] == layer["positions"]
        assert (gram["sample_gram"] == pytest.approx(gram["gram"], rel=1e-10)) == whole


def test_the_positions_are_those_of_the_maps_and_at_most_the_sample_is_drawn(shown):
    layers = numbers_in(shown[1])["layers"]
    assert [layer["layer"] for layer in layers] == list(Config().style_layers)
    assert [layer["channels"] for layer in layers] == [64, 128, 256, 512, 512]
    assert layers[0]["positions"] == {"content": 48 * 36, "style": 36 * 48, "made": 48 * 36}
    for layer in layers:
        for role, positions in layer["positions"].items():
            assert layer["sampled"][role] == min(200, positions)


def test_the_table_shows_the_numbers_of_the_json_file(shown):
    done, folder = shown
    lines, document = done.stdout.splitlines(), numbers_in(folder)
    assert lines[0] == "content  content.png, 48 x 36"
    assert lines[2] == "made     made.png, 48 x 36"
    assert "(x.y + 2)^2" in done.stdout
    for layer in document["layers"]:
        theorem_row, before, after = (
            line.split() for line in lines if line.startswith(layer["layer"])
        )
        gram = layer["gram_loss"]
        assert float(theorem_row[5]) == pytest.approx(gram["gram"], rel=1e-4)
        assert float(theorem_row[9]) == pytest.approx(gram["sample_pairs"], rel=1e-4)
        for number, method in enumerate(PAPER_METHODS):
            content, after_transfer = (layer["mmd"][role][method] for role in ("content", "made"))
            assert float(before[1 + number]) == pytest.approx(content, rel=1e-2)
            assert float(after[1 + 3 * number]) == pytest.approx(after_transfer, rel=1e-2)
            assert layer["left"][method] == pytest.approx(after_transfer / content, rel=1e-12)
            part = float(after[2 + 3 * number]) / 100
            assert part == pytest.approx(layer["left"][method], rel=0.06)


def test_the_plot_is_a_picture(shown):
    with Image.open(shown[1] / "plot.png") as picture:
        picture.load()
        assert min(picture.size) > 500
        # Its curves have many colours.
        assert len(picture.convert("RGB").getcolors(picture.width * picture.height)) > 99


def test_theorem_without_a_plot_does_not_need_matplotlib(tmp_path):
    save_pair(tmp_path)
    (tmp_path / "matplotlib.py").write_text("raise ImportError('none here')")
    command = f"theorem content.png style.png {SMALL} --style-layers relu1_1 --quiet"
    done = nst(tmp_path, *shlex.split(command), PYTHONPATH=f"{ROOT}:{tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "relu1_1" in done.stdout and "made" not in done.stdout
    assert len(done.stderr.splitlines()) == 1


# Input that is refused


@pytest.fixture
def folder(tmp_path):
    save_pair(tmp_path)
    noise(3, 36, 48).save(tmp_path / "made.png")
    (tmp_path / "words.png").write_bytes(b"words\n" * 100)
    (tmp_path / "folder.png").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ("--gamma 3", 2, ("--gamma",)),
        ("--sample 1", 2, ("--sample", "1")),
        ("--picture words.png", 1, ("words.png", "not a picture")),
        ("-o plot.gif", 1, ("plot.gif", "'.gif'", ".svg")),
        ("-o made.png --picture made.png", 1, ("made.png", "would overwrite")),
        ("--json folder.png", 1, ("folder.png", "it is a folder")),
        ("-o plot.svg --json plot.svg", 1, ("plot.svg", "would overwrite")),
    ],
)
def test_an_invalid_comparison_is_a_one_line_error_and_changes_nothing(
    folder, options, code, words
):
    before = content_of(folder)
    line = error_of(
        nst(folder, "theorem", "content.png", "style.png", *shlex.split(SMALL + options)), code
    )
    assert all(word in line for word in words)
    assert content_of(folder) == before


def test_without_matplotlib_a_plot_is_a_one_line_error_that_says_how_to_install_it(folder):
    (folder / "matplotlib.py").write_text("raise ImportError('none here')")
    before = content_of(folder)
    command = f"theorem content.png style.png -o plot.png {SMALL}"
    done = nst(
        folder, *shlex.split(command), PYTHONPATH=f"{ROOT}:{folder}", PYTHONDONTWRITEBYTECODE=1
    )
    assert "pip install 'nst-cli[plot]'" in error_of(done, 1)
    assert content_of(folder) == before


# The comparison in this process


@pytest.fixture
def compared(tmp_path, monkeypatch):
    """Return a function: the comparison of the pair, at two layers of the built-in filters."""
    monkeypatch.chdir(tmp_path)
    save_pair(tmp_path)
    noise(3, 36, 48).save("made.png")

    def compare(content="content.png", style="style.png", picture=None, sample=100, **choices):
        config = Config(
            **{"size": 48, "style_layers": "relu1_1,relu2_1", "device": "cpu", **choices},
            weights="builtin",
        )
        job = theorem.prepare(content, style, config, picture=picture, sample=sample)
        return theorem.compare(job)

    return compare


def test_a_third_picture_changes_no_number_of_the_first_two(compared):
    alone, beside = compared(), compared(picture="made.png")
    for one, other in zip(alone.layers, beside.layers):
        assert one.mmd["content"] == other.mmd["content"]
        assert (one.sample_gram, one.sample_pairs) == (other.sample_gram, other.sample_pairs)


def test_another_seed_draws_other_positions_of_the_same_maps(compared):
    for one, other in zip(compared().layers, compared(seed=1).layers):
        assert one.sample_pairs != other.sample_pairs
        assert (one.gram, one.mmd["content"]["bn"]) == (other.gram, other.mmd["content"]["bn"])


def test_a_picture_compared_with_itself_has_only_zeros(compared):
    result = compared(style="content.png", picture="content.png", sample=10_000, preset="fast")
    for layer in result.layers:
        assert layer.loss == layer.gram == 0
        assert layer.loss_difference is None and layer.sample_difference is None
        for method in PAPER_METHODS:
            assert layer.mmd["content"][method] == pytest.approx(0, abs=1e-14)
            assert layer.left(method) is None
    assert "nan" not in "\n".join(theorem.lines(result))
    theorem.plot.write(result, "plot.png")


def test_the_content_as_the_picture_has_the_distances_of_the_content(compared):
    # Preset paper scales content and style, but not a finished picture.
    for layer in compared(picture="content.png", sample=10_000, preset="fast").layers:
        assert [layer.left(method) for method in PAPER_METHODS] == pytest.approx([1] * 4, rel=1e-9)


def test_content_and_style_may_differ_in_size(compared):
    noise(4, 48, 24).save("style.png")
    (layer, _) = compared(style_fit="keep", sample=2000).layers
    assert layer.positions == {"content": 48 * 36, "style": 24 * 48}
    assert layer.sample_pairs == pytest.approx(layer.gram, rel=1e-10)


def test_a_picture_of_another_size_is_noted(tmp_path, compared):
    noise(4, 18, 24).save("small.png")
    job = theorem.prepare(
        "content.png", "style.png", Config(size=48, weights="builtin"),
        picture="small.png", sample=9,
    )  # fmt: skip
    (note,) = [note for note in job.notes if "small.png" in note]
    assert "24 x 18" in note and "48 x 36" in note and "--size 24" in note


def test_the_same_comparison_gives_the_same_plot_byte_for_byte(compared, tmp_path):
    result = compared(picture="made.png", style_layers="relu1_1")
    for ending in canvas.ENDINGS:
        for name in ("one", "other"):
            theorem.plot.write(result, name + ending)
        one, other = ((tmp_path / (name + ending)).read_bytes() for name in ("one", "other"))
        assert one == other


@pytest.mark.slow
def test_a_transfer_by_the_polynomial_kernel_lowers_every_mmd_at_every_layer(
    real_weights, tmp_path
):
    # With a margin, what the loss saw at the border is cut off.
    choices = {"size": 128, "method": "poly", "denoise": 0, "margin": 0}
    config = Config(preset="fast", weights=str(real_weights), **choices)
    pair, picture = (samples.CONTENT, samples.STYLES[0]), tmp_path / "made.png"
    runner.run(runner.prepare(*pair, picture, config))
    job = theorem.prepare(*pair, config, picture=picture, sample=4096)
    for layer in theorem.compare(job).layers:
        # The content loss limits the change at relu5_1.
        most = 0.1 if layer.name != "relu5_1" else 0.5
        assert max(layer.left(method) for method in PAPER_METHODS) < most
