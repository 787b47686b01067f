"""Installs MXNet 1.9.1 in the environment that nst runs in."""

import importlib.machinery
import importlib.util
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Optional

from ..errors import EngineError

PACKAGE = "mxnet==1.9.1"

#: From this Python on there is no NumPy below 2, which MXNet's own requirements ask for.
WITHOUT_PINS = (3, 13)

# The platforms that PyPI has wheels for.
_MACHINES = ("Linux x86_64", "Linux aarch64", "Darwin x86_64")

# This runs in a new process, because the current one may have imported another NumPy.
_TRY = """
import sys
sys.path[:] = {path!r}
from nst_cli import engine, errors
try:
    engine.load("cpu")
    print(engine.origin())
except errors.NstError as error:
    sys.exit(str(error))
"""


def install() -> Path:
    """Install MXNet, unless it is installed and works; return the folder it is in.

    Raises
    ------
    EngineError
        There is no wheel for this machine, the installer fails, or the installed MXNet cannot be
        imported.
    """
    installed = _installed()
    if installed:
        try:
            place = _imported_from()
            print("MXNet is installed already, and works.", file=sys.stderr)
            return place
        except EngineError as error:
            raise EngineError(
                f"An MXNet is installed in {installed} and does not work: {error} To replace "
                "it, remove it first: pip uninstall mxnet."
            ) from error
    machine = f"{platform.system()} {platform.machine()}"
    if machine not in _MACHINES:
        raise EngineError(
            f"{PACKAGE} has wheels for {', '.join(_MACHINES)}, and this is {machine}."
        )
    installer = _installer()
    for arguments in _steps():
        if code := _exit_code([*installer, *arguments]):
            raise EngineError(
                f"MXNet could not be installed (exit code {code}); the installer's output is "
                "above."
            )
    return _imported_from()


def _installed() -> Optional[Path]:
    """Return the folder of an installed MXNet without importing it; None if there is none."""
    importlib.invalidate_caches()
    spec = importlib.machinery.PathFinder.find_spec("mxnet")
    folders = spec and spec.submodule_search_locations
    return Path(next(iter(folders))) if folders else None


def _steps() -> list[list[str]]:
    """Return the arguments of each call of the installer."""
    if sys.version_info[:2] < WITHOUT_PINS:
        return [[PACKAGE]]
    # MXNet imports requests and NumPy; NumPy is left as it is. Once MXNet is installed, pip would
    # warn about its unmet requirements, so requests comes first.
    needed = [] if importlib.util.find_spec("requests") else [["requests>=2.20"]]
    return [*needed, ["--no-deps", PACKAGE]]


def _installer() -> list[str]:
    """Return the command that installs packages in this environment, as a list of words."""
    if importlib.util.find_spec("pip") is None:
        uv = shutil.which("uv")
        if uv:
            return [uv, "pip", "install", "--python", sys.executable]
        _add_pip()
    return [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]


def _add_pip() -> None:
    if _exit_code([sys.executable, "-m", "ensurepip"]):
        raise EngineError(
            f"{sys.executable} has neither pip nor ensurepip, and there is no uv: install one of "
            "them, or make an environment with python -m venv."
        )


def _exit_code(command: list[str]) -> int:
    """Run a command with its output on stderr; return its exit code."""
    print("Running", " ".join(command), file=sys.stderr, flush=True)
    return subprocess.run(command, stdout=sys.stderr, check=False).returncode


def _imported_from() -> Path:
    """Import MXNet in a fresh process; return the folder it came from."""
    code = _TRY.format(path=[entry or "." for entry in sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise EngineError(lines[-1] if lines else f"its import ended with {done.returncode}.")
    return Path(done.stdout.splitlines()[-1])
