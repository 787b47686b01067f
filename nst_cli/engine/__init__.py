"""The only package that imports MXNet (1.9.1 or 2): loading, devices, precision, memory, errors.

Loading it takes seconds, so it happens at the first use of
`nd` or `sym`, never when a module is imported.
"""

import contextlib
import os
import re

import numpy

from .. import machine
from ..errors import EngineError
from .environment import worker_environment
from .executor import Executor
from .gpu import library
from .loading import check_python, last_line, load, threads
from .precision import convolves_natively, data_type, resolved_precision

__all__ = [
    "array", "bind", "check_python", "context", "convolves_natively", "data_type", "device_of",
    "dot", "failures", "free_memory", "gpu_count", "has_cuda", "is_host", "load", "origin",
    "release", "resolved_precision", "threads", "version", "wait", "worker_environment",
]  # fmt: skip

_MARK = "MXNetError:"


def __getattr__(name):
    """Give `nd` and `sym` on first use (PEP 562), so that importing costs nothing."""
    if name in ("nd", "sym"):
        globals()[name] = getattr(load(), name)
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
        raise EngineError(f"Device {device!r} {_why_no_gpu(device)}")
    count = gpu_count()
    if index >= count:
        raise EngineError(
            f"There is no GPU {index}: MXNet sees {count}, numbered from 0. Try nvidia-smi. Or "
            "use device cpu."
        )
    if deterministic and os.environ.get("MXNET_ENFORCE_DETERMINISM") != "1":
        raise EngineError(
            "deterministic on a GPU must be requested before MXNet is first used in a process. "
            "Use another process, or set MXNET_ENFORCE_DETERMINISM=1 and "
            "MXNET_CUDNN_AUTOTUNE_DEFAULT=0 from the start."
        )
    return mx.gpu(index)


def _why_no_gpu(device):
    if library.choose(device):
        return (
            "must be requested before MXNet is first used in a process: this one has loaded the "
            "build for the CPU. Use another process, or the GPU from the start."
        )
    if version().startswith("2."):
        return (
            f"needs another MXNet than this {version()}, which is built for the CPU alone: "
            "install a build of it for CUDA, or mxnet==1.9.1 and run nst gpu install. Or use "
            "device cpu."
        )
    return (
        "needs another MXNet than this one, which is built for the CPU alone: nst gpu install "
        "gets it. Or use device cpu."
    )


def device_of(config):
    """Return the context that a `Config` computes on; before all else, because it loads MXNet."""
    return context(config.device, config.precision, config.deterministic)


def is_host(device):
    """Return whether a context is the processor itself, from which reading costs nothing.

    MXNet's other CPU contexts are separate devices, which stand in for a GPU in tests.
    """
    return device == load().cpu(0)


def has_cuda():
    """Return whether this MXNet was built for CUDA."""
    return load().runtime.Features().is_enabled("CUDA")


def gpu_count():
    """Return how many GPUs this MXNet can see."""
    mx = load()
    try:
        return mx.context.num_gpus() if has_cuda() else 0
    except mx.base.MXNetError:
        # A CUDA build on a machine whose driver answers with an error has no GPU to offer.
        return 0


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


def _reason(error):
    """Return the line of an MXNet message that says what failed; a traceback stands before it."""
    marked = [line for line in str(error).splitlines() if line.startswith(_MARK)]
    return marked[0][len(_MARK) :].strip() if marked else last_line(error)
