"""One transfer, from arrays to an array: scales, optimisation steps and the stop rule.

The package reads no file except the weights, and prints nothing.
"""

from .state import State
from .styles import StyleImage
from .transfers import Record, Result, scale_sizes, steps_at, transfer

__all__ = ["Record", "Result", "State", "StyleImage", "scale_sizes", "steps_at", "transfer"]
