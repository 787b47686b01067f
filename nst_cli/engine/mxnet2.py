"""Everything that differs under MXNet 2, a pre-release that was never finished."""

import contextlib
import importlib.machinery
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional


def version() -> Optional[str]:
    """Return the installed MXNet's version without importing it, if it is 2.x; else None."""
    spec = importlib.machinery.PathFinder.find_spec("mxnet")
    for folder in spec and spec.submodule_search_locations or ():
        with contextlib.suppress(OSError):
            text = Path(folder, "libinfo.py").read_text("utf-8")
            match = re.search(r'^__version__ = "(2\..+)"', text, re.MULTILINE)
            return match[1] if match else None
    return None


def behave_like_the_first(mx: Any) -> None:
    """Switch MXNet 2 to MXNet 1's array semantics, and swallow its start-up message."""
    # In MXNet 1 a scalar has the shape (1,), and no array is empty.
    mx.util.reset_np()
    with _silence():
        mx.nd.zeros((1,), ctx=mx.cpu()).wait_to_read()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Discard what compiled code writes to stderr; MXNet 2 always prints its memory pool."""
    try:
        stderr = os.dup(2)
    except OSError:  # stderr is closed
        yield
        return
    try:
        with open(os.devnull, "w") as devnull:
            os.dup2(devnull.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
