"""How long preset `fast` takes to the loss at which preset `paper` ends.

Both run on the same arrays, one after the other; each time counts from the call, with all that is
set up. A loss is judged in float32 at the images themselves, for the Gaussian MMD as a mean over
draws. Run it with nothing else running:

    python benchmarks/time_to_loss.py [--sizes 224,512] [--methods linear,poly,bn,gaussian]
"""

import argparse
import statistics
import time

from common import add_pictures, describe, pictures, run

from nst_cli import Config, transfer
from nst_cli.config import METHODS

DRAWS = 20
HEAD = (
    "| size | method | paper: steps | s | loss | fast: s to that loss | of paper's time "
    "| evaluated steps | final loss, of paper's |\n|---|---|---|---|---|---|---|---|---|"
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_pictures(parser)
    parser.add_argument("--methods", default=",".join(METHODS))
    arguments = parser.parse_args()
    print(f"{describe()}\n\n{HEAD}")
    for size in map(int, arguments.sizes.split(",")):
        content, style = pictures(size, arguments.content, arguments.style)
        for method in arguments.methods.split(","):
            print(row(content, style, method), flush=True)


def row(content, style, method):
    """Return the table's row for one method and pair."""
    result, moments, _ = timed(content, style, Config(method=method))
    target = judged(result.image, content, style, method)
    seconds = moments[-1]
    fast, moments, kept = timed(content, style, Config(preset="fast", method=method))
    final = judged(fast.image, content, style, method)
    reached = first_below(target, kept, lambda image: judged(image, content, style, method))
    shape = f"{content.shape[3]} × {content.shape[2]}"
    if reached is None:
        found = "not reached | |"
    else:
        found = f"{moments[reached]:.1f} | {moments[reached] / seconds:.3f} | {reached + 1}"
    return (
        f"| {shape} | {method} | {result.steps} | {seconds:.1f} | {target:.4g} | {found} "
        f"| {final / target:.3f} |"
    )


def timed(content, style, config):
    """Return a result, the seconds after each step, and the images of the last scale by step."""
    moments, kept = [], {}
    began = time.perf_counter()

    def on_step(record):
        moments.append(time.perf_counter() - began)
        if record.scale == record.scales and config.preset == "fast":
            kept[record.step - 1] = record.image

    result = transfer(content, style, config, on_step=on_step)
    return result, moments, kept


def judged(image, content, style, method):
    """Return the objective at an image, in float32."""
    seeds = range(DRAWS if method == "gaussian" else 1)
    return statistics.fmean(
        transfer(
            content, style, Config(method=method, iterations=0, seed=seed), init=image
        ).losses["total"]
        for seed in seeds
    )  # fmt: skip


def first_below(target, kept, judge):
    """Return the first step whose image is at or below the target, losses falling; or None."""
    steps = sorted(kept)
    if judge(kept[steps[-1]]) > target:
        return None
    low, high = 0, len(steps) - 1
    while low < high:
        middle = (low + high) // 2
        if judge(kept[steps[middle]]) <= target:
            high = middle
        else:
            low = middle + 1
    return steps[low]


if __name__ == "__main__":
    run(main)
