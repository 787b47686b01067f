"""Random Fourier features: an estimate of an MMD without pairs."""

import numpy
import pytest
from test_losses import N, device_array, random_map, rows

from nst_cli.synthesis.losses import (
    FourierLaplaceMMD,
    FourierMixtureMMD,
    FourierMMD,
    GaussianMMD,
    style_loss,
)

BANDWIDTH = 9.0


def evaluate(loss, features, style, seed=7):
    target = loss.target(device_array(style), numpy.random.RandomState(seed))
    value, grad = loss(device_array(features), target)
    return value.asscalar(), grad.asnumpy()


def gaussian_kernel(distances):
    return numpy.exp(-distances / BANDWIDTH)


def mmd(features, style, kernel):
    """Return MMD² / (4 N) by a kernel of squared distances, summed over all pairs."""
    (f, s), means = map(rows, (features, style)), []
    for x, y in ((f, f), (s, s), (f, s)):
        means.append(kernel(((x[:, None] - y[None]) ** 2).sum(2)).mean())
    return (means[0] + means[1] - 2 * means[2]) / (4 * N)


def exact(features, style):
    """Return MMD² / (4 N) of the Gaussian kernel, and its gradient."""
    f, s = rows(features), rows(style)
    within, across = (gaussian_kernel(((f[:, None] - y[None]) ** 2).sum(2)) for y in (f, s))
    pull = 2 / (BANDWIDTH * len(f)) * 2
    grad = pull * (
        numpy.einsum("ij,ijn->in", across / len(s), f[:, None] - s[None])
        - numpy.einsum("ij,ijn->in", within / len(f), f[:, None] - f[None])
    )
    return mmd(features, style, gaussian_kernel), (grad / (4 * N)).T.reshape(features.shape)


def test_with_many_features_it_is_the_mmd_of_the_gaussian_kernel():
    features, style = random_map(0), random_map(1, N, 5, 4)
    value, grad = evaluate(FourierMMD(200_000, BANDWIDTH), features, style)
    expected_value, expected_grad = exact(features, style)
    # 100,000 frequencies leave an error of a few in a thousand.
    assert value == pytest.approx(expected_value, rel=0.02)
    assert abs(grad - expected_grad).max() < 0.02 * abs(expected_grad).max()


@pytest.mark.parametrize(
    ("loss", "kernel"),
    [
        (
            FourierMixtureMMD(200_000, BANDWIDTH, (0.5, 2.0)),
            lambda d: (numpy.exp(-2 * d / BANDWIDTH) + numpy.exp(-d / 2 / BANDWIDTH)) / 2,
        ),
        (FourierLaplaceMMD(200_000, BANDWIDTH), lambda d: numpy.exp(-((d / BANDWIDTH) ** 0.5))),
    ],
    ids=["rbf", "laplace"],
)
def test_with_many_features_it_is_the_mmd_of_the_other_kernels(loss, kernel):
    features, style = random_map(0), random_map(1, N, 5, 4)
    value, _ = evaluate(loss, features, style)
    assert value == pytest.approx(mmd(features, style, kernel), rel=0.02)


@pytest.mark.parametrize(
    ("method", "expected"),
    [("gaussian", FourierMMD(6)), ("rbf", FourierMixtureMMD(6, kernels=(0.5, 3.0))),
     ("laplace", FourierLaplaceMMD(6))],
)  # fmt: skip
def test_the_estimator_decides_which_loss_a_method_has(method, expected):
    choices = {"kernels": (0.5, 3.0), "features": 6}
    assert style_loss(method, estimator="fourier", **choices) == expected
    assert style_loss(method, estimator="pairs", **choices).needs == "pairs"


def test_its_gradient_is_the_mean_of_the_gaussian_losses_over_its_draws():
    # An even number of positions, so that the Gaussian loss leaves none out.
    features, style = random_map(0, N, 4, 6), random_map(1, N, 5, 4)
    random, loss, total, draws = numpy.random.RandomState(3), GaussianMMD(BANDWIDTH), 0, 1200
    target = loss.target(device_array(style), random)
    on_device = device_array(features)
    for _ in range(draws):
        pairs = loss.draw(random, features.shape, target)
        total = total + loss(on_device, target, drawn=pairs).grad.asnumpy()
    _, grad = evaluate(FourierMMD(100_000, BANDWIDTH), features, style)
    # The pairs within a map are of two different positions, which adds 1 / M to that part.
    slope = (grad * total / draws).sum() / (grad**2).sum()
    assert slope == pytest.approx(1, abs=0.06)


def test_the_bandwidth_is_the_mean_squared_distance_of_two_style_positions():
    features, style = random_map(0), random_map(1, N, 5, 4)
    s = rows(style)
    mean = ((s[:, None] - s[None]) ** 2).sum(2).mean()
    measured, given = (evaluate(FourierMMD(8, b), features, style) for b in (None, mean))
    assert measured[0] == pytest.approx(given[0], rel=1e-9)
    numpy.testing.assert_allclose(measured[1], given[1], rtol=1e-9)


@pytest.mark.parametrize(
    ("features", "channels", "waves"),
    [("auto", 4, 8), ("auto", 512, 1024), ("auto", 600, 1024), (10, 4, 10), (9, 4, 10)],
)
def test_the_number_of_waves(features, channels, waves):
    target = FourierMMD(features).target(
        device_array(random_map(1, channels)), numpy.random.RandomState(0)
    )
    assert target[1].shape == (waves, 1)


def test_a_flat_style_still_pulls():
    style = numpy.full((1, N, 5, 4), 2.0)
    value, grad = evaluate(FourierMMD(64), 2 + 0.05 * random_map(0), style)
    assert value > 0 and abs(grad).max() > 0 and numpy.isfinite(grad).all()


def test_a_black_style_is_finite():
    value, grad = evaluate(FourierMMD(64), random_map(0), numpy.zeros((1, N, 5, 4)))
    assert numpy.isfinite(value) and numpy.isfinite(grad).all()


def test_the_seed_alone_decides_the_frequencies():
    features, style = random_map(0), random_map(1)
    first, again, other = (evaluate(FourierMMD(8), features, style, seed) for seed in (1, 1, 2))
    assert first[0] == again[0] and (first[1] == again[1]).all()
    assert first[0] != other[0]
