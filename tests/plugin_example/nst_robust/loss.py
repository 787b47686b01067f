"""The loss of the method robust."""

from dataclasses import dataclass

from nst_cli.engine import nd
from nst_cli.synthesis.losses import Head, SumLoss, Totals, mass_of, plain, weights_of


@dataclass(frozen=True)
class RobustMeans(SumLoss):
    """The pseudo-Huber distance of the channel means.

    The value is M / N Σ k² (√(1 + (d / k)²) − 1), with d = μ_F − μ_S in each of N channels.
    """

    knee: float = 10.0

    def sums(self, features, basis=None, mask=None):
        """Return Σ m x over the positions of a map (1, N, H, W), as a column (N, 1)."""
        flat = plain(features)
        totals = nd.dot(flat, weights_of(flat, mask))
        return Totals(mass_of(features, mask), flat.shape[1], (totals,))

    def reduced(self, sums, basis=None):
        """Return the means, which are all that the loss needs of the style."""
        return sums.arrays[0] / sums.mass

    def head(self, sums, target, weight=1.0):
        """Return the value, shape (1,), and what `gradient` needs."""
        difference = self.reduced(sums) - target
        root = nd.sqrt(1 + (difference / self.knee) ** 2)
        share = weight / difference.shape[0]
        # k² (√ − 1) without the difference of two almost equal numbers.
        value = share * sums.mass * (difference**2 / (root + 1)).sum()
        return Head(value, (share * difference / root,))

    def gradient(self, features, head, mask=None):
        """Return the gradient at each position: the same, times the mask."""
        (column,) = head.factors
        flat = features.reshape((features.shape[1], -1))
        return nd.dot(column, weights_of(flat, mask).T).reshape(features.shape)
