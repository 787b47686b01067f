"""NVIDIA's driver and its cards, queried through the driver's own library."""

import ctypes
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...errors import EngineError

#: The lowest and highest compute capability that MXNet's CUDA build has kernels for. It has no
#: PTX that a driver could compile for other cards.
CAPABILITIES = ((5, 0), (8, 9))

#: The lowest compute capability with each precision; for float16, the lowest with tensor cores.
LEAST = {"tf32": (8, 0), "float16": (7, 0)}

#: The oldest CUDA whose drivers run the libraries of CUDA 11.8.
OLDEST_CUDA = (11, 0)

# From cuda.h.
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_NO_DEVICE, _MISMATCH = 100, 803


@dataclass(frozen=True)
class Card:
    """A card that the driver sees.

    Attributes
    ----------
    index : int
        The card's number, for MXNet too.
    name : str
    capability : (int, int)
    memory : int
        Bytes.
    """

    index: int
    name: str
    capability: tuple[int, ...]
    memory: int

    @property
    def usable(self) -> bool:
        """Whether MXNet's CUDA build has kernels for it."""
        return CAPABILITIES[0] <= self.capability <= CAPABILITIES[1]

    def check(self) -> None:
        """Raise `EngineError` unless the card is usable."""
        if not self.usable:
            first, last = map(dotted, CAPABILITIES)
            raise EngineError(
                f"GPU {self.index}, {self.name}, has compute capability "
                f"{dotted(self.capability)}, and MXNet 1.9.1 only has kernels for {first} to "
                f"{last}: use another card."
            )


@dataclass(frozen=True)
class Driver:
    """A driver that works.

    Attributes
    ----------
    cuda : (int, int)
        The newest CUDA it supports.
    cards : tuple of Card
        The cards that CUDA_VISIBLE_DEVICES allows, in its order.
    """

    cuda: tuple[int, int]
    cards: tuple[Card, ...]

    def card(self, index: int) -> Card:
        """Return the card with this number; raise `EngineError` if it does not exist."""
        if index >= len(self.cards):
            raise EngineError(
                f"There is no GPU {index}: the driver sees {len(self.cards)}, numbered from 0."
            )
        return self.cards[index]


def probe() -> Driver:
    """Ask the driver for its version and its cards.

    Raises
    ------
    EngineError
        There is no driver or it is too old, it does not start, or it sees no card.
    """
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise EngineError(
            f"There is no NVIDIA driver here ({error}): install the card's driver and try "
            "nvidia-smi."
        ) from error
    version = _number(library, "cuDriverGetVersion")
    cuda = version // 1000, version % 1000 // 10
    if cuda < OLDEST_CUDA:
        raise EngineError(
            f"The NVIDIA driver supports CUDA {dotted(cuda)}, and nst needs CUDA "
            f"{dotted(OLDEST_CUDA)} or newer: install driver 450.80.02 or newer."
        )
    _call(library, "cuInit", 0)
    count = _number(library, "cuDeviceGetCount")
    if not count:
        raise _no_card("0 cards")
    return Driver(cuda, tuple(_card(library, index) for index in range(count)))


def dotted(version: Iterable[int]) -> str:
    """Return (8, 6) as ``8.6``."""
    return ".".join(map(str, version))


def _card(library: ctypes.CDLL, index: int) -> Card:
    device = _number(library, "cuDeviceGet", index)
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    _call(library, "cuDeviceGetName", name, len(name), device)
    _call(library, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    capability = tuple(
        _number(library, "cuDeviceGetAttribute", attribute, device)
        for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR)
    )
    return Card(index, name.value.decode(errors="replace"), capability, memory.value)


def _number(library: ctypes.CDLL, function: str, *arguments: Any) -> int:
    """Call a function that writes an int to its first argument; return the int."""
    number = ctypes.c_int()
    _call(library, function, ctypes.byref(number), *arguments)
    return number.value


def _call(library: ctypes.CDLL, function: str, *arguments: Any) -> None:
    try:
        code = getattr(library, function)(*arguments)
    except AttributeError as error:
        raise EngineError(
            f"The libcuda.so.1 here has no {function}, so it belongs to no suitable NVIDIA "
            "driver: install driver 450.80.02 or newer."
        ) from error
    if code:
        text = ctypes.c_char_p()
        library.cuGetErrorName(code, ctypes.byref(text))
        name = f"{(text.value or b'unknown').decode()}, {code}"
        if code == _NO_DEVICE:
            raise _no_card(name)
        if code == _MISMATCH:
            raise EngineError(
                "The NVIDIA driver's library and its kernel module have different versions "
                f"({name}): restart the machine."
            )
        raise EngineError(f"The NVIDIA driver does not work ({function}: {name}): try nvidia-smi.")


def _no_card(answer: str) -> EngineError:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hint = "" if visible is None else f", and check CUDA_VISIBLE_DEVICES, which is {visible!r}"
    return EngineError(f"The NVIDIA driver sees no card ({answer}): try nvidia-smi{hint}.")
