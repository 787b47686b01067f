"""Everything that standing on Apache MXNet costs, 1.9.1 or 2, in one place.

No other module imports MXNet. Loading it takes seconds, so it happens at the first use of
`nd` or `sym`, never when a module is imported.
"""

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
from .executor import Executor
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

_MARK = "MXNetError:"

_SYSTEM_LIBRARIES = ("libgomp", "libquadmath", "libstdc++")


def __getattr__(name):
    """Give `nd` and `sym` on first use (PEP 562), so that importing costs nothing."""
    if name in ("nd", "sym"):
        return getattr(load(), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
    if build or not device.startswith("cpu") and library.mxnet2():
        library.prepare(precision, deterministic)
    try:
        with _old_names(), library.importable(build):
            module = importlib.import_module("mxnet")
    except ImportError as error:
        raise EngineError(
            f"MXNet cannot be imported ({_last_line(error)}): on Linux x86_64 install it with "
            "pip install mxnet==1.9.1 'numpy<2'."
        ) from error
    except OSError as error:
        raise EngineError(_library_advice(error)) from error
    _keep_freed_memory()
    if module.__version__.startswith("2."):
        _behave_like_the_first(module)
    globals().update(nd=module.nd, sym=module.sym)
    return module


def check_python():
    """Raise `EngineError` unless this Python is one that MXNet runs on."""
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        raise EngineError(
            f"MXNet 1.9.1 does not run on Python {driver.dotted(sys.version_info[:2])}: make an "
            f"environment with Python {' to '.join(map(driver.dotted, PYTHONS))} and install "
            "nst-cli there."
        )


def context(device="cpu", precision="float32", deterministic=False):
    """Return the MXNet context that `device` names.

    Parameters
    ----------
    device : str
        ``auto`` (the first GPU that can be used, else the CPU), ``cpu``, ``cpu:N``, ``gpu`` or
        ``gpu:N``.
    precision : str
    deterministic : bool
        As `load` gets them.

    Raises
    ------
    EngineError
        A GPU was asked for and cannot be used, or not in that way.
    """
    mx = load(device, precision, deterministic)
    kind, _, index = device.partition(":")
    index = int(index or 0)
    if kind == "auto":
        card = library.first_usable() if gpu_count() else None
        kind, index = ("cpu", 0) if card is None else ("gpu", card)
    if kind == "cpu":
        return mx.cpu(index)
    if not has_cuda():
        if library.choose(device):
            reason = (
                "comes too late: this process has loaded MXNet for the CPU. Use another process, "
                "or the GPU from the start."
            )
        elif version().startswith("2."):
            reason = (
                f"needs another MXNet than this {version()}, which is built for the CPU alone: "
                "install a build of it for CUDA, or mxnet==1.9.1 and run nst gpu install. Or use "
                "device cpu."
            )
        else:
            reason = (
                "needs another MXNet than this one, which is built for the CPU alone: nst gpu "
                "install gets it. Or use device cpu."
            )
        raise EngineError(f"Device {device!r} {reason}")
    count = gpu_count()
    if index >= count:
        raise EngineError(
            f"There is no GPU {index}: MXNet sees {count}, numbered from 0. Try nvidia-smi. Or "
            "use device cpu."
        )
    if deterministic and os.environ.get("MXNET_ENFORCE_DETERMINISM") != "1":
        raise EngineError(
            "deterministic comes too late: on a GPU it counts from the first use of MXNet in a "
            "process. Use another process, or set MXNET_ENFORCE_DETERMINISM=1 and "
            "MXNET_CUDNN_AUTOTUNE_DEFAULT=0 from the start."
        )
    return mx.gpu(index)


def device_of(config):
    """Return the context that a `Config` computes on; before all else, because it loads MXNet."""
    return context(config.device, config.precision, config.deterministic)


def is_host(device):
    """Tell whether a context is the processor itself, from which reading costs nothing.

    MXNet's other CPU contexts are devices apart, and so do for a GPU in tests.
    """
    return device == load().cpu(0)


def has_cuda():
    """Tell whether this MXNet was built for CUDA."""
    return load().runtime.Features().is_enabled("CUDA")


def gpu_count():
    """Return how many GPUs this MXNet can see."""
    mx = load()
    try:
        return mx.context.num_gpus() if has_cuda() else 0
    except mx.base.MXNetError:
        # A CUDA build on a machine whose driver answers with an error has no GPU to offer.
        return 0


def threads():
    """Return how many threads MXNet computes with on the CPU."""
    load()
    try:
        return ctypes.CDLL("libgomp.so.1").omp_get_max_threads()
    except (OSError, AttributeError):  # another OpenMP, as on macOS, which obeys the variable
        return int(os.environ["OMP_NUM_THREADS"])


def resolved_precision(precision, device):
    """Return the precision that a `Config.precision` means on a device.

    Parameters
    ----------
    precision : str
        ``float32``, ``tf32``, ``bfloat16``, ``float16``, or ``auto``: tf32 or bfloat16 where it
        is native, else float32.
    device : Context

    Raises
    ------
    EngineError
        The processor or GPU has it not, or NVIDIA's libraries have been set otherwise.
    """
    offered = {"float32"}
    if device.device_type == "cpu":
        native = "bfloat16" if "avx512_bf16" in machine.cpu_flags() else "float32"
        offered |= {native, "float16"}
    else:
        native = "tf32" if _rounds_to_tf32(device) else "float32"
        offered |= {native, "float16"} if _has(device, "float16") else {native}
    if precision == "auto":
        return native
    if precision == "float32" and native == "tf32":
        raise EngineError(
            "Precision float32 comes too late: in this process NVIDIA's libraries round to TF32. "
            "Use another process, or set NVIDIA_TF32_OVERRIDE=0 from the start."
        )
    if precision not in offered:
        needs = {
            "bfloat16": "a processor with AVX-512 BF16",
            "tf32": f"{_card_with('tf32')}, and NVIDIA_TF32_OVERRIDE not to be 0",
            "float16": _card_with("float16"),
        }
        raise EngineError(
            f"Precision {precision} needs {needs[precision]}, which {device} has not: use auto "
            "or float32."
        )
    return precision


def multiplies(precision, device):
    """Tell whether MXNet convolves maps of a precision on a device; on a CPU not in float16."""
    return precision != "float16" or device.device_type != "cpu"


def _rounds_to_tf32(device):
    """Tell whether NVIDIA's libraries compute float32 in TF32 on a GPU, in this process."""
    if os.environ.get("NVIDIA_TF32_OVERRIDE") == "0":
        return False
    return _has(device, "tf32")


def _has(device, precision):
    return driver.probe().cards[device.device_id].capability >= driver.LEAST[precision]


def _card_with(precision):
    least = driver.dotted(driver.LEAST[precision])
    return f"an NVIDIA card of compute capability {least} or more"


def data_type(precision):
    """Return what MXNet takes as the dtype of a precision."""
    # NumPy has no bfloat16; this is the type that mxnet.contrib.amp itself uses.
    return numpy.dtype([("bfloat16", numpy.uint16)]) if precision == "bfloat16" else precision


def version():
    """Return MXNet's version."""
    return load().__version__


def origin():
    """Return the folder that MXNet was imported from."""
    return os.path.dirname(load().__file__)


def array(values, device, dtype="float32"):
    """Copy `values` (anything NumPy reads) to an NDArray of `dtype` on the context `device`."""
    return load().nd.array(numpy.asarray(values), ctx=device, dtype=dtype)


def bind(symbol, parameters, gradient=None):
    """Bind `symbol`, but for its input ``data``, to the given NDArrays themselves.

    Parameters
    ----------
    symbol : Symbol
    parameters : dict of str to NDArray
        Shared, not copied: several executors may stand on one set of them.
    gradient : NDArray, optional
        Where `backward` writes the gradient on the input. Parameters get none.

    Returns
    -------
    Executor
    """
    return Executor(load(), symbol, parameters, gradient)


def dot(one, other):
    """Return the inner product of two arrays of one size, shape (1,).

    MXNet's sum and norm are many times slower than its product.
    """
    return load().nd.dot(one.reshape((-1,)), other.reshape((-1,)))


def free_memory(device):
    """Return the bytes that a run on the context `device` can still get; None where unknown."""
    if device.device_type == "gpu":
        return load().context.gpu_memory_info(device.device_id)[0]
    return machine.free_memory()


def wait():
    """Wait until everything queued on every device has run."""
    load().nd.waitall()


def release(device):
    """Give back what MXNet holds of a GPU's memory and does not use.

    Its pool hands out blocks of the very size they had, of which another image has no use.
    """
    if device.device_type == "gpu":
        wait()
        device.empty_cache()


@contextlib.contextmanager
def failures():
    """Turn MXNet's own errors into `EngineError`, with the one line in them that says why."""
    mx = load()
    try:
        yield
    except (mx.base.MXNetError, MemoryError) as error:
        message = _reason(error)
        if isinstance(error, MemoryError) or re.search(
            r"(?i)allocate|alloc_failed|out of memory", message
        ):
            raise EngineError(
                f"Not enough memory ({message}): a smaller --size needs less, in proportion "
                "to its square."
            ) from error
        raise EngineError(f"MXNet failed: {message}") from error


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


def _behave_like_the_first(mx):
    """Set MXNet 2 to the ways of MXNet 1, and let it say now what it says when it starts."""
    # An array of one number has the shape (1,), and there are none without numbers.
    mx.util.reset_np()
    with _silence():
        mx.nd.zeros((1,), ctx=mx.cpu()).wait_to_read()


@contextlib.contextmanager
def _silence():
    """Keep off stderr what compiled code writes there; MXNet 2 names its memory pool, always."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class _Version(tuple):
    """The ordering of ``distutils.version.LooseVersion``, as far as MXNet asks for it."""

    def __new__(cls, text):
        return super().__new__(cls, (int(part) for part in text.split(".")[:2]))


def _library_advice(error):
    text = _last_line(error)
    if any(name in text for name in _SYSTEM_LIBRARIES):
        return (
            f"MXNet lacks a system library ({text}): install libgomp1 and libquadmath0 "
            "(Debian, Ubuntu) or libgomp and libquadmath (Fedora, RHEL)."
        )
    if "libcuda" in text:
        return f"This CUDA build of MXNet needs NVIDIA's driver ({text}): install it, or mxnet."
    return f"MXNet cannot be loaded ({text})."


def _reason(error):
    """Return the line of an MXNet message that says what failed; a traceback stands before it."""
    marked = [line for line in str(error).splitlines() if line.startswith(_MARK)]
    return marked[0][len(_MARK) :].strip() if marked else _last_line(error)


def _last_line(error):
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
