"""What nst reads about the system, from files that the tests provide."""

import io
import os
import resource
import subprocess
import sys

import pytest

from nst_cli import machine

MEMINFO = "MemTotal:       8000 kB\nMemAvailable:   6000 kB\n"


def no_file(path):
    raise FileNotFoundError(path)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000\n", 6), ("200000 100000\n", 2), ("250000 100000\n", 3), ("1000 100000\n", 1),
     ("900000 100000\n", 6), ("", 6), (None, 6)],
)  # fmt: skip
def test_usable_cores_are_limited_by_affinity_and_quota(monkeypatch, quota, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    opened = no_file if quota is None else lambda path: io.StringIO(quota)
    monkeypatch.setattr(machine, "open", opened, raising=False)
    assert machine.usable_cores() == cores


def test_without_an_affinity_all_cores_are_usable(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    monkeypatch.setattr(machine, "open", no_file, raising=False)
    assert machine.usable_cores() == 5


@pytest.fixture
def system(monkeypatch):
    """Return a function that replaces the system's files by a mapping of path to content."""

    def replace(contents):
        def opened(path):
            return io.StringIO(contents[path]) if path in contents else no_file(path)

        monkeypatch.setattr(machine, "open", opened, raising=False)

    return replace


@pytest.mark.parametrize(
    ("group", "free"),
    [
        ({}, 6000 << 10),
        ({"memory.max": "max\n", "memory.current": "5\n"}, 6000 << 10),
        ({"memory.max": "4000000\n", "memory.current": "1500000\n"}, 2500000),
        (
            {
                "memory.max": "4000000\n",
                "memory.current": "1500000\n",
                "memory.stat": "anon 1\ninactive_file 500000\n",
            },
            3000000,
        ),
        ({"memory.max": "1000\n", "memory.current": "1500\n"}, 0),
        (
            {
                "memory/memory.limit_in_bytes": "4000000\n",
                "memory/memory.usage_in_bytes": "1000000\n",
            },
            3000000,
        ),
    ],
)
def test_free_memory_is_limited_by_the_system_and_the_control_group(system, group, free):
    files = {f"/sys/fs/cgroup/{name}": content for name, content in group.items()}
    system({"/proc/meminfo": MEMINFO, **files})
    assert machine.free_memory() == free


CGROUPS = "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/user.slice/app.service\n"
MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/my\\040memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""


def groups(**files):
    return {"/proc/self/cgroup": CGROUPS, "/proc/self/mountinfo": MOUNTS, **files}


@pytest.mark.parametrize("depth", ["", "/user.slice", "/user.slice/app.service"])
def test_a_limit_of_any_enclosing_control_group_applies(system, depth):
    folder = f"/sys/fs/cgroup/unified{depth}"
    limits = {"memory.max": "4000000\n", "memory.current": "1500000\n"}
    outer = {"/sys/fs/cgroup/unified/memory.max": "max\n"}
    inner = {f"{folder}/{name}": text for name, text in limits.items()}
    quota = {f"{folder}/cpu.max": "150000 100000\n"}
    system({"/proc/meminfo": MEMINFO, **groups(**{**outer, **inner, **quota})})
    assert machine.free_memory() == 2500000
    assert machine.usable_cores() == min(2, len(os.sched_getaffinity(0)))


@pytest.mark.parametrize("depth", ["", "/docker", "/docker/abc"])
def test_a_limit_of_a_version_1_control_group_applies(system, depth):
    memory, cpu = f"/sys/fs/cgroup/my memory{depth}", f"/sys/fs/cgroup/cpu{depth}"
    system({
        "/proc/meminfo": MEMINFO,
        **groups(**{
            f"{memory}/memory.limit_in_bytes": "4000000\n",
            f"{memory}/memory.usage_in_bytes": "3000000\n",
            f"{memory}/memory.stat": "inactive_file 9\ntotal_inactive_file 1000000\n",
            "/sys/fs/cgroup/my memory/memory.use_hierarchy": "1\n",
            f"{cpu}/cpu.cfs_quota_us": "100000\n",
            f"{cpu}/cpu.cfs_period_us": "100000\n",
        }),
    })  # fmt: skip
    assert machine.free_memory() == 2000000
    assert machine.usable_cores() == 1


def test_the_smallest_of_several_limits_applies(system):
    unified = "/sys/fs/cgroup/unified"
    files = {}
    for folder, limit in ((unified, 5), (f"{unified}/user.slice", 3), (
        f"{unified}/user.slice/app.service", 4,
    )):  # fmt: skip
        files[f"{folder}/memory.max"] = f"{limit}000000\n"
        files[f"{folder}/memory.current"] = "1000000\n"
    system({"/proc/meminfo": MEMINFO, **groups(**files)})
    assert machine.free_memory() == 2000000


def test_in_a_container_the_mounted_group_is_that_of_the_process(system):
    system({
        "/proc/meminfo": MEMINFO,
        "/proc/self/cgroup": "0::/docker/abc/inner\n",
        "/proc/self/mountinfo": "36 31 0:33 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
        "/sys/fs/cgroup/inner/memory.max": "1000000\n",
        "/sys/fs/cgroup/inner/memory.current": "400000\n",
    })  # fmt: skip
    assert machine.free_memory() == 600000


def test_missing_quotas_and_broken_files_impose_no_limit(system):
    cpu = "/sys/fs/cgroup/cpu"
    system({
        "/proc/meminfo": MEMINFO,
        **groups(**{
            f"{cpu}/cpu.cfs_quota_us": "-1\n",
            f"{cpu}/cpu.cfs_period_us": "100000\n",
            "/sys/fs/cgroup/unified/cpu.max": "100000 0\n",
            "/sys/fs/cgroup/unified/memory.max": "?\n",
        }),
    })  # fmt: skip
    assert machine.free_memory() == 6000 << 10
    assert machine.usable_cores() == len(os.sched_getaffinity(0))
    system({"/proc/meminfo": MEMINFO, "/proc/self/cgroup": "x\n", "/proc/self/mountinfo": "y\n"})
    assert machine.free_memory() == 6000 << 10


def test_the_limit_of_the_process_itself_applies(system, monkeypatch):
    def limit(kind):
        return (5000 << 20, resource.RLIM_INFINITY) if kind == resource.RLIMIT_AS else (-1, -1)

    monkeypatch.setattr(resource, "getrlimit", limit)
    system({"/proc/meminfo": MEMINFO, "/proc/self/status": "VmSize:   2048000 kB\n"})
    # Part of it is reserved, and the system has less.
    assert machine.process_limits() == [("ulimit -v", 5000 << 20, 3000 << 20)]
    assert machine.free_memory() == 6000 << 10
    system({"/proc/meminfo": MEMINFO, "/proc/self/status": "VmSize:   4860928 kB\n"})
    assert machine.free_memory() == 0


def test_where_the_system_does_not_tell_nothing_is_known(system):
    system({})
    assert machine.free_memory() is None
    assert machine.own_memory() is None and machine.peak_memory() is None
    assert machine.cpu_flags() == set() and machine.cpu_model() == machine.cpu_vendor() == ""
    assert not machine.may_use_amx()


@pytest.mark.skipif("amx_bf16" not in machine.cpu_flags(), reason="no AMX here")
def test_linux_lets_this_process_use_amx():
    assert machine.may_use_amx()


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc here")
def test_the_peak_keeps_what_was_held_for_a_moment():
    code = """
from nst_cli import machine
before = machine.own_memory()
block = bytearray(100 << 20)
del block
print(machine.own_memory() - before, machine.peak_memory() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    now, peak = map(int, done.stdout.split())
    assert now < 50 << 20 and 95 << 20 < peak < 150 << 20
