"""Losses on feature maps as NDArray operations: each returns a value and its gradient.

`target` reduces the style features to what a loss needs, averaged over the style's positions.
So the two images may differ in size.

For the paper's four methods, β′ times a value here is the objective of the authors' code. It
differs from Eq. 6, 10 and 11 by a constant factor that each class states. `frame` says what losses
have in common, and how those made of sums are evaluated; each other module holds one family.

Passes over feature maps are what losses cost. So a loss takes its term's weight and multiplies
it into a small factor, not into the gradient, and overwrites its own arrays in place. No loss
waits for the device.
"""

from typing import Any

from ...methods import METHOD_OPTIONS
from .arrays import plain
from .bn import BNStatistics
from .content import Content
from .covariance import CORAL, GaussianWasserstein
from .fourier import FourierLaplaceMMD, FourierMixtureMMD, FourierMMD
from .frame import (
    Deterministic,
    Head,
    Loss,
    LossGrad,
    Mask,
    Moments,
    Sample,
    SampleLoss,
    SumLoss,
    Totals,
    channel_moments,
    inside,
    masked,
    mass_of,
    weights_of,
)
from .mmd import LinearMMD, PolynomialMMD
from .moments import CentralMoments
from .pairs import EnergyDistance, GaussianMMD, LaplaceMMD, MixtureMMD, Pairs
from .plugin import plugin_loss
from .remd import RelaxedEMD
from .sliced import ChannelWasserstein, SlicedWasserstein
from .smoothing import smoothing

__all__ = [
    "CORAL", "BNStatistics", "CentralMoments", "ChannelWasserstein", "Content", "Deterministic",
    "EnergyDistance", "FourierLaplaceMMD", "FourierMMD", "FourierMixtureMMD", "GaussianMMD",
    "GaussianWasserstein", "Head", "LaplaceMMD", "LinearMMD", "Loss", "LossGrad", "Mask",
    "MixtureMMD", "Moments", "Pairs", "PolynomialMMD", "RelaxedEMD", "Sample", "SampleLoss",
    "SlicedWasserstein", "SumLoss", "Totals", "channel_moments", "inside", "masked", "mass_of",
    "plain", "smoothing", "style_loss", "weights_of",
]  # fmt: skip


#: The loss of each method of `methods.METHODS`.
_LOSSES: dict[str, type] = {
    "linear": LinearMMD,
    "poly": PolynomialMMD,
    "gaussian": GaussianMMD,
    "bn": BNStatistics,
    "coral": CORAL,
    "wasserstein": GaussianWasserstein,
    "sliced": SlicedWasserstein,
    "histogram": ChannelWasserstein,
    "rbf": MixtureMMD,
    "laplace": LaplaceMMD,
    "energy": EnergyDistance,
    "fourier": FourierMMD,
    "cmd": CentralMoments,
    "remd": RelaxedEMD,
}
#: Those whose MMD is estimated by random Fourier features, by `methods.BY_FOURIER`.
_BY_FOURIER: dict[str, type] = {
    "gaussian": FourierMMD,
    "rbf": FourierMixtureMMD,
    "laplace": FourierLaplaceMMD,
}


def style_loss(method: str, **options: Any) -> Loss:
    """Return the loss of a method.

    Parameters
    ----------
    method : str
        One of `plugins.NAMES`.
    **options
        Choices of `Config` by name. Those that the method does not have are ignored; those left
        out have the loss's own default.

    Raises
    ------
    PluginError
        The method is from a plugin, and gives no loss.
    """
    loss: Loss
    if method in _LOSSES:
        names = METHOD_OPTIONS.get(method, ())
        chosen = {name: options[name] for name in names if name in options}
        if method in _BY_FOURIER and chosen.pop("estimator", "pairs") == "fourier":
            return _BY_FOURIER[method](**chosen)  # type: ignore[no-any-return]
        if method in _BY_FOURIER:
            chosen.pop("features", None)
        loss = _LOSSES[method](**chosen)
    else:
        # Its attributes are those of the plugin's loss, which mypy cannot know.
        loss = plugin_loss(method, options)  # type: ignore[assignment]
    return loss
