"""Pictures: files to arrays and back. Only this package knows channel means and order."""

from .arrays import MEANS, MIN_SIDE, fit, resize, resize_input, scaled, to_input, to_pixels
from .colour import obstacle_to
from .metadata import read_metadata
from .reading import Picture, read, size_of
from .writing import (
    ENDINGS,
    Encoding,
    check_encoding,
    check_ending,
    check_size,
    holds_alpha,
    write,
)

__all__ = [
    "ENDINGS",
    "MEANS",
    "MIN_SIDE",
    "Encoding",
    "Picture",
    "check_encoding",
    "check_ending",
    "check_size",
    "fit",
    "holds_alpha",
    "obstacle_to",
    "read",
    "read_metadata",
    "resize",
    "resize_input",
    "scaled",
    "size_of",
    "to_input",
    "to_pixels",
    "write",
]
