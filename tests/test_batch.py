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
from PIL import Image
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
    rows = re.findall(
        r"^(done|skipped|failed|interrupted) .*?(\S+\.png)", done.stderr, re.MULTILINE
    )
    return {path: state for state, path in rows}


@pytest.fixture(scope="module")
def finished_batch(tmp_path_factory):
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
            # The same time as before: nothing depends on times.
    return tmp_path


def test_runs_in_float32_and_deterministic_mode_come_first(tmp_path):
    text = GRID.replace("{method}", "{deterministic}-{precision}")
    axes = 'precision = ["auto", "float32"]\ndeterministic = [false, true]\n'
    save_batch(
        tmp_path, text.replace('method = ["linear", "gaussian"]', axes).replace('"b.png"', "")
    )
    done = batch(tmp_path, "--device", "cpu")
    order = ["True-float32", "False-float32", "True-auto", "False-auto"]
    assert done.stdout.split() == [f"out/a-{name}.png" for name in order]


def test_every_run_makes_its_picture_sidecar_and_log_and_nothing_else(finished_batch):
    done, folder = finished_batch
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == PICTURES
    files = [f"{picture}{ending}" for picture in PICTURES for ending in ("", ".json", ".jsonl")]
    assert sorted(f"out/{name}" for name in os.listdir(folder / "out")) == sorted(files)
    assert states_in(done) == dict.fromkeys(PICTURES, "done")
    assert done.stderr.endswith("4 done, of 4 runs.\n")
    lines = (folder / log_of("out/a-linear.png")).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]


def test_a_picture_of_a_batch_equals_that_of_a_single_run(finished_batch, tmp_path):
    _, folder = finished_batch
    save_batch(tmp_path)
    (tmp_path / "out").mkdir()
    options = [
        w for k, v in SMALL.items() if k != "device" for w in (f"--{k.replace('_', '-')}", v)
    ]
    for name in ("a-gaussian", "b-linear"):
        content, method = name.split("-")
        alone = nst(
            tmp_path, "stylize", f"{content}.png", "style.png", "-o", "out/x.png", *options,
            "--method", method, "--weights", "builtin",
        )  # fmt: skip
        assert alone.returncode == 0, alone.stderr
        picture = folder / f"out/{name}.png"
        assert (tmp_path / "out/x.png").read_bytes() == picture.read_bytes()
        assert (tmp_path / "out/x.png.json").read_text() == Path(sidecar_of(picture)).read_text()


def test_a_second_time_nothing_is_made_and_mxnet_is_not_loaded(finished_batch, tmp_path):
    folder = copy_of(finished_batch[1], tmp_path)
    before = content_of(folder)
    code = (
        "import atexit, sys; from nst_cli import cli; "
        "atexit.register(lambda: print('mxnet' in sys.modules)); cli.main()"
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
    ],
    ids=["an input changed", "gone", "no sidecar", "broken"],
)
def test_only_pictures_that_are_out_of_date_are_made_again(
    finished_batch, tmp_path, change, redone
):
    folder = copy_of(finished_batch[1], tmp_path)
    change(folder)
    again = batch(folder)
    assert again.returncode == 0, again.stderr
    assert sorted(again.stdout.split()) == redone
    assert states_in(again) == {path: "done" if path in redone else "skipped" for path in PICTURES}


def test_sidecars_that_are_damaged_foreign_or_of_an_older_picture_count_as_not_up_to_date(
    finished_batch, tmp_path
):
    folder = copy_of(finished_batch[1], tmp_path)
    whole = {path: json.loads((folder / sidecar_of(path)).read_text()) for path in PICTURES}
    damaged = [
        json.dumps({**whole[PICTURES[0]], "config": {}}),
        json.dumps({**whole[PICTURES[1]], "weights": "w"}),
        json.dumps({**whole[PICTURES[2]], "steps": 9, "file": {"sha256": "0" * 64, "size": 1}}),
        '{"program": "nst", "config": ' + "[" * 100_000,
    ]
    for path, text in zip(PICTURES, damaged):
        (folder / sidecar_of(path)).write_text(text)
    again = batch(folder)
    assert again.returncode == 0, again.stderr
    assert sorted(again.stdout.split()) == PICTURES and "Traceback" not in again.stderr
    for path in PICTURES:
        assert json.loads((folder / sidecar_of(path)).read_text()) == whole[path]


def test_files_that_nst_did_not_make_are_kept_unless_overwrite_is_given(finished_batch, tmp_path):
    folder = copy_of(finished_batch[1], tmp_path)
    Image.new("RGB", (9, 9)).save(folder / "out/a-linear.png")
    (folder / log_of("out/a-gaussian.png")).write_text("notes of mine\n")
    (folder / "out/a-gaussian.png").unlink()
    (folder / sidecar_of("out/b-linear.png")).write_text('{"GPSPosition": "here"}')
    (folder / "out/b-linear.png").unlink()
    before = content_of(folder)
    again = batch(folder)
    assert (again.returncode, again.stdout) == (1, "")
    expected = dict.fromkeys(PICTURES, "failed") | {"out/b-gaussian.png": "skipped"}
    assert states_in(again) == expected
    assert again.stderr.count("nst did not make it") == 6
    assert content_of(folder) == before
    forced = batch(folder, "--overwrite", "--jobs", "2")
    assert forced.returncode == 0, forced.stderr
    assert sorted(forced.stdout.split()) == [p for p in PICTURES if expected[p] == "failed"]
    for path in PICTURES:
        assert (folder / path).read_bytes() == (finished_batch[1] / path).read_bytes()


def test_other_options_or_force_make_them_again(finished_batch, tmp_path):
    folder = copy_of(finished_batch[1], tmp_path)
    before = content_of(folder)
    forced = batch(folder, "--force", "--quiet")
    assert (sorted(forced.stdout.split()), forced.stderr) == (PICTURES, "")
    assert content_of(folder) == before
    other = batch(folder, "--gamma", "1")
    assert sorted(other.stdout.split()) == PICTURES
    assert json.loads((folder / "out/a-linear.png.json").read_text())["config"]["gamma"] == 1
    moved = batch(folder, "-o", "{method}/{content}.png")
    assert min(moved.stdout.split()) == "gaussian/a.png"


def test_inputs_that_moved_do_not_make_a_picture_out_of_date(finished_batch, tmp_path):
    folder = copy_of(finished_batch[1], tmp_path)
    (folder / "a.png").rename(folder / "in.png")
    text = GRID.replace('"a.png"', '"in.png"').replace("{content}-{method}", "{number}")
    (folder / "batch.toml").write_text(text)
    for number, name in enumerate(("a-linear", "a-gaussian", "b-linear", "b-gaussian"), 1):
        for ending in ("", ".json", ".jsonl"):
            (folder / f"out/{name}.png{ending}").rename(folder / f"out/{number:03d}.png{ending}")
    again = batch(folder)
    assert set(states_in(again).values()) == {"skipped"}


def test_every_bad_input_is_named_at_the_start_and_in_the_table_and_the_rest_is_made(tmp_path):
    text = GRID.replace('["a.png", "b.png"]', '["none.png", "a.png", "page.png", "b.png"]')
    save_batch(tmp_path, text)
    (tmp_path / "page.png").write_text("<html>")
    done = batch(tmp_path, "--quiet")
    assert done.returncode == 1
    assert sorted(done.stdout.split()) == PICTURES
    lines = done.stderr.splitlines()
    assert lines[0].startswith("Note: Cannot read none.png: No such file or directory. 2 runs")
    assert lines[1].startswith("Note: Cannot read page.png: ") and "2 runs" in lines[1]
    failed = [line for line in lines if line.startswith("failed")]
    assert [re.search(r"Cannot read (\S+):", line)[1] for line in failed] == (
        ["none.png"] * 2 + ["page.png"] * 2
    )
    assert lines[-1] == "4 done, 4 failed, of 8 runs."


def test_a_batch_does_not_use_its_own_pictures_as_inputs(tmp_path):
    text = GRID.replace("out/{content}-{method}", "{content}-painted")
    text = text.replace('["a.png", "b.png"]', '"[abp]*.png"').replace(', "gaussian"', "")
    save_batch(tmp_path, text)
    assert sorted(batch(tmp_path).stdout.split()) == ["a-painted.png", "b-painted.png"]
    before = content_of(tmp_path)
    for options in ((), ("--jobs", "2")):
        again = batch(tmp_path, *options)
        assert (again.returncode, again.stdout) == (0, ""), again.stderr
        assert "Note: Patterns left out 2 pictures" in again.stderr
        assert "2 skipped, of 2 runs." in again.stderr
    # Without its sidecar a picture has its metadata; a changed picture still has its sidecar.
    (tmp_path / "a-painted.png.json").unlink()
    again = batch(tmp_path)
    assert again.stdout.split() == ["a-painted.png"], again.stderr
    assert content_of(tmp_path) == before


def test_a_run_that_fails_is_reported_and_does_not_stop_the_others(tmp_path):
    save_batch(tmp_path)
    # Its header is intact, so only the run itself notices.
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
        (GRID.replace('"a.png", "b.png"', '"none.png"'), (), "Cannot read none.png", 1),
        (GRID.replace('"builtin"', '"none.params"'), (), "none.params", 1),
        (GRID.replace('"out/', '"a.png/'), (), "Cannot make the folder a.png", 1),
        (GRID.replace("-{method}", ""), (), "would both write out/a.png", 1),
        (GRID, ("--gamma", "x"), "gamma is 'x'", 2),
        (GRID, ("--dask", "tcp://127.0.0.1:1"), "No Dask scheduler answers", 1),
        (GRID, ("--dask", "nonsense:://"), "No Dask scheduler answers", 1),
    ],
)
def test_an_invalid_batch_is_a_one_line_error_before_the_work(
    tmp_path, text, options, words, code
):
    if "--dask" in options:
        pytest.importorskip("distributed")
    save_batch(tmp_path, text)
    line = error_of(batch(tmp_path, *options), code)
    assert words in line
    assert not list(tmp_path.rglob("out/*"))


# In the background of a shell SIGINT is ignored, and Python leaves that unchanged.
HEARS_INTERRUPTS = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from nst_cli.cli import main; main()"
)


def started(folder, *options, program=("-m", "nst_cli"), **others):
    return subprocess.Popen(
        [sys.executable, *program, "batch", "batch.toml", *options],
        cwd=folder, env=environment(**others), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def is_logging(folder):
    """Return whether a run has made a step."""
    return bool(logs_in(folder))


def logs_in(folder):
    """Return the logs that have a step, finished or not."""
    logs = []
    for path in (folder / "out").glob("*.jsonl"):
        # A log that is replaced during this look does not count.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size:
                logs.append(path)
    return logs


def hidden_in(folder):
    return [path for path in folder.rglob(".*") if path.name.startswith(".")]


def children_of(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def is_running(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


LONG = GRID.replace("iterations = 4", "iterations = 400\nstop_eps = 0")


def is_finished(picture):
    sidecar = Path(sidecar_of(picture))
    return sidecar.exists() and json.loads(sidecar.read_text())["stop_reason"] != "interrupted"


@pytest.mark.parametrize(
    "options",
    [(), pytest.param(("--jobs", "2"), marks=pytest.mark.long)],
    ids=["here", "in processes"],
)
def test_a_killed_batch_leaves_complete_files_and_continues_from_there(tmp_path, options):
    save_batch(tmp_path, LONG)
    out = tmp_path / "out"
    process = started(tmp_path, *options, "--quiet")
    wait_for(lambda: list(out.glob("[ab]*.json")))
    workers = children_of(process.pid)
    process.kill()
    process.communicate()
    # They save the image so far and end.
    wait_for(lambda: not any(map(is_running, workers)))
    # The claim of the killed process is void, and the next batch removes its file.
    assert not options or all(str(path).endswith(".lock") for path in hidden_in(tmp_path))
    kept = {path.name: path.read_bytes() for path in out.glob("[ab]*.png")}
    assert 0 < len(kept)
    for name in kept:
        images.read(out / name)
    whole = [name for name in kept if is_finished(out / name)]
    again = batch(tmp_path, *options)
    assert again.returncode == 0, again.stderr
    states = states_in(again)
    assert sorted(states) == PICTURES
    assert [name for name in kept if states[f"out/{name}"] == "skipped"] == whole
    for name in whole:
        assert (out / name).read_bytes() == kept[name]
    assert not hidden_in(tmp_path)


@pytest.fixture
def endless(tmp_path):
    """Start batches that would run for ever; end them with the test."""
    processes = []

    def start(*options):
        save_batch(tmp_path, GRID.replace("iterations = 4", "iterations = 100000\nstop_eps = 0"))
        processes.append(started(tmp_path, *options, program=("-c", HEARS_INTERRUPTS)))
        return processes[-1]

    yield start
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            workers = children_of(process.pid) if process.poll() is None else []
            process.kill()
            process.communicate()
            wait_for(lambda workers=workers: not any(map(is_running, workers)))


def test_an_interrupted_batch_saves_the_image_so_far_and_reports_what_remains(tmp_path, endless):
    process = endless()
    wait_for(lambda: is_logging(tmp_path))
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "1 interrupted, 3 not begun, of 4 runs." in stderr and "Traceback" not in stderr
    assert states_in(batch(tmp_path, "--iterations", "4"))["out/a-linear.png"] == "done"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_an_interrupted_batch_in_processes_saves_all_images_and_leaves_no_process(
    tmp_path, endless, number, code
):
    process = endless("--jobs", "2")
    wait_for(lambda: len(logs_in(tmp_path)) == 2)
    workers = children_of(process.pid)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert "2 interrupted, 2 not begun, of 4 runs." in stderr and "Traceback" not in stderr
    assert stderr.count("the image so far is saved") == 2
    assert len(workers) == 2 and not any(map(is_running, workers))
    assert not hidden_in(tmp_path)
    saved = sorted((tmp_path / "out").glob("*.png"))
    assert len(saved) == 2
    for path in saved:
        images.read(path)
        assert json.loads(Path(sidecar_of(path)).read_text())["stop_reason"] == "interrupted"


def test_processes_make_the_same_pictures(finished_batch, tmp_path):
    save_batch(tmp_path)
    done = batch(tmp_path, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == PICTURES
    for path in PICTURES:
        assert (tmp_path / path).read_bytes() == (finished_batch[1] / path).read_bytes()


@pytest.mark.long
def test_a_run_whose_process_is_killed_is_made_by_another(tmp_path):
    save_batch(tmp_path, LONG)
    process = started(tmp_path, "--jobs", "2")
    wait_for(lambda: is_logging(tmp_path))
    os.kill(int(children_of(process.pid)[0]), signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert len(stdout.split()) == 4
    assert "4 done" in stderr


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


def test_a_scheduler_without_workers_is_a_one_line_error(tmp_path, cluster):
    save_batch(tmp_path)
    wait_for(lambda: "no workers" in batch(tmp_path, "--dask", cluster[0]).stderr)


@pytest.mark.slow
def test_a_lost_workers_runs_are_made_by_another_and_none_is_made_twice(
    finished_batch, tmp_path, cluster
):
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
    expected = finished_batch[1] / PICTURES[0]
    ours = images.read(tmp_path / PICTURES[0]).pixels
    assert (ours == images.read(expected).pixels).mean() > 0.99
