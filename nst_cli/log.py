"""The log of a run: a file with a line of JSON for each step."""

import contextlib
import json

from .errors import OutputError


class Log:
    """A file of steps, each a line of JSON; one that breaks off does not take the run with it.

    Parameters
    ----------
    path : path-like

    Attributes
    ----------
    error : OSError or None
        Why the file is not complete.

    Raises
    ------
    OutputError
        The file cannot be made.
    """

    def __init__(self, path):
        self.error = None
        try:
            self._stream = open(path, "w", buffering=1, encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise OutputError(f"Cannot write the log {path}: {error.strerror}.") from error

    def write(self, record):
        """Add a line for an `optimise.Record`."""
        line = {
            "step": record.step,
            "scale": record.scale,
            "relative_change": record.relative_change,
            "gradient_norm": record.gradient_norm,
            "losses": record.losses,
        }
        if not self.error:
            with self._keeping_error():
                self._stream.write(json.dumps(line) + "\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self._keeping_error():
            self._stream.close()

    @contextlib.contextmanager
    def _keeping_error(self):
        try:
            yield
        except OSError as error:
            self.error = self.error or error
