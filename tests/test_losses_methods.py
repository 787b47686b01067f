"""The alignments beyond the paper's: naive forms in NumPy, draws, and degenerate maps.

N is the channels of a map, M its positions; the rows of a matrix (M, N) are positions.
"""

import dataclasses
import math

import numpy
import pytest
import scipy.linalg
from test_losses import (
    H,
    M,
    N,
    W,
    assert_gradients_agree,
    central_differences,
    device_array,
    drawn,
    evaluate,
    random_map,
    rows,
    squared_distances,
)

from nst_cli.config import METHODS
from nst_cli.synthesis.losses import (
    CORAL,
    BNStatistics,
    CentralMoments,
    ChannelWasserstein,
    EnergyDistance,
    GaussianMMD,
    GaussianWasserstein,
    LaplaceMMD,
    LinearMMD,
    MixtureMMD,
    RelaxedEMD,
    SlicedWasserstein,
    style_loss,
)

BANDWIDTH = 9.0
KERNELS = {
    "gaussian": (GaussianMMD(BANDWIDTH), lambda d: numpy.exp(-d / BANDWIDTH)),
    "rbf": (
        MixtureMMD((0.5, 2.0), BANDWIDTH),
        lambda d: (numpy.exp(-2 * d / BANDWIDTH) + numpy.exp(-d / 2 / BANDWIDTH)) / 2,
    ),
    "laplace": (LaplaceMMD(BANDWIDTH), lambda d: numpy.exp(-((d / BANDWIDTH + 1e-6) ** 0.5))),
    "energy": (EnergyDistance(BANDWIDTH), lambda d: -((d + 1e-6 * BANDWIDTH) ** 0.5)),
}
DRAWING = {
    **{name: loss for name, (loss, _) in KERNELS.items()},
    "sliced": SlicedWasserstein(directions=3),
    "remd": RelaxedEMD(samples=8),
}
kernels = pytest.mark.parametrize(("loss", "kernel"), KERNELS.values(), ids=KERNELS)
every = pytest.mark.parametrize("method", METHODS)


def quantiles(values, count):
    """Return `count` values at the middle of equal shares of a sorted sample."""
    known = (numpy.arange(len(values)) + 0.5) / len(values)
    return numpy.interp((numpy.arange(count) + 0.5) / count, known, numpy.sort(values))


def squared_w2(one, other):
    """Return the sum of squared differences of values of the same rank."""
    return ((numpy.sort(one) - quantiles(other, len(one))) ** 2).sum()


@pytest.mark.parametrize("method", ["linear", "poly", "bn", "coral", "wasserstein", "histogram"])
def test_a_loss_grows_by_its_degree_when_the_features_of_both_sides_do(method):
    loss, features, style = style_loss(method), random_map(0), random_map(1, N, 5, 4)
    degree = getattr(loss, "degree", 2)
    value, _ = evaluate(loss, features, style)
    grown, _ = evaluate(loss, 3 * features, 3 * style)
    assert grown == pytest.approx(3**degree * value, rel=1e-9)


class TestNaiveForms:
    def test_coral_is_the_distance_of_the_covariance_matrices(self):
        features, style = random_map(0), random_map(1, N, 5, 4)
        one, other = (numpy.cov(rows(x).T, bias=True) for x in (features, style))
        value, _ = evaluate(CORAL(), features, style)
        assert value == pytest.approx(M / (4 * N**2) * ((one - other) ** 2).sum(), rel=1e-9)

    def test_coral_is_the_gram_matrix_loss_of_features_without_their_means(self):
        features, style = random_map(0), random_map(1, N, 5, 4)
        centred = [x - x.mean((2, 3), keepdims=True) for x in (features, style)]
        expected = evaluate(style_loss("poly"), *centred)
        for actual, one in zip(evaluate(CORAL(), features, style), expected):
            numpy.testing.assert_allclose(actual, one, rtol=1e-9, atol=1e-12)

    def test_wasserstein_is_the_distance_of_two_normal_distributions(self):
        features, style = random_map(0), random_map(1, N, 5, 4)
        (f, one), (s, other) = (
            (x, numpy.cov(x.T, bias=True)) for x in map(rows, (features, style))
        )
        root = scipy.linalg.sqrtm(other)
        cross = scipy.linalg.sqrtm(root @ one @ root).real
        squared = ((f.mean(0) - s.mean(0)) ** 2).sum() + numpy.trace(one + other - 2 * cross)
        value, _ = evaluate(GaussianWasserstein(), features, style)
        assert value == pytest.approx(M / (2 * N) * squared, rel=1e-9)

    def test_the_gradient_of_wasserstein_leads_to_the_style_s_means_and_covariances(self):
        features, style = random_map(0), random_map(1, N, 5, 4)
        _, grad = evaluate(GaussianWasserstein(), features, style)
        moved, s = rows(features - N * grad), rows(style)
        numpy.testing.assert_allclose(moved.mean(0), s.mean(0), rtol=1e-9)
        covariances = (numpy.cov(x.T, bias=True) for x in (moved, s))
        numpy.testing.assert_allclose(*covariances, rtol=1e-9, atol=1e-9)

    def test_wasserstein_is_bn_where_channels_do_not_correlate(self):
        # The channels of each map are orthogonal, so its covariance matrix is diagonal.
        signs = scipy.linalg.hadamard(8)[1 : N + 1].reshape(1, N, 2, 4)
        scale, shift = numpy.arange(1.0, N + 1).reshape(1, N, 1, 1), 3.0
        features, style = signs * scale, signs * scale[:, ::-1] + shift
        expected = evaluate(BNStatistics(), features, style)
        for actual, one in zip(evaluate(GaussianWasserstein(), features, style), expected):
            numpy.testing.assert_allclose(actual, one, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("size", [(5, 4), (H, W), (2, 3)], ids=["fewer", "equal", "few"])
    def test_histogram_is_the_sum_over_channels_of_sorted_differences(self, size):
        features, style = random_map(0), random_map(1, N, *size)
        squares = sum(map(squared_w2, rows(features).T, rows(style).T))
        value, _ = evaluate(ChannelWasserstein(), features, style)
        assert value == pytest.approx(squares / (2 * N), rel=1e-9)

    @pytest.mark.parametrize("size", [(5, 4), (9, 6)], ids=["fewer", "more"])
    def test_sliced_is_the_mean_over_directions_of_sorted_differences(self, size):
        features, style, loss = random_map(0), random_map(1, N, *size), SlicedWasserstein(5)
        target, slices = drawn(loss, features, style)
        directions = slices.directions.asnumpy()
        numpy.testing.assert_allclose((directions**2).sum(0), 1, rtol=1e-12)
        one, other = ((rows(x) @ directions).T for x in (features, style))
        value = loss(device_array(features), target, drawn=slices).value.asscalar()
        assert value == pytest.approx(sum(map(squared_w2, one, other)) / (2 * 5), rel=1e-9)

    def test_over_its_directions_sliced_costs_a_shift_half_of_what_linear_does(self):
        style = random_map(1)
        features = style + numpy.arange(1.0, N + 1).reshape(1, N, 1, 1)
        target, slices = drawn(SlicedWasserstein(4000), features, style)
        value = SlicedWasserstein(4000)(device_array(features), target, drawn=slices).value
        linear, _ = evaluate(LinearMMD(), features, style)
        # The square of a cosine has a deviation of about its mean.
        assert value.asscalar() == pytest.approx(linear, rel=5 / 4000**0.5)

    @kernels
    def test_a_pair_loss_is_the_sum_of_its_kernel_over_the_drawn_quadruples(self, loss, kernel):
        features, style = random_map(0), random_map(1, N, 5, 4)
        target, pairs = drawn(loss, features, style)
        within, across, in_style = map(kernel, squared_distances(target, pairs, features))
        quadruples = within.sum() + M // 2 * in_style.mean() - across.sum()
        value = loss(device_array(features), target, drawn=pairs).value.asscalar()
        assert value == pytest.approx(quadruples / (2 * N * M), rel=1e-9)

    @kernels
    def test_on_average_a_pair_loss_is_the_mmd_of_its_kernel(self, loss, kernel):
        features, style = random_map(0, N, 2, 3), random_map(1, N, 3, 3)
        random, on_device, values = numpy.random.RandomState(3), device_array(features), []
        for _ in range(10):
            target = loss.target(device_array(style), random)
            for _ in range(20):
                pairs = loss.draw(random, features.shape, target)
                values.append(loss(on_device, target, drawn=pairs).value.asscalar())
        f, s = rows(features), rows(style)
        within, in_style, across = (
            kernel(((x[:, None] - y[None]) ** 2).sum(2)) for x, y in ((f, f), (s, s), (f, s))
        )
        of_two = [k[~numpy.eye(len(k), dtype=bool)].mean() for k in (within, in_style)]
        expected = (sum(of_two) - 2 * across.mean()) / (4 * N)
        assert abs(numpy.mean(values) - expected) < 4 * numpy.std(values) / len(values) ** 0.5

    def test_one_kernel_of_factor_1_makes_rbf_gaussian(self):
        features, style = random_map(0), random_map(1, N, 5, 4)
        for loss in (GaussianMMD(), MixtureMMD((1.0,))):
            target, pairs = drawn(loss, features, style)
            actual = loss(device_array(features), target, drawn=pairs)
            if isinstance(loss, GaussianMMD):
                expected = actual
        for one, other in zip(actual, expected):
            numpy.testing.assert_allclose(one.asnumpy(), other.asnumpy(), rtol=1e-12)

    @pytest.mark.parametrize("orders", [1, 2, 5])
    def test_cmd_is_the_sum_of_the_distances_of_the_moments(self, orders):
        features, style = random_map(0), random_map(1, N, 5, 4)
        s = rows(style)
        mean, deviation = s.mean(0), s.std(0)
        squashed = [1 / (1 + numpy.exp(-(rows(x) - mean) / deviation)) for x in (features, style)]
        one, other = (
            [y.mean(0), *(((y - y.mean(0)) ** k).mean(0) for k in range(2, orders + 1))]
            for y in squashed
        )
        norms = [numpy.linalg.norm(a - b) for a, b in zip(one, other)]
        value, _ = evaluate(CentralMoments(orders), features, style)
        assert value == pytest.approx(M * sum(norms), rel=1e-9)

    def test_cmd_does_not_depend_on_the_unit_of_the_features(self):
        features, style = random_map(0), random_map(1, N, 5, 4)
        value, _ = evaluate(CentralMoments(), features, style)
        scaled, _ = evaluate(CentralMoments(), 300 * features, 300 * style)
        assert scaled == pytest.approx(value, rel=1e-9)

    @pytest.mark.parametrize("size", [(5, 4), (2, 3)], ids=["sampled", "all"])
    def test_remd_is_the_larger_of_the_two_mean_distances_to_the_nearest(self, size):
        features, style, loss = random_map(0), random_map(1, N, *size), RelaxedEMD(8)
        target, samples = drawn(loss, features, style)
        one = rows(features)[samples.positions.asnumpy()]
        other = rows(style)[samples.style.asnumpy()]
        one, other = (x / numpy.linalg.norm(x, axis=1, keepdims=True) for x in (one, other))
        costs = 1 - one @ other.T
        expected = M * max(costs.min(0).mean(), costs.min(1).mean())
        value = loss(device_array(features), target, drawn=samples).value.asscalar()
        assert value == pytest.approx(expected, rel=1e-9)

    def test_remd_leaves_the_lengths_of_the_features_free(self):
        features, loss = random_map(0), RelaxedEMD(M)
        target, samples = drawn(loss, features, features)
        lengths = numpy.random.RandomState(1).uniform(0.5, 2, (1, 1, H, W))
        value, grad = loss(device_array(lengths * features), target, drawn=samples)
        assert value.asscalar() == pytest.approx(0, abs=1e-9)
        assert abs(grad.asnumpy()).max() < 1e-6


@pytest.mark.parametrize("name", DRAWING)
@pytest.mark.parametrize("shape", [(3, 7), (2, 6), (1, 2)], ids=["odd", "even", "two"])
def test_the_gradient_of_a_draw_agrees_with_central_differences(name, shape):
    features, loss = random_map(0, N, *shape), DRAWING[name]
    target, draw = drawn(loss, features, random_map(1, N, 5, 4))
    actual = loss(device_array(features), target, drawn=draw).grad.asnumpy()
    expected = central_differences(lambda f: loss(f, target, drawn=draw).value, features)
    assert_gradients_agree(actual, expected)


@pytest.mark.parametrize("name", ["sliced", "remd"])
def test_a_map_against_itself_scores_zero_along_every_draw(name):
    features, loss = random_map(0), {"sliced": SlicedWasserstein(5), "remd": RelaxedEMD(M)}[name]
    target, draw = drawn(loss, features, features)
    value, grad = loss(device_array(features), target, drawn=draw)
    assert value.asscalar() == pytest.approx(0, abs=1e-12)
    assert abs(grad.asnumpy()).max() < 1e-9


def test_remd_pulls_only_the_drawn_positions():
    features, loss = random_map(0), RelaxedEMD(8)
    target, samples = drawn(loss, features, random_map(1))
    grad = rows(loss(device_array(features), target, drawn=samples).grad.asnumpy())
    pulled = numpy.flatnonzero(abs(grad).max(axis=1) > 0)
    assert sorted(samples.positions.asnumpy()) == pulled.tolist()


#: Maps (1, N, H, W) of which one statistic or another does not exist.
DEGENERATE = {
    "flat": lambda: numpy.full((1, N, H, W), 2.0),
    "black": lambda: numpy.zeros((1, N, H, W)),
    "one position": lambda: random_map(3, N, 1, 1),
    "two positions": lambda: random_map(3, N, 1, 2),
    "fewer positions than channels": lambda: random_map(3, N, 1, 3),
    "a silent channel": lambda: random_map(3) * numpy.array([1, 0, 1, 1]).reshape(1, N, 1, 1),
}


@every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", DEGENERATE)
def test_degenerate_maps_give_finite_values_and_gradients(method, kind, dtype):
    odd, usual = DEGENERATE[kind](), random_map(0)
    for features, style in ((odd, usual), (usual, odd), (odd, odd)):
        random, loss, features = (
            numpy.random.RandomState(2), style_loss(method), device_array(features, dtype)
        )  # fmt: skip
        target = loss.target(device_array(style, dtype), random)
        draw = loss.draw(random, features.shape, target)
        # About the largest factor of a method.
        value, grad = (part.asnumpy() for part in loss(features, target, 1e15, drawn=draw))
        assert numpy.isfinite(value).all() and numpy.isfinite(grad).all()
        assert value.shape == (1,) and grad.shape == features.shape and grad.dtype == dtype


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e200], ids=["nan", "inf", "overflow"])
@every
def test_features_that_are_not_finite_raise_no_error(method, bad):
    # Where L-BFGS tries too long a step, it has to try a shorter one.
    for side in range(2):
        maps = [random_map(0), random_map(1, N, 5, 4)]
        maps[side][0, 0] = bad
        random, loss = numpy.random.RandomState(2), style_loss(method)
        features, style = map(device_array, maps)
        target = loss.target(style, random)
        draw = loss.draw(random, features.shape, target)
        value, grad = (part.asnumpy() for part in loss(features, target, drawn=draw))
        assert value.shape == (1,) and grad.shape == features.shape
        # A bounded kernel, and sorting, may give a number.
        if method in ("linear", "poly", "bn", "coral", "wasserstein"):
            assert not numpy.isfinite(value).all(), side


@every
def test_the_same_seed_gives_the_same_bytes_and_another_one_only_where_it_is_used(method):
    loss = dataclasses.replace(style_loss(method))

    def outcome(seed):
        random, features = numpy.random.RandomState(seed), device_array(random_map(0, N, 9, 8))
        target = loss.target(device_array(random_map(1, N, 7, 9)), random)
        draw = loss.draw(random, features.shape, target)
        return [part.asnumpy().tobytes() for part in loss(features, target, drawn=draw)]

    assert outcome(1) == outcome(1)
    # 72 positions are fewer than remd's samples, which thus are all of them in another order.
    if method != "remd":
        assert (outcome(1) != outcome(2)) == (loss.draws or loss.seeded)


def test_wasserstein_keeps_small_covariances_about_large_means_in_float32():
    features = random_map(0)
    features = 1000 + (features - features.mean((2, 3), keepdims=True)) * 0.01
    style = 1000 + (features - 1000) * 2
    for loss in (GaussianWasserstein(), CORAL()):
        expected, _ = evaluate(loss, features, style)
        target = loss.target(device_array(style, "float32"))
        value = loss(device_array(features, "float32"), target).value.asscalar()
        # 1000 ± 0.01 has two or three digits after the point in float32.
        assert value == pytest.approx(expected, rel=0.05)
