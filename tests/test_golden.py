"""Runs and values of other programs: the authors' code, and the objective in float64.

The README in the folder of the recordings describes how each file was made. The tolerances grow
with the step, because the descent amplifies the rounding of float32.
"""

import numpy
import pytest
from test_golden_reduced import RUNS

from nst_cli import Config, engine, transfer

pytestmark = pytest.mark.slow

TOLERANCES = {1: 1e-5, 5: 5e-3, 20: 1e-2}


def relative(result, expected):
    """Return ‖result − expected‖ / ‖expected‖."""
    return numpy.linalg.norm(result - expected) / numpy.linalg.norm(expected)


@pytest.fixture(scope="module")
def follow(golden, real_weights):
    """Run 20 steps from a golden file; return the file's arrays and the records."""

    def run(name, **choices):
        expected = numpy.load(golden / f"{name}.npz")
        config = Config(preset="paper", iterations=20, weights=str(real_weights), **choices)
        records = []
        images = {}

        def on_step(record):
            records.append(record)
            if record.step in TOLERANCES:
                images[record.step] = record.image

        content, style, init = (expected[part] for part in ("content", "style", "init"))
        result = transfer(content, style, config, init=init, on_step=on_step)
        assert result.steps == len(records) == 20
        return expected, records, images

    return run


@pytest.fixture
def clip_by(monkeypatch):
    """Return a function that replaces the norms of gradients; it returns the true norms."""
    norm, true_norms = engine.nd.norm, []

    def lend(norms):
        norms = iter(norms)

        def lent(gradient):
            true_norm = norm(gradient)
            true_norms.append(true_norm.asscalar())
            return engine.array([next(norms, true_norms[-1])], true_norm.context)

        monkeypatch.setattr(engine.nd, "norm", lent)
        return true_norms

    return lend


@pytest.mark.parametrize("name", RUNS)
def test_a_run_follows_the_authors_code(golden, follow, clip_by, name):
    true_norms = []
    if engine.version().startswith("2."):
        # MXNet 2 sums a norm in another order, and 20 steps of clipping amplify the difference
        # beyond the tolerance. With the authors' norms, everything else agrees.
        true_norms = clip_by(numpy.load(golden / f"{name}.npz")["gradient_norm"])
    expected, records, images = follow(name, **RUNS[name])
    for step, tolerance in TOLERANCES.items():
        assert relative(images[step], expected[f"it{step}"]) <= tolerance
    norms = true_norms[:20] or [record.gradient_norm for record in records]
    changes = [record.relative_change for record in records]
    assert norms[0] == pytest.approx(expected["gradient_norm"][0], rel=1e-4)
    assert norms == pytest.approx(expected["gradient_norm"], rel=1e-2)
    assert changes == pytest.approx(expected["relative_change"], rel=1e-2)


def test_a_gaussian_run_has_the_gradient_norms_of_the_authors_code(follow):
    # The authors' pairs came from an unseeded shuffle, so only the course of the norms can agree.
    # Depending on the seed, the largest of the 20 differences is 2 to 8 %, their mean below 1 %.
    expected, records, _ = follow("gaussian", method="gaussian", gamma=5)
    norms = [record.gradient_norm for record in records]
    changes = [record.relative_change for record in records]
    assert norms == pytest.approx(expected["gradient_norm"], rel=0.05)
    assert changes == pytest.approx(expected["relative_change"], rel=0.05)


@pytest.mark.parametrize("method", ["linear", "poly", "bn"])
def test_the_losses_are_those_computed_in_float64(golden, real_weights, method):
    expected = numpy.load(golden / "objective.npz")
    config = Config(
        preset="paper", method=method, gamma=5, iterations=0, weights=str(real_weights)
    )
    losses = transfer(
        expected["content"], expected["style"], config, init=expected["image"]
    ).losses
    # On one Intel processor MXNet 2's convolutions left 1.1e-5 at relu5_1; those of 1.9.1 stay
    # within 3e-6.
    tolerance = 2e-5 if engine.version().startswith("2.") else 1e-5
    content_loss = float(expected["content_loss"])
    assert losses["content/relu4_2"] == pytest.approx(content_loss, rel=tolerance)
    assert losses["smoothing"] == pytest.approx(float(expected["smoothing"]), rel=tolerance)
    layers = [str(layer) for layer in expected["layers"]]
    losses_by_layer = [losses[f"{method}/{layer}"] for layer in layers]
    assert losses_by_layer == pytest.approx(expected[method].tolist(), rel=tolerance)
