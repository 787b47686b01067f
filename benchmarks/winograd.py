"""Winograd convolutions beside direct ones: each layer, the network, and a step.

Direct and Winograd take turns in one process, and a ratio is the median over the rounds. The rule
in `nst_cli.synthesis.winograd` is from the table of layers. Run it with nothing else running:

    python benchmarks/winograd.py [--sizes 224,512] [--rounds 5] [--parts layers,network,step]

DNNL_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Haswell make a processor with AVX-512 compute like one
without.
"""

import argparse
import functools
import statistics
import time

from common import add_pictures, describe, run, step_times
from step_cost import network_of

from nst_cli import engine
from nst_cli.bench import pictures
from nst_cli.synthesis import vgg, winograd

LAYERS = ("conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv4_1", "conv4_2", "conv5_1")
STEPS = 4


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_pictures(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", default="layers,network,step")
    arguments = parser.parse_args()
    print(f"{describe()}; oneDNN uses {engine.instruction_set(engine.context('cpu'))}")
    for part in arguments.parts.split(","):
        head, measure = PARTS[part]
        print(f"\n{head}\n{'|---' * (head.count('|') - 1)}|")
        for size in map(int, arguments.sizes.split(",")):
            for row in measure(
                pictures(size, arguments.content, arguments.style), arguments.rounds
            ):
                print(f"| {' | '.join(row)} |", flush=True)


def layers(pair, rounds):
    """Yield a row for each layer: direct, the ratio of direct to Winograd, and auto's choice."""
    shared, _, device = network_of("float32")
    for name in LAYERS:
        outputs, inputs = shared[f"{name}_weight"].shape[:2]
        height, width = (side >> (int(name[4]) - 1) for side in pair[0].shape[2:])
        data = engine.nd.random.uniform(shape=(1, inputs, height, width), ctx=device)
        head = engine.nd.random.normal(shape=(1, outputs, height, width), ctx=device)
        runs = {
            "direct": passes(engine.bind(direct(name, outputs), shared), data, head),
            "winograd": passes(winograd.Layer(shared, name, (height, width)), data, head),
        }
        times = paired(runs, rounds)
        instructions = engine.instruction_set(device)
        chosen = winograd.suits(inputs, outputs, height * width, instructions)
        milliseconds = 1000 * statistics.median(times["direct"])
        yield (
            name, f"{width} × {height}", f"{milliseconds:.1f}", f"{ratio(times, 'winograd'):.2f}",
            "winograd" if chosen else "direct",
        )  # fmt: skip


def direct(name, outputs):
    """Return the graph of a convolution and its ReLU."""
    sym = engine.sym
    node = sym.Convolution(
        sym.var("data"), kernel=(3, 3), pad=(1, 1), num_filter=outputs, name=name
    )
    return sym.Activation(node, act_type="relu")


def passes(layer, data, head):
    """Return a function that times a forward and a backward pass of a layer."""

    def timed():
        began = time.perf_counter()
        layer.forward(data)[0].wait_to_read()
        layer.backward([head]).wait_to_read()
        return time.perf_counter() - began

    return timed


def network(pair, rounds):
    """Yield the row of forward and backward passes of the network."""
    shared, taps, device = network_of("float32")
    image = engine.array(pair[0], device)

    def passes(convolution):
        one = vgg.Network(shared, taps, image.shape, convolution=convolution)
        heads = {layer: 1e-3 * features for layer, features in one.forward(image).items()}

        def timed():
            began = time.perf_counter()
            one.forward(image)
            one.backward(heads.get)
            engine.wait()
            return time.perf_counter() - began

        return timed

    yield summary(
        pair, paired({name: passes(name) for name in ("direct", "auto", "winograd")}, rounds)
    )


def step(pair, rounds):
    """Yield the row of a step of preset `fast`, method poly."""

    def timed(convolution):
        return statistics.median(step_times(*pair, STEPS, "float32", convolution=convolution))

    runs = {name: functools.partial(timed, name) for name in ("direct", "auto")}
    yield summary(pair, paired(runs, rounds))


def paired(runs, rounds):
    """Return the times of each run, which take turns; a first round warms up."""
    times = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, timed in runs.items():
            times[name].append(timed())
    return {name: values[1:] for name, values in times.items()}


def ratio(times, name):
    """Return the median over the rounds of direct over another."""
    return statistics.median(a / b for a, b in zip(times["direct"], times[name]))


def summary(pair, times):
    """Return a row: the size, the seconds of each run, and the ratios of direct to the others."""
    height, width = pair[0].shape[2:]
    seconds = [f"{statistics.median(values):.3f}" for values in times.values()]
    return f"{width} × {height}", *seconds, *(f"{ratio(times, name):.2f}" for name in [*times][1:])


PARTS = {
    "layers": ("| layer | map | direct, ms | direct / winograd | auto |", layers),
    "network": (
        "| network | direct, s | auto, s | winograd, s | direct / auto | direct / winograd |",
        network,
    ),
    "step": ("| step | direct, s | auto, s | direct / auto |", step),
}


if __name__ == "__main__":
    run(main)
