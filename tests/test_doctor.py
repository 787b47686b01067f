"""The findings of nst doctor on this machine, and on worse ones."""

import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

import nst_cli
from nst_cli import doctor, engine
from nst_cli.engine import mxnet2
from nst_cli.engine.gpu import driver, library
from nst_cli.engine.gpu.driver import Card, Driver
from nst_cli.errors import EngineError, WeightsError
from nst_cli.weights import Weights

TOPICS = [
    "nst", "driver", "mxnet", "packages", "processor", "devices", "weights", "executor",
]  # fmt: skip


def nst_doctor(folder, **variables):
    """Run the command in an empty folder; only the weights that `variables` name exist.

    It sees no card of this machine.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(nst_cli.__file__).parents[1]),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "NST_WEIGHTS": "",
        "CUDA_VISIBLE_DEVICES": "",
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


def test_every_line_is_ok_on_a_machine_that_has_everything(tmp_path):
    done = nst_doctor(tmp_path, NST_WEIGHTS="builtin", OMP_NUM_THREADS="1")
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert topics(lines) == TOPICS
    assert all(line.startswith("ok ") for line in lines)
    findings = dict(zip(TOPICS, lines))
    assert nst_cli.__version__ in findings["nst"]
    assert f"{engine.version()} in {engine.origin()}, installed by " in findings["mxnet"]
    assert f"NumPy {numpy.__version__}" in findings["packages"]
    assert "1 threads" in findings["processor"]
    assert "builtin" in findings["weights"]
    assert " s for a step at 128 x 128 pixels on " in findings["executor"]


def test_doctor_reports_missing_weights_in_a_line_and_exits_with_1(tmp_path):
    done = nst_doctor(tmp_path)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (1, "")
    assert topics(lines) == TOPICS
    (bad,) = [line for line in lines if not line.startswith("ok ")]
    assert bad.startswith("BAD  weights ")
    assert "No VGG-19 weights found" in bad and "nst weights fetch" in bad


@pytest.fixture
def healthy(monkeypatch):
    """Replace every slow part but MXNet, as on a machine without a driver."""

    def probe():
        raise EngineError("There is no NVIDIA driver here.")

    monkeypatch.setattr(driver, "probe", probe)
    monkeypatch.setattr(Weights, "find", lambda: Weights(Path("a file")))
    monkeypatch.setattr(Weights, "load", lambda self: {})
    monkeypatch.setattr(doctor, "try_network", lambda device: "fast")
    monkeypatch.setattr(mxnet2, "version", lambda: None)


def examined():
    """Return the finding and whether it is good, by topic."""
    return {topic: (finding, good) for topic, finding, good in doctor.examine()}


def test_every_topic_is_a_line_of_its_own(healthy):
    findings = examined()
    assert list(findings) == TOPICS
    assert all(good and finding and "\n" not in finding for finding, good in findings.values())


def test_without_mxnet_the_later_topics_are_left_out(healthy, monkeypatch):
    def fail():
        raise EngineError("MXNet cannot be imported.")

    monkeypatch.setattr(engine, "load", fail)
    findings = examined()
    assert list(findings) == ["nst", "driver", "mxnet"]
    assert findings["mxnet"] == ("MXNet cannot be imported.", False)


@pytest.mark.parametrize(("version", "remarked"), [("1.26.4", False), ("2.5.5", True)])
def test_a_numpy_outside_mxnets_requirements_is_mentioned(healthy, monkeypatch, version, remarked):
    monkeypatch.setattr(doctor.numpy, "__version__", version)
    monkeypatch.setattr(engine, "version", lambda: "1.9.1")
    finding, good = examined()["packages"]
    assert good and f"NumPy {version}" in finding
    assert ("MXNet requires one below 2" in finding) == remarked


def test_the_executor_is_tried_even_if_the_weights_are_broken(healthy, monkeypatch):
    def fail(self):
        raise WeightsError(f"{self.path} is broken.")

    monkeypatch.setattr(Weights, "load", fail)
    findings = examined()
    assert findings["weights"] == ("a file is broken.", False)
    assert findings["executor"] == ("fast", True)


def test_an_executor_that_fails_is_bad(healthy, monkeypatch):
    def fail(device):
        raise EngineError("MXNet failed.")

    monkeypatch.setattr(doctor, "try_network", fail)
    assert examined()["executor"] == ("MXNet failed.", False)


@pytest.mark.parametrize(
    ("count", "cuda", "words"),
    [
        (0, False, ("0 GPUs", "CPU only")),
        (1, True, ("1 GPU;", "CUDA")),
        (2, True, ("2 GPUs", "CUDA")),
    ],
)
def test_the_devices_and_what_mxnet_is_built_for_are_shown(
    healthy, monkeypatch, count, cuda, words
):
    monkeypatch.setattr(engine, "gpu_count", lambda: count)
    monkeypatch.setattr(engine, "has_cuda", lambda: cuda)
    finding, good = examined()["devices"]
    assert good and all(word in finding for word in words)


@pytest.fixture
def cards(monkeypatch, healthy):
    """Let the driver see cards of these compute capabilities."""

    def set_them(*capabilities):
        detected = (Card(n, "Some Card", each, 24 << 30) for n, each in enumerate(capabilities))
        answer = Driver((12, 2), tuple(detected))
        engine.load("cpu")
        monkeypatch.setattr(driver, "probe", lambda: answer)

    return set_them


def test_a_machine_without_a_driver_is_healthy(healthy):
    assert examined()["driver"] == ("There is no NVIDIA driver here.", True)


def test_each_card_is_a_line_that_says_whether_mxnet_can_use_it(cards, monkeypatch, tmp_path):
    cards((8, 6), (9, 0))
    monkeypatch.setattr(library, "find", lambda: tmp_path)
    findings = examined()
    assert list(findings)[:5] == ["nst", "driver", "gpu:0", "gpu:1", "cuda"]
    assert findings["driver"] == ("NVIDIA's, for CUDA 12.2", True)
    usable = "Some Card, 24.0 GiB, compute capability 8.6"
    assert findings["gpu:0"] == (usable, True)
    assert findings["gpu:1"][0].endswith("9.0, which MXNet has no kernels for")
    assert findings["cuda"] == (f"MXNet's CUDA build is in {tmp_path}", True)


def test_without_a_home_folder_the_missing_cuda_build_is_no_fault(cards, monkeypatch):
    cards((8, 6))
    for name in ("NST_GPU", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    finding, good = examined()["cuda"]
    assert good and "not installed" in finding


def test_with_mxnet_2_no_statement_is_made_about_usable_cards(cards, monkeypatch):
    cards((9, 0))
    monkeypatch.setattr(mxnet2, "version", lambda: "2.0.0beta1")
    findings = examined()
    assert findings["gpu:0"] == ("Some Card, 24.0 GiB, compute capability 9.0", True)
    assert findings["cuda"][1] and "MXNet 2.0.0beta1 is installed" in findings["cuda"][0]


@pytest.mark.parametrize(
    ("capability", "words"),
    [((8, 6), "run nst gpu install"), ((9, 0), "no card here can use it")],
)
def test_a_missing_cuda_build_is_suggested_if_a_card_can_use_it(
    cards, monkeypatch, capability, words
):
    cards(capability)
    monkeypatch.setattr(library, "find", lambda: None)
    finding, good = examined()["cuda"]
    assert good and "not installed" in finding and words in finding


def test_a_broken_cuda_build_is_bad(cards, monkeypatch):
    def fail():
        raise EngineError("It is not the one.")

    cards((8, 6))
    monkeypatch.setattr(library, "find", fail)
    assert examined()["cuda"] == ("It is not the one.", False)
