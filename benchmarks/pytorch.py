"""Compares nst with plain PyTorch: same network, weights, pictures, objective and start.

It measures the time of a step; then the time that preset `fast` and PyTorch's L-BFGS take from the
content image to the loss at which preset `paper` ends. L-BFGS is used as in the well-known
implementations (lr 1, history 100, no line search). It needs PyTorch: pip install torch==2.13.0

    python benchmarks/pytorch.py [--sizes 224,512]
"""

import argparse
import functools
import statistics
import sys
import time

import torch
from common import add_pictures, describe, run, step_times
from torch.nn import functional

from nst_cli import Config, engine, machine
from nst_cli.bench import final_loss, first_below, pictures, timed
from nst_cli.config import PAPER_BETA
from nst_cli.synthesis import vgg
from nst_cli.weights import Weights

STEPS = 8
MOST_EVALUATIONS = 400
CONFIG = Config()
LAYERS = (*CONFIG.style_layers, *CONFIG.content_layers)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_pictures(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(engine.threads())
    print(f"{describe()}, PyTorch {torch.__version__}, method poly\n")
    for size in map(int, arguments.sizes.split(",")):
        content, style = pictures(size, arguments.content, arguments.style)
        print(f"{content.shape[3]} × {content.shape[2]}")
        compare_steps(content, style)
        compare_times(content, style)


def compare_steps(content, style):
    """Print the seconds of a step, and the ratios to PyTorch's."""
    times = {"PyTorch": their_step_times(content, style, STEPS)}
    precisions = ["float32"] + ["bfloat16"] * ("avx512_bf16" in machine.cpu_flags())
    for precision in precisions:
        times[precision] = step_times(content, style, STEPS, precision)
    base = statistics.median(times["PyTorch"][1:])
    for name, step_seconds in times.items():
        seconds = statistics.median(step_seconds[1:])
        print(f"  step, {name}: {seconds:.3f} s, {seconds / base:.2f} of PyTorch's", flush=True)


def their_step_times(content, style, steps, device="cpu", half=False):
    """Return the seconds of each loss with its gradient in PyTorch."""
    theirs, times = Theirs(content, style, device, half), []
    image = torch.tensor(content, device=device, requires_grad=True)
    for _ in range(steps):
        began = time.perf_counter()
        loss = theirs(image)
        loss.backward()
        # Waits until a GPU has computed both.
        float(loss.detach())
        times.append(time.perf_counter() - began)
        image.grad = None
    return times


def compare_times(content, style):
    """Print the seconds to the loss at which preset `paper` ends."""
    paper = timed(content, style, CONFIG)
    target = final_loss(paper.result.image, content, style, CONFIG)
    print(
        f"  paper: {paper.result.steps} steps, {paper.moments[-1]:.1f} s, loss {target:.4g}",
        flush=True,
    )
    seconds, evaluations = their_lbfgs(content, style, target)
    print(f"  PyTorch L-BFGS: {seconds:.1f} s, {evaluations} evaluations", flush=True)
    for precision in ("float32", "auto"):
        fast = timed(content, style, Config(preset="fast", precision=precision, margin=0))
        reached = first_below(
            target, fast, lambda image: final_loss(image, content, style, CONFIG)
        )
        fast_seconds = fast.moments[reached]
        ratio = fast_seconds / seconds
        print(f"  fast, {precision}: {fast_seconds:.1f} s, {ratio:.2f} of PyTorch's", flush=True)


class Theirs:
    """The objective of preset `paper` with poly, in PyTorch's autograd; half: float16 network."""

    def __init__(self, content, style, device="cpu", half=False):
        self.autocast = functools.partial(
            torch.autocast, device.partition(":")[0], torch.float16, enabled=half
        )
        arrays = Weights.find().load()
        tensor = functools.partial(torch.tensor, device=device)
        self.layers = [
            (name, tensor(arrays[f"{name}_weight"]), tensor(arrays[f"{name}_bias"]))
            for name in vgg.convolutions(LAYERS)
        ]
        with torch.no_grad():
            self.target = self.features(tensor(content))[CONFIG.content_layers[0]]
            maps = self.features(tensor(style))
            self.grams = {layer: gram(maps[layer]) for layer in CONFIG.style_layers}
        laplacian = tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]]) / 8
        self.laplacian = laplacian.expand(3, 1, 3, 3).contiguous()

    def features(self, values):
        maps = {}
        with self.autocast():
            for name, weight, bias in self.layers:
                if name.endswith("_1") and name != "conv1_1":
                    values = functional.avg_pool2d(values, 2)
                values = functional.relu(functional.conv2d(values, weight, bias, padding=1))
                maps[name.replace("conv", "relu")] = values.float()
        return maps

    def __call__(self, image):
        maps = self.features(image)
        loss = ((maps[CONFIG.content_layers[0]] - self.target) ** 2).sum()
        for layer, wanted in self.grams.items():
            channels, positions = maps[layer].shape[1], maps[layer][0, 0].numel()
            scale = CONFIG.gamma * PAPER_BETA["poly"] * positions / (4 * channels**2)
            loss = loss + scale * ((gram(maps[layer]) - wanted) ** 2).sum()
        smooth = functional.conv2d(image, self.laplacian, padding=1, groups=3)
        return loss + CONFIG.tv_weight / 2 * (image * smooth).sum()


def check_objectives(content, style):
    with torch.no_grad():
        theirs = float(Theirs(content, style)(torch.tensor(content)))
    ours = final_loss(content, content, style, CONFIG)
    if abs(theirs / ours - 1) > 1e-4:
        sys.exit(f"The objectives differ: {theirs} in PyTorch, {ours} here.")


def gram(values):
    flat = values[0].flatten(1)
    return flat @ flat.T / flat.shape[1]


def their_lbfgs(content, style, target):
    """Return seconds, set-up included, and evaluations to the target; it must be reached."""
    check_objectives(content, style)
    began = time.perf_counter()
    theirs = Theirs(content, style)
    image = torch.tensor(content, requires_grad=True)
    options = {"max_iter": 1, "history_size": 100, "tolerance_grad": -1, "tolerance_change": -1}
    optimizer = torch.optim.LBFGS([image], lr=1, **options)
    count = 0

    def closure():
        nonlocal count
        count += 1
        optimizer.zero_grad()
        loss = theirs(image)
        loss.backward()
        return loss

    while count < MOST_EVALUATIONS:
        if float(optimizer.step(closure).detach()) <= target:
            return time.perf_counter() - began, count
    sys.exit(f"PyTorch's L-BFGS is still above the target after {count} evaluations.")


if __name__ == "__main__":
    run(main)
