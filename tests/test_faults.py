"""Faults of disks, files, clocks, memory and other processes: what they leave, and what nst says.

Those that compute for long, or that need an own program for each case, are marked `long`.
docs/faults.md has a table that names these tests.
"""

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import click.testing
import forks
import pytest
from processes import TINY, content_of, environment, noise, run, save_pair, started, wait_for

from nst_cli import Config, files, images, machine
from nst_cli.cli import main
from nst_cli.engine import loading
from nst_cli.errors import CheckpointError, EngineError, IncompleteError, WeightsError
from nst_cli.runs import batch, checkpoints, keeping, plan, runner, sidecar
from nst_cli.weights import FILE_NAME, Weights, cache_folder

SMALL = [
    "--size=24", "--style-layers=relu1_1", "--content-layers=relu1_1", "--iterations=3",
    "--denoise=0", "--device=cpu", "--weights=builtin", "--quiet",
]  # fmt: skip
STYLIZE = ["stylize", "content.png", "style.png", "-o", "out.png", *SMALL]
EVERYTHING = [*STYLIZE, "--log", "run.jsonl", "--save-every", "2", "--checkpoint", "0"]
BATCH = ["batch", "b.toml", *SMALL, "--checkpoint", "0"]
TWO = """
output = "o/{content}-{gamma}.png"
[[grid]]
content = "content.png"
style = "style.png"
gamma = [1.0, 2.0]
"""


@pytest.fixture(scope="module")
def server(compiled):
    library = compiled(Path(__file__).with_name("faults.c"), "faults.so")
    with contextlib.ExitStack() as stack:
        yield forks.Server(stack, library)


@pytest.fixture
def place():
    """A function that returns a new working folder, whose pictures and cache are its own."""
    # In memory, because these tests wait for the disk thousands of times.
    parent = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=parent) as base:

        def new():
            for path in Path(base).iterdir():
                shutil.rmtree(path)
            folder = Path(base, "work")
            folder.mkdir()
            save_pair(folder)
            (folder / "b.toml").write_text(TWO)
            return folder

        yield new


def everything_in(folder):
    """Return the content of all files of a place, with its cache."""
    return content_of(folder.parent)


# A process that dies, or a disk that is full, at any of the calls that change files

# Seconds; there are many calls.
PATIENTLY = pytest.mark.timeout(4 * 3600)


KILLED = {
    "stylize": (EVERYTHING, []),
    "stylize --resume": (EVERYTHING, ["--resume"]),
    "batch": (BATCH, []),
}


@PATIENTLY
@pytest.mark.long
@pytest.mark.parametrize("command", KILLED)
def test_after_kill_9_at_any_write_the_same_command_ends_as_if_undisturbed(server, place, command):
    words, more = KILLED[command]
    folder = place()
    undisturbed = server.run(folder, *words)
    expected = everything_in(folder)
    assert undisturbed["code"] == 0 and undisturbed["calls"] > 50
    for number in range(1, undisturbed["calls"] + 1):
        folder = place()
        assert server.run(folder, *words, at=number)["code"] == -signal.SIGKILL
        again = server.run(folder, *words, *more)
        assert again["code"] == 0, (number, again)
        assert everything_in(folder) == expected, number


@PATIENTLY
@pytest.mark.long
@pytest.mark.parametrize("older", [False, True])
def test_a_disk_that_is_full_from_any_write_on_costs_one_line_and_no_older_file(
    server, place, older
):
    def prepared():
        folder = place()
        if older:
            # Another seed, so that every file would change.
            assert server.run(folder, *EVERYTHING, "--seed", "5")["code"] == 0
        return folder, everything_in(folder)

    folder, _ = prepared()
    undisturbed = server.run(folder, *EVERYTHING)
    finished = everything_in(folder)
    for number in range(1, undisturbed["calls"] + 1):
        folder, before = prepared()
        done = server.run(folder, *EVERYTHING, at=number, error=errno.ENOSPC)
        check_full(done, number)
        for path, content in everything_in(folder).items():
            # A checkpoint is whole, and a new log has the steps until then.
            if path.endswith(".checkpoint") or path.endswith(".jsonl") and not older:
                continue
            assert content in (before.get(path, ""), finished.get(path, "")), (number, path)
        # With room again, nothing of it is left.
        assert server.run(folder, *EVERYTHING)["code"] == 0
        assert everything_in(folder) == finished, number


def check_full(done, number):
    """Check the messages of a run on a full disk."""
    lines = [line for line in done["err"].splitlines() if not line.startswith("Note: The built")]
    assert done["code"] in (0, 1) and len(lines) <= 1 + (done["code"] == 0), (number, done)
    if done["code"]:
        assert lines[0].startswith("Error: ") and "No space left" in lines[0], done


@PATIENTLY
@pytest.mark.long
def test_a_batch_on_a_disk_that_is_full_from_any_write_on_fails_run_by_run(server, place):
    folder = place()
    undisturbed = server.run(folder, *BATCH)
    finished = everything_in(folder)
    for number in range(1, undisturbed["calls"] + 1):
        folder = place()
        before = everything_in(folder)
        done = server.run(folder, *BATCH, at=number, error=errno.ENOSPC)
        assert done["code"] in (0, 1) and "Traceback" not in done["err"], (number, done)
        if done["code"]:
            assert "No space left" in done["err"], (number, done)
        for path, content in everything_in(folder).items():
            if not path.endswith((".checkpoint", ".jsonl")):
                assert content in (before.get(path, ""), finished[path]), (number, path)
        assert server.run(folder, *BATCH)["code"] == 0
        assert everything_in(folder) == finished, number


@pytest.mark.long
@pytest.mark.parametrize("most", [10, 300, 1000, 3000, 6000])
def test_a_limit_of_the_size_of_files_costs_one_line_too(server, place, most):
    folder = place()
    before = everything_in(folder)
    done = server.run(folder, *EVERYTHING, file_size=most)
    lines = [line for line in done["err"].splitlines() if not line.startswith("Note: The built")]
    assert "Traceback" not in done["err"] and len(lines) <= 2, done
    assert done["code"] == (0 if "out.png.json" in str(everything_in(folder)) else 1), done
    assert all(everything_in(folder)[path] == content for path, content in before.items())


@pytest.mark.long
def test_another_user_without_rights_gets_one_line(server, place):
    folder = place()
    for path in (folder, folder.parent):
        path.chmod(0o755)
    before = content_of(folder)
    for words in (STYLIZE, [*STYLIZE, "--log", "run.jsonl"], BATCH[:2] + SMALL):
        done = server.run(folder, *words, user=65534)
        assert done["code"] == 1 and done["err"].count("\n") == 1, done
        assert "rite-protected" in done["err"] or "Permission denied" in done["err"], done
    assert content_of(folder) == before


# Limits of memory, and standard streams that are closed or full


def limited(folder, command, *words):
    """Run a process of nst after a command of the shell."""
    line = ["sh", "-c", f'{command}; exec "$@"', "sh", sys.executable, "-m", "nst_cli", *words]
    cache = folder.parent / "cache"
    return run(line, cwd=folder, env=environment(XDG_CACHE_HOME=cache), text=True)


LARGE = ["stylize", "content.png", "style.png", "-o", "out.png", "--weights=builtin", "--quiet",
         "--denoise=0", "--size=160", "--optimizer=lbfgs", "--iterations=3"]  # fmt: skip


def check_memory(folder, done):
    """Check that a run was made, or refused in one line that leaves nothing."""
    errors = [line for line in done.stderr.splitlines() if not line.startswith("Note: ")]
    if done.returncode == 0:
        assert (folder / "out.png.json").exists() and not errors
    else:
        assert done.returncode == 1 and len(errors) == 1, done
        assert "memory" in errors[0] and "GB" in errors[0] or "MB" in errors[0], errors
        assert sorted(os.listdir(folder)) == ["b.toml", "content.png", "style.png"]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["v", "d"])
def test_a_limit_of_memory_below_the_need_is_one_line_and_no_abort(place, kind):
    codes = []
    for megabytes in (120, 400, 700, 1000, 1150, 1250, 1350, 1500, 4000):
        folder = place()
        done = limited(folder, f"ulimit -{kind} {megabytes << 10}", *LARGE)
        check_memory(folder, done)
        codes.append(done.returncode)
    # From some limit on it is enough.
    assert codes == sorted(codes, reverse=True) and codes[0] == 1 and codes[-1] == 0


@pytest.mark.long
def test_a_limit_of_a_control_group_is_one_line_too(place):
    group = Path(f"/sys/fs/cgroup/memory/nst-test-{os.getpid()}")
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(300 << 20))
    except OSError:
        pytest.skip("no control group can be made here")
    try:
        folder = place()
        done = limited(folder, f"echo $$ > {group}/cgroup.procs", *LARGE, "--size=400")
        assert done.returncode == 1
        check_memory(folder, done)
    finally:
        group.rmdir()


@pytest.mark.long
def test_checkpoints_resuming_and_the_page_do_without_standard_streams(server, place):
    folder = place()
    assert server.run(folder, *EVERYTHING)["code"] == 0
    expected = everything_in(folder)
    for wiring, codes in ((">&-", {0}), (">/dev/full", {1}), ("2>&-", {0}), (">&- 2>&-", {0})):
        folder = place()
        assert server.run(folder, *EVERYTHING, at=90)["code"] == -signal.SIGKILL
        for words in (["checkpoints"], [*EVERYTHING, "--resume"], [*EVERYTHING, "--view"]):
            done = limited(folder, f"exec {wiring}", *words)
            assert done.returncode in codes and "Traceback" not in done.stderr, (wiring, done)
        assert everything_in(folder) == expected


# The clock


YEARS = 10 * 365 * 86400


@pytest.mark.long
@pytest.mark.parametrize("clock", [YEARS, -YEARS, "jumping"])
def test_a_clock_that_is_wrong_changes_nothing(server, place, clock):
    folder = place()
    assert server.run(folder, *EVERYTHING)["code"] == 0
    expected = everything_in(folder)
    folder = place()
    # Killed with one clock, resumed with another.
    assert server.run(folder, *EVERYTHING, clock=clock, at=90)["code"] == -signal.SIGKILL
    done = server.run(folder, *EVERYTHING, "--resume")
    assert done["code"] == 0 and "goes on after step" in done["err"], done
    assert everything_in(folder) == expected
    assert server.run(folder, "checkpoints", clock=clock)["code"] == 0


# Processes that are killed


MANY = TWO.replace("[1.0, 2.0]", str([float(number) for number in range(1, 25)]))
SLOW = ["--iterations", "80", "--stop-eps", "0"]


@contextlib.contextmanager
def running(folder, *words):
    """Start a process of nst that uses the place's cache."""
    with started(
        [sys.executable, "-m", "nst_cli", *words], cwd=folder, text=True,
        env=environment(XDG_CACHE_HOME=folder.parent / "cache"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        yield process


def logs_of(folder):
    return [path for path in folder.glob("o/*.jsonl") if path.stat().st_size]


@PATIENTLY
@pytest.mark.long
def test_a_batch_whose_processes_are_killed_20_times_makes_each_picture_once_and_right(
    server, place
):
    folder = place()
    (folder / "b.toml").write_text(MANY)
    assert server.run(folder, *BATCH, *SLOW)["code"] == 0
    expected = everything_in(folder)
    folder = place()
    (folder / "b.toml").write_text(MANY)
    with running(folder, *BATCH, *SLOW, "--jobs", "2") as process:
        for killed in range(20):
            wait_for(lambda count=killed: len(logs_of(folder)) > count, process)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(children[killed % len(children)]), signal.SIGKILL)
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert sorted(out.split()) == sorted(
        path.partition("/")[2]
        for path in expected
        if path.startswith("work/o/") and path.endswith(".png")
    )
    assert everything_in(folder) == expected


@pytest.mark.long
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_batch_that_was_interrupted_ends_with_the_same_bytes(server, place, jobs):
    folder = place()
    assert server.run(folder, *BATCH, *SLOW)["code"] == 0
    expected = everything_in(folder)
    folder = place()
    words = [*BATCH, *SLOW, "--jobs", str(jobs)]
    with running(folder, *words) as process:
        wait_for(lambda: len(logs_of(folder)) == jobs, process)
        process.terminate()
        process.communicate()
    assert process.returncode == 143 and list(folder.parent.rglob("*.checkpoint"))
    with running(folder, *words) as process:
        _, err = process.communicate()
    assert process.returncode == 0, err
    assert everything_in(folder) == expected


# Files that other programs make, change or remove during a run; in this process


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    noise(1, 16, 16).save("content.png")
    noise(2, 16, 20).save("style.png")
    return tmp_path


def job_of(output="out.png", choices=None, **options):
    choices = Config(**{**TINY, "iterations": 3, **(choices or {})})
    return runner.prepare("content.png", "style.png", output, choices, **options)


def made(output="out.png", meanwhile=None, step=1, **options):
    """Make a picture; call `meanwhile` after a step."""

    def on_step(record):
        if meanwhile and record.step == step:
            meanwhile()

    job = job_of(output, **options)
    return runner.run(job, on_step=on_step, save_every=options.get("save_every", 0))


@pytest.mark.parametrize(("name", "kept"), [("out.png", "out-1.png"), ("out.png.json", "out.png")])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_that_another_program_makes_during_the_run_is_kept(here, name, kept, overwrite):
    if overwrite:
        # This one may be replaced, and the next one may not.
        Path(name).write_bytes(b"mine")

    def meanwhile():
        Path("new").write_bytes(b"my new one")
        os.replace("new", name)

    with pytest.raises(IncompleteError, match=f"Cannot write {name}: another program") as caught:
        made(meanwhile=meanwhile, overwrite=overwrite)
    assert Path(name).read_bytes() == b"my new one"
    assert caught.value.outcome.path == kept and images.size_of(kept) == (16, 16)


def test_a_picture_of_a_step_replaces_no_file_of_another_program_either(here):
    with pytest.raises(IncompleteError, match="Cannot write out-00002.png: another program"):
        made(meanwhile=lambda: Path("out-00002.png").write_bytes(b"mine"), save_every=2)
    assert Path("out-00002.png").read_bytes() == b"mine"
    assert images.size_of("out.png") == (16, 16)


def test_what_nst_made_during_the_run_is_replaced(here):
    made("earlier.png", choices={"seed": 4})
    outcome = made(meanwhile=lambda: shutil.copy("earlier.png", "out.png"))
    assert sidecar.describes(sidecar.read("out.png"), "out.png") and outcome.path == "out.png"
    # Without metadata only the sidecar says so.
    made(choices={"metadata": False}, save_every=1)
    assert made(choices={"metadata": False}, overwrite=True).path == "out.png"


@pytest.mark.parametrize("change", [os.unlink, lambda name: noise(9, 16, 16).save(name)])
def test_the_bytes_that_were_read_count(here, change):
    undisturbed = made("first.png")
    before = files.sha256("content.png")
    outcome = made(meanwhile=lambda: change("content.png"))
    assert (outcome.result.image == undisturbed.result.image).all()
    assert sidecar.read("out.png").content.sha256 == before


@pytest.mark.long
def test_weights_that_change_between_two_runs_of_a_batch_fail_its_runs_in_one_line(
    here, small_weights
):
    shutil.copy(small_weights, "w.params")
    runs = [
        plan.Run("content.png", "style.png", f"{number}.png",
                 Config(**{**TINY, "weights": "w.params", "seed": number}))
        for number in range(2)
    ]  # fmt: skip

    def on_finished(finished):
        Path("w.params").write_bytes(Path("w.params").read_bytes()[:-1])

    first, second = batch.make(runs, on_finished=on_finished)
    assert first.state == "done" and second.state == "failed"
    assert "w.params" in second.reason and "\n" not in second.reason


VIEWS = {
    "report": ["report", "."],
    "plot": ["plot", "run.jsonl", "-o", "curves.svg"],
    "score": ["score", "out.png", "--content=content.png", "--style=style.png", "--json=s.json",
              "--weights=builtin", "--method=linear", "--draws=2", "--size=24", "--quiet"],
}  # fmt: skip


@PATIENTLY
@pytest.mark.long
@pytest.mark.parametrize("command", VIEWS)
@pytest.mark.parametrize("fault", ["full", "killed"])
def test_a_page_or_plot_is_written_whole_or_not_at_all(server, place, command, fault):
    if command == "plot":
        pytest.importorskip("matplotlib")
    folder, words = place(), VIEWS[command]
    assert server.run(folder, *EVERYTHING)["code"] == 0
    before = everything_in(folder)
    undisturbed = server.run(folder, *words)
    finished = everything_in(folder)
    assert undisturbed["code"] == 0 and len(finished) == len(before) + 1, undisturbed
    (new,) = finished.keys() - before.keys()
    for number in range(1, undisturbed["calls"] + 1):
        for older in (False, True):
            (folder.parent / new).write_text(finished[new].decode() if older else "")
            if not older:
                (folder.parent / new).unlink()
            error = {"error": errno.ENOSPC} if fault == "full" else {}
            done = server.run(folder, *words, at=number, **error)
            if fault == "killed":
                assert done["code"] == -signal.SIGKILL
                assert server.run(folder, *words)["code"] == 0
                assert everything_in(folder) == finished, number
            else:
                assert done["code"] in (0, 1) and "Traceback" not in done["err"], done
                assert done["code"] == 0 or "No space left" in done["err"], done
                assert everything_in(folder) in ([finished] if older else [before, finished])


# A disk that becomes full, or read-only, during a run: a real one


@pytest.fixture
def disk(here):
    """A folder that is a disk of 64 kB."""
    (here / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "disk"]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no disk can be mounted here")
    yield here / "disk"
    subprocess.run(["umount", "--lazy", here / "disk"], check=True)


def fill(disk):
    with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as stream:
        while True:
            stream.write(bytes(512))


def make_read_only(disk):
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)


@pytest.mark.parametrize("spoil", [fill, make_read_only])
def test_a_picture_is_kept_elsewhere_if_its_disk_fails_and_older_files_stay(disk, spoil):
    made("disk/out.png", choices={"seed": 7})
    before = content_of(disk)
    with pytest.raises(IncompleteError, match="is kept in out.png") as caught:
        made("disk/out.png", meanwhile=lambda: spoil(disk), save_every=3)
    assert "1 more file could not be written" in str(caught.value)
    assert sidecar.describes(sidecar.read("out.png"), "out.png")
    assert {name: each for name, each in content_of(disk).items() if name != "filler"} == before


@pytest.mark.parametrize("spoil", [fill, make_read_only])
def test_a_run_goes_on_where_no_checkpoint_can_be_written(disk, spoil, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(disk))
    job = job_of()
    keeper = keeping.Keeper(job, 0)
    spoil(disk)
    assert runner.run(job, keeper=keeper).result.steps == 3
    assert "Cannot write" in keeper.error and "\n" not in keeper.error
    assert not list(disk.rglob(".nst*")) and not list(disk.rglob("*.checkpoint"))


# What stands in the place of a file


def put_socket(path):
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(path))


IN_PLACE = {
    "a folder": os.mkdir,
    "a pipe": os.mkfifo,
    "a socket": put_socket,
    "a device": lambda path: os.symlink("/dev/zero", path),
    "nothing": lambda path: Path(path).touch(),
    "a dangling link": lambda path: os.symlink("none", path),
}


@pytest.mark.parametrize("kind", IN_PLACE)
def test_weights_and_checkpoints_that_are_no_files_are_refused_in_one_line(
    here, kind, monkeypatch
):
    IN_PLACE[kind]("w.params")
    with pytest.raises(WeightsError) as caught:
        Weights.find("w.params").load()
    assert "w.params" in str(caught.value) and "\n" not in str(caught.value)
    monkeypatch.chdir(checkpoints.make_folder())
    name = "ab" * 32
    IN_PLACE[kind](f"{name}.checkpoint")
    with pytest.raises(CheckpointError) as caught:
        checkpoints.read(name)
    assert name in str(caught.value) and "\n" not in str(caught.value)
    assert len(checkpoints.entries()) == 1
    checkpoints.prune()


def test_fetched_weights_that_were_altered_are_noted(here, small_network):
    # Its checksum here is not the published one.
    kept = Weights(cache_folder() / FILE_NAME)
    assert "they may be damaged" in " ".join(job_of(weights=kept).notes)
    assert "damaged" not in " ".join(job_of(weights=Weights(Path("own.params"))).notes)


# Memory


def test_where_memory_runs_out_a_command_says_so_in_one_line(here, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(runner, "prepare", fail)
    monkeypatch.setattr(machine, "process_limits", lambda: [("ulimit -v", 3 << 30, 0)])
    words = ["stylize", "content.png", "style.png", "-o", "out.png", "-q"]
    done = click.testing.CliRunner().invoke(main, words)
    assert done.exit_code == 1 and done.output.count("\n") == 1
    assert "this process may take 3.2 GB (ulimit -v); raise the limit" in done.output


@pytest.mark.parametrize(("left", "fits"), [(500 << 20, False), (5 << 30, True)])
def test_mxnet_is_not_loaded_where_a_limit_leaves_too_little(monkeypatch, left, fits):
    monkeypatch.setattr(machine, "process_limits", lambda: [("ulimit -v", 6 << 30, left)])
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    with contextlib.nullcontext() if fits else pytest.raises(EngineError) as caught:
        loading._check_limits()
    if not fits:
        assert "with 4 threads: it takes up to 1136 MB" in str(caught.value)
        assert "6144 MB (ulimit -v), leaves 500 MB; raise the limit" in str(caught.value)


# A cluster whose scheduler or worker dies


@contextlib.contextmanager
def dask(folder, *arguments):
    with started(
        [sys.executable, "-m", "dask", *arguments, "--no-dashboard"], cwd=folder,
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        yield process


@pytest.mark.long
@pytest.mark.parametrize("dies", ["worker", "scheduler"])
def test_what_a_dead_worker_or_scheduler_had_is_made_when_there_is_another(server, place, dies):
    pytest.importorskip("distributed")
    folder = place()
    words = ["batch", "b.toml", *SMALL, *SLOW]
    assert server.run(folder, *words)["code"] == 0
    expected = everything_in(folder)
    folder = place()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    programs = {
        "scheduler": ["scheduler", "--host", "127.0.0.1", "--port", str(port)],
        "worker": ["worker", address, "--nthreads", "1", "--no-nanny"],
    }
    with contextlib.ExitStack() as stack:
        first = {name: stack.enter_context(dask(folder, *programs[name])) for name in programs}
        wait_for(lambda: nthreads_of(address))
        process = stack.enter_context(running(folder, *words, "--dask", address))
        wait_for(lambda: len(list(folder.glob("o/*.png"))) == 1, process)
        first[dies].kill()
        first[dies].wait()
        # Without its scheduler a worker ends.
        for name in ["worker"] if dies == "worker" else ["scheduler", "worker"]:
            stack.enter_context(dask(folder, *programs[name]))
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert sorted(out.split()) == ["o/content-1.png", "o/content-2.png"]
    assert everything_in(folder) == expected


def nthreads_of(address):
    from distributed import Client

    with contextlib.suppress(OSError), Client(address, timeout=2, set_as_default=False) as client:
        return sum(client.nthreads().values())
    return 0
