"""A basis of images in which L-BFGS needs fewer steps than on pixels."""

from typing import Any

import numpy

from .. import engine

# Cosine coefficients are scaled by ((frequency + _CORNER) / _UNIT_FREQUENCY)^−_POWER, with
# frequencies in cycles per pixel.
_POWER = 0.4
_CORNER = 0.01
_UNIT_FREQUENCY = 0.25


class Cosines:
    """A cosine transform of images, with coefficients scaled by frequency.

    A network's gradient is strong in fine detail and weak in large areas. Scaling each
    coefficient by a falling power of its frequency makes both change at the same pace. On
    VGG-19, L-BFGS then needs about half as many steps as on pixels.

    Parameters
    ----------
    like : NDArray, shape (1, C, H, W)
    """

    def __init__(self, like: Any) -> None:
        height, width = like.shape[2:]
        rows, columns = _cosine_matrix(height), _cosine_matrix(width)
        self._rows, self._columns, self._columns_back = (
            engine.array(matrix, like.context, like.dtype) for matrix in (rows, columns, columns.T)
        )
        frequency = numpy.hypot(
            numpy.arange(height)[:, None] / (2 * height), numpy.arange(width) / (2 * width)
        )
        scale = ((frequency + _CORNER) / _UNIT_FREQUENCY) ** -_POWER
        self._scale = engine.array(scale[None, None], like.context, like.dtype)

    def image(self, coefficients: Any) -> Any:
        """Return the image with these coefficients; both have the shape (1, C, H, W)."""
        scaled = engine.nd.broadcast_mul(coefficients, self._scale)
        return self._transformed(scaled, back=True)

    def gradient(self, gradient: Any) -> Any:
        """Convert the gradient on an image to the gradient on its coefficients."""
        transformed = self._transformed(gradient, back=False)
        return engine.nd.broadcast_mul(transformed, self._scale)

    def _transformed(self, array: Any, back: bool) -> Any:
        nd = engine.nd
        channels, height, width = array.shape[1:]
        columns = self._columns_back if back else self._columns
        lines = array.reshape((-1, width))
        lines = nd.FullyConnected(lines, columns, num_hidden=width, no_bias=True)
        lines = lines.reshape((channels, height, width))
        planes = [nd.dot(self._rows, lines[c], transpose_a=back) for c in range(channels)]
        return nd.stack(*planes).expand_dims(0)


def _cosine_matrix(size: int) -> numpy.ndarray:
    """Return the orthonormal cosine transform of type II, shape (frequencies, positions)."""
    frequencies, positions = numpy.arange(size)[:, None], numpy.arange(size)
    matrix: numpy.ndarray = numpy.cos(numpy.pi * frequencies * (2 * positions + 1) / (2 * size))
    matrix[0] *= 0.5**0.5
    matrix *= (2 / size) ** 0.5
    return matrix
