"""Batches as real processes: what is made, skipped, shared, lost and redone."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import PATIENCE, SMALL, content_of, environment, error_of, noise, nst, save_pair

from nst_cli import images
from nst_cli.runs.sidecar import log_of, sidecar_of

GRID = """
output = "out/{content}-{method}.png"

[defaults]
size = 32
style_layers = ["relu1_1", "relu2_1"]
content_layers = ["relu2_1"]
iterations = 4
denoise = 0
weights = "builtin"

[grid]
content = ["a.png", "b.png"]
style = "style.png"
method = ["linear", "gaussian"]
"""
NAMES = ["a-gaussian", "a-linear", "b-gaussian", "b-linear"]
PICTURES = [f"out/{name}.png" for name in NAMES]


def save_batch(folder, text=GRID):
    save_pair(folder)
    noise(3, 24, 32).save(folder / "a.png")
    noise(4, 32, 24).save(folder / "b.png")
    (folder / "batch.toml").write_text(text)


def batch(folder, *options, **others):
    return nst(folder, "batch", "batch.toml", *options, **others)


def states_in(done):
    """Return {picture: state} of the table on stderr."""
    found = re.findall(
        r"^(done|skipped|failed|interrupted) .*?(\S+\.png)", done.stderr, re.MULTILINE
    )
    return {path: state for state, path in found}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished batch and its folder."""
    folder = tmp_path_factory.mktemp("batch")
    save_batch(folder)
    return batch(folder), folder


def copy_of(folder, tmp_path):
    for name, content in content_of(folder).items():
        if content is None:
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_bytes(content)
            # As old as it is there: nothing goes by times.
    return tmp_path


def test_strict_runs_go_before_those_that_a_gpu_may_compute_otherwise(tmp_path):
    text = GRID.replace("{method}", "{deterministic}-{precision}")
    axes = 'precision = ["auto", "float32"]\ndeterministic = [false, true]\n'
    save_batch(
        tmp_path, text.replace('method = ["linear", "gaussian"]', axes).replace('"b.png"', "")
    )
    done = batch(tmp_path, "--device", "cpu")
    order = ["True-float32", "False-float32", "True-auto", "False-auto"]
    assert done.stdout.split() == [f"out/a-{name}.png" for name in order]


def test_every_run_makes_its_picture_sidecar_and_log_and_nothing_else(made):
    done, folder = made
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == PICTURES
    files = [f"{picture}{ending}" for picture in PICTURES for ending in ("", ".json", ".jsonl")]
    assert sorted(f"out/{name}" for name in os.listdir(folder / "out")) == sorted(files)
    assert states_in(done) == dict.fromkeys(PICTURES, "done")
    assert done.stderr.endswith("4 done, of 4 runs.\n")
    lines = (folder / log_of("out/a-linear.png")).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]


def test_a_picture_of_a_batch_is_that_of_a_run_alone(made, tmp_path):
    _, folder = made
    save_batch(tmp_path)
    (tmp_path / "alone").mkdir()
    options = [
        w for k, v in SMALL.items() if k != "device" for w in (f"--{k.replace('_', '-')}", v)
    ]
    for name in ("a-gaussian", "b-linear"):
        content, method = name.split("-")
        alone = nst(
            tmp_path, "stylize", f"{content}.png", "style.png", "-o", "alone/x.png", *options,
            "--method", method, "--weights", "builtin",
        )  # fmt: skip
        assert alone.returncode == 0, alone.stderr
        picture = folder / f"out/{name}.png"
        assert (tmp_path / "alone/x.png").read_bytes() == picture.read_bytes()
        assert (tmp_path / "alone/x.png.json").read_text() == Path(sidecar_of(picture)).read_text()


def test_a_second_time_nothing_is_made_and_mxnet_is_not_loaded(made, tmp_path):
    folder = copy_of(made[1], tmp_path)
    before = content_of(folder)
    code = (
        "import sys; from nst_cli import cli; cli.main(standalone_mode=False); "
        "print('mxnet' in sys.modules)"
    )
    again = batch(folder, program=("-c", code))
    assert (again.returncode, again.stdout) == (0, "False\n"), again.stderr
    assert states_in(again) == dict.fromkeys(PICTURES, "skipped")
    assert content_of(folder) == before


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        (lambda folder: noise(9, 24, 32).save(folder / "a.png"), PICTURES[:2]),
        (lambda folder: (folder / "out/a-linear.png").unlink(), ["out/a-linear.png"]),
        (lambda folder: (folder / "out/a-linear.png.json").unlink(), ["out/a-linear.png"]),
        (lambda folder: (folder / "out/b-linear.png").write_bytes(b"x"), ["out/b-linear.png"]),
        (
            lambda folder: (folder / "out/a-linear.png.json").write_text('{"config": {}}'),
            ["out/a-linear.png"],
        ),
    ],
    ids=["an input changed", "gone", "no sidecar", "broken", "a damaged sidecar"],
)
def test_what_is_not_up_to_date_alone_is_made_again(made, tmp_path, change, redone):
    folder = copy_of(made[1], tmp_path)
    change(folder)
    again = batch(folder)
    assert again.returncode == 0, again.stderr
    assert sorted(again.stdout.split()) == redone
    assert states_in(again) == {path: "done" if path in redone else "skipped" for path in PICTURES}


def test_other_options_or_force_make_them_again(made, tmp_path):
    folder = copy_of(made[1], tmp_path)
    before = content_of(folder)
    forced = batch(folder, "--force", "--quiet")
    assert (sorted(forced.stdout.split()), forced.stderr) == (PICTURES, "")
    assert content_of(folder) == before
    other = batch(folder, "--gamma", "1")
    assert sorted(other.stdout.split()) == PICTURES
    assert json.loads((folder / "out/a-linear.png.json").read_text())["config"]["gamma"] == 1
    moved = batch(folder, "-o", "{method}/{content}.png")
    assert min(moved.stdout.split()) == "gaussian/a.png"


def test_inputs_that_moved_are_still_the_same(made, tmp_path):
    folder = copy_of(made[1], tmp_path)
    (folder / "a.png").rename(folder / "in.png")
    text = GRID.replace('"a.png"', '"in.png"').replace("{content}-{method}", "{number}")
    (folder / "batch.toml").write_text(text)
    for number, name in enumerate(("a-linear", "a-gaussian", "b-linear", "b-gaussian"), 1):
        for ending in ("", ".json", ".jsonl"):
            (folder / f"out/{name}.png{ending}").rename(folder / f"out/{number:03d}.png{ending}")
    again = batch(folder)
    assert set(states_in(again).values()) == {"skipped"}


def test_a_run_that_fails_is_told_and_does_not_stop_the_others(tmp_path):
    save_batch(tmp_path)
    # Its header is whole, so that only the run itself finds out.
    noise(5, 300, 300).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    done = batch(tmp_path)
    assert done.returncode == 1
    assert sorted(done.stdout.split()) == PICTURES[2:]
    states = states_in(done)
    assert [states[path] for path in PICTURES] == ["failed", "failed", "done", "done"]
    assert "Cannot read a.png: it is truncated or broken" in done.stderr
    assert done.stderr.endswith("2 done, 2 failed, of 4 runs.\n")
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("*a-*"))


@pytest.mark.parametrize(
    ("text", "options", "words", "code"),
    [
        ("[[run]\n", (), "batch.toml is not TOML", 1),
        (GRID.replace("size = 32", "sise = 32"), (), "did you mean 'size'", 1),
        (GRID.replace('"a.png"', '"none.png"'), (), "Cannot read none.png", 1),
        (GRID.replace("-{method}", ""), (), "would both write out/a.png", 1),
        (GRID, ("--gamma", "x"), "gamma is 'x'", 2),
        (GRID, ("--dask", "tcp://127.0.0.1:1"), "No Dask scheduler answers", 1),
        (GRID, ("--dask", "nonsense:://"), "No Dask scheduler answers", 1),
    ],
)
def test_what_cannot_be_is_one_line_before_the_work(tmp_path, text, options, words, code):
    if "--dask" in options:
        pytest.importorskip("distributed")
    save_batch(tmp_path, text)
    line = error_of(batch(tmp_path, *options), code)
    assert words in line
    assert not list(tmp_path.rglob("out/*"))


def started(folder, *options, **others):
    return subprocess.Popen(
        [sys.executable, "-m", "nst_cli", "batch", "batch.toml", *options],
        cwd=folder, env=environment(**others), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def is_logging(folder):
    """Whether a run has made a step; its log has its final name only when it is done."""
    for path in (folder / "out").glob(".*.jsonl"):
        # A file made to see whether one can be made is gone at once.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size:
                return True
    return False


LONG = GRID.replace("iterations = 4", "iterations = 400\nstop_eps = 0")


@pytest.mark.parametrize("options", [(), ("--jobs", "2")], ids=["here", "in processes"])
def test_killed_in_the_middle_it_leaves_whole_files_and_goes_on_there(tmp_path, options):
    save_batch(tmp_path, LONG)
    out = tmp_path / "out"
    process = started(tmp_path, *options, "--quiet")
    wait_for(lambda: list(out.glob("[ab]*.json")))
    process.kill()
    process.communicate()
    kept = {path.name: path.read_bytes() for path in out.glob("[ab]*.png")}
    assert 0 < len(kept) < 4
    for name in kept:
        images.read(out / name)
    whole = [name for name in kept if (out / sidecar_of(name)).exists()]
    again = batch(tmp_path, *options)
    assert again.returncode == 0, again.stderr
    states = states_in(again)
    assert sorted(states) == PICTURES
    assert [name for name in kept if states[f"out/{name}"] == "skipped"] == whole
    for name in whole:
        assert (out / name).read_bytes() == kept[name]


def test_interrupted_it_saves_the_image_so_far_and_says_what_is_left(tmp_path):
    save_batch(tmp_path, GRID.replace("iterations = 4", "iterations = 100000\nstop_eps = 0"))
    process = started(tmp_path)
    wait_for(lambda: is_logging(tmp_path))
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "1 interrupted, 3 not begun, of 4 runs." in stderr and "Traceback" not in stderr
    assert states_in(batch(tmp_path, "--iterations", "4"))["out/a-linear.png"] == "done"


def test_in_processes_the_same_pictures_are_made(made, tmp_path):
    save_batch(tmp_path)
    done = batch(tmp_path, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == PICTURES
    for path in PICTURES:
        assert (tmp_path / path).read_bytes() == (made[1] / path).read_bytes()


def test_a_process_that_is_killed_takes_only_its_run_with_it(tmp_path):
    save_batch(tmp_path, LONG)
    process = started(tmp_path, "--jobs", "2")
    wait_for(lambda: is_logging(tmp_path))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    # Beside the workers there is a process that tracks what they share.
    workers = [c for c in children if "spawn_main" in Path(f"/proc/{c}/cmdline").read_text()]
    os.kill(int(workers[0]), signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert len(stdout.split()) == 3
    assert "its process ended by signal 9" in stderr
    assert "1 failed" in stderr and "3 done" in stderr


# A cluster: a real scheduler, and real workers


def dask(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments],
        cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture
def cluster(tmp_path):
    """Return the scheduler's address and a function that starts a worker."""
    pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, processes = f"tcp://127.0.0.1:{port}", []

    def start(*arguments):
        processes.append(dask(tmp_path, *arguments))
        return processes[-1]

    start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    yield (
        address,
        lambda: start("worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny"),
    )
    for process in processes:
        process.kill()
        process.wait()


def workers_of(address):
    from distributed import Client

    try:
        with Client(address, timeout=2, set_as_default=False) as client:
            return client.scheduler_info()["workers"]
    except OSError:
        return {}


def test_a_scheduler_without_workers_is_one_line(tmp_path, cluster):
    save_batch(tmp_path)
    wait_for(lambda: "no workers" in batch(tmp_path, "--dask", cluster[0]).stderr)


@pytest.mark.slow
def test_a_lost_workers_runs_are_made_by_another_and_none_is_made_twice(made, tmp_path, cluster):
    address, start = cluster
    workers = [start(), start()]
    wait_for(lambda: len(workers_of(address)) == 2)
    save_batch(tmp_path, LONG)
    process = started(tmp_path, "--dask", address)
    # Both are at work when the first picture comes.
    wait_for(lambda: list((tmp_path / "out").glob("*.json")))
    workers[0].kill()
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    assert sorted(stdout.split()) == PICTURES
    assert stderr.endswith("4 done, of 4 runs.\n")
    again = batch(tmp_path)
    assert states_in(again) == dict.fromkeys(PICTURES, "skipped")
    short = batch(tmp_path, "--dask", address, "--iterations", "4")
    assert short.returncode == 0, short.stderr
    expected = made[1] / PICTURES[0]
    ours = images.read(tmp_path / PICTURES[0]).pixels
    assert (ours == images.read(expected).pixels).mean() > 0.99
