"""The smoothing of the image."""

from typing import Any

from ... import engine
from .frame import LossGrad


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
    nd = engine.nd
    channels = image.shape[1]
    kernel = engine.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], image.context, image.dtype) / 8
    kernel = nd.tile(kernel.reshape((1, 1, 3, 3)), (channels, 1, 1, 1))
    grad = nd.Convolution(
        image, kernel, kernel=(3, 3), pad=(1, 1), no_bias=True,
        num_filter=channels, num_group=channels,
    )  # fmt: skip
    return LossGrad(0.5 * engine.dot(image, grad), grad)
