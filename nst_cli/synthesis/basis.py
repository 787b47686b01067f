"""A basis of images in which L-BFGS needs fewer steps than on pixels."""

from collections.abc import Sequence
from typing import Any

import numpy

from .. import engine

# Cosine coefficients are scaled by ((frequency + _CORNER) / _UNIT_FREQUENCY)^−_POWER, with
# frequencies in cycles per pixel.
_POWER = 0.4
_CORNER = 0.01
_UNIT_FREQUENCY = 0.25

# The bands of frequency, in cycles per pixel, whose curvature is measured.
_BANDS = (0.004, 0.008, 0.016, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4)
# A band is scaled by at most this factor, up or down, at each measurement.
_MOST_FACTOR = 4.0

# Orthonormal: brightness, red against blue, and green against both. Their curvatures differ.
_COLOURS = numpy.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / numpy.sqrt([[3], [2], [6]])


class Cosines:
    """A cosine transform of images, with coefficients scaled by frequency and colour.

    A network's gradient is strong in fine detail and weak in large areas. Scaling each
    coefficient by a falling power of its frequency makes both change at the same pace. On
    VGG-19, L-BFGS then needs about half as many steps as on pixels. `adapt` improves the scale
    by the curvature that the steps have met.

    Parameters
    ----------
    like : NDArray, shape (1, 3, H, W)

    Attributes
    ----------
    scale : NDArray, shape (1, 3, H, W)
        What coefficients are multiplied by.
    """

    def __init__(self, like: Any) -> None:
        height, width = like.shape[2:]
        rows, columns = _cosine_matrix(height), _cosine_matrix(width)
        self._rows, self._columns, self._columns_back, self._colours = (
            engine.array(matrix, like.context, like.dtype)
            for matrix in (rows, columns, columns.T, _COLOURS)
        )
        frequency = numpy.hypot(
            numpy.arange(height)[:, None] / (2 * height), numpy.arange(width) / (2 * width)
        )
        self._bands = numpy.digitize(frequency.ravel(), _BANDS)
        scale = ((frequency + _CORNER) / _UNIT_FREQUENCY) ** -_POWER
        self.scale = engine.array([[scale] * 3], like.context, like.dtype)

    def image(self, coefficients: Any) -> Any:
        """Return the image with these coefficients; both have the shape (1, 3, H, W)."""
        scaled = self._recoloured(coefficients * self.scale, back=True)
        return self._transformed(scaled, back=True)

    def gradient(self, gradient: Any) -> Any:
        """Convert the gradient on an image to the gradient on its coefficients."""
        transformed = self._transformed(gradient, back=False)
        return self._recoloured(transformed, back=False) * self.scale

    def adapt(self, steps: Sequence[Any], changes: Sequence[Any]) -> Any:
        """Scale each band of frequencies, in each colour, by the curvature measured in it.

        The curvature of a band is Σ s·y / Σ s·s over its coefficients. The scale is divided by
        its square root, so that all bands become equally curved.

        Parameters
        ----------
        steps, changes : sequence of NDArray, shape (3 H W,)
            Steps s of the coefficients, and the changes y of the gradient along them.

        Returns
        -------
        NDArray, shape (1, 3, H, W)
            What the scale was multiplied by: coefficients of the same image are divided by it,
            and gradients multiplied.
        """
        products = sum(step * change for step, change in zip(steps, changes))
        squares = sum(step * step for step in steps)
        factors = self._factors(products.asnumpy(), squares.asnumpy())
        applied = engine.array(factors, self.scale.context, self.scale.dtype)
        self.scale = self.scale * applied
        return applied

    def _factors(self, products: numpy.ndarray, squares: numpy.ndarray) -> numpy.ndarray:
        """Return the factor of each coefficient, from s·y and s·s of each."""
        count = len(_BANDS) + 1
        summed = [
            [numpy.bincount(self._bands, colour, count) for colour in array.reshape((3, -1))]
            for array in (products, squares)
        ]
        product, square = numpy.array(summed, dtype=numpy.float64)
        moved = square > 0
        curvature = numpy.divide(product, square, out=numpy.ones_like(square), where=moved)
        rising = moved & (curvature > 0)
        if not rising.any():
            return numpy.ones(self.scale.shape)
        curvature /= numpy.exp(numpy.log(curvature[rising]).mean())
        factors = numpy.clip(curvature, _MOST_FACTOR**-2, _MOST_FACTOR**2) ** -0.5
        factors[~moved] = 1
        spread: numpy.ndarray = factors[:, self._bands].reshape(self.scale.shape)
        return spread

    def _recoloured(self, array: Any, back: bool) -> Any:
        """Return an array (1, 3, H, W) with its colours as `_COLOURS`, or as RGB again."""
        flat = array.reshape((3, -1))
        return engine.nd.dot(self._colours, flat, transpose_a=back).reshape(array.shape)

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
