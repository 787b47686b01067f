"""What pictures leave of every alignment: the measures, their ranks, and the command."""

import json
import math

import numpy
import pytest
from click.testing import CliRunner
from PIL import Image
from processes import noise, nst

from nst_cli import cli, engine, images
from nst_cli.config import METHODS
from nst_cli.errors import ImageError
from nst_cli.synthesis import losses, objective, vgg
from nst_cli.views import score as scores
from nst_cli.views.score import measures, scoring, table
from nst_cli.weights import BUILTIN, Weights

LAYERS = ("relu1_1", "relu2_1")
# One that is exact, one by pairs, one by samples, and one by frequencies.
FEW = ["linear", "gaussian", "remd", "fourier"]
SMALL = {"size": 64, "weights": BUILTIN, "device": "cpu", "style_layers": LAYERS,
         "content_layers": ("relu2_1",)}  # fmt: skip
OPTIONS = ("--size", "64", "--weights", "builtin", "--device", "cpu", "--style-layers",
           "relu1_1,relu2_1", "--content-layers", "relu2_1", "--draws", "4")  # fmt: skip


def patches(seed, tint):
    """Return a picture of coloured patches, 64 x 48."""
    small = numpy.random.RandomState(seed).uniform(0, 160, (6, 8, 3)) + tint
    return Image.fromarray(small.clip(0, 255).astype("uint8")).resize((64, 48))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with a content, a style, and a picture that nst did not make."""
    patches(1, (0, 30, 90)).save(tmp_path / "content.png")
    patches(2, (90, 30, 0)).save(tmp_path / "style.png")
    mixed = Image.blend(patches(1, (0, 30, 90)), patches(2, (90, 30, 0)), 0.5)
    mixed.save(tmp_path / "theirs.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scored(*pictures, methods=FEW, draws=4, **choices):
    config = scores.config_of(methods, **{**SMALL, **choices})
    job = scores.prepare("content.png", "style.png", pictures, config, draws=draws)
    return scores.score(job)


def lefts(one):
    return {(method, layer): left for method, by_layer in one.left.items()
            for layer, left in by_layer.items()}  # fmt: skip


# The measures


@pytest.mark.parametrize("method", METHODS)
def test_the_content_leaves_all_and_the_style_nothing(folder, method):
    content, style, theirs = scored(
        "content.png", "style.png", "theirs.png", methods=[method]
    ).pictures
    for key, left in lefts(content).items():
        assert left == scores.Left(1.0, None)
        of_style = lefts(style)[key]
        # The error of four draws is itself uncertain. Samples for remd are of other positions of
        # the style than those that they are compared with.
        bound = 0.3 if method == "remd" else 8 * (of_style.error or 0) + 1e-5
        assert of_style.value == pytest.approx(0, abs=bound)
    assert content.content == {"relu2_1": 0}
    assert style.content["relu2_1"] > theirs.content["relu2_1"] > 0


def test_estimates_have_a_standard_error_and_exact_numbers_have_none(folder):
    (theirs,) = scored("theirs.png", methods=["linear", "bn", "gaussian", "fourier"]).pictures
    for (method, _), left in lefts(theirs).items():
        assert (left.error is not None) == (method in ("gaussian", "fourier"))
        assert left.error is None or 0 < left.error < 1


def test_the_standard_error_is_that_of_repeated_scores(folder):
    repeated = [
        lefts(scored("theirs.png", methods=["gaussian"], draws=16, seed=seed).pictures[0])
        for seed in range(8)
    ]
    values = [one["gaussian", "relu2_1"].value for one in repeated]
    errors = [one["gaussian", "relu2_1"].error for one in repeated]
    # The deviation of eight numbers is itself known to about a quarter.
    assert numpy.std(values, ddof=1) == pytest.approx(numpy.mean(errors), rel=0.8)


def test_the_numbers_of_a_picture_do_not_depend_on_the_others(folder):
    alone = scored("theirs.png").pictures[0]
    many = scored("style.png", "content.png", "style.png", "content.png", "theirs.png")
    assert many.pictures[-1].left == alone.left
    assert many.pictures[-1].content == alone.content


def test_the_numbers_of_a_method_do_not_depend_on_the_others(folder):
    alone = scored("theirs.png", methods=["gaussian"]).pictures[0]
    assert scored("theirs.png").pictures[0].left["gaussian"] == alone.left["gaussian"]


def test_the_same_seed_gives_the_same_numbers_and_another_seed_other_estimates(folder):
    first, again, other = (scored("theirs.png", seed=seed).pictures[0].left for seed in (3, 3, 4))
    assert first == again
    assert first["linear"] == other["linear"] and first["gaussian"] != other["gaussian"]


def test_each_method_judges_by_its_own_loss():
    config = scores.config_of(METHODS, **SMALL)
    by_method = objective.style_losses(config)
    for method in METHODS:
        assert by_method[method, "relu1_1"] == losses.style_loss(method)


@pytest.mark.parametrize("method", ["linear", "histogram", "remd"])
def test_what_is_left_is_the_loss_over_that_of_the_content(folder, method):
    (theirs,) = scored("theirs.png", methods=[method], style_layers=("relu2_1",)).pictures
    device = engine.context("cpu")
    shared = vgg.parameters(Weights.find(BUILTIN).load(), ("relu2_1",), device)

    def features(name):
        image = images.to_input(images.read(folder / name).pixels)
        network = vgg.Network(shared, ("relu2_1",), image.shape, gradient=False)
        return network.forward(engine.array(image, device))["relu2_1"]

    loss, random = losses.style_loss(method), numpy.random.RandomState(0)
    target = loss.target(features("style.png"), random)

    def value(name):
        of_picture = features(name)
        drawn = loss.draw(random, of_picture.shape, target)
        return float(loss(of_picture, target, 1.0, drawn).value.asscalar())

    expected = value("theirs.png") / value("content.png")
    assert theirs.left[method]["relu2_1"].value == pytest.approx(expected, rel=1e-4)


def test_the_content_loss_is_relative_to_the_contents_features_in_random_order(folder):
    content = images.to_input(images.read(folder / "content.png").pixels)
    config = scores.config_of(["linear"], **SMALL)
    device = engine.context("cpu")
    shared = vgg.parameters(Weights.find(BUILTIN).load(), LAYERS, device)
    (features,) = measures._maps([content], "relu2_1", shared, "avg")
    values = features.asnumpy().reshape(features.shape[1], -1)
    random = numpy.random.RandomState(0)
    shuffles = [
        ((values[:, random.permutation(values.shape[1])] - values) ** 2).sum() for _ in range(400)
    ]
    (theirs,) = scores.measure(
        content, content + 1, [images.to_input(images.read(folder / "theirs.png").pixels)],
        config, Weights.find(BUILTIN), 4,
    )  # fmt: skip
    (changed,) = measures._maps(
        [images.to_input(images.read(folder / "theirs.png").pixels)], "relu2_1", shared, "avg"
    )
    loss = ((changed.asnumpy() - features.asnumpy()) ** 2).sum()
    assert theirs.content["relu2_1"] == pytest.approx(loss / numpy.mean(shuffles), rel=0.02)


def test_where_the_content_has_nothing_left_there_is_no_number():
    ones = numpy.ones(8)
    assert measures._left(ones, numpy.zeros(8)) == scores.Left(None, None)
    # What is left is no more than the noise of its draws.
    noisy = numpy.array([1.0, -1.0, 2.0, -2.0, 0.5])
    assert measures._left(noisy, noisy) == scores.Left(None, None)
    assert measures._left(numpy.array([math.nan]), numpy.ones(1)) == scores.Left(None, None)


def test_errors_that_a_picture_shares_with_the_content_cancel_out():
    content = numpy.array([1.0, 1.4, 0.8, 1.2])
    assert measures._left(content / 2, content) == scores.Left(0.5, None)
    left = measures._left(content / 2 + [0.01, -0.01, 0.01, -0.01], content)
    assert left.value == pytest.approx(0.5) and 0.003 < left.error < 0.01


def test_large_layers_get_fewer_draws_but_no_fewer_than_four():
    counts = [measures._draws(16, positions) for positions in (1, 4096, 8192, 10**6)]
    assert counts == [16, 16, 8, 4]
    assert measures._draws(2, 10**6) == 2


def test_a_step_is_reported_for_each_group_method_and_layer(folder):
    config = scores.config_of(["linear", "bn"], **SMALL)
    job = scores.prepare("content.png", "style.png", ["theirs.png"] * 5, config)
    calls = []
    scores.score(job, on_step=lambda: calls.append(1))
    assert len(calls) == job.steps == 2 * 2 * 2


# Ranks


def test_pictures_are_ranked_by_the_mean_of_their_ranks(folder):
    result = scored(
        "content.png", "theirs.png", "style.png", "style.png", methods=["linear", "bn"]
    )
    ranks = [(one.rank, one.mean_rank) for one in result.pictures]
    assert ranks == [(4, 4.0), (3, 3.0), (1, 1.5), (1, 1.5)]


def test_a_rank_leaves_out_what_cannot_be_measured():
    def measured(*values):
        left = {"bn": {str(n): scores.Left(value, None) for n, value in enumerate(values)}}
        return scores.Measures(left, {})

    means = scoring._mean_ranks([measured(0.5, None), measured(0.25, None)])
    assert means == [2.0, 1.0]
    nothing = scoring._mean_ranks([measured(None), measured(None)])
    assert nothing == [None, None] and scoring._place(None, nothing) is None


def test_the_mean_of_estimates_has_the_error_of_a_mean():
    mean = scores.mean_of([scores.Left(1.0, 0.3), scores.Left(3.0, 0.4), scores.Left(None, None)])
    assert mean == scores.Left(2.0, pytest.approx(0.25))
    assert scores.mean_of([scores.Left(None, None)]) == scores.Left(None, None)


# Inputs


def test_the_same_picture_as_content_and_style_is_refused(folder):
    config = scores.config_of(["linear"], **SMALL)
    with pytest.raises(ImageError, match="it shows the same as the content"):
        scores.prepare("content.png", "content.png", ["theirs.png"], config)


def test_a_picture_of_another_size_is_resized_with_a_note(folder):
    big = patches(1, (0, 30, 90)).resize((128, 96))
    big.save("twice.png")
    noise(3, 20, 20).save("square.png")
    config = scores.config_of(["linear"], **SMALL)
    job = scores.prepare(
        "content.png", "style.png", ["theirs.png", "twice.png", "square.png"], config
    )
    assert {picture.shape for picture in job.pictures} == {(1, 3, 48, 64)}
    note = "Resized to the content's 64 x 48 pixels: twice.png (128 x 96), square.png (20 x 20)."
    assert job.notes[0] == note
    # A picture of the content's size is resized like the content itself.
    big.save("content.png")
    job = scores.prepare("content.png", "style.png", ["twice.png", "theirs.png"], config)
    assert not any("Resized" in note for note in job.notes)


def test_the_style_keeps_its_own_aspect(folder):
    noise(3, 40, 20).save("style.png")
    result = scored("theirs.png", methods=["linear"])
    assert (result.size, result.style_size) == ((48, 64), (64, 32))


# The command


def run(*arguments, code=0):
    done = CliRunner().invoke(cli.main, ["score", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done


def command(*arguments):
    return (*arguments, "--content", "content.png", "--style", "style.png", *OPTIONS)


def test_the_json_holds_all_numbers(folder):
    run(
        *command(
            "theirs.png", "style.png", "-q", "--method", "linear,gaussian", "--json", "s.json"
        )
    )
    result = scored("theirs.png", "style.png", methods=["linear", "gaussian"])
    document = json.loads((folder / "s.json").read_text())
    assert document == result.to_dict()
    first = document["scores"][0]
    assert (first["path"], first["width"], first["height"]) == ("theirs.png", 64, 48)
    assert set(first["left"]) == {"linear", "gaussian"}
    assert set(first["left"]["gaussian"]["relu1_1"]) == {"value", "standard_error"}
    assert (document["seed"], document["draws"]) == (0, 4)
    assert document["weights"]["source"] == "builtin"


def test_the_command_scores_a_picture_that_nst_did_not_make(folder):
    before = sorted(path.name for path in folder.iterdir())
    done = nst(folder, "score", *command("theirs.png", "style.png", "--method", "linear,gaussian"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[2:4] == ["1        theirs.png, 64 x 48", "2        style.png, 64 x 48"]
    assert "Traceback" not in done.stderr and "built-in filter bank" in done.stderr
    (row,) = [line.split() for line in lines if line.startswith("linear")]
    assert row[1] == "relu1_1" and 0 < float(row[2]) < 1 and float(row[3]) == 0
    assert [line.split() for line in lines if line.startswith("rank")] == [["rank", "2", "1"]]
    assert sorted(path.name for path in folder.iterdir()) == before


def test_json_on_the_standard_output_replaces_the_table(folder):
    words = command("theirs.png", "--method", "linear", "--json", "-", "--quiet")
    done = nst(folder, "score", *words)
    assert json.loads(done.stdout)["scores"][0]["path"] == "theirs.png"
    assert not (folder / "-").exists()


def test_a_table_fits_a_hundred_columns_whatever_the_number_of_pictures(folder):
    name = "a picture with a very long name, of which the middle is left out.png"
    Image.open("theirs.png").save(name)
    result = scored(*[name] * 6, methods=["wasserstein", "gaussian"])
    text = list(table.lines(result))
    assert max(map(len, text)) <= 100
    heads = [
        line for line in text if line.lstrip().startswith(("1 ", "5 ")) and "x 48" not in line
    ]
    assert len(heads) == 2 and heads[0].count("..") == 4 and heads[1].count("..") == 2
    assert heads[0].split("1 ")[1].startswith("a pict..")


def test_one_picture_has_no_rank_in_the_table(folder):
    assert not any("rank" in line for line in table.lines(scored("theirs.png", methods=["bn"])))


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["none.png"], 1, "Cannot read none.png: No such file or directory."),
        (["theirs.png", "--method", "poli"], 2, "did you mean 'poly'?"),
        (["theirs.png", "--method", "bn=0.5,poly=0.5"], 2, "'bn=0.5' has a weight"),
        (["theirs.png", "--method", ""], 2, "Invalid value for '--method'"),
        (["theirs.png", "--size", "8"], 2, "size is '8'; it must be a whole number from 16"),
        (["theirs.png", "--draws", "1"], 2, "Invalid value for '--draws'"),
        (["theirs.png", "--style-layers", "relu9_1"], 2, "Unknown layer 'relu9_1'"),
        (["theirs.png", "--json", "theirs.png"], 1, "theirs.png"),
        (["theirs.png", "--style", "content.png"], 1, "shows the same as the content"),
        ([], 2, "Missing argument 'PICTURE...'"),
    ],
)
def test_bad_input_is_one_line(folder, words, code, message):
    before = (folder / "theirs.png").read_bytes()
    words = ["--content", "content.png", "--style", "style.png", *OPTIONS, *words]
    lines = [line for line in run(*words, code=code).output.splitlines() if "Error: " in line]
    assert len(lines) == 1 and message in lines[0]
    assert (folder / "theirs.png").read_bytes() == before


def test_only_a_file_of_scores_is_replaced(folder):
    words = command("theirs.png", "--method", "linear", "-q", "--json", "s.json")
    (folder / "s.json").write_text('{"program": "nst", "version": 1}')
    assert "nst did not make it" in run(*words, code=1).output
    run(*words, "--overwrite")
    first = (folder / "s.json").read_bytes()
    run(*words)
    assert (folder / "s.json").read_bytes() == first


def test_a_name_with_control_characters_does_not_reach_the_terminal(folder):
    (folder / "theirs.png").rename("\x1b[31m.png")
    done = run(*command("\x1b[31m.png", "--method", "linear", "-q"))
    assert "\x1b" not in done.output and r"\x1b[31m.png" in done.output
