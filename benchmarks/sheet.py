"""A sheet of pictures over the steps of preset `fast`: where do further steps not show?

Each row is a method, each column a number of steps; a line below a picture marks the first one
at or after the step at which the stop rule ends the run.

    python benchmarks/sheet.py -o sheet.jpg [--content FILE --style FILE] [--size 224]
"""

import argparse

import numpy
from common import run
from PIL import Image

from nst_cli import Config, images, samples, transfer
from nst_cli.bench import pictures
from nst_cli.config import PAPER_METHODS

STEPS = (10, 20, 30, 40, 60, 100)
BORDER = 8
MARK = (220, 40, 40)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--content", default=samples.CONTENT, help="by default the sample")
    parser.add_argument("--style", default=samples.STYLES[0], help="by default the sample")
    parser.add_argument("--size", type=int, default=224, help="long edge in pixels")
    arguments = parser.parse_args()
    content, style = pictures(arguments.size, arguments.content, arguments.style)
    sheet = numpy.concatenate([row(content, style, method) for method in PAPER_METHODS])
    Image.fromarray(sheet).save(arguments.output, quality=90)


def row(content, style, method):
    """Return the pictures of a method side by side, (H, W, 3) of uint8."""
    choices = {"preset": "fast", "method": method, "scales": 1}
    end = transfer(content, style, Config(**choices)).steps
    kept = {}

    def keep(record):
        if record.step in STEPS:
            kept[record.step] = images.to_pixels(record.image)

    transfer(
        content, style, Config(**choices, iterations=max(STEPS), stop_decrease=0), on_step=keep
    )
    last = min((step for step in kept if step >= end), default=max(kept))
    print(f"{method}: the stop rule ends the run after {end} steps")
    return numpy.concatenate([framed(kept[step], step == last) for step in kept], axis=1)


def framed(pixels, marked):
    frame = numpy.full([side + BORDER for side in pixels.shape[:2]] + [3], 255, numpy.uint8)
    frame[-BORDER // 2 :] = MARK if marked else 255
    frame[: pixels.shape[0], : pixels.shape[1]] = pixels
    return frame


if __name__ == "__main__":
    run(main)
