"""Several styles and masks in a transfer: shares, groups, terms, and what stays as it was."""

import math

import numpy
import pytest
import test_objective as scenes
from packages import DECLARATION, save_example, save_package
from test_losses import N, device_array, random_map
from test_losses_sums import LOSSES as SUM_LOSSES

from nst_cli import Config, StyleImage, transfer
from nst_cli.config import BLENDS, METHODS, PAPER_BETA
from nst_cli.errors import ConfigError, PluginError, ShapeError
from nst_cli.synthesis import building, objective, pooling, styles
from nst_cli.synthesis.kit import NetworkKit
from nst_cli.synthesis.losses import style_loss
from nst_cli.synthesis.objective import Objective
from nst_cli.synthesis.styles import Group, Picture, grouped

SIZE = (20, 24)
SHAPE = (1, 3, *SIZE)
FUSION = "bn=0.3,poly=0.7"
BY_SUMS = [name for name in METHODS if style_loss(name).needs == "sums"]


def random_image(seed, shape=SHAPE, amplitude=100):
    values = numpy.random.RandomState(seed).uniform(-amplitude, amplitude, shape)
    return values.astype(numpy.float32)


CONTENT, START = random_image(1), random_image(9)
ONE, OTHER, THIRD = random_image(2, (1, 3, 18, 33)), random_image(3), random_image(4) + 40
LEFT = numpy.zeros(SIZE)
LEFT[:, :8] = 1
RIGHT = 1 - LEFT
SOFT = numpy.random.RandomState(5).uniform(-0.5, 1.2, SIZE).clip(0, 1)


@pytest.fixture(autouse=True)
def small(small_network):
    pass


def choices(**others):
    defaults = {
        "style_layers": "relu1_1,relu2_1",
        "content_layers": "relu2_2",
        "device": "cpu",
        "iterations": 2,
    }
    return Config(**{**defaults, **others})


def style(image=ONE, weight=1.0, mask=None, style_mask=None, method=""):
    return StyleImage((image,), weight, method, mask, (style_mask,))


def run(given, kit=None, **others):
    return transfer(CONTENT, given, choices(**others), init=START, kit=kit)


def parts(given, **others):
    """Return the losses at the start image."""
    return run(given, iterations=0, **others).losses


def assert_identical(actual, expected):
    assert actual.image.tobytes() == expected.image.tobytes()
    assert actual.losses == expected.losses and actual.beta == expected.beta


class TestDroppedStyles:
    @pytest.mark.parametrize("method", [*METHODS, FUSION])
    def test_a_style_of_weight_0_changes_no_byte(self, method):
        expected = run(ONE, method=method)
        pair = [style(ONE, 1.0), style(OTHER, 0.0)]
        assert_identical(run(pair, method=method, blend="mix"), expected)
        assert_identical(run(pair[::-1], method=method, blend="between"), expected)

    def test_whatever_its_mask_and_method_are(self):
        given = [style(ONE, 0.3), style(OTHER, 0.0, LEFT, method="cmd")]
        assert_identical(run(given), run(ONE))

    def test_nor_does_it_with_lbfgs_scales_and_a_measured_beta(self):
        others = {"optimizer": "lbfgs", "scales": 2, "beta": "auto", "method": "gaussian"}
        expected = transfer(CONTENT, ONE, choices(**others))
        given = [style(ONE), style(OTHER, 0.0, method="bn")]
        assert_identical(transfer(CONTENT, given, choices(**others)), expected)

    def test_of_three_styles_one_of_weight_0_changes_no_byte(self):
        pair = [style(ONE, 1, LEFT), style(OTHER, 2, SOFT)]
        for method in ("gaussian", "poly"):
            actual = run([style(THIRD, 0.0, RIGHT), *pair], method=method)
            expected = run(pair, method=method)
            assert actual.image.tobytes() == expected.image.tobytes()
            assert list(actual.losses.values()) == list(expected.losses.values())

    def test_a_style_image_alone_is_the_array(self):
        expected = run(ONE, method="sliced")
        white = numpy.ones(SIZE)
        for given in (style(), [style()], [style(weight=0.2, mask=white)]):
            assert_identical(run(given, method="sliced"), expected)


class TestShares:
    def weights(self, *given, **others):
        return [group.weight for group in grouped(list(given), SIZE, choices(**others))]

    def test_without_masks_weights_sum_to_1(self):
        given = [style(ONE, 3, method="bn"), style(OTHER, 1)]
        assert self.weights(*given) == [0.75, 0.25]

    def test_a_region_has_weight_1(self):
        assert self.weights(style(ONE, 0.3, LEFT)) == pytest.approx([1])
        assert self.weights(style(ONE, 0.5, LEFT), style(OTHER, 0.5, RIGHT)) == [1, 1]

    def test_of_unequal_weights_the_mean_over_the_covered_area_is_1(self):
        first, second = self.weights(style(ONE, 3, LEFT), style(OTHER, 1, RIGHT))
        assert first == pytest.approx(3 * second)
        assert first * LEFT.mean() + second * RIGHT.mean() == pytest.approx(1)

    def test_styles_that_overlap_wholly_share(self):
        given = [style(ONE, 1, LEFT), style(OTHER, 1, LEFT)]
        assert self.weights(*given, blend="between") == pytest.approx([0.5, 0.5])
        assert self.weights(*given, blend="mix") == pytest.approx([1])

    def test_the_norm_holds_for_soft_masks_that_overlap(self):
        masks = [SOFT, LEFT, numpy.full(SIZE, 0.25)]
        weights = self.weights(*(style(ONE, k + 1, mask) for k, mask in enumerate(masks)))
        total = sum(weight * mask.mean() for weight, mask in zip(weights, masks))
        assert total == pytest.approx(numpy.minimum(sum(masks), 1).mean(), rel=1e-6)

    def test_the_share_of_a_method_is_that_of_its_styles_in_the_area_they_cover(self):
        config = choices(method=FUSION)
        assert styles.shares(grouped([style()], SIZE, config)) == config.methods
        given = [style(ONE, 1, LEFT, method="bn"), style(OTHER, 1, RIGHT, method="poly")]
        assert styles.shares(grouped(given, SIZE, config)) == pytest.approx({"bn": 1, "poly": 1})
        given = [style(ONE, 1, method="bn"), style(OTHER, 3, method="poly")]
        actual = styles.shares(grouped(given, SIZE, config))
        assert actual == pytest.approx({"bn": 0.25, "poly": 0.75})


class TestGroups:
    def groups(self, *given, **others):
        actual = grouped(list(given), SIZE, choices(**others))
        return [(group.number, [one.share for one in group.pictures]) for group in actual]

    def test_styles_of_one_mask_and_method_are_mixed_and_others_are_not(self):
        given = [
            style(ONE, 1), style(OTHER, 3), style(THIRD, 1, LEFT), style(ONE, 1, LEFT.copy()),
            style(ONE, 1, method="bn"), style(OTHER, 1, method="poly"),
        ]  # fmt: skip
        assert self.groups(*given) == [(1, [0.2, 0.6, 0.2]), (3, [0.5, 0.5]), (5, [1.0])]
        between = self.groups(*given, blend="between")
        assert between == [(number, [1.0]) for number in range(1, 7)]

    def test_the_pictures_of_a_style_share_its_weight_alike(self):
        folder = StyleImage((ONE, OTHER, THIRD), 3.0)
        assert self.groups(folder, style(ONE, 1)) == [(1, [0.25, 0.25, 0.25, 0.25])]
        assert self.groups(folder, blend="between") == [(1, [1 / 3] * 3)]

    @pytest.mark.parametrize("blend", BLENDS)
    def test_names_have_a_number_only_where_styles_have_a_method_in_common(self, blend):
        given = [style(ONE, 0), style(OTHER, 1, LEFT), style(ONE, 1, RIGHT, method=FUSION)]
        names = list(parts(given, blend=blend, style_layers="relu1_1", method="poly"))
        assert names == [
            "total", "content/relu2_2", "poly/relu1_1/2", "bn/relu1_1", "poly/relu1_1/3",
            "smoothing",
        ]  # fmt: skip


class TestBlend:
    @pytest.mark.parametrize("method", BY_SUMS)
    def test_a_style_given_twice_with_halves_is_the_style(self, method):
        given = [style(ONE, 0.5), style(ONE, 0.5)]
        expected = run(ONE, method=method, iterations=1)
        for blend in BLENDS:
            actual = run(given, method=method, blend=blend, iterations=1)
            assert actual.losses["total"] == pytest.approx(expected.losses["total"], rel=1e-4)
            numpy.testing.assert_allclose(actual.image, expected.image, atol=1e-3)

    @pytest.mark.parametrize("method", ["gaussian", "sliced", "histogram", "remd"])
    def test_so_it_is_but_for_draws_where_positions_are_looked_at(self, method):
        given = [style(OTHER, 0.5), style(OTHER, 0.5)]
        others = {"method": method, "style_layers": "relu1_1", "alpha": 1}
        expected = [parts(OTHER, seed=seed, **others)[f"{method}/relu1_1"] for seed in range(4)]
        actual = [parts(given, seed=seed, **others)[f"{method}/relu1_1"] for seed in range(4)]
        spread = numpy.std(expected) + numpy.std(actual) + 0.02 * abs(numpy.mean(expected))
        assert abs(numpy.mean(actual) - numpy.mean(expected)) < 3 * spread

    @pytest.mark.parametrize("method", ["linear", "poly"])
    def test_for_an_mmd_both_blends_have_the_same_gradient(self, method):
        given = [style(ONE, 0.3), style(OTHER, 0.7)]
        images = [run(given, method=method, blend=blend, iterations=1).image for blend in BLENDS]
        numpy.testing.assert_allclose(*images, atol=1e-3)

    @pytest.mark.parametrize(
        "method", ["bn", "coral", "wasserstein", "sliced", "histogram", "cmd"]
    )
    def test_for_other_losses_they_differ(self, method):
        given = [style(ONE, 0.3), style(THIRD, 0.7)]
        one, other = (
            run(given, method=method, blend=blend, optimizer="adam").image for blend in BLENDS
        )
        assert abs(one - other).max() > 1e-2

    def test_between_adds_up_the_losses(self):
        given = [style(ONE, 0.3), style(OTHER, 0.7)]
        actual = parts(given, method="wasserstein", blend="between")
        for number, image, weight in ((1, ONE, 0.3), (2, OTHER, 0.7)):
            alone = parts(image, method="wasserstein")
            for layer in ("relu1_1", "relu2_1"):
                expected = weight * alone[f"wasserstein/{layer}"]
                assert actual[f"wasserstein/{layer}/{number}"] == pytest.approx(expected, rel=1e-4)

    def test_a_mixture_is_nearer_to_the_style_with_more_weight(self):
        mean = [image.mean() for image in (ONE, THIRD)]
        means = [
            run([style(ONE, w), style(THIRD, 1 - w)], method="linear", alpha=0, iterations=20,
                gamma=50, optimizer="adam").image.mean()
            for w in (0.9, 0.1)
        ]  # fmt: skip
        assert (means[1] - means[0]) * (mean[1] - mean[0]) > 0

    def test_samples_are_limited_in_proportion_to_the_shares(self, monkeypatch):
        monkeypatch.setattr(pooling, "_MOST_POSITIONS", 100)
        pictures = [Picture(ONE, 0.75), Picture(OTHER, 0.25)]
        at_layers = [pooling.layer_parts(picture, ["relu1_1"], False) for picture in pictures]
        pooling.limit(at_layers)
        most = ONE.shape[2] * ONE.shape[3]
        actual = [at_layer["relu1_1"].positions for at_layer in at_layers]
        assert actual == [most * 3 // 4, most // 4]


class TestPooling:
    def pooled(self, loss, maps, shares):
        """Return the target that maps (1, N, H, W) with shares give."""
        # As by a network: the next map is written over the one before.
        shared = {}

        def read(image):
            for array in shared.values():
                array[:] = math.nan
            shared["relu1_1"] = device_array(maps[int(image[0, 0, 0, 0])])
            return shared

        pictures = [
            Picture(numpy.full((1, 1, *values.shape[2:]), number, numpy.float32), share)
            for number, (values, share) in enumerate(zip(maps, shares))
        ]
        streams = (numpy.random.RandomState(seed) for seed in (4, 7))
        targets = pooling.pooled_targets({("m", "relu1_1"): loss}, pictures, read, False, *streams)
        return targets["m", "relu1_1"]

    @pytest.mark.parametrize("name", SUM_LOSSES)
    def test_pictures_of_one_size_count_like_one_picture_of_both(self, name):
        loss, features = SUM_LOSSES[name], device_array(random_map(0))
        maps = [random_map(1, N, 4, 5), random_map(2, N, 4, 5) + 5]
        both = device_array(numpy.concatenate(maps, axis=3))
        expected = loss(features, loss.target(both, numpy.random.RandomState(7)))
        actual = loss(features, self.pooled(loss, maps, (0.5, 0.5)))
        for one, other in zip(actual, expected):
            scale = abs(other.asnumpy()).max()
            numpy.testing.assert_allclose(
                one.asnumpy(), other.asnumpy(), rtol=1e-7, atol=1e-9 * scale
            )

    @pytest.mark.parametrize("name", SUM_LOSSES)
    def test_a_picture_counts_by_its_share_and_not_by_its_size(self, name):
        loss, features = SUM_LOSSES[name], device_array(random_map(0))
        small, other = random_map(1, N, 2, 5), random_map(2, N, 4, 5)
        large = numpy.tile(small, (1, 1, 3, 1))
        actual = [
            loss(features, self.pooled(loss, [values, other], (0.3, 0.7))).value.asscalar()
            for values in (small, large)
        ]
        assert actual[0] == pytest.approx(actual[1], rel=1e-7)

    @pytest.mark.parametrize("name", SUM_LOSSES)
    def test_the_order_of_the_pictures_does_not_matter(self, name):
        loss, features = SUM_LOSSES[name], device_array(random_map(0))
        maps, shares = [random_map(1, N, 4, 5), random_map(2, N, 3, 5) + 5], (0.3, 0.7)
        actual = [
            loss(features, self.pooled(loss, maps[::step], shares[::step])).value.asscalar()
            for step in (1, -1)
        ]
        assert actual[0] == pytest.approx(actual[1], rel=1e-7)


class TestMasks:
    @pytest.mark.parametrize("method", METHODS)
    def test_pixels_that_no_masked_feature_sees_have_no_gradient(self, method):
        # relu2_1 sees 4 pixels beyond its own; adam does not move a pixel without a gradient.
        others = {"alpha": 0, "tv_weight": 0, "optimizer": "adam", "iterations": 3}
        moved = run(style(ONE, mask=LEFT), method=method, **others).image != START
        assert moved[..., :8].any() and not moved[..., 12:].any()
        whole = run(ONE, method=method, **others).image != START
        assert whole[..., 12:].any()

    def test_what_no_mask_covers_keeps_its_content(self):
        # In one step: then the content's features pull on what they see of the style.
        others = {"tv_weight": 0, "optimizer": "adam", "iterations": 1}
        actual = transfer(CONTENT, style(ONE, mask=LEFT), choices(**others), init=CONTENT).image
        assert (actual[..., 16:] == CONTENT[..., 16:]).all()
        assert (actual[..., :8] != CONTENT[..., :8]).any()

    @pytest.mark.parametrize("method", ["poly", "bn", "coral", "wasserstein", "histogram", "cmd"])
    def test_the_losses_of_a_region_are_those_of_its_picture_at_layers_that_see_no_more(
        self, method
    ):
        # With relu1_1 alone, the features of columns 0 to 6 see nothing of the others.
        mask = numpy.zeros(SIZE)
        mask[:, :7] = 1
        others = {"method": method, "style_layers": "relu1_1", "iterations": 0}
        actual = transfer(CONTENT, style(ONE, mask=mask), choices(**others), init=START).losses
        with_border = numpy.zeros((20, 16))
        with_border[:, :7] = 1
        cropped = transfer(
            CONTENT[..., :16], style(ONE, mask=with_border), choices(**others),
            init=START[..., :16],
        ).losses  # fmt: skip
        name = f"{method}/relu1_1"
        assert actual[name] == pytest.approx(cropped[name], rel=1e-4)

    def test_overlaps_add_up(self):
        first, second = style(ONE, 1, SOFT), style(OTHER, 1, LEFT)
        actual = parts([first, second], method="bn")
        weights = [group.weight for group in grouped([first, second], SIZE, choices())]
        for number, (one, weight) in enumerate(zip((first, second), weights), 1):
            alone = parts(one, method="bn")
            for layer in ("relu1_1", "relu2_1"):
                expected = weight * alone[f"bn/{layer}"]
                assert actual[f"bn/{layer}/{number}"] == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize("method", METHODS)
    def test_a_mask_of_the_style_takes_only_its_part(self, method):
        # The left half is the style, and the right half differs.
        half = random_image(2, (1, 3, 20, 60))
        changed = half.copy()
        changed[..., 40:] += 50
        mask = numpy.zeros((20, 60))
        mask[:, :30] = 1
        others = {"method": method, "optimizer": "adam"}
        masked = [style(image, style_mask=mask) for image in (half, changed)]
        one, other, whole, changed_whole = (
            run(given, **others).image for given in (*masked, half, changed)
        )
        assert (one == other).all()
        assert (whole != changed_whole).any() and (one != whole).any()

    def test_a_region_smaller_than_a_position_has_no_term_at_that_layer(self):
        mask = numpy.zeros(SIZE)
        mask[5, 5] = 1
        for given in (style(ONE, mask=mask), style(OTHER, style_mask=mask)):
            names = set(parts(given))
            assert "poly/relu1_1" in names and "poly/relu2_1" not in names

    def test_a_picture_of_which_a_layer_keeps_nothing_leaves_it_to_the_others(self):
        mask = numpy.zeros(SIZE)
        mask[5, 5] = 1
        folder = StyleImage((OTHER, ONE), style_masks=(mask, None))
        actual, alone = parts(folder), parts(ONE)
        assert actual["poly/relu2_1"] == pytest.approx(alone["poly/relu2_1"], rel=1e-4)
        assert actual["poly/relu1_1"] != pytest.approx(alone["poly/relu1_1"], rel=1e-4)

    def test_inside_takes_fewer_features(self):
        names = [parts(style(ONE, mask=LEFT), mask_inside=inside) for inside in (False, True)]
        assert names[0].keys() == names[1].keys()
        assert names[0]["poly/relu2_1"] != names[1]["poly/relu2_1"]

    @pytest.mark.parametrize(
        ("method", "inside"), [("gaussian", False), ("sliced", False), (FUSION, True)]
    )
    def test_masks_follow_the_scales(self, method, inside):
        config = choices(
            method=method, scales=2, optimizer="lbfgs", beta="auto", mask_inside=inside
        )
        content = random_image(1, (1, 3, 40, 48))
        large = numpy.kron(LEFT, numpy.ones((2, 2)))
        given = [style(ONE, 1, large), style(OTHER, 1, 1 - large)]
        records = []
        result = transfer(content, given, config, on_step=records.append)
        assert {record.scale for record in records} == {1, 2}
        assert numpy.isfinite(result.image).all()
        assert all(map(math.isfinite, result.losses.values()))

    def test_a_style_smaller_than_in_proportion_is_reduced_only_to_its_proportion(self):
        image = random_image(1, (1, 3, 40, 48))
        given = StyleImage((image, image), ratios=(2.0, 1.0))
        (group,) = grouped([given], (80, 96), choices())
        sizes = {
            factor: [one.image.shape[2:] for one in group.at_size((80, 96), factor).pictures]
            for factor in (1, 0.5, 0.25)
        }
        assert sizes[1] == [(40, 48), (40, 48)]
        assert sizes[0.5] == [(40, 48), (20, 24)]
        assert sizes[0.25] == [(20, 24), (16, 16)]

    @pytest.mark.parametrize("ratios", [(1.0,), (0.5, 1.0), (math.nan, 1.0)])
    def test_ratios_are_from_1_on_and_one_for_each_picture(self, ratios):
        image = random_image(1, (1, 3, 16, 16))
        with pytest.raises(ShapeError, match="ratios"):
            grouped([StyleImage((image, image), ratios=ratios)], (16, 16), choices())

    def test_a_size_where_a_style_has_no_position_is_left_out(self):
        content = random_image(1, (1, 3, 40, 48))
        mask = numpy.zeros((40, 48))
        mask[11, 11] = 1
        records = []
        config = choices(scales=2, alpha=0)
        transfer(content, style(ONE, mask=mask), config, on_step=records.append)
        assert {(record.scale, record.scales) for record in records} == {(1, 1)}


class TestBeta:
    def test_two_methods_at_half_weight_have_the_beta_of_each_alone(self):
        given = [style(ONE, 1, method="linear"), style(ONE, 1, method="poly")]
        actual = run(given, beta="auto").beta
        for method in ("linear", "poly"):
            alone = run(ONE, beta="auto", method=method).beta[method]
            assert actual[method] == pytest.approx(alone, rel=1e-4)

    def test_in_a_region_it_balances_the_content_there(self):
        # The same gradients everywhere: half of them need the factor that all need.
        tile = random_image(6, (1, 3, 20, 12))
        content, start = (numpy.tile(image, (1, 1, 1, 2)) for image in (tile, tile + 30))
        mask = numpy.zeros(SIZE)
        mask[:, :12] = 1
        config = choices(beta="auto", iterations=0, method="linear")
        whole, half = (
            transfer(content, given, config, init=start).beta["linear"]
            for given in (ONE, style(ONE, mask=mask))
        )
        assert half == pytest.approx(whole, rel=0.15)

    @pytest.mark.parametrize(
        ("beta", "expected"),
        [("paper", {"bn": PAPER_BETA["bn"], "poly": PAPER_BETA["poly"]}),
         ("bn=7,poly=0.2", {"bn": 7, "poly": 0.2})],
    )  # fmt: skip
    def test_it_is_that_of_the_methods_of_the_styles(self, beta, expected):
        given = [style(ONE, method="bn"), style(OTHER, method="poly")]
        assert run(given, method="bn=1,poly=1", beta=beta).beta == expected
        assert run([style(ONE, method="bn")], method="poly", beta=3).beta == {"bn": 3}

    @pytest.mark.parametrize(
        ("method", "beta", "words"),
        [("poly", "poly=1", "beta 'poly=1.0' has no value for bn"),
         ("poly", 3, "beta 3 is one value, and the styles have the methods bn, poly")],
    )  # fmt: skip
    def test_numbers_must_name_every_method(self, method, beta, words):
        given = [style(ONE, method="bn"), style(OTHER)]
        with pytest.raises(ConfigError, match=words) as caught:
            run(given, method=method, beta=beta)
        assert caught.value.field == "beta" and "\n" not in str(caught.value)


class TestDraws:
    def test_another_style_leaves_the_draws_of_the_first_as_they_were(self):
        others = {"method": "gaussian", "style_layers": "relu1_1"}
        alone = parts(style(ONE, 1, LEFT), **others)["gaussian/relu1_1"]
        actual = parts([style(ONE, 1, LEFT), style(OTHER, 1, RIGHT)], **others)
        assert actual["gaussian/relu1_1/1"] == pytest.approx(alone, rel=1e-6)

    def test_each_group_draws_of_its_own(self):
        given = [style(ONE, 1), style(ONE, 1)]
        actual = parts(given, method="gaussian", style_layers="relu1_1", blend="between")
        assert actual["gaussian/relu1_1/1"] != actual["gaussian/relu1_1/2"]

    def test_a_state_has_the_draws_of_all_groups(self):
        terms = [
            objective.Term("m", "relu1_1", _Drawing(), None, 1.0, None, number, number)
            for number in (0, 1)
        ]
        streams = [numpy.random.RandomState(seed) for seed in (0, 1)]
        goal = Objective(_Network(), terms, 0.0, streams[0], {1: streams[1]})
        state = goal.state()
        first = goal._drawn()
        assert goal._drawn() != first
        goal.resume(state)
        assert goal._drawn() == first and len(set(first.values())) == 2

    @pytest.mark.parametrize("method", ["gaussian", "remd", "sliced"])
    def test_a_seed_decides_on_everything(self, method):
        given = [StyleImage((ONE, OTHER), 1, "", SOFT, (None, SOFT)), style(THIRD, 2, LEFT)]
        same, again = (run(given, method=method) for _ in range(2))
        assert_identical(same, again)
        assert run(given, method=method, seed=1).losses != same.losses


class _Drawing:
    def draw(self, random, shape, target):
        return random.uniform()


class _Network:
    def __init__(self):
        self.shapes = {"relu1_1": (1, 64, 2, 2)}


class TestKit:
    def test_what_is_shared_changes_no_result(self):
        kit = NetworkKit()
        folder = StyleImage((ONE, OTHER), 1.0, "", LEFT, (None, SOFT))
        varied = (
            ONE, style(ONE, mask=LEFT), style(ONE, style_mask=SOFT[:18].repeat(2, 1)[:, :33]),
            [folder, style(THIRD)], [style(ONE, 1), style(OTHER, 3)],
            [style(ONE, 3), style(OTHER, 1)],
        )  # fmt: skip
        for method in ("fourier", "gaussian"):
            for given in varied:
                assert_identical(run(given, kit, method=method), run(given, method=method))

    def test_the_targets_of_equal_styles_are_made_once(self, monkeypatch):
        kit, folder = NetworkKit(), StyleImage((ONE, OTHER), 1.0, "", LEFT)
        run(folder, kit)
        monkeypatch.setattr(building, "pooled_targets", None)
        run(StyleImage((ONE, OTHER), 2.0, "", RIGHT), kit)

    def test_networks_of_many_pictures_are_not_held(self):
        kit = NetworkKit()
        shapes = [(1, 3, 20, width) for width in (22, 24, 26, 28)]
        run(StyleImage(tuple(random_image(2, shape) for shape in shapes)), kit)
        assert [shape for shape, _ in kit._networks] == [SHAPE]


class TestBadInput:
    @pytest.mark.parametrize(
        ("given", "words"),
        [
            (style(mask=LEFT.T), r"The mask of the style has shape \(24, 20\), its picture"),
            ([style(), style(mask=LEFT.T)], "The mask of style 2 has shape"),
            (style(style_mask=LEFT), r"The mask of a picture of the style has shape \(20, 24\)"),
            (style(mask=LEFT * 0), "The mask of the style is 0 everywhere"),
            (style(mask=LEFT * 2), "not from 0 to 1"),
            (style(mask=LEFT * math.nan), "not from 0 to 1"),
            (StyleImage((ONE, OTHER), style_masks=(None,)), "has 2 pictures and 1 masks of them"),
            (StyleImage(()), "style has no picture"),
            ([style(), StyleImage((random_image(1, (1, 3, 8, 8)),))], "style 2 has shape"),
            ([style(), ONE], "Style 2 is a ndarray, not a StyleImage"),
            (style(mask=LEFT * 1e-9), "covers less than one position of every style layer"),
        ],
    )  # fmt: skip
    def test_a_shape_or_value_that_does_not_fit(self, given, words):
        with pytest.raises(ShapeError, match=words) as caught:
            run(given)
        assert "\n" not in str(caught.value)

    def test_a_region_too_narrow_for_inside(self):
        mask = numpy.zeros(SIZE)
        mask[:, 4:6] = 1
        assert parts(style(mask=mask))
        with pytest.raises(ShapeError, match="with all that its features see"):
            parts(style(mask=mask), mask_inside=True)

    @pytest.mark.parametrize(
        ("given", "words", "field"),
        [
            ([style(weight=0), style(weight=0)], "Every weight of the styles is 0",
             "style_weights"),
            ([style(), style(weight=-1)], "The weight of style 2 is -1; it must be at least 0",
             "style_weights"),
            (style(weight=math.nan), "must be a finite number", "style_weights"),
            (style(method="polly"), "Unknown method 'polly': did you mean 'poly'", "method"),
        ],
    )  # fmt: skip
    def test_a_weight_or_method_that_is_not_valid(self, given, words, field):
        with pytest.raises(ConfigError, match=words) as caught:
            run(given)
        assert caught.value.field == field


class TestPlugins:
    def test_a_loss_of_sums_takes_masks_and_several_pictures(self, packages):
        save_example(packages)
        given = [StyleImage((ONE, OTHER), 1, "", LEFT), style(THIRD, 1, RIGHT, method="poly")]
        actual = run(given, method="robust", alpha=0, tv_weight=0)
        assert numpy.isfinite(actual.image).all()
        assert parts(given, method="robust") != parts(given, method="linear")

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            (style(mask=LEFT), "its loss does not take masks; a SumLoss would"),
            (style(ONE, style_mask=SOFT[:18].repeat(2, 1)[:, :33]), "does not take masks"),
            ([style(ONE), style(OTHER)], "does not take several pictures as one style"),
        ],
    )
    def test_another_loss_is_refused_in_one_line(self, packages, given, words):
        source = (
            "from nst_cli.synthesis.losses import Deterministic, LossGrad\n"
            "class Loss(Deterministic):\n"
            "    needs = 'positions'\n"
            "    def target(self, features, random=None):\n"
            "        return features.mean()\n"
            "    def __call__(self, features, target, weight=1.0, drawn=None):\n"
            "        difference = features.mean() - target\n"
            "        grad = features * 0 + 2 * weight * difference / features.size\n"
            "        return LossGrad(weight * difference**2, grad)\n"
        )
        sources = {"__init__": DECLARATION.format(package="nst_plain"), "loss": source}
        save_package(packages, "nst-plain", {"plain": "nst_plain:METHOD"}, sources)
        assert run(ONE, method="plain").steps == 2
        with pytest.raises(PluginError, match=words) as caught:
            run(given, method="plain")
        assert "nst-plain 1.0" in str(caught.value) and "\n" not in str(caught.value)
        if isinstance(given, list):
            assert run(given, method="plain", blend="between").steps == 2


def test_the_whole_gradient_with_masks_agrees_with_central_differences():
    scene, config = scenes.Scene(), scenes.choices(FUSION, mask_inside=False)
    image, masks = scenes.random_image(), numpy.random.RandomState(6).uniform(-0.5, 1, (2, 6, 9))
    terms = scene.content(config)
    for number, mask in enumerate(masks.clip(0, 1), 1):
        group = Group((), config.methods, 1 / number, mask, number, number - 1, {"bn", "poly"})
        targets = {(term.method, term.layer): term.target for term in scene.style(config)}
        terms += objective.style_terms(config, targets, group, device_array(0.0))
    terms = objective.scaled(terms, scenes.BETA)
    losses, gradient = scenes.evaluate(terms, scene.network, 0.2)
    assert {"bn/relu1_1/1", "poly/relu2_1/2"} <= set(losses)
    for index in list(numpy.ndindex(*image.shape))[::11]:
        shift = numpy.zeros_like(image)
        shift[index] = 1e-6
        above, below = (
            math.fsum(scenes.evaluate(terms, scene.network, 0.2, image + sign * shift)[0].values())
            for sign in (1, -1)
        )
        slope = (above - below) / 2e-6
        assert gradient[index] == pytest.approx(slope, rel=1e-5, abs=1e-6 * abs(gradient).max())
