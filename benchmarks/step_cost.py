"""What losses and optimiser cost a step, over the bare network's forward and backward.

Each round times the bare network and then every method, a few steps each, so that a machine
whose speed drifts does so for all; a ratio is the median over the rounds. Run it with nothing
else running:

    python benchmarks/step_cost.py [--sizes 224,512] [--rounds 5] [--out FILE.md]
"""

import argparse
import platform
import statistics
import sys
import time

from nst_cli import Config, engine, images, samples, transfer, vgg, weights
from nst_cli.config import METHODS
from nst_cli.errors import NstError

STEPS = 6
FUSIONS = ("bn=0.5,poly=0.5", "linear=0.5,gaussian=0.5")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="224,512", help="long edges in pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", help="also write the table to this file")
    arguments = parser.parse_args()
    lines = [
        describe(),
        "",
        "| size | what | s per step | over the bare network |",
        "|---|---|---|---|",
    ]
    for size in map(int, arguments.sizes.split(",")):
        lines += measure(size, arguments.rounds)
    table = "\n".join(lines)
    print(table)
    if arguments.out:
        with open(arguments.out, "w") as stream:
            stream.write(table + "\n")


def describe():
    """Return the machine and the versions in a line."""
    with open("/proc/cpuinfo") as stream:
        model = next(line.partition(":")[2].strip() for line in stream if "model name" in line)
    return (
        f"{model}, {engine.threads()} threads, Python {platform.python_version()}, "
        f"MXNet {engine.version()}"
    )


def measure(size, rounds):
    """Return the rows of one size."""
    content, style = pictures(size)
    runs = {"bare network": lambda: bare(content)}
    for method in (*METHODS, *FUSIONS):
        runs[method] = lambda method=method: steps(content, style, method)
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(statistics.median(run()))
            print(f"{size} {name}: {times[name][-1]:.4f} s", file=sys.stderr)
    rows = []
    for name, own in times.items():
        ratio = statistics.median(a / b for a, b in zip(own, times["bare network"]))
        shape = f"{content.shape[3]} x {content.shape[2]}"
        rows.append(f"| {shape} | {name} | {statistics.median(own):.4f} | {ratio:.3f} |")
    return rows


def pictures(size):
    """Return the sample pair as network input, the style squeezed to the content's size."""
    content, style = images.read(samples.CONTENT), images.read(samples.STYLES[0])
    shape = images.fit(content.pixels.shape, size)
    return [images.to_input(images.resize(picture.pixels, shape)) for picture in (content, style)]


def bare(content):
    """Return the times of forward and backward alone, with all the layers of the paper tapped."""
    config = Config()
    device = engine.context("cpu")
    layers = (*config.style_layers, *config.content_layers)
    shared = vgg.parameters(weights.load(weights.find()), layers, device)
    network = vgg.Network(shared, layers, content.shape)
    image = engine.array(content, device)
    heads = {layer: 1e-3 * features for layer, features in network.forward(image).items()}
    times = []
    for _ in range(STEPS + 1):
        began = time.perf_counter()
        network.forward(image)
        network.backward(heads)
        engine.wait()
        times.append(time.perf_counter() - began)
    return times[1:]


def steps(content, style, method):
    """Return the times of whole steps: from one call of `on_step` to the next."""
    moments = []
    config = Config(method=method, iterations=STEPS + 1, stop_eps=0, device="cpu")
    transfer(content, style, config, on_step=lambda record: moments.append(time.perf_counter()))
    return [later - earlier for earlier, later in zip(moments, moments[1:])]


if __name__ == "__main__":
    try:
        main()
    except NstError as error:
        sys.exit(f"Error: {error}")
