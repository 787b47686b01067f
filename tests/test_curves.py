"""Curves of a run's losses: sums, pieces, and what is left out."""

import pytest

from nst_cli.runs import log
from nst_cli.views import curves


def steps(*losses, scales=None):
    """Return steps with these losses, a dict each."""
    scales = scales or [1] * len(losses)
    return tuple(
        log.Step(number, scale, each)
        for number, (scale, each) in enumerate(zip(scales, losses), 1)
    )


def test_a_loss_is_drawn_at_the_image_before_its_step():
    curve = curves.curve(steps({"total": 5.0}, {"total": 4.0}), ["total"], "total")
    assert curve.pieces == (((0, 5.0), (1, 4.0)),)


def test_curves_of_different_scales_are_not_connected():
    run = steps({"total": 5.0}, {"total": 4.0}, {"total": 9.0}, scales=[1, 1, 2])
    assert curves.curve(run, ["total"], "total").pieces == (((0, 5.0), (1, 4.0)), ((2, 9.0),))
    assert curves.scale_starts(run) == [(2, 2)]


def test_parts_are_summed_by_method_and_separated_by_layer():
    run = steps({
        "total": 106.0, "content/relu4_2": 3.0, "poly/relu1_1": 1.0, "poly/relu2_1": 2.0,
        "smoothing": 100.0,
    })  # fmt: skip
    methods, layers = curves.panels(run)
    assert {line.name: line.values for line in methods.curves} == {
        "total": [106.0], "content": [3.0], "poly": [3.0], "smoothing": [100.0],
    }  # fmt: skip
    assert layers.title == "poly by layer"
    assert {line.name: line.values for line in layers.curves} == {
        "relu1_1": [1.0],
        "relu2_1": [2.0],
    }


def test_losses_far_below_the_total_are_left_out_and_named():
    run = steps(
        {"total": 1e6, "content/relu4_2": 5.0, "smoothing": 5.0},
        {"total": 1e6, "content/relu4_2": 20.0, "smoothing": 5.0},
    )
    (panel,) = curves.panels(run)
    assert [line.name for line in panel.curves] == ["total", "content"]
    assert [line.name for line in panel.left_out] == ["smoothing"]


@pytest.mark.parametrize(("least", "below"), [(1.0, None), (0.0, None), (-1.0, 0.1)])
def test_an_axis_is_linear_around_zero_only_if_a_loss_is_negative(least, below):
    (panel,) = curves.panels(steps({"total": 100.0}, {"total": least}))
    assert panel.linear_below == below
