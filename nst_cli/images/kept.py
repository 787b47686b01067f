"""Keeps the content's colours: before the transfer in the styles, or after it in the result.

The modes are those of `Config.keep_colors` [1]_: ``match`` moves the colours of each style to the
content's, ``luminance`` transfers in grey and returns the content's chroma, ``after`` returns the
chroma alone. All of it happens on gamma-encoded sRGB, as floats. A caller changes content and
start image with `input_pixels`, each style picture with `style_pixels`, and the result with
`with_colours`.

References
----------
.. [1] Gatys et al., "Preserving Color in Neural Artistic Style Transfer", arXiv:1606.05897.
"""

from collections.abc import Callable, Iterator
from typing import Any, Optional

import numpy as np

from .arrays import row_bands

# Rec. 601, full range, as in JPEG.
_LUMA = np.array([0.299, 0.587, 0.114])
# Where a style varies by less than this deviation, in grey levels, it counts as if it varied by
# this: what looks like one colour is not stretched to visible noise.
_LEAST_DEVIATION = 4.0
# The largest difference between the channels of a grey pixel, in grey levels.
_GREY = 1.5


def returns_chroma(mode: str) -> bool:
    """Return whether a mode changes the result, so that `with_colours` needs the content."""
    return mode in ("luminance", "after")


def input_pixels(mode: str, pixels: np.ndarray) -> np.ndarray:
    """Return the content, or a start image, as the network gets it: grey in mode luminance.

    Parameters
    ----------
    mode : str
        As `Config.keep_colors`.
    pixels : ndarray, shape (H, W, 3), float32
        0 to 255.
    """
    if mode != "luminance":
        return pixels
    return _by_rows(pixels, lambda rows: luma(pixels[rows])[..., None])


def style_pixels(
    mode: str,
    style: np.ndarray,
    content: np.ndarray,
    style_weights: Optional[np.ndarray] = None,
    content_weights: Optional[np.ndarray] = None,
) -> np.ndarray:
    """Return one style picture as the network gets it.

    Parameters
    ----------
    mode : str
        As `Config.keep_colors`.
    style, content : ndarray, shape (H, W, 3), float32
        0 to 255, at the sizes that the network gets; the content before `input_pixels`.
    style_weights, content_weights : ndarray, shape (H, W), optional
        How much each pixel counts in the statistics, for instance its alpha; by default, and
        where all are 0, pixels count alike.

    Returns
    -------
    ndarray, shape (H, W, 3), float32
    """
    if mode == "match":
        return _matched(style, content, style_weights, content_weights)
    if mode == "luminance":
        return _matched_luma(style, content, style_weights, content_weights)
    return style


def with_colours(mode: str, pixels: np.ndarray, content: np.ndarray) -> np.ndarray:
    """Return a result with the content's colours, if the mode returns them.

    Y of the result is joined with Cb and Cr of the content. Where the two do not fit into the
    range, the chroma is scaled towards grey until they do, so that Y is exact.

    Parameters
    ----------
    mode : str
        As `Config.keep_colors`.
    pixels, content : ndarray, shape (H, W, 3), float32
        0 to 255.

    Returns
    -------
    ndarray, shape (H, W, 3), float32

    Notes
    -----
    Cb and Cr are multiples of B − Y and R − Y, and the weights of Y add up to 1. So the chroma is
    the difference of each channel to Y, and no matrix has to be inverted.
    """
    if not returns_chroma(mode):
        return pixels
    return _by_rows(
        pixels, lambda rows: _with_chroma(luma(pixels[rows])[..., None], content[rows])
    )


def _with_chroma(brightness: np.ndarray, content: np.ndarray) -> np.ndarray:
    """Return Y, (H, W, 1), with the chroma of a content, (H, W, 3)."""
    chroma = content - luma(content)[..., None]
    space = np.where(chroma > 0, 255 - brightness, brightness)
    size = np.abs(chroma)
    # A channel without chroma fits at any scale.
    share = np.divide(space, size, out=np.ones_like(space), where=size > space)
    return np.clip(brightness + share.min(axis=2, keepdims=True) * chroma, 0, 255)


def is_grey(pixels: np.ndarray) -> bool:
    """Return whether pixels, (H, W, 3), have no colours that could be kept."""
    return all(np.ptp(pixels[rows], axis=2).max() <= _GREY for rows in row_bands(pixels.shape))


def luma(pixels: np.ndarray) -> np.ndarray:
    """Return Y of pixels, (H, W, 3), as (H, W) of their type."""
    brightness: np.ndarray = pixels @ _LUMA.astype(pixels.dtype)
    return brightness


def _by_rows(pixels: np.ndarray, part: Callable[[slice], np.ndarray]) -> np.ndarray:
    """Return an array like `pixels`, float32, of what `part` returns for each slice of rows."""
    result = np.empty(pixels.shape, np.float32)
    for rows in row_bands(pixels.shape):
        result[rows] = part(rows)
    return result


def _matched_luma(style, content, style_weights, content_weights):
    """Return the style in grey, with mean and deviation of the content's Y."""
    brightness = luma(style)[..., None]
    mean, ((variance,),) = _moments(brightness, style_weights)
    new_mean, ((new_variance,),) = _moments(luma(content)[..., None], content_weights)
    scale = np.sqrt(new_variance / max(variance, _LEAST_DEVIATION**2))
    return _by_rows(
        style, lambda rows: np.clip((brightness[rows] - mean) * scale + new_mean, 0, 255)
    )


def _matched(style, content, style_weights, content_weights):
    """Return the style with mean and covariance of the content's colours."""
    mean, covariance = _moments(style, style_weights)
    new_mean, new_covariance = _moments(content, content_weights)
    transport = _transport(covariance, new_covariance).astype(np.float32)
    mean, new_mean = mean.astype(np.float32), new_mean.astype(np.float32)
    # The matrix is symmetric.
    return _by_rows(
        style, lambda rows: np.clip((style[rows] - mean) @ transport + new_mean, 0, 255)
    )


def _transport(covariance: np.ndarray, new_covariance: np.ndarray) -> np.ndarray:
    """Return the symmetric T with T covariance T = new covariance (Monge-Kantorovich).

    Among all maps between two normal distributions, it moves the colours least.
    """
    root, inverse = _roots(covariance, _LEAST_DEVIATION**2)
    middle, _ = _roots(root @ new_covariance @ root)
    return inverse @ middle @ inverse


def _roots(matrix: np.ndarray, least: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the square root of a symmetric matrix and, if `least` is above 0, its inverse.

    Eigenvalues below `least` are replaced by it.
    """
    values, vectors = np.linalg.eigh(matrix)
    roots = np.sqrt(np.maximum(values, least))
    inverse = 1 / roots if least else np.zeros_like(roots)
    return (vectors * roots) @ vectors.T, (vectors * inverse) @ vectors.T


def _moments(
    pixels: np.ndarray, weights: Optional[np.ndarray] = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean, (C,), and the covariance, (C, C), of pixels of shape (H, W, C)."""
    if weights is not None and not weights.any():
        weights = None
    mass: Any = 0.0
    total: Any = 0.0
    for values, band_weights in _bands(pixels, weights):
        mass += band_weights.sum()
        total += band_weights @ values
    mean: Any = total / mass
    products: Any = 0.0
    for values, band_weights in _bands(pixels, weights):
        centred = values - mean
        products += (centred * band_weights[:, None]).T @ centred
    return mean, products / mass


def _bands(
    pixels: np.ndarray, weights: Optional[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows of pixels as float64, (N, C), and their weights, (N,)."""
    for rows in row_bands(pixels.shape):
        values = pixels[rows].reshape(-1, pixels.shape[2]).astype(np.float64)
        if weights is None:
            yield values, np.ones(len(values))
        else:
            yield values, weights[rows].reshape(-1).astype(np.float64)
