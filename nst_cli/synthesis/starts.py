"""The images that an optimisation starts from."""

from collections.abc import Sequence

import numpy

from .. import images

#: Noise for `init` random is uniform between plus and minus this, in grey levels.
START_AMPLITUDE = 0.1

# The noise of `init_noise` is uniform between plus and minus this, as in cysmith's
# neural-style-tf. The noise of other programs is too weak to be seen.
_NOISE_AMPLITUDE = 20.0


# Pixels between two draws of `in_colours_of`. Draws for each pixel leave a checkerboard in the
# result, which the pooling of the network cannot see.
_SPACING = 4


def noise(
    shape: Sequence[int], random: numpy.random.RandomState, amplitude: float = START_AMPLITUDE
) -> numpy.ndarray:
    """Return uniform noise about mean grey, float32, as network input of a shape."""
    return random.uniform(-amplitude, amplitude, shape).astype(numpy.float32)


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
    draws = images.resize_input(random.standard_normal((1, 3, *spots)), (height, width))[0]
    # Between the spots, interpolation lowers the deviation.
    draws = draws / draws.std()
    chosen = numpy.zeros((height, width), int)
    if len(styles) > 1:
        probabilities = numpy.asarray(shares, float) / sum(shares)
        choices = random.choice(len(styles), spots, p=probabilities)
        chosen = choices.repeat(_SPACING, 0).repeat(_SPACING, 1)[:height, :width]
    image = numpy.empty_like(draws)
    for index, style in enumerate(styles):
        mean, root = _distribution(style)
        image[:, chosen == index] = root @ draws[:, chosen == index] + mean
    black = -numpy.reshape(images.MEANS, (3, 1, 1))
    clipped: numpy.ndarray = numpy.clip(image, black, black + 255)
    return clipped.astype(numpy.float32)[None]


def with_noise(
    image: numpy.ndarray, share: float, random: numpy.random.RandomState
) -> numpy.ndarray:
    """Return an image of which a share, from 0 to 1, is replaced by strong noise."""
    if not share:
        return image
    strong = noise(image.shape, random, _NOISE_AMPLITUDE)
    blend: numpy.ndarray = (1 - share) * image + share * strong
    return blend.astype(numpy.float32)


def _distribution(style: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return the mean colour, (3, 1), and the symmetric root of the covariance, (3, 3)."""
    colours = style.reshape(3, -1).astype(float)
    mean = colours.mean(axis=1, keepdims=True)
    centred = colours - mean
    # Unlike Cholesky's, this root exists for a grey style, whose covariance is singular.
    values, vectors = numpy.linalg.eigh(centred @ centred.T / colours.shape[1])
    return mean, (vectors * numpy.sqrt(numpy.maximum(values, 0))) @ vectors.T
