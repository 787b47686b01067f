"""Measures a whole step relative to the forward and backward passes of MXNet's own executor.

Each round times that executor, then nst's network, then every method, for a few steps each, so
that a drift of the machine's speed affects all of them. A ratio is the median over the rounds.
Under MXNet 2, whose executor copies all parameters, steps are compared with nst's network instead.
Run it on an idle machine:

    python benchmarks/step_cost.py [--sizes 224,512] [--rounds 5] [--preset paper]
"""

import argparse
import statistics
import time

from common import add_pictures, describe, run

from nst_cli import Config, engine, transfer
from nst_cli.bench import pictures
from nst_cli.config import METHODS
from nst_cli.synthesis import vgg
from nst_cli.weights import Weights

STEPS = 6
FUSIONS = ("bn=0.5,poly=0.5", "linear=0.5,gaussian=0.5")
HEAD = "| size | what | s per step | over the first |\n|---|---|---|---|"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_pictures(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--precision", default="float32")
    arguments = parser.parse_args()
    print(f"{describe()}, {arguments.precision}\n\n{HEAD}")
    for size in map(int, arguments.sizes.split(",")):
        pair = pictures(size, arguments.content, arguments.style)
        choices = {"preset": arguments.preset, "precision": arguments.precision, "scales": 1}
        for row in measure(pair, arguments.rounds, choices):
            print(row, flush=True)


def measure(pair, rounds, choices):
    """Return the rows of one size."""
    runs = {"bare network": lambda: bare(pair[0], choices["precision"])}
    if hasattr(engine.sym.Symbol, "bind"):
        runs = {"MXNet's executor": lambda: executor(pair[0], choices["precision"]), **runs}
    for method in (*METHODS, *FUSIONS):
        runs[method] = lambda method=method: steps(*pair, dict(choices, method=method))
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, measured in runs.items():
            times[name].append(statistics.median(measured()))
    rows = []
    for name, medians in times.items():
        ratio = statistics.median(a / b for a, b in zip(medians, next(iter(times.values()))))
        shape = f"{pair[0].shape[3]} × {pair[0].shape[2]}"
        rows.append(f"| {shape} | {name} | {statistics.median(medians):.4f} | {ratio:.3f} |")
    return rows


def bare(content, precision="float32"):
    """Return the times of forward and backward alone, with outputs at all layers of the paper."""
    shared, layers, device = network_of(precision)
    network = vgg.Network(shared, layers, content.shape, precision=precision)
    image = engine.array(content, device)
    heads = {layer: 1e-3 * features for layer, features in network.forward(image).items()}
    times = []
    for _ in range(STEPS + 1):
        began = time.perf_counter()
        network.forward(image)
        network.backward(heads.get)
        engine.wait()
        times.append(time.perf_counter() - began)
    return times[1:]


def executor(content, precision):
    """Return the times of forward and backward by the executor of MXNet 1.9.1."""
    shared, layers, device = network_of(precision)
    graph = whole(vgg.blocks(layers, precision=precision))
    image = engine.array(content, device)
    arguments = {name: shared[name] for name in graph.list_arguments() if name != "data"}
    requests = {name: "null" for name in arguments}
    bound = graph.bind(
        device,
        args={**arguments, "data": image},
        args_grad={"data": engine.nd.zeros_like(image)},
        grad_req={**requests, "data": "write"},
    )
    heads = [1e-3 * features for features in bound.forward(is_train=True)]
    times = []
    for _ in range(STEPS + 1):
        began = time.perf_counter()
        bound.forward(is_train=True)
        bound.backward(heads)
        engine.wait()
        times.append(time.perf_counter() - began)
    return times[1:]


def whole(blocks):
    """Return the blocks of the network as one symbol."""
    outputs, below = [], None
    for names, block in blocks:
        block = block if below is None else block(data=below)
        outputs += [block[n] for n in range(len(names))]
        below = block[len(block.list_outputs()) - 1]
    return engine.sym.Group(outputs)


def network_of(precision):
    """Return parameters, all the layers that the paper reads, and the device."""
    config, device = Config(), engine.context("cpu")
    layers = (*config.style_layers, *config.content_layers)
    shared = vgg.parameters(Weights.find().load(), layers, device, precision=precision)
    return shared, layers, device


def steps(content, style, choices):
    """Return the times of whole steps: from one call of `on_step` to the next."""
    moments = []
    config = Config(iterations=STEPS + 1, stop_eps=0, stop_decrease=0, device="cpu", **choices)
    transfer(content, style, config, on_step=lambda record: moments.append(time.perf_counter()))
    return [later - earlier for earlier, later in zip(moments, moments[1:])]


if __name__ == "__main__":
    run(main)
