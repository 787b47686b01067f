"""Several styles, folders as styles, scales and masks: as files and on the command line."""

import dataclasses
import json
import pickle
import shlex
from pathlib import Path

import numpy
import pytest
from click.testing import CliRunner
from packages import save_example
from PIL import Image
from processes import TINY, content_of, noise

from nst_cli import cli, images
from nst_cli.config import Config
from nst_cli.errors import BatchError, SidecarError
from nst_cli.runs import batch, cluster, inputs, plan, provenance, replay, sidecar, styles
from nst_cli.runs.styles import Style
from nst_cli.weights import Weights

OPTIONS = [
    word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", str(value))
]
HALF = numpy.repeat(numpy.array([[255], [0]], numpy.uint8), 16, axis=1).repeat(8, axis=0)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A content of 16 x 16, two styles of other sizes, a folder of styles, and masks."""
    monkeypatch.chdir(tmp_path)
    for seed, (name, height, width) in enumerate(
        [("photo.png", 16, 16), ("a.png", 20, 30), ("b.png", 40, 24)]
    ):
        noise(seed, height, width).save(name)
    Path("many").mkdir()
    for seed in (3, 4, 5):
        noise(seed, 16, 16 + seed).save(f"many/{seed}.png")
    Path("many/notes.txt").write_text("not a picture")
    noise(8, 16, 16).save("many/.hidden.png")
    Path("empty").mkdir()
    Image.fromarray(HALF).save("top.png")
    Image.fromarray(HALF[::-1]).save("bottom.png")
    Image.new("L", (16, 16), 0).save("black.png")
    Image.new("L", (20, 16), 255).save("wide.png")
    left = numpy.zeros((20, 30), numpy.uint8)
    left[:, :15] = 255
    Image.fromarray(left).save("left.png")
    return tmp_path


def nst(*words):
    """Run a command in this process; return its result."""
    return CliRunner().invoke(cli.main, [word for text in words for word in shlex.split(text)])


def stylize(words, output="out.png"):
    """Make a picture; return it as an array."""
    done = nst(f"stylize photo.png {words} -o {output} -q", shlex.join(OPTIONS))
    assert done.exit_code == 0, done.output
    return numpy.asarray(Image.open(output))


def record(output="out.png"):
    return json.loads(Path(f"{output}.json").read_text())


# What is refused before the work


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        ("a.png b.png --style-weights 1", 2, ("--style-weights", "1 number for 2 styles")),
        ("a.png --style-weights 1,2", 2, ("--style-weights", "2 numbers for 1 style")),
        (
            "a.png b.png --style-weights 0,0",
            2,
            ("--style-weights", "Every weight", "a.png, b.png"),
        ),
        ("a.png b.png --style-weights 1,-2", 2, ("--style-weights", "-2", "at least 0")),
        ("a.png b.png --style-weights 1,x", 2, ("--style-weights", "'x'", "not a number")),
        ("a.png b.png --style-weights 1,nan", 2, ("--style-weights", "finite")),
        ("a.png b.png --style-weights ''", 2, ("--style-weights", "''")),
        ("a.png --style-scale 0", 2, ("--style-scale", "above 0")),
        ("a.png --style-scale 1e9", 2, ("--style-scale", "at most 1000")),
        ("a.png b.png --style-scale 1,2,3", 2, ("--style-scale", "3 numbers", "one for all")),
        ("a.png --style-scale automatic", 2, ("--style-scale", "'automatic'", "number, or auto")),
        ("a.png b.png --style-scale auto,nan", 2, ("--style-scale", "'nan'", "number, or auto")),
        ("a.png --style-scale 0.1", 1, ("a.png", "scale 0.1", "needs 16")),
        ("a.png b.png --mask top.png", 2, ("--mask", "1 mask for 2 styles", "none")),
        ("a.png --style-mask left.png --style-mask left.png", 2, ("--style-mask", "2 masks")),
        ("a.png --mask ''", 2, ("--mask", "names no file")),
        ("a.png --mask wide.png", 1, ("wide.png has 20 x 16", "photo.png has 16 x 16")),
        ("a.png --style-mask top.png", 1, ("top.png has 16 x 16", "a.png has 30 x 20")),
        ("a.png --mask black.png", 1, ("black.png is black everywhere",)),
        ("a.png --mask gone.png", 1, ("gone.png", "No such file")),
        ("a.png --mask many/notes.txt", 1, ("many/notes.txt", "not a picture")),
        ("a.png gone.png", 1, ("gone.png", "No such file")),
        ("a.png gone.png --style-weights 1,0", 1, ("gone.png", "No such file")),
        ("a.png many/notes.txt", 1, ("many/notes.txt", "not a picture")),
        ("empty", 1, ("empty is a folder without pictures",)),
        ("many --style-mask left.png", 2, ("many is a folder", "style mask")),
        ("", 2, ("Missing argument 'STYLE...'",)),
    ],
)
def test_bad_styles_are_refused_in_one_line_before_the_work(folder, words, code, parts):
    before = content_of(folder)
    done = nst(f"stylize photo.png {words} -o out.png", shlex.join(OPTIONS))
    assert done.exit_code == code, done.output
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("Error: ") and all(part in line for part in parts), line
    assert content_of(folder) == before


def test_an_output_does_not_overwrite_a_style_or_a_mask(folder):
    before = content_of(folder)
    for output in ("b.png", "top.png", "many/4.png"):
        done = nst(
            f"stylize photo.png a.png b.png many --mask top.png --mask none --mask none "
            f"-o {output} --overwrite", shlex.join(OPTIONS),
        )  # fmt: skip
        assert done.exit_code == 1 and f"that would overwrite {output}" in done.stderr
    assert content_of(folder) == before


# Folders


def test_a_folder_stands_for_its_pictures_without_other_files_and_pictures_of_nst():
    stylize("a.png", "many/made.png")
    stylize("a.png --no-metadata", "many/plain.png")
    listed = styles.listed(Style("many/"))
    assert listed.files == ("many/3.png", "many/4.png", "many/5.png")
    assert styles.listed(Style("a.png")).files is None


def test_a_folder_with_nothing_but_pictures_of_nst_is_refused():
    stylize("a.png", "empty/made.png")
    done = nst("stylize photo.png empty -o out.png", shlex.join(OPTIONS))
    assert done.exit_code == 1
    assert "empty is a folder without pictures but pictures that nst made" in done.stderr


# Sizes


@pytest.mark.parametrize(
    ("fit", "scale", "shape"),
    [
        ("keep", 1, (11, 16)), ("keep", 2, (21, 32)), ("keep", 1.5, (16, 24)),
        ("squeeze", 1, (16, 16)), ("squeeze", 2.5, (40, 40)),
    ],
)  # fmt: skip
def test_a_scale_is_a_factor_on_the_size_that_a_style_has_without_it(fit, scale, shape):
    config = Config(**{**TINY, "size": 16, "style_fit": fit})
    if min(shape) < 16:
        config = Config(**{**TINY, "size": 32, "style_fit": fit})
        shape = tuple(2 * side - (side == 11) for side in shape)
    read = inputs.read_inputs("photo.png", [Style("a.png", scale=scale)], config)
    assert read.style.shape[2:] == shape


@pytest.mark.parametrize(
    ("fit", "size", "shape", "ratio"),
    [
        # a.png has 30 x 20 pixels, and the content is square.
        ("keep", 24, (16, 24), 1), ("keep", 30, (20, 30), 1), ("keep", 45, (20, 30), 1.5),
        ("squeeze", 24, (24, 24), 1), ("squeeze", 45, (30, 30), 1.5),
    ],
)  # fmt: skip
def test_at_scale_auto_a_style_has_the_pictures_size_or_less_its_own(fit, size, shape, ratio):
    config = Config(**{**TINY, "size": size, "style_fit": fit})
    read = inputs.read_inputs("photo.png", [Style("a.png", scale="auto")], config)
    assert read.style.shape[2:] == shape and read.styles[0].ratios == (ratio,)
    if ratio == 1:
        same = inputs.read_inputs("photo.png", [Style("a.png")], config)
        numpy.testing.assert_array_equal(read.style, same.style)
    assert len(read.notes) == (ratio > 1)


def test_a_note_says_how_a_style_smaller_than_the_picture_is_seen():
    config = Config(**{**TINY, "size": 1000, "style_fit": "keep", "style_layers": "relu1_1"})

    def notes(scale):
        return inputs.read_inputs("photo.png", [Style("b.png", scale=scale)], config).notes

    (as_it_is,), (enlarged,) = notes("auto"), notes(1.0)
    assert as_it_is == (
        "The style b.png has 24 x 40 pixels and is not enlarged to the picture's 1000, so the "
        "finest strokes are 0.04 times as large as in proportion."
    )
    assert enlarged == (
        "The style b.png has 24 x 40 pixels and is enlarged 25 times, which blurs its strokes; "
        "with --style-scale auto it is not."
    )
    assert notes(0.05) == ()


@pytest.mark.parametrize("files", ["a.png", "a.png b.png"])
def test_scale_auto_is_recorded_and_replayed(files):
    stylize(f"{files} --style-scale auto --size 40 --scales 2")
    assert [style["scale"] for style in record()["styles"]] == ["auto"] * len(files.split())
    done = nst("replay out.png -o again.png -q")
    assert (done.exit_code, done.stderr) == (0, "Identical, byte for byte.\n")


def test_a_style_that_is_too_small_for_scale_auto_is_refused():
    noise(9, 8, 30).save("flat.png")
    done = nst(
        "stylize photo.png flat.png -o out.png --style-scale auto",
        "--size 80 --style-fit keep --weights builtin",
    )
    assert done.exit_code == 1
    assert "flat.png has 30 x 8 pixels, and each side needs 16" in done.stderr


def test_masks_are_resized_with_their_pictures_by_area():
    config = Config(**{**TINY, "size": 24, "style_fit": "keep"})
    style = Style("a.png", scale=2, mask="top.png", style_mask="left.png")
    (read,) = inputs.read_inputs("photo.png", [style], config).styles
    assert read.mask.shape == (24, 24) and set(read.mask.ravel()) == {0, 1}
    assert read.images[0].shape[2:] == read.style_masks[0].shape == (32, 48)
    assert read.mask.mean() == read.style_masks[0].mean() == 0.5


# The record


def test_one_whole_picture_keeps_the_record_it_always_had():
    stylize("a.png")
    assert set(record()["style"]) == {"path", "sha256"} and "styles" not in record()
    weighed = stylize("a.png b.png --style-weights 3,0", "one.png")
    assert record("one.png")["style"] == record()["style"]
    assert (weighed == numpy.asarray(Image.open("out.png"))).all()
    assert Path("one.png").read_bytes() == Path("out.png").read_bytes()


def test_the_record_names_every_file_with_its_checksum(folder):
    stylize(
        "a.png many --style-weights 0.7,0.3 --style-scale 1.5,2 --mask top.png --mask none "
        "--style-mask left.png --style-mask none"
    )
    first, second = record()["styles"]
    sha256 = {name: images.read(name).sha256 for name in ("a.png", "top.png", "left.png")}
    assert first == {
        "path": "a.png", "sha256": sha256["a.png"], "weight": 0.7, "scale": 1.5,
        "mask": {"path": "top.png", "sha256": sha256["top.png"]},
        "style_mask": {"path": "left.png", "sha256": sha256["left.png"]}, "method": "",
    }  # fmt: skip
    assert [file["path"] for file in second["files"]] == [f"many/{n}.png" for n in (3, 4, 5)]
    assert second["path"] == "many" and second["mask"] is None
    carried = images.read_metadata("out.png")["styles"]
    assert [file["path"] for file in carried[1]["files"]] == ["3.png", "4.png", "5.png"]
    description = sidecar.read("out.png")
    assert [style.weight for style in description.styles] == [0.7, 0.3]
    assert description.styles[1].folder == "many" and len(description.styles[1].files) == 3


def several():
    """Return a valid document of a picture with two styles."""
    from test_sidecar import document

    source = {"path": "x.png", "sha256": "5" * 64}
    one = {**source, "weight": 1.0, "scale": 1.0, "mask": None, "style_mask": None, "method": ""}
    folder = {**one, "path": "many", "files": [source]}
    del folder["sha256"]
    whole = {**document(), "styles": [{**one, "mask": source}, folder]}
    del whole["style"]
    return whole


def changed(place, **values):
    def change(document):
        document["styles"][place].update(values)

    return change


def put(key, value):
    return lambda document: document.update({key: value})


@pytest.mark.parametrize(
    "change",
    [
        put("styles", []), put("styles", {}), put("styles", None), put("styles", ["x"]),
        put("styles", [None]), put("style", {"path": "a", "sha256": "1" * 64}),
        lambda d: d["styles"].extend(d["styles"] * 100),
        changed(0, weight=-1), changed(0, weight=0), changed(0, weight=True),
        changed(0, weight="1"), changed(0, scale=0), changed(0, scale=1e9),
        changed(0, scale=None), changed(0, sha256="1"), changed(0, path=3),
        changed(0, path="a\0b"), changed(0, mask="x.png"), changed(0, mask={}),
        changed(0, mask={"path": "x"}), changed(0, style_mask=False), changed(0, method=None),
        changed(1, files=[]), changed(1, files={}), changed(1, files=["x"]),
        changed(1, files=[{"path": "x", "sha256": None}]), changed(1, sha256="5" * 64),
        changed(1, path=None),
    ],
)  # fmt: skip
def test_every_field_of_the_styles_of_a_record_is_checked(change):
    document = several()
    assert len(provenance.parse(document).styles) == 2
    change(document)
    with pytest.raises(SidecarError):
        provenance.parse(document)


def test_a_picture_is_up_to_date_while_all_files_and_values_of_its_styles_are_equal(folder):
    text = (
        'styles = [{path = "a.png", weight = 0.7, mask = "top.png"}, {path = "many", scale = 1.5}]'
    )

    def run(text):
        done = nst("batch", shlex.quote(written(text)), "-q")
        assert done.exit_code == 0, done.output
        return done.stdout

    def written(text):
        choices = "\n".join(f"{key} = {json.dumps(value)}" for key, value in TINY.items())
        Path("b.toml").write_text(
            f'output = "made.png"\n[defaults]\n{choices}\n[[run]]\ncontent = "photo.png"\n{text}\n'
        )
        return "b.toml"

    assert run(text) == "made.png\n"
    assert run(text) == ""
    assert run(text.replace("0.7", "0.6")) == "made.png\n"
    assert run(text.replace("1.5", "2")) == "made.png\n"
    assert run(text.replace("top", "bottom")) == "made.png\n"
    assert run(text.replace('"top.png"', '"top.png", method = "bn"')) == "made.png\n"
    assert run(text) == "made.png\n"
    noise(9, 16, 19).save("many/3.png")
    assert run(text) == "made.png\n"
    noise(9, 16, 19).save("many/6.png")
    assert run(text) == "made.png\n"
    assert run(text) == ""


# Batch files


def read(text, name="b.toml"):
    Path(name).write_text(text)
    return plan.read(name)


RUN = 'output = "{content}-{style}.png"\n[[run]]\ncontent = "photo.png"\n'


def test_a_batch_file_lists_styles_with_paths_relative_to_it(folder):
    Path("lists").mkdir()
    run = read(
        RUN + 'styles = ["../a.png", {path = "../many", weight = 2, scale = 0.5, method = "bn"},'
        '{path = "../b.png", scale = "auto", mask = "../top.png", style_mask = "../left.png"}]',
        "lists/b.toml",
    ).runs[0]
    assert run.output == "lists/photo-a+many+b.png"
    assert run.styles == (
        Style("a.png"),
        Style("many", 2.0, 0.5, method="bn", files=("many/3.png", "many/4.png", "many/5.png")),
        Style("b.png", scale="auto", mask="top.png", style_mask="left.png"),
    )


def test_a_list_of_styles_in_a_grid_is_one_set_and_style_a_list_of_alternatives():
    grid = 'output = "{style}-{gamma}.png"\n[[grid]]\ncontent = "photo.png"\ngamma = [1, 2]\n'
    together = read(grid + 'styles = ["a.png", "b.png"]').runs
    assert [run.output for run in together] == ["a+b-1.png", "a+b-2.png"]
    apart = read(grid + 'style = ["a.png", "b.png", "many"]').runs
    assert {run.output for run in apart} == {
        f"{style}-{gamma}.png" for style in ("a", "b", "many") for gamma in (1, 2)
    }
    assert apart[-1].styles[0].files == ("many/3.png", "many/4.png", "many/5.png")


@pytest.mark.parametrize(
    ("defaults", "own", "paths"),
    [
        ('style = "a.png"', 'styles = ["b.png"]', ["b.png"]),
        ('styles = ["a.png", "b.png"]', 'style = "b.png"', ["b.png"]),
        ('styles = ["a.png", "b.png"]', "", ["a.png", "b.png"]),
    ],
)
@pytest.mark.parametrize("kind", ["run", "grid"])
def test_the_styles_of_a_run_replace_those_of_the_defaults(kind, defaults, own, paths):
    text = f'[defaults]\n{defaults}\n[[{kind}]]\ncontent = "photo.png"\n{own}\n'
    assert [style.path for style in read(text).runs[0].styles] == paths


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('style = "a.png"\nstyles = ["b.png"]', ("style and styles",)),
        ("styles = []", ("styles is []", "list of tables")),
        ('styles = "a.png"', ("styles is 'a.png'", "list of tables")),
        ("styles = [3]", ("style 1 is 3", "table")),
        ('styles = ["a.png", {weight = 2}]', ("style 2 has no path",)),
        ('styles = [{path = 3}]', ("path of style 1 is 3", "path of a picture")),
        ('styles = [{path = ""}]', ("path of style 1 is ''",)),
        ('styles = [{path = "a.png", wieght = 2}]', ("'wieght'", "did you mean 'weight'")),
        ('styles = [{path = "a.png", weight = "x"}]', ("weight of style 1", "not a number")),
        ('styles = [{path = "a.png", weight = -1}]', ("weight of style 1", "at least 0")),
        ('styles = [{path = "a.png", weight = true}]', ("weight of style 1", "not a number")),
        ('styles = [{path = "a.png", weight = [1]}]', ("weight of style 1", "not a number")),
        ('styles = [{path = "a.png", scale = 0}]', ("scale", "above 0")),
        ('styles = [{path = "a.png", mask = 1}]', ("mask of style 1 is 1",)),
        ('styles = [{path = "a.png", mask = "*.png"}]', ("mask of style 1", "patterns")),
        ('styles = [{path = "a.png", method = "pol"}]', ("Unknown method 'pol'", "'poly'")),
        ('styles = [{path = "a.png", weight = 0}]', ("Every weight", "a.png")),
        ('styles = ["x/*.png"]', ("path of style 1", "patterns belong in")),
        ('styles = ["empty"]', ("empty is a folder without pictures",)),
        ('style = "empty"', ("empty is a folder without pictures",)),
        ('styles = ["a.png", "a.png"]', ("{style}", "'a' twice", "{number}")),
        ('styles = ["a.png", "many/../a.png"]', ("{style}", "'a'", "{number}")),
        ('styles = ["a.png", "other/a.jpg"]', ("{style}", "'a' for a.png and other/a.jpg")),
    ],
)  # fmt: skip
def test_bad_styles_of_a_batch_file_are_named_with_their_run(text, parts):
    with pytest.raises(BatchError) as failure:
        read(RUN + text)
    message = str(failure.value)
    assert message.startswith("b.toml, run 1: ") and "\n" not in message
    assert all(part in message for part in parts), message


def test_a_style_may_be_listed_twice_where_no_template_names_it():
    text = (
        'output = "{number}.png"\n[[run]]\ncontent = "photo.png"\n'
        'styles = [{path = "a.png", mask = "top.png"}, {path = "a.png", mask = "bottom.png"}]'
    )
    assert len(read(text).runs[0].styles) == 2


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ('{path = "gone.png"}', "gone.png: No such file"),
        ('{path = "a.png", mask = "gone.png"}', "gone.png: No such file"),
        ('{path = "a.png", mask = "wide.png"}', "wide.png has 20 x 16"),
        ('{path = "a.png", mask = "black.png"}', "black.png is black everywhere"),
        ('{path = "a.png", style_mask = "top.png"}', "top.png has 16 x 16"),
    ],
)
def test_files_of_styles_are_checked_before_the_first_run_of_a_batch(folder, entry, words):
    Path("b.toml").write_text(f"{RUN}styles = [{entry}]\n")
    before = content_of(folder)
    done = nst("batch b.toml", shlex.join(OPTIONS))
    assert done.exit_code == 1 and words in done.stderr.splitlines()[-1]
    assert content_of(folder) == before


def test_one_run_with_a_bad_mask_does_not_stop_the_others():
    Path("b.toml").write_text(
        'output = "{number}.png"\n'
        '[[run]]\ncontent = "photo.png"\nstyles = [{path = "a.png", mask = "wide.png"}]\n'
        '[[run]]\ncontent = "photo.png"\nstyle = "a.png"\n'
    )
    done = nst("batch b.toml -q", shlex.join(OPTIONS))
    assert (done.exit_code, done.stdout) == (1, "002.png\n")
    assert "wide.png has 20 x 16" in done.stderr


# What each option does

#: Options with which a few steps change many pixels.
STRONG = " --preset fast --style-fit squeeze --gamma 1000 --tv-weight 0 --precision float32"


@pytest.mark.parametrize(
    ("without", "words"),
    [
        ("a.png", "a.png b.png"),
        ("a.png b.png", "a.png b.png --style-weights 0.9,0.1"),
        ("a.png", "a.png --style-scale 2"),
        ("a.png b.png", "a.png b.png --style-scale 1,2"),
        ("a.png b.png", "a.png b.png --mask top.png --mask none"),
        ("a.png", "a.png --mask top.png"),
        ("a.png", "a.png --style-mask left.png"),
        ("many/3.png", "many"),
        ("a.png b.png --method wasserstein", "a.png b.png --method wasserstein --blend between"),
        ("a.png --mask top.png", "a.png --mask top.png --mask-inside"),
    ],
)
def test_each_option_of_styles_changes_the_picture(without, words):
    plain, other = stylize(without + STRONG, "plain.png"), stylize(words + STRONG, "other.png")
    assert (plain != other).any()


def test_only_the_ratio_of_the_weights_counts_and_equal_is_the_default():
    first = stylize(f"a.png b.png --style-weights 2,6 {STRONG}")
    assert (stylize(f"a.png b.png --style-weights 1,3 {STRONG}") == first).all()
    equal = stylize(f"a.png b.png {STRONG}")
    assert (stylize(f"a.png b.png --style-weights 5,5 {STRONG}") == equal).all()
    assert (equal != first).any()


def test_a_style_leaves_the_content_where_its_mask_is_black():
    picture = stylize(f"a.png --mask top.png {STRONG}")
    changes = numpy.abs(picture - numpy.asarray(Image.open("photo.png"), float)).mean(axis=(1, 2))
    # L-BFGS in the cosine basis moves a pixel a little with the others.
    assert changes[:7].mean() > 5 * changes[10:].mean()


def test_a_style_may_have_its_own_method_in_a_batch_file():
    def pixels(method):
        styles = f'[{{path = "a.png", weight = 2{method}}}, {{path = "b.png"}}]'
        Path("b.toml").write_text(f"{RUN}styles = {styles}\n")
        done = nst(f"batch b.toml -q --force {STRONG}", shlex.join(OPTIONS))
        assert done.exit_code == 0, done.output
        return numpy.asarray(Image.open("photo-a+b.png"))

    assert (pixels("") != pixels(', method = "bn"')).any()
    assert record("photo-a+b.png")["styles"][0]["method"] == "bn"


def test_the_forecast_counts_every_style_and_its_scale():
    def memory(words):
        done = nst(f"stylize photo.png {words} -o out.png --dry-run", shlex.join(OPTIONS))
        assert done.exit_code == 0, done.output
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("memory")]
        return float(line.split()[1])

    plain = memory("a.png")
    assert memory("a.png --style-scale 40") > plain
    assert memory("a.png b.png --style-scale 1,40 --mask top.png --mask none") > plain
    assert not Path("out.png").exists()


# Elsewhere: again, on a page, in other processes

ALL = (
    "a.png many b.png --style-weights 0.7,0.3,1 --style-scale 1.5,1,1 --mask top.png "
    "--mask bottom.png --mask none --style-mask left.png --style-mask none --style-mask none"
)


@pytest.mark.parametrize("metadata", ["", "--no-metadata"])
def test_a_picture_of_several_styles_is_replayed_byte_for_byte(metadata):
    stylize(f"{ALL} {metadata}")
    done = nst("replay out.png -o again.png -q")
    assert (done.exit_code, done.stderr) == (0, "Identical, byte for byte.\n")
    assert record("again.png") == record()


def test_styles_and_masks_that_moved_are_recognised_among_those_given(folder):
    stylize(ALL)
    Path("away").mkdir()
    for name in ("a.png", "b.png", "top.png", "bottom.png", "left.png", "many"):
        Path(name).rename(f"away/{name}")
    done = nst("replay out.png -o again.png -q")
    assert done.exit_code == 1 and "Cannot read the style a.png" in done.stderr
    assert "--style" in done.stderr
    done = nst("replay out.png -o again.png -q --style away/b.png --style away/a.png "
               "--style away/many --mask away")  # fmt: skip
    assert (done.exit_code, done.stderr) == (0, "Identical, byte for byte.\n")
    done = nst("replay out.png -o third.png -q --style away/b.png --style away/many --mask away")
    assert done.exit_code == 1
    assert "None of the 6 files given with --style is the style a.png" in done.stderr


@pytest.mark.parametrize("name", ["b.png", "many/4.png", "bottom.png", "left.png"])
def test_a_replay_names_a_style_or_a_mask_that_differs(name):
    stylize(ALL)
    with Image.open(name) as image:
        image.transpose(Image.Transpose.ROTATE_180).save(name)
    done = nst("replay out.png -q")
    assert done.exit_code == 1 and f"{name} differs from the one" in done.stderr


def test_the_page_shows_every_style_and_mask():
    stylize(ALL, "many/out.png")
    done = nst("report . -o page.html")
    assert done.exit_code == 0, done.output
    page = Path("page.html").read_text()
    for name in ("a.png", "b.png", "3.png", "4.png", "5.png", "top.png", "bottom.png", "left.png"):
        assert name in page
    assert page.count("<figure") == 1 + 1 + 5 + 3
    assert "weight 0.7" in page and "left.png, style mask" in page
    Path("many/4.png").unlink()
    nst("report . -o page.html")
    assert "not found: 4.png" in Path("page.html").read_text()


def test_a_record_of_a_stranger_leads_to_no_file_elsewhere(tmp_path):
    stylize(ALL, "many/out.png")
    secret = tmp_path.parent / "secret.png"
    noise(7, 16, 16).save(secret)
    document = record("many/out.png")
    sha256 = images.read(secret).sha256
    source = {"path": str(secret), "sha256": sha256}
    document["styles"][0].update(source, mask=source)
    document["styles"][1]["files"][0] = source
    Path("many/out.png.json").write_text(json.dumps(document))
    nst("report many -o page.html")
    page = Path("page.html").read_text()
    assert page.count("not read, because it is outside") == 3
    recorded = sidecar.read("many/out.png").styles[0]
    for folder in ("", "..", "."):
        places = replay._places("many/out.png", recorded.mask, recorded.mask, folder)
        assert not any(Path(place).exists() for place in places)


def a_run():
    style = styles.listed(Style("many", 0.5, mask="top.png"))
    other = Style("a.png", 1.0, 1.5, "bottom.png", "left.png", "bn")
    return plan.Run("photo.png", (style, other), "here.png", Config(**TINY, init="b.png"))


def test_other_processes_and_machines_make_the_same_picture():
    run = a_run()
    assert batch.make([run])[0].reason == ""
    here = Path("here.png").read_bytes()
    Path("here.png").unlink()
    assert batch.make([pickle.loads(pickle.dumps(run))])[0].reason == ""
    assert Path("here.png").read_bytes() == here
    contents = {role: (path, Path(path).read_bytes()) for role, path in run.pictures.items()}
    parcel = cluster.Parcel(contents, run.styles, run.config, ".png", Weights().sha256, {})
    result = cluster.work(pickle.loads(pickle.dumps(parcel)))
    assert result.picture == here
    cluster._write(dataclasses.replace(run, output="there.png"), result, "builtin")
    assert record("there.png") == record("here.png")


KNEE = "loss_options = {robust = {knee = 3}}\n"


@pytest.mark.parametrize("option", ["", f'method = "poly=1,robust=0"\n{KNEE}'])
def test_the_method_of_a_style_may_be_of_a_plugin(packages, option):
    save_example(packages)
    Path("b.toml").write_text(
        f'{RUN}{option}styles = ["a.png", {{path = "b.png", method = "robust"}}]\n'
    )
    done = nst("batch b.toml -q", shlex.join(OPTIONS))
    assert done.exit_code == 0, done.output
    assert record("photo-a+b.png")["plugins"]["robust"]["package"] == "nst-robust"
    done = nst("replay photo-a+b.png -q")
    assert done.stderr == "Identical, byte for byte.\n"


def test_options_of_a_plugin_that_would_be_dropped_are_refused(packages):
    save_example(packages)
    with pytest.raises(BatchError, match="loss_options names 'robust'.*'poly=1,robust=0'"):
        read(f'{RUN}{KNEE}styles = [{{path = "b.png", method = "robust"}}]\n')


@pytest.mark.parametrize(
    ("change", "words"),
    [({"method": "none"}, "Unknown method 'none'"), ({"weight": "x"}, "'weight' of style 1")],
)
def test_a_record_with_an_impossible_style_is_refused_in_one_line(change, words):
    stylize("a.png b.png --no-metadata")
    document = record()
    document["styles"][0].update(change)
    Path("out.png.json").write_text(json.dumps(document))
    done = nst("replay out.png -q")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert words in done.stderr or "does not say how it was made" in done.stderr
