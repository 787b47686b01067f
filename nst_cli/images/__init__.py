"""Pictures: files to arrays and back. Only this package knows channel means and order."""

from .arrays import (
    MEANS,
    MIN_SIDE,
    crop_size,
    cropped,
    fit,
    resize,
    resize_input,
    to_float_pixels,
    to_input,
    to_pixels,
)
from .metadata import read_metadata
from .reading import Picture, read, size_of
from .writing import ENDINGS, check_ending, check_size, holds_alpha, write

__all__ = [
    "ENDINGS",
    "MEANS",
    "MIN_SIDE",
    "Picture",
    "check_ending",
    "check_size",
    "crop_size",
    "cropped",
    "fit",
    "holds_alpha",
    "read",
    "read_metadata",
    "resize",
    "resize_input",
    "size_of",
    "to_float_pixels",
    "to_input",
    "to_pixels",
    "write",
]
