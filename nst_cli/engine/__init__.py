"""The only package that imports MXNet (1.9.1 or 2): loading, devices, precision, memory, errors.

Importing MXNet takes seconds, so it is loaded at the first use of `nd` or `sym`, not when this
package is imported.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Optional

import numpy

from .. import machine
from ..config import Config
from ..errors import EngineError
from .environment import hold_few_operators, worker_environment
from .executor import Executor
from .gpu import library
from .loading import check_python, last_line, load, return_freed_memory, threads
from .precision import (
    by_amx,
    convolves_natively,
    data_type,
    instruction_set,
    resolved_precision,
    without_onednn,
)

__all__ = [
    "Executor", "array", "bind", "by_amx", "check_python", "context", "convolves_natively",
    "data_type", "device_of", "dot", "failures", "free_memory", "gpu_count", "has_cuda",
    "hold_few_operators", "instruction_set", "is_host", "load", "origin", "precision_of",
    "release", "resolved_precision", "return_freed_memory", "threads", "version", "wait",
    "worker_environment",
]  # fmt: skip

_MARK = "MXNetError:"


def __getattr__(name: str) -> Any:
    """Load MXNet at the first use of `nd` or `sym` (PEP 562)."""
    if name in ("nd", "sym"):
        globals()[name] = getattr(load(), name)
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def context(device: str = "cpu", precision: str = "float32", deterministic: bool = False) -> Any:
    """Return the MXNet context that `device` names.

    Parameters
    ----------
    device : str
        ``auto`` (the first usable GPU, else the CPU), ``cpu``, ``cpu:N``, ``gpu`` or ``gpu:N``.
    precision : str
    deterministic : bool
        As for `load`.

    Raises
    ------
    EngineError
        A GPU was requested and cannot be used, or not deterministically.
    """
    mx = load(device, precision, deterministic)
    kind, _, number = device.partition(":")
    index = int(number or 0)
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
            f"There is no GPU {index}: MXNet sees {count}, numbered from 0. Try nvidia-smi, or "
            "use device cpu."
        )
    if deterministic and os.environ.get("MXNET_ENFORCE_DETERMINISM") != "1":
        raise EngineError(
            "deterministic on a GPU must be requested before MXNet is first used in a process. "
            "Use another process, or set MXNET_ENFORCE_DETERMINISM=1 and "
            "MXNET_CUDNN_AUTOTUNE_DEFAULT=0 from the start."
        )
    return mx.gpu(index)


def _why_no_gpu(device: str) -> str:
    if library.choose(device):
        return (
            "must be requested before MXNet is first used in a process: this one has loaded the "
            "CPU build. Use another process, or the GPU from the start."
        )
    if version().startswith("2."):
        return (
            f"needs a CUDA build of MXNet, and the installed {version()} is for the CPU only: "
            "install a CUDA build of it, or mxnet==1.9.1 and run nst gpu install, or use device "
            "cpu."
        )
    return (
        "needs a CUDA build of MXNet, and this one is for the CPU only: run nst gpu install, or "
        "use device cpu."
    )


def device_of(config: Config) -> Any:
    """Return the context that a `Config` asks for; call this first, because it loads MXNet."""
    return context(config.device, config.precision, config.deterministic)


def precision_of(config: Config, device: Any) -> str:
    """Return the precision that a `Config` selects on a device.

    It is that of `resolved_precision`, except that ``auto`` does not round under convolution
    ``winograd``.

    Raises
    ------
    EngineError
        The device does not support the precision or the convolution.
    """
    precision = resolved_precision(config.precision, device)
    if config.convolution != "winograd":
        return precision
    if device.device_type == "cpu" and without_onednn():
        raise EngineError(
            "Convolution winograd needs oneDNN, which MXNET_MKLDNN_ENABLED switches off: unset "
            "that variable, or use convolution direct."
        )
    return "float32" if precision == "bfloat16" else precision


def is_host(device: Any) -> bool:
    """Return whether a context is the CPU itself, where reading an array costs nothing.

    MXNet treats its other CPU contexts as separate devices; in tests they stand in for a GPU.
    """
    return bool(device == load().cpu(0))


def has_cuda() -> bool:
    """Return whether this MXNet was built for CUDA."""
    return bool(load().runtime.Features().is_enabled("CUDA"))


def gpu_count() -> int:
    """Return how many GPUs this MXNet can see."""
    mx = load()
    try:
        return mx.context.num_gpus() if has_cuda() else 0
    except mx.base.MXNetError:
        # A CUDA build has no usable GPU if the driver reports an error.
        return 0


def version() -> str:
    """Return MXNet's version."""
    return str(load().__version__)


def origin() -> str:
    """Return the folder that MXNet was imported from."""
    return os.path.dirname(load().__file__)


def array(values: Any, device: Any, dtype: Any = "float32") -> Any:
    """Copy `values`, array_like, to an NDArray of `dtype` on the context `device`."""
    return load().nd.array(numpy.asarray(values), ctx=device, dtype=dtype)


def bind(symbol: Any, parameters: Mapping[str, Any], gradient: bool = True) -> Executor:
    """Bind `symbol` to its parameters; its input ``data`` is passed to `forward`.

    Parameters
    ----------
    symbol : Symbol
    parameters : dict of str to NDArray
        Not copied, so that several executors can share them.
    gradient : bool
        False binds for `forward` alone. Parameters get no gradient in any case.

    Returns
    -------
    Executor
    """
    return Executor(load(), symbol, parameters, gradient)


def dot(one: Any, other: Any) -> Any:
    """Return the inner product of two arrays of equal size, shape (1,).

    This is many times faster than MXNet's sum and norm.
    """
    return load().nd.dot(one.reshape((-1,)), other.reshape((-1,)))


def free_memory(device: Any) -> Optional[int]:
    """Return how many more bytes a run on the context `device` can get; None if unknown."""
    if device.device_type == "gpu":
        free, _ = load().context.gpu_memory_info(device.device_id)
        return int(free)
    return machine.free_memory()


def wait() -> None:
    """Wait until all devices have finished their queued work."""
    load().nd.waitall()


def release(device: Any) -> None:
    """Free the memory that MXNet's pool and the C library hold unused.

    The pool, which MXNet 2 has on a CPU too, reuses blocks only for arrays of the same size, so
    another image cannot use them. The C library reuses all, but a process that makes many pictures
    would hold the most it ever took.
    """
    wait()
    device.empty_cache()
    if device.device_type != "gpu":
        return_freed_memory()


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Turn MXNet's own errors into an `EngineError` with the one line that says why."""
    mx = load()
    try:
        yield
    except (mx.base.MXNetError, MemoryError) as error:
        message = _reason(error)
        if isinstance(error, MemoryError) or re.search(
            r"(?i)allocate|alloc_failed|out of memory", message
        ):
            raise EngineError(
                f"Not enough memory ({message}): use a smaller --size; memory is proportional "
                "to its square."
            ) from error
        raise EngineError(f"MXNet failed: {message}") from error


def _reason(error: Exception) -> str:
    """Return the line of an MXNet message that says what failed, without its traceback."""
    marked = [line for line in str(error).splitlines() if line.startswith(_MARK)]
    return marked[0][len(_MARK) :].strip() if marked else last_line(error)
