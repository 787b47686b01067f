"""Progress bars over the steps of a run, and its interruption by signals."""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Optional

from ..runs.work import Work
from ..signals import is_deferred, may_raise

try:
    from tqdm import tqdm
except ValueError:
    # On import tqdm reads TQDM_MININTERVAL and similar variables without checking them.
    for _name in [name for name in os.environ if name.startswith("TQDM_")]:
        del os.environ[_name]
    from tqdm import tqdm

if TYPE_CHECKING:
    from ..config import Config
    from ..synthesis import Record

Observer = Callable[["Record"], object]

# Seconds that the main thread has to end after a second signal.
_PATIENCE = 2.0

# Sent by Ctrl-C, by a service manager, and when a terminal closes.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_current: Optional["Interrupts"] = None


class Interrupts:
    """Records signals. As an observer of steps, it raises an interruption that was lost.

    Attributes
    ----------
    signals : list of int
        In the order of arrival.
    """

    def __init__(self) -> None:
        self.signals: list[int] = []

    def __call__(self, record: Any = None) -> None:
        if self.signals:
            raise KeyboardInterrupt

    def handle(self, number: int, frame: Optional[FrameType]) -> None:
        """Interrupt at the first signal, so that the image so far is saved; exit at the second.

        During a run that can be resumed, the first waits for the end of the step.
        """
        self.signals.append(number)
        if len(self.signals) > 1 or not is_deferred():
            self._raise(number, frame)

    def _raise(self, number: int, frame: Optional[FrameType]) -> None:
        if not may_raise(frame):
            # Try again shortly after.
            signal.signal(signal.SIGALRM, self._raise)
            signal.setitimer(signal.ITIMER_REAL, 1e-3)
        elif len(self.signals) == 1:
            raise KeyboardInterrupt
        else:
            # Nothing catches SystemExit to save a picture, but temporary files are removed.
            sys.exit(128 + self.signals[-1])


@contextlib.contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Handle SIGINT, SIGTERM and SIGHUP as interruptions while the context is open.

    Ignored signals stay ignored: a shell ignores SIGINT for background processes, and nohup
    ignores SIGHUP. A nested context yields the object of the outer one.

    Yields
    ------
    Interrupts
    """
    global _current
    if _current is not None:
        yield _current
        return
    _current = Interrupts()
    replaced: dict[signal.Signals, Any] = {}
    try:
        # Only the main thread may set handlers.
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                handler = signal.getsignal(number)
                if handler in (signal.SIG_DFL, signal.default_int_handler):
                    replaced[number] = handler
                    signal.signal(number, _current.handle)
        with _ending_at_the_second(replaced):
            yield _current
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
        _current = None


@contextlib.contextmanager
def _ending_at_the_second(numbers: Collection[int]) -> Iterator[None]:
    """End the process at the second of some signals even if no handler can run.

    Python runs handlers between two instructions of the main thread, and MXNet may compute for
    many seconds within one. Another thread sees the signals at once.
    """
    if not numbers:
        yield
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    ended = threading.Event()

    def watch() -> None:
        seen = 0
        while seen < 2 and (received := reader.recv(1)):
            seen += received[0] in numbers
        if seen == 2 and not ended.wait(_PATIENCE):
            os._exit(128 + received[0])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        ended.set()
        writer.close()
        thread.join()
        reader.close()


@contextlib.contextmanager
def observing(
    settings: "Config", quiet: bool, *observers: Observer, **options: Any
) -> Iterator[Observer]:
    """Yield one observer of steps, which raises interruptions, calls others and draws a bar.

    Parameters
    ----------
    settings : Config
    quiet : bool
        Whether to draw no bar.
    *observers : callable
        Called with each record.
    **options
        Passed to tqdm.
    """
    with contextlib.ExitStack() as stack:
        received, calls = stack.enter_context(interrupts()), list(observers)
        # One that came at the end of the run before may not have been raised.
        received()
        if not quiet:
            calls.append(stack.enter_context(progress(settings, **options)))
        # The last, so that the log has the step after which it interrupts.
        calls.append(received)

        def observe(record: "Record") -> None:
            for call in calls:
                call(record)

        yield observe


def interval() -> float:
    """Return the seconds between updates of a bar: few on a terminal, more in a file."""
    return 0.2 if sys.stderr.isatty() else 10


@contextlib.contextmanager
def progress(settings: "Config", **options: Any) -> Iterator[Observer]:
    """Yield an observer of steps that draws a bar on stderr; `options` are passed to tqdm."""
    work = Work(settings.iterations)
    layout = "{percentage:3.0f}%|{bar}| {desc} [{elapsed}<{remaining}]"
    with tqdm(
        total=settings.iterations, desc=f"step 0/{settings.iterations}", bar_format=layout,
        mininterval=interval(), **options,
    ) as bar:  # fmt: skip

        def observe(record: "Record") -> None:
            work.add(record)
            if not bar.n:
                # The steps before an interruption take none of this run's time.
                bar.initial = bar.n = work.skipped
            bar.total = work.total
            part = f", scale {record.scale}/{record.scales}" if record.scales > 1 else ""
            bar.set_description_str(
                f"step {record.step}/{work.most}{part}, loss {record.losses['total']:.3e}, "
                f"change {record.relative_change:.2%}",
                refresh=False,
            )
            bar.update(work.done - bar.n)

        yield observe
