"""What a run must keep so that it can go on later as if it had never stopped.

A state is plain data, because it is stored in files. It may come back from a file that somebody
changed, so every value is checked when it is used.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy

from .. import engine
from ..errors import CheckpointError

# The words of a Mersenne Twister, which is what a `RandomState` holds.
_WORDS = 624


class State(NamedTuple):
    """Numbers and arrays, by name.

    Attributes
    ----------
    numbers : dict
        What JSON can hold: numbers, lists of them, None, and dicts of these.
    arrays : dict of str to array
        On the device or on the host; float32, float64 or uint32.
    """

    numbers: Mapping[str, Any]
    arrays: Mapping[str, Any]

    def part(self, name: str) -> "State":
        """Return the state that `joined` put in under a name."""
        numbers, start = self.numbers.get(name), f"{name}/"
        if not isinstance(numbers, Mapping):
            raise CheckpointError(f"it has no {name!r}")
        arrays = {
            key[len(start) :]: array for key, array in self.arrays.items() if key.startswith(start)
        }
        return State(numbers, arrays)

    def whole(self, name: str, least: int, most: Optional[int] = None) -> int:
        """Return a whole number within bounds."""
        return whole(self.numbers.get(name), name, least, most)

    def real(self, name: str) -> float:
        """Return a number."""
        return real(self.numbers.get(name), name)

    def reals(self, name: str) -> list[float]:
        """Return a list of numbers."""
        return [real(value, name) for value in self.list(name)]

    def list(self, name: str) -> Sequence[Any]:
        """Return a list of anything."""
        value = self.numbers.get(name)
        if not isinstance(value, list):
            raise CheckpointError(f"{name!r} is no list")
        return value

    def array(self, name: str, shape: Sequence[int], dtype: str = "float32") -> numpy.ndarray:
        """Return an array of a shape and type, on the host."""
        value = self.arrays.get(name)
        if value is None or tuple(value.shape) != tuple(shape) or value.dtype != dtype:
            raise CheckpointError(f"it has no array {name!r} of shape {tuple(shape)} in {dtype}")
        return numpy.asarray(value)

    def on_device(self, name: str, like: Any) -> Any:
        """Return an array with the shape, type and device of `like`, an NDArray."""
        dtype = numpy.dtype(like.dtype).name
        return engine.array(self.array(name, like.shape, dtype), like.context, dtype)


def joined(numbers: Mapping[str, Any], arrays: Mapping[str, Any], **parts: State) -> State:
    """Return a state with further states in it, each under its name."""
    all_numbers, all_arrays = dict(numbers), dict(arrays)
    for name, part in parts.items():
        all_numbers[name] = part.numbers
        all_arrays.update({f"{name}/{key}": array for key, array in part.arrays.items()})
    return State(all_numbers, all_arrays)


def whole(value: Any, name: str, least: int, most: Optional[int] = None) -> int:
    """Return a value of a state that must be a whole number within bounds."""
    if type(value) is not int or value < least or (most is not None and value > most):
        bounds = f"from {least} on" if most is None else f"from {least} to {most}"
        raise CheckpointError(f"{name!r} is not a whole number {bounds}")
    return value


def real(value: Any, name: str) -> float:
    """Return a value of a state that must be a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CheckpointError(f"{name!r} is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise CheckpointError(f"{name!r} is not a finite number")
    return number


def state_of_streams(streams: Iterable[numpy.random.RandomState]) -> State:
    """Return the state of random streams, for `restore_streams`."""
    numbers, arrays = {}, {}
    for index, stream in enumerate(streams):
        _, words, position, has_gauss, gauss = stream.get_state()
        numbers[str(index)] = [int(position), int(has_gauss), float(gauss)]
        arrays[str(index)] = words
    return State(numbers, arrays)


def restore_streams(streams: Iterable[numpy.random.RandomState], state: State) -> None:
    """Make random streams go on from what `state_of_streams` returned."""
    restored: list[tuple[numpy.random.RandomState, Any]] = []
    for index, stream in enumerate(streams):
        words = state.array(str(index), (_WORDS,), "uint32")
        values = state.list(str(index))
        if len(values) != 3:
            raise CheckpointError("a random stream has no position")
        # NumPy itself does not check them.
        position = whole(values[0], "position", 0, _WORDS)
        has_gauss = whole(values[1], "has_gauss", 0, 1)
        gauss = real(values[2], "gauss")
        restored.append((stream, ("MT19937", words, position, has_gauss, gauss)))
    for stream, values in restored:
        stream.set_state(values)
