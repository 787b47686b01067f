"""Denoises the finished picture by Chambolle's projection for total variation [1]_.

References
----------
.. [1] A. Chambolle, "An Algorithm for Total Variation Minimization and Applications",
   Journal of Mathematical Imaging and Vision 20 (2004), 89-97.
"""

from typing import Any, Optional

import numpy

from .. import engine

# The authors use scikit-image with its defaults, so these are that library's: the largest number
# of iterations, and the change of energy, relative to the first energy, below which they stop.
_ITERATIONS = 200
_TOLERANCE = 2e-4

# The largest step for which Chambolle's iteration is stable in two dimensions.
_STEP = 1 / 4


def chambolle(pixels: numpy.ndarray, weight: float, device: Any) -> numpy.ndarray:
    """Return the picture with a smaller total variation; each channel is denoised by itself.

    Parameters
    ----------
    pixels : numpy.ndarray, shape (H, W, 3)
        0 to 255.
    weight : float
        Strength, for values from 0 to 1; the authors use 0.02.
    device : Context

    Returns
    -------
    numpy.ndarray
        float32, (H, W, 3), 0 to 255.
    """
    with engine.failures():
        channels = [
            _denoised_channel(engine.array(pixels[..., channel] / 255.0, device), weight)
            for channel in range(pixels.shape[2])
        ]
        clean: numpy.ndarray = engine.nd.stack(*channels, axis=2).clip(0, 1).asnumpy() * 255
        return clean


def _denoised_channel(noisy: Any, weight: float) -> Any:
    """Denoise one channel, NDArray (H, W), values 0 to 1."""
    nd = engine.nd
    down, right = nd.zeros_like(noisy), nd.zeros_like(noisy)
    first: Optional[float] = None
    last = 0.0
    for _ in range(_ITERATIONS):
        correction = _divergence(down, right)
        clean = noisy + correction
        slope_down, slope_right = _gradient(clean)
        length = nd.sqrt(slope_down * slope_down + slope_right * slope_right)
        energy = float((engine.dot(correction, correction) + weight * _total(length)).asscalar())
        if first is None:
            first = energy
        elif abs(last - energy) <= _TOLERANCE * first:  # both 0 on a flat picture
            break
        last = energy
        shrink = 1 + (_STEP / weight) * length
        down = (down - _STEP * slope_down) / shrink
        right = (right - _STEP * slope_right) / shrink
    return clean


def _gradient(array: Any) -> tuple[Any, Any]:
    """Return the forward differences down and to the right, 0 at the far edge."""
    down, right = engine.nd.zeros_like(array), engine.nd.zeros_like(array)
    down[:-1] = array[1:] - array[:-1]
    right[:, :-1] = array[:, 1:] - array[:, :-1]
    return down, right


def _divergence(down: Any, right: Any) -> Any:
    """Return the negative divergence, the adjoint of `_gradient`."""
    result = -(down + right)
    result[1:] += down[:-1]
    result[:, 1:] += right[:, :-1]
    return result


def _total(array: Any) -> Any:
    return engine.dot(array, engine.nd.ones_like(array))
