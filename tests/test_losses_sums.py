"""Losses made of sums: parts of a map, several maps and masks."""

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
)

from nst_cli.config import METHODS
from nst_cli.errors import ShapeError
from nst_cli.synthesis.losses import (
    CORAL,
    BNStatistics,
    CentralMoments,
    FourierMMD,
    GaussianWasserstein,
    LinearMMD,
    Mask,
    PolynomialMMD,
    style_loss,
)

LOSSES = {
    "linear": LinearMMD(),
    "poly": PolynomialMMD(),
    "poly-c": PolynomialMMD(c=3.0),
    "bn": BNStatistics(),
    "coral": CORAL(),
    "wasserstein": GaussianWasserstein(),
    "fourier": FourierMMD(features=6),
    "cmd": CentralMoments(),
}
#: Losses of which the value does not grow with the number of positions.
WITHOUT_POSITIONS = {"fourier"}

every = pytest.mark.parametrize("name", LOSSES)


def target_of(loss, style, mask=None):
    return loss.target(device_array(style), numpy.random.RandomState(7), mask)


def soft_values(seed=5, height=H, width=W):
    """Return weights between 0 and 1, some of them 0."""
    values = numpy.random.RandomState(seed).uniform(-0.4, 1.2, (height, width)).clip(0, 1)
    assert (values == 0).any() and values.any()
    return values


def mask_of(values):
    return Mask.of(values, device_array(0.0))


def hard_mask():
    """Return a mask of zeros and ones, and the positions that it keeps."""
    kept = soft_values() > 0.5
    return mask_of(kept), kept.ravel()


def only(features, kept):
    """Return the map of the kept positions, (1, N, 1, their number)."""
    return features.reshape(1, features.shape[1], 1, -1)[..., kept]


def assert_same(actual, expected):
    for one, other in zip(actual, expected):
        numpy.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12 * abs(other).max())


def arrays(pair):
    return [array.asnumpy() for array in pair]


def test_every_loss_of_sums_is_tried_here():
    by_sums = {name for name in METHODS if style_loss(name).needs == "sums"}
    assert by_sums == {name.partition("-")[0] for name in LOSSES}


@every
def test_with_a_soft_mask_the_gradient_agrees_with_central_differences(name):
    loss, features, mask = LOSSES[name], random_map(0), mask_of(soft_values())
    target = target_of(loss, random_map(1, N, 5, 4), mask_of(soft_values(6, 5, 4)))
    grad = loss(device_array(features), target, 1.5, mask=mask).grad.asnumpy()
    expected = central_differences(lambda f: loss(f, target, 1.5, mask=mask).value, features)
    assert_gradients_agree(grad, expected)
    assert not grad[:, :, soft_values() == 0].any()


@every
def test_a_mask_of_ones_changes_nothing(name):
    loss, features, style = LOSSES[name], random_map(0), random_map(1)
    ones = mask_of(numpy.ones((H, W)))
    plain = loss(device_array(features), target_of(loss, style))
    assert_same(
        arrays(loss(device_array(features), target_of(loss, style, ones), mask=ones)),
        arrays(plain),
    )


@every
def test_a_region_is_compared_as_a_map_of_its_positions_alone(name):
    # So the pull on a position does not depend on the size of its region.
    loss, features = LOSSES[name], random_map(0)
    target, (mask, kept) = target_of(loss, random_map(1)), hard_mask()
    value, grad = arrays(loss(device_array(features), target, mask=mask))
    expected = arrays(loss(device_array(only(features, kept)), target))
    share = kept.sum() / M if name in WITHOUT_POSITIONS else 1
    assert_same([value, only(grad, kept)], [share * part for part in expected])
    assert not only(grad, ~kept).any()


@every
def test_a_region_of_the_style_gives_the_target_of_its_positions_alone(name):
    loss, features, style = LOSSES[name], device_array(random_map(0)), random_map(1)
    mask, kept = hard_mask()
    basis = loss.basis(device_array(style), numpy.random.RandomState(7))
    actual, expected = (
        loss.reduced(loss.sums(device_array(values), basis, weights), basis)
        for values, weights in ((style, mask), (only(style, kept), None))
    )
    assert_same(arrays(loss(features, actual)), arrays(loss(features, expected)))


@every
@pytest.mark.parametrize("with_mask", [False, True], ids=["whole", "masked"])
def test_a_map_in_parts_gives_the_same_value_and_gradient(name, with_mask):
    loss, features, style = LOSSES[name], random_map(0), random_map(1, N, 5, 4)
    target, values = target_of(loss, style), soft_values()
    cuts = [slice(0, 2), slice(2, 3), slice(3, W)]
    parts = [device_array(features[..., cut]) for cut in cuts]
    masks = [mask_of(values[:, cut]) if with_mask else None for cut in cuts]
    basis = loss.basis_in(target)
    first, *others = (loss.sums(part, basis, mask) for part, mask in zip(parts, masks))
    for other in others:
        first = first + other
    head = loss.head(first, target, 1.5)
    grads = [loss.gradient(part, head, mask).asnumpy() for part, mask in zip(parts, masks)]
    whole = mask_of(values) if with_mask else None
    expected = arrays(loss(device_array(features), target, 1.5, mask=whole))
    assert_same([head.value.asnumpy(), numpy.concatenate(grads, axis=3)], expected)


@every
def test_the_sums_of_two_styles_give_the_target_of_both_side_by_side(name):
    loss, features = LOSSES[name], device_array(random_map(0))
    styles = [random_map(1, N, 4, 5), random_map(2, N, 4, 3) + 5]
    basis = loss.basis(device_array(styles[0]), numpy.random.RandomState(7))
    first, second = (loss.sums(device_array(style), basis) for style in styles)
    both = loss.sums(device_array(numpy.concatenate(styles, axis=3)), basis)
    actual, expected = (loss.reduced(sums, basis) for sums in (first + second, both))
    assert_same(arrays(loss(features, actual)), arrays(loss(features, expected)))


@every
def test_scaled_sums_count_like_repeated_positions(name):
    loss, features = LOSSES[name], device_array(random_map(0))
    one, other = device_array(random_map(1)), device_array(random_map(2))
    basis = loss.basis(one, numpy.random.RandomState(7))
    first, second = (loss.sums(style, basis) for style in (one, other))
    actual = loss.reduced(first.scaled(2.0) + second, basis)
    expected = loss.reduced(first + first + second, basis)
    assert_same(arrays(loss(features, actual)), arrays(loss(features, expected)))


@every
def test_an_empty_mask_gives_zeros(name):
    loss, empty = LOSSES[name], mask_of(numpy.zeros((H, W)))
    target = target_of(loss, random_map(1))
    value, grad = arrays(loss(device_array(random_map(0)), target, mask=empty))
    assert value == pytest.approx(0, abs=1e-9) and not grad.any()


@every
def test_a_mask_of_another_size_is_refused_with_both_sizes(name):
    loss = LOSSES[name]
    target = target_of(loss, random_map(1))
    with pytest.raises(ShapeError, match=r"the mask has \(7, 3\), the map has \(3, 7\)"):
        loss(device_array(random_map(0)), target, mask=mask_of(numpy.ones((W, H))))
