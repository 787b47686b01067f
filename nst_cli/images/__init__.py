"""Pictures: files to arrays and back. Only this package knows channel means and order."""

from .arrays import (
    MEANS,
    MIN_SIDE,
    crop_size,
    cropped,
    fit,
    resize,
    resize_input,
    row_bands,
    scaled,
    to_float_pixels,
    to_input,
    to_pixels,
)
from .colour import obstacle_to
from .masks import Mask, check_mask_size, read_mask
from .metadata import read_metadata
from .reading import Picture, is_picture, read, size_of
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
    "Mask",
    "Picture",
    "check_encoding",
    "check_ending",
    "check_mask_size",
    "check_size",
    "crop_size",
    "cropped",
    "fit",
    "holds_alpha",
    "is_picture",
    "obstacle_to",
    "read",
    "read_mask",
    "read_metadata",
    "resize",
    "resize_input",
    "row_bands",
    "scaled",
    "size_of",
    "to_float_pixels",
    "to_input",
    "to_pixels",
    "write",
]
