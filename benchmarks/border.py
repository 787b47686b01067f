"""The frame that zero padding draws round a picture, with and without a margin.

For each pair, size and margin: the mean luminance of the outer 4 pixels of the picture, less that
of the next 12. The content's own is printed first; the closer to it, the weaker the frame.

    python benchmarks/border.py [--content FILE --style FILE] [--sizes 128,256,384]
        [--margins 0,8,16,32] [--preset fast] [--method poly] [-o FOLDER]
"""

import argparse
from pathlib import Path

import numpy
from common import add_pictures, describe, run
from PIL import Image

from nst_cli import Config, images, transfer
from nst_cli.synthesis.margin import padded_size

# Rec. 601.
LUMA = numpy.array([0.299, 0.587, 0.114])
OUTER, NEXT = 4, 12


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_pictures(parser)
    parser.add_argument("--margins", default="0,8,16,32", help="in pixels, or auto")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--method", default="poly")
    parser.add_argument("-o", "--output", help="folder for the pictures")
    arguments = parser.parse_args()
    print(describe())
    print("size  margin     frame  off by  pixels  steps")
    content, style = (images.read(path) for path in (arguments.content, arguments.style))
    for size in map(int, arguments.sizes.split(",")):
        shape = images.fit(content.pixels.shape, size)
        small = images.resize(content.pixels, shape)
        inside = frame(small)
        print(f"{size:4} content  {inside:8.1f}")
        small_style = images.resize(style.pixels, images.fit(style.pixels.shape, size))
        pair = [images.to_input(pixels) for pixels in (small, small_style)]
        for margin in arguments.margins.split(","):
            config = Config(preset=arguments.preset, method=arguments.method, margin=margin)
            result = transfer(*pair, config)
            pixels = images.to_pixels(result.image)
            strength = frame(pixels)
            more = ratio(config, shape)
            print(
                f"{size:4} {margin:>7}  {strength:8.1f}{strength - inside:8.1f}{more:8.2f}"
                f"{result.steps:7}",
                flush=True,
            )
            if arguments.output:
                path = Path(arguments.output, f"{size}-{margin}.png")
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(pixels).save(path)


def frame(pixels):
    """Return the mean luminance of the outer pixels less that of the next ones."""
    luminance = pixels @ LUMA
    rows, columns = numpy.indices(luminance.shape)
    depth = numpy.minimum.reduce(
        [rows, columns, luminance.shape[0] - 1 - rows, luminance.shape[1] - 1 - columns]
    )
    outer, following = depth < OUTER, (depth >= OUTER) & (depth < OUTER + NEXT)
    return luminance[outer].mean() - luminance[following].mean()


def ratio(config, size):
    """Return how many times as many pixels the margin makes it."""

    return numpy.prod(padded_size(config, size)) / numpy.prod(size)


if __name__ == "__main__":
    run(main)
