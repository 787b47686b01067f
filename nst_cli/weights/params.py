"""Reads MXNet's `.params` files without MXNet, whose own loader may hang on a corrupt header.

A file consists of the number 0x112 and eight reserved bytes, then a count and that many arrays,
then a count and that many names. Everything is little-endian and unaligned. Each length is
compared with the bytes that are left before anything is allocated.
"""

import math
import os
import struct
from typing import Any

import numpy

from ..config import BLOCKS
from ..errors import WeightsError, reason
from ..files import StrPath

FILE_MAGIC = 0x112
DENSE = 0
DTYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8"}

# V1 has shapes of 64 bits, V2 also a storage type, V3 NumPy's shape semantics. Older files have
# no magic: the number of dimensions is in its place.
_MAGIC_V1, _MAGIC_V2, _MAGIC_V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA

# A crafted file could keep the parser busy for minutes; real networks have far fewer.
_MOST_ARRAYS = 1 << 16
_MOST_DIMENSIONS = 32

_CHANNELS = (64, 128, 256, 512, 512)


def _convolutions() -> dict[str, tuple[int, int, int, int]]:
    layers, inputs = {}, 3
    for block, (depth, channels) in enumerate(zip(BLOCKS, _CHANNELS), start=1):
        for index in range(1, depth + 1):
            layers[f"conv{block}_{index}"] = (channels, inputs, 3, 3)
            inputs = channels
    return layers


#: VGG-19's convolutions in order: each name with its kernel's shape (outputs, inputs, 3, 3).
CONVOLUTIONS = _convolutions()

#: The layers a file must have; the default layers of style transfer need nothing deeper.
REQUIRED = tuple(CONVOLUTIONS)[: tuple(CONVOLUTIONS).index("conv5_1") + 1]


def read(path: StrPath) -> dict[str, numpy.ndarray]:
    """Read every array of an MXNet `.params` file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict of str to ndarray
        Read-only views of the file, with its data types, under the names in the file
        (``arg:conv1_1_weight``).

    Raises
    ------
    WeightsError
        The file cannot be read, is truncated or corrupt, or has another format.
    """
    reader = _Reader(path)
    magic, _ = reader.unpack("QQ", "the header")
    if magic != FILE_MAGIC:
        start = bytes(reader.content[:16])
        raise WeightsError(
            f"{path} is not an MXNet parameter file: it begins with {start!r}. Was a web page "
            "or an archive saved under this name?"
        )
    (count,) = reader.unpack("Q", "the number of arrays")
    if not 0 < count <= _MOST_ARRAYS:
        raise reader.error(f"its header claims {count} arrays")
    arrays = [_array(reader, f"array {index} of {count}") for index in range(count)]
    named = dict(zip(_names(reader, count), arrays))
    if len(named) < count:
        raise reader.error(f"its {count} arrays have only {len(named)} different names")
    if reader.left:
        raise reader.error(f"{reader.left} bytes follow its end")
    return named


def load(path: StrPath) -> dict[str, numpy.ndarray]:
    """Read VGG-19's convolutions from a `.params` file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict of str to ndarray
        ``conv1_1_weight``, shape (64, 3, 3, 3), ``conv1_1_bias``, shape (64,), and so on: the
        layers of `REQUIRED`, and every deeper layer with both arrays in the file. Float32 and
        finite; an array that is float32 in the file is a view of it.

    Raises
    ------
    WeightsError
        As `read`; or an array is missing, has a wrong shape, or holds NaN or infinity.
    """
    arrays = {name.removeprefix("arg:"): array for name, array in read(path).items()}
    parameters = {}
    for layer, shape in CONVOLUTIONS.items():
        shapes = {f"{layer}_weight": shape, f"{layer}_bias": shape[:1]}
        missing = [name for name in shapes if name not in arrays]
        if missing and layer not in REQUIRED:
            continue
        if missing:
            raise WeightsError(
                f"{path} has no array '{missing[0]}': VGG-19 needs a weight and a bias for each "
                f"of {REQUIRED[0]} to {REQUIRED[-1]}."
            )
        for name, expected in shapes.items():
            parameters[name] = _checked(path, name, arrays[name], expected)
    return parameters


class _Reader:
    """A file's bytes and a position in them; its errors name the file and the broken part."""

    def __init__(self, path: StrPath):
        self.path, self.position = path, 0
        try:
            if os.path.isdir(path):
                raise WeightsError(f"{path} is a folder, not an MXNet parameter file.")
            size = os.path.getsize(path)
            # Reading a named pipe or a device might never end.
            if not os.path.isfile(path):
                raise WeightsError(f"{path} is not a file, but a pipe or a device.")
            if not size:
                raise WeightsError(f"{path} is empty: get it again (nst weights fetch).")
            self.content = numpy.memmap(path, numpy.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise WeightsError(f"Cannot read the weights {path}: {reason(error)}.") from error

    @property
    def left(self) -> int:
        return len(self.content) - self.position

    def error(self, problem: str) -> WeightsError:
        return WeightsError(
            f"{self.path} is broken: {problem}. Get the file again (nst weights fetch)."
        )

    def skip(self, size: int, what: str) -> int:
        """Move past the `size` bytes of the part `what`; return where they start."""
        if size > self.left:
            raise self.error(f"the file ends in {what} ({size} bytes needed, {self.left} left)")
        start = self.position
        self.position += size
        return start

    def unpack(self, form: str, what: str) -> tuple[Any, ...]:
        form = "<" + form
        start = self.skip(struct.calcsize(form), what)
        return struct.unpack(form, self.content[start : self.position].tobytes())


def _array(reader: _Reader, what: str) -> numpy.ndarray:
    shape = _shape(reader, what)
    _, _, flag = reader.unpack("iii", what)
    if flag not in DTYPES:
        raise reader.error(f"{what} has the unknown type {flag}")
    dtype, size = numpy.dtype(DTYPES[flag]), math.prod(shape)
    start = reader.skip(size * dtype.itemsize, f"{what}, shape {shape}")
    return numpy.frombuffer(reader.content, dtype, size, start).reshape(shape)


def _shape(reader: _Reader, what: str) -> tuple[int, ...]:
    (magic,) = reader.unpack("I", what)
    if magic in (_MAGIC_V2, _MAGIC_V3):
        storage, dimensions = reader.unpack("ii", what)
        if storage != DENSE:
            raise reader.error(f"{what} is sparse (storage type {storage})")
        kind = "q"
    elif magic == _MAGIC_V1:
        (dimensions,) = reader.unpack("I", what)
        kind = "q"
    else:
        dimensions, kind = magic, "I"
    if not 0 < dimensions <= _MOST_DIMENSIONS:
        raise reader.error(f"{what} has {dimensions} dimensions")
    shape = reader.unpack(f"{dimensions}{kind}", what)
    if min(shape) < 1:
        raise reader.error(f"{what} has the shape {shape}")
    return shape


def _names(reader: _Reader, count: int) -> list[str]:
    (named,) = reader.unpack("Q", "the number of names")
    if named != count:
        raise reader.error(f"it has {named} names for {count} arrays")
    names = []
    for index in range(count):
        what = f"name {index} of {count}"
        (length,) = reader.unpack("Q", what)
        start = reader.skip(length, what)
        try:
            names.append(reader.content[start : reader.position].tobytes().decode())
        except UnicodeDecodeError:
            raise reader.error(f"{what} is not UTF-8") from None
    return names


def _checked(
    path: StrPath, name: str, array: numpy.ndarray, shape: tuple[int, ...]
) -> numpy.ndarray:
    if array.shape != shape:
        raise WeightsError(
            f"{path} is not VGG-19: array '{name}' has the shape {array.shape}, not {shape}."
        )
    # Doubles too large for float32 become infinite and are refused below.
    with numpy.errstate(over="ignore"):
        array = array.astype(numpy.float32, copy=False)
    if not numpy.isfinite(array).all():
        raise WeightsError(f"{path} is broken: array '{name}' holds NaN or infinity.")
    return array
