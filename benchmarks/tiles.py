"""Compares transfers in tiles with untiled ones: peak memory, its forecast, and time.

Each run has its own process, and its row is printed as soon as it ends. A run that would not fit
into memory is left out.

    python benchmarks/tiles.py [--megapixels 1,2,4] [--tiles off,auto,64,512] [--precision auto]
                               [--optimizer lbfgs] [--weights builtin] [--steps 3]
"""

import argparse
import math
import statistics
import time

from common import add_pictures, describe, run

from nst_cli import Config, bench, engine, images, machine, transfer
from nst_cli.errors import EngineError
from nst_cli.runs import forecast
from nst_cli.synthesis import memory, objective, tiles

HEAD = (
    "| size | Mpx | tile, MB | precision | optimizer | forecast, MB | peak, MB | of the forecast "
    "| evaluations | s per evaluation | over untiled | work, by the forecast |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_pictures(parser)
    parser.set_defaults(sizes="")
    parser.add_argument("--megapixels", default="1,2", help="sizes in millions of pixels")
    parser.add_argument("--tiles", default="off,64,512", help="values of --tile")
    parser.add_argument("--precision", default="auto", help="one or several")
    parser.add_argument("--optimizer", default="lbfgs", help="one or several")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--method", default="poly")
    parser.add_argument("--weights", default="", help="a file, or builtin")
    parser.add_argument("--steps", type=int, default=3, help="steps of each run")
    arguments = parser.parse_args()
    print(f"{describe()}, {arguments.preset}, {arguments.method}\n\n{HEAD}", flush=True)
    for edge in long_edges(arguments):
        pair = bench.pictures(edge, arguments.content, arguments.style)
        for precision in arguments.precision.split(","):
            for optimizer in arguments.optimizer.split(","):
                untiled = None
                for tile in arguments.tiles.split(","):
                    config = Config(
                        preset=arguments.preset, method=arguments.method, precision=precision,
                        optimizer=optimizer, iterations=arguments.steps, scales=1, stop_eps=0,
                        stop_decrease=0, device="cpu", weights=arguments.weights,
                        tile=int(tile) if tile.isdecimal() else tile,
                    )  # fmt: skip
                    row, seconds = measure(*pair, config, untiled)
                    untiled = seconds if tile == "off" else untiled
                    print(row, flush=True)


def long_edges(arguments):
    """Return the long edges of the contents to measure."""
    if arguments.sizes:
        return [int(size) for size in arguments.sizes.split(",")]
    height, width = images.read(arguments.content).pixels.shape[:2]
    ratio = max(height, width) / min(height, width)
    return [
        round(math.sqrt(float(size) * 1e6 * ratio)) for size in arguments.megapixels.split(",")
    ]


def measure(content, style, config, untiled):
    """Return the row of a run, and the seconds of an evaluation; None if it does not fit."""
    size = content.shape[2:]
    start = f"| {size[1]} × {size[0]} | {math.prod(size) / 1e6:.2f} |"
    try:
        forecast.check_memory(config, size, style.shape[2:])
    except EngineError as error:
        return f"{start} {config.tile} | {error} | | | | | | | | |", None
    predicted = memory.memory(config, size, style.shape[2:])
    result, seconds, peak = bench.in_new_process(evaluations, content, style, config)
    device = engine.device_of(config)
    precision = engine.precision_of(config, device)
    tile, work = "off", 1.0
    if result.tiling:
        tile = f"{config.tile} ({result.tiling.tile_bytes >> 20})"
        layers = (*config.style_layers, *config.content_layers)
        value = tiles.value_bytes(precision, device)
        work = tiles.work(content.shape, layers, result.tiling.tile_bytes, value)
    # The first allocates memory.
    each = statistics.median(seconds[1:] or seconds)
    over = f"{each / untiled:.2f}" if untiled else ""
    return (
        f"{start} {tile} | {precision} | {config.optimizer} | {predicted / 1e6:.0f} | "
        f"{peak / 1e6:.0f} | {peak / predicted:.2f} | {len(seconds)} | {each:.2f} | {over} | "
        f"{work:.2f} |"
    ), each


def evaluations(content, style, config):
    """Run a transfer; return its result, the seconds of each evaluation, and the peak memory."""
    seconds = []
    evaluate = objective.Objective.__call__

    def timed(goal, image):
        engine.wait()
        began = time.perf_counter()
        evaluation = evaluate(goal, image)
        engine.wait()
        seconds.append(time.perf_counter() - began)
        return evaluation

    objective.Objective.__call__ = timed
    result = transfer(content, style, config)
    return result, seconds, machine.peak_memory()


if __name__ == "__main__":
    run(main)
