"""A basis of images in which L-BFGS needs fewer steps than on pixels."""

import time
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

# Lines of an image that are transformed at once to measure how long that takes.
_TRIAL_LINES = 64


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
        self._rows, self._columns, self._colours = (
            engine.array(matrix, like.context, like.dtype)
            for matrix in (_cosine_matrix(height), _cosine_matrix(width), _COLOURS)
        )
        self._bands = numpy.empty((height, width), numpy.uint8)
        plane = numpy.empty((height, width), like.dtype)
        across = numpy.arange(width) / (2 * width)
        # A row at a time, because whole planes in float64 would take much memory.
        for row in range(height):
            frequency = numpy.hypot(row / (2 * height), across)
            self._bands[row] = numpy.digitize(frequency, _BANDS)
            plane[row] = ((frequency + _CORNER) / _UNIT_FREQUENCY) ** -_POWER
        self.scale = engine.nd.empty(like.shape, ctx=like.context, dtype=like.dtype)
        self.scale[:] = engine.array(plane, like.context, like.dtype)

    def image(self, coefficients: Any) -> Any:
        """Return the image with these coefficients; both have the shape (1, 3, H, W)."""
        scaled = self._recoloured(coefficients * self.scale, back=True)
        return self._transformed(scaled, back=True)

    def gradient(self, gradient: Any) -> Any:
        """Convert the gradient on an image to the gradient on its coefficients."""
        transformed = self._transformed(gradient, back=False)
        result = self._recoloured(transformed, back=False)
        result *= self.scale
        return result

    def adapt(self, steps: Sequence[Sequence[Any]], changes: Sequence[Sequence[Any]]) -> Any:
        """Scale each band of frequencies, in each colour, by the curvature measured in it.

        The curvature of a band is Σ s·y / Σ s·s over its coefficients. The scale is divided by
        its square root, so that all bands become equally curved.

        Parameters
        ----------
        steps, changes : sequence of sequence of NDArray
            Steps s of the coefficients, and the changes y of the gradient along them. Each is
            flat, in one part or in one for each colour.

        Returns
        -------
        NDArray, shape (1, 3, H, W)
            What the scale was multiplied by: coefficients of the same image are divided by it,
            and gradients multiplied.
        """
        sums = []
        for ones, others in ((steps, changes), (steps, steps)):
            summed = [
                self._by_band(sum(one * other for one, other in zip(*parts)))
                for parts in zip(zip(*ones), zip(*others))
            ]
            sums.append(numpy.concatenate(summed))
        factors = self._factors(*sums)
        applied = engine.nd.empty(self.scale.shape, ctx=self.scale.context, dtype=self.scale.dtype)
        for colour, row in enumerate(factors):
            applied[0, colour] = engine.array(
                row[self._bands], self.scale.context, self.scale.dtype
            )
        self.scale *= applied
        return applied

    def _by_band(self, values: Any) -> numpy.ndarray:
        """Return the sums of flat values over each band, by colour."""
        count, bands = len(_BANDS) + 1, self._bands.ravel()
        colours = values.asnumpy().reshape((-1, bands.size))
        return numpy.array([numpy.bincount(bands, colour, count) for colour in colours])

    def _factors(self, product: numpy.ndarray, square: numpy.ndarray) -> numpy.ndarray:
        """Return the factor of each colour and band, from their sums of s·y and s·s."""
        moved = square > 0
        curvature = numpy.divide(product, square, out=numpy.ones_like(square), where=moved)
        rising = moved & (curvature > 0)
        if not rising.any():
            return numpy.ones_like(square)
        curvature /= numpy.exp(numpy.log(curvature[rising]).mean())
        factors: numpy.ndarray = numpy.clip(curvature, _MOST_FACTOR**-2, _MOST_FACTOR**2) ** -0.5
        factors[~moved] = 1
        return factors

    def _recoloured(self, array: Any, back: bool) -> Any:
        """Return an array (1, 3, H, W) with its colours as `_COLOURS`, or as RGB again."""
        flat = array.reshape((3, -1))
        return engine.nd.dot(self._colours, flat, transpose_a=back).reshape(array.shape)

    def _transformed(self, array: Any, back: bool) -> Any:
        nd, result = engine.nd, engine.nd.empty(array.shape, ctx=array.context, dtype=array.dtype)
        width = array.shape[3]
        columns = self._columns.T if back else self._columns
        for colour in range(array.shape[1]):
            lines = nd.FullyConnected(array[0, colour], columns, num_hidden=width, no_bias=True)
            nd.dot(self._rows, lines, transpose_a=back, out=result[0, colour])
        return result


def _cosine_matrix(size: int) -> numpy.ndarray:
    """Return the orthonormal cosine transform of type II, shape (frequencies, positions)."""
    frequencies, positions = numpy.arange(size)[:, None], numpy.arange(size)
    matrix: numpy.ndarray = numpy.cos(numpy.pi * frequencies * (2 * positions + 1) / (2 * size))
    matrix[0] *= 0.5**0.5
    matrix *= (2 / size) ** 0.5
    return matrix


def line_seconds(device: Any, length: int) -> float:
    """Return the seconds that the cosine transform of a line of an image takes on a device."""
    lines, matrix = (engine.nd.ones((n, length), ctx=device) for n in (_TRIAL_LINES, length))
    times = []
    # The first call prepares the operator.
    for _ in range(2):
        engine.wait()
        began = time.perf_counter()
        engine.nd.FullyConnected(lines, matrix, num_hidden=length, no_bias=True).wait_to_read()
        times.append(time.perf_counter() - began)
    return times[-1] / _TRIAL_LINES
