"""L-BFGS with a strong Wolfe line search, and the basis in which images are easy for it.

Vectors stay on the device. The host reads only inner products, once for each evaluation: it has
to know whether a trial is accepted before there is another one.

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
    products : numpy.ndarray
        As `_Memory.products` gave them, its last row those of the gradient.
    """

    distance: float
    value: float
    slope: float
    vector: Any
    gradient: Any
    found: Any
    products: Any = None


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
    here = _evaluated(function, memory, start)
    while True:
        yield here
        if renew and renew():
            here = _evaluated(function, memory, here.vector)
        found = _descended(function, memory, here, memory.direction(here))
        if found is None:
            memory.clear()
            norm = here.products[-1, -1] ** 0.5
            if not 0 < norm < math.inf:
                return
            scale = first_step * math.sqrt(start.size) / norm
            found = _descended(function, memory, here, here.gradient * -scale)
            if found is None:
                return
        here = memory.pushed(here, found)


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

    def products(self, gradient, *others):
        """Return the inner products of some vectors, the gradient last, with what is remembered.

        NDArray, (vectors, 2 · history + vectors): with each row of the basis, then with each
        other.
        """
        nd = engine.nd
        rows = nd.stack(*(vector.reshape((-1,)) for vector in (*others, gradient)))
        # Fully connected layers: oneDNN's product is several times quicker than dot here.
        along = nd.FullyConnected(rows, self._basis, **self._layer)
        among = nd.FullyConnected(rows, rows, num_hidden=len(rows), no_bias=True)
        return nd.concat(along, among, dim=1)

    def pushed(self, old, new):
        """Remember the step between two points, unless its curvature is not positive.

        Returns
        -------
        Point
            `new`, with the products of its gradient with the rows as they are now.
        """
        m = self._history
        step, change, gradient = (row.copy() for row in new.products)
        steps, curvature, changes = step[2 * m], step[2 * m + 1], change[2 * m + 1]
        if not curvature > _LEAST_CURVATURE * math.sqrt(steps * changes):
            return new
        slot = self._slots.pop(0) if len(self._slots) == m else len(self._slots)
        self._slots.append(slot)
        pair = [slot, m + slot]
        self._basis[slot] = (new.vector - old.vector).reshape((-1,))
        self._basis[m + slot] = (new.gradient - old.gradient).reshape((-1,))
        for row in (step, change, gradient):
            row[pair] = row[2 * m : 2 * m + 2]
        for place, row in zip(pair, (step, change)):
            self._products[place, :] = self._products[:, place] = row[: 2 * m]
        return new._replace(products=gradient[None])

    def direction(self, point):
        """Return minus the estimated inverse Hessian times the gradient; None if empty."""
        if not self._slots:
            return None
        m, products, gradient = self._history, self._products, point.gradient
        along = point.products[-1]
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
        return engine.nd.dot(mixed, self._basis).reshape(gradient.shape) - own * gradient


def _evaluated(function, memory, vector):
    value, gradient, found = function(vector)
    (value,), products = _read(value, memory.products(gradient))
    return Point(0.0, value, 0.0, vector, gradient, found, products)


def _descended(function, memory, here, direction):
    """Search along a direction; None where it does not lead down."""
    if direction is None:
        return None
    falling = engine.dot(here.gradient, direction)

    def tried(distance):
        vector = here.vector + distance * direction
        value, gradient, found = function(vector)
        products = memory.products(gradient, vector - here.vector, gradient - here.gradient)
        slope = engine.dot(gradient, direction)
        (value,), (slope,), (start,), products = _read(value, slope, falling, products)
        return Point(distance, value, slope, vector, gradient, found, products), start

    # The first trial goes ahead of the slope it depends on, so that both are read at once.
    first, slope = tried(1.0)
    if not slope < 0:
        return None
    start = here._replace(distance=0.0, slope=slope)
    return line_search(lambda distance: tried(distance)[0], start, first)


def line_search(trial, start, first):
    """Find a point that meets the strong Wolfe conditions (algorithms 3.5 and 3.6 of [1]_).

    Parameters
    ----------
    trial : callable
        A distance to its `Point`.
    start : Point
        Where the line begins, its slope negative.
    first : Point
        The first trial.

    Returns
    -------
    Point or None
        Where the trials run out first, the lowest that decreased enough, if any.
    """
    low, high, point = start, None, first
    for number in range(_TRIALS):
        if number:
            point = trial(_FURTHER * point.distance if high is None else _between(low, high))
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


def _read(*arrays):
    """Copy arrays of a few numbers to the host at once, in float64."""
    flat = [array.reshape((-1,)) for array in arrays]
    numbers = engine.nd.concat(*flat, dim=0).asnumpy().astype(numpy.float64)
    ends = numpy.cumsum([array.size for array in arrays])
    parts = numpy.split(numbers, ends[:-1])
    return [part.reshape(array.shape) for part, array in zip(parts, arrays)]
