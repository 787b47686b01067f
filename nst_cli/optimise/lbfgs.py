"""L-BFGS with a strong Wolfe line search, and the basis in which images are easy for it.

Vectors stay on the device; the host reads only inner products, a few at a time.

References
----------
.. [1] Nocedal and Wright, "Numerical Optimization", 2nd edition, 2006.
.. [2] Chen, Wang and Zhou, "Large-scale L-BFGS using MapReduce", NIPS 2014.
.. [3] Berahas, Nocedal and Takáč, "A Multi-Batch L-BFGS Method for Machine Learning", NIPS 2016.
"""

import math
from typing import Any, NamedTuple

import numpy

from .. import engine

HISTORY = 20

# The strong Wolfe conditions: sufficient decrease, and a slope this much flatter.
_DECREASE, _FLATTER = 1e-4, 0.9
_TRIALS = 12
# A trial beyond the one before lies so many times as far.
_FURTHER = 4
# A trial between two others keeps this part of their distance from each.
_MARGIN = 0.1
# A step whose gradient changed by less than this along it says nothing of the curvature.
_LEAST_CURVATURE = 1e-10

# The cosine transform's scaling: (frequency + _CORNER)^−_POWER, in cycles per pixel.
_POWER = 0.4
_CORNER = 0.01
_MIDDLE = 0.25


class Point(NamedTuple):
    """A point on a search line, its numbers on the host and its arrays on the device.

    Attributes
    ----------
    distance : float
        From the start of the line, in units of its direction.
    value, slope : float
        Of the function, and of the function along the line.
    vector, gradient : NDArray
    found : object
        What the function returned beside value and gradient.
    """

    distance: float
    value: float
    slope: float
    vector: Any
    gradient: Any
    found: Any


def minimise(function, start, first_step, history=HISTORY, renew=None):
    """Minimise a function by L-BFGS (algorithm 7.5 of [1]_).

    Parameters
    ----------
    function : callable
        A vector, an NDArray of any shape, to its value, shape (1,), its gradient, an NDArray
        that belongs to the caller, and anything else, which `Point.found` will hold.
    start : NDArray
    first_step : float
        Length of the first trial step, as a root mean square over the vector. Also after the
        history was given up.
    history : int
        How many steps to remember.
    renew : callable, optional
        Called before each step; may exchange a function that is an estimate for another one,
        and then returns True. Gradient changes are only ever taken within one function [3]_.

    Yields
    ------
    Point
        First `start`, then each step's result. It ends where the gradient is 0, or where not
        even the steepest descent finds a lower value, because of rounding or of a function
        that is not finite.
    """
    memory = _Memory(start, history)
    here = _evaluated(function, start, 0.0, None)
    while True:
        yield here
        if renew and renew():
            here = _evaluated(function, here.vector, 0.0, None)
        found = _descended(function, here, memory.direction(here.gradient), 1.0)
        if found is None:
            memory.clear()
            norm = _read(engine.dot(here.gradient, here.gradient))[0] ** 0.5
            if not 0 < norm < math.inf:
                return
            scale = first_step * math.sqrt(start.size) / norm
            found = _descended(function, here, here.gradient * -scale, 1.0)
            if found is None:
                return
        memory.push(found.vector - here.vector, found.gradient - here.gradient)
        here = found


class _Memory:
    """The last steps s and gradient changes y, as rows of one matrix, and their products.

    The two-loop recursion (algorithm 7.4 of [1]_) runs on the coefficients of the direction in
    that basis [2]_: a step costs two products with the matrix, whatever its history.
    """

    def __init__(self, like, history):
        self._history = history
        shape = (2 * history, like.size)
        self._basis = engine.nd.zeros(shape, ctx=like.context, dtype=like.dtype)
        self._layer = {"num_hidden": 2 * history, "no_bias": True}
        self.clear()

    def clear(self):
        self._slots = []  # the oldest first
        self._products = numpy.zeros((2 * self._history, 2 * self._history))

    def push(self, step, change):
        """Remember a step, unless its curvature is not positive."""
        nd, m = engine.nd, self._history
        pair = nd.stack(step.reshape((-1,)), change.reshape((-1,)))
        products = nd.FullyConnected(pair, pair, num_hidden=2, no_bias=True)
        (steps, curvature), (_, changes) = _read(products)
        if not curvature > _LEAST_CURVATURE * math.sqrt(steps * changes):
            return
        slot = self._slots.pop(0) if len(self._slots) == m else len(self._slots)
        self._slots.append(slot)
        self._basis[slot : slot + 1] = pair[:1]
        self._basis[m + slot : m + slot + 1] = pair[1:]
        for row, products in zip((slot, m + slot), self._along(pair)):
            self._products[row, :] = self._products[:, row] = products

    def _along(self, rows):
        """Return the inner products of some rows with each row of the basis, on the host."""
        # A fully connected layer: oneDNN's product is several times quicker than dot here.
        return _read(engine.nd.FullyConnected(rows, self._basis, **self._layer))

    def direction(self, gradient):
        """Return minus the estimated inverse Hessian times the gradient; None if empty."""
        if not self._slots:
            return None
        nd, m, products = engine.nd, self._history, self._products
        row = gradient.reshape((1, -1))
        along = self._along(row)[0]
        # The vector that the recursion works on is coefficients · basis + own · gradient.
        coefficients, own, alpha = numpy.zeros(2 * m), 1.0, {}
        for slot in reversed(self._slots):
            curvature = products[slot, m + slot]
            alpha[slot] = (coefficients @ products[slot] + own * along[slot]) / curvature
            coefficients[m + slot] -= alpha[slot]
        newest = self._slots[-1]
        scale = products[newest, m + newest] / products[m + newest, m + newest]
        coefficients, own = coefficients * scale, own * scale
        for slot in self._slots:
            curvature = products[slot, m + slot]
            projected = coefficients @ products[m + slot] + own * along[m + slot]
            coefficients[slot] += alpha[slot] - projected / curvature
        mixed = engine.array(-coefficients[None], gradient.context, gradient.dtype)
        return nd.dot(mixed, self._basis).reshape(gradient.shape) - own * gradient


def _evaluated(function, vector, distance, direction):
    value, gradient, found = function(vector)
    if direction is None:
        return Point(distance, _read(value)[0], 0.0, vector, gradient, found)
    numbers = engine.nd.concat(value, engine.dot(gradient, direction), dim=0)
    value, slope = _read(numbers)
    return Point(distance, value, slope, vector, gradient, found)


def _descended(function, here, direction, distance):
    """Search along a direction; None where it does not lead down."""
    if direction is None:
        return None
    slope = _read(engine.dot(here.gradient, direction))[0]
    if not slope < 0:
        return None

    def trial(distance):
        return _evaluated(function, here.vector + distance * direction, distance, direction)

    return line_search(trial, here._replace(distance=0.0, slope=slope), distance)


def line_search(trial, start, distance):
    """Find a point that meets the strong Wolfe conditions (algorithms 3.5 and 3.6 of [1]_).

    Parameters
    ----------
    trial : callable
        A distance to its `Point`.
    start : Point
        Where the line begins, its slope negative.
    distance : float
        Of the first trial.

    Returns
    -------
    Point or None
        Where the trials run out first, the lowest that decreased enough, if any.
    """
    low, high = start, None
    for _ in range(_TRIALS):
        point = trial(distance)
        enough = point.value <= start.value + _DECREASE * point.distance * start.slope
        if not (enough and point.value < low.value and math.isfinite(point.slope)):
            high = point
        elif abs(point.slope) <= -_FLATTER * start.slope:
            return point
        else:
            # The minimum lies where the slope points down to.
            if point.slope * (point.distance - low.distance) > 0:
                high = low
            low = point
        distance = _FURTHER * point.distance if high is None else _between(low, high)
    return low if low.distance > 0 else None


def _between(low, high):
    """Return where a cubic through two points is lowest, not too close to either."""
    width = high.distance - low.distance
    place = 0.5
    if math.isfinite(high.value) and math.isfinite(high.slope):
        # Equation 3.59 of [1]_, on the unit interval.
        bend = low.slope + high.slope - 3 * (high.value - low.value) / width
        square = bend**2 - low.slope * high.slope
        if square >= 0:
            root = math.copysign(math.sqrt(square), width)
            divisor = high.slope - low.slope + 2 * root
            if divisor:
                place = 1 - (high.slope + root - bend) / divisor
    return low.distance + width * min(max(place, _MARGIN), 1 - _MARGIN)


class Cosines:
    """Images as coefficients of a cosine transform, scaled by their frequency.

    A network's gradient is strong in fine detail and weak in large areas. With coefficients
    scaled by a falling power of their frequency both move at the same pace: on VGG-19 L-BFGS
    needs about half of the steps that it needs on pixels.

    Parameters
    ----------
    like : NDArray, shape (1, C, H, W)
    """

    def __init__(self, like):
        height, width = like.shape[2:]
        rows, columns = _cosine_matrix(height), _cosine_matrix(width)
        self._rows, self._columns, self._columns_back = (
            engine.array(matrix, like.context, like.dtype) for matrix in (rows, columns, columns.T)
        )
        frequency = numpy.hypot(
            numpy.arange(height)[:, None] / (2 * height), numpy.arange(width) / (2 * width)
        )
        scale = ((frequency + _CORNER) / _MIDDLE) ** -_POWER
        self._scale = engine.array(scale[None, None], like.context, like.dtype)

    def image(self, coefficients):
        """Return the image that has these coefficients, both (1, C, H, W)."""
        scaled = engine.nd.broadcast_mul(coefficients, self._scale)
        return self._transformed(scaled, back=True)

    def gradient(self, gradient):
        """Return the gradient on the coefficients for the `gradient` on the image."""
        transformed = self._transformed(gradient, back=False)
        return engine.nd.broadcast_mul(transformed, self._scale)

    def _transformed(self, array, back):
        nd = engine.nd
        channels, height, width = array.shape[1:]
        columns = self._columns_back if back else self._columns
        lines = array.reshape((-1, width))
        wide = nd.FullyConnected(lines, columns, num_hidden=width, no_bias=True)
        wide = wide.reshape((channels, height, width))
        planes = [nd.dot(self._rows, wide[c], transpose_a=back) for c in range(channels)]
        return nd.stack(*planes).expand_dims(0)


def _cosine_matrix(size):
    """Return the orthonormal transform of type II as a matrix, (frequencies, positions)."""
    frequencies, positions = numpy.arange(size)[:, None], numpy.arange(size)
    matrix = numpy.cos(numpy.pi * frequencies * (2 * positions + 1) / (2 * size))
    matrix[0] *= 0.5**0.5
    return matrix * (2 / size) ** 0.5


def _read(numbers):
    """Copy a few numbers to the host, in float64."""
    return numbers.asnumpy().astype(numpy.float64)
