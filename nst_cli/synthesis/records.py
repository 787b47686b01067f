"""What a transfer reports: the numbers and the image of a step, and of the end."""

from dataclasses import dataclass, field
from typing import Any, Optional

import numpy

from .. import images
from . import memory
from .margin import without_margin


@dataclass(frozen=True)
class Record:
    """The numbers and the image of one step.

    Attributes
    ----------
    step : int
        Counted from 1, over all scales.
    scale, scales : int
        The step's scale, counted from 1, the smallest; and the number of scales.
    losses : dict of str to float
        ``total`` and its weighted parts: one for each method and layer (``poly/relu1_1``), and
        ``smoothing``. If several styles have a method, the number of the style follows
        (``poly/relu1_1/2``). Computed at the image the step started from, with its margin.
    relative_change : float
        ‖new − old‖ / ‖new‖ of the image with its margin.
    gradient_norm : float
        L2 norm of the gradient without the smoothing, before clipping.
    beta : dict of str to float
        β′ of each method, given or measured.
    tiling : memory.Tiling or None
        How the full size is computed in tiles; None if it is not.
    step_of_scale : int
        The step, counted from 1 at each scale.
    work : tuple of float
        What a step takes at each scale, relative to one at the last, by pixels and tiles.
    """

    step: int
    scale: int
    scales: int
    losses: dict[str, float]
    relative_change: float
    gradient_norm: float
    beta: dict[str, float]
    _image: Any = field(repr=False)
    _margin: int = field(repr=False)
    _size: tuple[int, int] = field(repr=False)
    tiling: Optional[memory.Tiling] = None
    step_of_scale: int = 0
    work: tuple[float, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image at this scale without its margin, (1, 3, h, w)."""
        *first, height, width = self._image.shape
        return (*first, height - 2 * self._margin, width - 2 * self._margin)

    @property
    def image(self) -> numpy.ndarray:
        """The image after the step, float32 (1, 3, H, W), copied from the device when read.

        Its margin is cut off. At the smaller scales it is enlarged to the size of the result.
        """
        return enlarged(self._image, self._margin, self._size)


@dataclass(frozen=True)
class Result:
    """The result of a transfer.

    Attributes
    ----------
    image : numpy.ndarray
        float32, (1, 3, H, W): RGB, means subtracted.
    steps : int
    stop_reason : str
        Why the last scale ended: ``converged`` (a stop rule), ``iterations`` (the limit) or
        ``stalled`` (L-BFGS finds no lower loss within float32's precision). In the result that
        `NonFiniteError` carries: ``non-finite``.
    losses : dict of str to float
        ``total`` and its parts at `image` with its margin, as in `Record`; empty if
        ``non-finite``.
    beta : dict of str to float
        β′ of each method, given or measured.
    tiling : memory.Tiling or None
        How the full size was computed in tiles; None if it was not.
    """

    image: numpy.ndarray = field(repr=False)
    steps: int
    stop_reason: str
    losses: dict[str, float]
    beta: dict[str, float]
    tiling: Optional[memory.Tiling] = None


def resized(image: numpy.ndarray, size: tuple[int, int]) -> numpy.ndarray:
    return image if image.shape[2:] == size else images.resize_input(image, size)


def enlarged(image: Any, margin: int, size: tuple[int, int]) -> numpy.ndarray:
    return resized(without_margin(image.asnumpy(), margin), size)
