"""Logs of runs: what is written is read, and what is broken is named."""

import json
import types

import pytest

from nst_cli.errors import LogError
from nst_cli.runs import log


def line(step, scale=1, **losses):
    """Return a line as ``nst stylize --log`` writes it; double underscores stand for slashes."""
    losses = {name.replace("__", "/"): value for name, value in losses.items()}
    losses = losses or {"total": 1.0}
    record = {"step": step, "scale": scale, "relative_change": 0.1, "gradient_norm": 2.0}
    return json.dumps({**record, "losses": losses}) + "\n"


def test_a_step_keeps_its_number_its_scale_and_its_losses(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text(line(1, total=3.0, content__relu4_2=1.0) + line(2, 2, total=2.0))
    assert log.read(path) == (
        log.Step(1, 1, {"total": 3.0, "content/relu4_2": 1.0}),
        log.Step(2, 2, {"total": 2.0}),
    )


def test_what_a_run_writes_is_read(tmp_path):
    records = [
        types.SimpleNamespace(
            step=step, scale=1, relative_change=0.5, gradient_norm=2.0, losses={"total": 1 / step}
        )
        for step in (1, 2, 3)
    ]
    with log.Log(tmp_path / "run.jsonl") as written:
        for record in records:
            written.write(record)
    assert log.read(tmp_path / "run.jsonl") == tuple(
        log.Step(record.step, record.scale, record.losses) for record in records
    )


def test_an_empty_log_holds_no_step(tmp_path):
    (tmp_path / "run.jsonl").touch()
    assert log.read(tmp_path / "run.jsonl") == ()


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
        log.read(path)
    message = str(caught.value)
    assert f"{path}: line 3 is broken" in message and reason in message and "\n" not in message
    assert [step.step for step in caught.value.steps] == [1, 2]


def test_a_log_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LogError, match=r"no\.jsonl: No such file"):
        log.read(tmp_path / "no.jsonl")
