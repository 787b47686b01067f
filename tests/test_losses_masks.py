"""Masks and styles of several pictures, for losses that look at positions one by one.

N is the channels of a map, M its positions; the rows of a matrix (M, N) are positions.
"""

import numpy
import pytest
from test_losses import (
    H,
    M,
    N,
    W,
    assert_gradients_agree,
    central_differences,
    device_array,
    random_map,
    rows,
)
from test_losses_methods import KERNELS, kernels
from test_losses_sums import assert_same, hard_mask, mask_of, only, soft_values

from nst_cli.config import METHODS
from nst_cli.errors import ShapeError
from nst_cli.synthesis.losses import (
    ChannelWasserstein,
    RelaxedEMD,
    Sample,
    SlicedWasserstein,
    style_loss,
)

LOSSES = {
    **{name: loss for name, (loss, _) in KERNELS.items()},
    "sliced": SlicedWasserstein(directions=3),
    "histogram": ChannelWasserstein(),
    "remd": RelaxedEMD(samples=8),
}
every = pytest.mark.parametrize("name", LOSSES)

#: Losses whose value does not grow with the number of positions.
WITHOUT_POSITIONS = set(KERNELS)


def prepared(loss, features, style, mask=None, style_mask=None, seed=2):
    """Return a target and the draw of one evaluation, from one seed."""
    random = numpy.random.RandomState(seed)
    target = loss.target(device_array(style), random, style_mask)
    return target, loss.draw(random, features.shape, target, mask)


def evaluated(loss, features, style, mask=None, style_mask=None, seed=2):
    target, draw = prepared(loss, features, style, mask, style_mask, seed)
    result = loss(device_array(features), target, drawn=draw, mask=mask)
    return [array.asnumpy() for array in result]


def sample_of(flats, weights=None):
    """Return a sample of positions, (N, K) each, on the device."""
    return Sample(device_array(numpy.concatenate(flats, axis=1)), weights)


def weighted_quantiles(values, weights, levels):
    """Return the quantiles of weighted values: those of rank j at Σ_{i<j} w_i + w_j / 2."""
    order = numpy.argsort(values)
    known = numpy.cumsum(weights[order]) - weights[order] / 2
    return numpy.interp(levels, known / weights.sum(), values[order])


def weighted_squares(one, weights, other, other_weights):
    """Return Σ m (x − q)² of values and the quantiles of others at the values' levels."""
    order = numpy.argsort(one)
    levels = (numpy.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    count = len(other)
    grid = (numpy.arange(count) + 0.5) / count
    quantiles = numpy.interp(levels, grid, weighted_quantiles(other, other_weights, grid))
    return (weights[order] * (one[order] - quantiles) ** 2).sum()


def test_every_loss_that_looks_at_positions_is_tried_here():
    assert {name for name in METHODS if style_loss(name).needs != "sums"} == set(LOSSES)
    assert all(style_loss(name).pools for name in METHODS)


@every
def test_with_soft_masks_the_gradient_agrees_with_central_differences(name):
    loss, features, mask = LOSSES[name], random_map(0), mask_of(soft_values())
    style_mask = mask_of(soft_values(6, 5, 4))
    target, draw = prepared(loss, features, random_map(1, N, 5, 4), mask, style_mask)
    grad = loss(device_array(features), target, 1.5, draw, mask).grad.asnumpy()
    expected = central_differences(lambda f: loss(f, target, 1.5, draw, mask).value, features)
    assert abs(grad).max() > 0
    assert_gradients_agree(grad, expected)
    assert not grad[:, :, soft_values() == 0].any()


@every
def test_a_region_is_compared_as_a_map_of_its_positions_alone(name):
    loss, features, style = LOSSES[name], random_map(0), random_map(1)
    mask, kept = hard_mask()
    whole = prepared(loss, features, style, mask)
    target, draw = whole
    value, grad = (
        array.asnumpy() for array in loss(device_array(features), target, drawn=draw, mask=mask)
    )
    # The same draw, by the numbers of the positions in the region.
    places = numpy.full(M, -1)
    places[kept] = numpy.arange(kept.sum())
    alone = loss.draw(numpy.random.RandomState(0), only(features, kept).shape, target)
    if name in KERNELS:
        order = places[draw.order.asnumpy()]
        place = numpy.zeros(kept.sum(), int)
        place[order] = numpy.arange(len(order))
        alone = alone._replace(
            order=device_array(order), place=device_array(place), style=draw.style,
            odd=None if draw.odd is None else int(places[draw.odd]),
        )  # fmt: skip
    elif name == "sliced":
        alone = loss.draw(replayed(loss, style), only(features, kept).shape, target)
    elif name == "remd":
        positions = places[draw.positions.asnumpy()]
        place = numpy.full(kept.sum(), len(positions))
        place[positions] = numpy.arange(len(positions))
        alone = alone._replace(
            positions=device_array(positions), place=device_array(place), style=draw.style
        )
    result = loss(device_array(only(features, kept)), target, drawn=alone)
    expected = [array.asnumpy() for array in result]
    share = kept.sum() / M if name in WITHOUT_POSITIONS else 1
    assert_same([value, only(grad, kept)], [share * part for part in expected])
    assert not only(grad, ~kept).any()


def replayed(loss, style, seed=2):
    """Return a stream of a seed as it is after the target of a style has been made."""
    random = numpy.random.RandomState(seed)
    loss.target(device_array(style), random)
    return random


@every
def test_a_region_of_the_style_is_a_style_of_its_positions_alone(name):
    loss, features, style = LOSSES[name], random_map(0), random_map(1)
    mask, kept = hard_mask()
    assert_same(
        evaluated(loss, features, style, style_mask=mask),
        evaluated(loss, features, only(style, kept)),
    )


@every
def test_a_style_mask_of_ones_changes_nothing(name):
    loss, features, style = LOSSES[name], random_map(0), random_map(1)
    ones = mask_of(numpy.ones((H, W)))
    assert_same(
        evaluated(loss, features, style, style_mask=ones), evaluated(loss, features, style)
    )


@pytest.mark.parametrize("name", ["sliced", "histogram"])
def test_a_mask_of_ones_changes_nothing_where_no_position_is_drawn(name):
    loss, features, style = LOSSES[name], random_map(0), random_map(1, N, 5, 4)
    ones = mask_of(numpy.ones((H, W)))
    assert_same(evaluated(loss, features, style, ones), evaluated(loss, features, style))


def test_histogram_is_the_sum_of_weighted_differences_of_quantiles():
    features, style = random_map(0), random_map(1, N, 5, 4)
    values, style_values = soft_values(), soft_values(6, 5, 4)
    value, _ = evaluated(
        ChannelWasserstein(), features, style, mask_of(values), mask_of(style_values)
    )
    kept = style_values.ravel() > 0
    squares = sum(
        weighted_squares(one, values.ravel(), other[kept], style_values.ravel()[kept])
        for one, other in zip(rows(features).T, rows(style).T)
    )
    assert value[0] == pytest.approx(squares / (2 * N), rel=1e-9)


def test_sliced_is_the_mean_of_weighted_differences_of_quantiles_over_directions():
    features, style, loss = random_map(0), random_map(1, N, 5, 4), SlicedWasserstein(5)
    values, style_values = soft_values(), soft_values(6, 5, 4)
    mask, style_mask = mask_of(values), mask_of(style_values)
    target, slices = prepared(loss, features, style, mask, style_mask)
    value = loss(device_array(features), target, drawn=slices, mask=mask).value.asscalar()
    kept, directions = style_values.ravel() > 0, slices.directions.asnumpy()
    squares = sum(
        weighted_squares(one, values.ravel(), other[kept], style_values.ravel()[kept])
        for one, other in zip((rows(features) @ directions).T, (rows(style) @ directions).T)
    )
    assert value == pytest.approx(squares / (2 * 5), rel=1e-9)


@kernels
def test_on_average_a_pair_loss_is_the_mmd_of_the_weighted_distributions(loss, kernel):
    features, style = random_map(0, N, 2, 3), random_map(1, N, 3, 3)
    values = numpy.array([1, 0.5, 0, 1, 0.25, 1])
    style_values = numpy.array([1, 0, 0.5, 1, 1, 0.25, 1, 1, 1])
    mask, style_mask = mask_of(values.reshape(2, 3)), mask_of(style_values.reshape(3, 3))
    random, on_device, results = numpy.random.RandomState(3), device_array(features), []
    for _ in range(5):
        target = loss.target(device_array(style), random, style_mask)
        for _ in range(30):
            pairs = loss.draw(random, features.shape, target, mask)
            results.append(loss(on_device, target, drawn=pairs, mask=mask).value.asscalar())
    (f, s), p, q = map(rows, (features, style)), values, style_values / style_values.sum()
    within, in_style, across = (
        kernel(((x[:, None] - y[None]) ** 2).sum(2)) for x, y in ((f, f), (s, s), (f, s))
    )

    def of_two(kernels, weights):
        pairs = numpy.outer(weights, weights) * (1 - numpy.eye(len(weights)))
        return (kernels * pairs).sum() / pairs.sum()

    # Over all numbers of kept positions: their pairs, and each one's against the style.
    expected = 0.0
    for bits in range(2 ** len(p)):
        kept = numpy.array([bits >> i & 1 for i in range(len(p))], bool)
        chance = numpy.where(kept, p, 1 - p).prod()
        count = int(kept.sum())
        if chance and count > 1:
            even = kept / count
            mmd = of_two(within, even) + of_two(in_style, q) - 2 * even @ across @ q
            expected += chance * mmd * (count // 2) / (2 * N * len(p))
    assert abs(numpy.mean(results) - expected) < 4 * numpy.std(results) / len(results) ** 0.5


def test_remd_draws_positions_in_proportion_to_the_masks():
    features, style = random_map(0), random_map(1, N, 5, 4)
    values, style_values = soft_values(), soft_values(6, 5, 4)
    mask, style_mask = mask_of(values), mask_of(style_values)
    loss, random = RelaxedEMD(M), numpy.random.RandomState(3)
    target = loss.target(device_array(style), random, style_mask)
    counts, style_counts = numpy.zeros(M), numpy.zeros(len(target[2]))
    for _ in range(400):
        draw = loss.draw(random, features.shape, target, mask)
        counts[draw.positions.asnumpy()] += 1
        style_counts += numpy.bincount(draw.style.asnumpy(), minlength=len(style_counts))
    numpy.testing.assert_allclose(counts / 400, values.ravel(), atol=0.1)
    numpy.testing.assert_allclose(style_counts / style_counts.sum(), target[2], atol=0.01)
    kept = style_values.ravel()[style_values.ravel() > 0]
    numpy.testing.assert_allclose(target[2], kept / kept.sum(), rtol=1e-12)


def test_the_value_of_remd_grows_with_the_mass():
    loss, features, style = RelaxedEMD(M), random_map(0), random_map(1)
    ones, halves = (mask_of(numpy.full((H, W), value)) for value in (1.0, 0.5))
    target, draw = prepared(loss, features, style)
    whole, half = (
        loss(device_array(features), target, drawn=draw, mask=mask) for mask in (ones, halves)
    )
    for one, other in zip(whole, half):
        numpy.testing.assert_allclose(other.asnumpy(), one.asnumpy() / 2, rtol=1e-12)


@every
def test_a_mask_of_hardly_any_position_gives_zeros_and_no_error(name):
    loss, features, style = LOSSES[name], random_map(0), random_map(1)
    for values in (numpy.zeros((H, W)), numpy.eye(H, W) * 1e-9):
        value, grad = evaluated(loss, features, style, mask_of(values))
        assert value == pytest.approx(0, abs=1e-6) and abs(grad).max() < 1e-6


@every
def test_a_single_position_of_a_mask_is_finite_on_both_sides(name):
    loss, features, style = LOSSES[name], random_map(0), random_map(1)
    values = numpy.zeros((H, W))
    values[1, 2] = 1
    for mask, style_mask in ((mask_of(values), None), (None, mask_of(values))):
        value, grad = evaluated(loss, features, style, mask, style_mask)
        assert numpy.isfinite(value).all() and numpy.isfinite(grad).all()
        if mask and name in KERNELS:
            assert not value.any() and not grad.any()


@every
def test_a_mask_of_another_size_is_refused_with_both_sizes(name):
    loss, features, style = LOSSES[name], random_map(0), random_map(1)
    wrong = mask_of(numpy.ones((W, H)))
    message = r"the mask has \(7, 3\), the map has \(3, 7\)"
    with pytest.raises(ShapeError, match=message):
        evaluated(loss, features, style, wrong)
    with pytest.raises(ShapeError, match=message):
        evaluated(loss, features, style, style_mask=wrong)


def test_a_style_counted_twice_is_the_style_but_for_the_interpolation():
    loss, features = ChannelWasserstein(), device_array(random_map(0))
    one = Sample.of(device_array(random_map(1, N, 5, 4)))
    twice = Sample.joined([one, one], [0.5, 0.5])
    assert twice.flat.shape == (N, 40) and twice.weights is None
    # Between its two equal values, the sample has a step where the single one has a slope.
    values = [loss(features, loss.pooled(sample)).value.asscalar() for sample in (one, twice)]
    assert values[1] == pytest.approx(values[0], rel=0.1)


def test_samples_are_joined_by_their_shares_whatever_their_sizes():
    small, large = (Sample.of(device_array(random_map(1, N, 1, count))) for count in (4, 12))
    weights = Sample.joined([small, large], [0.75, 0.25]).weights
    numpy.testing.assert_allclose(weights, [0.75 / 4] * 4 + [0.25 / 12] * 12)
    assert Sample.joined([small, large], [0.25, 0.75]).weights is None


@pytest.mark.parametrize("name", ["sliced", "histogram"])
def test_weights_of_whole_numbers_count_like_repeated_positions(name):
    # As for sums, except for the interpolation between values of neighbouring ranks.
    loss, features = LOSSES[name], random_map(0, N, 20, 30)
    flat = random_map(1, N, 30, 30).reshape(N, -1)
    counts = numpy.random.RandomState(3).randint(1, 4, flat.shape[1])
    weighted = sample_of([flat], counts / counts.sum())
    repeated = sample_of([numpy.repeat(flat, counts, axis=1)])
    values = []
    for sample in (weighted, repeated):
        random = numpy.random.RandomState(2)
        target = loss.pooled(sample, random)
        draw = loss.draw(random, features.shape, target)
        values.append(loss(device_array(features), target, drawn=draw).value.asscalar())
    assert values[0] == pytest.approx(values[1], rel=0.02)


def test_of_many_positions_a_sample_draws_some_without_repeats():
    features = random_map(1, N, 10, 10)
    sample = Sample.of(device_array(features), None, 30, numpy.random.RandomState(0))
    assert sample.flat.shape == (N, 30) and sample.weights is None
    chosen = {tuple(row) for row in sample.flat.asnumpy().T}
    assert len(chosen) == 30 and chosen <= {tuple(row) for row in rows(features)}
