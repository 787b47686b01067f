"""Optimisation-based style transfer by matching feature distributions [1]_.

>>> from nst_cli import Config, transfer
>>> result = transfer(content, style, Config(method="poly", gamma=5.0))  # doctest: +SKIP

References
----------
.. [1] Li, Wang, Liu and Hou, "Demystifying Neural Style Transfer", IJCAI 2017,
   arXiv:1701.01036v2.
"""

import importlib
from typing import Any

from .config import Config
from .errors import NonFiniteError, NstError

__version__ = "0.1.0"
__all__ = [
    "Config",
    "NonFiniteError",
    "NstError",
    "Record",
    "Result",
    "StyleImage",
    "images",
    "transfer",
]

# Names that are imported on first use, and their modules.
_LAZY = dict.fromkeys(("Record", "Result", "StyleImage", "transfer"), "synthesis")


def __getattr__(name: str) -> Any:
    """Import what needs the engine on its first use (PEP 562): loading it takes seconds."""
    if name in _LAZY:
        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    if name == "images":
        return importlib.import_module(".images", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
