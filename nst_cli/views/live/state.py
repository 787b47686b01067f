"""What the page shows, shared between the thread of the run and those of the server."""

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Optional

import numpy
from PIL import Image

from ... import images
from ...errors import ImageError, shown
from ...runs.log import Step
from ...runs.runner import StopRequest
from ...runs.work import Work, duration
from ..report import svg
from ..report.escape import clean

if TYPE_CHECKING:
    from ...synthesis import Record

# Seconds. Pictures and curves are made anew after this time at the earliest, and after ten
# times what they took, so that they cost a tenth of the run at most.
_PAUSE, _TIMES = 1.0, 10
# Somebody looks if the page asked within this many seconds; it asks every second.
_LOOKING = 5.0
# The longest wait, in seconds, for a page to get the finished picture.
_LAST_LOOK = 3.0
# Larger pictures are shown smaller.
_LONG_EDGE = 2048
_QUALITY = 90


class Pace:
    """Says when something may be made again."""

    def __init__(self) -> None:
        self._next = 0.0

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._next

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Measure what a block takes."""
        begin = time.monotonic()
        yield
        end = time.monotonic()
        self._next = end + max(_PAUSE, _TIMES * (end - begin))


class State:
    """A run as the page shows it.

    The thread of the run calls `add`, `finish` and `finish_saved`; the server calls the rest.

    Parameters
    ----------
    title : str
    iterations : int
    pixels_of : callable
        See `serving`.

    Attributes
    ----------
    title : str
    """

    def __init__(
        self, title: str, iterations: int, pixels_of: Callable[[Any], numpy.ndarray]
    ) -> None:
        self.title = title
        self._pixels_of = pixels_of
        self._work = Work(iterations)
        self._steps: list[Step] = []
        self._record_text = "The first step has not ended yet"
        self._pixels: Optional[numpy.ndarray] = None
        self._number = 0
        self._end: Optional[str] = None
        # What the page has to get before the server closes; see `sent`.
        self._last: Optional[tuple[str, int]] = None
        # Guards the fields above.
        self._lock = threading.Lock()
        self._picture_pace, self._curve_pace = Pace(), Pace()
        self._looked = -_LOOKING
        self._wanted = threading.Event()
        self._stop = threading.Event()
        self._seen = threading.Event()
        # Guards what the server makes, so that several pages cost no more than one.
        self._making = threading.Lock()
        self._curves = ""
        self._encoded = (0, b"")

    # In the thread of the run

    def add(self, record: "Record") -> None:
        """Show a step; raise `StopRequest` if `stop` was called."""
        part = f", scale {record.scale} of {record.scales}" if record.scales > 1 else ""
        with self._lock:
            self._work.add(record)
            self._steps.append(Step(record.step, record.scale, record.losses))
            self._record_text = (
                f"Step {record.step} of at most {self._work.most}{part}, "
                f"loss {svg.number(record.losses['total'])}"
            )
        if self._stop.is_set():
            raise StopRequest
        if self._wanted.is_set() and self._picture_pace.due:
            self._wanted.clear()
            # The image is copied from the device here, in the thread that computes on it.
            with self._picture_pace.measured():
                self._show(self._pixels_of(record.image))

    def finish_saved(self, path: str, steps: int) -> None:
        """Show the picture in a file as the last one; see `finish`."""
        pixels = None
        if self._looking:
            with contextlib.suppress(ImageError):
                picture = images.read(path, long_edge=_LONG_EDGE, max_pixels=0)
                pixels = numpy.rint(picture.pixels).astype(numpy.uint8)
        self.finish(f"Saved {path} after {'1 step' if steps == 1 else f'{steps} steps'}.", pixels)

    def finish(self, text: str, pixels: Optional[numpy.ndarray] = None) -> None:
        """Show how the run ended; if somebody looks, wait until they have it.

        Ctrl-C ends the wait.
        """
        if pixels is not None:
            self._show(pixels)
        with self._lock:
            self._end = shown(text)
            self._last = ("data", True) if pixels is None else ("picture", self._number)
        if self._looking:
            with contextlib.suppress(KeyboardInterrupt):
                self._seen.wait(_LAST_LOOK)

    def _show(self, pixels: numpy.ndarray) -> None:
        with self._lock:
            self._pixels = pixels
            self._number += 1

    @property
    def _looking(self) -> bool:
        return time.monotonic() - self._looked < _LOOKING

    # In the threads of the server

    def stop(self) -> None:
        """Let the run end after the current step."""
        self._stop.set()

    def data(self) -> dict[str, Any]:
        """Return what the page shows, as JSON can hold it."""
        self._looked = time.monotonic()
        self._wanted.set()
        with self._lock:
            steps, text, end = tuple(self._steps), self._record_text, self._end
            share = self._work.done / self._work.total if self._work.total else 0.0
            left, number = self._work.seconds_left(), self._number
        if end is not None:
            text = end
        elif self._stop.is_set():
            text += ". Stopping after this step."
        elif left is not None:
            text += f", at most {duration(left)} left"
        return {
            "text": clean(text),
            "share": share,
            "picture": number,
            "curves": self._drawn(steps, last=end is not None),
            "stopping": self._stop.is_set(),
            "ended": end is not None,
        }

    def picture(self) -> tuple[int, bytes]:
        """Return the number of the newest picture, counted from 1, and the picture as JPEG.

        The number is 0 if there is none yet.
        """
        with self._lock:
            pixels, number = self._pixels, self._number
        with self._making:
            if pixels is not None and self._encoded[0] < number:
                self._encoded = number, _jpeg(pixels)
            return self._encoded

    def sent(self, name: str, number: int) -> None:
        """Note that a page got ``data``, the last or not, or the picture of a number."""
        with self._lock:
            if (name, number) == self._last:
                self._seen.set()

    def _drawn(self, steps: tuple[Step, ...], last: bool) -> str:
        """Return the curves, drawn again if it is time or the run has ended."""
        with self._making:
            if steps and (last or self._curve_pace.due):
                with self._curve_pace.measured():
                    self._curves = "".join(svg.figures(steps, clean(self.title)))
            return self._curves


def _jpeg(pixels: numpy.ndarray) -> bytes:
    image = Image.fromarray(pixels)
    image.thumbnail((_LONG_EDGE, _LONG_EDGE), reducing_gap=2.0)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
