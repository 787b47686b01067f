"""Checks, sets and restores the environment variables that MXNet and its libraries read."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Optional

from .. import machine
from ..errors import EngineError

_OMP = "OMP_NUM_THREADS"

# oneDNN reads here the newest instructions that it may use.
ISA = "DNNL_MAX_CPU_ISA"
AMX = "AVX512_CORE_AMX"

# How many of oneDNN's operators of a kind MXNet holds.
_HELD = "MXNET_MKLDNN_CACHE_NUM"

# MXNet reads these once, at its import or first bind. The user's own values are kept.
_DEFAULTS = {
    "MXNET_SUBGRAPH_VERBOSE": "0",
    "MXNET_STORAGE_FALLBACK_LOG_VERBOSE": "0",
    "MXNET_CUDNN_LIB_CHECKING": "0",
    # Operators run one at a time, so one scratch space is enough; the default is four.
    "MXNET_CPU_TEMP_COPY": "1",
    # Fusion compiles kernels at run time and needs a driver for CUDA 11.8 or newer. A chain of
    # convolutions gains almost nothing from it.
    "MXNET_USE_FUSION": "0",
    # Both keep compiled kernels for each shape, MXNet for ever and oneDNN 1024 of them: up to
    # 30 MB for each size of picture in bfloat16. A step needs about 20 kinds of a layer, and 200
    # kernels.
    _HELD: "64",
    "DNNL_PRIMITIVE_CACHE_CAPACITY": "512",
}

# The variables that MXNet 1.9.1 parses, by kind of value. At a value of another kind, it ends the
# process or fails at a later step. Those of the CPU build were tried one by one; those of the GPU
# build are from its documentation (env_var.md).
_COUNTS = (
    "CPU_PARALLEL_RAND_COPY", "CPU_PRIORITY_NTHREADS", "CPU_TEMP_COPY", "CPU_WORKER_NTHREADS",
    "GPU_COPY_NTHREADS", "GPU_PARALLEL_RAND_COPY", "GPU_TEMP_COPY", "GPU_WORKER_NTHREADS",
    "GPU_CUDNN_DROPOUT_STATE_COPY", "GPU_WORKER_NSTREAMS",
)  # fmt: skip
_SIZES = (
    "EXEC_BULK_EXEC_MAX_NODE_TRAIN", "EXEC_BULK_EXEC_MAX_NODE_TRAIN_BWD",
    "EXEC_BULK_EXEC_MAX_NODE_TRAIN_FWD", "USE_NUM_CORES_OPERATOR_TUNING",
)  # fmt: skip
_INTEGERS = (
    "CPU_PARALLEL_COPY_SIZE", "CPU_PARALLEL_SIZE", "CUDNN_AUTOTUNE_DEFAULT",
    "DISABLE_MKLDNN_CONV_OPT", "DISABLE_MKLDNN_FC_OPT", "DISABLE_MKLDNN_FUSE_CONV_BN",
    "DISABLE_MKLDNN_FUSE_CONV_RELU", "DISABLE_MKLDNN_FUSE_CONV_SUM",
    "DISABLE_MKLDNN_TRANSFORMER_OPT", "ENABLE_CYTHON", "ENFORCE_CYTHON",
    "EXEC_INPLACE_GRAD_SUM_CAP", "EXEC_NUM_TEMP",
    "GPU_MEM_LARGE_ALLOC_ROUND_SIZE", "GPU_MEM_POOL_RESERVE",
    "GPU_MEM_POOL_ROUND_LINEAR_CUTOFF", "MKLDNN_CACHE_NUM", "MP_OPENCV_NUM_THREADS",
    "MP_WORKER_NTHREADS", "OMP_MAX_THREADS", "PROFILER_AUTOSTART", "PROFILER_MODE",
)  # fmt: skip
_SWITCHES = (
    "CUDA_ALLOW_TENSOR_CORE", "CUDA_LIB_CHECKING", "CUDA_TENSOR_OP_MATH_ALLOW_CONVERSION",
    "CUDNN_LIB_CHECKING", "DISABLE_MKLDNN_FUSE_FC_ELTWISE", "DISABLE_MKLDNN_QEM_FLOAT_OUTPUT",
    "DISABLE_MKLDNN_QEM_FUSE_ALL", "DISABLE_MKLDNN_QFC_FLOAT_OUTPUT",
    "DISABLE_MKLDNN_QFC_FUSE_ALL", "DISABLE_MKLDNN_QTRANSFORMER_FLOAT_OUTPUT",
    "DISABLE_MKLDNN_QTRANSFORMER_FUSE_ALL", "ELIMINATE_COMMON_EXPR", "ENFORCE_DETERMINISM",
    "ENGINE_INFO", "EXEC_BULK_EXEC_TRAIN", "FUSION_VERBOSE",
    "INFER_STORAGE_TYPE_VERBOSE_LOGGING", "KVSTORE_LOGTREE", "MEM_PLAN_VERBOSE_LOGGING",
    "MKLDNN_DEBUG", "MKLDNN_ENABLED", "OUTPUT_TUNING_DATA", "SAFE_ACCUMULATION", "USE_FUSION",
    "VERBOSE_TUNING_INFO",
)  # fmt: skip
_CHOICES = {
    "MXNET_ENGINE_TYPE": ("NaiveEngine", "ThreadedEngine", "ThreadedEnginePerDevice"),
    "MXNET_GPU_MEM_POOL_TYPE": ("Naive", "Round", "Unpooled"),
    # In any other role, MXNet would serve a cluster for ever and never return to nst.
    "DMLC_ROLE": ("worker",),
}

# The variables that nst has set in this process: nst's value, and the user's own or None.
_set: dict[str, tuple[str, Optional[str]]] = {}


def check() -> None:
    """Raise `EngineError` if a variable has a value that MXNet cannot read."""
    kinds: list[tuple[tuple[str, ...], str, Callable[[str], bool]]] = [
        (_COUNTS, "a whole number from 1 to 1024", lambda text: 1 <= _int(text) <= 1024),
        (_SIZES, "a whole number from 0", lambda text: 0 <= _int(text) < 2**31),
        (_INTEGERS, "a whole number", lambda text: abs(_int(text)) < 2**31),
        (("TUNING_WEIGHT_SCALE",), "a number", lambda text: float(text) > 0),
        (_SWITCHES, "0 or 1", lambda text: text.lower() in ("0", "1", "false", "true")),
    ]
    for names, accepted, fits in kinds:
        for name in names:
            _check(f"MXNET_{name}", accepted, fits)
    for name, choices in _CHOICES.items():
        _check(name, " or ".join(choices), choices.__contains__)


def prepare() -> None:
    """Set nst's defaults for MXNet, for the rest of the process."""
    put({name: value for name, value in _DEFAULTS.items() if not os.environ.get(name)})


def enable_amx() -> None:
    """Let oneDNN convolve in bfloat16 by AMX; call it before MXNet is imported.

    oneDNN 2.4 leaves AMX unused unless the variable names it. Its float32 kernels stay the same.
    """
    if machine.may_use_amx() and not os.environ.get(ISA):
        put({ISA: AMX})


def hold_few_operators() -> None:
    """Let MXNet hold fewer of oneDNN's operators, for the rest of the process.

    MXNet holds one for each kind and shape, and by AMX each has working memory as large as the
    map it reads, for each thread. To make them again costs less than a thousandth of the time of
    a tile. MXNet reads the variable once, so this has an effect before the first operator only.
    """
    if not _users(_HELD):
        put({_HELD: "4"})


def put(variables: Mapping[str, str]) -> None:
    """Set variables for this process only; `worker_environment` restores the user's values."""
    for name, value in variables.items():
        users = _users(name)
        os.environ[name] = value
        _set[name] = value, users


@contextlib.contextmanager
def threads_chosen() -> Iterator[None]:
    """Set the number of threads that MXNet reads when it starts, inside the block.

    By default MXNet uses half of the logical CPUs.
    """
    users = os.environ.get(_OMP)
    os.environ[_OMP] = str(threads())
    try:
        yield
    finally:
        if users is None:
            del os.environ[_OMP]
        else:
            os.environ[_OMP] = users


def threads() -> int:
    """Return the number of threads to use: OMP_NUM_THREADS, else one per usable core."""
    return _users_threads(os.environ.get(_OMP)) or machine.usable_cores()


def worker_environment(threads: int, card: Optional[str] = None) -> dict[str, str]:
    """Return the environment for a worker process.

    It is the user's own environment, without the variables that nst has set for this process:
    a worker may need another precision.

    Parameters
    ----------
    threads : int
        The worker's number of threads, unless the user has set OMP_NUM_THREADS.
    card : str, optional
        The only NVIDIA card that the worker sees; an element of `gpu.library.shares`.

    Returns
    -------
    dict of str to str
        The worker's whole environment, needed before it loads MXNet.
    """
    environment = dict(os.environ)
    for name in _set:
        users = _users(name)
        environment.pop(name, None)
        if users is not None:
            environment[name] = users
    if not _users_threads(environment.get(_OMP)):
        environment[_OMP] = str(threads)
    if card is not None:
        environment["CUDA_VISIBLE_DEVICES"] = card
    return environment


def _users(name: str) -> Optional[str]:
    """Return the user's own value of a variable, even if nst has set it since."""
    current = os.environ.get(name)
    value, users = _set.get(name, (None, None))
    return users if name in _set and current == value else current


def _users_threads(text: Optional[str]) -> Optional[int]:
    # OpenMP allows a list, for nested loops. MXNet has none and aborts at a list: use its head.
    first = re.match(r"\s*([1-9]\d*)", text or "")
    return int(first[1]) if first else None


def _check(name: str, accepted: str, fits: Callable[[str], bool]) -> None:
    text = os.environ.get(name, "")
    with contextlib.suppress(ValueError):
        if not text or fits(text):
            return
    raise EngineError(
        f"The environment variable {name} is {text!r}, but MXNet takes {accepted}: correct it, "
        "or unset it."
    )


def _int(text: str) -> int:
    if not re.fullmatch(r"\s*[+-]?\d+\s*", text, re.ASCII):
        raise ValueError(text)
    return int(text)
