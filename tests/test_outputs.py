"""Output files of the commands: which are replaced, refused and kept; in this process."""

import json
import os
from pathlib import Path

import numpy
import pytest
from click.testing import CliRunner
from PIL import Image
from processes import SMALL_OPTIONS, content_of, noise
from test_log import line
from test_sidecar import document

from nst_cli import Config, cli, engine, images, machine
from nst_cli.errors import ImageError, IncompleteError, NonFiniteError, OutputError
from nst_cli.runs import runner, sidecar
from nst_cli.views import report

PLOTS = pytest.mark.skipif(
    not __import__("importlib.util").util.find_spec("matplotlib"), reason="needs matplotlib"
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, small_network):
    """The working folder, with a pair of pictures and a small network for weights."""
    monkeypatch.chdir(tmp_path)
    noise(1, 24, 32).save("content.png")
    noise(2, 40, 30).save("style.png")
    return tmp_path


def nst(*arguments, code=0, **variables):
    """Run a command; return its lines on stdout and on stderr."""
    try:
        result = CliRunner(mix_stderr=False).invoke(cli.main, arguments, env=variables)
    except TypeError:  # Click from 8.2 on
        result = CliRunner().invoke(cli.main, arguments, env=variables)
    assert result.exit_code == code, (result.output, result.stderr, result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.stdout.splitlines(), result.stderr.splitlines()


def stylize(*arguments, content="content.png", style="style.png", code=0, **variables):
    command = ("stylize", content, style, *SMALL_OPTIONS, "-q", *arguments)
    return nst(*command, code=code, **variables)


def job(output="out.png", **others):
    choices = {"size": 32, "style_layers": "relu1_1", "content_layers": "relu2_1", "denoise": 0,
               "device": "cpu", "iterations": 3, "stop_eps": 0, **others}  # fmt: skip
    return runner.prepare("content.png", "style.png", output, Config(**choices))


def hidden(folder):
    return [name for name in os.listdir(folder) if name.startswith(".")]


# Existing files


FOREIGN = {
    "out.png": lambda path: noise(3, 9, 9).save(path),
    "out.png.json": lambda path: Path(path).write_text('{"tags": ["holiday"]}'),
    "run.jsonl": lambda path: Path(path).write_text("my notes\n"),
    "out-00002.png": lambda path: noise(3, 9, 9).save(path),
    "out-00004.png": lambda path: noise(3, 9, 9).save(path),
}
EVERYTHING = ("-o", "out.png", "--log", "run.jsonl", "--save-every", "2")


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_that_nst_did_not_make_is_replaced_only_with_overwrite(folder, name):
    FOREIGN[name](name)
    before = content_of(folder)
    out, (error,) = stylize(*EVERYTHING, code=1)
    assert out == [] and f"Cannot write {name}: it exists and nst did not make it" in error
    assert "--overwrite" in error
    assert content_of(folder) == before
    stylize(*EVERYTHING, "--overwrite")
    assert content_of(folder)[name] != before[name]


def test_files_that_nst_made_are_replaced_without_a_message(folder):
    stylize(*EVERYTHING)
    before = content_of(folder)
    stylize(*EVERYTHING, "--gamma", "1")
    after = content_of(folder)
    assert set(before) == set(after) and not hidden(folder)
    assert all(before[name] != after[name] for name in FOREIGN)


def test_a_picture_that_was_painted_over_is_not_replaced(folder):
    stylize("-o", "out.png")
    noise(4, 24, 32).save("out.png")
    _, (error,) = stylize("-o", "out.png", code=1)
    assert "out.png: it exists and nst did not make it" in error


def test_an_input_is_not_overwritten_even_with_overwrite(folder):
    before = content_of(folder)
    for options in (("-o", "content.png"), ("-o", "out.png", "--log", "style.png")):
        _, (error,) = stylize(*options, "--overwrite", code=1)
        assert "would overwrite" in error
    assert content_of(folder) == before


@pytest.mark.parametrize("step", [2, 4, 6, 8])
def test_the_names_of_intermediate_pictures_are_checked_over_all_scales(folder, step):
    # A third of 6 steps at half the size, then 4 at the full size.
    name = sidecar.step_name("out.png", step)
    noise(3, 24, 32).save(name)
    options = ("--scales", "2", "--size", "64", "-o", "out.png", "--save-every", "2", "-q")
    if step > 6:
        stylize(*options, content=name)
        return
    before = content_of(folder)
    _, (error,) = stylize(*options, "--overwrite", content=name, code=1)
    assert f"Cannot write {name}: that would overwrite {name}" in error
    assert content_of(folder) == before


def test_names_of_intermediate_pictures_that_are_too_long_are_refused(folder):
    name = "x" * 246 + ".png"
    stylize("-o", name)
    _, (error,) = stylize("-o", name, "--save-every", "2", code=1)
    assert "-00004.png: File name too long" in error


def test_a_log_may_not_have_the_name_of_an_intermediate_picture(folder):
    options = ("-o", "out.png", "--save-every", "2", "--log", "out-00002.png")
    assert "would overwrite out-00002.png" in stylize(*options, code=1)[1][0]


def test_a_picture_is_written_through_a_link(folder):
    (folder / "disk").mkdir()
    for name in ("out.png", "out.png.json", "run.jsonl"):
        (folder / name).symlink_to(folder / "disk" / name)
    for _ in range(2):
        stylize("-o", "out.png", "--log", "run.jsonl")
        assert all((folder / name).is_symlink() for name in ("out.png", "run.jsonl"))
        assert sorted(os.listdir("disk")) == ["out.png", "out.png.json", "run.jsonl"]
    assert sidecar.describes(sidecar.read("out.png"), "disk/out.png")


def test_replay_report_score_theorem_and_plot_replace_only_files_of_their_own_kind(folder):
    stylize("-o", "out.png", "--log", "out.png.jsonl")
    theorem = ("theorem", "content.png", "style.png", "--size", "32", "--style-layers", "relu1_1",
               "--device", "cpu", "-q")  # fmt: skip
    commands = {
        "out-replay.png": ("replay", "out.png", "-q", "--weights", "a file"),
        "report.html": ("report", "."),
        "numbers.json": (*theorem, "--json", "numbers.json"),
        "scores.json": ("score", "out.png", "--content", "content.png", "--style", "style.png",
                        "--size", "32", "--method", "linear", "--style-layers", "relu1_1",
                        "--content-layers", "relu1_1", "-q", "--json", "scores.json"),
    }  # fmt: skip
    try:
        import matplotlib  # noqa: F401

        commands["curves.svg"] = ("plot", "out.png.jsonl", "-o", "curves.svg")
        commands["theorem.pdf"] = (*theorem, "-o", "theorem.pdf")
    except ImportError:
        pass
    for name, command in commands.items():
        Path(name).write_text('{"program": "nst"}, or so')
        _, errors = nst(*command, code=1)
        assert f"{name}: it exists and nst did not make it" in errors[-1]
        assert Path(name).read_text() == '{"program": "nst"}, or so'
        nst(*command, "--overwrite")
        first = Path(name).read_bytes()
        nst(*command)
        assert Path(name).read_bytes() == first
    assert not hidden(folder)


# Results that are kept


def test_an_intermediate_picture_that_cannot_be_written_does_not_end_the_run(folder):
    prepared = job(iterations=5)
    for step in (2, 4):
        Path(sidecar.step_name("out.png", step)).mkdir()
    with pytest.raises(IncompleteError) as caught:
        runner.run(prepared, save_every=2)
    assert str(caught.value) == (
        "Cannot write out-00002.png: Is a directory. (and 1 more) The picture out.png is made."
    )
    assert caught.value.outcome.result.steps == 5
    assert sidecar.describes(sidecar.read("out.png"), "out.png")


def test_the_command_prints_the_path_of_the_picture_and_then_the_failure(folder, monkeypatch):
    run = runner.run

    def blocked(prepared, **others):
        Path("out-00002.png").mkdir()
        return run(prepared, **others)

    monkeypatch.setattr(runner, "run", blocked)
    out, (error,) = stylize("-o", "out.png", "--save-every", "2", code=1)
    assert out == ["out.png"] and "out-00002.png: Is a directory" in error


@pytest.mark.parametrize(("name", "kept"), [("out.jpg", "out.png"), ("out.png", "out-1.png")])
def test_a_picture_that_cannot_be_written_is_kept_under_another_name(folder, name, kept):
    prepared = job(name)
    Path(name).mkdir()
    with pytest.raises(IncompleteError) as caught:
        runner.run(prepared)
    assert (
        str(caught.value) == f"Cannot write {name}: Is a directory. The picture is kept in {kept}."
    )
    assert caught.value.outcome.path == kept and sidecar.is_picture(kept)
    assert sidecar.read(kept).steps == 3


def test_a_picture_whose_folder_became_a_file_is_kept_in_the_working_folder(folder):
    Path("out").mkdir()
    prepared = job("out/a.png")
    Path("out").rmdir()
    Path("out").write_text("a file")
    with pytest.raises(IncompleteError, match=r"Cannot write out/a\.png: .* is kept in a\.png\."):
        runner.run(prepared)
    assert sidecar.is_picture("a.png") and Path("out").read_text() == "a file"


def test_a_picture_that_cannot_be_written_anywhere_is_a_one_line_error(folder, monkeypatch):
    prepared = job()
    monkeypatch.setattr(images, "write", lambda path, *_: _refuse(path))
    with pytest.raises(
        OutputError, match=r"out\.png: no\. The picture could not be written anywhere else"
    ):
        runner.run(prepared)


def _refuse(path):
    raise ImageError(f"Cannot write {path}: no.")


def test_a_folder_that_was_removed_during_the_run_is_made_again(folder):
    Path("out").mkdir()
    prepared = job("out/a.png")
    Path("out").rmdir()
    runner.run(prepared)
    assert sorted(os.listdir("out")) == ["a.png", "a.png.json"]


def test_a_run_that_becomes_non_finite_says_where_its_last_image_is(folder):
    options = {"init": "content", "lr": 1e4, "tv_weight": 0, "iterations": 100}
    prepared = job(**options)
    Path("out.png").mkdir()
    with pytest.raises(NonFiniteError) as caught:
        runner.run(prepared)
    assert caught.value.path == "out-1.png" and sidecar.is_picture("out-1.png")


# libjpeg's own limit is below the 65535 of the format.
@pytest.mark.parametrize(("ending", "side"), [(".webp", 16384), (".jpg", 65501)])
def test_a_size_that_the_format_does_not_support_is_refused_before_the_first_step(
    folder, ending, side
):
    Image.new("RGB", (side, 17)).save("wide.png")
    options = ("--size", str(side), "-o", f"out{ending}", "--save-every", "1")
    before = content_of(folder)
    _, (error,) = stylize(*options, content="wide.png", code=1)
    assert f"Cannot write out{ending}: " in error and str(side - 1) in error and ".png" in error
    assert content_of(folder) == before


def test_metadata_too_long_for_the_format_do_not_prevent_the_picture(folder, monkeypatch):
    prepared = job("out.jpg")
    prepared.provenance["versions"]["nst"] = "x" * 70_000
    runner.run(prepared)
    assert images.read_metadata("out.jpg") is None
    assert sidecar.read("out.jpg").versions["nst"] == "x" * 70_000
    assert sidecar.is_picture("out.jpg")
    monkeypatch.setattr(machine, "describe", lambda: "x" * 70_000)
    assert "the picture carries none; the sidecar has them" in job("out.jpg").notes[0]
    assert job("out.jpg", metadata=False).notes == job("out.png").notes == ()


# Metadata of a picture


@pytest.fixture
def at_home(folder, monkeypatch):
    """A home with pictures, and another working folder."""
    home = folder / "home" / "somebody"
    (home / "photos").mkdir(parents=True)
    noise(1, 24, 32).save(home / "photos" / "c.png")
    noise(2, 24, 32).save(home / "photos" / "s.png")
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.mark.parametrize("ending", images.ENDINGS)
def test_the_metadata_of_a_finished_picture_name_no_folder(folder, at_home, ending):
    inputs = {"content": str(at_home / "photos/c.png"), "style": str(at_home / "photos/s.png")}
    start = ("--init", str(at_home / "photos/s.png"))
    stylize("-o", f"out{ending}", *start, **inputs)
    assert b"somebody" not in Path(f"out{ending}").read_bytes()
    carried = images.read_metadata(f"out{ending}")
    assert (carried["content"]["path"], carried["config"]["init"]) == ("c.png", "s.png")
    assert sidecar.read(f"out{ending}").content.path == "home/somebody/photos/c.png"


@pytest.mark.parametrize("ending", images.ENDINGS)
def test_a_picture_without_metadata_is_recognised_by_its_sidecar(folder, ending):
    name = f"out{ending}"
    stylize("-o", name, "--no-metadata")
    assert images.read_metadata(name) is None
    content = Path(name).read_bytes()
    assert b"stop_reason" not in content and b"relu1_1" not in content
    with Image.open(name) as picture:
        assert picture.info["icc_profile"]
    assert sidecar.read(name).config().metadata is False
    stylize("-o", name, "--no-metadata", "--gamma", "1")
    out, errors = nst("replay", name, "-q", "--weights", "a file")
    assert (out, errors[-1]) == ([f"out-replay{ending}"], "Identical, byte for byte.")
    os.unlink(f"{name}.json")
    assert "does not say how it was made" in nst("replay", name, code=1)[1][0]


def test_a_tilde_is_expanded_in_every_path(folder, at_home):
    inputs = {"content": "~/photos/c.png", "style": "~/photos/s.png"}
    stylize("--output=~/out.png", "--log=~/run.jsonl", "--init=~/photos/s.png", **inputs)
    assert (at_home / "out.png").exists() and (at_home / "run.jsonl").exists()
    nst("replay", "~/out.png", "--output=~/again.png", "--weights=a file", "-q")
    assert (at_home / "again.png").read_bytes() == (at_home / "out.png").read_bytes()
    nst("report", "~/", "--output=~/page.html")
    assert not (folder / "~").exists()


# Messages


def test_a_start_image_of_another_shape_is_noted(folder):
    noise(5, 32, 24).save("tall.png")
    noise(5, 48, 64).save("large.png")
    _, (note,) = stylize("-o", "out.png", "--init", "tall.png")
    assert note == (
        "Note: The start image tall.png has 24 x 32 pixels, and the content's shape is 32 x 24: "
        "only its middle of 24 x 18 is used."
    )
    assert stylize("-o", "out.png", "--init", "large.png")[1] == []


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("o.jgp", ".jpg"),
        ("o.JGP", ".jpg"),
        ("o.pn", ".png"),
        ("o.wepb", ".webp"),
    ],
)
def test_an_error_for_a_misspelt_ending_suggests_the_right_one(folder, name, guess):
    (error,) = stylize("-o", name, code=1)[1]
    assert f"(did you mean {guess}?); use .png, .jpg" in error
    assert "did you mean" not in stylize("-o", "o.gif", code=1)[1][0]


# Untrusted files


def stranger(**changes):
    """Save a picture with metadata that nst would not write."""
    what = sidecar.carried(document())
    what.update(changes)
    images.write("evil.png", numpy.zeros((8, 8, 3), numpy.uint8), metadata=what)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"content": {"path": "a.png"}}, "sha256 of 'content'"),
        ({"content": "a.png"}, "'content'"),
        ({"content": {"path": 5, "sha256": "1" * 64}}, "path or sha256 of 'content'"),
        ({"content": {"path": "/dev/zero", "sha256": "1" * 64}}, "content zero: No such file"),
        ({"content": {"path": "pipe", "sha256": "1" * 64}}, "pipe: it is not a regular file"),
        ({"content": {"path": "..", "sha256": "1" * 64}}, "content ..: it is a folder"),
        ({"config": {}}, "of 'config'"),
        ({"stop_reason": "interrupted\n\x1b[2J"}, "unfinished run (interrupted??[2J)"),
        ({"versions": 5}, "'versions'"),
        ({"steps": 10**400}, "'steps'"),
        ({"losses": {"total": "NaN"}}, "'total'"),
    ],
)
def test_malformed_metadata_are_a_one_line_error(folder, changes, words):
    os.mkfifo("pipe")
    stranger(**changes)
    out, (error,) = nst("replay", "evil.png", code=1)
    assert out == [] and words in error


def test_weights_that_untrusted_metadata_name_are_not_read(folder):
    stylize("-o", "out.png")
    what = images.read_metadata("out.png")
    what["weights"] = {"source": "/dev/zero", "sha256": "1" * 64}
    what["config"]["weights"] = "/dev/zero"
    images.write("evil.png", numpy.zeros((8, 8, 3), numpy.uint8), metadata=what)
    (error,) = nst("replay", "evil.png", code=1)[1]
    assert "The weights a file differ from those" in error and "--weights" in error


def test_replay_reads_no_file_that_untrusted_metadata_name(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    noise(7, 24, 32).save(elsewhere / "mine.png")
    stylize("-o", "out.png", content=str(elsewhere / "mine.png"))
    _, (error,) = nst("replay", "out.png", "-q", code=1)
    assert error.endswith(
        "mine.png: No such file or directory; say where it is now with --content."
    )
    content = ("--content", str(elsewhere / "mine.png"), "--weights", "a file")
    assert nst("replay", "out.png", "-q", *content)[1][-1] == "Identical, byte for byte."


def test_replay_finds_the_inputs_by_name_in_the_working_folder(folder):
    stylize("-o", "a.png")
    Path("moved").mkdir()
    os.rename("a.png", "moved/a.png")
    assert nst("replay", "moved/a.png", "-q", "--weights", "a file")[1][-1].startswith("Identical")


def test_replay_finds_the_inputs_where_the_sidecar_says_below_the_working_folder(folder):
    for name in ("photos", "out"):
        Path(name).mkdir()
    os.rename("content.png", "photos/c.png")
    stylize("-o", "out/a.png", content="photos/c.png")
    assert nst("replay", "out/a.png", "-q", "--weights", "a file")[1][-1].startswith("Identical")


def test_the_page_shows_no_picture_that_an_untrusted_sidecar_names(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    noise(7, 24, 32).save(elsewhere / "mine.png")
    Path("d").mkdir()
    stylize("-o", "d/out.png", content=str(elsewhere / "mine.png"))
    nst("report", "d")
    text = Path("d/report.html").read_text()
    assert "mine.png, the content" not in text
    assert "not read, because it is outside the report" in text


def test_the_page_marks_a_sidecar_of_an_earlier_run(folder):
    stylize("-o", "out.png", "--gamma", "1")
    earlier = Path("out.png.json").read_bytes()
    stylize("-o", "out.png", "--gamma", "2")
    Path("out.png.json").write_bytes(earlier)
    _, (note,) = nst("report", ".")
    assert note == (
        "Note: ./out.png is not the file that ./out.png.json describes; the page shows what the "
        "picture itself carries."
    )
    assert "<td>2</td>" in Path("report.html").read_text()
    stylize("-o", "out.png", "--gamma", "2")
    assert nst("report", ".")[1] == []


def test_a_pipe_with_the_name_of_a_picture_is_noted(folder):
    for name in ("a.png", "b.png"):
        stylize("-o", name)
    os.unlink("b.png")
    os.mkfifo("b.png")
    _, (note,) = nst("report", ".")
    assert "b.png: it is not a regular file" in note


def test_a_changed_picture_without_metadata_is_not_shown_as_the_original(folder):
    stylize("-o", "a.png")
    stylize("-o", "b.png")
    noise(4, 24, 32).save("b.png")
    _, (note,) = nst("report", ".")
    assert "b.png is not the file that" in note and "carries no description" in note


@pytest.mark.parametrize("value", [5e-324, 1e-310, 1e300, -1e300, 0.0, 1e-45])
def test_the_largest_and_smallest_floats_are_drawn(folder, value):
    stylize("-o", "out.png")
    steps = (value, 1.0, 3.0)
    Path("out.png.jsonl").write_text(
        "".join(line(n, total=loss, a__b=loss, a__c=1.0) for n, loss in enumerate(steps, 1))
    )
    nst("report", ".")
    (folder / "report.html").unlink()


def test_invalid_names_of_losses_are_shown_in_part(folder):
    stylize("-o", "out.png")
    losses = {"total": 1.0, "\udce9\x00<script>$x_{$": 1.0}
    text = "".join(
        json.dumps({"step": step, "scale": 1, "losses": losses}) + "\n" for step in (1, 2)
    )
    Path("out.png.jsonl").write_text(text)
    nst("report", ".")
    assert "<script>$x" not in Path("report.html").read_text()
    pytest.importorskip("matplotlib")
    for ending in (".png", ".svg", ".pdf"):
        nst("plot", "out.png.jsonl", "-o", f"a{ending}")
        nst("plot", "out.png.jsonl", "out.png.jsonl", "-o", f"b{ending}")


def test_a_dry_run_writes_nothing(folder, monkeypatch):
    monkeypatch.setattr(engine, "free_memory", lambda device: 10**12)
    before = content_of(folder)
    job()
    assert content_of(folder) == before
    assert report.is_page("content.png") is False


# Replays that do not finish


def test_an_interrupted_replay_saves_its_image_and_exits_with_130(folder, monkeypatch):
    stylize("-o", "out.png")
    run = runner.run

    def interrupted(job, **_):
        def stop(record):
            raise KeyboardInterrupt

        return run(job, on_step=stop)

    monkeypatch.setattr(runner, "run", interrupted)
    out, errors = nst("replay", "out.png", "-q", code=130)
    assert out == ["out-replay.png"] and errors[-1] == "Interrupted; saved out-replay.png."
    assert sidecar.read("out-replay.png").stop_reason == "interrupted"


def test_a_replay_whose_sidecar_cannot_be_written_prints_its_picture_and_then_the_error(
    folder, monkeypatch
):
    stylize("-o", "out.png")
    run = runner.run

    def blocked(job, **options):
        Path("out-replay.png.json").mkdir()
        return run(job, **options)

    monkeypatch.setattr(runner, "run", blocked)
    out, (error,) = nst("replay", "out.png", "-q", code=1)
    assert out == ["out-replay.png"] and "out-replay.png.json: Is a directory" in error
