"""Plots of loss curves: formats, content and refusals."""

import importlib.util
import os
import re
import sys
import xml.etree.ElementTree

import pytest
from PIL import Image
from test_cli import content_of, error_of, nst
from test_log import line

from nst_cli.errors import LogError, OutputError
from nst_cli.runs import log
from nst_cli.runs.log import Step
from nst_cli.views import canvas, plot

needs_matplotlib = pytest.mark.skipif(
    not importlib.util.find_spec("matplotlib"), reason="matplotlib is not installed"
)

LOSSES = {"total": 60.0, "content__relu4_2": 10.0, "poly__relu1_1": 20.0, "poly__relu2_1": 30.0}


def save_log(path, *, scales=(1, 1, 1), losses=LOSSES):
    lines = [
        line(step, scale, **{name: value / step for name, value in losses.items()})
        for step, scale in enumerate(scales, 1)
    ]
    path.write_text("".join(lines))
    return path


def texts(path):
    """Return the texts in an SVG of matplotlib: each is a comment above its glyphs."""
    return re.findall(r"<!-- (.*?) -->", path.read_text())


@needs_matplotlib
def test_the_command_draws_a_picture_and_prints_its_path(tmp_path):
    save_log(tmp_path / "run.jsonl")
    done = nst(tmp_path, "plot", "run.jsonl", "-o", "losses.png")
    assert (done.returncode, done.stdout, done.stderr) == (0, "losses.png\n", "")
    with Image.open(tmp_path / "losses.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 400


@needs_matplotlib
@pytest.mark.parametrize(
    ("ending", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".PDF", b"%PDF")]
)
def test_the_ending_decides_the_format_and_the_same_log_gives_the_same_file(
    tmp_path, ending, start
):
    log = save_log(tmp_path / "run.jsonl", scales=(1, 2))
    path = tmp_path / f"losses{ending}"
    plot.draw([log], path)
    first = path.read_bytes()
    assert first.startswith(start)
    plot.draw([log], path)
    assert path.read_bytes() == first


@needs_matplotlib
def test_one_log_is_drawn_by_method_and_by_layer_with_its_scales(tmp_path):
    log = save_log(tmp_path / "run.jsonl", scales=(1, 1, 2, 2))
    plot.draw([log], tmp_path / "a.svg")
    labels = texts(tmp_path / "a.svg")
    for text in ("By method", "poly by layer", "total", "content", "poly", "relu1_1", "relu2_1"):
        assert labels.count(text) == 1, text
    assert [text.strip() for text in labels].count("scale 2") == 2


@needs_matplotlib
def test_several_logs_share_a_panel_for_each_loss(tmp_path):
    first = save_log(tmp_path / "first.jsonl")
    second = save_log(tmp_path / "second.jsonl", losses={"total": 5.0, "bn__relu1_1": 5.0})
    plot.draw([first, second], tmp_path / "a.svg")
    labels = texts(tmp_path / "a.svg")
    for text in ("first", "second", "total", "content/relu4_2", "poly/relu1_1", "bn/relu1_1"):
        assert labels.count(text) == 1, text


@needs_matplotlib
def test_logs_with_the_same_name_are_labelled_by_their_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        save_log(tmp_path / folder / "run.jsonl")
    plot.draw(["a/run.jsonl", "b/run.jsonl"], "a.svg")
    assert {"a/run.jsonl", "b/run.jsonl"} <= set(texts(tmp_path / "a.svg"))


@needs_matplotlib
@pytest.mark.parametrize(("least", "scale"), [(1.0, "log"), (0.0, "log"), (-1.0, "symlog")])
def test_the_axis_of_losses_is_logarithmic_and_passes_zero_if_one_is_negative(least, scale):
    steps = (Step(1, 1, {"total": 100.0}), Step(2, 1, {"total": least}))
    figure = plot._one(canvas.load(), steps, "run")
    (axes,) = figure.axes
    assert axes.get_yscale() == scale
    assert list(axes.lines[0].get_ydata()) == [100.0, least]


@needs_matplotlib
def test_a_line_breaks_where_a_scale_begins():
    losses = [{"total": value} for value in (5.0, 4.0, 9.0, 8.0)]
    steps = [Step(n, 1 + n // 3, each) for n, each in enumerate(losses, 1)]
    figure = plot._several(canvas.load(), [("a", steps), ("b", steps[:2])])
    drawn = [list(drawn.get_xdata()) for drawn in figure.axes[0].lines]
    assert drawn == [[0, 1], [2, 3], [0, 1]]


@needs_matplotlib
def test_an_svg_can_be_read(tmp_path):
    plot.draw([save_log(tmp_path / "<&>.jsonl")], tmp_path / "a.svg")
    assert xml.etree.ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")


def test_without_matplotlib_plot_says_in_one_line_how_to_install_it(tmp_path):
    save_log(tmp_path / "run.jsonl")
    blocked = "import sys; sys.modules['matplotlib'] = None; from nst_cli.cli import main; main()"
    before = content_of(tmp_path)
    done = nst(tmp_path, "plot", "run.jsonl", "-o", "a.png", program=("-c", blocked))
    assert "pip install 'nst-cli[plot]'" in error_of(done, 1)
    assert content_of(tmp_path) == before


def test_an_error_for_an_unknown_ending_lists_the_known_ones(tmp_path):
    save_log(tmp_path / "run.jsonl")
    error = error_of(nst(tmp_path, "plot", "run.jsonl", "-o", "a.gif"), 1)
    assert "a.gif" in error and ".png, .svg, .pdf" in error


@needs_matplotlib
def test_the_log_of_a_killed_run_is_drawn_up_to_its_last_step(tmp_path):
    log = save_log(tmp_path / "run.jsonl")
    whole = log.read_text()
    log.write_text(whole[: whole.rindex("{") + 20])
    done = nst(tmp_path, "plot", "run.jsonl", "-o", "a.svg")
    assert (done.returncode, done.stdout) == (0, "a.svg\n")
    assert done.stderr == "Note: The log run.jsonl is cut off after step 2; drawn so far.\n"
    log.write_text(whole + "words\n")
    with pytest.raises(LogError, match="line 4 is broken"):
        plot.draw([log], tmp_path / "b.svg")


@needs_matplotlib
def test_the_users_own_settings_of_matplotlib_change_nothing(tmp_path, monkeypatch):
    import matplotlib

    log = save_log(tmp_path / "run.jsonl")
    plot.draw([log], tmp_path / "a.svg")
    monkeypatch.setitem(matplotlib.rcParams, "lines.linewidth", 9)
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 20)
    plot.draw([log], tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@needs_matplotlib
@pytest.mark.parametrize("name", ["a$^$.jsonl", "_hidden.jsonl", "caf\udce9\n.jsonl", "日.jsonl"])
def test_a_log_may_have_any_name(tmp_path, name, recwarn):
    log, other = save_log(tmp_path / name), save_log(tmp_path / "b.jsonl")
    for number, logs in enumerate(([log], [log, other])):
        for ending in (".svg", ".png", ".pdf"):
            plot.draw(logs, tmp_path / f"{number}{ending}")
        xml.etree.ElementTree.parse(tmp_path / f"{number}.svg")
    assert not recwarn.list
    if name.startswith("_"):
        assert "_hidden" in " ".join(texts(tmp_path / "1.svg"))


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_a_pipe_or_a_device_is_refused_as_a_log_without_waiting(tmp_path, make):
    make(tmp_path / "run.jsonl")
    with pytest.raises(LogError, match="not a regular file"):
        log.read(tmp_path / "run.jsonl")


def test_a_missing_matplotlib_is_reported_before_the_logs_are_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(OutputError, match=r"a\.png: plots need matplotlib .* 'nst-cli\[plot\]'"):
        plot.draw(["none.jsonl"], tmp_path / "a.png")
    with pytest.raises(OutputError, match=r"a\.png: plots need matplotlib .* 'nst-cli\[plot\]'"):
        canvas.check(tmp_path / "a.png")


def test_a_log_is_not_overwritten(tmp_path):
    log = save_log(tmp_path / "run.jsonl")
    (tmp_path / "a.png").symlink_to(log)
    with pytest.raises(OutputError, match="would overwrite"):
        plot.draw([log], tmp_path / "a.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "holds no step"), ("{}\n", "line 1 is broken"), (None, "No such file")],
)
def test_a_log_that_cannot_be_drawn_is_named_and_no_picture_is_written(tmp_path, text, message):
    good, bad = save_log(tmp_path / "good.jsonl"), tmp_path / "bad.jsonl"
    if text is not None:
        bad.write_text(text)
    with pytest.raises(LogError, match=message) as caught:
        plot.draw([good, bad], tmp_path / "a.png")
    assert str(bad) in str(caught.value)
    assert not (tmp_path / "a.png").exists()


def test_importing_the_command_line_does_not_import_matplotlib(tmp_path):
    code = "import sys, nst_cli.cli, nst_cli.views.plot; sys.exit('matplotlib' in sys.modules)"
    assert nst(tmp_path, program=("-c", code)).returncode == 0
