"""Losses on feature maps as NDArray operations: each returns a value and its gradient.

`target` reduces the style features to what a loss needs, averaged over the style's positions.
So the two images may differ in size.

β′ times a value here is the objective of the authors' code. It differs from Eq. 6, 10 and 11 by
a constant factor that each class states.

Passes over feature maps are what losses cost. So a loss takes its term's weight and multiplies
it into a small factor, not into the gradient, and overwrites its own arrays in place. No loss
waits for the device.
"""

from .bn import BNStatistics
from .content import Content
from .frame import Loss, LossGrad
from .gaussian import GaussianMMD, Pairs
from .mmd import LinearMMD, PolynomialMMD
from .smoothing import smoothing

__all__ = [
    "BNStatistics", "Content", "GaussianMMD", "LinearMMD", "Loss", "LossGrad", "Pairs",
    "PolynomialMMD", "smoothing", "style_loss",
]  # fmt: skip


def style_loss(method: str, c: float = 0.0) -> Loss:
    """Return the loss of a method.

    Parameters
    ----------
    method : str
        ``linear``, ``poly``, ``gaussian`` or ``bn``.
    c : float
        Constant of the polynomial kernel.
    """
    losses: dict[str, Loss] = {
        "linear": LinearMMD(),
        "poly": PolynomialMMD(c),
        "gaussian": GaussianMMD(),
        "bn": BNStatistics(),
    }
    return losses[method]
