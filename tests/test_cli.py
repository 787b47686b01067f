"""The command line through real processes: what it prints, writes, refuses and exits with."""

import functools
import http.server
import json
import math
import os
import platform
import re
import shlex
import shutil
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
from servers import serving
from test_sidecar import document
from test_weights import vgg_shapes, write_file

import nst_cli
from nst_cli import Config, engine, files, images, machine, weights
from nst_cli.runs import sidecar
from nst_cli.runs.sidecar import sidecar_of, step_name
from nst_cli.weights import Weights


@pytest.fixture(scope="module")
def small_weights(tmp_path_factory):
    """A file of VGG-19's shapes: random down to conv2_1, zeros below."""
    random, values = numpy.random.RandomState(0), {}
    shapes = vgg_shapes()
    for layer in ("conv1_1", "conv1_2", "conv2_1"):
        shape = shapes[f"arg:{layer}_weight"]
        scale = (2 / numpy.prod(shape[1:])) ** 0.5
        values[f"arg:{layer}_weight"] = random.normal(0, scale, shape).astype("<f4")
    return write_file(tmp_path_factory.mktemp("weights") / "vgg19.params", shapes, values)


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
    assert "Not enough memory for size 15000" in line and "2.0 GB are available; --size " in line
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
    expected = "bfloat16" if "avx512_bf16" in machine.cpu_flags() else "float32"
    assert document["precision"] == expected
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


# Input that is refused


def save_own(path):
    """Save a picture that a run may replace, because nst made it."""
    pixels = numpy.asarray(noise(5, 24, 32))
    images.write(path, pixels, metadata=sidecar.carried(document()))


@pytest.fixture
def folder(tmp_path):
    """A folder with a good pair of pictures, and with files of every kind that is refused."""
    noise(1, 24, 32).save(tmp_path / "content.png")
    noise(2, 40, 30).save(tmp_path / "style.png")
    noise(3, 8, 300).save(tmp_path / "thin.png")
    picture = (tmp_path / "style.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(picture[: len(picture) // 2])
    (tmp_path / "words.png").write_bytes(b"words\n" * 100)
    (tmp_path / "words.params").write_bytes(b"words\n" * 100)
    (tmp_path / "good.png.txt").write_bytes(b"mine")
    save_own(tmp_path / "old.png")
    (tmp_path / "folder.png").mkdir()
    os.symlink("style.png", tmp_path / "link.png")
    os.symlink(".", tmp_path / "round")
    os.link(tmp_path / "content.png", tmp_path / "hard.png")
    noise(4, 24, 32).save(tmp_path / step_name("walk.png", 2))
    save_own(tmp_path / "walk.png")
    shutil.copy(tmp_path / "content.png", tmp_path / "picture")
    os.rename(tmp_path / "picture", tmp_path / sidecar_of("next.png"))
    os.mkdir(tmp_path / sidecar_of("taken.png"))
    return tmp_path


def refused(folder, command, small_weights, code, words, **others):
    """Run a command that must fail in one line with these words and change no file.

    No progress bar precedes that line, because the command fails before the long work.
    """
    before = content_of(folder)
    program, *arguments = shlex.split(command)
    done = nst(
        folder, program, *SMALL_OPTIONS, *arguments, **{"NST_WEIGHTS": small_weights, **others}
    )
    line = error_of(done, code)
    for word in words:
        assert word in line
    assert content_of(folder) == before


PAIR = "stylize content.png style.png -o old.png "


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--method polly", ("--method", "did you mean 'poly'?")),
        ("--method bn=0.3,polly=0.7", ("--method", "did you mean 'poly'?")),
        ("--style-layers relu11,relu2_1", ("--style-layers", "did you mean 'relu1_1'?")),
        ("--content-layers relu42", ("--content-layers", "did you mean 'relu4_2'?")),
        ("--layer-weights relu1_1=1,relu9=1", ("--layer-weights", "'relu9'")),
        ("--gamma -1", ("--gamma", "-1", "at least 0")),
        ("--gamma nan", ("--gamma", "nan", "finite")),
        ("--gamma inf", ("--gamma", "inf", "finite")),
        ("--lr fast", ("--lr", "'fast'", "not a number")),
        ("--size 15", ("--size", "15", "from 16")),
        ("--alpha 0 --gamma 0", ("nothing is left to minimise",)),
        ("--pooling mean", ("--pooling", "'mean'", "avg", "max")),
        ("--device tpu", ("--device", "'tpu'", "cpu")),
        ("--save-every 0", ("--save-every", "0")),
        ("--gama 1", ("--gama",)),
        ("third.png", ("third.png",)),
    ],
)
def test_an_invalid_option_is_a_usage_error_of_one_line(folder, small_weights, options, words):
    refused(folder, PAIR + options, small_weights, 2, words)


def test_an_output_is_required(folder, small_weights):
    refused(folder, "stylize content.png style.png", small_weights, 2, ("--output",))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("stylize none.png style.png -o old.png", ("none.png", "No such file")),
        ("stylize content.png none.png -o old.png", ("none.png", "No such file")),
        (PAIR + "--init none.png", ("none.png", "No such file")),
        ("stylize words.png style.png -o old.png", ("words.png", "not a picture")),
        ("stylize content.png cut.png -o old.png", ("cut.png", "truncated")),
        ("stylize content.png folder.png -o old.png", ("folder.png", "folder")),
        ("stylize thin.png style.png -o old.png", ("thin.png", "300 x 8", "--size 582")),
        ("stylize content.png thin.png -o old.png --style-fit keep", ("thin.png", "300 x 8")),
    ],
)
def test_an_unusable_picture_is_a_one_line_error(folder, small_weights, command, words):
    refused(folder, command, small_weights, 1, words)


def test_a_decompression_bomb_is_a_one_line_error(folder, small_weights):
    # A few kilobytes that would take 300 MB, just above the limit of Pillow.
    Image.new("1", (10_000, 9_000)).save(folder / "bomb.png")
    command = "stylize bomb.png style.png -o old.png"
    refused(folder, command, small_weights, 1, ("bomb.png", "90000000 pixels"))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (PAIR + "-o none/out.png", ("none", "does not exist")),
        (PAIR + "-o style.png/out.png", ("style.png", "is not a folder")),
        (PAIR + "-o folder.png", ("folder.png", "it is a folder")),
        (PAIR + "-o out.gif", ("out.gif", "'.gif'", ".png")),
        (PAIR + "-o out", ("out", "no ending", ".png")),
        (PAIR + "-o content.png", ("content.png", "would overwrite")),
        (PAIR + "-o link.png", ("link.png", "would overwrite style.png")),
        (PAIR + "-o round/style.png", ("round/style.png", "would overwrite style.png")),
        (PAIR + "-o hard.png", ("hard.png", "would overwrite content.png")),
        (PAIR + "-o walk.png --init walk.png", ("walk.png", "would overwrite")),
    ],
)
def test_an_output_that_cannot_be_written_is_a_one_line_error(
    folder, small_weights, command, words
):
    refused(folder, command, small_weights, 1, words)


def test_a_sidecar_that_would_overwrite_an_input_is_a_one_line_error(folder, small_weights):
    name = sidecar_of("next.png")
    command = f"stylize {name} style.png -o next.png"
    refused(folder, command, small_weights, 1, (name, "overwrite"))


def test_a_sidecar_that_cannot_be_written_is_a_one_line_error(folder, small_weights):
    refused(folder, PAIR + "-o taken.png", small_weights, 1, (sidecar_of("taken.png"),))


def test_an_intermediate_picture_that_would_overwrite_an_input_is_a_one_line_error(
    folder, small_weights
):
    name = step_name("walk.png", 2)
    command = f"stylize {name} style.png -o walk.png --save-every 2"
    refused(folder, command, small_weights, 1, (name, "overwrite"))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (PAIR + "--log content.png", ("content.png", "overwrite")),
        (PAIR + "--log link.png", ("link.png", "overwrite")),
        (PAIR + "--log hard.png", ("hard.png", "overwrite")),
        (PAIR + "--log old.png", ("old.png", "overwrite")),
        (PAIR + f"--log {sidecar_of('old.png')}", (sidecar_of("old.png"), "overwrite")),
        (PAIR + "--init walk.png --log walk.png", ("walk.png", "overwrite")),
        (PAIR + "--log none/log.jsonl", ("none/log.jsonl", "does not exist")),
        (PAIR + "--log folder.png", ("folder.png", "it is a folder")),
    ],
)
def test_a_log_that_cannot_be_written_is_a_one_line_error(folder, small_weights, command, words):
    refused(folder, command, small_weights, 1, words)


# The command line, limited to files of as many bytes as the first argument says. The limit ends
# with the command, so that `make coverage` can write its own file.
LIMITED = """
import resource, sys
usual = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), usual[1]))
from nst_cli.cli import main
try:
    main()
finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, usual)
"""


def test_an_incomplete_log_is_reported_after_the_picture_is_made(pair, small_weights):
    command = "stylize content.png style.png -o out.png --quiet --log log.jsonl"
    options = [*shlex.split(command), *SMALL_OPTIONS, "--iterations", "60", "--no-metadata"]
    limited = ("-c", LIMITED, "8000")
    done = nst(pair, *options, program=limited, NST_WEIGHTS=small_weights)
    assert (done.returncode, done.stdout) == (1, "out.png\n")
    (line,) = done.stderr.splitlines()
    assert line == "Error: The log log.jsonl is not complete: File too large."
    assert images.read(pair / "out.png").pixels.shape == (24, 32, 3)


def test_a_log_that_would_overwrite_the_weights_is_a_one_line_error(folder, tmp_path_factory):
    # Not the weights of the other tests, which would be lost.
    path = write_file(tmp_path_factory.mktemp("own") / "vgg19.params", vgg_shapes())
    before = files.sha256(path)
    refused(folder, PAIR + f"--log {path}", path, 1, (str(path), "overwrite"))
    assert files.sha256(path) == before


@pytest.mark.parametrize(
    ("options", "variable", "words"),
    [
        ("--weights none.params", None, ("--weights", "none.params")),
        ("", "none.params", ("NST_WEIGHTS", "none.params")),
        ("", None, ("No VGG-19 weights found", "nst weights fetch", "--weights builtin")),
        ("--weights words.params", None, ("words.params", "not an MXNet parameter file")),
        ("--weights empty.params", None, ("empty.params", "empty")),
        ("--weights cut.params", None, ("cut.params", "broken", "ends in")),
    ],
)
def test_unusable_weights_are_a_one_line_error(folder, small_weights, options, variable, words):
    (folder / "empty.params").touch()
    with open(small_weights, "rb") as stream:
        (folder / "cut.params").write_bytes(stream.read(100_000))
    refused(folder, PAIR + options, small_weights, 1, words, NST_WEIGHTS=variable)


def test_a_missing_gpu_is_a_one_line_error(folder, small_weights):
    refused(folder, PAIR + "--device gpu:99", small_weights, 1, ("device cpu",))


# Executes another Python without root's right to ignore permissions. From Linux's prctl.h and
# capability.h: 24 is PR_CAPBSET_DROP, 1 CAP_DAC_OVERRIDE and 2 CAP_DAC_READ_SEARCH.
BOUND_BY_PERMISSIONS = """
import ctypes, os, sys
for capability in (1, 2) if sys.platform == "linux" else ():
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.skipif(os.name != "posix", reason="the system has other permissions")
@pytest.mark.parametrize(
    ("path", "mode", "command", "words"),
    [
        ("content.png", 0o000, PAIR, ("content.png", "Permission denied")),
        ("old.png", 0o400, PAIR, ("old.png", "write-protected")),
        ("closed", 0o500, PAIR + "-o closed/out.png", ("closed/out.png", "Permission denied")),
        ("words.params", 0o000, PAIR + "--weights words.params", ("words.params", "Permission")),
        ("good.png.txt", 0o400, PAIR + "--log good.png.txt", ("good.png.txt", "write-protected")),
    ],
)
def test_a_file_or_folder_without_permission_is_a_one_line_error(
    folder, small_weights, path, mode, command, words
):
    (folder / "closed").mkdir()
    before = content_of(folder)
    os.chmod(folder / path, mode)
    try:
        probe = "import os, sys; sys.exit(os.access(sys.argv[1], os.R_OK | os.W_OK))"
        bound = ("-c", BOUND_BY_PERMISSIONS)
        if nst(folder, path, program=(*bound, "-c", probe)).returncode:
            pytest.skip("permissions do not bind this user")
        program, *arguments = shlex.split(command)
        done = nst(
            folder,
            program,
            *SMALL_OPTIONS,
            *arguments,
            program=(*bound, "-m", "nst_cli"),
            NST_WEIGHTS=small_weights,
        )
    finally:
        os.chmod(folder / path, 0o700)
    line = error_of(done, 1)
    for word in words:
        assert word in line
    assert content_of(folder) == before


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


@pytest.fixture
def pair(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    save_pair(folder)
    return folder


def test_an_interrupted_run_saves_the_image_so_far_and_says_so(pair, small_weights):
    log = pair / "log.jsonl"
    endless = ["--iterations", "10000000", "--stop-eps", "0", "--quiet"]
    command = "stylize content.png style.png -o out.png --log log.jsonl"
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
    command = "stylize content.png style.png -o out.png --quiet --init content.png --gamma 1e38"
    done = nst(pair, *shlex.split(command), *SMALL_OPTIONS, NST_WEIGHTS=small_weights)
    line = error_of(done, 1)
    assert line.startswith("Error: Step 1: ") and "not finite" in line
    assert line.endswith("No picture was written.")
    assert content_of(pair) == before


# nst weights


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of the files in a folder; yields the folder and the address."""
    folder = tmp_path_factory.mktemp("served")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as running:
        yield folder, f"http://127.0.0.1:{running.server_port}"


# The command line with a small file in place of the published 80 MB.
FETCH_OTHER = """
import functools
from nst_cli import cli, weights
weights.fetch = functools.partial(weights.fetch, blob_id="{}")
cli.main(prog_name="nst")
"""


def test_fetch_prints_the_path_and_the_second_time_downloads_nothing(server, tmp_path):
    served, url = server
    (served / "good").write_bytes(bytes(range(256)) * 1000)
    code = FETCH_OTHER.format(files.git_blob_id(served / "good"))
    target = tmp_path / "new" / "vgg19.params"
    for address in (f"{url}/good", f"{url}/gone"):
        done = nst(tmp_path, "weights", "fetch", target, "--url", address, program=("-c", code))
        assert (done.returncode, done.stdout) == (0, f"{target}\n"), done.stderr
        assert content_of(target.parent) == {"vgg19.params": (served / "good").read_bytes()}


def test_by_default_weights_are_fetched_to_the_cache_and_found_there(server, tmp_path):
    served, url = server
    (served / "good").write_bytes(bytes(range(256)) * 1000)
    code = FETCH_OTHER.format(files.git_blob_id(served / "good"))
    cache = {"XDG_CACHE_HOME": tmp_path / "cache"}
    fetched = nst(
        tmp_path, "weights", "fetch", "--url", f"{url}/good", program=("-c", code), **cache
    )
    printed = nst(tmp_path, "weights", "path", **cache)
    path = tmp_path / "cache" / "nst" / "vgg19.params"
    assert (fetched.stdout, printed.stdout) == (f"{path}\n", f"{path}\n")
    assert (fetched.returncode, printed.returncode) == (0, 0)


def test_a_download_that_differs_from_the_published_file_is_refused_and_removed(server, tmp_path):
    served, url = server
    (served / "other").write_bytes(b"<html>Please log in</html>")
    target = tmp_path / "vgg19.params"
    done = nst(tmp_path, "weights", "fetch", target, "--url", f"{url}/other")
    last = done.stderr.splitlines()[-1]
    assert (done.returncode, done.stdout) == (1, "")
    assert last.startswith("Error: ") and weights.PUBLISHED_BLOB_ID in last
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_fetching_from_an_address_that_does_not_answer_is_an_error(server, tmp_path):
    done = nst(tmp_path, "weights", "fetch", tmp_path, "--url", f"{server[1]}/gone")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith(f"Error: Cannot download {server[1]}/gone: ")
    assert "Traceback" not in done.stderr


def test_weights_path_prints_the_path_that_a_run_would_use(tmp_path, small_weights):
    done = nst(tmp_path, "weights", "path", NST_WEIGHTS=small_weights)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{small_weights}\n", "")
    line = error_of(nst(tmp_path, "weights", "path"), 1)
    assert "No VGG-19 weights found" in line and "nst weights fetch" in line


def test_weights_check_describes_a_file(tmp_path, small_weights):
    done = nst(tmp_path, "weights", "check", small_weights)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(small_weights) in done.stdout and "not the published file" in done.stdout
    for words in (
        files.git_blob_id(small_weights),
        files.sha256(small_weights),
        f"{os.path.getsize(small_weights)} bytes",
    ):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.params", ("No such file",)),
        ("cut.params", ("broken", "ends in")),
        ("words.params", ("not an MXNet parameter file",)),
        ("folder.params", ("folder",)),
    ],
)
def test_weights_check_of_an_unusable_file_is_a_one_line_error(
    tmp_path, small_weights, name, words
):
    with open(small_weights, "rb") as stream:
        (tmp_path / "cut.params").write_bytes(stream.read(100_000))
    (tmp_path / "words.params").write_bytes(b"words\n" * 100)
    (tmp_path / "folder.params").mkdir()
    line = error_of(nst(tmp_path, "weights", "check", name), 1)
    for word in (name, *words):
        assert word in line


@pytest.mark.slow
def test_the_real_weights_are_distinguished_from_the_published_file_and_not_refused(
    tmp_path, real_weights
):
    done = nst(tmp_path, "weights", "check", real_weights)
    assert done.returncode == 0, done.stderr
    blob_id = files.git_blob_id(real_weights)
    assert f"git blob id {blob_id}\n" in done.stdout
    published = "; the published file\n" in done.stdout
    assert published == (blob_id == weights.PUBLISHED_BLOB_ID)


@pytest.mark.slow
def test_a_pair_of_pictures_is_stylised_with_the_real_weights_and_the_papers_layers(
    pair, real_weights
):
    command = "stylize content.png style.png -o out.png --size 64 --iterations 10 --quiet"
    done = nst(pair, *shlex.split(command), NST_WEIGHTS=real_weights)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out.png\n", "")
    losses = sidecar_in(pair)["losses"]
    assert {"content/relu4_2", "poly/relu1_1", "poly/relu5_1", "smoothing"} < set(losses)


@pytest.mark.slow
def test_bench_prints_a_table_with_a_row_for_each_preset(tmp_path, real_weights):
    command = ("bench", "--size", "32", "--method", "linear", "--device", "cpu")
    assert "No VGG-19 weights found" in nst(tmp_path, *command).stderr
    done = nst(tmp_path, *command, NST_WEIGHTS=real_weights)
    assert (done.returncode, done.stderr) == (0, "")
    head, paper, fast = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in done.stdout.splitlines()
        if line.startswith("|") and "---" not in line
    )
    for row in (paper, fast):
        assert len(row) == len(head) and row[:3] == ["cpu(0)", "32 x 21", "linear"]
        assert float(row[5]) > 0 and float(row[9]) > 100
    assert (paper[3], paper[4], paper[8]) == ("paper", "float32", "1.000")
    assert fast[3] == "fast" and float(fast[8]) < 1.1


def test_bench_of_a_missing_picture_is_a_one_line_error(tmp_path):
    assert "Cannot read none.jpg" in error_of(nst(tmp_path, "bench", "--content", "none.jpg"), 1)
