"""Runs and values of other programs: the authors' code, and the objective in float64.

The folder's own README says how each file was made; the first tolerances below are what float32
leaves of the authors' path, which amplifies rounding step by step.
"""

import numpy
import pytest

from nst_cli import Config, engine, transfer

pytestmark = pytest.mark.slow

RUNS = {
    "linear": {"method": "linear", "gamma": 5},
    "poly": {"method": "poly", "gamma": 5},
    "polyc": {"method": "poly", "gamma": 5, "c": 100},
    "bn": {"method": "bn", "gamma": 1},
    "bnpoly": {"method": "bn=0.3,poly=0.7", "gamma": 5},
}
TOLERANCES = {1: 1e-5, 5: 5e-3, 20: 1e-2}


def relative(found, expected):
    """Return ‖found − expected‖ / ‖expected‖."""
    return numpy.linalg.norm(found - expected) / numpy.linalg.norm(expected)


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
    """Have norms be those of a list, and its end be the end of that; return the true ones."""
    norm, found = engine.nd.norm, []

    def lend(norms):
        norms = iter(norms)

        def lent(gradient):
            own = norm(gradient)
            found.append(own.asscalar())
            return engine.array([next(norms, found[-1])], own.context)

        monkeypatch.setattr(engine.nd, "norm", lent)
        return found

    return lend


@pytest.mark.parametrize("name", RUNS)
def test_a_run_follows_the_authors_code(golden, follow, clip_by, name):
    found = []
    if engine.version().startswith("2."):
        # MXNet 2 adds up a norm in another order, and 20 steps of clipping by it make of the
        # last digits more than the tolerance. With the authors' norms the rest is as they had it.
        found = clip_by(numpy.load(golden / f"{name}.npz")["gradient_norm"])
    expected, records, images = follow(name, **RUNS[name])
    for step, tolerance in TOLERANCES.items():
        assert relative(images[step], expected[f"it{step}"]) <= tolerance
    norms = found[:20] or [record.gradient_norm for record in records]
    changes = [record.relative_change for record in records]
    assert norms[0] == pytest.approx(expected["gradient_norm"][0], rel=1e-4)
    assert norms == pytest.approx(expected["gradient_norm"], rel=1e-2)
    assert changes == pytest.approx(expected["relative_change"], rel=1e-2)


def test_a_gaussian_run_has_the_gradient_norms_of_the_authors_code(follow):
    # Their pairs came from an unseeded shuffle, so the images differ and their course does not.
    # By seed, the largest of the 20 differences is from 2 to 8 %, their mean below 1 %.
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
    found = [losses[f"{method}/{layer}"] for layer in layers]
    assert found == pytest.approx(expected[method].tolist(), rel=tolerance)
