"""Where a signal handler may raise an exception."""

from types import FrameType
from typing import Optional


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
