"""Keeps missing, full or closed standard streams from stopping the work."""

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Callable, Iterator
from typing import Any, Optional

# The exit code of a program that SIGPIPE ends: 128 plus the signal's number.
_PIPE_CLOSED = 141


def open_missing() -> None:
    """Open /dev/null as the standard input, output and error stream where one is missing.

    Otherwise the next file that the program opens would get the missing stream's number, and
    libraries would print into that file.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # `open` uses the lowest free number, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 it stays open


@contextlib.contextmanager
def forgiving() -> Iterator[Callable[[], Optional[OSError]]]:
    """Ignore failing writes to stdout and stderr while the context is open.

    Yields
    ------
    callable
        A function without arguments that flushes both streams and returns the first OSError
        of stdout, or None.
    """
    # A stream without a descriptor, such as one of a test, is not replaced.
    wrapped = {name: _forgiving(getattr(sys, name)) for name in ("stdout", "stderr")}
    streams = {name: stream for name, stream in wrapped.items() if stream}
    replaced = {name: getattr(sys, name) for name in streams}
    for name, stream in streams.items():
        setattr(sys, name, stream)

    def failure() -> Optional[OSError]:
        for stream in streams.values():
            stream.flush()
        buffer: Any = streams["stdout"].buffer if "stdout" in streams else None
        return buffer.raw.error if buffer else None

    try:
        yield failure
    finally:
        failure()
        for name, stream in replaced.items():
            setattr(sys, name, stream)


def exit_code(code: int, error: OSError) -> int:
    """Report that stdout could not be written, and return the exit code.

    Parameters
    ----------
    code : int
        The command's own exit code; kept unless it is 0.
    error : OSError
        The error from `forgiving`.
    """
    if error.errno == errno.EPIPE:
        return code or _PIPE_CLOSED
    with contextlib.suppress(OSError):
        print(
            f"Error: Cannot write to the standard output: {error.strerror}. All other work was "
            "completed.",
            file=sys.stderr,
            flush=True,
        )
    return code or 1


class _Remembering(io.FileIO):
    """A descriptor that records its first error and drops all output after it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.error: Optional[OSError] = None

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if self.error:
            return size
        try:
            while (written := super().write(data)) is None:
                # The pipe or terminal is non-blocking: another process may have set that.
                select.select([], [self], [])
        except OSError as error:
            self.error = error
            return size
        return written


def _forgiving(stream: Any) -> Optional[io.TextIOWrapper]:
    """Return a text stream to the same descriptor that never raises; None for other streams."""
    try:
        raw = _Remembering(stream.fileno())
        with contextlib.suppress(OSError):
            stream.flush()
    except (AttributeError, ValueError, OSError):
        return None
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        # Escape what cannot be encoded: a file's name must not stop the work.
        errors="backslashreplace",
        line_buffering=True,
    )
