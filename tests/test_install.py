"""The installed package, and `nst mxnet install`."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import nst_cli
from nst_cli import engine
from nst_cli.cli import main
from nst_cli.engine import install
from nst_cli.errors import EngineError


def python(*arguments, **variables):
    """Run Python with `arguments`; variables given as None are removed. Return its stdout."""
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


@pytest.fixture
def commands(monkeypatch):
    """Pretend that no MXNet is installed; return the list of commands, which are not executed."""
    calls = []

    def run(command, **options):
        calls.append([Path(command[0]).name, *command[1:]])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(install, "_installed", lambda: None)
    monkeypatch.setattr(install, "_imported_from", lambda: Path("folder"))
    monkeypatch.setattr(install.subprocess, "run", run)
    return calls


@pytest.fixture
def packages(monkeypatch):
    """Return a function that sets which of the packages pip and requests exist."""

    def set_them(*names):
        monkeypatch.setattr(
            install.importlib.util, "find_spec", lambda name: name in names or None
        )

    return set_them


QUIET = ("--disable-pip-version-check", "--no-input")
PIP = [Path(sys.executable).name, "-m", "pip", "install"]


def arguments(command):
    assert command[:4] == PIP
    return [
        word for word in command[4:] if word not in ("--disable-pip-version-check", "--no-input")
    ]


def test_from_python_3_13_on_mxnet_is_installed_without_its_pins(commands, packages, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    packages("pip")
    assert install.install() == Path("folder")
    assert [*map(arguments, commands)] == [["requests>=2.20"], ["--no-deps", "mxnet==1.9.1"]]
    commands.clear()
    packages("pip", "requests")
    install.install()
    assert [*map(arguments, commands)] == [["--no-deps", "mxnet==1.9.1"]]


def test_before_python_3_13_mxnet_is_installed_with_its_pins(commands, packages, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 12, 9))
    packages("pip")
    install.install()
    assert [*map(arguments, commands)] == [["mxnet==1.9.1"]]


def test_mxnet_is_installed_by_uv_without_pip_and_by_ensurepip_without_both(
    commands, packages, monkeypatch
):
    packages("requests")
    monkeypatch.setattr(install.shutil, "which", lambda name: f"bin/{name}")
    install.install()
    assert commands[-1][:5] == ["uv", "pip", "install", "--python", sys.executable]
    commands.clear()
    monkeypatch.setattr(install.shutil, "which", lambda name: None)
    install.install()
    assert commands[0][1:] == ["-m", "ensurepip"] and commands[1][:4] == PIP


@pytest.mark.parametrize(
    ("present", "words"),
    [((), "has neither pip nor ensurepip"), (("pip",), r"could not be installed \(exit code 7\)")],
)
def test_an_installer_that_fails_is_a_one_line_error(
    commands, packages, monkeypatch, present, words
):
    packages(*present)
    monkeypatch.setattr(install.shutil, "which", lambda name: None)
    monkeypatch.setattr(
        install.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 7)
    )
    with pytest.raises(EngineError, match=words) as caught:
        install.install()
    assert "\n" not in str(caught.value)


def test_an_error_for_a_machine_without_a_wheel_lists_the_supported_ones(commands, monkeypatch):
    monkeypatch.setattr(install.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(install.platform, "machine", lambda: "arm64")
    with pytest.raises(EngineError, match="has wheels for Linux x86_64, .* this is Darwin arm64"):
        install.install()
    assert not commands


def test_a_working_mxnet_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(install, "_installer", lambda: pytest.fail("something is installed"))
    result = CliRunner().invoke(main, ["mxnet", "install"])
    assert result.exit_code == 0
    assert engine.origin() in result.output.splitlines()


def test_a_broken_mxnet_is_left_as_it_is_and_named(tmp_path, monkeypatch):
    (tmp_path / "mxnet").mkdir()
    (tmp_path / "mxnet" / "__init__.py").write_text("raise ImportError('it is broken')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(install, "_installer", lambda: pytest.fail("something is installed"))
    result = CliRunner().invoke(main, ["mxnet", "install"])
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert f"An MXNet is installed in {tmp_path / 'mxnet'} and does not work" in result.output
    assert "it is broken" in result.output and "pip uninstall mxnet" in result.output
