"""The losses: gradients against central differences, values against the formulas they stand for.

N is the channels of a map, M its positions; the rows of a matrix (M, N) are positions.
"""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_cli import engine
from nst_cli.config import METHODS, PAPER_BETA, PAPER_METHODS
from nst_cli.errors import ShapeError
from nst_cli.synthesis.losses import (
    CORAL,
    BNStatistics,
    CentralMoments,
    ChannelWasserstein,
    Content,
    FourierMMD,
    GaussianMMD,
    GaussianWasserstein,
    LinearMMD,
    PolynomialMMD,
    smoothing,
    style_loss,
)

C = 3.0
DETERMINISTIC = {
    "linear": LinearMMD(),
    "poly": PolynomialMMD(),
    "poly-c": PolynomialMMD(c=C),
    "bn": BNStatistics(),
    "coral": CORAL(),
    "wasserstein": GaussianWasserstein(),
    "histogram": ChannelWasserstein(),
    "fourier": FourierMMD(features=6),
    "cmd": CentralMoments(),
}
#: Relative errors: of most losses, and of one that takes roots of eigenvalues near 0.
EXACT, ROOTS = 1e-9, 1e-6
N, H, W = 4, 3, 7
M = H * W

deterministic = pytest.mark.parametrize("loss", DETERMINISTIC.values(), ids=DETERMINISTIC)


def device_array(values, dtype="float64"):
    return engine.array(values, engine.context("cpu"), dtype)


def random_map(seed, channels=N, height=H, width=W):
    """Return a map (1, N, H, W) with another mean and deviation in each channel."""
    random = numpy.random.RandomState(seed)
    spread, shift = random.uniform(0.5, 2, (2, 1, channels, 1, 1))
    return random.normal(size=(1, channels, height, width)) * spread + shift


def rows(values):
    """Return a map (1, N, H, W) as (M, N)."""
    return values.reshape(values.shape[1], -1).T


def accuracy(loss):
    return ROOTS if isinstance(loss, GaussianWasserstein) else EXACT


def target_of(loss, style_features, seed=7):
    return loss.target(device_array(style_features), numpy.random.RandomState(seed))


def evaluate(loss, features, style_features):
    """Return a deterministic loss in float64 as a number and a NumPy array."""
    target = target_of(loss, style_features)
    value, grad = loss(device_array(features), target)
    assert value.shape == (1,) and grad.shape == features.shape
    return value.asscalar(), grad.asnumpy()


def central_differences(function, values, step=1e-5):
    """Return the gradient of a function of an array, one value after the other."""
    grad = numpy.empty_like(values)
    for index in numpy.ndindex(*values.shape):
        shift = numpy.zeros_like(values)
        shift[index] = step
        rise = function(device_array(values + shift)) - function(device_array(values - shift))
        grad[index] = rise.asscalar() / (2 * step)
    return grad


def assert_gradients_agree(actual, expected):
    # Half the digits of float64 are lost in a difference, about as many in its step's square.
    numpy.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-8 * abs(expected).max())


class TestGradients:
    @deterministic
    def test_a_style_gradient_agrees_with_central_differences(self, loss):
        features, target = random_map(0), target_of(loss, random_map(1, N, 5, 4))
        actual = loss(device_array(features), target).grad.asnumpy()
        expected = central_differences(lambda f: loss(f, target).value, features)
        assert_gradients_agree(actual, expected)

    @pytest.mark.parametrize("shape", [(3, 7), (2, 6)], ids=["odd", "even"])
    def test_the_gaussian_gradient_agrees_with_central_differences(self, shape):
        features, loss = random_map(0, N, *shape), GaussianMMD(bandwidth=9.0)
        target, pairs = drawn(loss, features, random_map(1, N, 5, 4))
        actual = loss(device_array(features), target, drawn=pairs).grad.asnumpy()
        expected = central_differences(lambda f: loss(f, target, drawn=pairs).value, features)
        assert_gradients_agree(actual, expected)

    def test_the_content_gradient_agrees_with_central_differences(self):
        features, target = random_map(0), device_array(random_map(1))
        actual = Content()(device_array(features), target).grad.asnumpy()
        expected = central_differences(lambda f: Content()(f, target).value, features)
        assert_gradients_agree(actual, expected)

    def test_the_smoothing_gradient_agrees_with_central_differences(self):
        image = random_map(0, channels=3, height=5, width=8)
        actual = smoothing(device_array(image)).grad.asnumpy()
        expected = central_differences(lambda x: smoothing(x).value, image)
        assert_gradients_agree(actual, expected)


def double_kernel_sum(kernel, features, style_features):
    """Return Σ k(f, f′) + Σ k(s, s′) − 2 Σ k(f, s) over all pairs; the kernel is one of x·y."""
    f, s = rows(features), rows(style_features)
    return kernel(f @ f.T).sum() + kernel(s @ s.T).sum() - 2 * kernel(f @ s.T).sum()


class TestFormulas:
    def test_content_is_the_sum_of_squared_differences(self):
        features, content = random_map(0), random_map(1)
        value, grad = evaluate(Content(), features, content)
        assert value == pytest.approx(((features - content) ** 2).sum(), rel=1e-12)
        numpy.testing.assert_allclose(grad, 2 * (features - content), rtol=1e-12)

    def test_linear_is_the_double_sum_of_its_kernel(self):
        features, style = random_map(0), random_map(1)
        naive = double_kernel_sum(lambda dots: dots, features, style)
        value, _ = evaluate(LinearMMD(), features, style)
        assert value == pytest.approx(naive / (2 * N * M), rel=1e-9)

    @pytest.mark.parametrize("c", [0.0, C])
    def test_poly_is_the_double_sum_of_its_kernel(self, c):
        features, style = random_map(0), random_map(1)
        naive = double_kernel_sum(lambda dots: (dots + c) ** 2, features, style)
        value, _ = evaluate(PolynomialMMD(c), features, style)
        assert value == pytest.approx(naive / (4 * N**2 * M), rel=1e-9)

    def test_poly_without_a_constant_is_the_gram_matrix_loss_times_the_positions(self):
        features, style = random_map(0), random_map(1)
        f, s = rows(features), rows(style)
        equation_6 = ((f.T @ f - s.T @ s) ** 2).sum() / (4 * N**2 * M**2)
        value, _ = evaluate(PolynomialMMD(), features, style)
        assert value == pytest.approx(M * equation_6, rel=1e-12)

    def test_bn_is_equation_11_times_half_the_positions(self):
        f, s = random_map(0), random_map(1, N, 5, 4)
        squares = [
            ((statistic(f, axis=(2, 3)) - statistic(s, axis=(2, 3))) ** 2).sum()
            for statistic in (numpy.mean, numpy.std)
        ]
        value, _ = evaluate(BNStatistics(), f, s)
        assert value == pytest.approx(M / 2 * sum(squares) / N, rel=1e-12)

    def test_the_mean_term_of_bn_is_half_of_linear_under_the_authors_factors(self):
        style = random_map(1)
        features = style + numpy.arange(1, N + 1).reshape(1, N, 1, 1)
        bn, linear = (
            evaluate(BNStatistics(), features, style),
            evaluate(LinearMMD(), features, style),
        )
        for ours, theirs in zip(bn, linear):
            numpy.testing.assert_allclose(
                PAPER_BETA["bn"] * ours, PAPER_BETA["linear"] * theirs / 2, rtol=1e-9, atol=1e-9
            )

    @pytest.mark.parametrize("method", ["linear", "poly", "poly-c", "bn"])
    def test_the_authors_factor_times_the_value_is_what_their_code_minimises(self, method):
        # What the authors' code minimises, for one layer, γ = 1 and equal sizes.
        features, style = random_map(0), random_map(1)
        f, s = rows(features), rows(style)
        sums = ((f.sum(0) - s.sum(0)) ** 2).sum()
        grams = ((f.T @ f - s.T @ s) ** 2).sum()
        means = ((f.mean(0) - s.mean(0)) ** 2).sum()
        deviations = ((f.std(0) - s.std(0)) ** 2).sum()
        minimised = {
            "linear": 1000 / (N * M) * sums,
            "poly": 0.025 / (N**2 * M) * grams,
            "poly-c": 0.025 / (N**2 * M) * (grams + 2 * C * sums),
            "bn": 500 * (M / N) * (means + deviations),
        }[method]
        value, _ = evaluate(DETERMINISTIC[method], features, style)
        assert PAPER_BETA[method.partition("-")[0]] * value == pytest.approx(minimised, rel=1e-12)

    def test_smoothing_is_half_the_image_times_its_laplacian_over_eight(self):
        image = random_map(0, channels=3, height=5, width=8)
        padded = numpy.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)))
        across = numpy.diff(padded, axis=3)[:, :, 1:-1]
        down = numpy.diff(padded, axis=2)[:, :, :, 1:-1]
        laplacian = across[..., :-1] - across[..., 1:] + down[:, :, :-1] - down[:, :, 1:]
        value, grad = smoothing(device_array(image))
        assert value.shape == (1,)
        numpy.testing.assert_allclose(grad.asnumpy(), laplacian / 8, rtol=1e-12)
        squares = (across**2).sum() + (down**2).sum()
        assert value.asscalar() == pytest.approx(squares / 16, rel=1e-12)

    @pytest.mark.parametrize("method", PAPER_METHODS)
    def test_a_method_is_found_by_its_name(self, method):
        losses = [LinearMMD(), PolynomialMMD(C), GaussianMMD(), BNStatistics()]
        assert style_loss(method, c=C) == dict(zip(PAPER_METHODS, losses))[method]


def drawn(loss, features, style_features, seed=2):
    """Return a target and the pairs of one evaluation, from one seed."""
    random = numpy.random.RandomState(seed)
    target = loss.target(device_array(style_features), random)
    return target, loss.draw(random, features.shape, target)


def squared_distances(target, pairs, features):
    """Return ‖f − f′‖², ‖f − s‖² and ‖s − s′‖² of all the pairs that were drawn."""
    style, within_style = (part.asnumpy() for part in target)
    f, s = rows(features)[pairs.order.asnumpy()], style[pairs.style.asnumpy()]
    half = len(f) // 2
    return (
        ((f[:half] - f[half:]) ** 2).sum(1), ((f - s) ** 2).sum(1), within_style.ravel()
    )  # fmt: skip


class TestGaussian:
    @pytest.mark.parametrize("shape", [(3, 7), (2, 6)], ids=["odd", "even"])
    def test_the_authors_factor_times_the_value_is_what_their_code_minimises(self, shape):
        features, style = random_map(0, N, *shape), random_map(1, N, 5, 4)
        loss, positions = GaussianMMD(bandwidth=9.0), shape[0] * shape[1]
        target, pairs = drawn(loss, features, style)
        within, across, within_style = (
            numpy.exp(-d / 9.0) for d in squared_distances(target, pairs, features)
        )
        # As many quadruples as pairs of features, whatever the number of pairs in the style.
        quadruples = within.sum() + positions // 2 * within_style.mean() - across.sum()
        value = loss(device_array(features), target, drawn=pairs).value
        assert value.shape == (1,)
        assert PAPER_BETA["gaussian"] * value.asscalar() == pytest.approx(
            1.5e14 / (N * positions) * quadruples, rel=1e-9
        )

    def test_the_bandwidth_is_by_default_the_mean_squared_distance_of_the_pairs(self):
        features, style = random_map(0), random_map(1, N, 5, 4)
        target, pairs = drawn(GaussianMMD(), features, style)
        within, across, within_style = squared_distances(target, pairs, features)
        mean = (within.mean() + 2 * across.mean() + within_style.mean()) / 4
        measured = GaussianMMD()(device_array(features), target, drawn=pairs)
        constant = GaussianMMD(bandwidth=mean)(device_array(features), target, drawn=pairs)
        for actual, expected in zip(measured, constant):
            numpy.testing.assert_allclose(actual.asnumpy(), expected.asnumpy(), rtol=1e-9)

    @pytest.mark.parametrize(
        "style_size", [(3, 4), (2, 3), (2, 2)], ids=["more", "equal", "fewer"]
    )
    def test_the_value_is_unbiased_whatever_the_number_of_style_positions(self, style_size):
        features, style = random_map(0, N, 2, 3), random_map(1, N, *style_size)
        loss, on_device = GaussianMMD(bandwidth=9.0), device_array(features)
        random, values = numpy.random.RandomState(3), []
        for _ in range(20):
            target = loss.target(device_array(style), random)
            for _ in range(15):
                pairs = loss.draw(random, features.shape, target)
                values.append(loss(on_device, target, drawn=pairs).value.asscalar())
        f, s = rows(features), rows(style)
        full = _mean_kernel(f, f, pairs=True) + _mean_kernel(s, s, pairs=True)
        full -= 2 * _mean_kernel(f, s)
        expected = full * (len(f) // 2) / (2 * N * len(f))
        assert abs(numpy.mean(values) - expected) < 4 * numpy.std(values) / len(values) ** 0.5

    @given(st.integers(2, 30), st.integers(2, 40), st.integers(0, 99))
    @settings(max_examples=30, derandomize=True, deadline=None)
    def test_every_position_is_in_one_pair_but_an_odd_one_out(self, positions, style, seed):
        features = random_map(0, N, 1, positions)
        _, pairs = drawn(GaussianMMD(), features, random_map(1, N, 1, style), seed)
        order = pairs.order.asnumpy().tolist()
        out = [] if pairs.odd is None else [pairs.odd]
        assert sorted(order + out) == list(range(positions))
        assert len(out) == positions % 2
        uses = numpy.bincount(pairs.style.asnumpy(), minlength=style)
        assert uses.sum() == len(order) and uses.max() - uses.min() <= 1

    @given(st.integers(2, 12), st.integers(0, 99))
    @settings(max_examples=10, derandomize=True, deadline=None)
    def test_a_pair_in_the_style_is_of_two_positions_and_all_are_met_alike(self, style, seed):
        values = random_map(1, N, 1, style)
        _, distances = GaussianMMD().target(device_array(values), numpy.random.RandomState(seed))
        s = rows(values)
        full = ((s[:, None] - s[None]) ** 2).sum(2)[~numpy.eye(style, dtype=bool)]
        distances = distances.asnumpy()
        assert abs(distances - full).min(axis=1).max() < 1e-9
        error = full.std() / len(distances) ** 0.5
        assert abs(distances.mean() - full.mean()) <= 5 * error + 1e-9

    def test_the_odd_position_out_has_no_gradient_and_all_others_have(self):
        features = random_map(0)
        target, pairs = drawn(GaussianMMD(), features, random_map(1))
        grad = rows(GaussianMMD()(device_array(features), target, drawn=pairs).grad.asnumpy())
        still = numpy.flatnonzero(abs(grad).max(axis=1) == 0)
        assert still.tolist() == [pairs.odd]

    def test_flat_colour_on_both_sides_is_finite(self):
        features = numpy.full((1, N, H, W), 2.0)
        target, pairs = drawn(GaussianMMD(), features, features)
        value, grad = GaussianMMD()(device_array(features), target, drawn=pairs)
        assert value.asscalar() == pytest.approx(0, abs=1e-12)
        assert not grad.asnumpy().any()

    @pytest.mark.parametrize("positions", [(1, 1), (1, 6), (6, 1)], ids=str)
    def test_a_single_position_has_no_pair_and_is_finite_all_the_same(self, positions):
        # What relu5_1 is of an image of 16 x 16 pixels, the smallest that is let in.
        of_features, of_style = positions
        features = random_map(0, N, 1, of_features)
        target, pairs = drawn(GaussianMMD(), features, random_map(1, N, 1, of_style))
        value, grad = GaussianMMD()(device_array(features), target, drawn=pairs)
        assert numpy.isfinite(value.asscalar()) and numpy.isfinite(grad.asnumpy()).all()


def _mean_kernel(x, y, pairs=False):
    """Return the mean of exp(−‖x − y‖² / 9) over all rows, or over pairs of two different."""
    kernel = numpy.exp(-((x[:, None] - y[None]) ** 2).sum(2) / 9.0)
    return kernel[~numpy.eye(len(x), dtype=bool)].mean() if pairs else kernel.mean()


sizes = st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 6))
seeds = st.integers(0, 2**16)
quickly = settings(max_examples=25, derandomize=True, deadline=None)


class TestProperties:
    @deterministic
    @given(sizes, seeds)
    @quickly
    def test_shuffling_the_positions_changes_no_deterministic_style_loss(self, loss, size, seed):
        features, style = random_map(seed, *size), random_map(seed + 1, *size)
        flat = features.reshape(1, size[0], -1)
        order = numpy.random.RandomState(seed).permutation(flat.shape[2])
        value, grad = evaluate(loss, features, style)
        shuffled_value, shuffled_grad = evaluate(
            loss, flat[:, :, order].reshape(features.shape), style
        )
        assert shuffled_value == pytest.approx(value, rel=accuracy(loss))
        numpy.testing.assert_allclose(
            shuffled_grad.reshape(flat.shape), grad.reshape(flat.shape)[:, :, order],
            rtol=accuracy(loss), atol=accuracy(loss) / 1e3 * abs(grad).max(),
        )  # fmt: skip

    @deterministic
    @given(sizes, seeds)
    @quickly
    def test_a_map_against_itself_scores_zero_with_no_gradient(self, loss, size, seed):
        features = random_map(seed, *size)
        value, grad = evaluate(loss, features, features)
        # The Wasserstein distance subtracts roots of eigenvalues from variances.
        if isinstance(loss, GaussianWasserstein):
            assert value <= ROOTS * (features**2).sum()
            assert abs(grad).max() <= ROOTS * abs(features).max()
        else:
            assert value == 0 and not grad.any()

    @deterministic
    @given(sizes, seeds, st.integers(2, 4))
    @quickly
    def test_a_style_of_another_size_and_equal_statistics_gives_the_same_loss(
        self, loss, size, seed, copies
    ):
        features, style = random_map(seed, *size), random_map(seed + 1, *size)
        value, grad = evaluate(loss, features, style)
        tiled_value, tiled_grad = evaluate(loss, features, numpy.tile(style, (1, 1, copies, 1)))
        assert tiled_value == pytest.approx(value, rel=accuracy(loss))
        numpy.testing.assert_allclose(tiled_grad, grad, rtol=1e-7, atol=1e-9 * abs(grad).max())


@pytest.mark.parametrize("constant", [0.0, 0.1, 12.3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constant_channel_has_a_finite_gradient_in_bn_from_its_mean_alone(constant, dtype):
    features, style, loss = random_map(0, N, 7, 11), random_map(1), BNStatistics()
    features[:, 1] = constant
    grad = loss(device_array(features, dtype), loss.target(device_array(style, dtype))).grad
    expected = (constant - style[:, 1].mean()) / N
    numpy.testing.assert_allclose(grad.asnumpy()[:, 1], expected, rtol=1e-4)
    assert numpy.isfinite(grad.asnumpy()).all()


def test_bn_keeps_the_digits_of_a_small_deviation_about_a_large_mean_in_float32():
    features = random_map(0)
    features = 1000 + (features - features.mean((2, 3), keepdims=True)) * 0.01
    style = 1000 + (features - 1000) * 2
    loss = BNStatistics()
    value = loss(
        device_array(features, "float32"), loss.target(device_array(style, "float32"))
    ).value
    deviations = (features.std((2, 3)) ** 2).sum()
    assert value.asscalar() == pytest.approx(M / (2 * N) * deviations, rel=0.05)


def test_a_constant_style_channel_has_a_finite_gradient_in_bn():
    features, style = random_map(0), random_map(1)
    style[:, 1] = 0
    value, grad = evaluate(BNStatistics(), features, style)
    assert numpy.isfinite(value) and numpy.isfinite(grad).all()


ALL = [Content(), PolynomialMMD(C), *map(style_loss, METHODS)]


def test_a_loss_says_what_it_needs_and_whether_it_draws():
    needs = {method: style_loss(method).needs for method in METHODS}
    by_sums = ("linear", "poly", "bn", "coral", "wasserstein", "fourier", "cmd")
    assert needs == {
        **dict.fromkeys(by_sums, "sums"),
        **dict.fromkeys(("gaussian", "rbf", "laplace", "energy"), "pairs"),
        **dict.fromkeys(("sliced", "histogram"), "order"),
        "remd": "neighbours",
    }
    draw = {method for method in METHODS if style_loss(method).draws}
    assert draw == {"gaussian", "rbf", "laplace", "energy", "sliced", "remd"}


def arrays_in(target):
    """Return the NDArrays of a target: one, or any number in nested tuples."""
    if isinstance(target, tuple):
        return [array for part in target for array in arrays_in(part)]
    return [] if target is None else [target]


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: repr(loss)[:14])
def test_a_target_outlives_the_features_it_was_taken_of(loss):
    # An executor writes its next outputs over the last ones.
    features = device_array(random_map(1))
    parts = arrays_in(loss.target(features, numpy.random.RandomState(2)))
    before = [part.asnumpy() for part in parts]
    features[:] = 0
    for part, old in zip(parts, before):
        numpy.testing.assert_array_equal(part.asnumpy(), old)


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: repr(loss)[:14])
def test_the_weight_multiplies_value_and_gradient_and_the_maps_stay(loss):
    random, features = numpy.random.RandomState(2), device_array(random_map(0))
    target = loss.target(device_array(random_map(1)), random)
    drawn = loss.draw(random, features.shape, target)
    once, weighted = (loss(features, target, weight, drawn) for weight in (1.0, 2.5))
    for actual, expected in zip(weighted, once):
        numpy.testing.assert_allclose(actual.asnumpy(), 2.5 * expected.asnumpy(), rtol=1e-9)
    numpy.testing.assert_array_equal(features.asnumpy(), random_map(0))


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: repr(loss)[:14])
def test_no_matrix_of_positions_by_positions_is_formed(loss):
    # Such a matrix would have more elements than MXNet can count.
    height, width = 220, 230
    assert (height * width) ** 2 > 2**31
    random = numpy.random.RandomState(2)
    features = device_array(random_map(0, 1, height, width), "float32")
    target = loss.target(device_array(random_map(1, 1, height, width), "float32"), random)
    value, grad = loss(features, target, drawn=loss.draw(random, features.shape, target))
    assert numpy.isfinite(value.asscalar()) and numpy.isfinite(grad.asnumpy()).all()


@pytest.mark.parametrize("method", METHODS)
def test_unequal_channel_counts_are_refused_by_a_style_loss(method):
    loss, features = style_loss(method), random_map(0)
    target, draw = drawn(loss, features, random_map(1, channels=5))
    with pytest.raises(ShapeError, match="features have 4, the style target has 5"):
        loss(device_array(features), target, drawn=draw)


def test_unequal_shapes_are_refused_by_the_content_loss():
    with pytest.raises(ShapeError, match=r"\(1, 4, 3, 7\).*\(1, 4, 7, 3\)"):
        Content()(device_array(random_map(0)), device_array(random_map(1, N, W, H)))
