"""Invalid input of nst stylize, in real processes: each is one line, and no file changes."""

import os
import shlex
import shutil

import numpy
import pytest
from PIL import Image
from processes import (
    SMALL_OPTIONS,
    content_of,
    error_of,
    noise,
    nst,
)
from test_sidecar import document
from test_weights import vgg_shapes, write_file

from nst_cli import files, images
from nst_cli.runs import sidecar
from nst_cli.runs.sidecar import sidecar_of, step_name


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
