"""Where a signal handler may raise an exception."""

from types import FrameType
from typing import Optional


def in_destructor(frame: Optional[FrameType]) -> bool:
    """Return whether a frame is inside of a ``__del__``, where Python drops every exception.

    MXNet frees its arrays there, so a handler runs in one often.
    """
    while frame:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
