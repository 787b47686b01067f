"""Compares transfers in tiles with untiled ones: peak memory, and time per step.

Each run has its own process. A run that would not fit into memory is left out.

    python benchmarks/tiles.py [--sizes 1024,2048] [--tiles off,64,256,512] [--preset fast]
"""

import argparse

from common import add_pictures, describe, run

from nst_cli import Config, bench
from nst_cli.errors import EngineError
from nst_cli.runs import forecast
from nst_cli.synthesis import memory, tiles

STEPS = 3
HEAD = (
    "| size | tile | s per step | over untiled | work, by the forecast | peak, MB | of the "
    "forecast |\n|---|---|---|---|---|---|---|"
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_pictures(parser)
    parser.set_defaults(sizes="1024,2048")
    parser.add_argument("--tiles", default="off,64,256,512", help="values of --tile")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    print(f"{describe()}, {arguments.preset}, {arguments.precision}\n\n{HEAD}")
    for size in map(int, arguments.sizes.split(",")):
        pair = bench.pictures(size, arguments.content, arguments.style)
        untiled = None
        for tile in arguments.tiles.split(","):
            config = Config(
                preset=arguments.preset, precision=arguments.precision, iterations=STEPS,
                scales=1, stop_eps=0, stop_decrease=0, device="cpu", size=size,
                tile=tile if tile == "off" else int(tile),
            )  # fmt: skip
            row, seconds = measure(*pair, config, untiled)
            untiled = seconds if tile == "off" else untiled
            print(row, flush=True)


def measure(content, style, config, untiled):
    """Return the row of a run, and the seconds of a step; None for a run that does not fit."""
    size = content.shape[2:]
    shape = f"| {size[1]} × {size[0]} | {config.tile} |"
    try:
        forecast.check_memory(config, size, style.shape[2:])
    except EngineError as error:
        return f"{shape} {error} | | | | |", None
    timed = bench.in_new_process(bench.timed, content, style, config)
    seconds = (timed.moments[-1] - timed.moments[0]) / (STEPS - 1)
    predicted = memory.memory(config, size, style.shape[2:])
    over = f"{seconds / untiled:.2f}" if untiled else ""
    work = 1.0
    if timed.result.tiling:
        layers = (*config.style_layers, *config.content_layers)
        work = tiles.work(content.shape, layers, timed.result.tiling.tile_bytes)
    return (
        f"{shape} {seconds:.2f} | {over} | {work:.2f} | {timed.memory / 1e6:.0f} | "
        f"{timed.memory / predicted:.2f} |"
    ), seconds


if __name__ == "__main__":
    run(main)
