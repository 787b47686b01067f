"""Colours that a file describes by numbers and not by a profile, to sRGB."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from .source import Unfit

#: x and y of white, red, green and blue.
Primaries = Sequence[Sequence[float]]

# By the code points of ITU-T H.273.
_D65, _C, _DCI = (0.3127, 0.3290), (0.310, 0.316), (0.314, 0.351)
_BT709 = (_D65, (0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
_SMPTE_170M = (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070))
_PRIMARIES = {
    4: (_C, (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: (_D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: _SMPTE_170M,
    7: _SMPTE_170M,
    8: (_C, (0.681, 0.319), (0.243, 0.692), (0.145, 0.049)),
    9: (_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: (_DCI, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: (_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    22: (_D65, (0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}
# The other codes mean the camera curve of BT.709, which screens display like sRGB. As in browsers,
# the values stay as they are.
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
_HIGH_RANGE = {16: "PQ", 18: "HLG"}
# Invisible differences: the tolerance of libpng, and rounding.
_GAMMA_TOLERANCE, _PLACE_TOLERANCE = 0.05, 0.003
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
# The number of values in the rows that are converted at a time, so that copies stay small.
_BAND = 1 << 21


@dataclass(frozen=True)
class Colours:
    """How the values of a picture become light.

    Attributes
    ----------
    primaries : Primaries
    gamma : float or None
        The exponent from value to light; None for the transfer function of sRGB.
    """

    primaries: Primaries = _BT709
    gamma: Optional[float] = None


def of_code_points(primaries: int, transfer: int) -> Colours:
    """Return the `Colours` that two code points of ITU-T H.273 name; unknown ones are sRGB's.

    Raises
    ------
    Unfit
        The transfer function is one for a high dynamic range.
    """
    if transfer in _HIGH_RANGE:
        raise Unfit(
            f"its brightness is of a high dynamic range ({_HIGH_RANGE[transfer]}); save it with "
            "the standard range, as sRGB"
        )
    return Colours(_PRIMARIES.get(primaries, _BT709), _GAMMAS.get(transfer))


def of_gamma(gamma: Optional[float] = None, primaries: Optional[Primaries] = None) -> Colours:
    """Return the `Colours` of PNG's chunks gAMA and cHRM, of which either may be missing.

    Parameters
    ----------
    gamma : float, optional
        The exponent from light to value; 1 / 2.2, or nearly so, stands for sRGB.
    primaries : Primaries, optional
    """
    exponent = None
    if gamma and abs(gamma * 2.2 - 1) > _GAMMA_TOLERANCE:
        exponent = 1 / gamma
    return Colours(primaries or _BT709, exponent)


def to_srgb(pixels: np.ndarray, colours: Colours) -> None:
    """Convert pixels to sRGB, in place.

    Parameters
    ----------
    pixels : ndarray, shape (H, W, 3), float32
        0 to 255.
    colours : Colours
    """
    matrix = _to_linear_srgb(colours.primaries)
    if matrix is None and colours.gamma is None:
        return
    rows = max(1, _BAND // (3 * pixels.shape[1]))
    for top in range(0, len(pixels), rows):
        band = pixels[top : top + rows]
        values = band / 255
        light = srgb_to_light(values) if colours.gamma is None else values**colours.gamma
        if matrix is not None:
            light = light @ matrix.T
        band[...] = 255 * light_to_srgb(np.clip(light, 0, 1))


def _to_linear_srgb(primaries):
    """Return the matrix from linear values to linear sRGB; None if it changes nothing."""
    if np.abs(np.subtract(primaries, _BT709)).max() <= _PLACE_TOLERANCE:
        return None
    try:
        white = _xyz(_D65)
        adapted = _adaptation(_xyz(primaries[0]), white) @ _to_xyz(primaries)
        return (np.linalg.inv(_to_xyz(_BT709)) @ adapted).astype(np.float32)
    # Places that make no triangle, as of a chunk full of zeros.
    except (np.linalg.LinAlgError, ZeroDivisionError):
        return None


def _to_xyz(primaries):
    white, *colours = map(_xyz, primaries)
    columns = np.stack(colours, axis=1)
    return columns * np.linalg.solve(columns, white)


def _adaptation(source, target):
    scale = (_BRADFORD @ target) / (_BRADFORD @ source)
    return np.linalg.inv(_BRADFORD) @ np.diag(scale) @ _BRADFORD


def _xyz(place):
    x, y = place
    return np.array([x / y, 1, (1 - x - y) / y])


def srgb_to_light(values: np.ndarray) -> np.ndarray:
    """Return linear light of sRGB values, both 0 to 1."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def light_to_srgb(light: np.ndarray) -> np.ndarray:
    """Return sRGB values of linear light, both 0 to 1."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
