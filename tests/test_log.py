"""Logs of runs: what is written is read, and what is broken is named."""

import json
import os
import resource
import types

import pytest

from nst_cli.errors import LogError, OutputError
from nst_cli.runs import log


def line(step, scale=1, **losses):
    """Return a line of ``nst stylize --log``; double underscores in names become slashes."""
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


def record(step):
    return types.SimpleNamespace(
        step=step, scale=1, relative_change=0.5, gradient_norm=2.0, losses={"total": 1 / step}
    )


def steps_in(path):
    return [step.step for step in log.read(path)]


def test_a_new_log_grows_under_its_name(tmp_path):
    path = tmp_path / "run.jsonl"
    with log.writing(path) as lines:
        for step in (1, 2):
            lines.write(record(step))
            assert steps_in(path) == list(range(1, step + 1))
    assert log.is_log(path) and os.listdir(tmp_path) == ["run.jsonl"]


def test_an_older_log_is_kept_until_the_run_ends(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text(line(7))
    os.chmod(path, 0o600)
    with log.writing(path) as lines:
        lines.write(record(1))
        assert steps_in(path) == [7]
    assert steps_in(path) == [1] and os.listdir(tmp_path) == ["run.jsonl"]
    assert os.stat(path).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("older", [True, False])
@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
def test_a_failed_run_keeps_its_steps_or_if_it_made_none_the_older_log(tmp_path, older, error):
    path = tmp_path / "run.jsonl"
    if older:
        path.write_text(line(7))
    with pytest.raises(error), log.writing(path):
        raise error
    assert path.exists() == older and (not older or steps_in(path) == [7])
    with pytest.raises(error), log.writing(path) as lines:
        lines.write(record(1))
        raise error
    assert steps_in(path) == [1] and os.listdir(tmp_path) == ["run.jsonl"]


@pytest.mark.parametrize("older", [True, False])
def test_a_log_that_cannot_be_continued_does_not_end_the_run(tmp_path, older):
    path = tmp_path / "run.jsonl"
    if older:
        path.write_text(line(7))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with log.writing(path) as lines:
            resource.setrlimit(resource.RLIMIT_FSIZE, (250, limit[1]))
            for step in range(1, 9):
                lines.write(record(step))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert lines.error.strerror == "File too large" and lines.steps == 2
    with pytest.raises(LogError, match="line 3 is broken") as caught:
        log.read(path)
    assert caught.value.is_cut and len(caught.value.steps) == 2


def test_a_log_is_written_through_a_link(tmp_path):
    (tmp_path / "link.jsonl").symlink_to("run.jsonl")
    for _ in range(2):
        with log.writing(tmp_path / "link.jsonl") as lines:
            lines.write(record(1))
        assert (tmp_path / "link.jsonl").is_symlink() and steps_in(tmp_path / "run.jsonl") == [1]


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (line(1), True),
        (line(1) + "words\n", True),
        (line(1)[:60], True),
        ("", True),
        ("words\n", False),
        ("words", False),
        ("{}\n", False),
        ('{"step": 1, "scale": "x"', False),
        ("[" * 100_000 + "\n", False),
    ],
)
def test_a_log_is_recognised_by_its_first_line(tmp_path, text, known):
    (tmp_path / "run.jsonl").write_text(text)
    assert log.is_log(tmp_path / "run.jsonl") is known


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
        (line(3, total="1"), "'total' is not a finite number"),
        (line(3, total=float("nan")), "'total' is not a finite number"),
        (line(3, total=10**400), "'total' is not a finite number"),
        ("[" * 100_000 + "\n", "nested too deeply"),
        ("9" * 100_000, "line 3 is broken"),
        ('"' + "x" * (1 << 21), "not JSON"),
        (line(10**400), "no 'step'"),
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


def test_a_carriage_return_ends_no_line(tmp_path):
    path = tmp_path / "run.jsonl"
    text = line(1).replace(" ", "\r", 1) + line(2)
    path.write_bytes(text.encode())
    assert [step.step for step in log.read(path)] == [1, 2]
    assert [step.step for step in log.parse(text.encode())] == [1, 2]


def test_a_long_name_of_a_loss_is_cut(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text(line(1, total=1.0, **{"x" * 9999: "1"}))
    with pytest.raises(LogError) as caught:
        log.read(path)
    assert "xxx... is not a finite number" in str(caught.value)


def test_a_log_has_a_limited_number_of_losses(tmp_path):
    path = tmp_path / "run.jsonl"
    for lines in (
        [line(1, total=1.0, **{f"a{n}": 1.0 for n in range(1001)})],
        [line(n + 1, total=1.0, **{f"a{n}": 1.0}) for n in range(1001)],
    ):
        path.write_text("".join(lines))
        with pytest.raises(LogError, match="its losses have more than 1000 names"):
            log.read(path)


def test_a_missing_log_is_named(tmp_path):
    with pytest.raises(LogError, match=r"no\.jsonl: No such file"):
        log.read(tmp_path / "no.jsonl")


def test_a_log_in_a_missing_folder_is_an_error(tmp_path):
    with (
        pytest.raises(OutputError, match="Cannot write the log .*none/run.jsonl"),
        log.writing(tmp_path / "none" / "run.jsonl"),
    ):
        pass
    with pytest.raises(OutputError, match="Cannot write the log .*none/run.jsonl"):
        log.Log(tmp_path / "none" / "run.jsonl")


def test_a_missing_file_is_not_a_log(tmp_path):
    assert not log.is_log(tmp_path / "none.jsonl")
