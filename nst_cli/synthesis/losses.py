"""Losses on feature maps as NDArray operations: each returns a value and its gradient.

`target` reduces the style features to what a loss needs, averaged over the style's positions.
So the two images may differ in size.

β′ times a value here is the objective of the authors' code. It differs from Eq. 6, 10 and 11 by
a constant factor that each class states.

Passes over feature maps are what losses cost. So a loss takes its term's weight and multiplies
it into a small factor, not into the gradient, and overwrites its own arrays in place. No loss
waits for the device.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Optional, Protocol

import numpy

from .. import engine
from ..errors import ShapeError

# At least this many pairs are drawn within the style. They are drawn once, so too few of them
# would bias the whole run.
_STYLE_PAIRS = 1 << 12

# A standard deviation below this many units in the last place of the mean is rounding error.
_ROUNDING = 32


class LossGrad(NamedTuple):
    """A loss and its gradient.

    Attributes
    ----------
    value : NDArray, shape (1,)
    grad : NDArray
        With respect to the features or image, and shaped like it.
    """

    value: Any
    grad: Any


class Loss(Protocol):
    """The interface of every loss: a target once, then a value and a gradient at each step.

    Attributes
    ----------
    draws : bool
        Whether a value depends on a random draw.
    """

    draws: ClassVar[bool]

    def target(self, features: Any, random: Any = None) -> Any:
        """Reduce content or style features, shape (1, N, H, W), to the loss's target.

        `random`, a `numpy.random.RandomState`, is only used by losses that draw.
        """

    def draw(self, random: Any, shape: tuple[int, ...], target: Any) -> Any:
        """Return the random draw for one evaluation of features of a shape, (1, N, H, W)."""

    def __call__(
        self, features: Any, target: Any, weight: float = 1.0, drawn: Any = None
    ) -> LossGrad:
        """Compare features with a target; `drawn` is what `draw` returned."""


class _Deterministic:
    """A loss without random draws."""

    draws: ClassVar[bool] = False

    def draw(self, random: Any, shape: tuple[int, ...], target: Any) -> None:
        """Return None, because this loss draws nothing."""


@dataclass(frozen=True)
class Content(_Deterministic):
    """Squared distance of two feature maps, Σ (F − P)² [1]_.

    Notes
    -----
    Eq. 4 has a factor ½ that the authors' code lacks; their γ is tuned without it.

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, Eq. 4.
    """

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
        value = weight * _squares(difference)
        difference *= 2 * weight
        return LossGrad(value, difference)


@dataclass(frozen=True)
class LinearMMD(_Deterministic):
    """MMD under the linear kernel k(x, y) = x·y: the distance of the channel means [1]_.

    The value is M / (2 N) ‖μ_F − μ_S‖².

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, Eq. 10.
    """

    def target(self, features: Any, random: Any = None) -> Any:
        """Return the channel means of the style features, shape (N, 1)."""
        return _means(_plain(features))

    def __call__(
        self, features: Any, target: Any, weight: float = 1.0, drawn: Any = None
    ) -> LossGrad:
        """Compare features (1, N, H, W) with a target; `LossGrad` in the unit of β′ = 2e3."""
        flat = _plain(features)
        _check_channels(features.shape[1], target)
        channels, positions = flat.shape
        difference = _means(flat) - target
        value = weight * positions / (2 * channels) * _squares(difference)
        # The gradient is the same at all positions. An outer product with ones is far faster
        # than MXNet's broadcast to a new axis.
        grad = engine.nd.dot(difference * (weight / channels), _ones(flat, 1, positions))
        return LossGrad(value, grad.reshape(features.shape))


@dataclass(frozen=True)
class PolynomialMMD(_Deterministic):
    """MMD under the kernel k(x, y) = (x·y + c)², by N × N Gram matrices [1]_.

    The value is M / (4 N²) ( ‖G_F − G_S‖² + 2c ‖μ_F − μ_S‖² ), where G is the Gram matrix over
    M. With c = 0 this is Eq. 6, except that its denominator has M once, not squared, as in the
    authors' code. The value thus grows with the number of positions, as the content loss does.

    Parameters
    ----------
    c : float
        Constant of the kernel, not negative.

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, Eq. 6 to 10.
    """

    c: float = 0.0

    def target(self, features: Any, random: Any = None) -> Any:
        """Return the Gram matrix per position, (N, N), and the channel means, (N, 1)."""
        flat = _plain(features)
        return _gram(flat), _means(flat) if self.c else None

    def __call__(
        self, features: Any, target: Any, weight: float = 1.0, drawn: Any = None
    ) -> LossGrad:
        """Compare features (1, N, H, W) with a target; `LossGrad` in the unit of β′ = 0.1."""
        nd = engine.nd
        gram, means = target
        flat = _plain(features)
        _check_channels(features.shape[1], gram)
        channels, positions = flat.shape
        difference = _gram(flat) - gram
        squares, scale = _squares(difference), weight / channels**2
        # The gradient is (G_F − G_S) x + c (μ_F − μ_S) at each position: a convolution with a
        # 1 × 1 kernel. The matrix is symmetric, so a transposed convolution gives the same
        # result, and oneDNN runs that one in the map's own layout. It converts the kernel's
        # layout in place, so the kernel must be a copy and not a view.
        kernel = nd.reshape(difference * scale, shape=(channels, channels, 1, 1))
        shape = {"kernel": (1, 1), "num_filter": channels}
        if self.c:
            shift = _means(flat) - means
            squares = squares + 2 * self.c * _squares(shift)
            bias = (shift * (self.c * scale)).reshape((channels,))
            grad = nd.Deconvolution(features, kernel, bias, no_bias=False, **shape)
        else:
            grad = nd.Deconvolution(features, kernel, no_bias=True, **shape)
        return LossGrad(positions / 4 * scale * squares, grad)


@dataclass(frozen=True)
class GaussianMMD:
    """MMD under the kernel k(x, y) = exp(−‖x−y‖² / 2σ²), estimated from random pairs.

    The value is 1 / (2 N M) Σ [ k(f, f′) + k(s, s′) − k(f, s′) − k(f′, s) ] over M / 2 random
    quadruples: the unbiased estimate of Gretton et al. [2]_, which costs time linear in M. The
    bandwidth 2σ² is the mean squared distance of the drawn pairs; the gradient treats it as a
    constant [1]_.

    Parameters
    ----------
    bandwidth : float, optional
        2σ²; by default measured at each call.

    Notes
    -----
    Under this kernel no finite statistics describe the style, so the target holds its features.
    The pairs within the style have no gradient. They are drawn once, and many of them; the
    authors draw a few at each step.

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, section 3.2.
    .. [2] Gretton et al., "A Kernel Two-Sample Test", JMLR 13 (2012), section 6.
    """

    draws: ClassVar[bool] = True

    bandwidth: Optional[float] = None

    def target(self, features: Any, random: Any = None) -> tuple[Any, Any]:
        """Return the style features as rows, and the squared distances of random pairs of them.

        Parameters
        ----------
        features : NDArray, shape (1, N, H, W)
        random : numpy.random.RandomState

        Returns
        -------
        rows : NDArray, shape (M_S, N)
        distances : NDArray, shape (pairs, 1)
        """
        rows = _rows(features)
        half = rows.shape[0] // 2
        if not half:
            # A single position can only be paired with itself, at distance 0.
            return rows, engine.nd.zeros((1, 1), ctx=rows.context, dtype=rows.dtype)
        rounds = -(-_STYLE_PAIRS // half)
        orders = [random.permutation(rows.shape[0]) for _ in range(rounds)]
        first = numpy.concatenate([order[:half] for order in orders])
        second = numpy.concatenate([order[half : 2 * half] for order in orders])
        return rows, _row_squares(_select(rows, first) - _select(rows, second))

    def draw(
        self, random: Any, shape: tuple[int, ...], target: tuple[Any, Any]
    ) -> Optional["Pairs"]:
        """Draw the pairs of one evaluation.

        Parameters
        ----------
        random : numpy.random.RandomState
        shape : tuple
            Shape of the feature map, (1, N, H, W).
        target : tuple
            What `target` returned.

        Returns
        -------
        Pairs or None
            None if the map has a single position, which has no partner.
        """
        rows, _ = target
        positions = shape[2] * shape[3]
        if positions < 2:
            return None
        order = random.permutation(positions)
        half = positions // 2
        place = numpy.empty(positions, dtype=numpy.int32)
        place[order] = numpy.arange(positions)
        return Pairs(
            order=_index(order[: 2 * half], rows),
            place=_index(numpy.minimum(place, 2 * half - 1), rows),
            style=_index(_shuffled(random, rows.shape[0], 2 * half), rows),
            odd=int(order[-1]) if positions % 2 else None,
        )

    def __call__(
        self, features: Any, target: Any, weight: float = 1.0, drawn: Any = None
    ) -> LossGrad:
        """Compare features with a target over drawn pairs.

        Parameters
        ----------
        features : NDArray, shape (1, N, H, W)
        target : tuple
        weight : float
        drawn : Pairs or None

        Returns
        -------
        LossGrad
            In the unit of β′ = 3e14. The value may be negative, because the estimate is
            unbiased. Value and gradient are 0 if `drawn` is None.
        """
        nd = engine.nd
        style, d_style = target
        _check_channels(features.shape[1], style, axis=1)
        if drawn is None:
            return LossGrad(
                nd.zeros((1,), ctx=features.context, dtype=features.dtype), nd.zeros_like(features)
            )
        _, channels, height, width = features.shape
        rows = nd.take(_rows(features), drawn.order, mode="clip")
        half = rows.shape[0] // 2
        # First the differences f − f′, then f − s′ and f′ − s.
        difference = nd.empty((3 * half, channels), ctx=features.context, dtype=features.dtype)
        nd.elemwise_sub(rows[:half], rows[half:], out=difference[:half])
        nd.elemwise_sub(rows, nd.take(style, drawn.style, mode="clip"), out=difference[half:])
        distances = _row_squares(difference)
        # Weight the style's pairs as if there were as many as pairs of features.
        share = half / d_style.shape[0]
        inverse = self._inverse_bandwidth(distances, d_style, share)
        # broadcast_mul, because MXNet 2's dot of a long column and a scalar ends the process.
        kernel, k_style = (nd.exp(-nd.broadcast_mul(d, inverse)) for d in (distances, d_style))
        scale = weight / (channels * height * width)
        total = _total(kernel[:half]) + share * _total(k_style) - _total(kernel[half:])
        nd.broadcast_mul(difference, nd.broadcast_mul(kernel, inverse * scale), out=difference)
        to_partner, first, second = (difference[n * half : (n + 1) * half] for n in range(3))
        first -= to_partner
        second += to_partner
        grad = nd.take(difference[half:], drawn.place, mode="clip")
        if drawn.odd is not None:
            grad[drawn.odd] = 0
        grad = nd.transpose(grad.reshape((1, height, width, channels)), axes=(0, 3, 1, 2))
        return LossGrad(total.reshape((1,)) * (scale / 2), grad)

    def _inverse_bandwidth(self, distances: Any, d_style: Any, share: float) -> Any:
        if self.bandwidth is not None:
            return engine.nd.full((1, 1), 1 / self.bandwidth, d_style.context, d_style.dtype)
        total = _total(distances) + share * _total(d_style)
        # Two images of one flat colour have only distances of 0, where no bandwidth matters.
        return 4 / 3 * distances.shape[0] / engine.nd.maximum(total, 1e-30)


class Pairs(NamedTuple):
    """Positions drawn for one evaluation of the Gaussian MMD, as indices on the device.

    Attributes
    ----------
    order : NDArray of int32, shape (2h,), h = M // 2
        The features' positions, shuffled; the first half is paired with the second.
    place : NDArray of int32, shape (M,)
        The index of each position in `order`; arbitrary for `odd`.
    style : NDArray of int32, shape (2h,)
        The style position that each position of `order` is compared with.
    odd : int or None
        The position without a partner, if M is odd.
    """

    order: Any
    place: Any
    style: Any
    odd: Optional[int]


@dataclass(frozen=True)
class BNStatistics(_Deterministic):
    """Distance of the channels' means and standard deviations [1]_.

    The value is M / (2 N) ( ‖μ_F − μ_S‖² + ‖σ_F − σ_S‖² ): Eq. 11 times M / 2.

    Notes
    -----
    These are population statistics without an epsilon. For a constant channel, σ has no
    derivative, and that part of the gradient is 0; the authors' code divides by σ = 0 there.

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, Eq. 11 and 12.
    """

    def target(self, features: Any, random: Any = None) -> Any:
        """Return the channels' means and standard deviations, each (N, 1)."""
        return _moments(_plain(features))

    def __call__(
        self, features: Any, target: Any, weight: float = 1.0, drawn: Any = None
    ) -> LossGrad:
        """Compare features (1, N, H, W) with a target; `LossGrad` in the unit of β′ = 1e3."""
        nd = engine.nd
        style_means, style_deviations = target
        flat = _plain(features)
        _check_channels(features.shape[1], style_means)
        channels, positions = flat.shape
        means, deviations = _moments(flat)
        mean_difference = means - style_means
        deviation_difference = deviations - style_deviations
        squares = _squares(mean_difference) + _squares(deviation_difference)
        # Rounding of the mean gives even a constant channel a small deviation; ignore it.
        varies = deviations > _ROUNDING * numpy.finfo(features.dtype).eps * nd.abs(means)
        slope = nd.where(varies, deviation_difference / deviations, nd.zeros_like(deviations))
        # Batch normalisation with given statistics computes (x − μ) slope + shift in one pass.
        scale = weight / channels
        columns = slope * scale, mean_difference * scale, means, nd.ones_like(means)
        vectors = (column.reshape((channels,)) for column in columns)
        grad = nd.BatchNorm(features, *vectors, use_global_stats=True, fix_gamma=False, eps=0)
        return LossGrad(weight * positions / (2 * channels) * squares, grad)


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


def _plain(features: Any) -> Any:
    """Return a map (1, N, H, W) as a copy of shape (N, M) in row-major layout.

    The network's maps are in oneDNN's blocked layout. The copy converts a map once; a view
    (`features.reshape`) would convert it again at each use.
    """
    return engine.nd.reshape(features, shape=(features.shape[1], -1))


def _gram(flat: Any) -> Any:
    # FullyConnected of the map with itself uses oneDNN, which is faster than dot.
    product = engine.nd.FullyConnected(flat, flat, num_hidden=flat.shape[0], no_bias=True)
    return product / flat.shape[1]


def _means(flat: Any) -> Any:
    """Return the mean of each row by a product, many times faster than MXNet's own mean."""
    return engine.nd.dot(flat, _ones(flat, flat.shape[1], 1)) / flat.shape[1]


def _moments(flat: Any) -> tuple[Any, Any]:
    """Return means and standard deviations of the rows, each (N, 1); overwrites `flat`."""
    means = _means(flat)
    # Centre first: in float32, E[x²] − μ² loses all digits of a small deviation.
    centred = engine.nd.broadcast_sub(flat, means, out=flat)
    return means, engine.nd.sqrt(_means(engine.nd.square(centred, out=centred)))


def _squares(array: Any) -> Any:
    """Return the sum of squares, shape (1,)."""
    return engine.dot(array, array)


def _rows(features: Any) -> Any:
    """Return a map (1, N, H, W) as one row per position, shape (M, N)."""
    rows = engine.nd.transpose(features, axes=(0, 2, 3, 1))
    return rows.reshape((-1, features.shape[1]))


def _select(rows: Any, positions: numpy.ndarray) -> Any:
    return engine.nd.take(rows, _index(positions, rows), mode="clip")


def _row_squares(rows: Any) -> Any:
    """Return the sum of squares of each row, shape (rows, 1)."""
    ones = _ones(rows, 1, rows.shape[1])
    return engine.nd.FullyConnected(engine.nd.square(rows), ones, num_hidden=1, no_bias=True)


def _total(column: Any) -> Any:
    """Return the sum of a column, shape (1, 1)."""
    return engine.nd.dot(_ones(column, 1, column.shape[0]), column)


def _ones(like: Any, *shape: int) -> Any:
    return engine.nd.ones(shape, ctx=like.context, dtype=like.dtype)


def _index(values: numpy.ndarray, like: Any) -> Any:
    return engine.array(values, like.context, "int32")


def _shuffled(random: Any, count: int, needed: int) -> numpy.ndarray:
    """Draw `needed` positions out of `count`, using all before any is repeated."""
    rounds = [random.permutation(count) for _ in range(-(-needed // count))]
    positions: numpy.ndarray = numpy.concatenate(rounds)[:needed]
    return positions


def _check_channels(channels: int, target: Any, axis: int = 0) -> None:
    if channels != target.shape[axis]:
        raise ShapeError(
            f"A style loss needs equal channel counts: features have {channels}, "
            f"the style target has {target.shape[axis]}."
        )
