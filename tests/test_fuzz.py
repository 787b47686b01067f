"""The fuzzers themselves: each handles its seeds, and inputs that are nearly so."""

import importlib
import random
from pathlib import Path

import pytest
from fuzz import harness

from nst_cli import machine

#: These compute the built-in filters.
SLOW = ("checkpoints", "records")
KINDS = [
    pytest.param(path.stem, marks=[pytest.mark.long] if path.stem in SLOW else [])
    for path in sorted(Path(__file__).with_name("fuzz").glob("*.py"))
    if path.stem not in ("__init__", "harness")
]


@pytest.fixture
def workplace(monkeypatch):
    # So that the changes of the fuzzer are undone.
    for name in ("XDG_CACHE_HOME", "MPLCONFIGDIR", "NST_WEIGHTS", "MXNET_ENGINE_TYPE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(machine, "free_memory", machine.free_memory)
    with harness.workplace():
        yield


def damaged(data, generator):
    """Return an input with one byte changed, or cut off."""
    at = generator.randrange(len(data) + 1)
    return data[:at] + bytes([generator.randrange(256)] * generator.randrange(2)) + data[at + 1 :]


@pytest.mark.parametrize("kind", KINDS)
def test_the_seeds_of_a_fuzzer_are_accepted_and_damaged_ones_are_no_finds(kind, workplace):
    fuzzer, generator = importlib.import_module(f"fuzz.{kind}"), random.Random(0)
    seeds = fuzzer.seeds()
    assert seeds and max(map(len, seeds)) <= fuzzer._LONGEST
    for data in seeds:
        harness.check(fuzzer.try_one, data)
        harness.check(fuzzer.try_one, damaged(data, generator))


def test_what_an_input_raises_and_a_message_of_many_lines_are_finds():
    from nst_cli.errors import NstError

    def broken(data):
        raise KeyError(data)

    def talkative(data):
        raise NstError(data * (harness.LONGEST_MESSAGE + 1))

    def refused(data):
        raise NstError(data)

    harness.check(refused, "It is broken.")
    with pytest.raises(KeyError):
        harness.check(broken, b"a")
    with pytest.raises(harness.Find, match="a message of 2001 characters"):
        harness.check(talkative, "a")


def test_an_input_that_takes_long_or_much_memory_is_a_find(monkeypatch):
    monkeypatch.setattr(harness, "MOST_SECONDS", 0.0)
    with pytest.raises(harness.Find, match="seconds"):
        harness.check(lambda data: sum(range(100_000)), b"")
    monkeypatch.setattr(harness, "MOST_SECONDS", 100.0)
    monkeypatch.setattr(harness, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(harness, "MOST_BYTES", 1 << 20)
    with pytest.raises(harness.Find, match="MiB"):
        harness.check(lambda data: None, b"")
