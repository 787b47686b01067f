"""Many runs: in this process, in several, or on a cluster; it finishes them all."""

import collections
import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import os
import signal
import time
import traceback
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from .. import files, images, machine, weights
from ..config import INITS
from ..engine.gpu import library
from ..errors import NstError, OutputError
from ..synthesis.memo import Memo
from . import runner, sidecar
from .log import Log

# What a process of its own keeps from one run to the next.
_kept = Memo()
_kept_for = []


@dataclass(frozen=True)
class Finished:
    """What became of a run.

    Attributes
    ----------
    run : plan.Run
    state : str
        ``done``, ``skipped``, ``failed`` or ``interrupted``.
    seconds : float
    reason : str
        Why, where it is not done; a bug's has its traceback.
    """

    run: object
    state: str
    seconds: float = 0.0
    reason: str = ""


def make(runs, *, force=False, jobs=1, submit=None, on_start=None, on_finished=None, at_once=True):
    """Make every picture that is not there yet; a run that fails does not stop the others.

    Parameters
    ----------
    runs : sequence of plan.Run
        That `plan.check` has passed.
    force : bool
        Also make those that are there and up to date.
    jobs : int
        How many processes; with one, the runs are made in this.
    submit : callable, optional
        Takes the place of processes: runs to an iterator of `Finished`.
    on_start : callable, optional
        Called with a run when it starts, in this process, and returns the observer of its steps.
    on_finished : callable, optional
        Called with each `Finished`, those skipped first.
    at_once : bool
        As `optimise.transfer` takes it, in this process.

    Returns
    -------
    list of Finished
        In the order of `runs`; those after an interruption are missing.
    """
    found = {}

    def finish(finished):
        found[id(finished.run)] = finished
        if on_finished:
            on_finished(finished)

    waiting = []
    sums = functools.cache(files.sha256)
    for run in runs:
        if not force and _is_made(run, sums):
            finish(Finished(run, "skipped", reason="up to date"))
        else:
            waiting.append(run)
    waiting = _ordered(waiting)
    if submit:
        made = submit(waiting)
    elif jobs > 1:
        made = _in_processes(waiting, jobs)
    else:
        made = (_made(run, on_start(run) if on_start else None, at_once) for run in waiting)
    # Closed at once where the caller is interrupted, so that nothing goes on behind its back.
    with contextlib.closing(made), contextlib.suppress(_Stop):
        for finished in made:
            finish(finished)
            if finished.state == "interrupted":
                raise _Stop
    return [found[id(run)] for run in runs if id(run) in found]


class _Stop(Exception):
    """The user wants no more."""


def _is_made(run, sums):
    if not os.path.exists(run.output):
        return False
    inputs = {"content": run.content, "style": run.style}
    if run.config.init not in INITS:
        inputs["init"] = run.config.init
    try:
        known = {name: sums(path) for name, path in inputs.items()}
    except OSError:
        return False
    which = weights.find(run.config.weights or None)
    known["weights"] = _weights_sum(which)
    return sidecar.is_made(run.output, run.config, known)


@functools.cache
def _weights_sum(which):
    return weights.identity(which)["sha256"]


def _ordered(runs):
    """Bring together what shares executors, and within that what shares the style's statistics."""
    size_of = functools.cache(images.size_of)

    def key(run):
        config = run.config
        size = images.fit(size_of(run.content), config.size, run.content)
        # On a GPU a process that has begun strictly can go on otherwise, but not the other way.
        lax = config.precision != "float32", not config.deterministic
        shared = _network_of(config)
        return (*lax, *shared, *size, run.style, config.style_fit, config.method, config.c)

    # The sizes of broken pictures were checked; those too elongated fail in their turn.
    def safe_key(run):
        try:
            return (0, *map(str, key(run)))
        except NstError:
            return (1,)

    return sorted(runs, key=safe_key)


def _network_of(config):
    return (
        config.weights, config.device, config.precision, config.pooling, config.style_layers,
        config.content_layers, config.scales, config.size,
    )  # fmt: skip


def _made(run, on_step=None, at_once=False):
    """Make one picture here; return what became of it."""
    began = time.monotonic()
    try:
        outcome = _run(run, on_step, at_once)
        interrupted = outcome.result.stop_reason == "interrupted"
        state, reason = (
            ("interrupted", "the image so far is saved") if interrupted else ("done", "")
        )
    except KeyboardInterrupt:
        state, reason = "interrupted", "no picture was written"
    except NstError as error:
        state, reason = "failed", str(error)
    except Exception:  # noqa: BLE001
        # A bug, which is not to take the other runs with it, nor to be hidden.
        state, reason = "failed", traceback.format_exc()
    return Finished(run, state, time.monotonic() - began, reason)


def _run(run, on_step, at_once):
    log = sidecar.log_of(run.output)
    job = runner.prepare(run.content, run.style, run.output, run.config, log=log, recall=_kept)
    _make_room(job)
    try:
        with files.replacing(log) as temporary, Log(temporary) as lines:

            def observe(record):
                lines.write(record)
                if on_step:
                    on_step(record)

            outcome = runner.run(job, on_step=observe, at_once=at_once, recall=_kept)
    finally:
        _kept.forget_unused()
    if lines.error:
        raise OutputError(f"The log {log} is not complete: {lines.error.strerror}.")
    return outcome


def _make_room(job):
    """Let the executors of another size go before those of this job are bound."""
    needed = (_network_of(job.config), job.content.shape, job.style.shape)
    if _kept_for != [needed]:
        _kept.forget("network", "targets")
        _kept_for[:] = [needed]


class _Worker(NamedTuple):
    """A process that makes one run after another, and the run it is at."""

    number: int
    process: Any
    run: Any


def _in_processes(runs, jobs):
    """Make runs in processes of their own; yield what became of them, as it becomes known."""
    waiting, busy = collections.deque(runs), {}
    # Whoever names a card by its number means it.
    numbered = any(run.config.device.startswith("gpu:") for run in runs)
    cards = [] if numbered else library.shares()

    def start(number):
        if waiting:
            connection, process = _started(jobs, cards[number % len(cards)] if cards else None)
            give(connection, number, process)

    def give(connection, number, process):
        run = waiting.popleft()
        busy[connection] = _Worker(number, process, run)
        connection.send(run)

    try:
        for number in range(min(jobs, len(runs))):
            start(number)
        while busy:
            for connection in multiprocessing.connection.wait(list(busy)):
                number, process, run = busy.pop(connection)
                try:
                    finished = replace(connection.recv(), run=run)
                except (EOFError, ConnectionError):
                    process.join()
                    finished = Finished(run, "failed", reason=_death(process.exitcode))
                    start(number)
                else:
                    if waiting:
                        give(connection, number, process)
                    else:
                        connection.close()
                yield finished
    finally:
        for worker in busy.values():
            worker.process.kill()


def _started(jobs, card):
    # Not by fork: CUDA does not survive it.
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs, jobs, card), daemon=True)
    process.start()
    # Held by the process alone, so that its end is the connection's.
    theirs.close()
    return ours, process


def _serve(connection, jobs, card):
    """Be a worker: make what comes until the connection ends, on one card where there are more."""
    # An interruption is the parent's to answer: it ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, machine.usable_cores() // jobs)))
    if card is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = card
    with contextlib.suppress(EOFError):
        while True:
            connection.send(_made(connection.recv()))


def _death(code):
    killed = f"by signal {-code}" if code and code < 0 else f"with exit code {code}"
    return f"its process ended {killed}; was there too little memory for --jobs?"
