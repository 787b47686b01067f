"""Compares the peak memory of runs, each in its own process, with the forecast.

python benchmarks/memory.py [--sizes 256,512,768,1024,1400]
"""

import argparse

from common import add_pictures, describe, run

from nst_cli import Config, bench
from nst_cli.synthesis import memory

STEPS = 4
HEAD = "| size | choices | peak, MB | of the forecast |\n|---|---|---|---|"
FAST = {"preset": "fast", "scales": 1}
FLOAT32 = {**FAST, "precision": "float32"}
CHOICES = (
    {"method": "poly"},
    {**FAST, "method": "poly"},
    {**FAST, "method": "linear"},
    {**FAST, "method": "gaussian"},
    {**FLOAT32, "method": "poly"},
    {**FLOAT32, "optimizer": "adam"},
    {**FLOAT32, "method": "sliced"},
    {**FLOAT32, "method": "poly", "style_layers": "relu1_1", "content_layers": "relu1_1"},
    {**FLOAT32, "method": "poly", "style_layers": "relu3_1", "content_layers": "relu3_1"},
    *({**FLOAT32, "method": m} for m in ("histogram", "wasserstein", "energy", "remd")),
    {**FLOAT32, "method": "bn=0.5,poly=0.5"},
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_pictures(parser)
    parser.set_defaults(sizes="256,512,768,1024,1400")
    arguments = parser.parse_args()
    print(f"{describe()}\n\n{HEAD}")
    for size in map(int, arguments.sizes.split(",")):
        content, style = bench.pictures(size, arguments.content, arguments.style)
        for choices in CHOICES:
            config = Config(
                iterations=STEPS, stop_eps=0, stop_decrease=0, device="cpu", tile="off", **choices
            )  # fmt: skip
            peak = bench.in_new_process(bench.timed, content, style, config).memory
            predicted = memory.untiled_memory(config, content.shape[2:], style.shape[2:])
            words = " ".join(f"{name}={value}" for name, value in choices.items())
            shape = f"{content.shape[3]} × {content.shape[2]}"
            print(f"| {shape} | {words} | {peak / 1e6:.0f} | {peak / predicted:.2f} |", flush=True)


if __name__ == "__main__":
    run(main)
