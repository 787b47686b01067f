"""When and where a signal handler may raise an exception."""

import contextlib
from collections.abc import Iterator
from types import FrameType
from typing import Optional

_deferrals = 0


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let the first interruption wait until the step that is being made is complete.

    While the context is open, handlers only record it, and the observer of steps raises it. Half
    a step would leave the optimiser in a state from which no run can go on.
    """
    global _deferrals
    _deferrals += 1
    try:
        yield
    finally:
        _deferrals -= 1


def is_deferred() -> bool:
    """Return whether the first interruption has to wait."""
    return _deferrals > 0


def may_raise(frame: Optional[FrameType]) -> bool:
    """Return whether an exception raised in a frame reaches its caller and harms nothing.

    In a ``__del__`` Python drops every exception. In an ``__init__`` of MXNet it would leave an
    object that fails when it is freed. MXNet makes and frees arrays all the time, so a handler
    often runs in one of them.
    """
    while frame:
        name = frame.f_code.co_name
        if name == "__del__" or (name == "__init__" and _is_of_mxnet(frame)):
            return False
        frame = frame.f_back
    return True


def _is_of_mxnet(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == "mxnet"
