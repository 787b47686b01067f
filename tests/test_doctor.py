"""What the doctor finds on this machine, and on worse ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nst_cli
from nst_cli import doctor, engine, weights
from nst_cli.errors import EngineError, WeightsError

TOPICS = ["nst", "mxnet", "processor", "devices", "weights", "executor"]


def nst_doctor(folder, **variables):
    """Run the command in an empty folder, with no weights but those that `variables` name."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(nst_cli.__file__).parents[1]),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "NST_WEIGHTS": "",
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-m", "nst_cli", "doctor"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def topics(lines):
    return [line.split()[1] for line in lines]


def test_a_machine_that_has_all_is_ok_in_every_line(tmp_path):
    done = nst_doctor(tmp_path, NST_WEIGHTS="builtin", OMP_NUM_THREADS="1")
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert topics(lines) == TOPICS
    assert all(line.startswith("ok ") for line in lines)
    found = dict(zip(TOPICS, lines))
    assert nst_cli.__version__ in found["nst"]
    assert "1.9.1" in found["mxnet"]
    assert "1 threads" in found["processor"]
    assert "builtin" in found["weights"]
    assert " s for a step at 128 x 128 pixels on " in found["executor"]


def test_without_weights_it_says_so_in_a_line_and_exits_with_1(tmp_path):
    done = nst_doctor(tmp_path)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (1, "")
    assert topics(lines) == TOPICS
    (bad,) = [line for line in lines if not line.startswith("ok ")]
    assert bad.startswith("BAD  weights ")
    assert "No VGG-19 weights found" in bad and "nst weights fetch" in bad


@pytest.fixture
def healthy(monkeypatch):
    """Stand in for the weights and the test run, so that examining takes no time."""
    monkeypatch.setattr(weights, "find", lambda: "a file")
    monkeypatch.setattr(weights, "load", lambda which: {})
    monkeypatch.setattr(doctor, "_test_run", lambda: "fast")


def examined():
    """Return the finding and whether it is good, by topic."""
    return {topic: (finding, good) for topic, finding, good in doctor.examine()}


def test_every_topic_is_a_line_of_its_own(healthy):
    found = examined()
    assert list(found) == TOPICS
    assert all(good and finding and "\n" not in finding for finding, good in found.values())


def test_without_mxnet_nothing_more_is_tried(healthy, monkeypatch):
    def fail():
        raise EngineError("MXNet cannot be imported.")

    monkeypatch.setattr(engine, "load", fail)
    found = examined()
    assert list(found) == ["nst", "mxnet"]
    assert found["mxnet"] == ("MXNet cannot be imported.", False)


def test_broken_weights_are_bad_and_the_executor_is_tried_all_the_same(healthy, monkeypatch):
    def fail(which):
        raise WeightsError(f"{which} is broken.")

    monkeypatch.setattr(weights, "load", fail)
    found = examined()
    assert found["weights"] == ("a file is broken.", False)
    assert found["executor"] == ("fast", True)


def test_an_executor_that_fails_is_bad(healthy, monkeypatch):
    def fail():
        raise EngineError("MXNet failed.")

    monkeypatch.setattr(doctor, "_test_run", fail)
    assert examined()["executor"] == ("MXNet failed.", False)


@pytest.mark.parametrize(
    ("count", "cuda", "words"),
    [
        (0, False, ("0 GPUs", "CPU alone")),
        (1, True, ("1 GPU;", "CUDA")),
        (2, True, ("2 GPUs", "CUDA")),
    ],
)
def test_the_devices_and_what_mxnet_is_built_for_are_told(
    healthy, monkeypatch, count, cuda, words
):
    monkeypatch.setattr(engine, "gpu_count", lambda: count)
    monkeypatch.setattr(engine, "has_cuda", lambda: cuda)
    finding, good = examined()["devices"]
    assert good and all(word in finding for word in words)
