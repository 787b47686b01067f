"""ICC profiles of curves and a matrix, computed in float [1]_.

LittleCMS, as Pillow has it, converts pixels of 8 bits only. Most profiles of RGB are of the kind
that is computed here for more; the others are left to it.

References
----------
.. [1] ICC.1:2022, Image technology colour management, sections 7.2, 8.3 and 10.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional, Union

import numpy as np

from .colorimetry import light_to_srgb, srgb_to_light

_HEADER = 128
_COLOURS = (("rTRC", "gTRC", "bTRC"), ("rXYZ", "gXYZ", "bXYZ"))
# Tables take precedence over curves and a matrix.
_TABLES = ("A2B", "B2A", "D2B", "B2D")
# The fields of the parametric curves by their number, in the order in which they are stored.
_PARAMETERS = ("g", "gab", "gabc", "gabcd", "gabcdef")
# Places at which a curve is sampled to invert it: four to a step of 16 bits.
_SAMPLES = (1 << 18) + 1
# The most points of a curve: one for each value of 16 bits.
_MOST_POINTS = 1 << 16
# The least of a matrix that can be inverted; that of sRGB is 0.1.
_LEAST_DETERMINANT = 1e-4
# From a curve, whose light should not exceed 1; and at its beginning.
_MOST_LIGHT, _MOST_BLACK = 4.0, 1e-4
# Values that are converted at a time, so that copies stay small.
_BAND = 1 << 20


@dataclass(frozen=True)
class _Parametric:
    """The curve (a x + b)^g + e from d on, and c x + f below."""

    g: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0
    e: float = 0.0
    f: float = 0.0

    def light(self, values: np.ndarray) -> np.ndarray:
        power = np.maximum(self.a * values + self.b, 0) ** self.g + self.e
        return np.where(values >= self.d, power, self.c * values + self.f)


@dataclass(frozen=True)
class _Sampled:
    """A curve through equidistant points."""

    points: tuple[float, ...]

    def light(self, values: np.ndarray) -> np.ndarray:
        return np.interp(values, np.linspace(0, 1, len(self.points)), self.points)


@dataclass(frozen=True)
class Shaper:
    """A profile of one curve for grey, or of three and a matrix for RGB.

    Attributes
    ----------
    curves : tuple of curves
        From values to light, both 0 to 1.
    matrix : tuple of tuple of float, or None
        From linear RGB to XYZ under D50; None for grey.
    """

    curves: tuple[Union[_Parametric, _Sampled], ...]
    matrix: Optional[tuple[tuple[float, ...], ...]] = None

    def to_srgb(self, pixels: np.ndarray, srgb: "Shaper") -> None:
        """Convert pixels to sRGB, in place.

        Parameters
        ----------
        pixels : ndarray, shape (H, W, 1) for grey or (H, W, 3), float32
            0 to 255.
        srgb : Shaper
            That of sRGB.
        """
        if self == srgb:
            return
        matrix = None if self.matrix is None else _between(self, srgb)
        for band in _bands(pixels):
            values = band / 255.0
            light = np.stack(
                [curve.light(values[..., n]) for n, curve in enumerate(self.curves)], axis=-1
            )
            if matrix is not None:
                light = light @ matrix.T
            band[...] = 255 * light_to_srgb(np.clip(light, 0, 1))

    def from_srgb(self, pixels: np.ndarray, srgb: "Shaper") -> None:
        """Convert pixels of sRGB to this profile of RGB, in place; as `to_srgb`."""
        if self == srgb:
            return
        matrix, places = _between(srgb, self), np.linspace(0, 1, _SAMPLES)
        inverses = [np.maximum.accumulate(curve.light(places)) for curve in self.curves]
        for band in _bands(pixels):
            light = np.clip(srgb_to_light(band / 255.0) @ matrix.T, 0, 1)
            for channel, samples in enumerate(inverses):
                band[..., channel] = 255 * np.interp(light[..., channel], samples, places)


def space_of(profile: bytes) -> str:
    """Return the colour space in a profile's header, such as ``RGB``, ``GRAY`` or ``CMYK``."""
    return profile[16:20].decode("ascii", "replace").strip()


def is_profile(data: bytes) -> bool:
    """Return whether data begin as an ICC profile does."""
    return data[36:40] == b"acsp"


def shaper_of(profile: bytes) -> Optional[Shaper]:
    """Return the `Shaper` of an ICC profile, or None if it is of another kind or broken."""
    try:
        return _shaper(profile)
    except (struct.error, ValueError):
        return None


def _shaper(profile):
    tags, space = _tags(profile), space_of(profile)
    if profile[20:24] != b"XYZ " or any(name.startswith(_TABLES) for name in tags):
        return None
    names, columns = {"GRAY": (("kTRC",), ()), "RGB": _COLOURS}.get(space, ((), ()))
    if not names or not {*names, *columns} <= tags.keys():
        return None
    curves = tuple(_curve(tags[name]) for name in names)
    if not all(map(_is_usable, curves)):
        return None
    if not columns:
        return Shaper(curves)
    matrix = np.stack([_place(tags[name]) for name in columns], axis=1)
    # One without an inverse is of no use.
    if abs(np.linalg.det(matrix)) < _LEAST_DETERMINANT:
        return None
    return Shaper(curves, tuple(map(tuple, matrix.tolist())))


def _is_usable(curve):
    """Return whether a curve rises from black, to no wild numbers.

    LittleCMS scales colours so that another black becomes black.
    """
    with np.errstate(all="ignore"):
        light = curve.light(np.linspace(0, 1, 257))
    is_black = abs(light[0]) <= _MOST_BLACK
    return bool((abs(light) <= _MOST_LIGHT).all() and is_black and light[-1] > light[0])


def _tags(profile):
    (count,) = struct.unpack_from(">L", profile, _HEADER)
    # Not copied, because many tags may name the same data.
    tags, view = {}, memoryview(profile)
    for number in range(min(count, 256)):
        name, offset, size = struct.unpack_from(">4sLL", profile, _HEADER + 4 + 12 * number)
        tags[name.decode("latin-1")] = view[offset : offset + size]
    return tags


def _place(data):
    if data[:4] != b"XYZ ":
        raise ValueError
    return np.array(struct.unpack_from(">3l", data, 8)) / 65536


def _curve(data):
    if data[:4] == b"para":
        (kind,) = struct.unpack_from(">H", data, 8)
        names = _PARAMETERS[kind] if kind < len(_PARAMETERS) else ""
        numbers = [n / 65536 for n in struct.unpack_from(f">{len(names)}l", data, 12)]
        return _parametric(kind, dict(zip(names, numbers)))
    if data[:4] != b"curv":
        raise ValueError
    (count,) = struct.unpack_from(">L", data, 8)
    if count > _MOST_POINTS:
        raise ValueError
    if count == 0:
        return _Parametric(1.0)
    if count == 1:
        return _Parametric(struct.unpack_from(">H", data, 12)[0] / 256)
    points = np.frombuffer(data, ">u2", count, 12) / 65535
    return _Sampled(tuple(points.tolist()))


def _parametric(kind, numbers):
    if not numbers or numbers["g"] <= 0 or numbers.get("a", 1) <= 0:
        raise ValueError
    if kind in (1, 2):
        # Below -b / a the curve is 0, or what is added to it above.
        offset = numbers.pop("c", 0.0)
        numbers.update(d=-numbers["b"] / numbers["a"], e=offset, f=offset)
    return _Parametric(**numbers)


def _between(source, target):
    return np.linalg.inv(np.array(target.matrix)) @ np.array(source.matrix)


def _bands(pixels: np.ndarray) -> Sequence[np.ndarray]:
    rows = max(1, _BAND // (pixels.shape[1] * pixels.shape[2]))
    return [pixels[top : top + rows] for top in range(0, len(pixels), rows)]
