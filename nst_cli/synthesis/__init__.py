"""One transfer, from arrays to an array: scales, optimisation steps and the stop rule.

The package reads no file except the weights, and prints nothing.
"""

from .records import Record, Result
from .scales import scale_sizes, steps_at
from .state import State
from .styles import StyleImage
from .transfers import transfer

__all__ = ["Record", "Result", "State", "StyleImage", "scale_sizes", "steps_at", "transfer"]
