"""The package as it is installed, and MXNet in the environments it may meet."""

import importlib
import importlib.metadata
import json
import os
import subprocess
import sys

import pytest

import nst_cli
from nst_cli import engine
from nst_cli.errors import EngineError

AFTER_LOADING = """
import ctypes, json, os, sys
import numpy
numpy_had_bool = "bool" in vars(numpy)
# As on Python 3.12: importing it fails.
sys.modules["distutils"] = None
from nst_cli import engine, machine
engine.load()
print(json.dumps({
    "variable": os.environ["OMP_NUM_THREADS"],
    "threads": ctypes.CDLL("libgomp.so.1").omp_get_max_threads(),
    "usable": machine.usable_cores(),
    "distutils": [name for name in sys.modules if name.startswith("distutils")],
    "bool is as before": ("bool" in vars(numpy)) == numpy_had_bool,
}))
"""


def python(*arguments, **variables):
    """Run Python with `arguments`; variables given as None are taken away. Return its stdout."""
    environment = {**os.environ, **variables}
    done = subprocess.run(
        [sys.executable, *arguments],
        env={key: value for key, value in environment.items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def after_loading():
    return json.loads(python("-c", AFTER_LOADING, OMP_NUM_THREADS=None))


@pytest.fixture
def unloaded(monkeypatch):
    """An `engine` that has not loaded MXNet, and will leave the environment as it is."""
    monkeypatch.delitem(sys.modules, "mxnet", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    return engine


@pytest.mark.parametrize("module", ["nst_cli", "nst_cli.cli", "nst_cli.engine"])
def test_importing_does_not_import_mxnet(module):
    code = f"import {module}, sys; print('mxnet' in sys.modules)"
    assert python("-c", code).strip() == "False"


def test_help_does_not_import_mxnet():
    code = (
        "import atexit, runpy, sys\n"
        "atexit.register(lambda: print('mxnet' in sys.modules))\n"
        "sys.argv = ['nst', '--help']\n"
        "runpy.run_module('nst_cli', run_name='__main__')"
    )
    first, *_, last = python("-c", code).splitlines()
    assert (first, last) == ("Usage: nst [OPTIONS] COMMAND [ARGS]...", "False")


def test_the_installed_version_is_that_of_the_package():
    try:
        version = importlib.metadata.version("nst-cli")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("nst-cli is not installed here")
    assert version == nst_cli.__version__


@pytest.mark.parametrize("found", [(3, 8, 18), (3, 13, 0)])
def test_a_python_that_mxnet_cannot_run_with_is_told_which_can(unloaded, monkeypatch, found):
    monkeypatch.setattr(sys, "version_info", found)
    with pytest.raises(EngineError) as caught:
        unloaded.load()
    message = str(caught.value)
    assert f"does not run on Python 3.{found[1]}:" in message
    assert "Python 3.9 to 3.12" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("library", "advice"),
    [
        ("libquadmath.so.0", "libquadmath0"),
        ("libgomp.so.1", "libgomp1"),
        ("libcuda.so.1", "driver"),
    ],
)
def test_a_missing_system_library_is_named_with_what_brings_it(
    unloaded, monkeypatch, library, advice
):
    text = f"{library}: cannot open shared object file: No such file or directory"
    fail_to_import_mxnet(monkeypatch, OSError(text))
    with pytest.raises(EngineError) as caught:
        unloaded.load()
    message = str(caught.value)
    assert library in message
    assert advice in message.replace(text, "")
    assert "\n" not in message


def test_a_machine_without_mxnet_is_told_where_it_can_be_had(unloaded, monkeypatch):
    fail_to_import_mxnet(monkeypatch, ModuleNotFoundError("No module named 'mxnet'"))
    with pytest.raises(EngineError, match=r"pip install mxnet==1\.9\.1") as caught:
        unloaded.load()
    assert "\n" not in str(caught.value)


def test_all_usable_cores_compute_unless_the_user_says_otherwise(after_loading):
    usable = after_loading["usable"]
    assert (after_loading["variable"], after_loading["threads"]) == (str(usable), usable)


def test_the_users_number_of_threads_stands():
    code = "import os; from nst_cli import engine; engine.load(); print(engine.threads())"
    assert python("-c", code, OMP_NUM_THREADS="3").strip() == "3"


def test_what_numpy_lends_mxnet_is_taken_back(after_loading):
    assert after_loading["bool is as before"]


def test_the_stand_in_for_distutils_is_taken_away(after_loading):
    assert after_loading["distutils"] == []


def fail_to_import_mxnet(monkeypatch, error):
    original = importlib.import_module

    def import_module(name, *arguments):
        if name == "mxnet":
            raise error
        return original(name, *arguments)

    monkeypatch.setattr(importlib, "import_module", import_module)
