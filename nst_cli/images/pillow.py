"""Pillow at work: its own limits off, its libraries' lines unheard, its exceptions one line."""

import contextlib
import io
import logging
import os
import threading
import warnings

from PIL import Image, UnidentifiedImageError

from ..errors import reason
from .source import Broken, Unfit

# Pillow's limit and the process's standard error are set for a while, and belong to all threads.
_lock = threading.RLock()
# Without a handler, Python itself prints what Pillow logs.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class Unknown(Exception):
    """Pillow has no reader for this layout of pixels."""


@contextlib.contextmanager
def opened(content, kind):
    """Yield the image that Pillow opens; all that it raises inside becomes `Unfit` or `Unknown`.

    Parameters
    ----------
    content : bytes
    kind : str
        One of `formats.READ`.

    Raises
    ------
    Unknown
        Pillow does not take it for a picture of that kind.
    Unfit
        Decoding failed.
    """
    with guarded():
        try:
            image = Image.open(io.BytesIO(content), formats=[kind])
        except UnidentifiedImageError as error:
            raise Unknown from error
        with image:
            yield image


@contextlib.contextmanager
def guarded():
    """Run what calls Pillow: whatever it raises becomes `Unfit`, and it prints nothing."""
    with _lock, warnings.catch_warnings(), _unlimited(), _silence():
        warnings.simplefilter("ignore")
        try:
            yield
        except (Unfit, Unknown, MemoryError):
            raise
        # Its decoders raise whatever the broken file made them stumble over.
        except Exception as error:
            raise Broken(f"{reason(error)}") from error


@contextlib.contextmanager
def _unlimited():
    # `reading` has compared the size with a limit of its own, which the user may raise.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


@contextlib.contextmanager
def _silence():
    """Send what libraries in C print to standard error, as libtiff does, nowhere."""
    try:
        kept = os.dup(2)
    except OSError:
        # Closed, so that nothing is heard of it.
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
