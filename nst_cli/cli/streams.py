"""The standard streams: present, and unable to stop the work that writes to them."""

import contextlib
import errno
import io
import os
import select
import sys

# As programs that SIGPIPE ends: 128 and the signal's number.
_PIPE_CLOSED = 141


def open_missing() -> None:
    """Open /dev/null as the standard input, output and error stream where one is missing.

    Without this the next file that the program opens would take the missing stream's number,
    and whatever a library prints would land in that file.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # `open` takes the lowest free number, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 it stays open


@contextlib.contextmanager
def forgiving():
    """Let writes to stdout and stderr fail without an exception while the context is open.

    Yields
    ------
    callable
        Called as ``failure()`` it flushes both streams and returns the first OSError of
        stdout, or None.
    """
    # A stream of another kind, as tests put in its place, stays.
    streams = {name: _forgiving(getattr(sys, name)) for name in ("stdout", "stderr")}
    streams = {name: stream for name, stream in streams.items() if stream}
    usual = {name: getattr(sys, name) for name in streams}
    for name, stream in streams.items():
        setattr(sys, name, stream)

    def failure():
        for stream in streams.values():
            stream.flush()
        return streams["stdout"].buffer.raw.error if "stdout" in streams else None

    try:
        yield failure
    finally:
        failure()
        for name, stream in usual.items():
            setattr(sys, name, stream)


def exit_code(code: int, error: OSError) -> int:
    """Report that stdout could not be written; return the exit code in place of `code`.

    Parameters
    ----------
    code : int
        What the command ends with otherwise. One that is not 0 stays.
    error : OSError
        What `forgiving` remembered.
    """
    if error.errno == errno.EPIPE:
        return code or _PIPE_CLOSED
    with contextlib.suppress(OSError):
        print(
            f"Error: Cannot write to the standard output: {error.strerror}. The rest of the work "
            "went on to its end.",
            file=sys.stderr,
            flush=True,
        )
    return code or 1


class _Remembering(io.FileIO):
    """A descriptor whose first error is remembered and whose later output is dropped."""

    def __init__(self, descriptor):
        super().__init__(descriptor, "w", closefd=False)
        self.error = None

    def write(self, data):
        size = memoryview(data).nbytes
        if self.error:
            return size
        try:
            while (written := super().write(data)) is None:
                # Another process has made the pipe or terminal non-blocking.
                select.select([], [self], [])
        except OSError as error:
            self.error = error
            return size
        return written


def _forgiving(stream):
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
        # What the encoding does not have is escaped: a name never costs the work.
        errors="backslashreplace",
        line_buffering=True,
    )
