"""The bar over the steps of a run, and the signals that interrupt it."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from processes import PATIENCE, SMALL_OPTIONS, environment, save_pair

from nst_cli import Config, engine
from nst_cli.cli import progress
from nst_cli.runs.work import duration


def record(step, scale, scales, before=0, work=None):
    """Return a record of a step after `before` steps of the scales before."""
    work = work or [4.0 ** (number - scales) for number in range(1, scales + 1)]
    return SimpleNamespace(
        step=step, scale=scale, scales=scales, losses={"total": 1.0}, relative_change=0.5,
        step_of_scale=step - before, work=work,
    )  # fmt: skip


@pytest.fixture
def bars(monkeypatch):
    """The bars that the code under test makes; they draw nothing."""
    bars = []

    class Bar(progress.tqdm):
        def __init__(self, **how):
            super().__init__(file=io.StringIO(), **how)
            bars.append(self)

    monkeypatch.setattr(progress, "tqdm", Bar)
    return bars


def test_a_step_counts_in_proportion_to_its_pixels(bars):
    settings = Config(iterations=30, stop_eps=0)
    with progress.progress(settings) as observe:
        (bar,) = bars
        for step in range(1, 11):
            observe(record(step, 1, 2))
        # 10 steps of a quarter, then 30.
        assert (bar.n, bar.total) == (2.5, 32.5)
        assert bar.desc.startswith("step 10/40, scale 1/2, loss 1.000e+00, change 50.00%")
        for step in range(11, 41):
            observe(record(step, 2, 2, 10))
        assert bar.n == bar.total == 32.5


def test_the_bar_of_a_resumed_run_counts_the_steps_before_without_their_time(bars):
    settings = Config(iterations=30, stop_eps=0)
    with progress.progress(settings) as observe:
        (bar,) = bars
        observe(record(21, 2, 2, 10))
        # 10 steps of a quarter and 10 whole ones were made before.
        assert (bar.initial, bar.n, bar.total) == (12.5, 13.5, 32.5)
        assert bar.desc.startswith("step 21/40, ")


def test_the_bar_counts_what_tiles_cost_at_a_scale(bars):
    with progress.progress(Config(iterations=30)) as observe:
        observe(record(1, 1, 2, work=(0.125, 1.0)))
        (bar,) = bars
        assert (bar.n, bar.total) == (0.125, 31.25)


def test_the_bar_shrinks_when_a_scale_ends_early(bars):
    with progress.progress(Config(iterations=30)) as observe:
        observe(record(1, 1, 2))
        observe(record(2, 2, 2, 1))
        (bar,) = bars
        assert (bar.n, bar.total) == (1.25, 30.25)
        assert bar.desc.startswith("step 2/31, scale 2/2, ")


@contextlib.contextmanager
def usual_handlers():
    """Handle signals as in a program that was started from a terminal."""
    numbers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL,
               signal.SIGHUP: signal.SIG_DFL}  # fmt: skip
    before = {number: signal.signal(number, handler) for number, handler in numbers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def send(number):
    os.kill(os.getpid(), number)
    # Python calls handlers between two instructions, in the main thread.
    for _ in range(1000):
        time.sleep(1e-3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_interrupts_and_the_second_ends(number):
    with usual_handlers():
        with progress.interrupts() as heard:
            heard("a step")
            with pytest.raises(KeyboardInterrupt):
                send(number)
            assert heard.signals == [number]
            with pytest.raises(KeyboardInterrupt):
                heard("a step")
            with pytest.raises(SystemExit) as ended:
                send(number)
            assert ended.value.code == 128 + number
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_signal_that_comes_while_an_object_is_freed_is_raised_after_it():
    class Freed:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(10):
                time.sleep(1e-4)

    with usual_handlers(), progress.interrupts(), pytest.raises(KeyboardInterrupt):
        Freed()
        send(0)


def test_a_signal_that_comes_while_mxnet_makes_an_array_is_raised_after_it():
    # `make coverage` traces too.
    arrays, kind, previous = [], engine.nd.NDArray, sys.gettrace()

    def trace(frame, event, arg):
        me = frame.f_locals.get("self")
        if frame.f_code.co_name == "__init__" and isinstance(me, kind):
            sys.settrace(previous)
            arrays.append(me)
            os.kill(os.getpid(), signal.SIGTERM)

    with usual_handlers(), progress.interrupts(), pytest.raises(KeyboardInterrupt):
        sys.settrace(trace)
        try:
            engine.nd.zeros((2, 2))
            send(0)
        finally:
            sys.settrace(previous)
    assert arrays[0].shape == (2, 2)


def test_ignored_signals_stay_ignored():
    with usual_handlers():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with progress.interrupts() as heard:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert heard.signals == []


def test_a_nested_context_receives_the_same_signals():
    with progress.interrupts() as outer, progress.interrupts() as inner:
        assert inner is outer


ENDLESS = ["--iterations", "10000000", "--stop-eps", "0", "--quiet", "--weights", "builtin"]


def test_a_run_that_is_terminated_saves_its_image_and_exits_with_the_signals_code(tmp_path):
    save_pair(tmp_path)
    log = tmp_path / "log.jsonl"
    words = ["stylize", "content.png", "style.png", "-o", "out.png", "--log", log]
    process = subprocess.Popen(
        [sys.executable, "-m", "nst_cli", *words, *SMALL_OPTIONS, *ENDLESS],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not (log.exists() and log.read_text().count("\n") >= 2):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, stdout) == (143, "out.png\n")
    assert "saved out.png" in stderr and "Traceback" not in stderr
    assert (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(7.4, "7 s"), (99, "99 s"), (118, "2 min 0 s"), (151, "2 min 30 s"), (3000, "50 min"),
     (7200, "2.0 h")],
)  # fmt: skip
def test_a_duration_has_the_precision_of_a_forecast(seconds, words):
    assert duration(seconds) == words
