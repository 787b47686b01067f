"""Transfers on a device with its own memory: where arrays are made, and how often it is read.

MXNet's cpu(1) replaces such a device: an executor refuses arrays of another context. Operators
accept them, because both are in the processor's memory, so the tests check every array's context.
"""

import numpy
import pytest
from click.testing import CliRunner

from nst_cli import Config, engine, images, machine, transfer
from nst_cli.cli import main
from nst_cli.config import METHODS, PAPER_METHODS
from nst_cli.errors import NonFiniteError
from nst_cli.synthesis import denoise
from nst_cli.synthesis.objective import Objective

pytestmark = pytest.mark.devices

OPTIMIZERS = ("sgd", "adam", "lbfgs")
MIXED = "bn=0.3,gaussian=0.7"
# At a high rate such a run overflows.
STEADY = {"beta": "paper", "init": "random"}
SHAPE = (1, 3, 40, 48)


def random_image(seed, shape=SHAPE):
    values = numpy.random.RandomState(seed).uniform(-100, 100, shape)
    return values.astype(numpy.float32)


CONTENT, STYLE = random_image(1), random_image(2, (1, 3, 36, 64))


@pytest.fixture(autouse=True)
def small(small_network):
    pass


@pytest.fixture
def on(monkeypatch):
    """Return a function that makes transfers run on any device, even one that `Config` refuses."""
    context = engine.context
    return lambda name: monkeypatch.setattr(engine, "context", lambda device, *_: context(name))


@pytest.fixture
def second_device(on):
    on("cpu:1")


def choices(**others):
    defaults = {
        "style_layers": "relu1_1,relu2_1",
        "content_layers": "relu2_2",
        "init": "content",
        "gamma": 1,
        "beta": "auto",
        "iterations": 25,
        "stop_eps": 0,
    }
    return Config(**{**defaults, **others})


def run(on_step=None, **others):
    return transfer(CONTENT, STYLE, choices(**others), on_step=on_step)


def numbers_of(**others):
    """Run a transfer; return its records and result as plain data."""
    records = []
    try:
        result, error = run(records.append, **others), None
    except NonFiniteError as caught:
        result, error = caught.result, str(caught)
    steps = [
        (r.step, r.scale, r.losses, r.relative_change, r.gradient_norm, r.image.tobytes())
        for r in records
    ]
    return {
        "error": error,
        "image": result.image.tobytes(),
        "outcome": (result.steps, result.stop_reason, result.losses, result.beta),
        "records": steps,
    }


# Where arrays are made


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", [*METHODS, "bn=0.3,poly=0.7"])
def test_all_arrays_of_a_transfer_are_made_on_its_device(
    second_device, contexts, method, optimizer
):
    run(method=method, optimizer=optimizer, scales=2, iterations=3)
    assert contexts == {"cpu(1)"}


@pytest.mark.parametrize(
    "others",
    [{"c": 100.0}, {"pooling": "max"}, {"gamma": 0}, {"alpha": 0, "beta": 1}, {"tv_weight": 0},
     {"init": "random"}, {"style_layers": "relu1_1", "content_layers": "relu1_2"}],
    ids=lambda others: next(iter(others)),
)  # fmt: skip
def test_all_arrays_are_made_on_the_device_with_other_options(second_device, contexts, others):
    run(iterations=2, **others)
    assert contexts == {"cpu(1)"}


@pytest.mark.skipif("avx512_bf16" not in machine.cpu_flags(), reason="no AVX-512 BF16 here")
def test_all_arrays_are_made_on_the_device_in_bfloat16(second_device, contexts):
    run(iterations=2, precision="bfloat16")
    assert contexts == {"cpu(1)"}


def test_all_arrays_are_made_on_the_device_in_float16(second_device, contexts):
    run(iterations=2, precision="float16")
    assert contexts == {"cpu(1)"}


@pytest.mark.parametrize("lr", [1e3, 1e5])
def test_all_arrays_are_made_on_the_device_if_the_run_fails(second_device, contexts, lr):
    with pytest.raises(NonFiniteError):
        run(method=MIXED, lr=lr, **STEADY)
    assert contexts == {"cpu(1)"}


def test_all_arrays_are_made_on_the_device_when_a_picture_is_denoised(second_device, contexts):
    pixels = images.to_pixels(CONTENT)
    smooth = denoise.chambolle(pixels, 0.1, engine.context("auto"))
    assert smooth.std() < 0.9 * pixels.std() and contexts == {"cpu(1)"}


def test_an_array_on_the_default_device_is_detected(second_device, contexts):
    engine.nd.ones((1,))
    assert contexts == {"cpu(0)"}


# What is read from the device


@pytest.fixture
def reads(monkeypatch):
    """Return a function that makes a run and returns how often it waited for the device."""
    array, count = engine.nd.NDArray, []

    def counted(function):
        def read(*arguments):
            count.append(function.__name__)
            return function(*arguments)

        return read

    for holder, name in ((array, "asnumpy"), (array, "wait_to_read"), (engine.nd, "waitall")):
        monkeypatch.setattr(holder, name, counted(getattr(holder, name)))

    def counting(*arguments, function=run, **others):
        before = len(count)
        function(*arguments, **others)
        return len(count) - before

    return counting


@pytest.fixture
def evaluations(monkeypatch):
    """The evaluations of the objective, one entry each."""
    evaluated, evaluate = [], Objective.__call__
    monkeypatch.setattr(
        Objective, "__call__", lambda self, image: evaluated.append(1) or evaluate(self, image)
    )
    return evaluated


@pytest.mark.parametrize("method", PAPER_METHODS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_without_on_step_a_device_is_read_once_in_ten_steps(
    second_device, reads, optimizer, method
):
    few, many = (reads(optimizer=optimizer, method=method, iterations=n) for n in (10, 40))
    assert many - few == 3


@pytest.mark.parametrize("method", ["poly", "gaussian"])
def test_lbfgs_reads_once_for_each_evaluation_and_once_in_ten_steps(
    second_device, reads, evaluations, method
):
    reads_by_steps = {}
    # The coordinates are rescaled, with reads of their own, in the first steps alone.
    for n in (30, 60):
        evaluations.clear()
        reads_by_steps[n] = reads(optimizer="lbfgs", method=method, iterations=n) - len(
            evaluations
        )
    assert reads_by_steps[60] - reads_by_steps[30] == 3


@pytest.mark.parametrize("more", ["", "-q"])
def test_nst_reads_once_in_ten_steps_with_and_without_a_bar(
    second_device, reads, monkeypatch, tmp_path, more
):
    monkeypatch.chdir(tmp_path)
    for name, image in (("content.png", CONTENT), ("style.png", STYLE)):
        images.write(name, images.to_pixels(image), None, {})
    command = "stylize content.png style.png -o out.png --size 48 --style-layers relu1_1,relu2_1 "
    command += f"--content-layers relu2_2 --denoise 0 --stop-eps 0 {more} --iterations "

    def invoke(iterations):
        result = CliRunner().invoke(main, [*command.split(), iterations])
        assert result.exit_code == 0, result.output

    few, many = (reads(iterations, function=invoke) for iterations in ("10", "40"))
    assert many - few == 3


def test_records_come_ten_at_a_time(second_device, evaluations):
    evaluated = []
    run(lambda record: evaluated.append(len(evaluations)), optimizer="sgd", beta=1e-3)
    assert evaluated == [10] * 10 + [20] * 10 + [25] * 5


def test_on_the_processor_each_step_is_read_when_it_is_made(on, evaluations):
    evaluated = []
    on("cpu:0")
    run(lambda record: evaluated.append(len(evaluations)), optimizer="sgd", beta=1e-3)
    assert evaluated == list(range(1, 26))


# No run ends at a multiple of ten steps; the stop rule ends some at their smaller scale.
RUNS = [
    ("sgd", "bn=0.3,poly=0.7", "iterations", {}),
    ("sgd", "gaussian", "iterations", {}),
    ("adam", "bn=0.3,poly=0.7", "iterations", {}),
    ("lbfgs", MIXED, "iterations", {}),
    ("sgd", "bn", "converged", {"stop_eps": 0.0018}),
    ("sgd", "gaussian", "converged", {"stop_eps": 0.0036}),
    ("adam", "gaussian", "converged", {"stop_eps": 0.04}),
    ("lbfgs", "poly", "converged", {"stop_eps": 0.013}),
    ("lbfgs", "gaussian", "converged", {"stop_eps": 0.093}),
    ("sgd", "poly", "non-finite", {"lr": 1e3, **STEADY}),
    ("sgd", MIXED, "non-finite", {"lr": 1e3, **STEADY}),
    ("sgd", "gaussian", "non-finite", {"lr": 1e5, **STEADY}),
    ("lbfgs", "poly", "non-finite", {"gamma": 1e30, "beta": 1e30}),
    ("lbfgs", "poly", "stalled", {"gamma": 1e-7, "beta": 1, "lr": 3, "iterations": 100}),
]


@pytest.mark.parametrize(("optimizer", "method", "reason", "others"), RUNS)
def test_reading_in_tens_gives_the_same_run_as_reading_each_step(
    on, optimizer, method, reason, others
):
    others = {"optimizer": optimizer, "method": method, **others}
    if reason == "converged":
        others.update(scales=2, iterations=90)
    on("cpu:0")
    expected = numbers_of(**others)
    on("cpu:1")
    assert numbers_of(**others) == expected
    assert expected["outcome"][1] == reason
