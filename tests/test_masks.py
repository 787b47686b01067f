"""Masks of pictures: other sizes, the maps of layers, and what a feature sees."""

import numpy
import pytest

from nst_cli.config import LAYERS
from nst_cli.errors import ShapeError
from nst_cli.synthesis import masks


def noise(*size):
    return numpy.random.RandomState(0).uniform(size=size).astype(numpy.float32)


def halved(values):
    """Return what a 2 × 2 pooling without padding gives."""
    height, width = (side // 2 for side in values.shape)
    values = values[: 2 * height, : 2 * width]
    return sum(values[i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4


@pytest.mark.parametrize("size", [(48, 32), (53, 37)], ids=["even", "ragged"])
def test_a_mask_at_a_layer_is_the_mean_over_the_pixels_of_the_poolings(size):
    mask = expected = noise(*size)
    for block in range(1, 6):
        for layer in (layer for layer in LAYERS if layer[4] == str(block)):
            actual = masks.at_layer(mask, layer)
            assert actual.shape == masks.layer_size(size, layer)
            numpy.testing.assert_allclose(actual, expected, rtol=1e-6)
        expected = halved(expected)


@pytest.mark.parametrize(
    ("layer", "beyond"),
    [("relu1_1", 1), ("relu1_2", 2), ("relu2_1", 4), ("relu3_1", 10), ("relu3_4", 22),
     ("relu4_1", 30), ("relu4_2", 38), ("relu5_1", 70), ("relu5_4", 118)],
)  # fmt: skip
def test_inside_keeps_only_features_that_see_nothing_outside(layer, beyond):
    size, step = (320, 352), 2 ** (int(layer[4]) - 1)
    hole = (160, 177)
    mask = numpy.ones(size, numpy.float32)
    mask[hole] = 0
    kept = masks.at_layer(mask, layer, inside=True)
    first = numpy.indices(kept.shape) * step
    sees = [
        (start - beyond <= place) & (place <= start + step - 1 + beyond)
        for start, place in zip(first, hole)
    ]
    # No more than the one position that rounding up to whole positions takes on each side.
    assert not kept[sees[0] & sees[1]].any()
    near = [
        (start - beyond - step < place) & (place < start + step + beyond + step)
        for start, place in zip(first, hole)
    ]
    assert (kept[~(near[0] & near[1])] == 1).all()


def test_the_border_of_the_picture_is_no_border_of_a_region():
    assert (masks.at_layer(numpy.ones((64, 48), numpy.float32), "relu3_1", inside=True) == 1).all()


def test_a_grey_value_inside_is_the_least_that_a_feature_sees():
    mask = noise(9, 7)
    kept = masks.at_layer(mask, "relu1_1", inside=True)
    assert kept[4, 3] == mask[3:6, 2:5].min() and kept[0, 0] == mask[:2, :2].min()


@pytest.mark.parametrize("size", [(12, 10), (24, 20), (5, 3), (17, 30), (24, 7)], ids=str)
def test_resizing_averages_over_areas(size):
    mask = noise(24, 20)
    # Each value as a block of as many as the new size has, and means over blocks of those.
    fine = numpy.repeat(numpy.repeat(mask, size[0], 0), size[1], 1)
    expected = fine.reshape(size[0], 24, size[1], 20).mean((1, 3))
    numpy.testing.assert_allclose(masks.resized(mask, size), expected, rtol=1e-5)
    assert masks.resized(mask, size).mean() == pytest.approx(mask.mean(), rel=1e-6)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (numpy.ones((4, 5)), r"has shape \(4, 5\), its picture \(5, 4\)"),
        (numpy.ones((5, 4, 1)), r"has shape \(5, 4, 1\)"),
        (numpy.full((5, 4), 1.1), "not from 0 to 1"),
        (numpy.full((5, 4), -0.1), "not from 0 to 1"),
        (numpy.full((5, 4), numpy.nan), "not from 0 to 1"),
        (numpy.full((5, 4), 255, numpy.uint8), "not from 0 to 1"),
        (numpy.zeros((5, 4)), "0 everywhere"),
    ],
)
def test_a_mask_that_fits_nothing_is_refused_by_name(values, words):
    with pytest.raises(ShapeError, match=f"^The mask .*{words}"):
        masks.checked("The mask", values, (5, 4))


def test_a_mask_of_ones_is_no_mask():
    assert masks.checked("The mask", numpy.ones((5, 4), bool), (5, 4)) is None
