"""Loads MXNet and adapts it to this Python, NumPy and system."""

import contextlib
import ctypes
import importlib
import platform
import sys
import threading
from typing import Any

import numpy

from .. import machine
from ..errors import EngineError
from . import environment, mxnet2
from .gpu import driver, library
from .lending import ignore_warnings, lent

OLDEST_PYTHON = (3, 9)

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8

# How much more of each limit of the process its import takes, measured for MXNet 1.9.1: with one
# thread, and for each further one.
_IMPORT_BYTES = {"ulimit -v": 920 << 20, "ulimit -d": 350 << 20}
_THREAD_BYTES = 72 << 20

_SYSTEM_LIBRARIES = ("libgomp", "libquadmath", "libstdc++")

# MXNet, once it is loaded. One thread loads it while others wait.
_module: Any = None
_lock = threading.Lock()


def load(device: str = "auto", precision: str = "float32", deterministic: bool = False) -> Any:
    """Import MXNet and return the module; only the first call in a process has an effect.

    Parameters
    ----------
    device : str
        As for `context`. ``cpu`` loads the installed MXNet, a GPU loads the CUDA build.
    precision : str
    deterministic : bool
        As in `Config`; they matter on a GPU only.

    Raises
    ------
    EngineError
        This Python or system cannot run MXNet 1.9.1, or the GPU does not exist; the message says
        what would work.
    """
    global _module
    if _module is None:
        with _lock:
            if _module is None:
                _module = _loaded(device, precision, deterministic)
    return _module


def _loaded(device: str, precision: str, deterministic: bool) -> Any:
    # If the caller has imported MXNet already, use that and set what can still be set.
    module: Any = sys.modules.get("mxnet")
    environment.prepare()
    if module is None:
        check_python()
        environment.check()
        _check_limits()
        module = _imported(device, precision, deterministic)
    ignore_warnings()
    _keep_freed_memory()
    if module.__version__.startswith("2."):
        mxnet2.behave_like_the_first(module)
    return module


def _imported(device: str, precision: str, deterministic: bool) -> Any:
    environment.enable_amx()
    build = library.choose(device)
    if build:
        library.preload(build)
    if build or not device.startswith("cpu") and mxnet2.version():
        library.prepare(precision, deterministic)
    try:
        with environment.threads_chosen(), lent(), library.importable(build):
            module = importlib.import_module("mxnet")
            # This starts MXNet's engine and its threads.
            module.nd.waitall()
    except ImportError as error:
        raise EngineError(_import_advice(error)) from error
    except OSError as error:
        raise EngineError(_library_advice(error)) from error
    except Exception as error:
        # This Python or NumPy is newer than those that nst was tested with.
        raise EngineError(
            f"MXNet cannot be loaded with Python {platform.python_version()} and NumPy "
            f"{numpy.__version__}: {type(error).__name__}: {last_line(error)}."
        ) from error
    return module


def check_python() -> None:
    """Raise `EngineError` unless this Python is new enough."""
    if sys.version_info[:2] < OLDEST_PYTHON:
        raise EngineError(
            f"nst needs Python {driver.dotted(OLDEST_PYTHON)} or newer, and this is "
            f"{driver.dotted(sys.version_info[:2])}: install nst-cli in an environment with a "
            "newer Python."
        )


def _check_limits() -> None:
    """Raise `EngineError` if a limit of this process leaves too little for the import of MXNet.

    MXNet would not report that: it ends the process, or waits for ever.
    """
    for command, limit, left in machine.process_limits():
        count = environment.threads()
        needed = _IMPORT_BYTES[command] + _THREAD_BYTES * (count - 1)
        if left < needed:
            threads = f" with {count} threads" if count > 1 else ""
            raise EngineError(
                f"Not enough memory to load MXNet{threads}: it takes up to {needed >> 20} MB, and "
                f"the limit of this process, {limit >> 20} MB ({command}), leaves {left >> 20} "
                "MB; raise the limit."
            )


def threads() -> int:
    """Return how many threads MXNet uses on the CPU."""
    load()
    try:
        return int(ctypes.CDLL("libgomp.so.1").omp_get_max_threads())
    except (OSError, AttributeError):  # another OpenMP, as on macOS, which reads the variable
        return environment.threads()


def _keep_freed_memory() -> None:
    """Let the C library keep the memory that MXNet frees.

    On the CPU MXNet frees each temporary array at once, and glibc by default returns large blocks
    to the system. Mapping fresh pages for the next array costs several times the computation on
    it. Blocks over 16 MiB are still returned, because keeping them fragments the memory.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library is only slower
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 16 << 20)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 64 << 20)
        # The arenas of threads cannot hold large blocks.
        mallopt(_M_ARENA_MAX, 1)


def return_freed_memory() -> None:
    """Return the memory that the C library keeps to the system.

    Blocks of many sizes one after another leave gaps that no later block fits into.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library keeps less
        ctypes.CDLL(None).malloc_trim(0)


def _import_advice(error: ImportError) -> str:
    if error.name == "mxnet":
        return (
            "MXNet is not installed: run nst mxnet install, on Linux or on macOS with an Intel "
            "processor."
        )
    if isinstance(error, ModuleNotFoundError):
        return f"MXNet needs the package {error.name}, which is missing: pip install {error.name}."
    return f"MXNet cannot be imported: {last_line(error)}."


def _library_advice(error: OSError) -> str:
    text = last_line(error)
    if any(name in text for name in _SYSTEM_LIBRARIES):
        return (
            f"MXNet lacks a system library ({text}): install libgomp1 and libquadmath0 "
            "(Debian, Ubuntu) or libgomp and libquadmath (Fedora, RHEL)."
        )
    if "libcuda" in text:
        return f"This CUDA build of MXNet needs NVIDIA's driver ({text}): install it, or mxnet."
    return f"MXNet cannot be loaded ({text})."


def last_line(error: BaseException) -> str:
    """Return the last line of an error's message, or the name of its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
