"""What a user sees of a run while it goes on, and how it is interrupted."""

import contextlib
import signal
import sys
import time

from tqdm import tqdm

# Below this a forecast is no help to anybody, in seconds.
_LONG_RUN = 60


@contextlib.contextmanager
def interrupts():
    """Yield an observer of steps that raises an interruption which got lost.

    Python drops an exception that is raised while an array is being freed, and arrays are freed
    all the time.
    """
    usual, pressed = signal.getsignal(signal.SIGINT), []

    def interrupt(*_):
        pressed.append(True)
        raise KeyboardInterrupt

    def observe(record):
        if pressed:
            raise KeyboardInterrupt

    # Whoever has SIGINT ignored, as a shell does for what runs in the background, keeps it so.
    if usual is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield observe
    finally:
        signal.signal(signal.SIGINT, usual)


def interval():
    """Return how many seconds a bar waits: a file gets a line now and then, a terminal moves."""
    return 0.2 if sys.stderr.isatty() else 10


@contextlib.contextmanager
def progress(settings, foretell=True, **how):
    """Yield an observer of steps that draws a bar on stderr; `how` is for tqdm."""
    moments, scale = [], None
    with tqdm(total=settings.iterations, unit="step", mininterval=interval(), **how) as bar:

        def observe(record):
            nonlocal moments, scale
            if record.scale != scale:
                scale, moments = record.scale, []
                bar.total = record.step - 1 + sum(_steps_left(settings, record))
            moments.append(time.monotonic())
            if len(moments) == 3 and foretell:
                # The first step pays for what is allocated once.
                _forecast(bar, settings, record, (moments[2] - moments[0]) / 2)
            which = f"scale {scale}/{record.scales}, " if record.scales > 1 else ""
            bar.set_postfix_str(
                f"{which}loss {record.losses['total']:.3e}, change {record.relative_change:.2%}",
                refresh=False,
            )
            bar.update()

        yield observe


def _steps_left(settings, record):
    """Return the steps at most at a record's scale and at those to come."""
    from ..synthesis import steps_at

    scales = range(record.scale, record.scales + 1)
    return [steps_at(settings.iterations, scale, record.scales) for scale in scales]


def _forecast(bar, settings, record, step_seconds):
    """Say once, before it takes long, how long a run will take; steps cost as their pixels."""
    # Each scale has four times the pixels of the one before.
    steps = sum(4**n * steps for n, steps in enumerate(_steps_left(settings, record)))
    seconds = step_seconds * steps
    if record.scale > 1 or seconds < _LONG_RUN:
        return
    size = " at the full size" if record.scales > 1 else ""
    rule = "; the stop rule may end it sooner" if settings.stop_eps else ""
    last = step_seconds * 4 ** (record.scales - 1)
    bar.write(
        f"At most {duration(seconds)}: {settings.iterations} steps of {last:.2g} s{size}{rule}. "
        "Ctrl-C saves the image so far.",
        file=sys.stderr,
    )


def duration(seconds):
    """Return a duration in words, as exact as a forecast is."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 600:
        minutes, rest = divmod(10 * round(seconds / 10), 60)
        return f"{minutes} min {rest} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
