import os
import subprocess
import sys

import numpy
import pytest

from nst_cli import weights
from nst_cli.weights import Weights, builtin, params

# VGG-19's mean activations at relu1_1 to relu5_1 on pictures, with average pooling: measured
# with the published weights and MXNet 1.9.1.
VGG_MEANS = (21, 107, 106, 98, 81, 96, 206, 284, 237, 164, 93, 22, 15)


@pytest.fixture(scope="module")
def arrays():
    return builtin.build()


@pytest.fixture(scope="module")
def calibration():
    return builtin.calibration_picture(numpy.random.RandomState(builtin._SEED))


@pytest.fixture(scope="module")
def on_calibration(arrays, calibration):
    return dict(builtin.activations(arrays, calibration))


def test_names_shapes_and_types_are_those_of_vgg_19(arrays):
    wanted = {}
    for layer, shape in params.CONVOLUTIONS.items():
        wanted[f"{layer}_weight"], wanted[f"{layer}_bias"] = shape, shape[:1]
    assert {name: array.shape for name, array in arrays.items()} == wanted
    assert {array.dtype for array in arrays.values()} == {numpy.dtype("float32")}


def test_every_number_is_finite(arrays):
    assert all(numpy.isfinite(array).all() for array in arrays.values())


def test_two_builds_give_the_same_bytes(arrays):
    again = builtin._bank.__wrapped__()
    assert again is not arrays and list(again) == list(arrays)
    for name, array in again.items():
        assert array.tobytes() == arrays[name].tobytes(), name


def test_the_bank_does_not_depend_on_the_number_of_threads():
    program = "from nst_cli.weights import Weights; print(Weights().sha256)"
    digests = [
        subprocess.run(
            [sys.executable, "-c", program],
            env=dict(os.environ, OMP_NUM_THREADS=threads, OPENBLAS_NUM_THREADS=threads),
            capture_output=True, text=True, check=True,
        ).stdout
        for threads in ("1", "2")
    ]  # fmt: skip
    assert len(digests[0].strip()) == 64 and digests[0] == digests[1]


def test_a_caller_cannot_change_the_bank_for_the_next(arrays):
    mine = builtin.build()
    with pytest.raises(ValueError):
        mine["conv1_1_weight"][:] = 0
    mine.clear()
    assert builtin.build().keys() == arrays.keys()


def test_numpys_global_random_state_is_neither_used_nor_changed():
    numpy.random.seed(5)
    before = numpy.random.get_state()[1].copy()
    first = builtin.calibration_picture(numpy.random.RandomState(1), 32, 5)
    assert (numpy.random.get_state()[1] == before).all()
    numpy.random.seed(6)
    second = builtin.calibration_picture(numpy.random.RandomState(1), 32, 5)
    assert (first == second).all()


def test_first_filters_are_pairs_of_opposite_sign_half_of_them_colours_half_edges(arrays):
    weight = arrays["conv1_1_weight"]
    # Each filter of a pair has its own scale.
    unit = weight / numpy.sqrt((weight**2).sum(axis=(1, 2, 3), keepdims=True))
    numpy.testing.assert_allclose(unit[::2], -unit[1::2], atol=1e-6)
    # A kernel is a colour if all its taps have one sign, else an edge, and sums to zero.
    sums = numpy.abs(unit.sum(axis=(2, 3))).max(axis=1)
    colours = (sums > 0.1).reshape(-1, 2).all(axis=1)
    assert colours.tolist() == [True, False] * 16
    assert sums.reshape(-1, 2)[~colours].max() < 1e-6


@pytest.mark.parametrize("layer", list(params.CONVOLUTIONS)[1:])
def test_later_layers_copy_channels_and_their_other_kernels_sum_to_zero(arrays, layer):
    weight = arrays[f"{layer}_weight"]
    outputs, inputs = weight.shape[:2]
    sums = weight.sum(axis=(2, 3))
    passing = outputs // 2 if layer.endswith("_1") else outputs
    channels = numpy.arange(passing)
    assert (sums[channels, channels % inputs] > 0).all()
    sums[channels, channels % inputs] = 0
    # Float32 rounding of nine taps, next to the largest tap of the filter.
    largest = numpy.abs(weight).max(axis=(1, 2, 3))
    assert (numpy.abs(sums).max(axis=1) < 1e-5 * largest).all()


def test_mean_activations_on_the_calibration_picture_are_the_documented_ones(on_calibration):
    for layer, features in on_calibration.items():
        # Float32 sums in a different order.
        assert features.mean() == pytest.approx(builtin.MEANS[layer], rel=1e-3), layer


def test_mean_activations_stay_within_a_factor_of_two_of_vgg_19s(on_calibration):
    for features, vgg_mean in zip(on_calibration.values(), VGG_MEANS):
        assert 0.5 < features.mean() / vgg_mean < 2


def test_no_two_channels_of_a_layer_are_alike(arrays, on_calibration):
    for layer in params.CONVOLUTIONS:
        flat = on_calibration[layer].reshape(len(on_calibration[layer]), -1)
        unit = flat / numpy.linalg.norm(flat, axis=1, keepdims=True)
        weight = arrays[f"{layer}_weight"].reshape(len(flat), -1)
        weight = weight / numpy.linalg.norm(weight, axis=1, keepdims=True)
        # Equal filters would have a product of exactly 1; features too, up to scale.
        assert (weight @ weight.T - 2 * numpy.eye(len(flat))).max() < 0.9999, layer
        assert (unit @ unit.T - 2 * numpy.eye(len(flat))).max() < 0.99999, layer


@pytest.mark.parametrize("seed", [1, 2])
def test_no_channel_is_dead_on_another_picture(arrays, seed):
    picture = builtin.calibration_picture(numpy.random.RandomState(seed), 96, 150)
    for layer, features in builtin.activations(arrays, picture):
        assert features.max(axis=(1, 2)).min() > 0, layer


def test_deep_layers_distinguish_two_flat_colours(arrays):
    deep = []
    for colour in ((200, 60, 60), (60, 60, 200)):
        picture = numpy.zeros((3, 64, 64), numpy.float32) + numpy.array(colour)[:, None, None]
        features = dict(builtin.activations(arrays, picture.astype(numpy.float32)))["conv4_1"]
        deep.append(features[:, 4, 4])
    first, second = deep
    assert numpy.linalg.norm(first - second) > 0.5 * numpy.linalg.norm(first)


def test_activations_are_those_of_the_network(arrays):
    from nst_cli import engine
    from nst_cli.synthesis import vgg

    picture = builtin.calibration_picture(numpy.random.RandomState(3), 48, 40)
    layers = ("relu1_1", "relu2_1", "relu3_1")
    device = engine.context("cpu")
    network = vgg.Network(
        vgg.parameters(arrays, layers, device), layers, (1, 3, 48, 48), gradient=False
    )
    means = numpy.array((123.68, 116.779, 103.939), numpy.float32)[:, None, None]
    features = network.forward(engine.array((picture - means)[None], device))
    wanted = dict(builtin.activations(arrays, picture))
    for layer in layers:
        expected = wanted[layer.replace("relu", "conv")]
        numpy.testing.assert_allclose(
            features[layer].asnumpy()[0], expected, atol=1e-4 * expected.max()
        )


def test_the_bank_is_loaded_by_name_and_its_identity_is_stable():
    assert Weights().load().keys() == builtin.build().keys()
    first = Weights().identity()
    weights._digest_of.cache_clear()
    assert Weights().identity() == first
    assert first["source"] == "builtin" and len(first["sha256"]) == 64
