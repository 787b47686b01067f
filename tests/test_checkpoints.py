"""Checkpoints on disk: when they are written, what is refused, and what is removed."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import click.testing
import numpy
import pytest
from processes import SMALL_OPTIONS, TINY, environment, noise, nst, save_pair, started, wait_for

from nst_cli import machine, signals
from nst_cli.cli import main
from nst_cli.config import Config
from nst_cli.errors import CheckpointError, OutputError
from nst_cli.runs import batch, checkpoints, keeping, maker, plan, runner
from nst_cli.runs.checkpoints import Saved
from nst_cli.synthesis import Record, State

NAME = "ab" * 32
OTHER = "cd" * 32


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    noise(1, 16, 16).save("a.png")
    noise(2, 16, 20).save("b.png")
    return tmp_path


def saved_state(size=7):
    arrays = {"image": numpy.arange(size, dtype="float32"), "x/y": numpy.eye(3)}
    return Saved(State({"count": 3, "beta": None, "loss": 0.1}, arrays), 3, b"")


def write(name=NAME, size=7, output="/p/out.png"):
    checkpoints.write(name, saved_state(size), {"output": output, "steps": 9})
    return checkpoints.path_of(name)


def prepare(output="out.png", **others):
    return runner.prepare("a.png", "b.png", output, Config(**{**TINY, "iterations": 9, **others}))


def interrupt_at(step):
    def on_step(record):
        if record.step == step:
            raise KeyboardInterrupt

    return on_step


def interrupted(step=4, output="out.png", **others):
    """Interrupt a run after a step, which leaves its checkpoint."""
    job = prepare(output, **others)
    outcome = runner.run(job, on_step=interrupt_at(step), keeper=keeping.Keeper(job))
    assert (outcome.result.steps, outcome.checkpoint) == (step, step)
    return job


def names():
    place = checkpoints.folder()
    return sorted(os.listdir(place)) if place.is_dir() else []


# The file


def test_what_is_written_is_read_again():
    path = write()
    state, step, log, _ = checkpoints.read(NAME)
    assert (state.numbers, step, log) == ({"count": 3, "beta": None, "loss": 0.1}, 3, b"")
    for name, array in saved_state().state.arrays.items():
        numpy.testing.assert_array_equal(state.arrays[name], array)
    assert (path.parent.stat().st_mode & 0o777) == 0o700


def test_without_a_file_there_is_nothing_to_read():
    assert checkpoints.read(NAME) is None and checkpoints.entries() == []


def test_the_pages_of_a_large_one_are_in_memory_only_while_they_are_used():
    write(size=1 << 24)
    before = machine.own_memory()
    saved = checkpoints.read(NAME)
    assert machine.own_memory() < before + (32 << 20)
    for _ in range(2):
        total = sum(array.sum() for array in saved.state.arrays.values())
        assert machine.own_memory() > before + (60 << 20)
        saved.unload()
        assert machine.own_memory() < before + (32 << 20)
    assert total == sum(array.sum() for array in checkpoints.read(NAME).state.arrays.values())


def test_any_damage_is_noticed():
    path = write()
    whole, random_places = path.read_bytes(), random.Random(1)
    spoilt = [whole[:length] for length in range(0, len(whole), 7)]
    spoilt += [whole + b"\0", b"\0" * 300, b"[" * 10**5, whole[:8] + b"\xff" * 60]
    for _ in range(250):
        content = bytearray(whole)
        content[random_places.randrange(len(whole))] ^= 1 << random_places.randrange(8)
        spoilt.append(bytes(content))
    for content in spoilt:
        path.write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            checkpoints.read(NAME)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)
        assert len(checkpoints.entries()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"arrays": [["image", "float32", [1 << 40] * 4], ["log", "uint8", [0]]]},
        {"arrays": [["image", "object", [7]], ["log", "uint8", [0]]]},
        {"arrays": [["image", "float32", [-7]]]},
        {"arrays": [["image", "float32", [7]], ["image", "float32", [7]]]},
        {"arrays": {"image": 1}},
        {"step": -1},
        {"step": "3"},
        {"numbers": [1]},
        {"name": OTHER},
    ],
)
def test_a_header_that_lies_is_refused_before_memory_is_taken(change):
    path = write()
    content = path.read_bytes()
    magic, version, length = checkpoints._START.unpack(content[: checkpoints._START.size])
    end = checkpoints._START.size + length
    header = json.dumps({**json.loads(content[checkpoints._START.size : end]), **change}).encode()
    body = checkpoints._START.pack(magic, version, len(header)) + header + content[end:-32]
    path.write_bytes(body + checkpoints.hashlib.sha256(body).digest())
    with pytest.raises(CheckpointError):
        checkpoints.read(NAME)


def test_a_pipe_in_its_place_does_not_hang():
    path = write()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="regular file"):
        checkpoints.read(NAME)
    assert checkpoints.entries()[0].step == 0


def test_a_failed_write_leaves_the_one_before(monkeypatch):
    path = write()
    before = path.read_bytes()
    monkeypatch.setattr(checkpoints, "_blocks", lambda *_: iter([b"x", None]))
    with pytest.raises(TypeError):
        write(size=9)
    assert path.read_bytes() == before and names() == [path.name]


def test_one_that_would_fill_the_disk_is_not_written(monkeypatch):
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda path: type("", (), {"free": 10}))
    with pytest.raises(OutputError, match="are available"):
        write()
    assert names() == []


# The folder


def test_old_ones_go_first_and_all_fit_into_the_bound(monkeypatch):
    paths = [write(f"{number:064x}", 100) for number in range(5)]
    size = paths[0].stat().st_size
    for days, path in zip((40, 3, 2, 1, 0), paths):
        moment = time.time() - days * 86400
        os.utime(path, (moment, moment))
    leftover = paths[0].parent / ".nst-0123456789ab-0"
    leftover.write_bytes(b"half")
    monkeypatch.setattr(checkpoints, "MOST_BYTES", 3 * size)
    checkpoints.prune(keep=f"{1:064x}", reserve=size)
    assert [path.exists() for path in paths] == [False, True, False, True, True]
    assert not leftover.exists()


def invoke(*words):
    return click.testing.CliRunner().invoke(main, ["checkpoints", *words])


def test_the_command_lists_and_removes():
    assert invoke().output == f"0 checkpoints, 0.0 MB, in {checkpoints.folder()}.\n"
    write(), write(OTHER, output="/p/\x1b[2Jz.png")
    checkpoints.path_of("ef" * 32).write_bytes(b"damaged")
    done = invoke()
    assert "abababababab" in done.output and "step 3/9" in done.output
    assert "\x1b" not in done.output and "damaged" in done.output
    (entry,) = [one for one in json.loads(invoke("--json").stdout) if one["name"] == NAME]
    assert (entry["step"], entry["steps"], entry["output"]) == (3, 9, "/p/out.png")
    assert "no checkpoint has" in invoke("--remove", "99").output
    assert invoke("--remove", "abab").exit_code == 0 and len(names()) == 2
    assert invoke("--remove", "all").exit_code == 0 and names() == []


# When they are written


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def record_of(step, iterations=100):
    image = numpy.zeros((1, 3, 16, 16), "float32")
    return Record(step, 1, 1, {"total": 1.0}, 0.1, 1.0, {}, image, 0, (16, 16), None, step)


def writes(monkeypatch, every, step_seconds, steps=100, write_seconds=0.0, size=10):
    """Return the steps after which a run writes checkpoints, by a clock that is set by hand."""
    clock, written = Clock(), []

    def written_at(name, saved, description):
        written.append(saved.step)
        clock.now += write_seconds

    job = prepare(iterations=steps)
    keeper = keeping.Keeper(job, every, clock)
    monkeypatch.setattr(checkpoints, "write", written_at)
    state = State({}, {"image": numpy.zeros(size, "float32")})
    for step in range(1, steps + 1):
        clock.now += step_seconds
        keeper.after(record_of(step))
        keeper.offer(lambda: state)
    return written


def test_under_auto_only_long_runs_have_checkpoints_every_30_seconds(monkeypatch):
    assert writes(monkeypatch, "auto", 0.5) == []
    assert writes(monkeypatch, "auto", 2.0) == [15, 30, 45, 60, 75, 90]
    # The steps still to come count.
    assert writes(monkeypatch, "auto", 31.0, steps=3) == [1, 2, 3]


def test_under_auto_writing_takes_a_hundredth_of_the_time(monkeypatch):
    written = writes(monkeypatch, "auto", 1.0, steps=2000, write_seconds=2.0)
    assert len(written) == 10
    # Before any time is known, the size decides.
    assert writes(monkeypatch, "auto", 1.0, steps=100, size=150_000_000) == []


def test_seconds_are_obeyed_and_off_writes_nothing(monkeypatch):
    assert writes(monkeypatch, 10.0, 1.0, steps=35) == [10, 20, 30]
    assert writes(monkeypatch, 0.0, 1.0, steps=4) == [1, 2, 3, 4]
    assert writes(monkeypatch, "off", 100.0, steps=4) == []


def test_a_short_run_touches_no_file(monkeypatch):
    job = prepare()
    runner.run(job, keeper=keeping.Keeper(job))
    assert not checkpoints.folder().exists()


def test_who_asks_for_checkpoints_learns_at_once_that_there_can_be_none(folder):
    (folder / "cache").write_bytes(b"a file")
    with pytest.raises(OutputError, match="Cannot write checkpoints"):
        keeping.Keeper(prepare(), 5.0)
    job = prepare()
    keeper = keeping.Keeper(job)
    outcome = runner.run(job, on_step=interrupt_at(4), keeper=keeper)
    assert outcome.checkpoint is None and "Cannot write checkpoints" in keeper.error


# What makes a run


def test_paths_do_not_name_a_run_and_everything_else_does(folder):
    (folder / "sub").mkdir()
    os.link("a.png", "sub/c.png")
    job = prepare()
    name = keeping.name_of(job)
    moved = runner.prepare("sub/c.png", "b.png", "sub/o.jpg", job.config)
    assert keeping.name_of(moved) == name
    others = [prepare(gamma=4), prepare(iterations=8), prepare(seed=3)]
    noise(5, 16, 20).save("b.png")
    others.append(prepare())
    changed = {**job.provenance, "versions": {**job.provenance["versions"], "nst": "0"}}
    others.append(runner.replace(job, provenance=changed))
    assert len({name, *map(keeping.name_of, others)}) == len(others) + 1


# Runs


def test_an_interrupted_run_goes_on_and_leaves_nothing_behind():
    job = interrupted(4)
    assert len(names()) == 1
    keeper = keeping.Keeper(job)
    seen = []
    runner.run(job, on_step=lambda r: seen.append(r.step), keeper=keeper, saved=keeper.load())
    assert seen == [5, 6, 7, 8, 9] and names() == []
    runner.run(prepare("whole.png"))
    assert Path("out.png").read_bytes() == Path("whole.png").read_bytes()


def test_a_run_that_goes_on_unloads_its_checkpoint_before_its_first_step(monkeypatch):
    job, unloaded, seen = interrupted(4), [], []
    keeper = keeping.Keeper(job)
    saved = keeper.load()
    monkeypatch.setattr(Saved, "unload", lambda self: unloaded.append(self.step))
    runner.run(job, on_step=lambda _: seen.append(list(unloaded)), keeper=keeper, saved=saved)
    assert seen == [[4]] * 5


def test_an_interruption_waits_for_the_end_of_the_step():
    job, deferred = prepare(), []

    def on_step(record):
        deferred.append(signals.is_deferred())

    runner.run(job, on_step=on_step, keeper=keeping.Keeper(job))
    assert all(deferred) and not signals.is_deferred()


def run_of(output="out.png", **others):
    return plan.Run("a.png", "b.png", output, Config(**{**TINY, "iterations": 9, **others}))


def test_a_batch_goes_on_by_itself_and_its_log_is_complete():
    make_one = maker.Maker(checkpoint="auto")
    finished = make_one(run_of(), interrupt_at(4))
    assert finished.state == "interrupted" and "goes on from step 4" in finished.reason
    seen = []
    (finished,) = batch.make(
        [run_of()],
        checkpoint="auto",
        on_start=lambda run: lambda record: seen.append(record.step),
    )
    assert (finished.state, seen) == ("done", [5, 6, 7, 8, 9])
    batch.make([run_of("whole.png")])
    for ending in ("", ".jsonl"):
        assert Path(f"out.png{ending}").read_bytes() == Path(f"whole.png{ending}").read_bytes()
    assert names() == []


def test_a_batch_replaces_a_damaged_checkpoint():
    maker.Maker(checkpoint="auto")(run_of(), interrupt_at(4))
    (name,) = names()
    path = checkpoints.folder() / name
    path.write_bytes(path.read_bytes()[:-1])
    (finished,) = batch.make([run_of()], checkpoint="auto")
    assert finished.state == "done" and "started afresh" in finished.reason
    assert names() == []


def stylize(*words):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    command = ["stylize", "a.png", "b.png", "-o", "out.png", *options, "--iterations=9", "-q"]
    return click.testing.CliRunner().invoke(main, [*command, *words])


def test_the_command_says_in_one_line_why_it_starts_afresh():
    assert "no checkpoint of this run" in stylize("--resume").output
    interrupted(4)
    path = checkpoints.folder() / names()[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    done = stylize("--resume")
    assert done.exit_code == 0 and done.output.count("starts afresh") == 1
    # Whole, and of this run, but made by hand.
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(whole)
    saved = checkpoints.read(path.name.partition(".")[0])
    spoilt = saved.state._replace(numbers={**saved.state.numbers, "scale": 9})
    checkpoints.write(
        path.name.partition(".")[0], saved._replace(state=spoilt), {"output": "", "steps": 9}
    )
    done = stylize("--resume", "--log", "log.jsonl")
    assert done.exit_code == 0 and done.output.count("starts afresh") == 1
    assert len(Path("log.jsonl").read_text().splitlines()) == 9 and names() == []


def test_a_fresh_start_over_a_checkpoint_is_pointed_out():
    interrupted(4)
    assert "--resume would go on" in stylize().output
    assert names() == []


# Real processes

ENDLESS = ["--iterations", "100000", "--stop-eps", "0", "--quiet", "--weights", "builtin"]


@contextlib.contextmanager
def running(folder, *words, prefix=(), **options):
    """Start a process of nst."""
    with started(
        [*prefix, sys.executable, "-m", "nst_cli", *words], cwd=folder,
        env=environment(XDG_CACHE_HOME=folder / "cache"), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    ) as process:  # fmt: skip
        yield process


def has_lines(path, count):
    return path.exists() and path.read_bytes().count(b"\n") >= count


def single(folder):
    save_pair(folder)
    return ["stylize", "content.png", "style.png", "-o", "out.png", "--log", "log.jsonl",
            *SMALL_OPTIONS, *ENDLESS]  # fmt: skip


def litter(folder):
    return [path for path in folder.rglob(".nst-*")]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_saves_picture_and_checkpoint(folder, number, code):
    with running(folder, *single(folder)) as process:
        wait_for(lambda: has_lines(folder / "log.jsonl", 3), process)
        process.send_signal(number)
        stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (code, "out.png\n")
    assert "--resume goes on" in stderr and len(names()) == 1 and not litter(folder)
    steps = json.loads(Path("out.png.json").read_text())["steps"]
    assert checkpoints.entries()[0].step == steps
    assert len(Path("log.jsonl").read_bytes().splitlines()) == steps


BLOCKED = """
import ctypes, os, signal, sys
from nst_cli.cli import progress
signal.signal(signal.SIGTERM, signal.SIG_DFL)
with progress.interrupts():
    print("ready", flush=True)
    # A call of C in which no handler can run: it goes on after each signal.
    lock = ctypes.CDLL(None).pthread_mutex_lock
    mutex = ctypes.create_string_buffer(256)
    lock(mutex), lock(mutex)
"""


def test_a_second_signal_ends_a_process_that_computes_in_c(folder):
    with started([sys.executable, "-c", BLOCKED], env=environment(), text=True,
                 stdout=subprocess.PIPE) as process:  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        # By now it is in the call of C; before that, the first signal would end it.
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143


def test_after_kill_9_the_last_checkpoint_is_used(folder):
    words = [*single(folder), "--checkpoint", "0"]
    with running(folder, *words) as process:
        wait_for(lambda: has_lines(folder / "log.jsonl", 5), process)
        process.kill()
    (entry,) = checkpoints.entries()
    assert entry.step >= 3
    with running(folder, *words, "--resume") as process:
        wait_for(lambda: checkpoints.entries()[0].step > entry.step + 2, process)
        process.terminate()
        _, stderr = process.communicate()
    assert f"goes on after step {entry.step}" in stderr and not litter(folder)
    steps = [json.loads(line)["step"] for line in Path("log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1))


def test_the_processes_of_a_batch_save_their_checkpoints_too(folder):
    save_pair(folder)
    Path("b.toml").write_text(
        'output = "{content}-{gamma}.png"\n[[grid]]\ncontent = "content.png"\n'
        'style = "style.png"\ngamma = [1.0, 2.0]\n'
    )
    with running(folder, "batch", "b.toml", *SMALL_OPTIONS, *ENDLESS, "--jobs", "2") as process:
        logs = [folder / f"content-{gamma}.png.jsonl" for gamma in (1, 2)]
        wait_for(lambda: all(has_lines(log, 3) for log in logs), process)
        process.terminate()
        process.communicate()
    assert process.returncode == 143
    assert len(names()) == 2 and not litter(folder)
    assert all(Path(f"content-{gamma}.png").exists() for gamma in (1, 2))


def can_unshare():
    done = subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.skipif(
    not Path("/usr/bin/unshare").exists() or not can_unshare(), reason="no process namespaces here"
)
def test_process_1_of_a_container_ends_on_sigterm(folder):
    with running(folder, *single(folder), prefix=["unshare", "--pid", "--fork"]) as process:
        wait_for(lambda: has_lines(folder / "log.jsonl", 3), process)
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGTERM)
        process.communicate()
    assert process.returncode == 143 and len(names()) == 1


def test_a_run_that_ignores_sighup_goes_on(folder):
    with running(folder, *single(folder), prefix=["nohup"]) as process:
        wait_for(lambda: has_lines(folder / "log.jsonl", 3), process)
        process.send_signal(signal.SIGHUP)
        count = (folder / "log.jsonl").read_bytes().count(b"\n")
        wait_for(lambda: has_lines(folder / "log.jsonl", count + 3), process)
        process.terminate()
        process.communicate()
    assert process.returncode == 143


def test_a_checkpoint_option_that_can_do_nothing_is_refused(folder):
    Path("b.toml").write_text("")
    done = nst(folder, "batch", "b.toml", "--dask", "tcp://h:1", "--checkpoint", "5")
    assert done.returncode == 2 and "--checkpoint does not work with --dask" in done.stderr
