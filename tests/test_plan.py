"""Reading a batch file into runs, and the checks before the first of them."""

import json
import os
import re

import numpy
import pytest
from PIL import Image

from nst_cli import images
from nst_cli.config import Config
from nst_cli.errors import BatchError, ImageError, NstError, OutputError, WeightsError
from nst_cli.runs import patterns, plan, precheck
from nst_cli.weights import Weights

PAIR = 'content = "a.png"\nstyle = "s.png"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working folder, with pictures in one beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NST_WEIGHTS", "builtin")
    os.mkdir("in")
    for name in ("a", "b", "c", "s"):
        Image.new("RGB", (20, 30)).save(f"in/{name}.png")
    return tmp_path


def read_plan(text, *arguments, **others):
    with open("in/batch.toml", "w") as stream:
        stream.write(text)
    return plan.read("in/batch.toml", *arguments, **others)


def read(text, *arguments, **others):
    return read_plan(text, *arguments, **others).runs


def save(path, **options):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.new("RGB", (20, 30)).save(path, **options)


def contents_of(text):
    return [run.content for run in read(f"[grid]\nstyle = 's.png'\n{text}")]


def messages_of(runs, **options):
    """Return the problems of each run, by its output."""
    refused = precheck.check(runs, **options)
    return {run.output: [str(error) for error in errors] for run, errors in refused.items()}


def test_a_run_has_the_values_of_its_table_and_paths_relative_to_the_file():
    (run,) = read(
        f'[[run]]\n{PAIR}output = "out/x.jpg"\ngamma = 2\nlayer_weights = {{relu1_1 = 0}}'
    )
    assert (run.content, run.style) == ("in/a.png", "in/s.png")
    assert run.output == "in/out/x.jpg"
    assert run.config == Config(gamma=2, layer_weights="relu1_1=0")


def test_a_table_overrides_the_defaults_and_the_command_line_overrides_both():
    text = f'[defaults]\npreset = "fast"\nsize = 100\ngamma = 1\n[[run]]\n{PAIR}gamma = 2\n'
    assert read(text)[0].config == Config(preset="fast", size=100, gamma=2)
    overrides = {"gamma": 3, "preset": "paper"}
    assert read(text, overrides)[0].config == Config(size=100, gamma=3)


def test_a_grid_has_every_combination_of_its_lists_and_the_last_key_varies_fastest():
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


def test_a_template_has_the_fields_of_the_config_and_the_stems_of_the_pictures():
    text = (
        f"output = '{{number}}/{{content}}+{{style}}-{{method}}-{{gamma}}-{{style_layers}}.png'\n"
        f"[[run]]\n{PAIR}style_layers = 'relu1_1,relu2_1'\n"
    )
    assert read(text)[0].output == "in/001/a+s-poly-5-relu1_1+relu2_1.png"
    assert read(text, template="o/{preset}.png")[0].output == "o/paper.png"
    assert read(f"[[run]]\n{PAIR}")[0].output == "in/a-s-poly.png"


# A number and a key, of which Python can print neither.
HUGE, DEEP = f"0x{'f' * 5000}", f"content.{'a.' * 90}{'a.' * 900}a = 1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[run]\n", ("is not TOML", "line 1")),
        ("\xff", ("is not TOML", "line 1 is not UTF-8")),
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
        (f"output = '{{number:{{foo}}}}.png'\n[[run]]\n{PAIR}", ("cannot follow", "'number'")),
        (f"output = '{{number:999999999}}.png'\n[[run]]\n{PAIR}", ("cannot follow",)),
        (f"output = '{{number!z}}.png'\n[[run]]\n{PAIR}", ("is not a template",)),
        (f"output = '{{content.stem}}.png'\n[[run]]\n{PAIR}", ("no field 'content.stem'",)),
        ("[[run]]\ncontent = 'a*.png'\nstyle = 's.png'\n", ("a*.png", "[[grid]]")),
        ("[[run]]\ncontent = ['a.png']\nstyle = 's.png'\n", ("content is a list", "[[grid]]")),
        (f"[[run]]\n{PAIR}gamma = [1, 2]\n", ("gamma is a list", "[[grid]]")),
        (f"[[run]]\n{PAIR}weights = ['w']\n", ("weights is a list",)),
        (f"[[run]]\n{PAIR}init = {{a = 1}}\n", ("init is a table",)),
        (f"[[run]]\n{PAIR}size = {{a = 1}}\n", ("size is a table",)),
        (f"[[run]]\n{PAIR}style_layers = [['relu1_1']]\n", ("style_layers has", "within")),
        (f"[grid]\n{PAIR}gamma = []\n", ("gamma is an empty list",)),
        (
            f"[grid]\n{PAIR}"
            + "".join(f"{key} = [{'1, ' * 99}1]\n" for key in ("gamma", "alpha", "c")),
            ("1000000 combinations",),
        ),
        pytest.param("a = " + "[" * 100_000, ("nested too deeply",), id="brackets"),
        pytest.param(f"[[run]]\n{PAIR}seed = {'9' * 5000}\n", ("is not TOML",), id="digits"),
        *(
            pytest.param(text.format(HUGE), ("is not TOML", "over 64 bits"), id=f"huge {name}")
            for name, text in {
                "content": "[[grid]]\nstyle = 's.png'\ncontent = [{}]\n",
                "init": f"[[run]]\n{PAIR}init = {{}}\n",
                "weights": f"[[run]]\n{PAIR}weights = {{}}\n",
                "layers": f"[[run]]\n{PAIR}style_layers = [{{}}]\n",
                "preset": f"[[run]]\n{PAIR}preset = {{}}\n",
                "options": f"[[run]]\n{PAIR}loss_options.a.b = {{}}\n",
            }.items()
        ),
        *(
            pytest.param(text.format(DEEP), ("nested too deeply",), id=f"deep {name}")
            for name, text in {
                "content": "[[grid]]\nstyle = 's.png'\n{}\n",
                "options": f"[[run]]\n{PAIR}loss_options = {{{{{{}}}}}}\n",
                "styles": "[[run]]\ncontent = 'a.png'\nstyles = [{{path = {{{}}}}}]\n",
                "header": "[{}]\n",
            }.items()
        ),
        pytest.param(f"[[run]]\n{PAIR}{'k' * 9999} = 1\n", ("unknown key", "k..."), id="long key"),
        pytest.param(
            "[grid]\nstyle = 's.png'\ncontent = '*" + 9999 * "c" + "'\n",
            ("c...",),
            id="long pattern",
        ),
        ('[[run]]\ncontent = "photos\\a.jpg"\n', ("is not TOML", "line 2", "use /", "'single")),
        ('[[run]]\ncontent = "C:\\users\\a.jpg"\n', ("is not TOML", "use /")),
        ('[[run]]\ncontent = "in\\new.jpg"\nstyle = "s.png"\n', ("in\\new.jpg'", "use /")),
        (f'output = "o\\new.png"\n[[run]]\n{PAIR}', ("'o\\new.png'", "use /")),
        ('[[run]]\ncontent = "a\\u0000.png"\nstyle = "s.png"\n', ("content", "NUL")),
        ('[grid]\ncontent = "*\\u0000.png"\nstyle = "s.png"\n', ("content", "NUL")),
        (f'[[run]]\n{PAIR}init = "a\\u0000"\n', ("init", "NUL")),
        (f'[[run]]\n{PAIR}weights = "a\\u0000"\n', ("weights", "NUL")),
        (f'output = "\\u0000.png"\n[[run]]\n{PAIR}', ("output", "NUL")),
        ("run = 'a.png'\n", ("is not a table",)),
        ("defaults = 3\n", ("is not a table",)),
    ],
)
def test_a_mistake_in_a_batch_file_is_one_line_that_names_file_table_and_key(text, words):
    with open("in/batch.toml", "w", encoding="latin-1") as stream:
        stream.write(text)
    with pytest.raises(BatchError) as failure:
        plan.read("in/batch.toml")
    assert "\n" not in str(failure.value)
    assert len(str(failure.value)) < 1000
    for word in ("in/batch.toml", *words):
        assert word in str(failure.value)


@pytest.mark.parametrize("parts", [9, 90, 5000])
def test_a_key_of_many_parts_is_refused_in_one_line(parts):
    for key in ("gamma", "method", "content"):
        with pytest.raises(BatchError, match="nested too deeply") as failure:
            read(f"[[run]]\n{'' if key == 'content' else PAIR}{key}.{'a.' * parts}a = 1\n")
        assert "\n" not in str(failure.value)


@pytest.mark.timeout(300)
def test_a_key_of_very_many_parts_does_not_keep_the_parser_busy():
    # Python's parser would need hours.
    with pytest.raises(BatchError, match="nested too deeply"):
        read("a." * 200_000 + "a = 1\n")


def test_many_names_with_dots_on_a_line_are_no_key_of_many_parts():
    names = ", ".join(f"'{n}.c.png'" for n in range(200))
    assert len(read(f"# {'. ' * 300}\n[grid]\nstyle = 's.png'\ncontent = [{names}]\n")) == 200


def test_a_missing_file_is_named():
    with pytest.raises(BatchError, match="Cannot read none.toml: No such file"):
        plan.read("none.toml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[[run]]".encode("utf-16"), "it is UTF-16 text; save it as UTF-8"),
        (b"\xfe\xff" + "[[run]]".encode("utf-16-be"), "it is UTF-16 text; save it as UTF-8"),
        ("[[run]]".encode("utf-32"), "it is UTF-32 text; save it as UTF-8"),
        ("[[run]]".encode("utf-16-le"), "NUL bytes in it, as UTF-16 text has; save it as UTF-8"),
        (b"#" * (17 << 20), "larger than 16 MiB"),
    ],
)
def test_a_file_in_another_encoding_or_of_excessive_size_is_named(content, words):
    with open("in/batch.toml", "wb") as stream:
        stream.write(content)
    with pytest.raises(BatchError, match=words):
        plan.read("in/batch.toml")


def test_a_byte_order_mark_and_windows_line_ends_are_accepted():
    with open("in/batch.toml", "wb") as stream:
        stream.write(b"\xef\xbb\xbf" + f"[[run]]\n{PAIR}".replace("\n", "\r\n").encode())
    assert plan.read("in/batch.toml").runs[0].content == "in/a.png"


def test_a_batch_file_that_is_not_a_regular_file_is_refused_at_once():
    os.mkfifo("pipe")
    for path in ("pipe", "in", os.devnull, "/dev/zero"):
        with pytest.raises(BatchError, match=f"Cannot read {path}: it is"):
            plan.read(path)


# Patterns


@pytest.mark.parametrize("name", ["shoot [2024]", "set[12]", "what*", "q?"])
def test_the_folder_of_the_batch_file_is_never_a_pattern(name):
    save(f"{name}/photos/mine.jpg")
    save(f"{name}/s.png")
    save("set1/photos/other.jpg")
    with open(f"{name}/batch.toml", "w") as stream:
        stream.write("[grid]\ncontent = 'photos/*.jpg'\nstyle = 's.png'\n")
    (run,) = plan.read(f"{name}/batch.toml").runs
    assert (run.content, run.style) == (f"{name}/photos/mine.jpg", f"{name}/s.png")


def test_a_file_whose_name_looks_like_a_pattern_is_taken_literally():
    save("in/set[12]/x.jpg")
    save("in/set1/y.jpg")
    assert contents_of("content = 'set[12]/*.jpg'") == ["in/set[12]/x.jpg"]
    save("in/a[1].png")
    assert contents_of("content = ['a[1].png']") == ["in/a[1].png"]


def test_endings_match_in_either_case_and_each_file_is_taken_once():
    for name in ("A.JPG", "b.jpg", "c.Jpg", "d.jpeg"):
        save(f"in/photos/{name}", format="JPEG")
    expected = [f"in/photos/{name}" for name in ("A.JPG", "b.jpg", "c.Jpg")]
    assert contents_of("content = 'photos/*.jpg'") == expected
    many = "content = ['photos/*.jpg', 'photos/*.JPG', 'photos/b.jpg', './photos/A.JPG']"
    assert contents_of(many) == expected
    assert contents_of("content = 'photos/[Ab].jp*'") == expected[:2]


def test_a_pattern_below_the_home_folder_works_whatever_the_home_folder_is_called(monkeypatch):
    save("home [x]/photos/a.jpg")
    monkeypatch.setenv("HOME", os.path.abspath("home [x]"))
    home = os.path.abspath("home [x]/photos/a.jpg")
    assert contents_of("content = '~/photos/*.jpg'") == [home]
    assert contents_of("content = '~/photos/a.jpg'") == [home]
    # In a name that a pattern matched, such characters have no meaning.
    save("in/~/b.jpg")
    save("in/~root.jpg")
    assert contents_of("content = '**/*.jpg'") == ["in/~/b.jpg", "in/~root.jpg"]


def test_two_stars_cross_folders_except_hidden_ones_and_loops_of_links():
    for name in ("x.jpg", "mon/y.jpg", "mon/deep/z.jpg", ".hidden/no.jpg", ".no.jpg"):
        save(f"in/tree/{name}")
    os.symlink("..", "in/tree/mon/loop")
    os.symlink("mon", "in/tree/other")
    names = ["mon/deep/z.jpg", "mon/y.jpg", "other/deep/z.jpg", "other/y.jpg", "x.jpg"]
    assert contents_of("content = 'tree/**/*.jpg'") == [f"in/tree/{name}" for name in names]
    assert contents_of("content = 'tree/**/**/deep/*.jpg'") == [
        "in/tree/mon/deep/z.jpg", "in/tree/other/deep/z.jpg",
    ]  # fmt: skip
    assert contents_of("content = 'tree/.*.jpg'") == ["in/tree/.no.jpg"]


def test_a_star_matches_dangling_links_but_no_folder_sidecar_or_log():
    save("in/all/x.jpg")
    os.mkdir("in/all/folder.jpg")
    os.symlink("nowhere", "in/all/z.jpg")
    for name in ("x.jpg.json", "x.jpg.jsonl"):
        open(f"in/all/{name}", "w").close()
    assert contents_of("content = 'all/*'") == ["in/all/x.jpg", "in/all/z.jpg"]


def test_a_name_with_a_line_end_is_matched_unchanged():
    save("in/new/a\nb.jpg")
    (run,) = read("[grid]\nstyle = 's.png'\ncontent = 'new/*.jpg'\noutput = '{content}.png'\n")
    assert (run.content, run.output) == ("in/new/a\nb.jpg", "in/a\nb.png")
    assert read('[[run]]\ncontent = "new/a\\nb.jpg"\nstyle = "s.png"\n')[0].content == run.content


def test_a_pattern_among_the_defaults_is_an_axis_of_a_grid():
    runs = read("[defaults]\ncontent = '[ab].png'\n[grid]\nstyle = 's.png'\ngamma = [1, 2]\n")
    assert [run.content for run in runs] == ["in/a.png"] * 2 + ["in/b.png"] * 2


def test_a_pattern_without_a_match_is_a_note_in_a_list_and_a_failure_alone():
    work = read_plan(
        "[[grid]]\ncontent = ['a.png', 'x*.png']\nstyle = 's.png'\n"
        "[[grid]]\ncontent = 'y*.png'\nstyle = 's.png'\n"
    )
    assert [run.content for run in work.runs] == ["in/a.png"]
    assert work.notes == ["in/batch.toml, grid 1: no file matches content 'x*.png'."]
    assert work.failures == ["in/batch.toml, grid 2: no file matches content 'y*.png'."]


def test_folders_that_cannot_be_listed_are_reported(monkeypatch):
    save("in/tree/mon/y.jpg")
    scandir = os.scandir

    def refusing(path):
        if path.endswith("mon"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(patterns.os, "scandir", refusing)
    work = read_plan("[grid]\ncontent = ['a.png', 'tree/**/*.jpg']\nstyle = 's.png'\n")
    assert "Cannot list the folder in/tree/mon: Permission denied." in work.notes


# Outputs of nst


SIDECAR = {
    "program": "nst", "versions": {}, "config": Config().to_dict(),
    "content": {"path": "a.png", "sha256": "0" * 64},
    "style": {"path": "s.png", "sha256": "0" * 64}, "init": None,
    "weights": {"source": "builtin", "sha256": "0" * 64}, "steps": 1,
    "stop_reason": "iterations", "beta": {}, "losses": {},
}  # fmt: skip


def test_patterns_leave_out_pictures_that_nst_made_and_paths_do_not():
    save("in/photos/a.jpg")
    images.write("in/photos/marked.jpg", numpy.zeros((30, 20, 3), numpy.uint8), None, SIDECAR)
    save("in/photos/beside.jpg")
    with open("in/photos/beside.jpg.json", "w") as stream:
        json.dump(SIDECAR, stream)
    # A file of another program with such a name is not a sidecar.
    save("in/photos/foreign.jpg")
    with open("in/photos/foreign.jpg.json", "w") as stream:
        json.dump({"GPSPosition": "somewhere"}, stream)
    work = read_plan("[grid]\ncontent = 'photos/*.jpg'\nstyle = 's.png'\n")
    assert [run.content for run in work.runs] == ["in/photos/a.jpg", "in/photos/foreign.jpg"]
    (note,) = work.notes
    assert "left out 2 pictures that nst made" in note
    text = "content = ['photos/*.jpg', 'photos/marked.jpg']"
    assert "in/photos/marked.jpg" in contents_of(text)


def test_patterns_leave_out_pictures_that_the_batch_makes():
    save("in/photos/a.jpg")
    save("in/photos/a-painted.jpg")
    work = read_plan(
        "[grid]\ncontent = 'photos/*.jpg'\nstyle = 's.png'\n"
        "output = 'photos/{content}-painted.jpg'\n"
    )
    assert [(run.content, run.output) for run in work.runs] == [
        ("in/photos/a.jpg", "in/photos/a-painted.jpg")
    ]
    assert "left out 1 picture " in work.notes[0]


# Templates


def test_content_folder_repeats_the_tree_below_the_pattern():
    for name in ("x.jpg", "mon/IMG_1.jpg", "tue/am/IMG_1.jpg"):
        save(f"in/photos/{name}")
    text = "[grid]\ncontent = 'photos/**/*.jpg'\nstyle = 's.png'\n"
    runs = read(f"output = '{{content_folder}}/{{content}}.png'\n{text}")
    assert [run.output for run in runs] == ["in/mon/IMG_1.png", "in/tue/am/IMG_1.png", "in/x.png"]
    precheck.check(runs)
    assert os.path.isdir("in/tue/am")
    runs = read(text, template="new/{content_folder}/{style_folder}{content}.png")
    assert [run.output for run in runs][1:] == ["new/tue/am/IMG_1.png", "new/x.png"]


def test_content_folder_never_leads_out_of_the_output_folder():
    save("mon/a.png")
    text = "style = 's.png'\noutput = 'o/{content_folder}/{content}.png'\n"
    outputs = [
        read(f"[[run]]\ncontent = {path!r}\n{text}")[0].output
        for path in ("../mon/a.png", "../in/../mon/a.png", os.path.abspath("mon/a.png"), "a.png")
    ]
    assert outputs == [
        "in/o/mon/a.png", "in/o/in/mon/a.png",
        f"in/o{os.path.abspath('mon/a.png')}", "in/o/a.png",
    ]  # fmt: skip


def test_a_template_and_a_batch_file_may_start_with_a_tilde(monkeypatch, folder):
    monkeypatch.setenv("HOME", str(folder))
    with open("in/batch.toml", "w") as stream:
        stream.write(f"output = '~/o/{{content}}.png'\n[[run]]\n{PAIR}")
    (run,) = plan.read("~/in/batch.toml").runs
    assert run.output == f"{folder}/o/a.png"
    (run,) = plan.read("in/batch.toml", {"init": "~/in/b.png"}, "~/{content}.png").runs
    assert (run.output, run.config.init) == (f"{folder}/a.png", f"{folder}/in/b.png")
    # A file with the name of a kind of start image is still a file.
    for init, expected in (("style", "style"), ("./style", "./style")):
        with open("batch.toml", "w") as stream:
            stream.write(f"[[run]]\ncontent = 'in/a.png'\nstyle = 'in/s.png'\ninit = '{init}'\n")
        assert plan.read("batch.toml").runs[0].config.init == expected
    # A tilde in the name of a picture does not stand for the home folder.
    save("in/~.png")
    assert (
        read("[[run]]\ncontent = './~.png'\nstyle = 's.png'\noutput = '{content}/x.png'\n")[
            0
        ].output
        == "in/~/x.png"
    )


# Before the first run


def test_two_runs_with_one_output_are_an_error_that_names_both_numbers():
    runs = read(f"[grid]\n{PAIR}gamma = [1, 2, 1.5]\n")
    with pytest.raises(BatchError, match=r"Runs 1 and 2 would both write in/a-s-poly.png"):
        precheck.check(runs)
    other = read(f"[grid]\n{PAIR}gamma = [1, 2]\noutput = ['x.png', '../in/x.png']\n")
    with pytest.raises(BatchError, match="would both write"):
        precheck.check(other)
    os.mkdir("in/real")
    os.symlink("real", "in/link")
    other = read(f"[grid]\n{PAIR}gamma = [1]\noutput = ['real/x.png', 'link/x.png']\n")
    with pytest.raises(BatchError, match="would both write"):
        precheck.check(other)


def test_equal_runs_are_made_once():
    assert len(read(f"[[run]]\n{PAIR}[[run]]\n{PAIR}")) == 1


def test_similar_outputs_are_not_taken_for_the_same():
    precheck.check(read(f"[grid]\n{PAIR}output = ['x.png', 'x.png.json.png']\n"))


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("content = 'none.png'\nstyle = 's.png'\n", ImageError, "in/none.png"),
        ("content = 'batch.toml'\nstyle = 's.png'\n", ImageError, "in/batch.toml"),
        (f"{PAIR}init = 'none.png'\n", ImageError, "in/none.png"),
        (f"{PAIR}weights = 'none.params'\n", WeightsError, "in/none.params"),
        (f"{PAIR}weights = 'a.png'\n", WeightsError, "in/a.png"),
        (f"{PAIR}output = 's.png'\n", OutputError, "would overwrite in/s.png"),
        (f"{PAIR}output = 'batch.toml/x.png'\n", NstError, "in/batch.toml"),
        (f"{PAIR}output = 'x.gif'\n", ImageError, ".gif"),
        (f"{PAIR}output = 'x.json'\n", ImageError, "x.json"),
        (f"{PAIR}output = 'c.png'\n", OutputError, "in/c.png.*did not make"),
        (f"{PAIR}output = '{'x' * 300}.png'\n", OutputError, "xxx.png"),
    ],
)
def test_problems_of_a_run_are_known_before_the_first_run_and_do_not_affect_others(
    text, error, words
):
    runs = read(f"[[run]]\n{text}[[run]]\n{PAIR}output = 'fine.png'\n")
    refused = precheck.check(runs)
    assert list(refused) == runs[:1]
    (failure,) = refused[runs[0]]
    assert isinstance(failure, error) and re.search(words, str(failure))
    assert "\n" not in str(failure)


def test_all_problems_of_a_run_are_reported_together():
    (messages,) = messages_of(
        read(
            "[[run]]\ncontent = 'x.png'\nstyle = 'y.png'\ninit = 'z.png'\n"
            "weights = 'w'\noutput = 'c.png'\n"
        )
    ).values()
    named = ("in/x.png", "in/y.png", "in/z.png", "in/w", "in/c.png")
    assert len(messages) == 5 and all(a in b for a, b in zip(named, messages))


def test_an_input_is_never_overwritten_under_any_name_even_with_overwrite():
    os.link("in/a.png", "in/hard.png")
    os.symlink("a.png", "in/soft.png")
    for name in ("hard", "soft"):
        (run,) = read(f"[[run]]\n{PAIR}output = '{name}.png'\n")
        (message,) = messages_of([run], overwrite=True)[run.output]
        assert "would overwrite in/a.png" in message
    (run,) = read(f"[[run]]\n{PAIR}output = 'c.png'\n")
    assert precheck.check([run]) and not precheck.check([run], overwrite=True)


def test_an_error_for_a_folder_among_the_pictures_suggests_a_pattern():
    os.mkdir("in/photos")
    runs = read("[[run]]\ncontent = 'photos'\nstyle = 's.png'\n")
    (messages,) = messages_of(runs).values()
    assert "In a [[grid]], in/photos/*.jpg names the pictures in it." in messages[0]


def test_each_input_is_checked_once_however_many_runs_use_it(monkeypatch):
    looks, size_of = [], images.size_of

    def look(path, **_):
        looks.append(path)
        return size_of(path)

    def find_weights(name):
        looks.append(name)
        return Weights.find(name)

    monkeypatch.setattr(precheck.images, "size_of", look)
    monkeypatch.setattr(precheck.files, "check_output", lambda path, **_: None)
    gammas = ", ".join(map(str, range(1, 501)))
    text = "output = 'o/{number}.png'\n[grid]\nstyle = 's.png'\ncontent = ['a.png', 'b.png']\n"
    runs = read(f"{text}weights = 'none'\ngamma = [{gammas}]\n")
    stats, stat = [], os.stat
    monkeypatch.setattr(
        precheck.os, "stat", lambda path, **_: (stats.append(path), stat(path, **_))[1]
    )
    assert len(precheck.check(runs, find_weights=find_weights)) == 1000
    assert sorted(looks) == ["in/a.png", "in/b.png", "in/none", "in/s.png"]
    # A few calls for each run, not one for each pair of a run and an input.
    assert len(stats) < 20 * len(runs)


def test_output_folders_are_created():
    precheck.check(read(f"[[run]]\n{PAIR}output = 'new/er/x.png'\n"))
    assert os.listdir("in/new/er") == []
