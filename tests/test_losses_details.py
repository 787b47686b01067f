"""Defaults, thresholds and edge cases of the losses, which `make mutants` found untested.

N is the channels of a map, M its positions; the rows of a matrix (M, N) are positions.
"""

import numpy
import pytest
from test_losses import DETERMINISTIC, M, device_array, random_map

from nst_cli.config import METHODS, Config
from nst_cli.methods import METHOD_OPTIONS
from nst_cli.synthesis.losses import (
    CORAL,
    CentralMoments,
    EnergyDistance,
    FourierLaplaceMMD,
    FourierMixtureMMD,
    FourierMMD,
    GaussianMMD,
    GaussianWasserstein,
    LaplaceMMD,
    Mask,
    MixtureMMD,
    RelaxedEMD,
    Sample,
    SumLoss,
    inside,
    style_loss,
)
from nst_cli.synthesis.losses.arrays import plain
from nst_cli.synthesis.losses.frame import drawn_positions, no_pull, weighted_draw

BANDWIDTH = 9.0
every = pytest.mark.parametrize("method", METHODS)


def seeded(number=0):
    return numpy.random.RandomState(number)


def map_of(matrix):
    """Return a map (1, N, 1, M) on the device from a matrix (M, N)."""
    return device_array(numpy.asarray(matrix).T[None, :, None, :])


def mask_of(values, like):
    return Mask.of(values, like)


def arrays_of(value):
    """Return all arrays in a target or a draw, as NumPy arrays."""
    if hasattr(value, "asnumpy"):
        return [value.asnumpy()]
    if isinstance(value, numpy.ndarray):
        return [value]
    if isinstance(value, (tuple, list)):
        return [array for part in value for array in arrays_of(part)]
    return []


def same(first, second):
    pairs = list(zip(arrays_of(first), arrays_of(second)))
    return all(a.shape == b.shape and (a == b).all() for a, b in pairs)


class TestDefaults:
    @pytest.mark.parametrize("loss", DETERMINISTIC.values(), ids=DETERMINISTIC)
    def test_a_weight_is_one_unless_it_is_given(self, loss):
        features, target = (
            device_array(random_map(1)),
            loss.target(device_array(random_map(2)), seeded()),
        )
        assert loss(features, target).value.asscalar() == pytest.approx(
            loss(features, target, 1.0).value.asscalar(), rel=1e-12
        )
        if isinstance(loss, SumLoss):
            sums = loss.sums(features, loss.basis_in(target))
            head = loss.head(sums, target)
            assert head.value.asscalar() == loss.head(sums, target, 1.0).value.asscalar() > 0

    @every
    def test_a_loss_alone_has_the_defaults_of_the_options(self, method):
        config = Config(method=method)
        for name in set(METHOD_OPTIONS.get(method, ())) - {"estimator"}:
            for estimator in ("pairs", "fourier"):
                loss = style_loss(method, estimator=estimator)
                if hasattr(loss, name):
                    assert getattr(loss, name) == getattr(config, name), (method, name)

    @every
    def test_a_loss_says_whether_its_target_and_its_draws_are_random(self, method):
        loss, features = style_loss(method), device_array(random_map(1))
        targets = [loss.target(features, seeded(number)) for number in (1, 2)]
        assert loss.seeded == (not same(*targets))
        draws = [loss.draw(seeded(number), features.shape, targets[0]) for number in (1, 2)]
        assert loss.draws == (not same(*draws))

    def test_without_positions_there_is_a_zero_of_the_same_type(self):
        value, grad = no_pull(device_array(random_map(1)))
        assert (value.dtype, grad.dtype) == (numpy.float64, numpy.float64)
        assert value.asscalar() == 0 and not grad.asnumpy().any()


class TestBandwidths:
    def test_a_factor_of_a_mixture_multiplies_the_bandwidth(self):
        features, style = device_array(random_map(1)), device_array(random_map(2))
        values = []
        for loss in (MixtureMMD((0.3,), BANDWIDTH), GaussianMMD(0.3 * BANDWIDTH)):
            target = loss.target(style, seeded())
            drawn = loss.draw(seeded(), features.shape, target)
            values.append(loss(features, target, drawn=drawn))
        assert values[0].value.asscalar() == pytest.approx(values[1].value.asscalar(), rel=1e-12)
        numpy.testing.assert_allclose(
            values[0].grad.asnumpy(), values[1].grad.asnumpy(), rtol=1e-9, atol=1e-15
        )

    def test_a_factor_of_a_mixture_by_fourier_multiplies_the_bandwidth(self):
        style = device_array(random_map(2))
        one = FourierMixtureMMD(6, BANDWIDTH, kernels=(0.3,)).basis(style, seeded())
        other = FourierMMD(6, 0.3 * BANDWIDTH).basis(style, seeded())
        numpy.testing.assert_allclose(
            one.frequencies.asnumpy(), other.frequencies.asnumpy(), rtol=1e-12
        )

    @pytest.mark.parametrize(("channels", "waves"), [(3, 6), (512, 1024), (513, 1024)])
    def test_there_are_two_waves_for_each_channel_up_to_1024(self, channels, waves):
        assert FourierMMD().waves(channels) == waves

    @pytest.mark.parametrize("by_moments", [False, True])
    @pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
    def test_a_flat_style_has_a_bandwidth_of_a_hundredth_of_its_square(self, scale, by_moments):
        colour = scale * numpy.array([3.0, -4.0, 12.0])
        style = map_of(numpy.tile(colour, (5, 1)))
        loss = FourierMMD(features=8)
        if by_moments:
            mask = mask_of(numpy.ones((1, 5)), style)
            waves = loss.target(style, seeded(), mask)[0]
        else:
            waves = loss.basis(style, seeded())
        standard = seeded().standard_normal((3, 4))
        expected = standard * (2 / (0.01 * (13 * scale) ** 2)) ** 0.5
        numpy.testing.assert_allclose(waves.frequencies.asnumpy(), expected, rtol=1e-9)

    @pytest.mark.parametrize("scale", [1e-6, 1e3])
    @pytest.mark.parametrize(
        ("loss", "power"),
        [
            (GaussianMMD(), 0),
            (LaplaceMMD(), 0),
            (MixtureMMD(), 0),
            (EnergyDistance(), 1),
            (FourierMMD(), 0),
            (FourierLaplaceMMD(), 0),
            (CentralMoments(), 0),
            (RelaxedEMD(), 0),
            (GaussianWasserstein(), 2),
            (CORAL(), 4),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_the_unit_of_the_features_does_not_matter_beyond_its_power(self, loss, power, scale):
        values = []
        for factor in (1.0, scale):
            features, style = (device_array(factor * random_map(seed)) for seed in (1, 2))
            target = loss.target(style, seeded())
            drawn = loss.draw(seeded(), features.shape, target)
            values.append(loss(features, target, drawn=drawn).value.asscalar())
        assert values[1] == pytest.approx(scale**power * values[0], rel=1e-6)

    def test_at_least_4096_pairs_measure_the_style_and_less_than_a_round_more(self):
        _, distances = GaussianMMD().target(device_array(random_map(1)), seeded())
        assert 4096 <= distances.shape[0] < 4096 + M // 2

    @pytest.mark.parametrize(("positions", "most"), [(50, 4096), (10_000, 5000)])
    def test_a_weighted_style_is_measured_by_half_as_many_pairs_as_positions(
        self, positions, most
    ):
        values = seeded().normal(size=(positions, 1))
        sample = Sample(plain(map_of(values)), numpy.linspace(1, 2, positions) / 1.5 / positions)
        _, distances, _ = GaussianMMD().pooled(sample, seeded())
        # Fewer by the pairs of a position with itself.
        assert 0.95 * most < distances.shape[0] <= most

    def test_a_weighted_style_with_an_odd_position_has_one_pair_for_each_two_of_the_others(self):
        values, weights = seeded().normal(size=8195), numpy.full(8195, 1 / 8195)
        sample = Sample(plain(map_of(values[:, None])), weights)
        _, distances, _ = GaussianMMD().pooled(sample, seeded())
        random = seeded()
        first, second = (weighted_draw(random, weights, 4097) for _ in range(2))
        expected = (values[first] - values[second])[first != second] ** 2
        numpy.testing.assert_allclose(distances.asnumpy()[:, 0], expected, rtol=1e-12)

    def test_two_positions_are_a_pair(self):
        loss, features = GaussianMMD(), map_of(seeded().normal(size=(2, 3)))
        target = loss.target(features, seeded())
        assert loss.draw(seeded(), features.shape, target) is not None


class TestStandards:
    def test_the_least_deviation_is_a_tenth_of_the_layers(self):
        values = seeded(1).normal(size=(40, 3)) * (1, 2, 0) + 5
        standard = CentralMoments().basis(map_of(values))
        deviations = values.std(0)
        expected = [*deviations[:2], 0.1 * numpy.sqrt((deviations**2).mean())]
        numpy.testing.assert_allclose(standard.deviations.asnumpy().ravel(), expected, rtol=1e-9)

    def test_without_any_deviation_the_least_is_a_part_of_the_means(self):
        standard = CentralMoments().basis(map_of(numpy.tile([3.0, 4.0], (5, 1))))
        expected = 0.1 * 1e-3 * numpy.sqrt((9 + 16) / 2)
        numpy.testing.assert_allclose(standard.deviations.asnumpy(), expected, rtol=1e-9)

    @pytest.mark.parametrize("scale", [1e-3, 1.0])
    def test_a_direction_needs_a_ten_thousandth_of_the_mean_length(self, scale):
        values = scale * seeded(1).normal(size=(40, 3))
        _, least = RelaxedEMD().target(map_of(values), seeded())
        lengths = numpy.linalg.norm(values, axis=1)
        assert least.asscalar() == pytest.approx(1e-4 * lengths.mean(), rel=1e-9)

    def test_no_more_positions_of_a_weighted_style_are_drawn_than_asked_for(self):
        features = map_of(seeded().normal(size=(40, 3)))
        mask = mask_of(numpy.linspace(0.1, 1, 40)[None], features)
        loss = RelaxedEMD(samples=7)
        target = loss.target(features, seeded(), mask)
        assert loss.draw(seeded(), features.shape, target).style.shape == (7,)

    @pytest.mark.parametrize("loss", [FourierMMD(features=6), CentralMoments()])
    def test_half_a_weight_counts_as_half_a_position(self, loss):
        values = seeded(1).normal(size=(8, 3))
        twice = numpy.concatenate([values, values[:3]])
        style = map_of(values)
        mask = mask_of(numpy.where(numpy.arange(8) < 3, 1.0, 0.5)[None], style)
        masked, repeated = loss.target(style, seeded(), mask), loss.target(map_of(twice), seeded())
        for one, other in zip(arrays_of(masked), arrays_of(repeated)):
            numpy.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


class TestCovariances:
    def test_a_map_of_two_positions_has_the_value_of_the_formula(self):
        # C_F is f fᵀ, so tr (C_S^½ C_F C_S^½)^½ = (fᵀ C_S f)^½.
        pair, style = seeded(1).normal(size=(2, 6)), seeded(2).normal(size=(40, 6))
        f, covariance = (pair[0] - pair[1]) / 2, numpy.cov(style.T, bias=True)
        distance = ((pair.mean(0) - style.mean(0)) ** 2).sum()
        distance += f @ f + numpy.trace(covariance) - 2 * (f @ covariance @ f) ** 0.5
        loss = GaussianWasserstein()
        actual = loss(map_of(pair), loss.target(map_of(style))).value.asscalar()
        assert actual == pytest.approx(2 / (2 * 6) * distance, rel=1e-12)

    def test_no_distance_of_a_map_to_itself_is_negative(self):
        loss = GaussianWasserstein()
        for seed in range(20):
            features = device_array(random_map(seed))
            assert loss(features, loss.target(features)).value.asscalar() >= 0

    @pytest.mark.parametrize("channels", [1, 2, 3])
    def test_covariances_of_parts_add_up_to_those_of_the_whole(self, channels):
        values = seeded(1).normal(size=(12, channels)) + numpy.arange(12)[:, None]
        loss = CORAL()
        parts = loss.sums(map_of(values[:5])) + loss.sums(map_of(values[5:]))
        numpy.testing.assert_allclose(
            parts.squares.asnumpy(), loss.sums(map_of(values)).squares.asnumpy(), rtol=1e-9
        )


class TestSamples:
    def test_a_position_is_drawn_as_often_as_its_weight_says_rounded_up_or_down(self):
        weights = numpy.array([0.05, 0.15, 0.33, 0.47])
        totals = numpy.zeros(4)
        for seed in range(400):
            counts = numpy.bincount(weighted_draw(seeded(seed), weights, 7), minlength=4)
            assert (numpy.abs(counts - 7 * weights) < 1).all()
            totals += counts
        # Five standard errors of the mean of 400 roundings.
        numpy.testing.assert_allclose(totals / 400, 7 * weights, atol=5 * 0.5 / 20)

    def test_positions_of_a_soft_mask_are_drawn_one_by_one(self):
        like = device_array(numpy.zeros((1, 1, 10, 10)))
        mask = mask_of(numpy.full((10, 10), 0.5), like)
        counts = [len(drawn_positions(seeded(seed), like.shape, mask)) for seed in range(20)]
        assert 30 < min(counts) < max(counts) < 70

    @pytest.mark.parametrize("mask", [[0.0, 0.0, 1.0], [0.0, 0.3, 0.6], [1.0, 1.0, 0.0]])
    def test_a_sample_has_the_positions_inside_the_mask(self, mask):
        values, mask = seeded().normal(size=(3, 2)), numpy.array(mask)
        features = map_of(values)
        sample = Sample.of(features, mask_of(mask[None], features))
        numpy.testing.assert_array_equal(sample.flat.asnumpy(), values[mask > 0].T)
        kept = inside(features, mask_of(mask[None], features))
        numpy.testing.assert_array_equal(kept.asnumpy(), values[mask > 0].T[None, :, None])
        assert inside(features, None) is features

    def test_a_mask_that_is_zero_everywhere_leaves_all_positions_and_no_weights(self):
        features = map_of(seeded().normal(size=(3, 2)))
        sample = Sample.of(features, mask_of(numpy.zeros((1, 3)), features))
        assert sample.flat.shape == (2, 3) and sample.weights is None

    def test_weights_that_differ_count_however_small_all_of_them_are(self):
        features, values = map_of(seeded().normal(size=(3, 2))), numpy.array([1, 1, 1 + 1e-6])
        weights = Sample.of(features, mask_of(1e-5 * values[None], features)).weights
        numpy.testing.assert_allclose(weights, values / values.sum(), rtol=1e-12)
        even = Sample.of(features, mask_of(numpy.full((1, 3), 0.1), features))
        assert even.weights is None

    def test_a_sample_is_drawn_from_more_positions_than_asked_for_alone(self):
        features, random = map_of(seeded().normal(size=(5, 2))), seeded()
        whole = Sample.of(features).flat.asnumpy()
        for most, generator in ((5, random), (None, random), (2, None)):
            sample = Sample.of(features, None, most, generator)
            numpy.testing.assert_array_equal(sample.flat.asnumpy(), whole)
        assert random.uniform() == seeded().uniform()
        assert Sample.of(features, None, 4, random).flat.shape == (2, 4)

    def test_joined_samples_have_their_shares_of_the_weight(self):
        features = map_of(seeded().normal(size=(3, 2)))
        even = Sample.of(features)
        uneven = Sample.of(features, mask_of(numpy.array([[1.0, 0.5, 0.5]]), features))
        weights = Sample.joined([even, uneven], (0.25, 0.75)).weights
        numpy.testing.assert_allclose(
            weights, [1 / 12, 1 / 12, 1 / 12, 0.375, 0.1875, 0.1875], rtol=1e-12
        )
