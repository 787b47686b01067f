"""One pair at several sizes: is the large picture the enlarged small one with finer strokes?

Each column is a size. The first row has the pictures, all at one width; the second the same part
of each at full size. With --style-scale auto, the style is not enlarged beyond its own pixels.

    python benchmarks/large.py -o sheet.jpg [--content FILE --style FILE]
        [--sizes 512,1024,2048] [--style-scale X|auto] [--width 420] [--folder FOLDER]

The folder keeps the pictures; those that exist are not made again.
"""

import argparse
from pathlib import Path

from common import add_pictures, run
from PIL import Image, ImageDraw

from nst_cli import Config
from nst_cli.runs import runner
from nst_cli.runs.styles import Style, check_scale

GAP, HEADING = 6, 16
# Where the middle of the part is, as a share of width and height.
MIDDLE = 0.38, 0.35


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", required=True)
    add_pictures(parser)
    parser.set_defaults(sizes="512,1024,2048")
    parser.add_argument("--style-scale", default="1", help="a number, or auto")
    parser.add_argument("--width", type=int, default=420, help="of a column, in pixels")
    parser.add_argument("--folder", type=Path, default=Path("."), help="for the pictures")
    arguments = parser.parse_args()
    columns = [column(arguments, int(size)) for size in arguments.sizes.split(",")]
    width = sum(part.width + GAP for part in columns)
    sheet = Image.new("RGB", (width, max(part.height for part in columns)), "white")
    left = 0
    for part in columns:
        sheet.paste(part, (left, 0))
        left += part.width + GAP
    sheet.save(arguments.output, quality=85)


def column(arguments, size):
    """Return a picture above a part of it at full size, with the size as the heading."""
    picture = picture_of(arguments, size)
    height = round(arguments.width * picture.height / picture.width)
    frame = Image.new("RGB", (arguments.width, HEADING + 2 * height + GAP), "white")
    ImageDraw.Draw(frame).text((2, 2), f"{size} pixels, and a part of them as they are", "black")
    resized = picture.resize((arguments.width, height), Image.Resampling.LANCZOS)
    frame.paste(resized, (0, HEADING))
    left, top = (
        min(max(0, round(share * side) - part // 2), max(0, side - part))
        for share, side, part in zip(MIDDLE, picture.size, (arguments.width, height))
    )
    part = picture.crop((left, top, left + arguments.width, top + height))
    frame.paste(part, (0, HEADING + height + GAP))
    return frame


def picture_of(arguments, size):
    """Return the picture of a size, from the folder if it exists."""
    scale = check_scale("style_scale", arguments.style_scale)
    path = arguments.folder / f"large-{size}-{scale}.png"
    if not path.exists():
        styles = [Style(str(arguments.style), scale=scale)]
        job = runner.prepare(arguments.content, styles, path, Config(preset="fast", size=size))
        outcome = runner.run(job)
        print(f"{path}: {outcome.result.steps} steps, {outcome.result.stop_reason}", flush=True)
    return Image.open(path).convert("RGB")


if __name__ == "__main__":
    run(main)
