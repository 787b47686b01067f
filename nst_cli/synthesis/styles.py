"""The styles of a transfer: their pictures, their shares, and where they apply."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StyleImage:
    """One style of a transfer.

    Attributes
    ----------
    images : tuple of numpy.ndarray, shape (1, 3, H, W)
        Network input. The statistics of several pictures are pooled, each with the same weight.
    weight : float
        Share of this style beside the others, not negative; `transfer` normalises the shares.
    method : str
        A style loss or fusion as in `Config.method`; empty for that of the config.
    mask : numpy.ndarray or None, shape (H, W)
        Where the style applies in the picture, from 0 to 1, in the content's size; None for
        everywhere.
    style_masks : tuple of (numpy.ndarray or None)
        Which parts of each picture are the style; empty for all of every picture.
    """

    images: tuple[Any, ...]
    weight: float = 1.0
    method: str = ""
    mask: Any = None
    style_masks: tuple[Any, ...] = ()
