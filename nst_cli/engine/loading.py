"""Loads MXNet, with what this Python, NumPy and system need for it."""

import contextlib
import ctypes
import importlib
import os
import re
import sys
import types

import numpy

from .. import machine
from ..errors import EngineError
from . import mxnet2
from .gpu import driver, library

PYTHONS = ((3, 9), (3, 12))

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

# What `load` found in variables before it set them.
_loaded = {}

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
    # Left alone MXNet uses half of the logical CPUs, and text or a list makes it abort.
    users = users_threads()
    _loaded["threads"] = users
    os.environ["OMP_NUM_THREADS"] = str(users or machine.usable_cores())
    for key, value in _DEFAULTS.items():
        os.environ.setdefault(key, value)
    build = library.choose(device)
    if build:
        library.preload(build)
    if build or not device.startswith("cpu") and mxnet2.version():
        library.prepare(precision, deterministic)
    try:
        with _old_names(), library.importable(build):
            module = importlib.import_module("mxnet")
    except ImportError as error:
        raise EngineError(
            f"MXNet cannot be imported ({last_line(error)}): on Linux x86_64 install it with "
            "pip install mxnet==1.9.1 'numpy<2'."
        ) from error
    except OSError as error:
        raise EngineError(_library_advice(error)) from error
    _keep_freed_memory()
    if module.__version__.startswith("2."):
        mxnet2.behave_like_the_first(module)
    return module


def check_python():
    """Raise `EngineError` unless this Python is one that MXNet runs on."""
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        raise EngineError(
            f"MXNet 1.9.1 does not run on Python {driver.dotted(sys.version_info[:2])}: make an "
            f"environment with Python {' to '.join(map(driver.dotted, PYTHONS))} and install "
            "nst-cli there."
        )


def users_threads():
    """Return the threads that the user's OMP_NUM_THREADS asks for; None where it names no number.

    `load` sets the variable for this process. What it sets does not count here.
    """
    if "threads" in _loaded:
        return _loaded["threads"]
    # OpenMP allows a list, for nested loops. MXNet has none.
    match = re.match(r"\s*([1-9]\d*)", os.environ.get("OMP_NUM_THREADS", ""))
    return int(match[1]) if match else None


def threads():
    """Return how many threads MXNet computes with on the CPU."""
    load()
    try:
        return ctypes.CDLL("libgomp.so.1").omp_get_max_threads()
    except (OSError, AttributeError):  # another OpenMP, as on macOS, which obeys the variable
        return int(os.environ["OMP_NUM_THREADS"])


@contextlib.contextmanager
def _old_names():
    """Lend MXNet the two names it needs while it is imported, and take them back."""
    lend_bool = "bool" not in vars(numpy)
    if lend_bool:
        numpy.bool = bool  # gone from NumPy 1.24 to 1.26
    lent = []
    try:
        importlib.import_module("distutils.version")
    except ImportError:
        # Python 3.12 has no distutils unless setuptools brings its own.
        lent = ["distutils", "distutils.version"]
        package, module = (types.ModuleType(name) for name in lent)
        module.LooseVersion = module.StrictVersion = _Version
        package.version = module
        sys.modules.update(zip(lent, (package, module)))
    try:
        yield
    finally:
        if lend_bool:
            del numpy.bool
        for name in lent:
            sys.modules.pop(name, None)


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


class _Version(tuple):
    """The ordering of ``distutils.version.LooseVersion``, as far as MXNet asks for it."""

    def __new__(cls, text):
        return super().__new__(cls, (int(part) for part in text.split(".")[:2]))


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
