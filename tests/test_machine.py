"""What the system says of itself, read from files that the tests put in its place."""

import io
import os
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
def test_usable_cores_are_those_of_the_affinity_within_the_quota(monkeypatch, quota, cores):
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

    def replace(found):
        def opened(path):
            return io.StringIO(found[path]) if path in found else no_file(path)

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
def test_free_is_what_the_system_has_and_the_control_group_leaves(system, group, free):
    files = {f"/sys/fs/cgroup/{name}": content for name, content in group.items()}
    system({"/proc/meminfo": MEMINFO, **files})
    assert machine.free_memory() == free


def test_where_the_system_does_not_tell_nothing_is_known(system):
    system({})
    assert machine.free_memory() is None
    assert machine.own_memory() is None and machine.peak_memory() is None
    assert machine.cpu_flags() == set() and machine.cpu_model() == ""


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
