"""Runs in processes of their own, any of which may end at any moment."""

import collections
import contextlib
import multiprocessing.connection
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from .. import engine, machine
from ..engine.gpu import library
from ..errors import reason
from .maker import Finished, Maker

# How long a worker may take to save the image so far, in seconds: a step is not interrupted.
_PATIENCE = 120
# How long a worker may take to end that has nothing left to do.
_FAREWELL = 10

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@dataclass
class _Worker:
    """A process that makes one run after another.

    Attributes
    ----------
    number : int
        Decides which card is its own.
    process : subprocess.Popen
    run : plan.Run or None
        The one it has been given.
    """

    number: int
    process: Any
    run: Any = None


class Pool:
    """A number of processes that make runs, until there are no more.

    Parameters
    ----------
    runs : sequence of plan.Run
    jobs : int
        How many processes at a time.
    overwrite : bool
        Whether files may be replaced that nst did not make.
    """

    def __init__(self, runs, jobs: int, overwrite: bool = False):
        self._overwrite = overwrite
        self._waiting, self._workers = collections.deque(runs), {}
        # Kept until it is yielded, so that no interruption loses it.
        self._answers = collections.deque()
        self._jobs = max(1, min(jobs, len(self._waiting)))
        # A run that names a card by its number shall have that card.
        numbered = any(run.config.device.startswith("gpu:") for run in runs)
        self._cards = [] if numbered else library.shares()

    def finished(self) -> Iterator[Finished]:
        """Make all runs; yield what they come to, as it becomes known.

        A process that ends costs the run that it was given. Another takes its place.
        """
        for number in range(self._jobs):
            yield from self._start(number)
        while self._workers:
            for connection in multiprocessing.connection.wait(list(self._workers)):
                worker = self._workers[connection]
                can_go_on = self._receive(connection, worker)
                # First, so that no error in what follows can lose it.
                yield self._answers.popleft()
                if not can_go_on or not self._give(connection, worker):
                    self._drop(connection)
                    yield from self._start(worker.number)

    def stop(self) -> Iterator[Finished]:
        """Interrupt the runs at work; yield what they come to, the images so far being saved."""
        self._waiting.clear()
        end = time.monotonic() + _PATIENCE
        for connection, worker in list(self._workers.items()):
            if worker.run is None:
                self._drop(connection)
            else:
                worker.process.send_signal(signal.SIGTERM)
        yield from self._answers
        while self._workers and (left := end - time.monotonic()) > 0:
            for connection in multiprocessing.connection.wait(list(self._workers), left):
                self._receive(connection, self._workers[connection], _not_made)
                self._drop(connection)
                yield self._answers.pop()
        for worker in self._workers.values():
            yield _not_made(worker.run)

    def close(self) -> None:
        """End all processes, at once."""
        for worker in self._workers.values():
            worker.process.kill()
        for connection in list(self._workers):
            self._drop(connection)

    def _receive(self, connection, worker, otherwise=None):
        """Take a worker's answer to its run; return whether it can be given another."""
        run, worker.run = worker.run, None
        try:
            answer = replace(connection.recv(), run=run)
        except (EOFError, OSError):
            self._drop(connection)
            answer = otherwise(run) if otherwise else _died(run, worker.process)
        self._answers.append(answer)
        return connection in self._workers and answer.state != "interrupted"

    def _start(self, number):
        """Start a worker where there is a run for it; yield the runs that none can be had for."""
        while self._waiting:
            try:
                connection, process = _started(self._environment(number), self._overwrite)
            except OSError as error:
                if self._workers:
                    return
                why = f"no process can be started for it: {reason(error)}"
                while self._waiting:
                    yield Finished(self._waiting.popleft(), "failed", reason=why)
                return
            worker = self._workers[connection] = _Worker(number, process)
            if self._give(connection, worker):
                return
            self._drop(connection)

    def _give(self, connection, worker):
        """Give a worker its next run; return False where there is none, or the worker is gone."""
        if not self._waiting:
            return False
        worker.run = self._waiting.popleft()
        try:
            connection.send(worker.run)
        except OSError:
            self._waiting.appendleft(worker.run)
            worker.run = None
            return False
        return True

    def _drop(self, connection):
        """Let a worker go, and wait for its end."""
        worker = self._workers.pop(connection, None)
        if worker is None:
            return
        connection.close()
        try:
            worker.process.wait(_FAREWELL)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()

    def _environment(self, number):
        """Return the variables of a worker, of which the libraries read some when they load."""
        share = max(1, machine.usable_cores() // self._jobs)
        card = self._cards[number % len(self._cards)] if self._cards else None
        return engine.worker_environment(share, card)


def _not_made(run):
    return Finished(run, "interrupted", reason="no picture was written")


def _died(run, process):
    code = process.returncode
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    why = f"its process ended {how}; was there too little memory for --jobs?"
    return Finished(run, "failed", reason=why)


def _started(variables, overwrite):
    """Start a process that serves one end of a connection; return the other end, and it."""
    ours, theirs = multiprocessing.connection.Pipe()
    code = (
        f"import sys; sys.path[:] = {sys.path!a}; "
        f"from nst_cli.runs.workers import serve; serve({theirs.fileno()}, {bool(overwrite)})"
    )
    # Inherited, the mask keeps a terminal's Ctrl-C from the worker: the parent answers it.
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        # A library that prints must not print among the paths on stdout.
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=variables, pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    except BaseException:
        ours.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)
        # Closed here, so that the end of the process is the end of the connection.
        theirs.close()
    return ours, process


class _Interruption:
    """The signal that ends a worker: it interrupts a run, and nothing between two runs.

    Called as an observer of steps it raises an interruption which got lost: Python drops an
    exception that is raised while an array is being freed.
    """

    def __init__(self):
        self.arrived, self._is_at_work = False, False

    def handle(self, *_):
        first, self.arrived = not self.arrived, True
        if first and self._is_at_work:
            raise KeyboardInterrupt

    def __call__(self, record):
        if self.arrived:
            raise KeyboardInterrupt

    def make(self, maker, run):
        try:
            self._is_at_work = True
            if self.arrived:
                return _not_made(run)
            return maker(run, self)
        except KeyboardInterrupt:
            return _not_made(run)
        finally:
            self._is_at_work = False


def serve(descriptor: int, overwrite: bool) -> None:
    """Be a worker: make the runs that come, until the connection ends or a signal arrives.

    Parameters
    ----------
    descriptor : int
        Of this process's end of the connection.
    overwrite : bool
        Whether files may be replaced that nst did not make.
    """
    interruption, maker = _Interruption(), Maker(overwrite)
    for number in _SIGNALS:
        # Under nohup a hang-up stays without effect.
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, interruption.handle)
    threading.Thread(target=_watch, args=(descriptor,), daemon=True).start()
    connection = multiprocessing.connection.Connection(descriptor)
    # The parent is gone or has closed its end: nothing is left to be done or to be said.
    with contextlib.suppress(EOFError, OSError):
        while not interruption.arrived:
            connection.send(interruption.make(maker, connection.recv()))


def _watch(descriptor):
    """Interrupt this process when the other end of its connection is closed."""
    ending = select.poll()
    ending.register(descriptor, 0)
    ending.poll()
    os.kill(os.getpid(), signal.SIGTERM)
