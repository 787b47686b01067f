"""Calls Pillow without its limits and messages; its exceptions become one line."""

import contextlib
import io
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from typing import Optional

from PIL import Image, UnidentifiedImageError

from ..errors import reason
from .source import Broken, Unfit

# Pillow's limit and the process's standard error are changed temporarily, for all threads.
_lock = threading.RLock()
# Without a handler, Python itself prints what Pillow logs.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class Unknown(Exception):
    """Pillow has no reader for this layout of pixels."""


@contextlib.contextmanager
def opened(
    content: bytes, kind: str, size: Optional[tuple[int, int]] = None
) -> Iterator[Image.Image]:
    """Yield the image that Pillow opens; exceptions in the block become `Unfit` or `Unknown`.

    Parameters
    ----------
    content : bytes
    kind : str
        One of `formats.READ`.
    size : (int, int), optional
        Height and width in the header. They were compared with the limit of pixels, so Pillow
        must not decode a picture of another size.

    Raises
    ------
    Unknown
        Pillow does not take it for a picture of that kind.
    Unfit
        Decoding failed, or the size differs.
    """
    with guarded():
        try:
            image = Image.open(io.BytesIO(content), formats=[kind])
        except UnidentifiedImageError as error:
            raise Unknown from error
        with image:
            if size is not None and image.size != size[::-1]:
                width, height = image.size
                raise Broken(
                    f"it has two sizes, {size[1]} x {size[0]} and {width} x {height} pixels"
                )
            yield image


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Turn every exception of Pillow into `Unfit`, and silence it."""
    with _lock, warnings.catch_warnings(), _unlimited(), _silence():
        warnings.simplefilter("ignore")
        try:
            yield
        except (Unfit, Unknown, MemoryError):
            raise
        # On broken files its decoders raise exceptions of any kind.
        except Exception as error:
            raise Broken(f"{reason(error)}") from error


@contextlib.contextmanager
def _unlimited():
    # `reading` has compared the size with its own limit, which the user may raise.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


@contextlib.contextmanager
def _silence():
    """Discard what C libraries such as libtiff print to standard error."""
    try:
        kept = os.dup(2)
    except OSError:
        # Standard error is closed, so nothing is printed.
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
