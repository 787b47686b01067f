"""Denoises the finished picture by Chambolle's projection for total variation [1]_.

References
----------
.. [1] A. Chambolle, "An Algorithm for Total Variation Minimization and Applications",
   Journal of Mathematical Imaging and Vision 20 (2004), 89-97.
"""

from typing import Any, Optional

import numpy

from .. import engine, images

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
    clean = numpy.empty(pixels.shape, numpy.float32)
    with engine.failures():
        for channel in range(pixels.shape[2]):
            _denoise(pixels[..., channel], clean[..., channel], weight, device)
    return clean


def _denoise(pixels: numpy.ndarray, clean: numpy.ndarray, weight: float, device: Any) -> None:
    """Denoise one channel, (H, W), values 0 to 255, and write it to `clean`."""
    noisy = engine.nd.empty(pixels.shape, device)
    for rows in images.row_bands(pixels.shape):
        noisy[rows] = engine.array(pixels[rows] / 255.0, device)
    denoised = _denoised_channel(noisy, weight)
    for rows in images.row_bands(pixels.shape):
        clean[rows] = denoised[rows].clip(0, 1).asnumpy() * 255


def _denoised_channel(noisy: Any, weight: float) -> Any:
    """Denoise one channel, NDArray (H, W), values 0 to 1."""
    nd = engine.nd
    down, right, clean = (nd.zeros_like(noisy) for _ in range(3))
    bands = list(images.row_bands(noisy.shape))
    first: Optional[float] = None
    last = 0.0
    for _ in range(_ITERATIONS):
        sizes = []
        for rows in bands:
            correction = _divergence(down, right, rows)
            clean[rows] = noisy[rows] + correction
            sizes.append(engine.dot(correction, correction))
            # MXNet queues work, and would reserve memory for bands far ahead.
            clean.wait_to_read()
        lengths = [_step(down, right, clean, rows, weight) for rows in bands]
        energy = sum(
            float((size + weight * length).asscalar()) for size, length in zip(sizes, lengths)
        )
        if first is None:
            first = energy
        elif abs(last - energy) <= _TOLERANCE * first:  # both 0 on a flat picture
            break
        last = energy
    return clean


def _step(down: Any, right: Any, clean: Any, rows: slice, weight: float) -> Any:
    """Update some rows of `down` and `right`; return the sum of their gradient's lengths."""
    slope_down, slope_right = _gradient(clean, rows)
    length = engine.nd.sqrt(slope_down * slope_down + slope_right * slope_right)
    shrink = 1 + (_STEP / weight) * length
    down[rows] = (down[rows] - _STEP * slope_down) / shrink
    right[rows] = (right[rows] - _STEP * slope_right) / shrink
    right.wait_to_read()
    return _total(length)


def _gradient(array: Any, rows: slice) -> tuple[Any, Any]:
    """Return the forward differences of some rows, down and to the right, 0 at the far edge."""
    band = array[rows]
    down, right = engine.nd.zeros_like(band), engine.nd.zeros_like(band)
    count = min(rows.stop, array.shape[0] - 1) - rows.start
    if count:
        down[:count] = array[rows.start + 1 : rows.start + 1 + count] - band[:count]
    right[:, :-1] = band[:, 1:] - band[:, :-1]
    return down, right


def _divergence(down: Any, right: Any, rows: slice) -> Any:
    """Return some rows of the negative divergence, the adjoint of `_gradient`."""
    result = -(down[rows] + right[rows])
    if rows.start:
        result += down[rows.start - 1 : rows.stop - 1]
    elif rows.stop > 1:
        result[1:] += down[: rows.stop - 1]
    result[:, 1:] += right[rows, :-1]
    return result


def _total(array: Any) -> Any:
    return engine.dot(array, engine.nd.ones_like(array))
