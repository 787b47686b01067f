"""What a user sees of a run while it goes on, and how it is interrupted."""

import contextlib
import os
import signal
import sys
import threading

try:
    from tqdm import tqdm
except ValueError:
    # tqdm reads TQDM_MININTERVAL and its like when it is imported, and does not check them.
    for _name in [name for name in os.environ if name.startswith("TQDM_")]:
        del os.environ[_name]
    from tqdm import tqdm

# What a terminal, a service manager and a terminal that is closed send.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_current = None


class Interrupts:
    """The signals that have arrived; called as an observer of steps, it raises one that got lost.

    Attributes
    ----------
    signals : list of int
        In the order of arrival.
    """

    def __init__(self):
        self.signals = []

    def __call__(self, record=None):
        if self.signals:
            raise KeyboardInterrupt

    def handle(self, number, frame):
        """Interrupt at the first signal, so that the image so far is saved; stop at the second."""
        self.signals.append(number)
        self._raise(number, frame)

    def _raise(self, number, frame):
        if _in_destructor(frame):
            # Python drops what is raised there, and arrays are freed all the time.
            signal.signal(signal.SIGALRM, self._raise)
            signal.setitimer(signal.ITIMER_REAL, 1e-3)
        elif len(self.signals) == 1:
            raise KeyboardInterrupt
        else:
            # Nothing catches this to finish a picture first, and temporary files are removed.
            sys.exit(128 + self.signals[-1])


def _in_destructor(frame):
    while frame:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def interrupts():
    """Handle SIGINT, SIGTERM and SIGHUP as interruptions while the context is open.

    A signal that is ignored stays so: a shell ignores SIGINT for what runs in the background,
    and nohup SIGHUP. A context within another yields the same object.

    Yields
    ------
    Interrupts
    """
    global _current
    if _current is not None:
        yield _current
        return
    _current, usual = Interrupts(), {}
    try:
        # Python lets no other thread set handlers.
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                handler = signal.getsignal(number)
                if handler in (signal.SIG_DFL, signal.default_int_handler):
                    usual[number] = handler
                    signal.signal(number, _current.handle)
        yield _current
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
        _current = None


@contextlib.contextmanager
def observing(settings, quiet, *observers, **how):
    """Yield one observer of steps: it hears signals, calls `observers`, and draws a bar.

    Parameters
    ----------
    settings : Config
    quiet : bool
        No bar.
    *observers : callable
        Called with each record.
    **how
        For tqdm.
    """
    with contextlib.ExitStack() as stack:
        observers = [stack.enter_context(interrupts()), *observers]
        if not quiet:
            observers.append(stack.enter_context(progress(settings, **how)))

        def observe(record):
            for observer in observers:
                observer(record)

        yield observe


def interval():
    """Return how many seconds a bar waits: a file gets a line now and then, a terminal moves."""
    return 0.2 if sys.stderr.isatty() else 10


@contextlib.contextmanager
def progress(settings, **how):
    """Yield an observer of steps that draws a bar on stderr; `how` is for tqdm.

    The bar counts steps by their pixels, so that the time left is right at the small scales too.
    """
    scale = None
    layout = "{percentage:3.0f}%|{bar}| {desc} [{elapsed}<{remaining}]"
    with tqdm(
        total=settings.iterations, desc=f"step 0/{settings.iterations}", bar_format=layout,
        mininterval=interval(), **how,
    ) as bar:  # fmt: skip
        most = 0

        def observe(record):
            nonlocal scale, most
            weights = _weights(record)
            if record.scale != scale:
                scale, steps = record.scale, _steps_left(settings, record)
                most = record.step - 1 + sum(steps)
                bar.total = bar.n + sum(weight * count for weight, count in zip(weights, steps))
            part = f", scale {scale}/{record.scales}" if record.scales > 1 else ""
            bar.set_description_str(
                f"step {record.step}/{most}{part}, loss {record.losses['total']:.3e}, "
                f"change {record.relative_change:.2%}",
                refresh=False,
            )
            bar.update(weights[0])

        yield observe


def _weights(record):
    """Return what a step costs at a record's scale and at those to come, in full-size steps."""
    # Each scale has four times the pixels of the one before.
    return [4.0 ** (scale - record.scales) for scale in range(record.scale, record.scales + 1)]


def _steps_left(settings, record):
    """Return the steps at most at a record's scale and at those to come."""
    from ..synthesis import steps_at

    scales = range(record.scale, record.scales + 1)
    return [steps_at(settings.iterations, scale, record.scales) for scale in scales]


def duration(seconds):
    """Return a duration in words, as exact as a forecast is."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 600:
        minutes, rest = divmod(10 * round(seconds / 10), 60)
        return f"{minutes} min {rest} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
