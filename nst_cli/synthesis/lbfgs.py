"""L-BFGS with a strong Wolfe line search.

Vectors stay on the device. The host reads only inner products, once per evaluation, to decide
whether a trial is accepted.

References
----------
.. [1] Nocedal and Wright, "Numerical Optimization", 2nd edition, 2006.
.. [2] Chen, Wang and Zhou, "Large-scale L-BFGS using MapReduce", NIPS 2014.
.. [3] Berahas, Nocedal and Takáč, "A Multi-Batch L-BFGS Method for Machine Learning", NIPS 2016.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional

import numpy

from .. import engine
from ..errors import CheckpointError
from .state import State, joined, whole

HISTORY = 20

# Larger vectors have a shorter history, which takes at most this many bytes, or `_LEAST_HISTORY`
# steps: at 12 megapixels, 20 steps would take 6 GB. Runs with a shorter history end at a higher
# loss: at 320 pixels, 5 % higher with 5 steps than with 20, and 12 to 17 % with 3.
_HISTORY_BYTES = 3 << 29
_LEAST_HISTORY = 3

# An image with more pixels is remembered and multiplied one colour at a time, so that temporary
# arrays are small.
_MOST_PIXELS_AT_ONCE = 1 << 20

# The constants c1 and c2 of the strong Wolfe conditions: sufficient decrease, flatter slope.
_DECREASE, _FLATTER = 1e-4, 0.9
_TRIALS = 12
# While the minimum is not bracketed, each trial lies this many times as far as the last.
_EXTRAPOLATION = 4
# A trial inside a bracket keeps this fraction of the bracket's width from both ends.
_BRACKET_MARGIN = 0.1
# A step s with gradient change y is remembered only if s·y / (‖s‖ ‖y‖) is above this.
_LEAST_CURVATURE = 1e-10

# The steps after which the coordinates are rescaled. Early steps have met the curvature that
# matters by then, and each time costs about as much as two products with the memory.
_RESCALED_AFTER = (3, 6, 12, 24)

# Takes a vector; returns its value, its gradient and anything else, as for `minimise`.
Function = Callable[[Any], tuple[Any, Any, Any]]

# Takes the remembered steps and gradient changes, each in its parts; returns the factors of new
# coordinates.
Rescale = Callable[[Sequence[Sequence[Any]], Sequence[Sequence[Any]]], Any]


class Point(NamedTuple):
    """A point on a search line; its numbers are on the host and its arrays on the device.

    Attributes
    ----------
    distance : float
        From the start of the line, in units of its direction.
    value, slope : float
        The function's value, and its derivative along the line.
    vector, gradient : NDArray
    extra : object
        What the function returned besides value and gradient.
    products : numpy.ndarray
        What `Memory.products` returned; the last row belongs to the gradient.
    """

    distance: float
    value: float
    slope: float
    vector: Any
    gradient: Any
    extra: Any
    products: Any = None

    def numbers(self) -> "Point":
        """Return the point without its arrays."""
        return Point(self.distance, self.value, self.slope, None, None, None)


def history_of(size: int) -> int:
    """Return how many steps to remember for vectors of a size."""
    return max(_LEAST_HISTORY, min(HISTORY, _HISTORY_BYTES // (2 * 4 * size)))


def matrix_values(pixels: int) -> int:
    """Return the number of values in the largest matrix of a `Memory` for images of a size."""
    planes = 1 if pixels > _MOST_PIXELS_AT_ONCE else 3
    return 2 * history_of(3 * pixels) * planes * pixels


def minimise(
    function: Function,
    start: Any,
    first_step: float,
    history: int = HISTORY,
    renew: Optional[Callable[[], bool]] = None,
    rescale: Optional[Rescale] = None,
    progress: Optional["Progress"] = None,
) -> Iterator[Point]:
    """Minimise a function by L-BFGS (algorithm 7.5 of [1]_).

    Parameters
    ----------
    function : callable
        Takes a vector, an NDArray of any shape. Returns its value, shape (1,), its gradient, an
        NDArray that the caller may keep, and anything else, which becomes `Point.extra`.
    start : NDArray
    first_step : float
        Length of the first trial step, as a root mean square over the vector; also used after
        the history was cleared.
    history : int
        How many steps to remember.
    renew : callable, optional
        Called before each step. For a stochastic function, it may select another estimate of it
        and then returns True. Gradient changes are only taken within one estimate [3]_.
    progress : Progress, optional
        Where the minimisation goes on, and where it keeps how far it is.

    Yields
    ------
    Point
        First `start`, or the point that `progress` is at, then each step's result. The iteration
        ends if the gradient is 0, or if steepest descent finds no lower value either, because of
        rounding or because the function is not finite.
    """
    progress = progress or Progress(Memory(start, history))
    memory = progress.memory
    size = start.size
    here = progress.here or _evaluate(function, memory, start)
    del start
    for number in itertools.count(progress.number):
        progress.number, progress.here = number, here
        yield here
        # Its arrays are as large as images, and may be freed now.
        progress.here = None
        if renew and renew():
            here = _evaluate(function, memory, here.vector)
        if rescale and number in _RESCALED_AFTER and memory.pairs:
            here = memory.rescale(here, rescale(*zip(*memory.pairs)))
        lower = _search(function, memory, here, memory.direction(here))
        if lower is None:
            memory.clear()
            norm = here.products[-1, -1] ** 0.5
            if not 0 < norm < math.inf:
                return
            scale = first_step * math.sqrt(size) / norm
            lower = _search(function, memory, here, here.gradient * -scale)
            if lower is None:
                return
        here = memory.remember(here, lower)
        del lower


@dataclass
class Progress:
    """How far a minimisation is, while it yields a point.

    Attributes
    ----------
    memory : Memory
    number : int
        Number of steps made.
    here : Point or None
        The point that is yielded; None between two of them.
    """

    memory: "Memory"
    number: int = 0
    here: Optional[Point] = None

    def state(self) -> State:
        """Return the state, which lacks `Point.extra`."""
        assert self.here
        return joined(
            {"number": self.number, "value": self.here.value},
            {
                "vector": self.here.vector,
                "gradient": self.here.gradient,
                "products": self.here.products,
            },
            memory=self.memory.state(),
        )

    def restore(self, state: State, like: Any, extra: Any) -> None:
        """Go on from what `state` returned.

        Parameters
        ----------
        state : State
        like : NDArray
            Has the shape, type and device of the vectors.
        extra : object
            The point's `Point.extra`.
        """
        self.memory.restore(state.part("memory"))
        vector, gradient = (state.on_device(name, like) for name in ("vector", "gradient"))
        shape, m = getattr(state.arrays.get("products"), "shape", ()), self.memory.rows
        # After a start of the line, a step that is remembered, and one that is not.
        if tuple(shape) not in ((1, m + 1), (1, m + 3), (3, m + 3)):
            raise CheckpointError("its inner products have another shape")
        products = state.array("products", shape, "float64").copy()
        self.number = state.whole("number", 0)
        value = state.real("value")
        self.here = Point(0.0, value, 0.0, vector, gradient, extra, products)


class Memory:
    """The last steps s and gradient changes y, as rows of a matrix, and their inner products.

    The two-loop recursion (algorithm 7.4 of [1]_) runs on the direction's coefficients in the
    basis of these rows [2]_. So a step costs two products with the matrix, however long the
    history is. The matrix of a large image consists of parts, one for each colour.
    """

    def __init__(self, like: Any, history: int) -> None:
        self._history = history
        # Rows from this one on have never been used, in each half.
        self._used = 0
        large = like.ndim == 4 and like.shape[2] * like.shape[3] > _MOST_PIXELS_AT_ONCE
        self._planes = like.shape[1] if large else 1
        shape = (2 * history, like.size // self._planes)
        self._basis = [
            engine.nd.zeros(shape, ctx=like.context, dtype=like.dtype) for _ in range(self._planes)
        ]
        self._layer = {"num_hidden": 2 * history, "no_bias": True}
        self.clear()

    def clear(self) -> None:
        self._slots: list[int] = []  # the rows in use, oldest first
        self._products = numpy.zeros((2 * self._history, 2 * self._history))

    @property
    def rows(self) -> int:
        """Number of rows of the matrix."""
        return 2 * self._history

    def parts(self, vector: Any) -> list[Any]:
        """Return the parts of a vector as the matrix has them, flat; they share its memory."""
        planes = vector.reshape((self._planes, -1))
        return [planes[place] for place in range(self._planes)]

    def state(self) -> State:
        """Return the state; its rows are not copied."""
        arrays = {"products": self._products}
        for (slot, place), basis in self._places(self._used):
            arrays[f"step/{slot}/{place}"] = basis[slot]
            arrays[f"change/{slot}/{place}"] = basis[self._history + slot]
        return State({"slots": self._slots, "used": self._used}, arrays)

    def restore(self, state: State) -> None:
        """Go on from what `state` returned, for vectors of the same size."""
        used = state.whole("used", 0, self._history)
        slots = [whole(slot, "slots", 0, used - 1) for slot in state.list("slots")]
        if len(set(slots)) < len(slots):
            raise CheckpointError("'slots' has a slot twice")
        products = state.array("products", (self.rows, self.rows), "float64").copy()
        # One row at a time, because together they are as large as the memory itself.
        for (slot, place), basis in self._places(used):
            like = basis[slot]
            basis[slot] = state.on_device(f"step/{slot}/{place}", like)
            basis[self._history + slot] = state.on_device(f"change/{slot}/{place}", like)
        self._used, self._slots, self._products = used, slots, products

    def _places(self, used: int) -> Iterator[tuple[tuple[int, int], Any]]:
        """Yield slot and number of each part of the first rows, with the part's matrix."""
        for slot in range(used):
            for place, basis in enumerate(self._basis):
                yield (slot, place), basis

    def products(self, point: Point, origin: Optional[Point] = None) -> Any:
        """Return inner products of the gradient at a point.

        Parameters
        ----------
        point : Point
            Its `vector` and `gradient` are used.
        origin : Point, optional
            If given, the differences of both from those at `origin` are multiplied too.

        Returns
        -------
        NDArray, shape (1, 2 · history + 1) or (3, 2 · history + 3)
            First with each row of the matrix, then with each of the vectors themselves. The rows
            are those of the vectors' difference, the gradients' difference, and the gradient.
        """
        nd, total = engine.nd, None
        gradient = self.parts(point.gradient)
        pairs = []
        if origin:
            pairs = [
                (self.parts(point.vector), self.parts(origin.vector)),
                (gradient, self.parts(origin.gradient)),
            ]
        for place, basis in enumerate(self._basis):
            differences = (one[place] - other[place] for one, other in pairs)
            rows = nd.stack(*differences, gradient[place])
            # FullyConnected uses oneDNN, which is several times faster than dot here.
            with_basis = nd.FullyConnected(rows, basis, **self._layer)
            with_each_other = nd.FullyConnected(rows, rows, num_hidden=len(rows), no_bias=True)
            part = nd.concat(with_basis, with_each_other, dim=1)
            total = part if total is None else total + part
        return total

    @property
    def pairs(self) -> list[tuple[Sequence[Any], Sequence[Any]]]:
        """The parts of the remembered steps and gradient changes, the oldest first."""
        return [(self._row(slot), self._row(self._history + slot)) for slot in self._slots]

    def _row(self, number: int) -> list[Any]:
        """Return the parts of a row of the matrix."""
        return [basis[number] for basis in self._basis]

    def rescale(self, point: Point, factors: Any) -> Point:
        """Divide vectors by factors, multiply gradients by them, and return `point` like that."""
        for basis, part in zip(self._basis, self.parts(factors)):
            for slot in self._slots:
                change = self._history + slot
                basis[slot] = basis[slot] / part
                basis[change] = basis[change] * part
        (self._products,) = _read(
            sum(engine.nd.FullyConnected(basis, basis, **self._layer) for basis in self._basis)
        )
        point = point._replace(vector=point.vector / factors, gradient=point.gradient * factors)
        (products,) = _read(self.products(point))
        return point._replace(products=products)

    def remember(self, old: Point, new: Point) -> Point:
        """Remember the step between two points, unless its curvature is not positive.

        Returns
        -------
        Point
            `new`; its products are updated for the rows that changed.
        """
        m = self._history
        step, change, gradient = (row.copy() for row in new.products)
        steps, curvature, changes = step[2 * m], step[2 * m + 1], change[2 * m + 1]
        if not curvature > _LEAST_CURVATURE * math.sqrt(steps * changes):
            return new
        slot = self._slots.pop(0) if len(self._slots) == m else len(self._slots)
        self._slots.append(slot)
        self._used = max(self._used, slot + 1)
        pair = [slot, m + slot]
        rows = (slot, new.vector, old.vector), (m + slot, new.gradient, old.gradient)
        for number, one, other in rows:
            for basis, end, begin in zip(self._basis, self.parts(one), self.parts(other)):
                basis[number] = end - begin
        for row in (step, change, gradient):
            row[pair] = row[2 * m : 2 * m + 2]
        for place, row in zip(pair, (step, change)):
            self._products[place, :] = self._products[:, place] = row[: 2 * m]
        return new._replace(products=gradient[None])

    def direction(self, point: Point) -> Any:
        """Return minus the estimated inverse Hessian times the gradient; None without history."""
        if not self._slots:
            return None
        m, products, gradient = self._history, self._products, point.gradient
        with_gradient = point.products[-1]
        # The recursion works on the vector coefficients · basis + share · gradient.
        coefficients, share = numpy.zeros(2 * m), 1.0
        alpha: dict[int, float] = {}
        for slot in reversed(self._slots):
            curvature = products[slot, m + slot]
            projected = coefficients @ products[slot] + share * with_gradient[slot]
            alpha[slot] = projected / curvature
            coefficients[m + slot] -= alpha[slot]
        newest = self._slots[-1]
        scale = products[newest, m + newest] / products[m + newest, m + newest]
        coefficients, share = coefficients * scale, share * scale
        for slot in self._slots:
            curvature = products[slot, m + slot]
            projected = coefficients @ products[m + slot] + share * with_gradient[m + slot]
            coefficients[slot] += alpha[slot] - projected / curvature
        row = engine.array(-coefficients[None], gradient.context, gradient.dtype)
        direction = engine.nd.empty(gradient.shape, ctx=gradient.context, dtype=gradient.dtype)
        for basis, to, part in zip(self._basis, self.parts(direction), self.parts(gradient)):
            to[:] = engine.nd.dot(row, basis).reshape((-1,)) - share * part
        return direction


def _evaluate(function: Function, memory: Memory, vector: Any) -> Point:
    value, gradient, extra = function(vector)
    point = Point(0.0, 0.0, 0.0, vector, gradient, extra)
    (number,), products = _read(value, memory.products(point))
    return point._replace(value=number, products=products)


def _search(function: Function, memory: Memory, here: Point, direction: Any) -> Optional[Point]:
    """Search along a direction for a lower value; None if there is none."""
    if direction is None:
        return None
    start_slope = engine.dot(here.gradient, direction)

    def try_at(distance: float) -> tuple[Point, Point]:
        """Return the point at a distance, and the start of the line."""
        vector = distance * direction
        vector += here.vector
        value, gradient, extra = function(vector)
        point = Point(distance, 0.0, 0.0, vector, gradient, extra)
        products, slope = memory.products(point, here), engine.dot(gradient, direction)
        (value,), (slope,), (at_start,), products = _read(value, slope, start_slope, products)
        point = point._replace(value=value, slope=slope, products=products)
        return point, here._replace(distance=0.0, slope=at_start)

    return line_search(try_at)


def line_search(try_at: Callable[[float], tuple[Point, Point]]) -> Optional[Point]:
    """Find a point that meets the strong Wolfe conditions (algorithms 3.5 and 3.6 of [1]_).

    Parameters
    ----------
    try_at : callable
        Takes a distance; returns the `Point` there and that of the start of the line. The start's
        slope is read from the device with the first trial, so that the host waits once.

    Returns
    -------
    Point or None
        If no trial meets both conditions, the lowest one with sufficient decrease, or None. None
        if the function does not fall at the start.
    """
    # The arrays of a point are as large as images: a point that cannot be the result is kept
    # without them.
    point, start = try_at(1.0)
    if not start.slope < 0:
        return None
    low = start
    high: Optional[Point] = None
    for number in range(_TRIALS):
        if number:
            far = _EXTRAPOLATION * point.distance
            distance = far if high is None else _between(low, high)
            del point
            point, _ = try_at(distance)
        enough = point.value <= start.value + _DECREASE * point.distance * start.slope
        if not (enough and point.value < low.value and math.isfinite(point.slope)):
            high = point.numbers()
        elif abs(point.slope) <= -_FLATTER * start.slope:
            return point
        else:
            # The minimum lies in the direction in which the function falls.
            if point.slope * (point.distance - low.distance) > 0:
                high = low.numbers()
            low = point
    return low if low.distance > 0 else None


def _between(low: Point, high: Point) -> float:
    """Return where the cubic through two points is lowest, not too close to either."""
    width = high.distance - low.distance
    fraction = 0.5
    if math.isfinite(high.value) and math.isfinite(high.slope):
        # Equation 3.59 of [1]_, on the unit interval.
        bend = low.slope + high.slope - 3 * (high.value - low.value) / width
        square = bend**2 - low.slope * high.slope
        if square >= 0:
            root = math.copysign(math.sqrt(square), width)
            divisor = high.slope - low.slope + 2 * root
            if divisor:
                fraction = 1 - (high.slope + root - bend) / divisor
    return low.distance + width * min(max(fraction, _BRACKET_MARGIN), 1 - _BRACKET_MARGIN)


def _read(*arrays: Any) -> list[numpy.ndarray]:
    """Copy small arrays to the host in one read, as float64."""
    flat = [array.reshape((-1,)) for array in arrays]
    numbers = engine.nd.concat(*flat, dim=0).asnumpy().astype(numpy.float64)
    ends = numpy.cumsum([array.size for array in arrays])
    parts = numpy.split(numbers, ends[:-1])
    return [part.reshape(array.shape) for part, array in zip(parts, arrays)]
