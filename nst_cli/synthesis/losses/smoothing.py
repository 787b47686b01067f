"""The smoothing of the image."""

from typing import Any

from ... import engine
from .frame import LossGrad

# A convolution by oneDNN converts its input to arrays several times as large, so a large image is
# convolved band by band.
_PIXELS_AT_ONCE = 1 << 20


def smoothing(image: Any) -> LossGrad:
    """Return the smoothing term, ½ ⟨x, Lx⟩, and its gradient Lx.

    L is the five-point Laplacian / 8 of each channel, with zero padding. The authors' code calls
    the term total variation; it is the sum of squared differences between neighbours, / 16. At
    the border, the padding counts as a neighbour.

    Parameters
    ----------
    image : NDArray, shape (1, C, H, W)

    Returns
    -------
    LossGrad
    """
    height, width = image.shape[2:]
    rows = max(1, _PIXELS_AT_ONCE // width)
    if rows >= height:
        grad = _laplacian(image)
    else:
        grad = engine.nd.empty(image.shape, ctx=image.context, dtype=image.dtype)
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            # A row more on each side, unless the image ends there.
            begin, end = max(top - 1, 0), min(bottom + 1, height)
            band = _laplacian(image.slice_axis(axis=2, begin=begin, end=end))
            grad[:, :, top:bottom] = band.slice_axis(axis=2, begin=top - begin, end=bottom - begin)
    return LossGrad(0.5 * engine.dot(image, grad), grad)


def _laplacian(image: Any) -> Any:
    """Return Lx, with zero padding."""
    nd = engine.nd
    channels = image.shape[1]
    kernel = engine.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], image.context, image.dtype) / 8
    kernel = nd.tile(kernel.reshape((1, 1, 3, 3)), (channels, 1, 1, 1))
    return nd.Convolution(
        image, kernel, kernel=(3, 3), pad=(1, 1), no_bias=True,
        num_filter=channels, num_group=channels,
    )  # fmt: skip
