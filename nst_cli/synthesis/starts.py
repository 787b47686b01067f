"""The images that an optimisation starts from."""

from collections.abc import Sequence

import numpy

from .. import images

#: Noise for `init` random is uniform between plus and minus this, in grey levels.
START_AMPLITUDE = 0.1

# The noise of `init_noise` is uniform between plus and minus this, as in cysmith's
# neural-style-tf. The noise of other programs is too weak to be seen.
_NOISE_AMPLITUDE = 20.0

# Values that are computed in float64 at a time.
_AT_ONCE = 1 << 20

# Pixels between two draws of `in_colours_of`. Draws for each pixel leave a checkerboard in the
# result, which the pooling of the network cannot see.
_SPACING = 4


def noise(
    shape: Sequence[int], random: numpy.random.RandomState, amplitude: float = START_AMPLITUDE
) -> numpy.ndarray:
    """Return uniform noise about mean grey, float32, as network input of a shape."""
    image = numpy.empty(shape, numpy.float32)
    flat = image.reshape(-1)
    # Some at a time, because they are drawn as float64.
    for begin in range(0, flat.size, _AT_ONCE):
        part = flat[begin : begin + _AT_ONCE]
        part[:] = random.uniform(-amplitude, amplitude, part.size)
    return image


def in_colours_of(
    styles: Sequence[numpy.ndarray],
    shares: Sequence[float],
    shape: Sequence[int],
    random: numpy.random.RandomState,
) -> numpy.ndarray:
    """Return an image of random spots in the colours of styles.

    Each spot, a few pixels wide, belongs to one of the styles. Its colour has a normal
    distribution with mean and covariance of that style's colours, clipped to the range of pixels.

    Parameters
    ----------
    styles : sequence of numpy.ndarray, shape (1, 3, h, w)
        Network input.
    shares : sequence of float
        The probability of each style; normalised here.
    shape : (int, int, int, int)
        The shape of the result.
    random : numpy.random.RandomState

    Returns
    -------
    numpy.ndarray, float32
    """
    height, width = shape[2:]
    spots = -(-height // _SPACING), -(-width // _SPACING)
    wide = images.resize_input(random.standard_normal((1, 3, *spots)), (height, width))
    draws: numpy.ndarray = wide[0]
    # Between the spots, interpolation lowers the deviation.
    deviation = draws.std()
    choices = numpy.zeros(spots, int)
    if len(styles) > 1:
        probabilities = numpy.asarray(shares, float) / sum(shares)
        choices = random.choice(len(styles), spots, p=probabilities)
    distributions = [_distribution(style) for style in styles]
    columns = numpy.arange(width) // _SPACING
    for rows in images.row_bands((height, width)):
        chosen = choices[numpy.arange(rows.start, rows.stop)[:, None] // _SPACING, columns]
        draws[:, rows] = _coloured(draws[:, rows] / deviation, chosen, distributions)
    return wide


def _coloured(
    draws: numpy.ndarray,
    chosen: numpy.ndarray,
    distributions: Sequence[tuple[numpy.ndarray, numpy.ndarray]],
) -> numpy.ndarray:
    """Return normal draws, (3, H, W), with the colours of the style chosen for each pixel."""
    image = numpy.empty_like(draws)
    for index, (mean, root) in enumerate(distributions):
        image[:, chosen == index] = root @ draws[:, chosen == index] + mean
    black = -numpy.reshape(images.MEANS, (3, 1, 1))
    clipped: numpy.ndarray = numpy.clip(image, black, black + 255)
    return clipped


def with_noise(
    image: numpy.ndarray, share: float, random: numpy.random.RandomState
) -> numpy.ndarray:
    """Return an image of which a share, from 0 to 1, is replaced by strong noise."""
    if not share:
        return image
    blend = noise(image.shape, random, _NOISE_AMPLITUDE)
    blend *= share
    for plane, of_image in zip(blend[0], image[0]):
        plane += (1 - share) * of_image
    return blend


def _distribution(style: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return the mean colour, (3, 1), and the symmetric root of the covariance, (3, 3)."""
    colours = style.reshape(3, -1)
    # Some at a time, because they are summed as float64.
    parts = [slice(begin, begin + _AT_ONCE) for begin in range(0, colours.shape[1], _AT_ONCE)]
    total = sum(colours[:, part].astype(float).sum(axis=1, keepdims=True) for part in parts)
    mean = total / colours.shape[1]
    products = 0.0
    for part in parts:
        centred = colours[:, part] - mean
        products = products + centred @ centred.T
    # Unlike Cholesky's, this root exists for a grey style, whose covariance is singular.
    values, vectors = numpy.linalg.eigh(products / colours.shape[1])
    return mean, (vectors * numpy.sqrt(numpy.maximum(values, 0))) @ vectors.T
