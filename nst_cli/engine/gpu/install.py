"""Installs the CUDA build of MXNet from PyPI, whole or not at all."""

import contextlib
import fcntl
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from ...errors import EngineError
from .. import mxnet2
from . import driver, library

#: Bytes that have to be free: what is downloaded, pip's cache of it, and what it unpacks to.
ROOM = 9 * 10**9

# The file that marks a folder as one that `install` works in, and may empty.
_WORKSHOP = "made-by-nst-gpu-install"


def install(place, card=True):
    """Install `library.PACKAGES` in a folder, unless they are there and in order.

    Parameters
    ----------
    place : path-like
        A new or empty folder, or one that holds another version.
    card : bool
        Whether this machine must have a card for it.

    Returns
    -------
    Path

    Raises
    ------
    EngineError
        The machine or its card is not fit for it, or something went wrong; then `place` is as
        it was before.
    """
    # Where a link leads, so that it stays one.
    place = Path(place).resolve()
    _check_machine(card)
    if _in_order(place):
        return place
    _check_place(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _check_room(place.parent)
        with _workshop(place) as workshop:
            _fill(workshop)
            _put(workshop / "new", place, workshop / "old")
    except OSError as error:
        raise EngineError(
            f"Cannot install the CUDA build in {place}: {error.strerror or error}. Make room, or "
            f"name another folder by --dir or {library.VARIABLE}."
        ) from error
    return place


def _check_machine(card):
    found = f"{platform.system()} {platform.machine()}"
    if found != "Linux x86_64":
        raise EngineError(f"The CUDA build of MXNet is for Linux on x86_64, and this is {found}.")
    own = mxnet2.version()
    if own:
        raise EngineError(
            f"MXNet {own} is installed, and nst takes that for every device: install mxnet==1.9.1 "
            "for this CUDA build, or a build of MXNet 2 for your card."
        )
    if importlib.util.find_spec("pip") is None:
        raise EngineError(
            f"{sys.executable} has no pip, which installs the CUDA build: run python -m ensurepip."
        )
    if card:
        cards = driver.probe().cards
        if not any(one.usable for one in cards):
            cards[0].check()


def _in_order(place):
    if library.packages(place) != library.PACKAGES:
        return False
    with contextlib.suppress(EngineError):
        library.preload(place)
        return True
    return False


def _check_place(place):
    foreign = library.foreign(place)
    if foreign:
        raise EngineError(
            f"{place} holds something that nst did not put there ({foreign}): name a new or an "
            f"empty folder, by --dir or {library.VARIABLE}."
        )


def _check_room(parent):
    free = shutil.disk_usage(parent).free
    if free < ROOM:
        raise EngineError(
            f"Installing the CUDA build takes {ROOM / 1e9:.0f} GB, half of which are free again "
            f"afterwards, and {parent} has {free / 1e9:.1f} GB: make room, or name a folder on "
            f"another disk by --dir or {library.VARIABLE}."
        )


@contextlib.contextmanager
def _workshop(place):
    """Yield a folder beside `place`, and so on its disk, that is removed in the end."""
    path = place.with_name(f".{place.name}.nst-gpu-install")
    path.mkdir(exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            # The system ends the lock with the process, whatever ends the process.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EngineError(
                f"Another nst gpu install is at work in {path}: wait for it to end."
            ) from error
        if any(path.iterdir()) and not (path / _WORKSHOP).exists():
            raise EngineError(f"{path} is in the way, and nst did not make it: move it away.")
        (path / _WORKSHOP).touch()
        # What one left that was killed.
        _clear(path, place)
        try:
            yield path
        finally:
            _clear(path, place)
            (path / _WORKSHOP).unlink()
            path.rmdir()
    finally:
        os.close(descriptor)


def _clear(workshop, place):
    """Remove what an installation works with; the version before goes back if there is no new."""
    if (workshop / "old").exists() and not place.exists():
        os.replace(workshop / "old", place)
    for name in ("new", "tmp", "old"):
        if (workshop / name).exists():
            shutil.rmtree(workshop / name)


def _fill(workshop):
    """Have pip install everything in ``new``, and see whether it can be loaded."""
    new, temporary = workshop / "new", workshop / "tmp"
    temporary.mkdir()
    command = [
        sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
        "--no-deps", "--only-binary=:all:", "--no-compile", "--target", str(new),
        *library.PACKAGES,
    ]  # fmt: skip
    # pip unpacks in the temporary folder, which elsewhere may be too small. PIP_USER would
    # contradict --target.
    environment = {**os.environ, "TMPDIR": str(temporary), "PIP_USER": "0"}
    done = subprocess.run(command, env=environment, stdout=sys.stderr, check=False)
    if done.returncode:
        raise EngineError(
            f"pip could not install the CUDA build (exit code {done.returncode}); its own words "
            "are above. Check the network and the proxy settings and run it again."
        )
    library.preload(new)
    document = {"packages": library.PACKAGES, "entries": sorted(os.listdir(new))}
    with open(new / library.MARK, "w", encoding="utf-8") as stream:
        json.dump(document, stream, indent=2)


def _put(new, place, old):
    """Replace `place` with `new`; `_clear` puts `old` back if the second step fails."""
    if place.exists():
        os.replace(place, old)
    os.replace(new, place)
