"""From a batch file to its runs, and what is wrong with it before the first of them."""

import os

import pytest
from PIL import Image

from nst_cli.config import Config
from nst_cli.errors import BatchError, ImageError, OutputError
from nst_cli.runs import plan

PAIR = 'content = "a.png"\nstyle = "s.png"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working folder, with pictures in one beside it."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("in")
    for name in ("a", "b", "c", "s"):
        Image.new("RGB", (20, 30)).save(f"in/{name}.png")
    return tmp_path


def read(text, *arguments, **others):
    with open("in/batch.toml", "w") as stream:
        stream.write(text)
    return plan.read("in/batch.toml", *arguments, **others)


def test_a_run_is_what_its_table_says_beside_the_file():
    (run,) = read(
        f'[[run]]\n{PAIR}output = "out/x.jpg"\ngamma = 2\nlayer_weights = {{relu1_1 = 0}}'
    )
    assert (run.content, run.style) == ("in/a.png", "in/s.png")
    assert run.output == "in/out/x.jpg"
    assert run.config == Config(gamma=2, layer_weights="relu1_1=0")


def test_defaults_come_under_a_table_and_the_command_line_over_it():
    text = f'[defaults]\npreset = "fast"\nsize = 100\ngamma = 1\n[[run]]\n{PAIR}gamma = 2\n'
    assert read(text)[0].config == Config(preset="fast", size=100, gamma=2)
    overrides = {"gamma": 3, "preset": "paper"}
    assert read(text, overrides)[0].config == Config(size=100, gamma=3)


def test_a_grid_is_every_combination_of_its_lists_the_last_fastest():
    runs = read(
        "[defaults]\nstyle_layers = ['relu1_1', 'relu2_1']\n"
        "[grid]\ncontent = '[abc].png'\nstyle = 's.png'\nmethod = ['poly', 'bn=0.5,poly=0.5']\n"
        "gamma = [1, 2.5]\ncontent_layers = [['relu1_1', 'relu1_2']]\n"
        "[[run]]\ncontent = 'a.png'\nstyle = 's.png'\n"
    )
    assert len(runs) == 3 * 2 * 2 + 1
    # Runs first, then grids, whatever their order in the file.
    last = runs[-1]
    assert (last.content, last.config.method, last.config.gamma) == (
        "in/c.png", "bn=0.5,poly=0.5", 2.5,
    )  # fmt: skip
    assert [run.config.gamma for run in runs[1:5]] == [1, 2.5, 1, 2.5]
    assert all(run.config.style_layers == ("relu1_1", "relu2_1") for run in runs)
    assert last.config.content_layers == ("relu1_1", "relu1_2")


def test_a_name_that_looks_like_a_pattern_is_a_name_where_it_exists():
    Image.new("RGB", (20, 30)).save("in/a[1].png")
    (run,) = read("[grid]\ncontent = 'a[1].png'\nstyle = 's.png'\n")
    assert run.content == "in/a[1].png"


def test_a_template_has_the_fields_of_the_config_and_the_stems_of_the_pictures():
    text = (
        f"output = '{{number}}/{{content}}+{{style}}-{{method}}-{{gamma}}-{{style_layers}}.png'\n"
        f"[[run]]\n{PAIR}style_layers = 'relu1_1,relu2_1'\n"
    )
    assert read(text)[0].output == "in/001/a+s-poly-5-relu1_1+relu2_1.png"
    assert read(text, template="o/{preset}.png")[0].output == "o/paper.png"
    assert read(f"[[run]]\n{PAIR}")[0].output == "in/a-s-poly.png"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[run]\n", ("is not TOML", "line 1")),
        ("\xff", ("is not TOML",)),
        ("", ("has no runs",)),
        ("[[runs]]\n", ("unknown key 'runs'", "did you mean 'run'")),
        (f"[[run]]\n{PAIR}gama = 2\n", ("run 1", "'gama'", "did you mean 'gamma'")),
        (f"[[run]]\n{PAIR}gamma = 'x'\n", ("run 1", "'x'", "not a number")),
        (f"[[run]]\n{PAIR}\n[[run]]\ncontent = 'a.png'\n", ("run 2", "style is missing")),
        ("[[run]]\ncontent = 3\nstyle = 's.png'\n", ("content is 3",)),
        ("[grid]\ncontent = 'x*.png'\nstyle = 's.png'\n", ("grid 1", "no file matches", "x*.png")),
        (f"[grid]\n{PAIR}method = ['poly', 'bm']\n", ("grid 1", "'bm'")),
        (f"output = '{{gama}}.png'\n[[run]]\n{PAIR}", ("no field 'gama'", "'gamma'")),
        (f"output = '{{gamma'\n[[run]]\n{PAIR}", ("is not a template",)),
        (f"output = 3\n[[run]]\n{PAIR}", ("is not a template",)),
        ("run = 'a.png'\n", ("is not a table",)),
        ("defaults = 3\n", ("is not a table",)),
    ],
)
def test_what_is_wrong_is_one_line_that_names_file_place_and_key(text, words):
    with open("in/batch.toml", "w", encoding="latin-1") as stream:
        stream.write(text)
    with pytest.raises(BatchError) as failure:
        plan.read("in/batch.toml")
    assert "\n" not in str(failure.value)
    for word in ("in/batch.toml", *words):
        assert word in str(failure.value)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(BatchError, match="Cannot read none.toml: No such file"):
        plan.read("none.toml")


def test_two_runs_of_one_name_are_found_with_both_numbers():
    runs = read(f"[grid]\n{PAIR}gamma = [1, 2, 1.5]\n")
    with pytest.raises(BatchError, match=r"Runs 1 and 2 would both write in/a-s-poly.png"):
        plan.check(runs)
    other = read(f"[grid]\n{PAIR}gamma = [1, 2]\noutput = ['x.png', '../in/x.png']\n")
    with pytest.raises(BatchError, match="would both write"):
        plan.check(other)


def test_names_that_meet_in_a_sidecar_are_found_too():
    runs = read(f"[grid]\n{PAIR}output = ['x.png', 'x.png.json.png']\n")
    plan.check(runs)
    with pytest.raises(ImageError, match="x.json"):
        plan.check(read(f"[grid]\n{PAIR}output = 'x.json'\n"))


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("content = 'none.png'\nstyle = 's.png'\n", ImageError, "in/none.png"),
        ("content = 'batch.toml'\nstyle = 's.png'\n", ImageError, "in/batch.toml"),
        (f"{PAIR}init = 'none.png'\n", ImageError, "in/none.png"),
        (f"{PAIR}output = 's.png'\n", OutputError, "would overwrite in/s.png"),
        (f"{PAIR}output = 'batch.toml/x.png'\n", BatchError, "in/batch.toml"),
        (f"{PAIR}output = 'x.gif'\n", ImageError, ".gif"),
    ],
)
def test_inputs_and_outputs_that_cannot_be_are_found_before_the_first_run(text, error, words):
    with pytest.raises(error, match=words):
        plan.check(read(f"[[run]]\n{text}"))


def test_folders_of_outputs_are_made():
    plan.check(read(f"[[run]]\n{PAIR}output = 'new/er/x.png'\n"))
    assert os.listdir("in/new/er") == []
