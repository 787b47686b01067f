"""Losses on feature maps as NDArray operations: each returns a value and its gradient.

Every loss keeps of the style image only what it needs (`target`), per position, and scales it
to the positions of the map it is compared with; the two images may differ in size. Values are
in the unit that the authors' factors β′ expect: β′ times the value here is the objective that
their code minimises, whose layout differs from Eq. 6, 10 and 11 by constants given in each
class. A loss takes the weight of its term, because folding it into a small factor costs
nothing where scaling the gradient costs a pass over the map; passes over maps are what losses
cost, so arrays that belong to a loss are overwritten in place. Nothing here waits for the
device.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Optional, Protocol

import numpy

from .. import engine
from ..errors import ShapeError

# Pairs within the style at least, so that a small map's few do not bias a whole run.
_STYLE_PAIRS = 1 << 12

# A deviation below so many units in the last place of the mean is no deviation.
_ROUNDING = 32


class LossGrad(NamedTuple):
    """A loss and its gradient.

    Attributes
    ----------
    value : NDArray, shape (1,)
    grad : NDArray, shaped like the array the loss was taken of.
    """

    value: Any
    grad: Any


class Loss(Protocol):
    """What every loss offers: a target taken once, then a value and gradient at each step.

    Attributes
    ----------
    draws : bool
        Whether a value depends on a random draw.
    """

    draws: ClassVar[bool]

    def target(self, features: Any, random: Any = None) -> Any:
        """Return what the loss keeps of the content or style features, shape (1, N, H, W).

        `random`, a `numpy.random.RandomState`, is only used by losses that draw.
        """

    def draw(self, random: Any, shape: tuple, target: Any) -> Any:
        """Return the draw of one evaluation on features of a shape, (1, N, H, W)."""

    def __call__(
        self, features: Any, target: Any, weight: float = 1.0, drawn: Any = None
    ) -> LossGrad:
        """Compare features with a target; `drawn` is what `draw` returned."""


class _Deterministic:
    """A loss without random draws."""

    draws: ClassVar[bool] = False

    def draw(self, random: Any, shape: tuple, target: Any) -> None:
        """Return None: there is nothing to draw."""


@dataclass(frozen=True)
class Content(_Deterministic):
    """Squared distance of two feature maps, Σ (F − P)² [1]_.

    Notes
    -----
    Eq. 4 has a factor ½, which the authors' code has not; their γ is tuned without it.

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, Eq. 4.
    """

    def target(self, content_features, random=None):
        """Return a copy of `content_features`, shape (1, N, H, W)."""
        return content_features.copy()

    def __call__(self, features, target, weight=1.0, drawn=None):
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

    def target(self, style_features, random=None):
        """Return the channel means of `style_features`, shape (N, 1)."""
        return _means(_plain(style_features))

    def __call__(self, features, target, weight=1.0, drawn=None):
        """Compare features (1, N, H, W) with a target; `LossGrad` in the unit of β′ = 2e3."""
        flat = _plain(features)
        _check_channels(features.shape[1], target)
        channels, positions = flat.shape
        difference = _means(flat) - target
        value = weight * positions / (2 * channels) * _squares(difference)
        # The mean weighs all positions alike; an outer product with ones is far quicker than
        # MXNet's broadcast to a new axis.
        grad = engine.nd.dot(difference * (weight / channels), _ones(flat, 1, positions))
        return LossGrad(value, grad.reshape(features.shape))


@dataclass(frozen=True)
class PolynomialMMD(_Deterministic):
    """MMD under the kernel k(x, y) = (x·y + c)², by N × N Gram matrices [1]_.

    The value is M / (4 N²) ( ‖G_F − G_S‖² + 2c ‖μ_F − μ_S‖² ) with G the Gram matrix over M.
    With c = 0 that is Eq. 6 with one M in its denominator, not two: the layout of the authors'
    code, which weighs an image's positions like the content loss does.

    Parameters
    ----------
    c : float
        Constant of the kernel, not negative.

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, Eq. 6 to 10.
    """

    c: float = 0.0

    def target(self, style_features, random=None):
        """Return the Gram matrix per position, (N, N), and the channel means, (N, 1)."""
        flat = _plain(style_features)
        return _gram(flat), _means(flat) if self.c else None

    def __call__(self, features, target, weight=1.0, drawn=None):
        """Compare features (1, N, H, W) with a target; `LossGrad` in the unit of β′ = 0.1."""
        nd = engine.nd
        gram, means = target
        flat = _plain(features)
        _check_channels(features.shape[1], gram)
        channels, positions = flat.shape
        difference = _gram(flat) - gram
        squares, scale = _squares(difference), weight / channels**2
        # The gradient is (G_F − G_S) x + c (μ_F − μ_S) at each position: a convolution with a
        # kernel of one pixel. The matrix is symmetric, so a transposed convolution does as well,
        # and oneDNN runs that one in the layout that the map is in. It changes the kernel's
        # layout in place, which a view does not allow.
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
    """MMD under the kernel k(x, y) = exp(−‖x−y‖² / 2σ²), by pairs: linear in the positions.

    The value is 1 / (2 N M) Σ [ k(f, f′) + k(s, s′) − k(f, s′) − k(f′, s) ] over M / 2 random
    quadruples, the unbiased estimate of Gretton et al. [2]_; 2σ² is the mean of the squared
    distances of the pairs drawn, and constant in the gradient [1]_.

    Parameters
    ----------
    bandwidth : float, optional
        2σ²; by default measured at each call.

    Notes
    -----
    No finite statistics of the style exist under this kernel, so the target holds its features.
    The pairs within the style have no gradient; they are drawn once, and more of them, where
    the authors draw a few anew at each step.

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, section 3.2.
    .. [2] Gretton et al., "A Kernel Two-Sample Test", JMLR 13 (2012), section 6.
    """

    draws: ClassVar[bool] = True

    bandwidth: Optional[float] = None

    def target(self, style_features, random):
        """Return the style features as rows, and the squared distances of random pairs of them.

        Parameters
        ----------
        style_features : NDArray, shape (1, N, H, W)
        random : numpy.random.RandomState

        Returns
        -------
        rows : NDArray, shape (M_S, N)
        distances : NDArray, shape (pairs, 1)
        """
        rows = _rows(style_features)
        half = rows.shape[0] // 2
        if not half:
            # A single position has only itself.
            return rows, engine.nd.zeros((1, 1), ctx=rows.context, dtype=rows.dtype)
        rounds = -(-_STYLE_PAIRS // half)
        orders = [random.permutation(rows.shape[0]) for _ in range(rounds)]
        first = numpy.concatenate([order[:half] for order in orders])
        second = numpy.concatenate([order[half : 2 * half] for order in orders])
        return rows, _row_squares(_taken(rows, first) - _taken(rows, second))

    def draw(self, random, shape, target):
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
            None where the map has a single position, which has no partner.
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

    def __call__(self, features, target, weight=1.0, drawn=None):
        """Compare features (1, N, H, W) with a target over pairs drawn for their shapes.

        Parameters
        ----------
        features : NDArray, shape (1, N, H, W)
        target : tuple
        weight : float
        drawn : Pairs or None

        Returns
        -------
        LossGrad
            In the unit of β′ = 3e14. The value may be negative: the estimate is unbiased.
            Both are 0 where there are no drawn.
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
        # The partners' differences, then those across to the style, of both halves.
        apart = nd.empty((3 * half, channels), ctx=features.context, dtype=features.dtype)
        nd.elemwise_sub(rows[:half], rows[half:], out=apart[:half])
        nd.elemwise_sub(rows, nd.take(style, drawn.style, mode="clip"), out=apart[half:])
        distances = _row_squares(apart)
        # As many pairs within the style as within the features, whatever its size.
        share = half / d_style.shape[0]
        inverse = self._inverse_bandwidth(distances, d_style, share)
        # MXNet 2's dot of a long column and a single number ends the process.
        kernel, k_style = (nd.exp(-nd.broadcast_mul(d, inverse)) for d in (distances, d_style))
        scale = weight / (channels * height * width)
        total = _total(kernel[:half]) + share * _total(k_style) - _total(kernel[half:])
        nd.broadcast_mul(apart, nd.broadcast_mul(kernel, inverse * scale), out=apart)
        to_partner, first, second = (apart[n * half : (n + 1) * half] for n in range(3))
        first -= to_partner
        second += to_partner
        grad = nd.take(apart[half:], drawn.place, mode="clip")
        if drawn.odd is not None:
            grad[drawn.odd] = 0
        grad = nd.transpose(grad.reshape((1, height, width, channels)), axes=(0, 3, 1, 2))
        return LossGrad(total.reshape((1,)) * (scale / 2), grad)

    def _inverse_bandwidth(self, distances, d_style, share):
        if self.bandwidth is not None:
            return engine.nd.full((1, 1), 1 / self.bandwidth, d_style.context, d_style.dtype)
        total = _total(distances) + share * _total(d_style)
        # Flat colour on both sides has no distances at all; any bandwidth is then the same.
        return 4 / 3 * distances.shape[0] / engine.nd.maximum(total, 1e-30)


class Pairs(NamedTuple):
    """Positions drawn for one evaluation of the Gaussian MMD, indices on its device.

    Attributes
    ----------
    order : NDArray of int32, shape (2h,), h = M // 2
        The features' positions, shuffled: the first half is paired with the second.
    place : NDArray of int32, shape (M,)
        Where each position stands in `order`; anything for the odd one out.
    style : NDArray of int32, shape (2h,)
        The style position that each of `order` is compared with.
    odd : int or None
        The position left over.
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
    Population statistics without an epsilon. Where a channel is constant, σ has no derivative
    and that part of the gradient is 0; the authors' code divides by σ = 0 there.

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, Eq. 11 and 12.
    """

    def target(self, style_features, random=None):
        """Return the channels' means and standard deviations, each (N, 1)."""
        return _moments(_plain(style_features))

    def __call__(self, features, target, weight=1.0, drawn=None):
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
        # Of a constant channel, rounding of its mean leaves a deviation that means nothing.
        varies = deviations > _ROUNDING * numpy.finfo(features.dtype).eps * nd.abs(means)
        slope = nd.where(varies, deviation_difference / deviations, nd.zeros_like(deviations))
        # Batch normalisation by given statistics is (x − μ) slope + shift in a single pass.
        scale = weight / channels
        columns = slope * scale, mean_difference * scale, means, nd.ones_like(means)
        columns = (column.reshape((channels,)) for column in columns)
        grad = nd.BatchNorm(features, *columns, use_global_stats=True, fix_gamma=False, eps=0)
        return LossGrad(weight * positions / (2 * channels) * squares, grad)


def smoothing(image):
    """Return the smoothing term, ½ ⟨x, Lx⟩, and its gradient Lx.

    L is the five-point Laplacian / 8 of each channel with zero padding, which the authors' code
    calls total variation; the term is the sum of squared differences of neighbours, / 16,
    except at the border, where the padding counts as a neighbour.

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


def style_loss(method, c=0.0):
    """Return the loss a method's name stands for.

    Parameters
    ----------
    method : str
        ``linear``, ``poly``, ``gaussian`` or ``bn``.
    c : float
        Constant of the polynomial kernel.
    """
    losses = {
        "linear": LinearMMD(),
        "poly": PolynomialMMD(c),
        "gaussian": GaussianMMD(),
        "bn": BNStatistics(),
    }
    return losses[method]


def _plain(features):
    """Return a copy of a map (1, N, H, W) as (N, M), row after row.

    The network leaves its maps in oneDNN's blocked layout. This converts one once; each use of a
    view (`features.reshape`) would do so again.
    """
    return engine.nd.reshape(features, shape=(features.shape[1], -1))


def _gram(flat):
    # A fully connected layer of the map with itself: oneDNN's product is quicker than dot.
    product = engine.nd.FullyConnected(flat, flat, num_hidden=flat.shape[0], no_bias=True)
    return product / flat.shape[1]


def _means(flat):
    """Return the mean of each row; MXNet's own mean is many times slower than a product."""
    return engine.nd.dot(flat, _ones(flat, flat.shape[1], 1)) / flat.shape[1]


def _moments(flat):
    """Return means and standard deviations of the rows, each (N, 1); overwrites `flat`."""
    means = _means(flat)
    # Centred first: E[x²] − μ² loses all digits of a small deviation in float32.
    centred = engine.nd.broadcast_sub(flat, means, out=flat)
    return means, engine.nd.sqrt(_means(engine.nd.square(centred, out=centred)))


def _squares(array):
    """Return the sum of squares, shape (1,)."""
    return engine.dot(array, array)


def _rows(features):
    """Return a map (1, N, H, W) as one row per position, shape (M, N)."""
    rows = engine.nd.transpose(features, axes=(0, 2, 3, 1))
    return rows.reshape((-1, features.shape[1]))


def _taken(rows, positions):
    return engine.nd.take(rows, _index(positions, rows), mode="clip")


def _row_squares(rows):
    """Return the sum of squares of each row, shape (rows, 1)."""
    ones = _ones(rows, 1, rows.shape[1])
    return engine.nd.FullyConnected(engine.nd.square(rows), ones, num_hidden=1, no_bias=True)


def _total(column):
    """Return the sum of a column, shape (1, 1)."""
    return engine.nd.dot(_ones(column, 1, column.shape[0]), column)


def _ones(like, *shape):
    return engine.nd.ones(shape, ctx=like.context, dtype=like.dtype)


def _index(values, like):
    return engine.array(values, like.context, "int32")


def _shuffled(random, count, wanted):
    """Return `wanted` of `count` positions, each used once before one is used again."""
    rounds = [random.permutation(count) for _ in range(-(-wanted // count))]
    return numpy.concatenate(rounds)[:wanted]


def _check_channels(channels, target, axis=0):
    if channels != target.shape[axis]:
        raise ShapeError(
            f"A style loss needs equal channel counts: features have {channels}, "
            f"the style target has {target.shape[axis]}."
        )
