"""Runs that `tools/golden.py` recorded in float64: the authors' descent without their network.

That program follows the authors' recorded runs with VGG-19 (docs/paper.md has the figures).
Here both use the built-in filter bank on 64-pixel pictures, so nothing outside the repository is
needed. `test_golden.py` compares with the authors' own recordings.
"""

import json
from pathlib import Path

import numpy
import pytest

from nst_cli import Config, transfer
from nst_cli.weights import Weights

FOLDER = Path(__file__).parent / "golden"
RUNS = {
    "linear": {"method": "linear", "gamma": 5},
    "poly": {"method": "poly", "gamma": 5},
    "polyc": {"method": "poly", "gamma": 5, "c": 100},
    "bn": {"method": "bn", "gamma": 1},
    "bnpoly": {"method": "bn=0.3,poly=0.7", "gamma": 5},
}
# Single precision against double over 20 steps: an image was off by 1e-4 at most, a number by
# 5e-6.
IMAGE_TOLERANCE, NUMBER_TOLERANCE = 1e-3, 1e-4


@pytest.fixture(scope="module")
def recorded():
    """Return the recorded numbers and images."""
    numbers = json.loads((FOLDER / "runs.json").read_text())
    return numbers, dict(numpy.load(FOLDER / "images.npz"))


def test_the_filter_bank_equals_the_recorded_one(recorded):
    # The last digits depend on the version of NumPy.
    arrays = Weights().load().items()
    norms = {name: float(numpy.linalg.norm(array.astype(float))) for name, array in arrays}
    assert norms == pytest.approx(recorded[0]["weights"], rel=1e-5)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_follows_the_recorded_descent(recorded, name):
    numbers, images = recorded
    expected = numbers[name]
    config = Config(preset="paper", iterations=20, weights="builtin", **RUNS[name])
    records = []
    result = transfer(
        images["content"], images["style"], config, init=images["init"], on_step=records.append
    )
    for record, losses in zip(records, expected["losses"]):
        parts = {term: value for term, value in record.losses.items() if term != "total"}
        assert parts == pytest.approx(losses, rel=NUMBER_TOLERANCE)
    assert len(records) == len(expected["losses"])
    norms = [record.gradient_norm for record in records]
    assert norms == pytest.approx(expected["gradient_norm"], rel=NUMBER_TOLERANCE)
    changes = [record.relative_change for record in records]
    assert changes == pytest.approx(expected["relative_change"], rel=NUMBER_TOLERANCE)
    difference = numpy.linalg.norm(result.image - images[name]) / numpy.linalg.norm(images[name])
    assert difference <= IMAGE_TOLERANCE
