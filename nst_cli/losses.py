"""Losses on feature maps as NDArray operations: each returns a value and its gradient.

Every loss keeps of the style image only what it needs (`target`), per position, and scales it
to the positions of the map it is compared with; the two images may differ in size. Values are
in the unit that the authors' factors β′ expect: β′ times the value here is the objective that
their code minimises, whose layout differs from Eq. 6, 10 and 11 by constants given in each
class. Nothing here waits for the device.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Optional

import numpy

from . import engine
from .errors import ShapeError


class LossGrad(NamedTuple):
    """A loss and its gradient.

    Attributes
    ----------
    value : NDArray, shape (1,)
    grad : NDArray, shaped like the array the loss was taken of.
    """

    value: Any
    grad: Any


@dataclass(frozen=True)
class Content:
    """Squared distance of two feature maps, Σ (F − P)² [1]_.

    Notes
    -----
    Eq. 4 has a factor ½, which the authors' code has not; their γ is tuned without it.

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, Eq. 4.
    """

    def target(self, content_features):
        """Return a copy of `content_features`, shape (1, N, H, W)."""
        return content_features.copy()

    def __call__(self, features, target):
        """Compare generated features with those of the content image, both (1, N, H, W)."""
        if features.shape != target.shape:
            raise ShapeError(
                f"The content loss needs equal shapes: features have {features.shape}, "
                f"the target has {target.shape}."
            )
        difference = features - target
        return LossGrad(_squares(difference), 2 * difference)


@dataclass(frozen=True)
class LinearMMD:
    """MMD under the linear kernel k(x, y) = x·y: the distance of the channel means [1]_.

    The value is M / (2 N) ‖μ_F − μ_S‖².

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, Eq. 10.
    """

    def target(self, style_features):
        """Return the channel means of `style_features`, shape (N, 1)."""
        return _means(_flat(style_features))

    def __call__(self, features, target):
        """Compare features (1, N, H, W) with a target; `LossGrad` in the unit of β′ = 2e3."""
        flat = _flat(features)
        _check_channels(flat, target)
        channels, positions = flat.shape
        difference = _means(flat) - target
        value = positions / (2 * channels) * _squares(difference)
        # The mean weighs all positions alike; an outer product with ones is far quicker than
        # MXNet's broadcast to a new axis.
        grad = engine.nd.dot(difference / channels, _ones(flat, 1, positions))
        return LossGrad(value, grad.reshape(features.shape))


@dataclass(frozen=True)
class PolynomialMMD:
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

    def target(self, style_features):
        """Return the Gram matrix per position, (N, N), and the channel means, (N, 1)."""
        flat = _flat(style_features)
        return _gram(flat), _means(flat) if self.c else None

    def __call__(self, features, target):
        """Compare features (1, N, H, W) with a target; `LossGrad` in the unit of β′ = 0.1."""
        nd = engine.nd
        gram, means = target
        flat = _flat(features)
        _check_channels(flat, gram)
        channels, positions = flat.shape
        difference = _gram(flat) - gram
        squares = _squares(difference)
        grad = nd.dot(difference / channels**2, flat)
        if self.c:
            shift = _means(flat) - means
            squares = squares + 2 * self.c * _squares(shift)
            grad = nd.broadcast_add(grad, shift * (self.c / channels**2))
        value = positions / (4 * channels**2) * squares
        return LossGrad(value, grad.reshape(features.shape))


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
    No finite statistics of the style exist under this kernel, so the target is its features.

    References
    ----------
    .. [1] Li et al., "Demystifying Neural Style Transfer", arXiv:1701.01036v2, section 3.2.
    .. [2] Gretton et al., "A Kernel Two-Sample Test", JMLR 13 (2012), section 6.
    """

    bandwidth: Optional[float] = None

    def target(self, style_features):
        """Return the style features as one row per position, shape (M, N)."""
        return engine.nd.transpose(_flat(style_features))

    def draw(self, random, shape, target):
        """Draw the pairs of one evaluation.

        Parameters
        ----------
        random : numpy.random.RandomState
        shape : tuple
            Shape of the feature map, (1, N, H, W).
        target : NDArray, shape (M_S, N)

        Returns
        -------
        Pairs
        """
        positions = shape[2] * shape[3]
        half = positions // 2
        order = random.permutation(positions)
        first, second = order[:half], order[half : 2 * half]
        partner = numpy.arange(positions)
        partner[first], partner[second] = second, first
        style = _shuffled(random, target.shape[0], positions)
        used = partner != numpy.arange(positions)
        return Pairs(
            partner=_index(partner, target),
            style=_index(style, target),
            style_first=_index(style[first], target),
            style_second=_index(style[second], target),
            used=engine.array(used.reshape(-1, 1), target.context, target.dtype),
            count=half,
        )

    def __call__(self, features, target, pairs):
        """Compare features (1, N, H, W) with a target over pairs drawn for their shapes.

        Returns
        -------
        LossGrad
            In the unit of β′ = 3e14. The value may be negative: the estimate is unbiased.
        """
        nd = engine.nd
        flat = _flat(features)
        rows = nd.transpose(flat)
        _check_channels(flat, target, axis=1)
        channels, positions = flat.shape
        to_partner = rows - nd.take(rows, pairs.partner, mode="clip")
        to_style = rows - nd.take(target, pairs.style, mode="clip")
        in_style = nd.take(target, pairs.style_first, mode="clip") - nd.take(
            target, pairs.style_second, mode="clip"
        )
        d_partner, d_style, d_in_style = map(_row_squares, (to_partner, to_style, in_style))
        inverse = self._inverse_bandwidth(d_partner, d_style, d_in_style, pairs)
        k_partner, k_style, k_in_style = (
            nd.exp(-nd.broadcast_mul(d, inverse)) for d in (d_partner, d_style, d_in_style)
        )
        k_partner, k_style = k_partner * pairs.used, k_style * pairs.used
        # Over all positions each pair within the features is met from both its ends.
        total = _total(k_partner) / 2 + _total(k_in_style) - _total(k_style)
        grad = nd.broadcast_mul(to_style, k_style) - nd.broadcast_mul(to_partner, k_partner)
        grad = nd.broadcast_mul(grad, inverse / (channels * positions))
        return LossGrad(
            total.reshape((1,)) / (2 * channels * positions),
            nd.transpose(grad).reshape(features.shape),
        )

    def _inverse_bandwidth(self, d_partner, d_style, d_in_style, pairs):
        if self.bandwidth is not None:
            return engine.nd.full((1, 1), 1 / self.bandwidth, d_style.context, d_style.dtype)
        distances = _total(d_partner) / 2 + _total(d_style * pairs.used) + _total(d_in_style)
        # Flat colour on both sides has no distances at all; any bandwidth is then the same.
        return 4 * pairs.count / engine.nd.maximum(distances, 1e-30)


class Pairs(NamedTuple):
    """Positions drawn for one evaluation of the Gaussian MMD, as NDArrays on its device.

    Attributes
    ----------
    partner : NDArray of int32, shape (M,)
        The position that each position is paired with; the odd one out has itself.
    style : NDArray of int32, shape (M,)
        The style position that each position is compared with.
    style_first, style_second : NDArray of int32, shape (M // 2,)
        The pairs within the style.
    used : NDArray, shape (M, 1)
        0 for the odd one out, else 1.
    count : int
        How many pairs there are, M // 2.
    """

    partner: Any
    style: Any
    style_first: Any
    style_second: Any
    used: Any
    count: int


@dataclass(frozen=True)
class BNStatistics:
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

    def target(self, style_features):
        """Return the channels' means and standard deviations, each (N, 1)."""
        flat = _flat(style_features)
        means, _, deviations = _moments(flat)
        return means, deviations

    def __call__(self, features, target):
        """Compare features (1, N, H, W) with a target; `LossGrad` in the unit of β′ = 1e3."""
        nd = engine.nd
        style_means, style_deviations = target
        flat = _flat(features)
        _check_channels(flat, style_means)
        channels, positions = flat.shape
        means, centred, deviations = _moments(flat)
        mean_difference = means - style_means
        deviation_difference = deviations - style_deviations
        squares = _squares(mean_difference) + _squares(deviation_difference)
        slope = nd.where(
            deviations > 0, deviation_difference / deviations, nd.zeros_like(deviations)
        )
        grad = nd.broadcast_add(
            nd.broadcast_mul(centred, slope / channels), mean_difference / channels
        )
        return LossGrad(positions / (2 * channels) * squares, grad.reshape(features.shape))


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
    return LossGrad(0.5 * nd.dot(image.reshape((-1,)), grad.reshape((-1,))), grad)


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


def _flat(features):
    """Return a map (1, N, H, W) as (N, M) without a copy."""
    return features.reshape((features.shape[1], -1))


def _gram(flat):
    # A fully connected layer of the map with itself: oneDNN's product is quicker than dot.
    product = engine.nd.FullyConnected(flat, flat, num_hidden=flat.shape[0], no_bias=True)
    return product / flat.shape[1]


def _means(flat):
    """Return the mean of each row; MXNet's own mean is many times slower than a product."""
    return engine.nd.dot(flat, _ones(flat, flat.shape[1], 1)) / flat.shape[1]


def _moments(flat):
    """Return means, the centred map and standard deviations of the rows."""
    means = _means(flat)
    centred = engine.nd.broadcast_sub(flat, means)
    # Centred first: E[x²] − μ² loses all digits of a small deviation in float32.
    return means, centred, engine.nd.sqrt(_means(engine.nd.square(centred)))


def _squares(array):
    """Return the sum of squares, shape (1,); MXNet's sum and norm are many times slower."""
    vector = array.reshape((-1,))
    return engine.nd.dot(vector, vector)


def _row_squares(rows):
    """Return the sum of squares of each row, shape (rows, 1)."""
    return engine.nd.dot(engine.nd.square(rows), _ones(rows, rows.shape[1], 1))


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


def _check_channels(flat, target, axis=0):
    if flat.shape[0] != target.shape[axis]:
        raise ShapeError(
            f"A style loss needs equal channel counts: features have {flat.shape[0]}, "
            f"the style target has {target.shape[axis]}."
        )
