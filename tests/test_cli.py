"""The command line through real processes: what it prints, writes, refuses and exits with."""

import json
import math
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy
import PIL
import pytest
from PIL import Image
from processes import (
    PATIENCE,
    SMALL,
    SMALL_OPTIONS,
    content_of,
    environment,
    error_of,
    noise,
    nst,
    save_pair,
    started,
    wait_for,
)
from test_refusals import save_own

import nst_cli
from nst_cli import Config, engine, files, images
from nst_cli.runs import sidecar
from nst_cli.runs.sidecar import sidecar_of, step_name
from nst_cli.weights import Weights

# Forecasts


def test_a_dry_run_prints_size_memory_and_time_and_makes_nothing(tmp_path):
    save_pair(tmp_path)
    before = content_of(tmp_path)
    command = "stylize content.png style.png -o out.png --weights builtin --dry-run"
    done = nst(tmp_path, *shlex.split(command), *SMALL_OPTIONS, "--iterations", "40")
    assert done.returncode == 0, done.stderr
    size, memory, time = done.stdout.splitlines()
    assert size == "size    32 x 24"
    assert re.fullmatch(r"memory  0\.[0-9]+ GB at most; [0-9.]+ GB available", memory)
    match = re.fullmatch(
        r"time    ([0-9.]+) s per step at the full size; .+ for 40 steps; .+", time
    )
    assert 0 < float(match[1]) < 10
    assert content_of(tmp_path) == before


def test_a_run_that_does_not_fit_into_memory_is_refused_before_the_work(tmp_path):
    save_pair(tmp_path)
    before = content_of(tmp_path)
    command = "stylize content.png style.png -o out.png --weights builtin --size 15000 --quiet"
    line = error_of(nst(tmp_path, *shlex.split(command), program=("-c", SMALL_MACHINE)), 1)
    assert "Not enough memory for 15000 x" in line and "2.0 GB are available; --size " in line
    assert content_of(tmp_path) == before


SMALL_MACHINE = """
from nst_cli import cli, machine
machine.free_memory = lambda: 2 * 10**9 - machine.own_memory()
cli.main(prog_name="nst")
"""


# Finished pictures


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """A finished run with built-in weights, a log and intermediate pictures; and its folder."""
    folder = tmp_path_factory.mktemp("finished")
    save_pair(folder)
    command = "stylize content.png style.png -o out.png --weights builtin --seed 7 --save-every 2"
    done = nst(folder, *shlex.split(command), "--log", "log.jsonl", *SMALL_OPTIONS)
    assert done.returncode == 0, done.stderr
    return done, folder


@pytest.fixture(scope="module")
def quiet(tmp_path_factory, finished_run):
    """The same run in another folder, quiet, without log and intermediate pictures."""
    folder = tmp_path_factory.mktemp("quiet")
    save_pair(folder)
    command = "stylize content.png style.png -o out.png --weights builtin --seed 7 --quiet"
    done = nst(folder, *shlex.split(command), *SMALL_OPTIONS)
    assert done.returncode == 0, done.stderr
    return done, folder


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory, small_weights):
    """A quiet run to a JPEG with another seed and the weights that NST_WEIGHTS names."""
    folder = tmp_path_factory.mktemp("jpeg")
    save_pair(folder)
    command = "stylize content.png style.png -o out.jpg --quiet --seed 8 --init style.png"
    done = nst(folder, *shlex.split(command), *SMALL_OPTIONS, NST_WEIGHTS=small_weights)
    assert done.returncode == 0, done.stderr
    return done, folder


def sidecar_in(folder, name="out.png"):
    return json.loads((folder / sidecar_of(name)).read_text())


def test_stdout_carries_the_path_of_the_picture_and_nothing_else(finished_run, jpeg):
    assert finished_run[0].stdout == "out.png\n"
    assert jpeg[0].stdout == "out.jpg\n"


def test_picture_sidecar_log_and_intermediate_pictures_are_written_and_nothing_else(
    finished_run, quiet
):
    inputs, result = {"content.png", "style.png"}, {"out.png", sidecar_of("out.png")}
    steps = {step_name("out.png", 2), step_name("out.png", 4)}
    assert set(os.listdir(quiet[1])) == inputs | result
    assert set(os.listdir(finished_run[1])) == inputs | result | steps | {"log.jsonl"}


def test_a_picture_as_large_as_a_screen_is_made(tmp_path):
    # MXNet 2's dot ends the process for some products of this size.
    save_pair(tmp_path)
    command = "stylize content.png style.png -o out.png --weights builtin --method gaussian"
    large = "--size 768 --style-layers relu1_1 --iterations 2"
    command = [*shlex.split(command), *SMALL_OPTIONS, *large.split()]
    done = nst(tmp_path, *command, OMP_NUM_THREADS=2)
    assert done.returncode == 0, done.stderr


def test_the_picture_has_the_size_asked_for_and_the_contents_alpha(finished_run):
    with Image.open(finished_run[1] / "out.png") as picture:
        assert (picture.size, picture.mode) == ((32, 24), "RGBA")
        alpha = numpy.asarray(picture)[..., 3]
    assert (alpha[:12] == 51).all() and (alpha[12:] == 255).all()


def test_the_metadata_of_the_picture_are_those_of_its_sidecar(finished_run, jpeg):
    for (_, folder), name in ((finished_run, "out.png"), (jpeg, "out.jpg")):
        document = sidecar_in(folder, name)
        assert images.read_metadata(folder / name) == sidecar.carried(document)
        assert document["losses"]


def test_the_sidecar_describes_how_the_picture_was_made(finished_run):
    folder, document = finished_run[1], sidecar_in(finished_run[1])
    choices = Config(**SMALL, seed=7, weights="builtin")
    assert Config.from_dict(document["config"]) == choices
    assert document["config"] == choices.to_dict()
    assert document["versions"] == {
        "nst": nst_cli.__version__,
        "mxnet": engine.version(),
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
        "python": platform.python_version(),
    }
    for name in ("content", "style"):
        path = f"{name}.png"
        assert document[name] == {"path": path, "sha256": files.sha256(folder / path)}
    assert document["init"] is None
    assert document["weights"] == Weights().identity()
    assert (document["width"], document["height"]) == (32, 24)
    assert (document["device"], document["threads"]) == ("cpu(0)", 1)
    assert (document["steps"], document["stop_reason"]) == (4, "iterations")
    assert document["beta"] == {"poly": 0.1}


def test_preset_fast_runs_all_its_scales_and_shows_them(tmp_path):
    noise(1, 48, 64).save(tmp_path / "content.png")
    noise(2, 40, 30).save(tmp_path / "style.png")
    command = (
        "stylize content.png style.png -o out.png --preset fast --scales 2 --size 64 "
        "--iterations 4 --weights builtin --save-every 2 --log log.jsonl"
    )
    done = nst(tmp_path, *shlex.split(command))
    assert done.returncode == 0, done.stderr
    assert "scale 2/2" in done.stderr
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["scale"] for line in lines] == [1, 1, 2, 2, 2, 2]
    document = sidecar_in(tmp_path)
    assert document["config"]["optimizer"] == "lbfgs" and document["steps"] == 6
    assert document["precision"] == engine.resolved_precision("auto", engine.context("cpu"))
    # Intermediate pictures have the final size, even those of the small scale.
    for name in ("out.png", step_name("out.png", 2), step_name("out.png", 4)):
        with Image.open(tmp_path / name) as picture:
            assert picture.size == (64, 48)


def test_the_sidecar_names_weights_and_start_image_from_files_with_their_checksums(
    jpeg, small_weights
):
    document = sidecar_in(jpeg[1], "out.jpg")
    assert document["weights"] == {
        "source": os.path.relpath(small_weights, jpeg[1]),
        "sha256": files.sha256(small_weights),
    }
    checksum = files.sha256(jpeg[1] / "style.png")
    assert document["init"] == {"path": "style.png", "sha256": checksum}


def test_the_log_has_a_line_of_losses_for_each_step(finished_run):
    lines = (finished_run[1] / "log.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    parts = {"content/relu2_1", "poly/relu1_1", "poly/relu2_1", "smoothing"}
    for losses in [record["losses"] for record in records] + [
        sidecar_in(finished_run[1])["losses"]
    ]:
        assert set(losses) == parts | {"total"}
        assert losses["total"] == pytest.approx(sum(losses[part] for part in parts))
    assert all(math.isfinite(record["relative_change"]) for record in records)
    assert all(record["gradient_norm"] > 0 for record in records)


def test_an_intermediate_picture_is_the_image_of_its_step(finished_run):
    folder = finished_run[1]
    for step in (2, 4):
        document = images.read_metadata(folder / step_name("out.png", step))
        assert (document["steps"], document["stop_reason"]) == (step, "save-every")
        assert document["config"] == sidecar_in(folder)["config"]
    second, fourth, last = (
        images.read(folder / name).pixels
        for name in (step_name("out.png", 2), step_name("out.png", 4), "out.png")
    )
    numpy.testing.assert_array_equal(fourth, last)
    assert (second != fourth).any()


def test_the_same_seed_gives_the_same_bytes_of_picture_and_sidecar(finished_run, quiet):
    for name in ("out.png", sidecar_of("out.png")):
        assert (finished_run[1] / name).read_bytes() == (quiet[1] / name).read_bytes()


def test_another_seed_gives_another_picture(tmp_path, quiet):
    save_pair(tmp_path)
    command = "stylize content.png style.png -o out.png --weights builtin --seed 8 --quiet"
    done = nst(tmp_path, *shlex.split(command), *SMALL_OPTIONS)
    assert done.returncode == 0, done.stderr
    one, other = (images.read(folder / "out.png").pixels for folder in (quiet[1], tmp_path))
    assert (one != other).any()


def test_every_run_with_the_builtin_weights_says_so_even_when_quiet(finished_run, quiet, jpeg):
    for done, _ in (finished_run, quiet):
        notes = [line for line in done.stderr.splitlines() if line.startswith("Note: ")]
        assert len(notes) == 1 and "built-in" in notes[0] and "nst weights fetch" in notes[0]
    assert "built-in" not in jpeg[0].stderr
    assert sidecar_in(quiet[1])["weights"]["source"] == "builtin"


def test_the_bar_counts_the_steps_unless_quiet(finished_run, quiet):
    assert "4/4" in finished_run[0].stderr
    assert len(quiet[0].stderr.splitlines()) == 1 and "4/4" not in quiet[0].stderr


def test_a_note_says_that_jpeg_drops_the_transparency_even_when_quiet(jpeg):
    line, _ = jpeg[0].stderr.splitlines()
    assert line.startswith("Note: out.jpg") and "transparency" in line


def test_a_file_name_that_is_not_valid_text_is_written_and_printed(tmp_path, small_weights):
    save_pair(tmp_path)
    name = os.fsdecode(b"\xff.png")
    try:
        (tmp_path / name).touch()
    except OSError:
        pytest.skip("the file system takes no such name")
    done = subprocess.run(
        [sys.executable, "-m", "nst_cli", "stylize", "content.png", "style.png", "-o", name]
        + ["--quiet", *SMALL_OPTIONS],
        cwd=tmp_path,
        env=environment(NST_WEIGHTS=small_weights, PYTHONIOENCODING="utf-8"),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert images.read(tmp_path / name).pixels.shape == (24, 32, 3)


# Runs that do not finish


def interrupted(folder, ready, *arguments, **variables):
    """Start the command, interrupt it as Ctrl-C does once `ready()`, and wait for its end."""
    with open(folder.parent / "stderr", "w+") as stderr:
        path = Path(stderr.name)
        with started(
            [sys.executable, "-m", "nst_cli", *arguments],
            cwd=folder,
            env=environment(**variables),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process:
            wait_for(lambda: ready(path), process)
            process.send_signal(signal.SIGINT)
            stdout, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, stdout, path.read_text()


def test_an_interrupted_run_saves_the_image_so_far_and_says_so(pair, small_weights):
    log = pair / "log.jsonl"
    endless = ["--iterations", "10000000", "--stop-eps", "0", "--quiet"]
    command = "stylize content.png style.png -o out.png --log log.jsonl --checkpoint off"
    code, stdout, stderr = interrupted(
        pair,
        lambda _: log.exists() and log.read_text().count("\n") >= 3,
        *shlex.split(command),
        *SMALL_OPTIONS,
        *endless,
        NST_WEIGHTS=small_weights,
    )
    document = sidecar_in(pair)
    assert (code, stdout) == (130, "out.png\n")
    steps = document["steps"]
    assert stderr.splitlines() == [f"Interrupted after step {steps}; saved out.png."]
    assert document["stop_reason"] == "interrupted"
    assert images.read_metadata(pair / "out.png") == sidecar.carried(document)
    # The interrupted step may have been made but not yet logged.
    lines = log.read_text().splitlines()
    assert steps >= 3 and steps - len(lines) in (0, 1)
    assert all(json.loads(line)["losses"] for line in lines)
    names = {"content.png", "style.png", "out.png", sidecar_of("out.png"), "log.jsonl"}
    assert set(os.listdir(pair)) == names


INTERRUPTED_IN_THE_FIRST_STEP = """
import signal, time
from nst_cli.cli import main
from nst_cli.engine.executor import Executor

def hang(*_, **__):
    signal.raise_signal(signal.SIGINT)
    time.sleep(6000)

Executor.backward = hang
main(prog_name="nst")
"""


def test_an_interruption_before_the_first_step_writes_nothing(pair, small_weights):
    save_own(pair / "out.png")
    before = content_of(pair)
    command = "stylize content.png style.png -o out.png --device cpu"
    program = ("-c", INTERRUPTED_IN_THE_FIRST_STEP)
    done = nst(pair, *shlex.split(command), program=program, NST_WEIGHTS=small_weights)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines()[-1] == (
        "Interrupted before the first step: no picture was written."
    )
    assert "Traceback" not in done.stderr
    assert content_of(pair) == before


# From this start and at this rate the image grows until the losses overflow, some steps later.
DIVERGING = ["--lr", "1e4", "--tv-weight", "0", "--iterations", "100", "--stop-eps", "0"]


def test_a_run_that_becomes_non_finite_keeps_the_last_good_image(pair, small_weights):
    command = "stylize content.png style.png -o out.png --quiet --init content.png"
    done = nst(pair, *shlex.split(command), *SMALL_OPTIONS, *DIVERGING, NST_WEIGHTS=small_weights)
    line = error_of(done, 1)
    assert "not finite" in line and "The last good image is in out.png." in line
    text = (pair / sidecar_of("out.png")).read_text()
    document = json.loads(text, parse_constant=pytest.fail)
    assert images.read_metadata(pair / "out.png") == sidecar.carried(document)
    assert document["stop_reason"] == "non-finite"
    failed = int(re.match(r"Error: Step (\d+): ", line)[1])
    assert 0 < document["steps"] < failed


def test_a_run_without_a_finite_step_writes_nothing(pair, small_weights):
    before = content_of(pair)
    command = "stylize content.png style.png -o out.png --quiet --init content.png"
    command += " --gamma 1e30 --beta 1e30"
    done = nst(pair, *shlex.split(command), *SMALL_OPTIONS, NST_WEIGHTS=small_weights)
    line = error_of(done, 1)
    assert line.startswith("Error: Step 1: ") and "not finite" in line
    assert line.endswith("No picture was written.")
    assert content_of(pair) == before
