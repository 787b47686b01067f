"""One transfer between arrays: scales, the optimisers' steps and the stopping rule.

It knows no files but the weights, and prints nothing.
"""

from .transfers import Record, Result, scale_sizes, steps_at, transfer

__all__ = ["Record", "Result", "scale_sizes", "steps_at", "transfer"]
