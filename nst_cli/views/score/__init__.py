"""What pictures leave of every alignment with a style, whatever made them."""

from .measures import Left, Measures, measure
from .scoring import (
    DRAWS,
    Job,
    Score,
    Scored,
    config_of,
    is_json,
    mean_of,
    prepare,
    score,
    write_json,
)
from .table import lines

__all__ = [
    "DRAWS", "Job", "Left", "Measures", "Score", "Scored", "config_of", "is_json", "lines",
    "mean_of", "measure", "prepare", "score", "write_json",
]  # fmt: skip
