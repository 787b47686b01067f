"""The processor and the memory that this process may use, as the system reports them."""

import contextlib
import ctypes
import math
import os
import platform
import re
import sys
from collections.abc import Iterator
from typing import Optional

_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")

# From Linux's asm/unistd_64.h and asm/prctl.h: the system call, its request, and the number of
# the registers that hold AMX's tiles.
_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XTILEDATA = 158, 0x1023, 18

# What the C library and the threads of MXNet reserve at most beyond what they use.
_RESERVED_BYTES = 256 << 20

# By version of control groups: the files with the memory limit and the memory in use, and the
# entry of memory.stat that counts file pages not used lately.
_MEMORY_FILES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}

# Limits of the process itself: the entry of /proc/self/status that each one limits, and the
# command that sets it.
_PROCESS_LIMITS = {"RLIMIT_AS": ("VmSize", "ulimit -v"), "RLIMIT_DATA": ("VmData", "ulimit -d")}


def usable_cores() -> int:
    """Return how many cores this process may use, by its affinity and its control groups.

    The smallest quota counts among those of all control groups around the process.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    for version, folder in _groups("cpu"):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            if version == 2:
                quota, period = _text(f"{folder}/cpu.max").split()
            else:
                quota = _text(f"{folder}/cpu.cfs_quota_us")
                period = _text(f"{folder}/cpu.cfs_period_us")
            if int(quota) > 0:
                cores = min(cores, max(1, math.ceil(int(quota) / int(period))))
    return cores


def cpu_flags() -> set[str]:
    """Return the processor's feature flags as a set of str; empty if unknown."""
    return set(_entry("/proc/cpuinfo", "flags").split())


def may_use_amx() -> bool:
    """Ask Linux for AMX, Intel's matrix unit; return whether this process may use it.

    Linux ends a process that uses AMX without having asked. Threads inherit the permission.
    """
    if not {"amx_tile", "amx_bf16"} <= cpu_flags():
        return False
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    try:
        call = ctypes.CDLL(None).syscall
    except (OSError, AttributeError):
        return False
    return bool(call(_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XTILEDATA) == 0)


def cpu_vendor() -> str:
    """Return the processor's maker, such as ``AuthenticAMD``; empty if unknown."""
    return _entry("/proc/cpuinfo", "vendor_id")


def cpu_model() -> str:
    """Return the processor's model name; empty if unknown."""
    return _entry("/proc/cpuinfo", "model name")


def describe() -> str:
    """Return the processor's name and those of its features that MXNet uses, in words."""
    model = cpu_model() or platform.processor() or platform.machine()
    flags = [flag for flag in _CPU_FLAGS if flag in cpu_flags()]
    return f"{model}, {', '.join(flags) or 'no AVX2'}"


def free_memory() -> Optional[int]:
    """Return how many more bytes this process can get without swapping; None if unknown.

    This is the least of what the system has available, what each control group around the
    process leaves, and what the process's own limits leave.
    """
    available = _kilobytes("/proc/meminfo", "MemAvailable")
    if available is None:
        return None
    for version, folder in _groups("memory"):
        limit, used, cached = _MEMORY_FILES[version]
        with contextlib.suppress(OSError, ValueError):
            # File pages count as used, but the system frees them when memory is needed.
            reclaimable = _entry(f"{folder}/memory.stat", cached, " ") or 0
            left = int(_text(f"{folder}/{limit}")) - int(_text(f"{folder}/{used}"))
            available = min(available, left + int(reclaimable))
    for _, _, left in process_limits():
        available = min(available, left - _RESERVED_BYTES)
    return max(available, 0)


def process_limits() -> list[tuple[str, int, int]]:
    """Return the limits of the memory of this process itself, if it has any.

    Returns
    -------
    list of (str, int, int)
        The command that sets the limit, the limit in bytes, and how much of it is left.
    """
    limits = []
    for name, (entry, command) in _PROCESS_LIMITS.items():
        most = _process_limit(name)
        if most is not None:
            used = _kilobytes("/proc/self/status", entry) or 0
            limits.append((command, most, max(most - used, 0)))
    return limits


def _process_limit(name: str) -> Optional[int]:
    """Return a limit of this process in bytes, or None."""
    with contextlib.suppress(ImportError, AttributeError, OSError, ValueError):
        import resource

        limit, _ = resource.getrlimit(getattr(resource, name))
        return None if limit == resource.RLIM_INFINITY else limit
    return None


def _groups(controller: str) -> Iterator[tuple[int, str]]:
    """Yield (version, folder) of each control group that limits this process by a controller."""
    paths = _group_paths()
    mounted = False
    for version, root, folder in _group_mounts(controller):
        mounted = True
        path = paths.get(controller if version == 1 else "", "/")
        # A mount shows the groups below its root, which in a container is the process's group.
        below = os.path.relpath(path, root) if _is_below(path, root) else "."
        parts = [] if below == "." else below.split("/")
        for depth in range(len(parts), -1, -1):
            yield version, "/".join([folder, *parts[:depth]])
    if not mounted:
        yield 2, "/sys/fs/cgroup"
        yield 1, f"/sys/fs/cgroup/{controller}"


def _is_below(path: str, root: str) -> bool:
    return root == "/" or path == root or path.startswith(f"{root}/")


def _group_paths() -> dict[str, str]:
    """Return this process's control group by controller; the key of version 2 is ""."""
    paths: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError):
        for line in _text("/proc/self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            paths.update((controller, path) for controller in controllers.split(","))
    return paths


def _group_mounts(controller: str) -> Iterator[tuple[int, str, str]]:
    """Yield (version, root, folder) of each mount of control groups of a controller."""
    with contextlib.suppress(OSError, ValueError):
        for line in _text("/proc/self/mountinfo").splitlines():
            mount, _, source = line.partition(" - ")
            kind, *_, options = source.split(" ") if source else ("", "")
            root, folder = (_unescaped(part) for part in mount.split(" ")[3:5])
            if kind == "cgroup2":
                yield 2, root, folder
            elif kind == "cgroup" and controller in options.split(","):
                yield 1, root, folder


def _unescaped(text: str) -> str:
    """Decode a path of mountinfo, which writes a space as ``\\040``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def own_memory() -> Optional[int]:
    """Return the bytes of memory that this process holds now; None if unknown."""
    return _kilobytes("/proc/self/status", "VmRSS")


def peak_memory() -> Optional[int]:
    """Return the most bytes of memory that this process has held; None if unknown."""
    return _kilobytes("/proc/self/status", "VmHWM")


def _kilobytes(path: str, name: str) -> Optional[int]:
    text = _entry(path, name)
    return int(text.split()[0]) << 10 if text else None


def _entry(path: str, name: str, separator: str = ":") -> str:
    with contextlib.suppress(OSError):
        for line in _text(path).splitlines():
            key, _, value = line.partition(separator)
            if key.strip() == name:
                return value.strip()
    return ""


def _text(path: str) -> str:
    with open(path) as stream:
        return stream.read()
