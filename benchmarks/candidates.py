"""A sheet of pictures by candidates for preset `fine`: which looks best?

Each row is a pair of pictures, each column a set of options, with its name above.

    python benchmarks/candidates.py -o sheet.jpg [--pair CONTENT STYLE]... [--size 256]
        [--columns fast,fine] [--steps 60]
"""

import argparse

import numpy
from common import run
from PIL import Image, ImageDraw

from nst_cli import Config, engine, images, samples, transfer
from nst_cli.bench import pictures
from nst_cli.synthesis.denoise import chambolle
from nst_cli.synthesis.kit import NetworkKit

#: Differences from preset `fast` by the name of the column.
CANDIDATES = {
    "fast": {},
    "max": {"pooling": "max"},
    "w2": {"method": "wasserstein"},
    "w2+poly": {"method": "wasserstein=0.5,poly=0.5"},
    "bn+poly": {"method": "bn=0.5,poly=0.5"},
    "w2 max": {"method": "wasserstein", "pooling": "max", "gamma": 4.0, "tv_weight": 300.0},
    "w2 deep": {
        "method": "wasserstein",
        "layer_weights": "relu1_1=0.5,relu4_1=2,relu5_1=4",
        "tv_weight": 30.0,
    },
    "w2 deeper": {
        "method": "wasserstein",
        "gamma": 6.0,
        "layer_weights": "relu1_1=0.3,relu2_1=0.6,relu4_1=4,relu5_1=8",
        "tv_weight": 30.0,
    },
    "fine": {"preset": "fine"},
}
GAP, HEADING = 6, 16


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument(
        "--pair", nargs=2, action="append", metavar=("CONTENT", "STYLE"),
        help="by default the sample with each of its styles",
    )  # fmt: skip
    parser.add_argument("--size", type=int, default=256, help="long edge in pixels")
    parser.add_argument("--columns", default=",".join(CANDIDATES), help="names, with commas")
    parser.add_argument("--steps", type=int, help="at most; by default those of the preset")
    arguments = parser.parse_args()
    pairs = arguments.pair or [(samples.CONTENT, style) for style in samples.STYLES]
    names, kit = arguments.columns.split(","), NetworkKit()
    rows = [
        side_by_side([labelled(picture(arguments, pair, name, kit), name) for name in names])
        for pair in pairs
    ]
    Image.fromarray(one_above_the_other(rows)).save(arguments.output, quality=88)


def picture(arguments, pair, name, kit):
    """Return a finished picture, (H, W, 3) of uint8."""
    choices = {"preset": "fast", **CANDIDATES[name]}
    if arguments.steps:
        choices["iterations"] = arguments.steps
    config = Config(**choices)
    result = transfer(*pictures(arguments.size, *pair), config, kit=kit)
    print(f"{name}: {result.steps} steps, {result.stop_reason}", flush=True)
    pixels = images.to_float_pixels(result.image)
    if config.denoise:
        pixels = chambolle(pixels, config.denoise, engine.device_of(config))
    return numpy.rint(pixels).astype(numpy.uint8)


def labelled(pixels, name):
    """Return pixels with a name above and a gap at the right."""
    frame = Image.new("RGB", (pixels.shape[1] + GAP, pixels.shape[0] + HEADING), "white")
    frame.paste(Image.fromarray(pixels), (0, HEADING))
    ImageDraw.Draw(frame).text((2, 2), name, fill="black")
    return numpy.asarray(frame)


def side_by_side(pictures):
    return numpy.concatenate(pictures, axis=1)


def one_above_the_other(rows):
    width = max(row.shape[1] for row in rows)
    widths = [[(0, 0), (0, width - row.shape[1]), (0, 0)] for row in rows]
    return numpy.concatenate(
        [numpy.pad(row, pad, constant_values=255) for row, pad in zip(rows, widths)]
    )


if __name__ == "__main__":
    run(main)
