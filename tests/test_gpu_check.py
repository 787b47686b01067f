"""The CUDA build that ``nst gpu install`` made, loaded without a card, compared with the CPU's.

    make gpu-check

The tests' own driver reports a card, so nst loads the build; MXNet itself finds no card.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

import nst_cli
from nst_cli.engine.gpu import library

pytestmark = pytest.mark.gpu_check

LOOK = """
import json, sys
import numpy
from nst_cli import engine
from nst_cli.synthesis import vgg
from nst_cli.weights import Weights

mx = engine.load(sys.argv[1])
device = mx.cpu()
layers = ["relu1_1", "relu3_1"]
shared = vgg.parameters(Weights().load(), layers, device)
network = vgg.Network(shared, layers, (1, 3, 32, 48))
image = numpy.random.RandomState(1).uniform(-100, 100, (1, 3, 32, 48))
heads = network.forward(engine.array(image, device))
gradient = network.backward(lambda layer: 1e-3 * heads[layer])
features = mx.runtime.Features()
print(json.dumps({
    "origin": engine.origin(),
    "features": [name for name in ("CUDA", "CUDNN", "NCCL") if features.is_enabled(name)],
    "gpus": engine.gpu_count(),
    "gradient": gradient.asnumpy().tolist(),
}))
"""


@pytest.fixture(scope="module")
def python(cuda_build, fake_driver):
    """Run a Python in an environment with the CUDA build and a driver that claims a card."""

    def run(*arguments, **variables):
        return subprocess.run(
            [sys.executable, *arguments],
            env={
                **os.environ,
                "NST_GPU": str(cuda_build),
                "LD_LIBRARY_PATH": str(fake_driver),
                "FAKE_CARDS": "8.6",
                # Silences MXNet, which finds no driver.
                "MXNET_CUDA_LIB_CHECKING": "0",
                "PYTHONPATH": str(Path(nst_cli.__file__).parents[1]),
                **variables,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def look(python):
    """Return the report of a process that loads MXNet for a device and computes on the CPU."""

    def run(device, **variables):
        done = python("-c", LOOK, device, **variables)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def cuda(look):
    return look("gpu")


@pytest.fixture(scope="module")
def installed(look):
    return look("cpu")


def test_the_cuda_build_loads_with_all_its_libraries(cuda, cuda_build):
    assert cuda["origin"] == str(cuda_build / "mxnet")
    assert cuda["features"] == ["CUDA", "CUDNN", "NCCL"]
    assert cuda["gpus"] == 0


def test_the_cuda_build_computes_on_the_cpu_what_the_installed_one_does(cuda, installed):
    result, expected = numpy.array(cuda["gradient"]), numpy.array(installed["gradient"])
    assert numpy.abs(expected).max() > 0
    # Two builds of one release; float32 has seven digits.
    numpy.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5 * abs(expected).max())


def test_the_installed_mxnet_remains_the_cpu_build(installed, cuda_build):
    assert not installed["origin"].startswith(str(cuda_build))
    assert installed["features"] == []


@pytest.mark.parametrize("surroundings", [{"FAKE_CARDS": "9.0"}, {"LD_LIBRARY_PATH": ""}])
def test_device_auto_uses_the_installed_mxnet_if_no_card_is_usable(look, cuda_build, surroundings):
    assert not look("auto", **surroundings)["origin"].startswith(str(cuda_build))


def test_no_other_copy_of_nvidias_libraries_is_mapped(python, cuda_build, tmp_path):
    code = """
from nst_cli import engine
engine.load("gpu")
names = "libcu", "libnccl", "libnv", "libmxnet"
for line in open("/proc/self/maps"):
    path = line.split(maxsplit=5)[5:]
    if path and path[0].strip().rpartition("/")[2].startswith(names):
        print(path[0].strip())
"""
    mapped = set(python("-c", code).stdout.splitlines())
    mapped = {path for path in mapped if "libcuda.so" not in path}
    assert mapped >= {str(cuda_build / name) for name in (*library.LIBRARIES,)}
    assert all(path.startswith(str(cuda_build)) for path in mapped), mapped


def test_the_doctor_names_driver_card_and_build(python, cuda_build):
    done = python("-m", "nst_cli", "doctor", NST_WEIGHTS="builtin")
    lines = [line.split(maxsplit=2)[1:] for line in done.stdout.splitlines()]
    findings = dict(lines)
    assert findings["driver"] == "NVIDIA's, for CUDA 12.2"
    assert findings["gpu:0"] == "Fake Card, 24.0 GiB, compute capability 8.6"
    assert findings["cuda"] == f"MXNet's CUDA build is in {cuda_build}"
    assert str(cuda_build / "mxnet") in findings["mxnet"]
    assert done.returncode == 0, done.stdout


def test_a_gpu_that_mxnet_does_not_see_is_reported(python):
    code = "from nst_cli import engine; engine.context('gpu')"
    assert "There is no GPU 0: MXNet sees 0" in python("-c", code).stderr
