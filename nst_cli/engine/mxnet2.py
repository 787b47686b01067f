"""All that differs under MXNet 2, a pre-release that was never finished."""

import contextlib
import importlib.machinery
import os
import re
from pathlib import Path


def version():
    """Return the installed MXNet's version without importing it, if it is 2.x; else None."""
    spec = importlib.machinery.PathFinder.find_spec("mxnet")
    for folder in spec and spec.submodule_search_locations or ():
        with contextlib.suppress(OSError):
            text = Path(folder, "libinfo.py").read_text("utf-8")
            found = re.search(r'^__version__ = "(2\..+)"', text, re.MULTILINE)
            return found and found[1]
    return None


def behave_like_the_first(mx):
    """Switch MXNet 2 to MXNet 1's array semantics, and swallow its start-up message."""
    # An array of one number has the shape (1,), and there are none without numbers.
    mx.util.reset_np()
    with _silence():
        mx.nd.zeros((1,), ctx=mx.cpu()).wait_to_read()


@contextlib.contextmanager
def _silence():
    """Keep off stderr what compiled code writes there; MXNet 2 names its memory pool, always."""
    try:
        kept = os.dup(2)
    except OSError:  # stderr is closed
        yield
        return
    try:
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
