"""The processor and the memory that this process may use, as the system tells it."""

import contextlib
import math
import os
import platform

_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16")

# Where control groups, version 2 and then 1, keep a limit, what is used of it, and the details.
_MEMORY_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
    ),
)


def usable_cores():
    """Return how many cores this process may use: its affinity, cut to the cgroup's quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = _text("/sys/fs/cgroup/cpu.max").split()
        cores = min(cores, max(1, math.ceil(int(quota) / int(period))))
    return cores


def cpu_flags():
    """Return the features that the processor names, as a set of str; empty where unknown."""
    return set(_entry("/proc/cpuinfo", "flags").split())


def cpu_model():
    """Return the processor's name for itself; empty where unknown."""
    return _entry("/proc/cpuinfo", "model name")


def describe():
    """Return the processor's name and what of its features matters here, in words."""
    model = cpu_model() or platform.processor() or platform.machine()
    have = [flag for flag in _CPU_FLAGS if flag in cpu_flags()]
    return f"{model}, {', '.join(have) or 'no AVX2'}"


def free_memory():
    """Return the bytes that this process can still get without swapping; None where unknown.

    What the system has available, cut to what the control group leaves.
    """
    available = _kilobytes("/proc/meminfo", "MemAvailable")
    if available is None:
        return None
    for limit, used, details in _MEMORY_GROUPS:
        with contextlib.suppress(OSError, ValueError):
            # Pages of files that were not used lately count as used, and are given back.
            cached = _entry(details, "inactive_file", " ") or 0
            available = min(available, int(_text(limit)) - int(_text(used)) + int(cached))
    return max(available, 0)


def own_memory():
    """Return the bytes of memory that this process holds now; None where unknown."""
    return _kilobytes("/proc/self/status", "VmRSS")


def peak_memory():
    """Return the most bytes of memory that this process has held; None where unknown."""
    return _kilobytes("/proc/self/status", "VmHWM")


def _kilobytes(path, name):
    found = _entry(path, name)
    return int(found.split()[0]) << 10 if found else None


def _entry(path, wanted, separator=":"):
    with contextlib.suppress(OSError):
        for line in _text(path).splitlines():
            key, _, value = line.partition(separator)
            if key.strip() == wanted:
                return value.strip()
    return ""


def _text(path):
    with open(path) as stream:
        return stream.read()
