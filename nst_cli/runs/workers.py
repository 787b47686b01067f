"""Makes runs in worker processes, any of which may die at any moment."""

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, Optional

from .. import engine, machine
from ..engine.gpu import library
from ..errors import reason
from ..signals import is_deferred, may_raise
from ..synthesis import Record
from .keeping import Every
from .maker import Finished, Maker
from .plan import Run

# Seconds for a worker to save the image so far; it finishes the current step first.
_SAVE_TIMEOUT = 120
# Seconds for an idle worker to exit.
_EXIT_TIMEOUT = 10
# How often a run is begun whose process is killed.
_ATTEMPTS = 3

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@dataclass
class _Worker:
    """A process that makes one run after another.

    Attributes
    ----------
    number : int
        Determines which card the process uses.
    process : subprocess.Popen
    run : plan.Run or None
        The current run.
    """

    number: int
    process: "subprocess.Popen[bytes]"
    run: Optional[Run] = None


class Pool:
    """Worker processes that share a list of runs.

    Parameters
    ----------
    runs : sequence of plan.Run
    jobs : int
        Number of processes.
    overwrite : bool
        Allow replacing files that nst did not make.
    checkpoint : str or float
        When to write checkpoints, as for `keeping.Keeper`.
    """

    def __init__(
        self, runs: Sequence[Run], jobs: int, overwrite: bool = False, checkpoint: Every = "off"
    ):
        self._options = bool(overwrite), checkpoint
        self._waiting = collections.deque(runs)
        self._deaths: collections.Counter[Run] = collections.Counter()
        self._workers: dict[Any, _Worker] = {}
        # Answers not yet yielded; an interruption must not lose one.
        self._answers: collections.deque[Finished] = collections.deque()
        self._jobs = max(1, min(jobs, len(self._waiting)))
        # A run may name a card by its number, so every worker must see all cards.
        numbered = any(run.config.device.startswith("gpu:") for run in runs)
        self._cards = [] if numbered else library.shares()

    def finished(self) -> Iterator[Finished]:
        """Make all runs; yield how each ended, as soon as it ends.

        If a process is killed, another one replaces it, and its run is made again after the
        others. A run that is not made in three attempts fails.
        """
        for number in range(self._jobs):
            yield from self._start(number)
        while self._workers:
            for connection in multiprocessing.connection.wait(list(self._workers)):
                worker = self._workers[connection]
                can_continue = self._receive(connection, worker)
                # Yielded first, so that no error below can lose it.
                while self._answers:
                    yield self._answers.popleft()
                if not can_continue or not self._send_next(connection, worker):
                    self._drop(connection)
                    yield from self._start(worker.number)

    def stop(self) -> Iterator[Finished]:
        """Interrupt the current runs, which save their images so far; yield how each ended."""
        self._waiting.clear()
        end = time.monotonic() + _SAVE_TIMEOUT
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
            assert worker.run
            yield _not_made(worker.run)

    def close(self) -> None:
        """Kill all processes."""
        for worker in self._workers.values():
            worker.process.kill()
        for connection in list(self._workers):
            self._drop(connection)

    def _receive(
        self,
        connection: Any,
        worker: _Worker,
        if_dead: Optional[Callable[[Run], Finished]] = None,
    ) -> bool:
        """Receive a worker's answer; return whether the worker can take another run."""
        run, worker.run = worker.run, None
        assert run
        try:
            answer = replace(connection.recv(), run=run)
        except (EOFError, OSError):
            self._drop(connection)
            self._deaths[run] += 1
            if not if_dead and self._deaths[run] < _ATTEMPTS and worker.process.returncode < 0:
                self._waiting.append(run)
                return False
            answer = if_dead(run) if if_dead else _died(run, worker.process)
        self._answers.append(answer)
        return connection in self._workers and answer.state != "interrupted"

    def _start(self, number: int) -> Iterator[Finished]:
        """Start a worker if a run is waiting; if none can be started at all, fail every run."""
        while self._waiting:
            try:
                connection, process = _start_process(self._environment(number), *self._options)
            except OSError as error:
                if self._workers:
                    return
                why = f"no process can be started for it: {reason(error)}"
                while self._waiting:
                    yield Finished(self._waiting.popleft(), "failed", reason=why)
                return
            worker = self._workers[connection] = _Worker(number, process)
            if self._send_next(connection, worker):
                return
            self._drop(connection)

    def _send_next(self, connection: Any, worker: _Worker) -> bool:
        """Send a worker the next run; return False if no run is waiting or the worker is dead."""
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

    def _drop(self, connection: Any) -> None:
        """Close the connection to a worker, which makes it exit, and wait for its end."""
        worker = self._workers.pop(connection, None)
        if worker is None:
            return
        connection.close()
        try:
            worker.process.wait(_EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()

    def _environment(self, number: int) -> dict[str, str]:
        """Return a worker's environment variables; libraries read some of them while loading."""
        share = max(1, machine.usable_cores() // self._jobs)
        card = self._cards[number % len(self._cards)] if self._cards else None
        return engine.worker_environment(share, card)


def _not_made(run: Run) -> Finished:
    return Finished(run, "interrupted", reason="no picture was written")


def _died(run: Run, process: "subprocess.Popen[bytes]") -> Finished:
    code = process.returncode
    if code < 0:
        how = f"was killed {_ATTEMPTS} times, the last time by signal {-code}"
    else:
        how = f"ended with exit code {code}"
    why = f"its process {how}; maybe --jobs needs more memory than it has"
    return Finished(run, "failed", reason=why)


def _start_process(
    variables: Mapping[str, str], overwrite: bool, checkpoint: Every
) -> tuple[Any, "subprocess.Popen[bytes]"]:
    """Start a worker process; return our end of a connection to it, and the process."""
    ours, theirs = multiprocessing.connection.Pipe()
    code = (
        f"import sys; sys.path[:] = {sys.path!a}; "
        "from nst_cli.runs.workers import serve; "
        f"serve({theirs.fileno()}, {overwrite}, {checkpoint!r})"
    )
    # The worker inherits the mask, so that Ctrl-C in a terminal reaches the parent alone.
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        # A library's output must not mix with the paths on stdout.
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=variables, pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    except BaseException:
        ours.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        # Close our copy, so that we get EOF when the worker exits.
        theirs.close()
    return ours, process


class _Interruption:
    """Turns the first signal into a KeyboardInterrupt, but only during a run.

    It does not raise while MXNet makes or frees an array, nor within a step of a run that can be
    resumed. Therefore the object is also an observer of steps, and raises the exception after the
    step.
    """

    def __init__(self) -> None:
        self.arrived, self._is_running = False, False

    def handle(self, number: int, frame: Optional[FrameType]) -> None:
        first, self.arrived = not self.arrived, True
        if first and self._is_running and not is_deferred() and may_raise(frame):
            raise KeyboardInterrupt

    def __call__(self, record: Record) -> None:
        if self.arrived:
            raise KeyboardInterrupt

    def make(self, maker: Maker, run: Run) -> Finished:
        try:
            self._is_running = True
            if self.arrived:
                return _not_made(run)
            return maker(run, self)
        except KeyboardInterrupt:
            return _not_made(run)
        finally:
            self._is_running = False


def serve(descriptor: int, overwrite: bool, checkpoint: Every) -> None:
    """Work as a worker: make the received runs until the connection ends or a signal arrives.

    Parameters
    ----------
    descriptor : int
        File descriptor of the worker's end of the connection.
    overwrite : bool
        Allow replacing files that nst did not make.
    checkpoint : str or float
        When to write checkpoints, as for `keeping.Keeper`.
    """
    interruption, maker = _Interruption(), Maker(overwrite, checkpoint=checkpoint)
    for number in _SIGNALS:
        # Under nohup SIGHUP stays ignored.
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, interruption.handle)
    threading.Thread(target=_watch, args=(descriptor,), daemon=True).start()
    connection = multiprocessing.connection.Connection(descriptor)
    # If the parent is dead or has closed its end, nothing is left to do.
    with contextlib.suppress(EOFError, OSError):
        while not interruption.arrived:
            connection.send(interruption.make(maker, connection.recv()))


def _watch(descriptor: int) -> None:
    """Send this process SIGTERM when the other end of its connection closes."""
    ending = select.poll()
    ending.register(descriptor, 0)
    ending.poll()
    os.kill(os.getpid(), signal.SIGTERM)
