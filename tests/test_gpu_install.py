"""`nst gpu install` in real processes, with the tests' own pip, which downloads nothing."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import PATIENCE, content_of, started, wait_for

import nst_cli
from nst_cli.engine import mxnet2
from nst_cli.engine.gpu import install, library
from nst_cli.errors import EngineError

# Fills the target as pip would; HANG and FAIL stop it in the middle of its work.
FAKE_PIP = """
import os, pathlib, shutil, sys, time

arguments = sys.argv[1:]
target = pathlib.Path(arguments[arguments.index("--target") + 1])
print("Collecting", *[argument for argument in arguments if "==" in argument])
for name in {libraries}:
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy({library!r}, target / name)
    if "HANG" in os.environ:
        pathlib.Path(os.environ["HANG"]).touch()
        time.sleep(6000)
    if "FAIL" in os.environ:
        sys.exit(int(os.environ["FAIL"]))
if "LACK" in os.environ:
    (target / os.environ["LACK"]).unlink()
"""

# The C library as on a disk with too little space.
FULL_DISK = """
import shutil, sys
usage = shutil.disk_usage("/")
shutil.disk_usage = lambda path: usage._replace(free=5 * 10**9)
sys.argv[0] = "nst"
from nst_cli import cli
cli.main()
"""


@pytest.fixture(autouse=True)
def no_mxnet2(monkeypatch):
    monkeypatch.setattr(mxnet2, "version", lambda: None)


@pytest.fixture(scope="module")
def fake_pip(compiled, tmp_path_factory):
    """The folder to put on Python's path."""
    folder = tmp_path_factory.mktemp("path")
    (folder / "pip").mkdir()
    libraries = [*library.LIBRARIES, "mxnet/libmxnet.so"]
    (folder / "pip" / "__main__.py").write_text(
        FAKE_PIP.format(libraries=libraries, library=str(compiled("", "lib.so")))
    )
    # MXNet 1, whichever version is installed.
    (folder / "mxnet").mkdir()
    for package in ("pip", "mxnet"):
        (folder / package / "__init__.py").touch()
    return folder


@pytest.fixture
def command(fake_pip, fake_driver, tmp_path):
    """Start ``nst gpu install`` with these arguments, cards and variables; return the process."""
    processes = contextlib.ExitStack()

    def start(*arguments, cards="8.6", code=None, **variables):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(nst_cli.__file__).parents[1]), str(fake_pip)]),
            "LD_LIBRARY_PATH": str(fake_driver),
            "FAKE_CARDS": cards,
            "XDG_DATA_HOME": str(tmp_path / "data"),
            "NST_GPU": "",
            **variables,
        }
        program = ["-c", code] if code else ["-m", "nst_cli"]
        process = started(
            [sys.executable, *program, "gpu", "install", *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return processes.enter_context(process)

    with processes:
        yield start


def ended(process):
    """Return a process's exit code, stdout and stderr."""
    stdout, stderr = process.communicate(timeout=PATIENCE)
    return process.returncode, stdout, stderr


def failure(process):
    """Return the one line of error of a process that fails."""
    code, stdout, stderr = ended(process)
    assert (code, stdout) == (1, "")
    (line,) = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    assert stderr.endswith(f"{line}\n")
    return line


def test_gpu_install_uses_the_users_data_folder_and_prints_its_path_alone(command, tmp_path):
    code, stdout, stderr = ended(command("--no-card"))
    place = tmp_path / "data" / "nst" / "gpu"
    assert (code, stdout) == (0, f"{place}\n")
    # What pip says goes to stderr.
    assert stderr == f"Collecting {' '.join(library.PACKAGES)}\n"
    assert library.packages(place) == library.PACKAGES
    assert [path.name for path in place.parent.iterdir()] == ["gpu"]


def test_a_build_that_works_is_kept(command, tmp_path):
    first = ended(command("--no-card", "--dir", "gpu"))
    second = ended(command("--no-card", "--dir", "gpu"))
    assert "Collecting" in first[2] and "Collecting" not in second[2]
    assert second[:2] == first[:2] == (0, f"{tmp_path / 'gpu'}\n")


def test_a_chosen_folder_must_be_named_by_the_variable_too(command, tmp_path):
    place = tmp_path / "gpu"
    hint = f"Set NST_GPU={place} so that nst finds it."
    assert hint in ended(command("--no-card", "--dir", "gpu"))[2]
    assert "Set" not in ended(command("--no-card", "--dir", "gpu", NST_GPU=str(place)))[2]


def test_an_installation_of_another_version_or_without_a_library_is_renewed(command, tmp_path):
    place = tmp_path / "gpu"
    ended(command("--no-card", "--dir", "gpu"))
    cufft = place / "nvidia/cufft/lib/libcufft.so.10"
    cufft.unlink()
    assert ended(command("--no-card", "--dir", "gpu"))[0] == 0
    assert cufft.exists()
    entries = [*os.listdir(place), "old"]
    document = {"packages": ["mxnet-cu117==1.9.0"], "entries": entries}
    (place / library.MARK).write_text(json.dumps(document))
    (place / "old").touch()
    assert ended(command("--no-card", "--dir", "gpu"))[0] == 0
    assert library.packages(place) == library.PACKAGES and not (place / "old").exists()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_installation_is_never_used(command, tmp_path, end):
    begun = tmp_path / "begun"
    process = command("--no-card", "--dir", "gpu", HANG=str(begun))
    wait_for(begun.exists, process)
    # A terminal interrupts pip too; `kill` ends nst alone.
    (os.kill if end == signal.SIGTERM else os.killpg)(process.pid, end)
    code, stdout, _ = ended(process)
    expected = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}
    assert code == expected[end] and not stdout
    left = [path.name for path in tmp_path.iterdir()]
    assert left == ["begun"] or end == signal.SIGKILL and "gpu" not in left
    assert ended(command("--no-card", "--dir", "gpu"))[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun", "gpu"]


def test_a_second_installation_at_the_same_time_is_refused(command, tmp_path):
    begun = tmp_path / "begun"
    first = command("--no-card", "--dir", "gpu", HANG=str(begun))
    wait_for(begun.exists, first)
    line = failure(command("--no-card", "--dir", "gpu"))
    assert "Another nst gpu install is running" in line


def test_if_pip_fails_its_message_is_shown_and_the_old_version_stays(command, tmp_path):
    place = tmp_path / "gpu"
    place.mkdir()
    (place / library.MARK).write_text('{"packages": ["mxnet-cu117==1.9.0"], "entries": []}')
    assert "pip could not install the CUDA build (exit code 7)" in failure(
        command("--no-card", "--dir", "gpu", FAIL="7")
    )
    assert library.packages(place) == ("mxnet-cu117==1.9.0",)
    assert [path.name for path in tmp_path.iterdir()] == ["gpu"]


def test_libraries_that_cannot_be_loaded_are_not_installed(command, tmp_path):
    lacking = "nvidia/nccl/lib/libnccl.so.2"
    assert "libnccl.so.2" in failure(command("--no-card", "--dir", "gpu", LACK=lacking))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("cards", "words"),
    [("9.0", "compute capability 9.0, and MXNet 1.9.1 only has kernels for 5.0 to 8.9"),
     ("", "sees no card")],
)  # fmt: skip
def test_without_a_usable_card_nothing_is_downloaded(command, tmp_path, cards, words):
    assert words in failure(command(cards=cards))
    assert not list(tmp_path.iterdir())


def test_one_usable_card_among_others_is_enough(command):
    # The fake libraries cannot compute, so the final test of the card fails.
    code, _, stderr = ended(command(cards="9.0,8.6"))
    assert "Collecting" in stderr and code == 1


def test_the_cuda_build_is_not_installed_beside_mxnet_2(monkeypatch, tmp_path):
    monkeypatch.setattr(mxnet2, "version", lambda: "2.0.0beta1")
    with pytest.raises(EngineError, match="MXNet 2.0.0beta1 is installed.*mxnet==1.9.1"):
        install.install(tmp_path / "gpu", card=False)
    assert not any(tmp_path.iterdir())


def test_too_little_disk_space_is_reported_before_the_download(command, tmp_path):
    line = failure(command("--no-card", "--dir", "gpu", code=FULL_DISK))
    assert "takes 9 GB" in line and "has 5.0 GB" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mark", [None, "[]", '{"packages": ["mxnet-cu117==1.9.0"]}'])
def test_a_folder_with_files_of_the_user_is_left_alone(command, tmp_path, mark):
    (tmp_path / "gpu").mkdir()
    (tmp_path / "gpu" / "diary.txt").touch()
    if mark:
        (tmp_path / "gpu" / library.MARK).write_text(mark)
    before = content_of(tmp_path)
    line = failure(command("--no-card", "--dir", "gpu"))
    assert "contains files that nst did not put there (diary.txt)" in line
    assert content_of(tmp_path) == before


def test_a_file_with_the_name_of_the_folder_is_left_alone(command, tmp_path):
    (tmp_path / "gpu").write_text("a diary")
    assert "that nst did not put there (gpu)" in failure(command("--no-card", "--dir", "gpu"))
    assert (tmp_path / "gpu").read_text() == "a diary"


@pytest.mark.parametrize("name", ["data.part", ".data.nst-gpu-install"])
def test_the_users_folders_beside_the_installation_are_left_alone(command, tmp_path, name):
    (tmp_path / name / "thesis").mkdir(parents=True)
    (tmp_path / name / "thesis" / "chapter.txt").write_text("years of work")
    before = content_of(tmp_path)
    process = command("--no-card", "--dir", "data")
    if name == "data.part":
        assert ended(process)[0] == 0
        shutil.rmtree(tmp_path / "data")
    else:
        assert "but nst did not create it: move it away" in failure(process)
    assert content_of(tmp_path) == before


@pytest.fixture
def installed_before(tmp_path):
    """A folder with another version."""
    place = tmp_path / "gpu"
    place.mkdir()
    (place / library.MARK).write_text('{"packages": ["mxnet-cu117==1.9.0"], "entries": []}')
    return place


def test_the_old_version_stays_if_the_new_one_cannot_replace_it(
    installed_before, tmp_path, monkeypatch
):
    before, replace = content_of(tmp_path), os.replace

    def fail_for_new(source, target):
        if Path(source).name == "new":
            raise OSError(errno.EIO, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(install, "_fill", lambda workshop: (workshop / "new").mkdir())
    monkeypatch.setattr(install.os, "replace", fail_for_new)
    monkeypatch.setattr(install, "_check_space", lambda parent: None)
    with pytest.raises(EngineError, match="Cannot install .*: Input/output error"):
        install.install(installed_before, card=False)
    assert content_of(tmp_path) == before


def test_the_old_version_is_restored_after_a_kill_between_the_two_moves(
    installed_before, tmp_path, monkeypatch
):
    before = content_of(tmp_path)
    workshop = tmp_path / ".gpu.nst-gpu-install"
    workshop.mkdir()
    (workshop / install._WORKSHOP).touch()
    installed_before.rename(workshop / "old")

    def fail(workshop):
        raise EngineError("pip could not install it.")

    monkeypatch.setattr(install, "_fill", fail)
    monkeypatch.setattr(install, "_check_space", lambda parent: None)
    with pytest.raises(EngineError, match="pip could not"):
        install.install(installed_before, card=False)
    assert content_of(tmp_path) == before


def test_a_link_to_another_disk_stays_a_link(command, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "gpu").symlink_to("disk")
    assert ended(command("--no-card", "--dir", "gpu"))[:2] == (0, f"{tmp_path / 'disk'}\n")
    assert (tmp_path / "gpu").is_symlink()
    assert library.packages(tmp_path / "gpu") == library.PACKAGES


def test_a_folder_that_cannot_be_made_is_named(command, tmp_path):
    (tmp_path / "file").touch()
    line = failure(command("--no-card", "--dir", "file/gpu"))
    assert f"Cannot install the CUDA build in {tmp_path / 'file/gpu'}" in line
    assert "--dir" in line


def test_a_python_that_is_too_old_is_named_before_the_download(command, tmp_path):
    code = "import sys; from nst_cli import cli, engine\n"
    code += "sys.argv[0], sys.version_info = 'nst', (3, 8, 0); cli.main()"
    line = failure(command("--no-card", "--dir", "gpu", code=code))
    assert "needs Python 3.9 or newer, and this is 3.8" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("platform", [("Darwin", "arm64"), ("Linux", "aarch64")])
def test_an_unsupported_machine_is_named(monkeypatch, tmp_path, platform):
    monkeypatch.setattr(install.platform, "system", lambda: platform[0])
    monkeypatch.setattr(install.platform, "machine", lambda: platform[1])
    with pytest.raises(EngineError, match=f"Linux on x86_64, and this is {' '.join(platform)}"):
        install.install(tmp_path / "gpu")


def test_an_error_for_a_python_without_pip_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match="has no pip.*ensurepip"):
        install.install(tmp_path / "gpu", card=False)


def test_the_pip_of_this_environment_has_the_options_that_are_used():
    if shutil.which("pip") is None and install.importlib.util.find_spec("pip") is None:
        pytest.skip("there is no pip")
    text = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--help"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for option in ("--no-deps", "--only-binary", "--no-compile", "--target", "--no-input"):
        assert option in text
