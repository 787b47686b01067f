"""What tests need from outside the repository, each named by an environment variable."""

import os
from pathlib import Path

import pytest


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


def _named_by(variable):
    place = os.environ.get(variable)
    if not place:
        pytest.skip(f"{variable} is not set")
    path = Path(place).absolute()
    # Whoever sets it wants the test to run: a wrong path is a failure, never a skip.
    assert path.exists(), f"{variable} names {path}, which is not there"
    return path
