"""The package as it is installed."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

import nst_cli


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
