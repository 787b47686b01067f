"""The tiled network and objective: equal to the untiled ones, whatever the tiles."""

import gc
import itertools

import numpy
import pytest

from nst_cli import engine
from nst_cli.config import METHODS, Config
from nst_cli.errors import ConfigError
from nst_cli.synthesis import (
    losses,
    memory,
    objective,
    tiled_objective,
    tiles,
    tiling,
    transfer,
    vgg,
)
from nst_cli.synthesis.objective import Objective, Term
from nst_cli.synthesis.pooling import pooled_targets
from nst_cli.synthesis.styles import Picture
from nst_cli.synthesis.tiled_objective import TiledObjective
from nst_cli.synthesis.tiled_styles import tiled_targets
from nst_cli.weights.params import CONVOLUTIONS

LAYERS = ("relu1_1", "relu1_2", "relu2_1", "relu3_1")
# Ragged: neither side is a multiple of 2 or 16.
SHAPE = (1, 3, 19, 59)
STYLE_SHAPE = (1, 3, 17, 21)
# As small as tiles can be, a few, and one for all of the map.
TILE_BYTES = (1, 20 << 20, 1 << 40)


def device_array(values, dtype="float64"):
    return engine.array(values, engine.context("cpu"), dtype)


def random_image(shape=SHAPE, seed=1, scale=1.0):
    return scale * numpy.random.RandomState(seed).normal(size=shape)


def parameters(layers, dtype="float64", precision="float32"):
    random, arrays = numpy.random.RandomState(0), {}
    for name in vgg.convolutions(layers):
        shape = CONVOLUTIONS[name]
        scale = (2 / numpy.prod(shape[1:])) ** 0.5
        arrays[f"{name}_weight"] = random.normal(scale=scale, size=shape)
        arrays[f"{name}_bias"] = random.normal(scale=0.1, size=shape[0])
    return vgg.parameters(arrays, layers, engine.context("cpu"), dtype, precision)


def distance(one, other):
    """Return the relative distance of two arrays."""
    return numpy.linalg.norm(one - other) / numpy.linalg.norm(other)


@pytest.mark.parametrize("widest", [400, 399, 120, 60])
def test_tiles_are_no_wider_than_asked_and_cover_the_map(widest):
    covered = numpy.zeros((50, 400), dtype=int)
    for read, ((top, bottom), (left, right)) in tiling.tiles((50, 400), 8, 4, 1e9, widest):
        assert read.shape[1] <= widest
        covered[top:bottom, left:right] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize(
    ("halo", "step"), [(2, 2), (4, 2), (8, 4), (16, 4), (8, 2), (1, 1), (2, 1)]
)
def test_tiles_of_one_size_cover_a_map_by_cores_that_see_as_far_as_they_need(halo, step):
    sizes = [(1, 1), (7, 90), (61, 45), (130, 131), (257, 64)]
    for size, most in itertools.product(sizes, [1, 300, 2500, 1e9]):
        covered = numpy.zeros(size, dtype=int)
        all_tiles = tiling.tiles(size, halo, step, most)
        assert len({tile.read.shape for tile in all_tiles}) == 1
        for read, core in all_tiles:
            (top, bottom), (left, right) = core
            covered[top:bottom, left:right] += 1
            for outer, inner, length in zip(read, core, size):
                assert outer.begin % step == 0 and inner.begin % step == 0
                assert outer.begin == 0 or inner.begin - outer.begin >= halo
                assert outer.end == length or outer.end - inner.end >= halo
                assert inner.end == length or inner.end % step == 0
        assert (covered == 1).all()


def test_the_halos_are_those_of_the_convolutions_in_a_stage():
    names = vgg.parts(("relu5_1",))
    stages = tiles._stages(names, names, (1, 3, 64, 64))
    # Blocks one and two see 2 + 1 + 2 · 2 positions far, rounded up to the step of 4.
    assert [(stage.halo, stage.step) for stage in stages] == [(8, 4), (4, 2), (4, 2), (1, 1)]


class TestNetwork:
    """Features and gradient of a network in tiles."""

    def compare(self, layers, shape, tile_bytes, *, pooling="avg", dtype="float64",
                precision="float32", convolution="direct"):  # fmt: skip
        """Return the largest distance of features, and that of the gradient, to the untiled."""
        shared = parameters(layers, dtype, precision)
        image = device_array(random_image(shape), dtype)
        plain = vgg.Network(
            shared, layers, shape, pooling, precision=precision, convolution=convolution
        )
        tiled = tiles.TiledNetwork(
            shared, layers, shape, pooling, precision, convolution, tile_bytes
        )
        assert tiled.shapes == plain.shapes
        maps = plain.forward(image)
        factors = {
            layer: device_array(random_image(maps[layer].shape, seed=3), dtype) for layer in layers
        }
        features = {layer: array.asnumpy() for layer, array in maps.items()}
        expected = plain.backward(lambda layer: factors[layer] * maps[layer]).asnumpy()
        seen = {layer: numpy.full_like(array, numpy.nan) for layer, array in features.items()}

        def on_tile(layer, array, region):
            (top, bottom), (left, right) = region
            seen[layer][:, :, top:bottom, left:right] = array.asnumpy()

        tiled.forward(image, on_tile)
        gradient = tiled.backward(
            lambda layer, array, region: tiles.cut(factors[layer], region) * array
        ).asnumpy()
        assert gradient.dtype == numpy.dtype(dtype)
        return max(distance(seen[n], features[n]) for n in layers), distance(gradient, expected)

    @pytest.mark.parametrize("tile_bytes", TILE_BYTES)
    @pytest.mark.parametrize("pooling", ["avg", "max"])
    def test_it_is_that_of_the_untiled_network(self, pooling, tile_bytes):
        result = self.compare(LAYERS, SHAPE, tile_bytes, pooling=pooling)
        assert max(result) < 1e-12

    def test_an_image_divided_both_ways_has_the_same_gradient(self):
        assert max(self.compare(("relu2_1",), (1, 3, 43, 46), 1)) < 1e-12

    @pytest.mark.parametrize("layers", [("relu1_1",), ("relu2_2",), ("relu1_2", "relu3_4")])
    def test_it_is_so_wherever_the_network_ends(self, layers):
        assert max(self.compare(layers, SHAPE, 1)) < 1e-12

    def test_it_is_so_down_to_the_deepest_layer(self):
        # Wide enough for several tiles of each block, as low as the network allows.
        layers, shape = ("relu2_1", "relu4_2", "relu5_4"), (1, 3, 17, 341)
        features, gradient = self.compare(layers, shape, 1, dtype="float32")
        # Other sizes have other roundings, which add up over sixteen convolutions.
        assert features < 3e-6 and gradient < 1e-6

    @pytest.mark.parametrize("convolution", ["direct", "winograd"])
    def test_it_is_so_in_float32(self, convolution):
        result = self.compare(LAYERS, SHAPE, 1, dtype="float32", convolution=convolution)
        assert max(result) < 1e-6

    def test_it_is_close_in_float16(self):
        result = self.compare(LAYERS, SHAPE, 1, dtype="float32", precision="float16")
        # Values that lie between two of float16 may round either way: each by 2⁻¹¹.
        assert max(result) < 1e-3

    def test_halos_are_no_wider_than_needed(self, monkeypatch):
        halo = tiles._Stage.halo
        monkeypatch.setattr(
            tiles._Stage, "halo", property(lambda stage: halo.fget(stage) - stage.step)
        )
        features, gradient = self.compare(LAYERS, SHAPE, 1)
        assert min(features, gradient) > 1e-6


def terms_of(network, reader, method, layers=LAYERS, mask=None, **choices):
    """Return a term for a method at each layer, with the target of a style image."""
    features = reader.forward(device_array(random_image(STYLE_SHAPE, seed=3)))
    loss = losses.style_loss(method, **choices)
    result = []
    for number, layer in enumerate(layers):
        target = loss.target(features[layer], numpy.random.RandomState(number))
        at_layer = None
        if mask is not None:
            scale = vgg.block_of(layer) - 1
            height, width = network.shapes[layer][2:]
            values = mask[:: 1 << scale, :: 1 << scale][:height, :width]
            at_layer = losses.Mask.of(values, features[layer])
        result.append(Term(method, layer, loss, target, 2.0 + number, at_layer))
    return result


def content_terms(network):
    features = network.forward(device_array(random_image(seed=2)))
    config = Config(content_layers="relu1_2,relu3_1")
    return objective.scaled(objective.content_terms(config, features), {"content": 0.3})


def mask_of(kind):
    if kind == "none":
        return None
    mask = numpy.random.RandomState(5).uniform(size=SHAPE[2:])
    # Some tiles lie outside of it.
    mask[:, 26:] = 0
    return mask


@pytest.fixture(scope="module")
def shared():
    return parameters(LAYERS)


@pytest.fixture(scope="module")
def networks(shared):
    """An untiled network for the content, one for the style, and one in tiles by their bytes."""
    plain = vgg.Network(shared, LAYERS, SHAPE)
    reader = vgg.Network(shared, LAYERS, STYLE_SHAPE, gradient=False)

    def tiled(tile_bytes, kept=None):
        network = tiles.TiledNetwork(shared, LAYERS, SHAPE, tile_bytes=tile_bytes)
        network.kept = kept or {}
        return network

    return plain, reader, tiled


def evaluated(kind, network, terms, tv_weight=0.0, seed=0):
    goal = kind(network, terms, tv_weight, numpy.random.RandomState(seed))
    evaluation = goal(device_array(random_image()))
    return evaluation.parts.asnumpy(), evaluation.total_gradient().asnumpy()


def assert_equal(networks, terms, tile_bytes, tv_weight=0.0):
    plain, _, tiled = networks
    parts, gradient = evaluated(Objective, plain, terms, tv_weight)
    in_tiles = evaluated(TiledObjective, tiled(tile_bytes), terms, tv_weight)
    assert in_tiles[0] == pytest.approx(parts, rel=1e-10, abs=1e-300)
    assert distance(in_tiles[1], gradient) < 1e-12


@pytest.mark.parametrize("masked", ["none", "mask"])
@pytest.mark.parametrize("method", METHODS)
def test_every_loss_has_the_value_and_the_gradient_of_the_untiled_objective(
    networks, method, masked
):
    # Those that look at positions keep all of them here.
    plain, reader, _ = networks
    terms = terms_of(plain, reader, method, mask=mask_of(masked))
    assert_equal(networks, terms, 1)


@pytest.mark.parametrize("tile_bytes", TILE_BYTES)
def test_content_a_fusion_and_smoothing_add_up_as_untiled(networks, tile_bytes):
    plain, reader, _ = networks
    terms = content_terms(plain)
    for method in ("poly", "bn", "cmd"):
        terms += terms_of(plain, reader, method, mask=mask_of("mask"))
    assert_equal(networks, terms, tile_bytes, tv_weight=0.7)


def test_a_layer_without_a_term_changes_nothing(networks):
    plain, reader, _ = networks
    assert_equal(networks, terms_of(plain, reader, "poly", layers=("relu2_1",)), 1)


def test_the_gradient_from_kept_positions_is_right_on_average(networks):
    plain, reader, tiled = networks
    terms = terms_of(plain, reader, "histogram", layers=("relu1_2",))
    _, expected = evaluated(Objective, plain, terms)
    total = 0
    for seed in range(16):
        random = numpy.random.RandomState(seed)
        kept = tiled_objective.kept_positions(plain.shapes, random, most=600)
        total = total + evaluated(TiledObjective, tiled(1 << 40, kept), terms)[1]
    mean = total / 16
    along = (mean * expected).sum() / (expected**2).sum()
    assert along == pytest.approx(1, abs=0.05)
    # Sixteen samples of half of the positions leave a noise of a quarter.
    assert distance(mean, expected) < 0.35


def test_kept_positions_are_the_same_in_each_evaluation(networks):
    plain, reader, tiled = networks
    terms = terms_of(plain, reader, "histogram", layers=("relu1_2",))
    kept = tiled_objective.kept_positions(plain.shapes, numpy.random.RandomState(0), most=300)
    assert {layer: len(positions) for layer, positions in kept.items()} == {
        "relu1_1": 300, "relu1_2": 300,
    }  # fmt: skip
    assert (numpy.diff(kept["relu1_2"]) > 0).all()
    small, large = (
        evaluated(TiledObjective, tiled(tile_bytes, kept), terms) for tile_bytes in (1, 1 << 40)
    )
    assert small[0] == pytest.approx(large[0], rel=1e-12)
    assert distance(small[1], large[1]) < 1e-12


def test_held_draws_stay_in_tiles_until_they_are_drawn_anew(networks):
    plain, reader, tiled = networks
    goal = TiledObjective(
        tiled(1), terms_of(plain, reader, "energy"), 0, numpy.random.RandomState(0)
    )
    goal.hold()
    image = device_array(random_image())
    values = [float(goal(image).value().asscalar()) for _ in range(2)]
    goal.hold()
    assert values[0] == values[1] != float(goal(image).value().asscalar())


def test_what_is_not_finite_is_named(networks):
    plain, reader, tiled = networks
    terms = content_terms(plain) + terms_of(plain, reader, "poly")
    terms[3] = objective.replace(terms[3], weight=float("nan"))
    goal = TiledObjective(tiled(1), terms, 0, numpy.random.RandomState(0))
    assert goal.non_finite(device_array(random_image())) == f"the loss {terms[3].name}"


class Steep(losses.Deterministic):
    """A loss whose value is finite, and its gradient is not."""

    needs = "positions"

    def __call__(self, features, target, weight=1.0, drawn=None):
        grad = engine.nd.ones_like(features) * float("inf")
        return losses.LossGrad(engine.nd.ones_like(features[0, 0, 0, :1]), grad)


@pytest.mark.parametrize(
    ("weight", "tv_weight", "steep", "expected"),
    [
        (float("inf"), 0, False, "the loss energy/relu1_2"),
        (1.0, 0, True, "the gradient of steep/relu2_1"),
        (float("inf"), 0, True, "the loss energy/relu1_2, the gradient of steep/relu2_1"),
        (1.0, 1e308, False, "the loss smoothing"),
        (1.0, 1.0, False, "the gradient on the image"),
    ],
)
@pytest.mark.parametrize("in_tiles", [False, True])
def test_the_parts_that_are_not_finite_are_named_whether_a_draw_is_held_or_not(
    networks, weight, tv_weight, steep, expected, in_tiles
):
    plain, reader, tiled = networks
    (term,) = terms_of(plain, reader, "energy", layers=("relu1_2",))
    terms = [*content_terms(plain), objective.replace(term, weight=weight)]
    terms += [Term("steep", "relu2_1", Steep(), None, 1.0)] if steep else []
    kind, network = (TiledObjective, tiled(20 << 20)) if in_tiles else (Objective, plain)
    goal = kind(network, terms, tv_weight, numpy.random.RandomState(0))
    assert goal.non_finite(device_array(random_image())) == expected
    goal.hold()
    assert goal.non_finite(device_array(random_image())) == expected


def test_sums_of_regions_outside_of_a_mask_add_nothing_wherever_they_are():
    features, loss = device_array(random_image((1, 3, 4, 8))), losses.style_loss("linear")
    for columns in itertools.product((False, True), repeat=4):
        values = numpy.zeros((4, 8))
        # Halves and quarters have exact sums.
        values[:2] = numpy.where(numpy.repeat(columns, 2), 0.25, 0)
        values[1] *= 2
        mask = losses.Mask.of(values, features)
        sums = tiled_objective.RunningSums(tiled_objective.sums_of(loss, None), mask)
        for left in range(0, 8, 2):
            region = tiling.Region(tiling.Span(0, 4), tiling.Span(left, left + 2))
            sums.read(tiles.cut(features, region), region)
        whole = loss.sums(features, None, mask)
        assert sums.mass == pytest.approx(mask.mass, abs=1e-11)
        numpy.testing.assert_allclose(
            sums.total.arrays[0].asnumpy(), whole.arrays[0].asnumpy(), rtol=1e-12, atol=1e-15
        )
        if any(columns):
            assert (sums.total.mass, sums.total.positions) == (values.sum(), 32)


@pytest.mark.parametrize("step", [1, 2, 4])
@pytest.mark.parametrize("positions", [[0, 1, 4, 5], [0, 1, 4, 5, 6, 10, 15]])
def test_kept_features_are_in_the_order_of_their_positions_whatever_the_tiles(positions, step):
    features = device_array(random_image((1, 3, 4, 4)))
    kept = tiled_objective.Kept(numpy.array(positions), 4)
    for left in range(0, 4, step):
        region = tiling.Region(tiling.Span(0, 4), tiling.Span(left, left + step))
        kept.read(tiles.cut(features, region), region)
    expected = features.asnumpy().reshape(3, 16)[:, positions]
    numpy.testing.assert_array_equal(kept.features().asnumpy(), expected)


def test_positions_are_kept_of_maps_with_more_than_65536():
    shapes = {"relu1_1": (1, 64, 256, 257), "relu2_1": (1, 128, 256, 256)}
    random = numpy.random.RandomState(0)
    kept = tiled_objective.kept_positions(shapes, random)
    assert list(kept) == ["relu1_1"]
    expected = numpy.random.RandomState(0).permutation(256 * 257)[: 1 << 16]
    numpy.testing.assert_array_equal(kept["relu1_1"], numpy.sort(expected))


def test_a_loss_that_looks_at_positions_draws_for_a_map_of_those_that_are_kept(networks):
    class Loss:
        needs = "positions"

        def draw(self, random, shape, target):
            return shape

    _, _, tiled = networks
    network = tiled(1, {"relu1_2": numpy.arange(0, 300, 2)})
    goal = TiledObjective(
        network, [Term("m", "relu1_2", Loss(), None, 1.0)], 0, numpy.random.RandomState(0)
    )
    goal.hold()
    assert goal.state()[1] == {"m/relu1_2": (1, 64, 1, 150)}


def style_pictures(kind):
    images = [
        numpy.random.RandomState(number).uniform(-100, 100, (1, 3, side, 57)).astype("float32")
        for number, side in enumerate((18, 23))
    ]
    if kind == "one":
        return [Picture(images[0])]
    mask = numpy.zeros(images[0].shape[2:], "float32")
    mask[:, :9] = numpy.linspace(1, 0.2, 9)
    return [Picture(images[0], 0.3, mask), Picture(images[1], 0.7)]


@pytest.mark.parametrize("kind", ["one", "two, one with a mask"])
@pytest.mark.parametrize("method", METHODS)
def test_targets_of_styles_are_those_of_their_whole_maps(shared, method, kind):
    style_losses = {(method, layer): losses.style_loss(method) for layer in ("relu1_2", "relu2_1")}
    pictures = style_pictures(kind)

    def read(image):
        network = vgg.Network(shared, LAYERS, image.shape, gradient=False)
        return network.forward(device_array(image))

    def sweep(image, on_tile):
        network = tiles.TiledNetwork(shared, LAYERS, image.shape, tile_bytes=1)
        network.forward(device_array(image), on_tile, keep=False)

    def randoms():
        return [numpy.random.RandomState(seed) for seed in (5, 6)]

    expected = pooled_targets(style_losses, pictures, read, False, *randoms())
    targets = tiled_targets(style_losses, pictures, sweep, device_array([0.0]), False, *randoms())
    assert targets.keys() == expected.keys() == style_losses.keys()
    for key, target in targets.items():
        pairs = list(zip(leaves(target), leaves(expected[key])))
        assert pairs
        for one, other in pairs:
            numpy.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10 * abs(other).max())


def leaves(target):
    """Return the arrays that a target holds."""
    if isinstance(target, (tuple, list)):
        return [array for part in target for array in leaves(part)]
    if target is None:
        return []
    return [target if isinstance(target, numpy.ndarray) else target.asnumpy()]


def run(tiles=None, **choices):
    content = numpy.random.RandomState(0).uniform(-100, 100, (1, 3, 43, 61)).astype("float32")
    style = numpy.random.RandomState(1).uniform(-100, 100, (1, 3, 37, 70)).astype("float32")
    config = Config(
        iterations=3, stop_eps=0, weights="builtin", device="cpu", beta="auto", **choices
    )
    return transfer(content, style, config, tiles=tiles)


@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
def test_a_transfer_in_tiles_makes_the_same_image(optimizer):
    whole, in_tiles = (run(optimizer=optimizer, scales=2, tile=tile) for tile in ("off", 2))
    assert whole.tiling is None and in_tiles.tiling == memory.Tiling(2 << 20, scales=(0, 2 << 20))
    # Three steps from noise multiply the rounding errors of float32.
    assert distance(in_tiles.image, whole.image) < 1e-4
    assert in_tiles.losses == pytest.approx(whole.losses, rel=1e-4)
    assert in_tiles.beta == pytest.approx(whole.beta, rel=1e-5)


def test_the_tiles_of_another_transfer_are_taken_whatever_the_config_says():
    given = run(scales=2, tile="off", tiles=(1 << 20, 0))
    assert given.tiling.scales == (1 << 20, 0)
    assert run(scales=2, tile=1, tiles=()).tiling is None
    with pytest.raises(ConfigError, match="tiles for 1 scales"):
        run(scales=2, tiles=(1 << 20,))


def test_a_step_of_l_bfgs_holds_few_arrays_as_large_as_the_image(monkeypatch):
    held, evaluate = [], Objective.__call__

    def counted(goal, image):
        arrays = (one for one in gc.get_objects() if isinstance(one, engine.nd.NDArray))
        # Views of the history and of the image are none of their own.
        pointers = {one.handle.value for one in arrays if one.shape == image.shape}
        held.append(len(pointers))
        return evaluate(goal, image)

    monkeypatch.setattr(Objective, "__call__", counted)
    run(preset="fast", scales=1, tile="off", margin=0)
    # The point here, its gradient and image, the trial and its image, the direction, start, scale.
    assert max(held) == 8


def test_the_smoothing_of_a_large_image_is_computed_in_bands(monkeypatch):
    image = device_array(random_image())
    whole = losses.smoothing(image)
    monkeypatch.setitem(losses.smoothing.__globals__, "_PIXELS_AT_ONCE", 4 * SHAPE[3])
    bands = losses.smoothing(image)
    numpy.testing.assert_allclose(bands.grad.asnumpy(), whole.grad.asnumpy(), rtol=1e-12)
    assert bands.value.asscalar() == pytest.approx(whole.value.asscalar(), rel=1e-12)


def test_in_tiles_kernels_of_the_distance_are_estimated_by_fourier():
    by_pairs = run(method="gaussian", tile=1)
    by_fourier = run(method="gaussian", estimator="fourier", tile="off")
    assert by_pairs.tiling.by_fourier == ("gaussian",)
    assert distance(by_pairs.image, by_fourier.image) < 1e-4


def test_methods_that_see_kept_positions_only_are_named():
    result = run(method="sliced=0.5,poly=0.5", tile=1)
    assert result.tiling.by_sample == ("sliced",)


@pytest.mark.parametrize(
    ("free", "expected"), [(None, 0), (100e9, 0), (4e9, 476 << 20), (1e9, 64 << 20)]
)
def test_auto_takes_tiles_where_a_transfer_would_not_fit(monkeypatch, free, expected):
    monkeypatch.setattr(memory, "available", lambda device: free and int(free))
    size = 1500, 2000
    assert memory.tile_bytes(Config(device="cpu"), size, size) == expected
    assert memory.tile_bytes(Config(device="cpu", tile="off"), size, size) == 0


def test_auto_takes_smaller_tiles_where_larger_ones_would_not_fit(monkeypatch):
    config, size = Config(device="cpu", preset="fast", precision="float32"), (6000, 8000)
    enough, scarce = (
        1.1 * memory.tiled_memory(config, size, size, tile=tile) + 1e6
        for tile in (512 << 20, 128 << 20)
    )
    for free, expected in ((enough, 512 << 20), (scarce, 128 << 20), (0.9 * scarce, 64 << 20)):
        monkeypatch.setattr(memory, "available", lambda device, free=free: int(free))
        assert memory.tile_bytes(config, size, size) == expected


def test_a_number_takes_tiles_where_maps_take_more():
    config = Config(device="cpu", tile=100)
    large, small = (memory.tile_bytes(config, size, (16, 16)) for size in ((600, 600), (100, 100)))
    assert (large, small) == (100 << 20, 0)
    assert memory.tile_bytes(config, (100, 100), (600, 600)) == 100 << 20
