"""A kit holds what the last transfer used, and nothing that the next one cannot use."""

from pathlib import Path

import numpy
import pytest

from nst_cli import engine
from nst_cli.synthesis import vgg
from nst_cli.synthesis.kit import NetworkKey, NetworkKit
from nst_cli.weights import Weights

SHAPE, OTHER = (1, 3, 32, 24), (1, 3, 40, 24)


@pytest.fixture
def bound(monkeypatch):
    """Replace the construction of parameters and networks; return the list of the calls."""
    builds = []
    monkeypatch.setattr(Weights, "load", lambda self: {})
    monkeypatch.setattr(vgg, "parameters", lambda *_, **__: builds.append("parameters") or {})
    monkeypatch.setattr(vgg, "Network", lambda *choices: builds.append("network") or object())
    return builds


def key(**others):
    usual = {"weights": Weights(), "layers": ("relu1_1",), "pooling": "avg"}
    usual.update(precision="float32", convolution="direct", device=engine.context("cpu"))
    return NetworkKey(**{**usual, **others})


def test_a_network_is_made_once_for_each_shape(bound):
    kit = NetworkKit()
    for _ in range(2):
        kit.begin(key(), SHAPE, SHAPE)
        first = kit.network(SHAPE)
        assert kit.network(SHAPE) is first
        assert kit.network(SHAPE, gradient=False) is not first
    assert bound == ["parameters", "network", "network"]


def test_different_sizes_drop_the_networks_and_keep_the_parameters(bound):
    kit = NetworkKit()
    kit.begin(key(), SHAPE, SHAPE)
    first = kit.network(SHAPE)
    kit.begin(key(), SHAPE, OTHER)
    assert kit.network(SHAPE) is not first
    assert bound.count("parameters") == 1


@pytest.mark.parametrize(
    "others",
    [
        {"weights": Weights(Path("a.params"))},
        {"layers": ("relu1_2",)},
        {"pooling": "max"},
        {"precision": "tf32"},
        {"convolution": "auto"},
    ],
)
def test_a_different_network_drops_everything(bound, others):
    kit = NetworkKit()
    kit.begin(key(), SHAPE, SHAPE)
    kit.network(SHAPE)
    style = numpy.zeros(SHAPE, "float32")
    kit.targets(style, "loss", lambda: "first")
    kit.begin(key(**others), SHAPE, SHAPE)
    kit.network(SHAPE)
    assert kit.targets(style, "loss", lambda: "second") == "second"
    assert bound == ["parameters", "network"] * 2


def test_targets_are_made_once_for_each_style_and_losses():
    kit, calls = NetworkKit(), []
    one, other = (numpy.full(SHAPE, value, "float32") for value in (0, 1))
    kit.begin(key(), SHAPE, SHAPE)
    for style, losses in ((one, "a"), (one, "b"), (other, "a"), (one, "a")):
        kit.targets(style, losses, lambda: calls.append(1))
    assert len(calls) == 3


def test_targets_that_a_transfer_did_not_use_are_gone_after_it():
    kit = NetworkKit()
    one, other = (numpy.full(SHAPE, value, "float32") for value in (0, 1))
    kit.begin(key(), SHAPE, SHAPE)
    kit.targets(one, "a", lambda: "first")
    kit.begin(key(), SHAPE, SHAPE)
    kit.targets(other, "a", lambda: "other")
    kit.begin(key(), SHAPE, SHAPE)
    assert kit.targets(one, "a", lambda: "second") == "second"
    assert kit.targets(other, "a", lambda: "third") == "other"


def test_a_kit_that_keeps_nothing_holds_the_parameters_alone(bound):
    kit = NetworkKit(keep=False)
    kit.begin(key(), SHAPE, SHAPE)
    assert kit.network(SHAPE) is not kit.network(SHAPE)
    style = numpy.zeros(SHAPE, "float32")
    assert [kit.targets(style, "a", iter([1, 2]).__next__) for _ in range(2)] == [1, 1]
    assert bound == ["parameters", "network", "network"]
