"""Compares a step of nst with one of PyTorch on the same NVIDIA card, in each of its precisions.

Network, weights, pictures and objective (method poly) are the same. A step of nst is one of preset
`fast`, with its optimiser; PyTorch's is the loss and its gradient alone. Each measurement runs in
its own process, because the two need libraries with the same names, and because TF32 is set for a
whole process. In float16, both compute only the convolutions in it. Only this benchmark and
`pytorch.py` need PyTorch: pip install torch==2.13.0

    python benchmarks/gpu.py [--sizes 512,1024,2048] [--device gpu]
"""

import argparse
import json
import statistics
import subprocess
import sys

from common import add_pictures, describe, run, step_times

from nst_cli.bench import pictures
from nst_cli.engine import mxnet2
from nst_cli.engine.gpu import driver, library

STEPS = 20
# Steps that are not timed: the library chooses algorithms and the memory pool grows.
WARMING_UP = 3
HEAD = "| size | precision | nst: s per step | PyTorch: s | of PyTorch's |\n|---|---|---|---|---|"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_pictures(parser)
    parser.set_defaults(sizes="512,1024,2048")
    parser.add_argument("--device", default="gpu", help="cpu only shows that the program works")
    parser.add_argument("--check", action="store_true", help="only see whether there is a card")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--precision", choices=PRECISIONS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        pair = pictures(int(arguments.sizes), arguments.content, arguments.style)
        times = PARTS[arguments.part](*pair, arguments.device, arguments.precision)
        print(json.dumps({"shape": pair[0].shape, "times": times}))
        return
    card = card_of(arguments.device)
    if not arguments.check:
        compare(card, arguments)


def card_of(device):
    """Return the card of a device, or None for the CPU; raise if the card is missing."""
    if device == "cpu":
        return None
    if not library.choose(device) and not mxnet2.version():
        sys.exit("Error: MXNet's CUDA build is not installed: nst gpu install gets it.")
    return driver.probe().card(int(device.partition(":")[2] or 0))


def compare(card, arguments):
    """Print the table."""
    name = f"{card.name} ({driver.dotted(card.capability)})" if card else "No card"
    print(f"{name}, {describe()}, method poly\n\n{HEAD}")
    for size in arguments.sizes.split(","):
        for precision in PRECISIONS:
            least = driver.LEAST.get(precision, (0, 0))
            if card and card.capability < least or not card and precision == "tf32":
                continue
            ours, theirs = (measured(part, size, precision, arguments) for part in PARTS)
            _, _, height, width = ours["shape"]
            our_time, their_time = (
                statistics.median(part["times"][WARMING_UP:]) for part in (ours, theirs)
            )
            print(
                f"| {width} × {height} | {precision} | {our_time:.4f} | {their_time:.4f} "
                f"| {our_time / their_time:.2f} |",
                flush=True,
            )


def measured(part, size, precision, arguments):
    """Run a measurement in a new process; return its result."""
    command = [
        sys.executable, __file__, "--part", part, "--sizes", size, "--device", arguments.device,
        "--content", arguments.content, "--style", arguments.style,
        "--precision", precision,
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"Error: {part} could not be measured at {size}; its own words are above.")
    return json.loads(done.stdout)


def ours(content, style, device, precision):
    return step_times(content, style, STEPS, precision, device)


def theirs(content, style, device, precision):
    import torch
    from pytorch import their_step_times

    tf32, half = precision == "tf32", precision == "float16"
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    return their_step_times(content, style, STEPS, device.replace("gpu", "cuda"), half)


PRECISIONS = ("float32", *driver.LEAST)
PARTS = {"nst": ours, "PyTorch": theirs}

if __name__ == "__main__":
    run(main)
