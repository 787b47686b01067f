"""Loads MXNet, with what this Python, NumPy and system need for it."""

import contextlib
import ctypes
import importlib
import os
import re
import sys

from .. import machine
from ..errors import EngineError
from . import mxnet2
from .gpu import driver, library
from .lending import lent

OLDEST_PYTHON = (3, 9)

# MXNet reads these once, while it is loaded or at its first bind; the user's own values stand.
_DEFAULTS = {
    "MXNET_SUBGRAPH_VERBOSE": "0",
    "MXNET_STORAGE_FALLBACK_LOG_VERBOSE": "0",
    "MXNET_CUDNN_LIB_CHECKING": "0",
    # Operators run one at a time, so one scratch space will do; four are the default.
    "MXNET_CPU_TEMP_COPY": "1",
    # Fused operations are compiled on the spot, for drivers as new as CUDA 11.8. In a chain of
    # convolutions there is next to nothing to fuse.
    "MXNET_USE_FUSION": "0",
}
# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8

_SYSTEM_LIBRARIES = ("libgomp", "libquadmath", "libstdc++")


def load(device="auto", precision="float32", deterministic=False):
    """Import MXNet and return the module; a process does it once, and keeps what it got.

    Parameters
    ----------
    device : str
        As `context` gets it. ``cpu`` takes the installed MXNet, a GPU the CUDA build.
    precision : str
    deterministic : bool
        As in `Config`; they count where a GPU is taken.

    Raises
    ------
    EngineError
        This Python or this system cannot run MXNet 1.9.1, or has no such GPU; the message says
        what can.
    """
    if "mxnet" in sys.modules:
        return sys.modules["mxnet"]
    check_python()
    # Left alone MXNet uses half of the logical CPUs. A list, as OpenMP allows for nested loops,
    # makes it abort; it has no nested loops.
    users = re.match(r"\s*([1-9]\d*)", os.environ.get("OMP_NUM_THREADS", ""))
    os.environ["OMP_NUM_THREADS"] = users[1] if users else str(machine.usable_cores())
    for key, value in _DEFAULTS.items():
        os.environ.setdefault(key, value)
    build = library.choose(device)
    if build:
        library.preload(build)
    if build or not device.startswith("cpu") and mxnet2.version():
        library.prepare(precision, deterministic)
    try:
        with lent(), library.importable(build):
            module = importlib.import_module("mxnet")
    except ImportError as error:
        raise EngineError(_import_advice(error)) from error
    except OSError as error:
        raise EngineError(_library_advice(error)) from error
    _keep_freed_memory()
    if module.__version__.startswith("2."):
        mxnet2.behave_like_the_first(module)
    return module


def check_python():
    """Raise `EngineError` unless this Python is new enough."""
    if sys.version_info[:2] < OLDEST_PYTHON:
        raise EngineError(
            f"nst needs Python {driver.dotted(OLDEST_PYTHON)} or newer, and this is "
            f"{driver.dotted(sys.version_info[:2])}: install nst-cli in an environment with a "
            "newer one."
        )


def threads():
    """Return how many threads MXNet computes with on the CPU."""
    load()
    try:
        return ctypes.CDLL("libgomp.so.1").omp_get_max_threads()
    except (OSError, AttributeError):  # another OpenMP, as on macOS, which obeys the variable
        return int(os.environ["OMP_NUM_THREADS"])


def _keep_freed_memory():
    """Have the C library keep what MXNet frees.

    On the CPU MXNet frees every temporary at once, and glibc gives large blocks back to the
    system. Mapping fresh pages for the next one costs several times what is computed in them.
    The largest, over 16 MiB, are given back even so: kept, they leave gaps that nothing fits.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library: only slower
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 16 << 20)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 64 << 20)
        # Threads' own arenas cannot hold large blocks.
        mallopt(_M_ARENA_MAX, 1)


def _import_advice(error):
    if error.name == "mxnet":
        return (
            "MXNet is not installed: nst mxnet install gets it, on Linux or on macOS with an "
            "Intel processor."
        )
    if isinstance(error, ModuleNotFoundError):
        return f"MXNet needs the package {error.name}, which is missing: pip install {error.name}."
    return f"MXNet cannot be imported: {last_line(error)}."


def _library_advice(error):
    text = last_line(error)
    if any(name in text for name in _SYSTEM_LIBRARIES):
        return (
            f"MXNet lacks a system library ({text}): install libgomp1 and libquadmath0 "
            "(Debian, Ubuntu) or libgomp and libquadmath (Fedora, RHEL)."
        )
    if "libcuda" in text:
        return f"This CUDA build of MXNet needs NVIDIA's driver ({text}): install it, or mxnet."
    return f"MXNet cannot be loaded ({text})."


def last_line(error):
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
