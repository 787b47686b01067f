"""What several test modules need; from outside the repository by an environment variable."""

import os
from pathlib import Path

import numpy
import pytest

from nst_cli import vgg, weights
from nst_cli.weights.params import CONVOLUTIONS


@pytest.fixture(scope="session")
def golden():
    """The folder of the runs of the authors' code: ``poly.npz`` and so on."""
    return _named_by("NST_GOLDEN")


@pytest.fixture(scope="session")
def pictures():
    """The folder of the paper's pictures."""
    return _named_by("NST_PICTURES")


@pytest.fixture(scope="session")
def real_weights():
    """The file of VGG-19's parameters."""
    return _named_by("NST_WEIGHTS")


@pytest.fixture
def small_network(monkeypatch):
    """Stand in for the weights with a random network down to conv2_2."""
    random, arrays = numpy.random.RandomState(0), {}
    for name in vgg.convolutions(["relu2_2"]):
        shape = CONVOLUTIONS[name]
        scale = (2 / numpy.prod(shape[1:])) ** 0.5
        arrays[f"{name}_weight"] = random.normal(scale=scale, size=shape)
        arrays[f"{name}_bias"] = random.normal(scale=0.1, size=shape[0])
    monkeypatch.setattr(weights, "find", lambda given: "a file")
    monkeypatch.setattr(weights, "load", lambda which: arrays)


def _named_by(variable):
    place = os.environ.get(variable)
    if not place:
        pytest.skip(f"{variable} is not set")
    path = Path(place).absolute()
    # Whoever sets it wants the test to run: a wrong path is a failure, never a skip.
    assert path.exists(), f"{variable} names {path}, which is not there"
    return path
