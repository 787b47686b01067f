"""Optimisation-based style transfer by matching feature distributions [1]_.

>>> from nst_cli import Config, transfer
>>> result = transfer(content, style, Config(method="poly", gamma=5.0))  # doctest: +SKIP

References
----------
.. [1] Li, Wang, Liu and Hou, "Demystifying Neural Style Transfer", IJCAI 2017,
   arXiv:1701.01036v2.
"""

from .config import Config
from .errors import NstError

__version__ = "0.1.0"
__all__ = ["Config", "NstError", "transfer"]


def __getattr__(name):
    """Import `transfer` on first use (PEP 562): it brings the engine with it."""
    if name == "transfer":
        from .synthesis import transfer

        return transfer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
