"""Installs the CUDA build of MXNet from PyPI, completely or not at all."""

import contextlib
import fcntl
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Union

from ...errors import EngineError
from .. import mxnet2
from . import driver, library

#: Free bytes needed: for the downloads, pip's cache of them, and the unpacked files.
NEEDED_SPACE = 9 * 10**9

# This file marks a folder that `install` works in and may empty.
_WORKSHOP = "made-by-nst-gpu-install"


def install(place: Union[str, Path], card: bool = True) -> Path:
    """Install `library.PACKAGES` in a folder, unless they are installed there and work.

    Parameters
    ----------
    place : path-like
        A new or empty folder, or one that holds another version.
    card : bool
        Whether this machine must have a usable card.

    Returns
    -------
    Path

    Raises
    ------
    EngineError
        The machine or its card cannot use the build, or the installation failed; `place` is then
        unchanged.
    """
    # Install where a symbolic link points, so that the link is kept.
    place = Path(place).resolve()
    _check_machine(card)
    if _works(place):
        return place
    _check_place(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _check_space(place.parent)
        with _workshop(place) as workshop:
            _fill(workshop)
            _replace(place, workshop / "new", workshop / "old")
    except OSError as error:
        raise EngineError(
            f"Cannot install the CUDA build in {place}: {error.strerror or error}. Free some "
            f"space, or choose another folder with --dir or {library.VARIABLE}."
        ) from error
    return place


def _check_machine(card: bool) -> None:
    system = f"{platform.system()} {platform.machine()}"
    if system != "Linux x86_64":
        raise EngineError(f"The CUDA build of MXNet is for Linux on x86_64, and this is {system}.")
    installed = mxnet2.version()
    if installed:
        raise EngineError(
            f"MXNet {installed} is installed, and nst uses it for every device: install "
            "mxnet==1.9.1 for this CUDA build, or a build of MXNet 2 for your card."
        )
    if importlib.util.find_spec("pip") is None:
        raise EngineError(
            f"{sys.executable} has no pip, which installs the CUDA build: run python -m ensurepip."
        )
    if card:
        cards = driver.probe().cards
        if not any(one.usable for one in cards):
            cards[0].check()


def _works(place: Path) -> bool:
    if library.packages(place) != library.PACKAGES:
        return False
    with contextlib.suppress(EngineError):
        library.preload(place)
        return True
    return False


def _check_place(place: Path) -> None:
    foreign = library.foreign(place)
    if foreign:
        raise EngineError(
            f"{place} contains files that nst did not put there ({foreign}): choose a new or "
            f"empty folder with --dir or {library.VARIABLE}."
        )


def _check_space(parent: Path) -> None:
    free = shutil.disk_usage(parent).free
    if free < NEEDED_SPACE:
        raise EngineError(
            f"Installing the CUDA build takes {NEEDED_SPACE / 1e9:.0f} GB, half of them only for "
            f"the time being, and {parent} has {free / 1e9:.1f} GB: free some space, or choose a "
            f"folder on another disk with --dir or {library.VARIABLE}."
        )


@contextlib.contextmanager
def _workshop(place: Path) -> Iterator[Path]:
    """Yield a working folder beside `place`, on the same disk; it is removed afterwards."""
    path = place.with_name(f".{place.name}.nst-gpu-install")
    path.mkdir(exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            # The system releases the lock when the process ends, even if it is killed.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EngineError(
                f"Another nst gpu install is running in {path}: wait for it to end."
            ) from error
        if any(path.iterdir()) and not (path / _WORKSHOP).exists():
            raise EngineError(
                f"{path} is needed for the installation, but nst did not create it: move it away."
            )
        (path / _WORKSHOP).touch()
        # An installation that was killed may have left something.
        _clear(path, place)
        try:
            yield path
        finally:
            _clear(path, place)
            (path / _WORKSHOP).unlink()
            path.rmdir()
    finally:
        os.close(descriptor)


def _clear(workshop: Path, place: Path) -> None:
    """Remove an installation's working files; restore the old version if there is no new one."""
    if (workshop / "old").exists() and not place.exists():
        os.replace(workshop / "old", place)
    for name in ("new", "tmp", "old"):
        if (workshop / name).exists():
            shutil.rmtree(workshop / name)


def _fill(workshop: Path) -> None:
    """Let pip install everything in ``new``, and check that it can be loaded."""
    new, temporary = workshop / "new", workshop / "tmp"
    temporary.mkdir()
    command = [
        sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
        "--no-deps", "--only-binary=:all:", "--no-compile", "--target", str(new),
        *library.PACKAGES,
    ]  # fmt: skip
    # pip unpacks in TMPDIR, and the usual one may be too small. PIP_USER contradicts --target.
    environment = {**os.environ, "TMPDIR": str(temporary), "PIP_USER": "0"}
    done = subprocess.run(command, env=environment, stdout=sys.stderr, check=False)
    if done.returncode:
        raise EngineError(
            f"pip could not install the CUDA build (exit code {done.returncode}); its output is "
            "above. Check the network and the proxy settings, and try again."
        )
    library.preload(new)
    document = {"packages": library.PACKAGES, "entries": sorted(os.listdir(new))}
    with open(new / library.MARK, "w", encoding="utf-8") as stream:
        json.dump(document, stream, indent=2)


def _replace(place: Path, new: Path, old: Path) -> None:
    """Move `place` to `old` and `new` to `place`; `_clear` undoes half a replacement."""
    if place.exists():
        os.replace(place, old)
    os.replace(new, place)
