"""The content loss."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ...errors import ShapeError
from .arrays import squares_of
from .frame import Deterministic, LossGrad


@dataclass(frozen=True)
class Content(Deterministic):
    """Squared distance of two feature maps, Σ (F − P)² [1]_.

    Notes
    -----
    Eq. 4 has a factor ½ that the authors' code lacks; their γ is tuned without it.

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, Eq. 4.
    """

    needs: ClassVar[str] = "positions"

    def target(self, features: Any, random: Any = None) -> Any:
        """Return a copy of the content features, shape (1, N, H, W)."""
        return features.copy()

    def __call__(
        self, features: Any, target: Any, weight: float = 1.0, drawn: Any = None
    ) -> LossGrad:
        """Compare generated features with those of the content image, both (1, N, H, W)."""
        if features.shape != target.shape:
            raise ShapeError(
                f"The content loss needs equal shapes: features have {features.shape}, "
                f"the target has {target.shape}."
            )
        difference = features - target
        value = weight * squares_of(difference)
        difference *= 2 * weight
        return LossGrad(value, difference)
