"""Records the golden runs in `tests/golden`: the authors' gradient descent in float64 NumPy.

This program is independent of nst's: it uses neither MXNet nor `nst_cli.synthesis`. It follows
the formulas of the paper with the constants of the authors' code, which are written out below.
`--check` compares it with recordings of the authors' program (MXNet 1.9.1, VGG-19), which are too
large for the repository. `--record` writes the small runs that the tests use, on the sample
pictures with the built-in filter bank, so that anyone can repeat them.

    python tools/golden.py --check FOLDER VGG19.params
    python tools/golden.py --record tests/golden
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
from numpy.lib.stride_tricks import sliding_window_view

sys.path.insert(0, str(Path(__file__).parents[1]))

from nst_cli import images, samples
from nst_cli.weights import BUILTIN, Weights

#: Arrays by name.
Features = dict[str, numpy.ndarray]
#: The value of a loss and its gradient.
LossGrad = tuple[float, numpy.ndarray]

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_LAYER = "relu4_2"
DEPTHS = (2, 2, 4, 4, 1)

#: For each run: its fusion {method: share}, gamma, and the constant of the polynomial kernel.
RUNS = {
    "linear": ({"linear": 1.0}, 5, 0),
    "poly": ({"poly": 1.0}, 5, 0),
    "polyc": ({"poly": 1.0}, 5, 100),
    "bn": ({"bn": 1.0}, 1, 0),
    "bnpoly": ({"bn": 0.3, "poly": 0.7}, 5, 0),
}
STEPS = 20
#: Steps after which images are compared.
KEPT = (1, 5, 20)
LONG_EDGE = 64
SEED = 0


def convolve(maps: numpy.ndarray, weight: numpy.ndarray) -> numpy.ndarray:
    """Return the 3 x 3 convolution, zero padding of one, of maps of shape (C, H, W)."""
    padded = numpy.pad(maps, ((0, 0), (1, 1), (1, 1)))
    windows = sliding_window_view(padded, (3, 3), axis=(1, 2))
    columns = windows.transpose(0, 3, 4, 1, 2).reshape(-1, maps.shape[1] * maps.shape[2])
    return (weight.reshape(len(weight), -1) @ columns).reshape(-1, *maps.shape[1:])


class Network:
    """VGG-19 to relu5_1 with average pooling, in float64."""

    def __init__(self, arrays: Features):
        self._arrays = {name: array.astype(numpy.float64) for name, array in arrays.items()}

    def forward(self, image: numpy.ndarray) -> Features:
        """Return the outputs of all ReLUs by name, for an image of shape (3, H, W)."""
        maps, features = image, {}
        for block, depth in enumerate(DEPTHS, 1):
            for index in range(1, depth + 1):
                name = f"{block}_{index}"
                bias = self._arrays[f"conv{name}_bias"][:, None, None]
                maps = numpy.maximum(convolve(maps, self._arrays[f"conv{name}_weight"]) + bias, 0)
                features[f"relu{name}"] = maps
            _, height, width = maps.shape
            halves = maps[:, : height // 2 * 2, : width // 2 * 2]
            maps = halves.reshape(len(maps), height // 2, 2, width // 2, 2).mean(axis=(2, 4))
        return features

    def backward(self, features: Features, heads: Features) -> numpy.ndarray:
        """Return the gradient on the image, given gradients on some of the features."""
        gradient = numpy.zeros(1)
        for block in range(len(DEPTHS), 0, -1):
            for index in range(DEPTHS[block - 1], 0, -1):
                name = f"{block}_{index}"
                maps = features[f"relu{name}"]
                if index == DEPTHS[block - 1] and block < len(DEPTHS):
                    gradient = unpooled(gradient, maps.shape)
                gradient = (gradient + heads.get(f"relu{name}", 0)) * (maps > 0)
                flipped = self._arrays[f"conv{name}_weight"][:, :, ::-1, ::-1]
                gradient = convolve(gradient, flipped.transpose(1, 0, 2, 3))
        return gradient


def unpooled(gradient: numpy.ndarray, shape: tuple[int, ...]) -> numpy.ndarray:
    """Return the gradient on the input of a 2 x 2 average pooling."""
    result = numpy.zeros(shape)
    spread = gradient.repeat(2, axis=1).repeat(2, axis=2) / 4
    result[:, : spread.shape[1], : spread.shape[2]] = spread
    return result


def linear(x: numpy.ndarray, s: numpy.ndarray, c: float) -> LossGrad:
    """1000 / (C n) ||sum x - sum s||^2, for maps as matrices of shape (C, n)."""
    channels, n = x.shape
    difference = x.sum(axis=1) - s.sum(axis=1)
    factor = 1000 / (channels * n)
    return factor * difference @ difference, 2 * factor * numpy.repeat(difference[:, None], n, 1)


def poly(x: numpy.ndarray, s: numpy.ndarray, c: float) -> LossGrad:
    """0.025 / (C^2 n) (||x x' - s s'||^2 + 2 c ||sum x - sum s||^2)."""
    channels, n = x.shape
    gram = x @ x.T - s @ s.T
    total = x.sum(axis=1) - s.sum(axis=1)
    factor = 0.025 / (channels**2 * n)
    value = factor * ((gram**2).sum() + 2 * c * total @ total)
    return value, 4 * factor * (gram @ x + c * total[:, None])


def bn(x: numpy.ndarray, s: numpy.ndarray, c: float) -> LossGrad:
    """500 n / C (||mean x - mean s||^2 + ||std x - std s||^2), no gradient where std is 0."""
    channels, n = x.shape
    means = x.mean(axis=1) - s.mean(axis=1)
    deviation = x.std(axis=1)
    deviations = deviation - s.std(axis=1)
    factor = 500 * n / channels
    safe = numpy.where(deviation > 0, deviation, 1)
    slope = numpy.where(deviation > 0, deviations / safe, 0)
    centred = x - x.mean(axis=1, keepdims=True)
    gradient = 2 * factor / n * (means[:, None] + slope[:, None] * centred)
    return factor * (means @ means + deviations @ deviations), gradient


LOSSES = {"linear": linear, "poly": poly, "bn": bn}


def smoothing_gradient(image: numpy.ndarray) -> numpy.ndarray:
    """A hundredth of the five-point Laplacian over 8, zero outside the image."""
    padded = numpy.pad(image, ((0, 0), (1, 1), (1, 1)))
    neighbours = (
        padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    )
    return 1e-2 * (4 * image - neighbours) / 8


def descend(
    network: Network,
    content: numpy.ndarray,
    style: numpy.ndarray,
    image: numpy.ndarray,
    run: str,
    steps: int = STEPS,
) -> Iterator[tuple[numpy.ndarray, dict[str, float], float, float]]:
    """Yield (image, losses, gradient norm, relative change) of each step of the authors' code.

    The losses are at the image before the step. The norm is that of the network's gradient,
    before clipping and without the smoothing.
    """
    shares, gamma, c = RUNS[run]
    target = network.forward(content)[CONTENT_LAYER]
    styles = network.forward(style)
    momentum = numpy.zeros_like(image)
    for _ in range(steps):
        features = network.forward(image)
        difference = features[CONTENT_LAYER] - target
        losses = {f"content/{CONTENT_LAYER}": (difference**2).sum()}
        heads: dict[str, Any] = {CONTENT_LAYER: 2 * difference}
        for layer in STYLE_LAYERS:
            maps = features[layer]
            x, s = maps.reshape(len(maps), -1), styles[layer].reshape(len(maps), -1)
            heads[layer] = 0
            for method, share in shares.items():
                value, gradient = LOSSES[method](x, s, c)
                losses[f"{method}/{layer}"] = share * gamma * value
                heads[layer] = heads[layer] + share * gamma * gradient.reshape(maps.shape)
        gradient = network.backward(features, heads)
        norm = math.sqrt((gradient**2).sum())
        gradient = gradient * min(1, image.size / norm)
        smoothing = smoothing_gradient(image)
        losses["smoothing"] = (image * smoothing).sum() / 2
        momentum = 0.9 * momentum - 1e-3 * (gradient + smoothing + 5e-4 * image)
        new = image + momentum
        change = math.sqrt((momentum**2).sum() / (new**2).sum())
        image = new
        yield image, losses, norm, change


def sample_inputs() -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Return the content, style and start images of the recorded runs, shape (3, H, W)."""
    content, style = (images.read(path).pixels for path in (samples.CONTENT, samples.STYLES[0]))
    size = images.fit(content.shape, LONG_EDGE)
    content, style = (
        images.to_input(images.resize(pixels, size), 256)[0] for pixels in (content, style)
    )
    start = numpy.random.RandomState(SEED).uniform(-0.1, 0.1, content.shape)
    return content, style, start.astype(numpy.float32)


def record(folder: Path) -> None:
    """Record the runs of `RUNS` on the sample pictures, with the built-in filter bank."""
    arrays = Weights.find(BUILTIN).load()
    network = Network(arrays)
    content, style, start = (array.astype(numpy.float64) for array in sample_inputs())
    numbers: dict[str, Any] = {}
    kept = {"content": content, "style": style, "init": start}
    for run in RUNS:
        losses, norms, changes = [], [], []
        for step, (image, *row) in enumerate(descend(network, content, style, start, run), 1):
            losses.append(row[0])
            norms.append(row[1])
            changes.append(row[2])
            if step == KEPT[-1]:
                kept[run] = image
        numbers[run] = {"losses": losses, "gradient_norm": norms, "relative_change": changes}
    numbers["weights"] = {
        name: float(numpy.linalg.norm(array.astype(numpy.float64)))
        for name, array in arrays.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "runs.json").write_text(json.dumps(numbers, indent=1) + "\n")
    recorded: dict[str, Any] = {
        name: image.astype(numpy.float32)[None] for name, image in kept.items()
    }
    numpy.savez_compressed(folder / "images.npz", **recorded)


def check(folder: Path, parameters: Path) -> None:
    """Print the differences between this program and recordings of the authors' program."""
    network = Network(Weights.find(parameters).load())
    print("run      step 1    step 5   step 20   gradient norms")
    for run in RUNS:
        recorded = numpy.load(folder / f"{run}.npz")
        content, style, start = (
            recorded[name][0].astype(float) for name in ("content", "style", "init")
        )
        differences, norms = [], []
        steps = descend(network, content, style, start, run)
        for step, (image, _, norm, _) in enumerate(steps, 1):
            norms.append(norm)
            if step in KEPT:
                expected = recorded[f"it{step}"][0]
                error = numpy.linalg.norm(image - expected) / numpy.linalg.norm(expected)
                differences.append(error)
        worst = numpy.abs(numpy.array(norms) / recorded["gradient_norm"] - 1).max()
        print(f"{run:8}" + "".join(f"{value:9.1e} " for value in differences) + f"{worst:9.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", type=Path, metavar="FOLDER")
    parser.add_argument("--check", nargs=2, type=Path, metavar=("FOLDER", "FILE"))
    choices = parser.parse_args()
    if choices.check:
        check(*choices.check)
    if choices.record:
        record(choices.record)


if __name__ == "__main__":
    main()
