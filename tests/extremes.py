"""Pairs of tiny pictures at the ends of what a picture can be, by name."""

import numpy

#: Height and width of a picture whose pair does not say otherwise.
SIDES = 34, 40


def flat(*colour, sides=SIDES):
    """Return a picture of one colour, float32 (H, W, 3), 0 to 255; one number is a grey."""
    return numpy.broadcast_to(numpy.float32(colour), (*sides, 3)).copy()


def noise(seed=0, sides=SIDES):
    """Return uniform noise."""
    random = numpy.random.RandomState(seed)
    return random.randint(0, 256, (*sides, 3)).astype(numpy.float32)


def with_pixel(picture, value):
    """Return a picture with one pixel of another grey."""
    picture = picture.copy()
    picture[picture.shape[0] // 2, picture.shape[1] // 2] = value
    return picture


def waves(down, across, sides=SIDES):
    """Return black and white stripes at the Nyquist frequency, in one or both directions."""
    rows, columns = numpy.indices(sides)
    bright = (rows * down + columns * across) % 2
    return numpy.repeat(255 * bright[..., None], 3, axis=2).astype(numpy.float32)


def gradient(axis, sides=SIDES):
    """Return a ramp from black to white down (0) or across (1)."""
    ramp = numpy.linspace(0, 255, sides[axis], dtype=numpy.float32)
    ramp = ramp.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    return numpy.broadcast_to(ramp, (*sides, 3)).copy()


def halves(first, second, sides=SIDES):
    """Return a picture whose left and right halves have a colour each."""
    picture = flat(*first, sides=sides)
    picture[:, sides[1] // 2 :] = second
    return picture


def primaries(sides=SIDES):
    """Return stripes of the six saturated colours, black and white."""
    places = numpy.arange(sides[1]) * 8 // sides[1]
    colours = numpy.stack([places & 1, places >> 1 & 1, places >> 2 & 1], axis=1)
    return numpy.broadcast_to(255 * colours[None], (*sides, 3)).astype(numpy.float32)


#: Content and style of each pair.
PAIRS = {
    "flat": (flat(128), flat(128)),
    "flat-in-other-greys": (flat(64), flat(192)),
    "black-and-white": (flat(0), flat(255)),
    "white-and-black": (flat(255), flat(0)),
    "black": (flat(0), flat(0)),
    "noise": (noise(1), noise(2)),
    "flat-and-noise": (flat(128), noise(3)),
    "noise-and-flat": (noise(4), flat(128)),
    "bright-pixel": (with_pixel(flat(0), 255), with_pixel(flat(0), 255)),
    "dark-pixel": (with_pixel(flat(255), 0), noise(5)),
    "pixel-and-black": (with_pixel(flat(0), 255), flat(0)),
    "rows-and-columns": (waves(1, 0), waves(0, 1)),
    "checks": (waves(1, 1), waves(1, 1)),
    "columns-and-checks": (waves(0, 1), waves(1, 1)),
    "same-noise": (noise(6), noise(6)),
    "same-gradient": (gradient(0), gradient(0)),
    "gradients": (gradient(0), gradient(1)),
    "long-and-high": (noise(7, (32, 320)), gradient(0, (320, 32))),
    "two-colours": (halves((255, 0, 0), (0, 0, 255)), halves((0, 255, 0), (255, 0, 255))),
    "primaries": (primaries(), primaries()[:, ::-1].copy()),
    "small-and-large": (gradient(1, (16, 16)), noise(8, (96, 64))),
    "large-and-small": (noise(9, (64, 48)), primaries((16, 24))),
    "smallest-and-flat": (noise(10, (16, 16)), flat(255, sides=(16, 16))),
    # The ends of 16 bits, and the smallest step between two of its greys.
    "sixteen-bits": (halves((0,), (255 / 65535,)), halves((255,), (255 * 65534 / 65535,))),
}
