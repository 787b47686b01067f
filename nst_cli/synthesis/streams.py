"""The random streams of a seed, one for each purpose."""

import numpy

# The random streams of a seed, one for each purpose: the start image, the style image's pairs of
# positions, each step's pairs, the pairs for measuring β′, and the bases that sums are taken in,
# which are the same at all scales. A seed's results depend on these numbers, so they never change.
# The pairs of each step have a stream for each group of styles: that of the first group is
# (PAIRS,), and that of group n is (PAIRS, n). So another style leaves the draws for those before
# it as they are. A target depends on the style's pictures alone, not on the place of its group.
# The last is for the positions that losses keep of maps in tiles, at each size.
START, STYLE_PAIRS, PAIRS, BETA_PAIRS, BASES, KEPT = range(6)
# The colours of `init` style, and the noise of `init_noise`.
START_COLOURS, START_NOISE = 10, 11


def stream(seed: int, *key: int) -> numpy.random.RandomState:
    """Return the random stream of a seed for one purpose, ``SeedSequence(seed).spawn(…)[key]``.

    All versions of NumPy draw the same numbers from a `RandomState`, unlike from a `Generator`.

    Parameters
    ----------
    seed : int
    *key : int
        The purpose; other keys give independent numbers.

    Returns
    -------
    numpy.random.RandomState
    """
    sequence = numpy.random.SeedSequence(seed, spawn_key=key)
    return numpy.random.RandomState(numpy.random.MT19937(sequence))
