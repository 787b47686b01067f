"""The environment variables that MXNet and its libraries read: checked, set, and given back."""

import contextlib
import os
import re
from typing import Optional

from .. import machine
from ..errors import EngineError

_OMP = "OMP_NUM_THREADS"

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

# What MXNet 1.9.1 parses; at any other value it ends the process, or fails at some later step.
# Tried one by one on the build for CPUs; those of GPUs are from its documentation (env_var.md).
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
    # As another role, MXNet would serve a cluster in place of nst, for ever.
    "DMLC_ROLE": ("worker",),
}

# The variables that this process has set: what it set, and what the user had there, or None.
_set = {}


def check():
    """Raise `EngineError` if a variable has a value that MXNet cannot read."""
    kinds = [
        (_COUNTS, "a whole number from 1 to 1024", lambda text: 1 <= _int(text) <= 1024),
        (_SIZES, "a whole number from 0 on", lambda text: 0 <= _int(text) < 2**31),
        (_INTEGERS, "a whole number", lambda text: abs(_int(text)) < 2**31),
        (("TUNING_WEIGHT_SCALE",), "a number", lambda text: float(text) > 0),
        (_SWITCHES, "0 or 1", lambda text: text.lower() in ("0", "1", "false", "true")),
    ]
    for names, wanted, fits in kinds:
        for name in names:
            _check(f"MXNET_{name}", wanted, fits)
    for name, choices in _CHOICES.items():
        _check(name, " or ".join(choices), choices.__contains__)


def prepare():
    """Set what nst wants of MXNet for as long as the process runs."""
    put({name: value for name, value in _DEFAULTS.items() if not os.environ.get(name)})


def put(variables):
    """Set variables for this process; `worker_environment` leaves them out again."""
    for name, value in variables.items():
        users = _users(name)
        os.environ[name] = value
        _set[name] = value, users


@contextlib.contextmanager
def threads_chosen():
    """Set the number of threads for MXNet to read while it starts.

    It would use half of the logical CPUs otherwise.
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


def threads():
    """Return how many threads the user wants: OMP_NUM_THREADS, else one for each core."""
    return _users_threads(os.environ.get(_OMP)) or machine.usable_cores()


def worker_environment(threads: int, card: Optional[str] = None) -> dict:
    """Return the environment for a fresh process that computes beside others.

    It is the user's own, without what nst has set for this process: another may need another
    precision.

    Parameters
    ----------
    threads : int
        How many it computes with, unless the user has set OMP_NUM_THREADS.
    card : str, optional
        The one NVIDIA card it is to see, as `gpu.library.shares` returns them.

    Returns
    -------
    dict of str to str
        To replace the process's own environment before it loads MXNet.
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


def _users(name):
    """Return what the user has in a variable, even if nst has set it since."""
    current = os.environ.get(name)
    value, users = _set.get(name, (None, None))
    return users if name in _set and current == value else current


def _users_threads(text):
    # Of a list, as OpenMP allows for nested loops, MXNet would abort; it has no nested loops.
    first = re.match(r"\s*([1-9]\d*)", text or "")
    return int(first[1]) if first else None


def _check(name, wanted, fits):
    text = os.environ.get(name, "")
    with contextlib.suppress(ValueError):
        if not text or fits(text):
            return
    raise EngineError(
        f"The environment variable {name} is {text!r}, and MXNet takes {wanted}: correct it, or "
        "unset it."
    )


def _int(text):
    if not re.fullmatch(r"\s*[+-]?\d+\s*", text, re.ASCII):
        raise ValueError(text)
    return int(text)
