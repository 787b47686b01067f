"""Preset `fast` against preset `paper`, whole runs over several pairs: the median and the worst.

Pairs are content and style, joined by a colon. Run it with nothing else running:

    python benchmarks/whole.py lake.jpg:whirls.jpg face.jpg:waves.jpg [--size 224] [--method poly]
"""

import argparse
import statistics

from common import describe, run

from nst_cli.bench import pictures, rows
from nst_cli.config import PAPER_METHODS

HEAD = (
    "| size | method | pairs | fast over paper, s in all | worst | steps | final loss, of paper's "
    "| worst |\n|---|---|---|---|---|---|---|---|"
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="+", metavar="CONTENT:STYLE")
    parser.add_argument("--size", type=int, default=224, help="long edge in pixels")
    parser.add_argument("--method", action="append", help="may be repeated; by default all four")
    arguments = parser.parse_args()
    pairs = [pictures(arguments.size, *pair.split(":")) for pair in arguments.pairs]
    print(f"{describe()}\n\n{HEAD}")
    for method in arguments.method or PAPER_METHODS:
        print(measure(pairs, arguments.size, method), flush=True)


def measure(pairs, size, method):
    """Return the row of a method."""
    ratios, steps, losses = [], [], []
    for content, style in pairs:
        paper, fast = rows(content, style, method)
        ratios.append(fast.whole_seconds / paper.whole_seconds)
        steps.append(fast.all_steps)
        losses.append(fast.loss_ratio)
    cells = (
        size, method, len(pairs), f"{statistics.median(ratios):.2f}", f"{max(ratios):.2f}",
        f"{min(steps)} to {max(steps)}", f"{statistics.median(losses):.2f}", f"{max(losses):.2f}",
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    run(main)
