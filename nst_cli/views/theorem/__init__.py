"""The paper's theorem in numbers: the Gram loss is an MMD, and a transfer reduces it."""

from . import plot
from .comparison import Comparison, Layer, compare, is_json, prepare, write_json
from .table import lines

__all__ = [
    "Comparison", "Layer", "compare", "is_json", "lines", "plot", "prepare",
    "write_json",
]  # fmt: skip
