"""A page that shows a run while it goes on, with a button that ends the run early."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ...errors import NstError, OutputError, reason
from .server import Server
from .state import State

if TYPE_CHECKING:
    import numpy

    from ...synthesis import Record


class View:
    """The page of a run; as an observer of steps, it shows each record.

    Attributes
    ----------
    url : str
        With a random token. Requests without it are refused.
    """

    def __init__(self, state: State, url: str) -> None:
        self._state, self.url = state, url

    def __call__(self, record: "Record") -> None:
        """Show a step; raise `StopRequest` if the button was pressed."""
        self._state.add(record)

    def finish(self, path: str, steps: int) -> None:
        """Show the picture as it was saved; if somebody looks, wait until they have it.

        Parameters
        ----------
        path : str
        steps : int
            How many were made.
        """
        self._state.finish_saved(path, steps)


@contextlib.contextmanager
def serving(
    title: str, iterations: int, pixels_of: "Callable[[Any], numpy.ndarray]"
) -> Iterator[View]:
    """Serve the page of a run on the loopback address while the context is open.

    Parameters
    ----------
    title : str
        A file's name or any text.
    iterations : int
        As in `Config`.
    pixels_of : callable
        Converts the image of a record to pixels, shape (H, W, 3), uint8. It is called in the
        thread of the run, and only while somebody looks.

    Yields
    ------
    View

    Raises
    ------
    OutputError
        No port can be opened.
    """
    state = State(title, iterations, pixels_of)
    try:
        server = Server(state)
    except OSError as error:
        raise OutputError(
            f"Cannot open a port on 127.0.0.1 for --view: {reason(error)}. Without --view nst "
            "needs none."
        ) from error
    with server:
        try:
            yield View(state, server.url)
        except NstError as error:
            state.finish(str(error))
            raise
