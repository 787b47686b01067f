"""The denoising of the finished picture: scikit-image's numbers, and general properties."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_cli import engine
from nst_cli.synthesis import denoise

# Red channel of the result, from scikit-image 0.26.0 with NumPy 2.4.6:
#   noisy = numpy.random.RandomState(0).randint(0, 256, (4, 5, 3)).astype(float)
#   skimage.restoration.denoise_tv_chambolle(noisy / 255, weight=weight, channel_axis=-1) * 255
REFERENCE = {
    0.02: [
        [178.3035, 185.6912, 190.2056, 203.4401, 36.9093],
        [203.9892, 70.3474, 50.9150, 91.6272, 35.9757],
        [18.6466, 197.1257, 238.5936, 188.0948, 204.8028],
        [33.6721, 145.9602, 186.4664, 141.9877, 201.2459],
    ],
    0.1: [
        [173.2024, 172.6571, 171.2898, 174.7710, 61.0297],
        [173.7532, 113.0832, 99.0020, 106.4865, 61.0571],
        [56.7080, 164.5437, 177.9444, 177.5792, 179.2470],
        [54.9212, 155.5485, 175.8193, 176.0179, 179.3389],
    ],
    0.5: [
        [140.7792, 140.5245, 140.0040, 138.7466, 135.1279],
        [139.8431, 139.7139, 139.9831, 139.2622, 136.6588],
        [135.4636, 139.5559, 142.4616, 143.8875, 144.8095],
        [133.4906, 138.8053, 143.1368, 145.1424, 146.6034],
    ],
}
# The blue channel at weight 0.1, from the same call.
REFERENCE_BLUE = [
    [145.0383, 196.3400, 69.7803, 188.0850, 107.0551],
    [150.4294, 175.3911, 155.5940, 154.7426, 107.3698],
    [139.4168, 160.5708, 154.3914, 134.0598, 173.1742],
    [130.9014, 108.1020, 144.7648, 98.9752, 150.8177],
]


def noise(seed, height=12, width=17):
    return numpy.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(numpy.uint8)


def smooth(pixels, weight):
    return denoise.chambolle(pixels, weight, engine.context("cpu"))


def variation(pixels):
    """Return the total variation: the length of the gradient by forward differences, summed."""
    down, right = numpy.zeros((2, *pixels.shape))
    down[:-1] = numpy.diff(pixels.astype(float), axis=0)
    right[:, :-1] = numpy.diff(pixels.astype(float), axis=1)
    return numpy.hypot(down, right).sum()


@pytest.mark.parametrize("weight", REFERENCE)
def test_denoising_agrees_with_scikit_image(weight):
    result = smooth(noise(0, 4, 5), weight)
    # Float32 against float64, and references of 4 decimals.
    numpy.testing.assert_allclose(result[..., 0], REFERENCE[weight], atol=5e-4)
    if weight == 0.1:
        numpy.testing.assert_allclose(result[..., 2], REFERENCE_BLUE, atol=5e-4)


def test_the_result_is_float32_of_the_same_shape_and_the_picture_is_not_changed():
    pixels = noise(1)
    before = pixels.copy()
    result = smooth(pixels, 0.1)
    assert (result.shape, result.dtype) == (pixels.shape, numpy.float32)
    numpy.testing.assert_array_equal(pixels, before)


def test_channels_are_denoised_independently():
    pixels = noise(2)
    other = pixels.copy()
    other[..., 1] = 77
    result, changed = smooth(pixels, 0.1), smooth(other, 0.1)
    numpy.testing.assert_array_equal(result[..., [0, 2]], changed[..., [0, 2]])
    assert (result[..., 1] != changed[..., 1]).any()


@pytest.mark.parametrize("weight", [0.01, 0.1, 1])
def test_a_larger_weight_leaves_less_variation(weight):
    pixels = noise(3)
    less, more = smooth(pixels, weight), smooth(pixels, 2 * weight)
    assert variation(pixels) > variation(less) > variation(more)


def test_a_weight_near_zero_leaves_the_picture_nearly_as_it_was():
    pixels = noise(4)
    # Each value moves by at most 4 differences of weight / 255 in the dual field.
    numpy.testing.assert_allclose(smooth(pixels, 1e-4), pixels, atol=4 * 255 * 1e-4 + 1e-3)


def test_noise_is_removed_and_an_edge_is_kept():
    step = numpy.full((20, 24, 3), 60.0)
    step[:, 12:] = 200
    noisy = step + numpy.random.RandomState(5).uniform(-8, 8, step.shape)
    result = smooth(noisy, 0.05)
    assert numpy.abs(result - step).mean() < numpy.abs(noisy - step).mean() / 2
    assert (result[:, 12:] - result[:, :12]).min() > 120


@pytest.mark.parametrize(("value", "weight"), [(0, 0.02), (255, 1)])
def test_a_flat_picture_stays_flat(value, weight):
    pixels = numpy.full((5, 4, 3), value, numpy.uint8)
    numpy.testing.assert_allclose(smooth(pixels, weight), pixels, atol=1e-4)


@given(seed=st.integers(0, 2**32 - 1), weight=st.floats(1e-3, 10))
@settings(deadline=None, max_examples=8)
def test_the_mean_is_kept_the_variation_falls_and_the_range_stays(seed, weight):
    pixels = noise(seed, 6, 5)
    result = smooth(pixels, weight)
    # The correction is a divergence, whose sum is 0 but for rounding.
    numpy.testing.assert_allclose(result.mean((0, 1)), pixels.mean((0, 1)), atol=1e-2)
    assert variation(result) < variation(pixels)
    assert result.min() >= 0 and result.max() <= 255
