"""Logs of runs: what is read, what is refused, and the curves that come of it."""

import json

import pytest

from nst_cli import logs
from nst_cli.errors import LogError


def line(step, scale=1, **losses):
    """Return a line as ``nst stylize --log`` writes it; double underscores stand for slashes."""
    losses = {name.replace("__", "/"): value for name, value in losses.items()}
    losses = losses or {"total": 1.0}
    record = {"step": step, "scale": scale, "relative_change": 0.1, "gradient_norm": 2.0}
    return json.dumps({**record, "losses": losses}) + "\n"


def steps(*losses, scales=None):
    """Return steps with these losses, a dict each."""
    scales = scales or [1] * len(losses)
    return tuple(
        logs.Step(number, scale, each)
        for number, (scale, each) in enumerate(zip(scales, losses), 1)
    )


def test_a_step_keeps_its_number_its_scale_and_its_losses(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text(line(1, total=3.0, content__relu4_2=1.0) + line(2, 2, total=2.0))
    assert logs.read(path) == (
        logs.Step(1, 1, {"total": 3.0, "content/relu4_2": 1.0}),
        logs.Step(2, 2, {"total": 2.0}),
    )


def test_an_empty_log_holds_no_step(tmp_path):
    (tmp_path / "run.jsonl").touch()
    assert logs.read(tmp_path / "run.jsonl") == ()


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ('{"step": 3, "sca', "not JSON"),
        ("\n", "not JSON"),
        ("\x89PNG", "not JSON"),
        ("[3]\n", "no 'step'"),
        (line("3"), "no 'step'"),
        (line(True), "no 'step'"),
        (line(3, 0), "no 'scale'"),
        ('{"step": 3, "scale": 1}\n', "no 'losses'"),
        (line(3, content__relu4_2=1.0), "'total'"),
        (line(3, total="1"), "'total' is no finite number"),
        (line(3, total=float("nan")), "'total' is no finite number"),
        (line(3, total=10**400), "'total' is no finite number"),
        (line(2, 2), "more than one run"),
        (line(3, 1), "more than one run"),
    ],
)
def test_a_broken_line_is_named_and_the_steps_before_it_are_kept(tmp_path, broken, reason):
    path = tmp_path / "run.jsonl"
    path.write_text(line(1) + line(2, 2) + broken, encoding="latin-1")
    with pytest.raises(LogError) as caught:
        logs.read(path)
    message = str(caught.value)
    assert f"{path}: line 3 is broken" in message and reason in message and "\n" not in message
    assert [step.step for step in caught.value.steps] == [1, 2]


def test_a_log_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LogError, match=r"no\.jsonl: No such file"):
        logs.read(tmp_path / "no.jsonl")


def test_a_loss_belongs_to_the_image_before_its_step():
    found = logs.curve(steps({"total": 5.0}, {"total": 4.0}), ["total"], "total")
    assert found.pieces == (((0, 5.0), (1, 4.0)),)


def test_nothing_joins_the_losses_of_two_scales():
    run = steps({"total": 5.0}, {"total": 4.0}, {"total": 9.0}, scales=[1, 1, 2])
    assert logs.curve(run, ["total"], "total").pieces == (((0, 5.0), (1, 4.0)), ((2, 9.0),))
    assert logs.scale_starts(run) == [(2, 2)]


def test_parts_are_summed_by_method_and_told_apart_by_layer():
    run = steps({
        "total": 106.0, "content/relu4_2": 3.0, "poly/relu1_1": 1.0, "poly/relu2_1": 2.0,
        "smoothing": 100.0,
    })  # fmt: skip
    methods, layers = logs.panels(run)
    assert {line.name: line.values for line in methods.curves} == {
        "total": [106.0], "content": [3.0], "poly": [3.0], "smoothing": [100.0],
    }  # fmt: skip
    assert layers.title == "poly by layer"
    assert {line.name: line.values for line in layers.curves} == {
        "relu1_1": [1.0],
        "relu2_1": [2.0],
    }


def test_what_stays_far_below_the_total_is_left_out_by_name():
    run = steps(
        {"total": 1e6, "content/relu4_2": 5.0, "smoothing": 5.0},
        {"total": 1e6, "content/relu4_2": 20.0, "smoothing": 5.0},
    )
    (panel,) = logs.panels(run)
    assert [line.name for line in panel.curves] == ["total", "content"]
    assert [line.name for line in panel.left_out] == ["smoothing"]


@pytest.mark.parametrize(("least", "below"), [(1.0, None), (0.0, None), (-1.0, 0.1)])
def test_an_axis_turns_linear_only_where_a_loss_is_negative(least, below):
    (panel,) = logs.panels(steps({"total": 100.0}, {"total": least}))
    assert panel.linear_below == below
