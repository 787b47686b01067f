"""Pixels and network inputs: sizes, resampling, channel means."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patterns import noise

from nst_cli import images
from nst_cli.errors import ImageError

# -- Sizes ----------------------------------------------------------------------------------------


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    value=st.floats(0, 255, width=32),
    channels=st.sampled_from([None, 1, 3]),
)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_constant_stays_that_constant_at_any_size(size, value, channels):
    array = np.full((13, 17) + (() if channels is None else (channels,)), value, np.float32)
    resized = images.resize(array, size)
    assert resized.shape == size + array.shape[2:] and resized.dtype == np.float32
    np.testing.assert_allclose(resized, value, rtol=1e-6)


def test_the_same_size_gives_an_equal_copy(rng):
    array = rng.uniform(-10, 300, (5, 7, 3)).astype(np.float32)
    copy = images.resize(array, (5, 7))
    np.testing.assert_array_equal(copy, array)
    assert not np.shares_memory(copy, array)


def test_channels_are_resized_independently_and_a_plane_like_a_channel(rng):
    array = rng.uniform(0, 255, (20, 30, 3)).astype(np.float32)
    together = images.resize(array, (9, 14))
    for c in range(3):
        np.testing.assert_array_equal(together[..., c], images.resize(array[..., c], (9, 14)))


def test_shrinking_averages_instead_of_picking(rng):
    array = rng.uniform(100, 150, (96, 128, 3)).astype(np.float32)
    small = images.resize(array, (12, 16))
    np.testing.assert_allclose(small.mean(axis=(0, 1)), array.mean(axis=(0, 1)), atol=0.5)
    # 64 independent values to each new one leave an eighth of the deviation, a bit more by the
    # filter's shape; one picked value would leave it whole.
    assert small.std() < array.std() / 5


def test_a_checkerboard_shrinks_to_grey():
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.float32)
    inner = images.resize(board, (16, 16))[2:-2, 2:-2]
    np.testing.assert_allclose(inner, 127.5, atol=1)


def test_resizing_neither_rounds_nor_exceeds_the_range():
    edge = np.zeros((16, 16), np.float32)
    edge[:, 8:] = 255
    resized = images.resize(edge, (48, 48))
    assert resized.min() == 0 and resized.max() == 255
    assert np.any(resized % 1)


@given(
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    long_edge=st.integers(images.MIN_SIDE, 4000),
)
@settings(derandomize=True, deadline=None)
def test_the_long_edge_is_exact_and_the_aspect_kept_to_half_a_pixel(height, width, long_edge):
    try:
        fitted = images.fit((height, width, 3), long_edge)
    except ImageError:
        assert min(height, width) * long_edge / max(height, width) < images.MIN_SIDE - 0.5
        return
    assert max(fitted) == long_edge and min(fitted) >= images.MIN_SIDE
    for side, was in zip(fitted, (height, width)):
        assert abs(side - was * long_edge / max(height, width)) <= 0.5


@given(height=st.integers(1, 300), width=st.integers(1, 300))
@settings(derandomize=True, deadline=None)
def test_the_size_that_a_refusal_advises_is_the_least_that_works(height, width):
    try:
        images.fit((height, width), images.MIN_SIDE, "a.png")
    except ImageError as error:
        assert "a.png" in str(error) and f"{width} x {height}" in str(error)
        if "too elongated" in str(error):
            advised = 4097
        else:
            advised = int(str(error).split("--size ")[1].split()[0])
            assert min(images.fit((height, width), advised)) >= images.MIN_SIDE
        with pytest.raises(ImageError):
            images.fit((height, width), advised - 1)


def test_an_error_for_a_refused_size_names_both_sizes():
    with pytest.raises(ImageError) as error:
        images.fit((20, 400), 100, "strip.png")
    assert str(error.value) == (
        "Cannot work on strip.png: its 400 x 20 pixels become 100 x 5, "
        "and each side needs 16; use --size 310 or more."
    )


def test_an_error_for_a_picture_too_elongated_says_to_crop_it():
    with pytest.raises(ImageError, match="too elongated, crop it"):
        images.fit((1, 5000), 600)


# -- Network input --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_all_256_values_come_back_from_the_network_form(dtype):
    pixels = np.stack([np.arange(256)] * 3, axis=-1).reshape(16, 16, 3).astype(dtype)
    pixels[..., 1] = pixels[::-1, :, 1]
    image = images.to_input(pixels)
    assert image.shape == (1, 3, 16, 16) and image.dtype == np.float32
    assert image.flags["C_CONTIGUOUS"]
    back = images.to_pixels(image)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, pixels)


def test_the_means_are_subtracted_in_the_order_red_green_blue():
    image = images.to_input(np.array([[[255, 0, 51]]], np.uint8))
    np.testing.assert_allclose(image[0, :, 0, 0], [131.32, -116.779, -52.939], atol=1e-4)


def test_scale_256_is_that_of_the_authors_code():
    pixels = noise()
    expected = (pixels / 255.0 * 256 - np.array([123.68, 116.779, 103.939])).transpose(2, 0, 1)
    np.testing.assert_allclose(images.to_input(pixels, scale=256)[0], expected, atol=5e-5)


def test_pixels_are_clipped_then_rounded_or_truncated():
    values = np.array([-3.0, 0.4, 0.6, 254.6, 300.0], np.float32)
    image = (np.tile(values, (3, 1)) - np.float32(images.MEANS)[:, None])[None, :, None, :]
    assert images.to_pixels(image)[0, :, 2].tolist() == [0, 0, 1, 255, 255]
    assert images.to_pixels(image, rounding="truncate")[0, :, 2].tolist() == [0, 0, 0, 254, 255]
