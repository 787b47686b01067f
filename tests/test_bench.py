"""The measurements of nst bench: what is timed, and which step reaches a loss."""

import numpy
import pytest
from click.testing import CliRunner

from nst_cli import Config, bench, transfer
from nst_cli.cli import main
from nst_cli.synthesis import Result

SMALL = {"style_layers": "relu1_1", "content_layers": "relu2_1", "device": "cpu", "stop_eps": 0}


def image(seed, height=32, width=24):
    return numpy.random.RandomState(seed).uniform(-100, 100, (1, 3, height, width)).astype("f")


def timed_run(losses, steps_before=0):
    """Return a run whose image after each step at full size is filled with the step's loss."""
    images = numpy.stack([numpy.full((1, 3, 16, 16), loss, "f") for loss in losses])
    moments = [1.0 + n for n in range(steps_before + len(losses))]
    result = Result(images[-1], len(moments), "iterations", {}, {})
    return bench.Timed(result, moments, 12.5, images, 10**8, "float32")


@pytest.mark.parametrize("before", [0, 3])
def test_the_first_step_that_reaches_a_loss_is_counted_over_all_scales(before):
    losses = [9, 7, 5, 3, 2, 1]
    run = timed_run(losses, before)
    for target in (1, 2, 2.5, 4, 8, 9, 10):
        first = next(n for n, loss in enumerate(losses) if loss <= target)
        assert bench.first_below(target, run, numpy.mean) == before + first
    assert bench.first_below(0.5, run, numpy.mean) is None


def test_a_timed_run_has_the_time_of_each_step_and_the_images_at_full_size(small_network):
    content, style = image(1, 48, 40), image(2, 48, 40)
    run = bench.timed(content, style, Config(**SMALL, scales=2, iterations=6))
    # A third of the steps at half the size.
    assert run.result.steps == len(run.moments) == 8 and len(run.images) == 6
    assert run.moments == sorted(run.moments) and run.step_seconds > 0
    numpy.testing.assert_array_equal(run.images[-1], run.result.image)
    assert run.precision == "float32"
    assert run.whole_seconds >= run.moments[-1]


def test_the_final_loss_with_random_pairs_is_the_mean_over_draws(small_network, monkeypatch):
    monkeypatch.setattr(bench, "_DRAWS", 3)
    content, style = image(1), image(2)
    config = Config(**SMALL, method="gaussian", iterations=5)
    single = [
        transfer(
            content, style, Config(**SMALL, method="gaussian", iterations=0, seed=seed),
            init=content,
        ).losses["total"]
        for seed in range(3)
    ]  # fmt: skip
    assert bench.final_loss(content, content, style, config) == pytest.approx(numpy.mean(single))
    assert len(set(single)) == 3


@pytest.mark.parametrize(
    ("fast", "expected"),
    [(timed_run([8, 5, 4, 3], 2), (4, 4, 3 / 5)), (timed_run([9, 8, 8]), (3, None, 8 / 5))],
    ids=["reached", "not reached"],
)
def test_preset_fast_is_measured_up_to_the_final_loss_of_preset_paper(monkeypatch, fast, expected):
    runs = iter([timed_run([9, 6, 5]), fast])
    monkeypatch.setattr(bench, "in_new_process", lambda *_: next(runs))
    monkeypatch.setattr(bench, "final_loss", lambda image, *_: float(image.mean()))
    paper_row, fast_row = bench.rows(image(1), image(2), "poly")
    assert (paper_row.preset, paper_row.steps, paper_row.seconds) == ("paper", 3, 3)
    assert paper_row.loss_ratio == 1 and fast_row.preset == "fast"
    assert (fast_row.steps, fast_row.seconds, fast_row.loss_ratio) == expected


def test_the_table_has_a_row_for_each_run_and_says_what_is_unknown(monkeypatch):
    row = bench.Row((20, 32), "poly", "fast", "float32", 7, 8, 0.5, None, 9.0, 1.25, None)
    monkeypatch.setattr(bench, "rows", lambda *_: iter([row]))
    command = "bench --size 32 --size 48 --method poly --method bn --device cpu"
    done = CliRunner().invoke(main, command.split())
    assert done.exit_code == 0, done.output
    processor, _, head, _, *rows = done.stdout.splitlines()
    assert "threads, MXNet" in processor and head.count("|") == rows[0].count("|")
    cells = ["cpu(0)", "32 x 20", "poly", "fast", "float32", "0.500", "7", "not reached",
             "9.0", "1.250"]  # fmt: skip
    assert rows == [f"| {' | '.join(cells)} | unknown |"] * 4
