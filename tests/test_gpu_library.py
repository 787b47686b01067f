"""Which MXNet a process loads: the installed one, or the CUDA build in its folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nst_cli
from nst_cli.engine import mxnet2
from nst_cli.engine.gpu import driver, library
from nst_cli.engine.gpu.driver import Card, Driver
from nst_cli.errors import EngineError

# The parts of MXNet that `engine` uses to choose a device.
FAKE_MXNET = """
import types

__version__ = "{build}"
nd = types.SimpleNamespace(waitall=lambda: None)
features = types.SimpleNamespace(is_enabled=lambda name: "{build}" == "cuda")
runtime = types.SimpleNamespace(Features=lambda: features)
context = types.SimpleNamespace(num_gpus=lambda: 2)
base = types.SimpleNamespace(MXNetError=RuntimeError)

def gpu(index):
    return types.SimpleNamespace(device_type="gpu", device_id=index)

def cpu(index):
    return types.SimpleNamespace(device_type="cpu", device_id=index)
"""

CHOOSE = """
import json, os, sys
from nst_cli import engine
from nst_cli.errors import EngineError
shown = "NVIDIA_TF32_OVERRIDE", "MXNET_ENFORCE_DETERMINISM", "MXNET_CUDNN_AUTOTUNE_DEFAULT"
for device, precision, deterministic in json.loads(sys.argv[1]):
    try:
        context = engine.context(device, precision, deterministic)
        print(
            f"{engine.version()} {context.device_type}:{context.device_id}",
            engine.resolved_precision(precision, context),
            *(f"{name}={os.environ[name]}" for name in shown if name in os.environ)
        )
    except EngineError as error:
        print(error)
print(*sys.path, sep=os.pathsep)
"""


def set_up(folder, packages=library.PACKAGES):
    folder.mkdir(exist_ok=True)
    (folder / library.MARK).write_text(json.dumps({"packages": packages}))
    return folder


@pytest.fixture(scope="session")
def build(compiled, tmp_path_factory):
    """A folder like that of ``nst gpu install``, with a Python module in place of MXNet."""
    folder, empty = set_up(tmp_path_factory.mktemp("build")), compiled("", "lib.so")
    module(folder, "cuda")
    for name in (*library.LIBRARIES, "mxnet/libmxnet.so"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(empty, folder / name)
    return folder


def module(folder, build):
    (folder / "mxnet").mkdir()
    (folder / "mxnet" / "__init__.py").write_text(FAKE_MXNET.replace("{build}", build))
    return folder


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """A folder for Python's path with a module that replaces the installed MXNet."""
    return module(tmp_path_factory.mktemp("installed"), "installed")


def python(*arguments, path=(), cards="", driver_folder="", **variables):
    """Run Python with the fake driver, these cards and this path."""
    hidden = ("CUDA_VISIBLE_DEVICES", "NST_GPU", "NVIDIA_TF32_OVERRIDE")
    environment = {name: text for name, text in os.environ.items() if name not in hidden}
    environment.update(
        PYTHONPATH=os.pathsep.join(map(str, [Path(nst_cli.__file__).parents[1], *path])),
        LD_LIBRARY_PATH=str(driver_folder),
        FAKE_CARDS=cards,
        XDG_DATA_HOME="/nowhere",
        **{name: str(text) for name, text in variables.items()},
    )
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def chosen(fake_driver, installed):
    """Return the lines that a process prints for a list of choices, in order."""

    def choose(*choices, path=(), **surroundings):
        defaults = "cpu", "float32", False
        choices = json.dumps([[*choice, *defaults[len(choice) :]] for choice in choices])
        done = python(
            "-c",
            CHOOSE,
            choices,
            path=[*path, installed],
            driver_folder=fake_driver,
            **surroundings,
        )
        assert done.returncode == 0, done.stderr
        *lines, path = done.stdout.splitlines()
        # The folder is on Python's path only while MXNet is imported.
        assert str(surroundings.get("NST_GPU")) not in path.split(os.pathsep)
        return lines

    return choose


STRICT = "float32 NVIDIA_TF32_OVERRIDE=0"
DETERMINISTIC = "MXNET_ENFORCE_DETERMINISM=1 MXNET_CUDNN_AUTOTUNE_DEFAULT=0"


@pytest.mark.parametrize(
    ("device", "cards", "expected"),
    [
        ("gpu", "8.6", f"cuda gpu:0 {STRICT}"),
        ("gpu:1", "8.6,7.5", f"cuda gpu:1 {STRICT}"),
        ("auto", "8.6", f"cuda gpu:0 {STRICT}"),
        ("auto", "9.0,8.6", f"cuda gpu:1 {STRICT}"),
        ("auto", "9.0", "installed cpu:0 float32"),
        ("auto", "", "installed cpu:0 float32"),
        ("cpu", "8.6", "installed cpu:0 float32"),
    ],
)
def test_a_gpu_takes_the_cuda_build_and_the_cpu_the_installed_mxnet(
    chosen, build, device, cards, expected
):
    assert chosen([device], cards=cards, NST_GPU=build) == [expected]


def test_without_the_cuda_build_auto_is_the_cpu(chosen):
    assert chosen(["auto"], cards="8.6") == ["installed cpu:0 float32"]


def test_the_users_own_library_takes_precedence_over_the_cuda_build(chosen, build):
    answers = chosen(["auto"], cards="8.6", NST_GPU=build, MXNET_LIBRARY_PATH="/own/libmxnet.so")
    assert answers == ["installed cpu:0 float32"]


@pytest.mark.parametrize(
    ("device", "cards", "expected"),
    [
        ("gpu", "9.0", f"cuda gpu:0 {STRICT}"),
        ("gpu:1", "8.6,10.0", f"cuda gpu:1 {STRICT}"),
        ("auto", "9.0", f"cuda gpu:0 {STRICT}"),
        ("cpu", "9.0", "cuda cpu:0 float32"),
    ],
)
def test_mxnet_2_is_used_for_the_cards_it_was_built_for(
    chosen, build, tmp_path, device, cards, expected
):
    folder = module(tmp_path, "cuda")
    (folder / "mxnet/libinfo.py").write_text('__version__ = "2.0.0beta1"\n')
    assert chosen([device], cards=cards, NST_GPU=build, path=[folder]) == [expected]


def test_the_installed_mxnet_2_is_recognised_without_importing_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert mxnet2.version() is None
    module(tmp_path, "broken {")
    assert mxnet2.version() is None
    for version, expected in ("1.9.1", None), ("2.0.0beta1", "2.0.0beta1"):
        (tmp_path / "mxnet/libinfo.py").write_text(f'__version__ = "{version}"\n')
        assert mxnet2.version() == expected


@pytest.mark.parametrize(
    ("precision", "deterministic", "cards", "expected"),
    [
        ("float32", False, "8.6", STRICT),
        ("auto", False, "8.6", "tf32"),
        ("tf32", False, "8.6", "tf32"),
        ("auto", False, "7.5", "float32"),
        ("float32", True, "7.5", f"{STRICT} {DETERMINISTIC}"),
    ],
)
def test_precision_and_determinism_are_set_before_the_libraries_are_loaded(
    chosen, build, precision, deterministic, cards, expected
):
    answers = chosen(["gpu", precision, deterministic], cards=cards, NST_GPU=build)
    assert answers == [f"cuda gpu:0 {expected}"]


def test_determinism_overrides_the_users_variables(chosen, build):
    variables = {"MXNET_CUDNN_AUTOTUNE_DEFAULT": "2", "MXNET_ENFORCE_DETERMINISM": "0"}
    (line,) = chosen(["gpu", "auto", True], cards="8.6", NST_GPU=build, **variables)
    assert line.endswith(DETERMINISTIC)


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        (["cpu"], ["gpu"], "'gpu' must be requested before MXNet is first used"),
        (["gpu", "auto"], ["gpu", "float32"], "float32 on a GPU must be requested before"),
        (
            ["gpu", "auto"],
            ["gpu", "auto", True],
            "deterministic on a GPU must be requested",
        ),
        (["gpu", "float32"], ["gpu", "tf32"], "tf32 needs"),
    ],
)
def test_a_setting_that_a_process_can_no_longer_change_is_an_error(
    chosen, build, first, then, words
):
    _, line = chosen(first, then, cards="8.6", NST_GPU=build)
    assert words in line


def test_a_process_with_the_environment_of_a_worker_chooses_for_itself(
    build, fake_driver, installed
):
    code = """
import subprocess, sys
from nst_cli import engine
engine.context("gpu", "float32", True)
worker = engine.worker_environment(1)
sys.exit(subprocess.run([sys.executable, "-c", *sys.argv[1:]], env=worker).returncode)
"""
    surroundings = {"path": [installed], "driver_folder": fake_driver, "NST_GPU": build}
    choice = json.dumps([["gpu", "auto", False]])
    done = python("-c", code, CHOOSE, choice, cards="8.6", **surroundings)
    assert done.stdout.splitlines()[:-1] == ["cuda gpu:0 tf32"]


def test_the_users_variable_against_tf32_is_respected(chosen, build):
    answers = chosen(["gpu", "auto"], cards="8.6", NST_GPU=build, NVIDIA_TF32_OVERRIDE="0")
    assert answers == [f"cuda gpu:0 {STRICT}"]


def test_a_process_with_the_cuda_build_can_also_use_the_cpu(chosen, build):
    gpu, cpu = chosen(["gpu"], ["cpu"], cards="8.6", NST_GPU=build)
    assert gpu.startswith("cuda gpu:0") and cpu.startswith("cuda cpu:0")


@pytest.mark.parametrize(
    ("device", "cards", "words"),
    [
        ("gpu", "9.0", "GPU 0, Fake Card, has compute capability 9.0, and MXNet 1.9.1 only has"),
        ("gpu:2", "8.6,8.6", "no GPU 2: the driver sees 2"),
        ("gpu", "", "sees no card"),
        ("gpu", "8.6", "run nst gpu install"),
    ],
)
def test_an_error_for_an_unusable_gpu_says_why_and_what_would_help(chosen, device, cards, words):
    (line,) = chosen([device], cards=cards)
    assert words in line
    assert "device cpu" in line


def test_an_error_for_a_missing_library_says_how_to_restore_it(chosen, build, tmp_path):
    broken = shutil.copytree(build, tmp_path / "build")
    (broken / "nvidia/cufft/lib/libcufft.so.10").unlink()
    for device in ("gpu", "auto"):
        (line,) = chosen([device], cards="8.6", NST_GPU=broken)
        assert f"The CUDA build in {broken} is broken" in line
        assert "libcufft.so.10" in line and "nst gpu install" in line


def test_an_error_names_a_missing_library_of_mxnet(build, tmp_path):
    broken = shutil.copytree(build, tmp_path / "build")
    (broken / "mxnet/libmxnet.so").unlink()
    with pytest.raises(EngineError, match="mxnet/libmxnet.so is missing"):
        library.preload(broken)


@pytest.fixture
def one_card(monkeypatch):
    card = Card(0, "Some Card", (8, 6), 1 << 30)
    monkeypatch.setattr(driver, "probe", lambda: Driver((12, 2), (card,)))
    monkeypatch.setattr(mxnet2, "version", lambda: None)
    monkeypatch.delenv("MXNET_LIBRARY_PATH", raising=False)


def test_the_folder_is_in_the_users_data_unless_the_variable_names_one(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv(library.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert library.folder() == Path("/home/somebody/.local/share/nst/gpu")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert library.folder() == Path("/data/nst/gpu")
    monkeypatch.setenv(library.VARIABLE, "here")
    assert library.folder() == Path.cwd() / "here"


@pytest.mark.parametrize("device", ["gpu", "auto"])
def test_a_cuda_build_of_another_version_is_an_error(one_card, monkeypatch, tmp_path, device):
    monkeypatch.setenv(library.VARIABLE, str(set_up(tmp_path, ["mxnet-cu117==1.9.0"])))
    with pytest.raises(EngineError, match=f"in {tmp_path} is not the one.*nst gpu install"):
        library.choose(device)


@pytest.mark.parametrize("content", [None, "", "[1]", "{}", '{"packages": 3}'])
def test_a_folder_named_by_the_variable_without_a_mark_is_an_error(
    one_card, monkeypatch, tmp_path, content
):
    monkeypatch.setenv(library.VARIABLE, str(tmp_path))
    if content is not None:
        (tmp_path / library.MARK).write_text(content)
    with pytest.raises(EngineError, match="NST_GPU names .*no CUDA build is installed there"):
        library.choose("auto")


def test_without_a_driver_a_gpu_fails_before_mxnet_is_imported(tmp_path):
    code = """
import atexit, runpy, sys
atexit.register(lambda: print("mxnet" in sys.modules))
sys.argv = "nst stylize {0} {0} -o out.png --device gpu --weights builtin".split()
runpy.run_module("nst_cli", run_name="__main__")
"""
    from nst_cli import samples

    done = python("-c", code.replace("{0}", str(samples.CONTENT)), driver_folder=tmp_path)
    if "There is no NVIDIA driver here" not in done.stderr:
        pytest.skip("this machine has a driver")
    assert (done.returncode, done.stdout) == (1, "False\n")
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
