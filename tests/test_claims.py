"""Two runs of one output, of one checkpoint and of one batch: the second is refused."""

import os
import signal
import time
from pathlib import Path

import click.testing
import pytest
from processes import TINY, noise

from nst_cli import Config, files
from nst_cli.cli import main
from nst_cli.errors import OutputError
from nst_cli.runs import batch, checkpoints, claims, cluster, keeping, plan, runner

BATCH = """
output = "{content}-{gamma}.png"
[[grid]]
content = "a.png"
style = "b.png"
gamma = [1.0, 2.0]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(claims, "_PATIENCE", 0.05)
    monkeypatch.chdir(tmp_path)
    noise(1, 16, 16).save("a.png")
    noise(2, 16, 20).save("b.png")
    return tmp_path


def nst(*words, quiet=True):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    return click.testing.CliRunner().invoke(main, [*words, *options, *["-q"] * quiet])


def hidden():
    return [name for name in os.listdir() if name.startswith(".")]


def run_of(output, **others):
    return plan.Run("a.png", "b.png", output, Config(**{**TINY, **others}))


@pytest.mark.parametrize(
    "words",
    [
        ["-o", "out.png"],
        ["-o", "./out.png"],
        ["-o", "link.png"],
        ["-o", "other.png", "--log", "out.png.jsonl"],
        ["-o", "out-00010.png"],
    ],
)
def test_a_second_run_of_an_output_is_refused_while_the_first_lives(words):
    os.symlink("out.png", "link.png")
    with claims.claimed(["out.png"], steps_of="out.png"):
        refused = nst("stylize", "a.png", "b.png", *words)
        assert refused.exit_code == 1 and refused.output.count("\n") == 1
        assert f"process {os.getpid()} is making it" in refused.output
        assert not os.path.exists("out.png") and not os.path.exists("other.png")
        # A dry run writes nothing.
        assert nst("stylize", "a.png", "b.png", *words, "--dry-run").exit_code == 0
    assert nst("stylize", "a.png", "b.png", *words).exit_code == 0 and not hidden()


def test_pictures_of_steps_are_refused_while_another_run_makes_one_of_their_names():
    with claims.claimed(["out-00010.png"]), claims.claimed(["out-00020.png"]):
        refused = nst("stylize", "a.png", "b.png", "-o", "out.png", "--save-every", "1")
        assert refused.exit_code == 1 and "Cannot write out-NNNNN.png" in refused.output
        assert nst("stylize", "a.png", "b.png", "-o", "out.png").exit_code == 0
    assert not hidden()


def test_a_replay_is_refused_too():
    assert nst("stylize", "a.png", "b.png", "-o", "out.png").exit_code == 0
    with claims.claimed(["again.png"]):
        words = ["replay", "out.png", "-o", "again.png", "-q"]
        refused = click.testing.CliRunner().invoke(main, words)
    assert refused.exit_code == 1 and "Cannot write again.png: process" in refused.output


def claiming_process(path):
    """Start a process that claims a file; return its id."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            with claims.claimed([path]):
                os.write(writer, b".")
                time.sleep(600)
        finally:
            os._exit(1)
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    return child


def test_the_claim_of_a_killed_process_is_void_and_its_file_is_removed():
    child = claiming_process("out.png")
    try:
        with pytest.raises(OutputError, match=f"process {child} is making it"):
            claims.claimed(["out.png"]).__enter__()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert len(hidden()) == 1
    # Any run in the folder removes it.
    with claims.claimed(["another.png"]):
        assert len(hidden()) == 1
    assert not hidden()


def test_only_files_that_nst_left_behind_are_removed():
    names = [
        ".nst-notes",
        ".nst-0123456789ab",
        ".nst-0123456789ab-1.png",
        ".nst-0123456789ab.lock",
    ]
    for name in names:
        Path(name).touch()
    with claims.claimed(["out.png"]):
        pass
    assert sorted(hidden()) == sorted(names[:2])


def test_a_run_whose_output_is_claimed_fails_and_the_others_are_made():
    with claims.claimed(["one.png"]):
        one, two = batch.make([run_of("one.png"), run_of("two.png")])
        submission = cluster._Submission(object(), [run_of("one.png")])
        (sent,) = submission._submit_ahead(None)
    assert [one.state, two.state, sent.state] == ["failed", "done", "failed"]
    assert "is making it" in one.reason and "is making it" in sent.reason and not hidden()


def test_a_batch_is_refused_while_another_process_makes_it():
    Path("b.toml").write_text(BATCH)
    with claims.claimed_batch(["a-2.png", "a-1.png"]):
        refused = nst("batch", "b.toml")
        assert refused.exit_code == 1 and refused.output.count("\n") == 1
        assert f"Process {os.getpid()} is making this batch" in refused.output
        # Other outputs, so another batch.
        assert nst("batch", "b.toml", "-o", "{gamma}.png").exit_code == 0
    assert nst("batch", "b.toml").exit_code == 0 and not hidden()


def test_without_locks_there_are_no_claims(monkeypatch):
    monkeypatch.setattr(files, "locked", lambda *_: None)
    with claims.claimed(["out.png"]), claims.claimed(["out.png"]):
        pass


def job_of(output):
    return runner.prepare("a.png", "b.png", output, Config(**{**TINY, "iterations": 3}))


def test_of_two_runs_with_one_checkpoint_the_second_keeps_none_and_spoils_none():
    first, second = (keeping.Keeper(job_of(name), 0) for name in ("one.png", "two.png"))

    def meanwhile(record):
        if record.step == 2:
            runner.run(job_of("two.png"), keeper=second)
            assert [entry.step for entry in checkpoints.entries()] == [1]

    runner.run(job_of("one.png"), on_step=meanwhile, keeper=first)
    assert "makes the same picture" in second.error and not first.error
    assert not os.listdir(checkpoints.folder())


def test_checkpoints_of_runs_that_go_on_and_those_of_a_wrong_clock_are_not_pruned(monkeypatch):
    place = checkpoints.make_folder()
    days = {"aa": 40, "bb": 40, "cc": 4000, "dd": -4000, "ee": 3}
    for name, age in days.items():
        path = place / f"{name * 32}.checkpoint"
        path.write_bytes(b"x" * 100)
        then = time.time() - age * 86400
        os.utime(path, (then, then))
    claim = claims.Claim(place / ("bb" * 32))
    checkpoints.prune()
    left = {entry.name[:2] for entry in checkpoints.entries()}
    assert left == {"bb", "cc", "dd", "ee"}
    # Where the bound asks for it, those of a wrong clock go first.
    monkeypatch.setattr(checkpoints, "MOST_BYTES", 210)
    checkpoints.prune()
    left = {entry.name[:2] for entry in checkpoints.entries()}
    assert {"bb", "ee"} <= left and len(left) == 2
    claim.release()


def test_a_batch_that_is_up_to_date_removes_what_a_killed_one_left(folder):
    Path("b.toml").write_text(BATCH)
    assert nst("batch", "b.toml", "--checkpoint", "0").exit_code == 0
    before = sorted(os.listdir())
    # It was killed before it could remove its checkpoint and its claim.
    run = run_of("a-1.png", gamma=1.0)
    job = runner.prepare(run.content, run.styles, run.output, run.config)
    name = keeping.name_of(job)
    (checkpoints.folder() / f"{name}.checkpoint").write_bytes(b"x")
    Path(files.lock_name("a-1.png")).touch()
    assert "2 skipped" in nst("batch", "b.toml", quiet=False).output
    assert sorted(os.listdir()) == before and not os.listdir(checkpoints.folder())
