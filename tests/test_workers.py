"""Runs in one process and in several, and their failures."""

import contextlib
import gc
import os
import signal
import sys
import weakref

import pytest
from processes import TINY, noise, nst

from nst_cli.config import Config
from nst_cli.errors import ImageError, NonFiniteError, OutputError
from nst_cli.runs import batch, maker, plan, workers


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise(1, 16, 16).save("a.png")
    return tmp_path


def runs_of(count, content="a.png"):
    config = Config(**TINY)
    return [plan.Run(content, "a.png", f"{number}.png", config) for number in range(count)]


# In its own process a run on a missing picture fails before MXNet is loaded.
def hopeless(count):
    return runs_of(count, "none.png")


def is_gone(process):
    return process.returncode is not None


@contextlib.contextmanager
def pool_of(runs, jobs):
    with contextlib.closing(workers.Pool(runs, jobs)) as pool:
        yield pool


def processes_of(pool):
    return [worker.process for worker in pool._workers.values()]


def test_each_run_of_a_pool_comes_to_something_once_and_every_process_ends():
    runs, processes = hopeless(7), set()
    with pool_of(runs, 3) as pool:
        results = []
        for finished in pool.finished():
            processes.update(processes_of(pool))
            results.append(finished)
    assert sorted(finished.run.output for finished in results) == [run.output for run in runs]
    assert all("Cannot read none.png" in finished.reason for finished in results)
    assert len(processes) == 3 and all(map(is_gone, processes))


def test_there_are_no_more_processes_than_runs():
    with pool_of(hopeless(2), 50) as pool:
        next(pool.finished())
        assert len(processes_of(pool)) <= 2


@pytest.mark.long
def test_processes_that_are_killed_again_and_again_lose_no_run_unless_it_is_hit_three_times():
    runs, results, killed = hopeless(30), [], 0
    with pool_of(runs, 2) as pool:
        for finished in pool.finished():
            results.append(finished)
            # Between its answer and its next run, or during that run.
            if killed < 10:
                killed += 1
                process = processes_of(pool)[killed % len(processes_of(pool))]
                process.send_signal(signal.SIGKILL)
                if killed % 2:
                    process.wait()
    assert sorted(finished.run.output for finished in results) == sorted(r.output for r in runs)
    lost = [finished for finished in results if "its process was killed 3" in finished.reason]
    assert len(lost) <= killed // 3
    assert all(finished.state == "failed" for finished in results)


def test_an_interruption_by_the_caller_ends_all_processes_and_loses_no_answer():
    runs, results = hopeless(9), []

    def on_finished(finished):
        results.append(finished)
        if len(results) == 3:
            raise KeyboardInterrupt

    stops = []
    returned = batch.make(runs, jobs=2, on_finished=on_finished, on_stop=lambda: stops.append(1))
    assert stops == [1] and 3 <= len(results) < 9
    assert [finished.run for finished in returned] == [
        run for run in runs if run in {finished.run for finished in results}
    ]
    assert len({finished.run for finished in results}) == len(results)


def test_a_second_interruption_kills_the_processes(monkeypatch):
    pool = workers.Pool(runs_of(4), 2)
    with pytest.raises(KeyboardInterrupt), contextlib.closing(pool):
        for number in range(2):
            assert not list(pool._start(number))
        processes = processes_of(pool)
        for _ in pool.stop():
            raise KeyboardInterrupt
    assert len(processes) == 2 and all(map(is_gone, processes))


def test_where_no_process_can_be_started_the_runs_say_so(monkeypatch):
    def refuse(*_, **__):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(workers.subprocess, "Popen", refuse)
    results = batch.make(hopeless(3), jobs=2)
    assert [finished.reason for finished in results] == [
        "no process can be started for it: Resource temporarily unavailable"
    ] * 3


@pytest.mark.parametrize("given", [None, "3", "all", "0"])
def test_a_process_gets_its_share_of_the_cores_unless_the_user_said_how_many(monkeypatch, given):
    monkeypatch.setattr(workers.machine, "usable_cores", lambda: 8)
    if given is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    expected = "3" if given == "3" else "2"
    assert workers.Pool(hopeless(9), 4)._environment(0)["OMP_NUM_THREADS"] == expected
    assert workers.Pool(hopeless(1), 4)._environment(0)["OMP_NUM_THREADS"] == (
        "3" if given == "3" else "8"
    )


THREADS = """
import json
from nst_cli import engine, machine
engine.load("cpu")
from nst_cli.runs import batch, workers
import test_workers as tests
batch.make(tests.runs_of(2), jobs=2)
print([json.load(open(f"{n}.png.json"))["threads"] for n in range(2)], machine.usable_cores())
"""


def test_what_mxnet_was_given_in_this_process_does_not_reach_the_others(folder):
    tests = os.path.dirname(__file__)
    path = os.pathsep.join((tests, os.path.dirname(tests)))
    done = nst(folder, program=("-c", THREADS), OMP_NUM_THREADS=None, PYTHONPATH=path)
    threads, _, cores = done.stdout.rpartition(" ")
    assert threads == str([max(1, int(cores) // 2)] * 2), done.stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImageError("It is broken."), "It is broken."),
        (OSError(28, "No space left on device", "x.png"), "x.png: No space left on device."),
        (OSError(28, "No space left on device"), "0.png: No space left on device."),
        (MemoryError(), "There is not enough memory; choose a smaller --size."),
        (NonFiniteError("Not finite."), "Not finite. No picture was written."),
    ],
)
def test_a_failure_is_one_line_and_a_bug_keeps_its_traceback(monkeypatch, error, words):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(maker.runner, "prepare", fail)
    assert [finished.reason for finished in batch.make(runs_of(2))] == [
        words, words.replace("0.png", "1.png"),
    ]  # fmt: skip
    error = ZeroDivisionError("a bug")
    (bug,) = batch.make(runs_of(1))
    assert bug.reason.startswith("Traceback ") and "ZeroDivisionError: a bug" in bug.reason


def test_a_run_that_is_refused_fails_unless_it_is_up_to_date(monkeypatch):
    first, second = runs_of(2)
    assert batch.make([first])[0].state == "done"
    refused = {run: [OutputError("No."), OutputError("Neither.")] for run in (first, second)}
    results = batch.make([first, second], refused=refused)
    assert [(finished.state, finished.reason) for finished in results] == [
        ("skipped", "up to date"), ("failed", "No."),
    ]  # fmt: skip


def test_what_runs_share_is_released_after_the_last(monkeypatch):
    kits = []

    class Watched(maker.NetworkKit):
        def __init__(self):
            super().__init__()
            kits.append(weakref.ref(self))

    monkeypatch.setattr(maker, "NetworkKit", Watched)
    assert [finished.state for finished in batch.make(runs_of(2))] == ["done", "done"]
    gc.collect()
    assert len(kits) == 1 and kits[0]() is None


def test_a_signal_while_an_array_is_freed_interrupts_after_the_step(monkeypatch):
    dropped = []
    monkeypatch.setattr(sys, "unraisablehook", dropped.append)

    class Freed:
        def __del__(self):
            interruption.handle(signal.SIGTERM, sys._getframe())

    def interrupted_step(run, on_step):
        Freed()
        gc.collect()
        on_step(None)

    interruption, (run,) = workers._Interruption(), runs_of(1)
    result = interruption.make(interrupted_step, run)
    assert (result.state, interruption.arrived, dropped) == ("interrupted", True, [])
