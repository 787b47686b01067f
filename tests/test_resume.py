"""Transfers that go on from a state end like those that were never interrupted."""

import copy
import json

import numpy
import pytest

from nst_cli import Config, machine, transfer
from nst_cli.errors import CheckpointError, NonFiniteError
from nst_cli.synthesis import StyleImage, memory, transfers
from nst_cli.synthesis.kit import NetworkKit
from nst_cli.synthesis.state import State

SHAPE = (1, 3, 20, 24)


def random_image(seed, shape=SHAPE):
    values = numpy.random.RandomState(seed).uniform(-100, 100, shape)
    return values.astype(numpy.float32)


CONTENT, STYLE = random_image(1), random_image(2, (1, 3, 18, 33))
MASK = numpy.repeat([[0.0, 1.0]], 12, axis=1).repeat(20, axis=0).reshape(20, 24)
STYLES = [
    StyleImage((STYLE,), mask=MASK),
    StyleImage((random_image(3),), mask=1 - MASK, method="gaussian"),
]

# The last has a margin and several scales, each of which begins from the one before.
CASES = {
    "poly": {"method": "poly", "tv_weight": 1e-3},
    "fusion": {"method": "gaussian=0.5,bn=0.5", "beta": "auto"},
    "styles": {"method": "remd"},
    "tiles": {"method": "poly", "tile": 1},
    "scales": {"method": "poly", "preset": "fast", "scales": 2, "precision": "float32"},
}


@pytest.fixture(autouse=True)
def small(small_network):
    pass


def choices(optimizer, case="poly", **others):
    defaults = {
        "style_layers": "relu1_1,relu2_1",
        "content_layers": "relu2_1",
        "device": "cpu",
        "optimizer": optimizer,
        "iterations": 12,
        "stop_eps": 0,
        "stop_decrease": 0,
    }
    return Config(**{**defaults, **CASES[case], **others})


def stored(state):
    """Return a state as a file would give it back."""
    arrays = {
        name: array.copy() if isinstance(array, numpy.ndarray) else array.asnumpy()
        for name, array in state.arrays.items()
    }
    return State(json.loads(json.dumps(state.numbers)), arrays)


def run(config, case="poly", **options):
    """Return the result of a transfer, its records and the states after its steps."""
    records, states = [], []
    result = transfer(
        CONTENT,
        STYLES if case == "styles" else STYLE,
        config,
        on_step=records.append,
        on_state=lambda export: states.append(stored(export())),
        **options,
    )
    return result, records, states


def facts(result, records):
    """Return what must be the same of two results and the records of their last steps."""
    of_records = [
        (one.step, one.scale, one.step_of_scale, one.losses, one.relative_change)
        for one in records
    ]
    return (
        result.image.tobytes(), result.steps, result.stop_reason, result.losses, result.beta,
        of_records,
    )  # fmt: skip


def check_resumed(config, case, points):
    kit = NetworkKit()
    result, records, states = run(config, case, kit=kit)
    for point in sorted(points(len(states))):
        resumed, later, _ = run(config, case, state=states[point], kit=kit)
        expected = facts(result, records[len(records) - len(later) :])
        assert facts(resumed, later) == expected, f"after state {point}"
        assert (
            later[0].step
            == states[point].numbers["steps_before"] + 1 + (states[point].numbers["count"])
        )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "lbfgs"])
def test_a_resumed_transfer_ends_like_one_that_was_never_interrupted(optimizer, case):
    def points(count):
        # L-BFGS rescales its coordinates after the third and the sixth step.
        return {0, 2, 5, count - 1}

    check_resumed(choices(optimizer, case, iterations=9), case, points)


@pytest.mark.skipif("avx512_bf16" not in machine.cpu_flags(), reason="no AVX-512 BF16 here")
@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
def test_low_precision_changes_nothing_about_that(optimizer):
    config = choices(optimizer, precision="bfloat16", iterations=6)
    check_resumed(config, "poly", lambda count: {1, count - 1})


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "lbfgs"])
def test_twenty_random_interruptions_leave_no_trace(optimizer, case):
    def points(count):
        return numpy.random.RandomState(4).choice(count, 20, replace=False).tolist()

    # From 41 steps on L-BFGS forgets the oldest.
    check_resumed(choices(optimizer, case, iterations=45), case, points)


def test_a_transfer_whose_states_are_exported_gives_the_same_bytes():
    for optimizer in ("sgd", "adam", "lbfgs"):
        config = choices(optimizer, "fusion", iterations=4)
        with_states, _, _ = run(config)
        assert with_states.image.tobytes() == transfer(CONTENT, STYLE, config).image.tobytes()


def test_the_stop_rule_remembers_the_steps_before_the_interruption():
    config = choices("lbfgs", stop_decrease=0.3, iterations=40)
    result, records, states = run(config)
    assert result.stop_reason == "converged" and len(states) >= 9
    resumed, later, _ = run(config, state=states[-1])
    assert len(later) == 1 and facts(resumed, later) == facts(result, records[-1:])


def test_a_failure_after_resuming_keeps_the_same_image(monkeypatch):
    config = choices("sgd", iterations=12)
    _, _, states = run(config)
    finite = transfers._finite
    failures = []
    for state in (None, states[4]):
        # The sixth step fails in both.
        left = [10 if state is None else 0]

        def breaks(*numbers, left=left):
            left[0] -= 1
            return left[0] >= 0 and finite(*numbers)

        monkeypatch.setattr(transfers, "_finite", breaks)
        with pytest.raises(NonFiniteError) as caught:
            transfer(CONTENT, STYLE, config, state=state)
        failures.append((caught.value.result.steps, caught.value.result.image.tobytes()))
    assert failures[0] == failures[1]


def test_on_a_device_that_is_read_rarely_only_read_steps_can_be_gone_on_from(monkeypatch):
    monkeypatch.setattr(transfers, "_read_every", lambda device: 4)
    config = choices("lbfgs", iterations=11)
    result, records, states = run(config)
    assert [state.numbers["count"] for state in states] == [4, 8]
    resumed, later, _ = run(config, state=states[0])
    assert facts(resumed, later) == facts(result, records[4:])


def test_tiles_stay_as_they_were_whatever_memory_is_available_now(monkeypatch):
    config = choices("lbfgs", iterations=5)
    monkeypatch.setattr(memory, "tile_bytes", lambda *_, **__: 1 << 16)
    result, records, states = run(config)
    assert result.tiling
    monkeypatch.setattr(memory, "tile_bytes", lambda *_, **__: 0)
    resumed, later, _ = run(config, state=states[1])
    assert facts(resumed, later) == facts(result, records[2:])


# What a file may hold that somebody wrote by hand.

SPOILT = {
    "tiles of no size": ("numbers", "tiles", [-1]),
    "no scale": ("numbers", "scale", None),
    "a scale too many": ("numbers", "scale", 2),
    "more steps than the run has": ("numbers", "count", 10**30),
    "no step at all": ("numbers", "count", 0),
    "true for a number": ("numbers", "steps_before", True),
    "no beta": ("numbers", "beta", None),
    "an infinite beta": ("numbers", "beta", {"poly": 10**400}),
    "no optimiser": ("numbers", "optimiser", []),
    "another optimiser": ("numbers", "optimiser", {"steps": 3}),
    "a random stream at a wild position": ("numbers", "random", {"0": [10**6, 0, 0.0]}),
    "no random stream": ("numbers", "random", {}),
    "a pair of three": ("numbers", "decreases", {"values": [[1, 2, 3]], "before": None}),
    "too many parts": ("numbers", "parts_after", [1.0] * 99),
    "an image of another size": ("arrays", "image", numpy.zeros((1, 3, 4, 4), "float32")),
    "an image of whole numbers": ("arrays", "image", numpy.zeros(SHAPE, "uint32")),
    "no rows": ("arrays", "optimiser/point/memory/step/0/0", None),
    "products of another shape": (
        "arrays", "optimiser/point/products", numpy.zeros((2, 2), "float64")
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def third_state(request):
    return {}


@pytest.mark.parametrize("what", SPOILT)
def test_a_spoilt_state_is_refused_in_one_line(what, third_state):
    config = choices("lbfgs", beta="auto", iterations=5)
    if not third_state:
        third_state["state"] = run(config)[2][2]
    state = copy.deepcopy(third_state["state"])
    field, name, value = SPOILT[what]
    values = {**getattr(state, field), name: value}
    if value is None:
        del values[name]
    with pytest.raises(CheckpointError) as caught:
        transfer(CONTENT, STYLE, config, state=state._replace(**{field: values}))
    assert "\n" not in str(caught.value)


def test_slots_that_do_not_exist_are_refused():
    config = choices("lbfgs", iterations=5)
    state = run(config)[2][2]
    for slots in ([0, 0], [77], ["0"]):
        numbers = copy.deepcopy(state.numbers)
        numbers["optimiser"]["point"]["memory"]["slots"] = slots
        with pytest.raises(CheckpointError, match="'slots'"):
            transfer(CONTENT, STYLE, config, state=state._replace(numbers=numbers))
