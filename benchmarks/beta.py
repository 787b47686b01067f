"""The factor β′ that gives each method the balance with the content that the authors' have.

At γ = 1, a style's gradient on the image is `ratio` times that of the content:

    ratio = β′ ‖∇ L_style‖ / ‖∇ L_content‖

The script measures it for the four methods of the paper, and for each other method the β′ that
gives it the ratio of gaussian, if it compares pairs of positions or stands for that, or else the
median ratio of linear, poly and bn. The table has the median over all pairs of pictures and the
spread: the largest over the smallest. It measures on images early and late in a run: noise, and
the image after some steps of preset fast with poly and γ = 1.

    python benchmarks/beta.py FOLDER CONTENT,STYLE... [--size 224] [--method NAME]...

`--method` also measures a method of an installed plugin.
"""

import argparse
import statistics
from pathlib import Path

import numpy
from common import describe, run

from nst_cli import Config, engine, transfer
from nst_cli.bench import pictures
from nst_cli.config import METHODS, PAPER_BETA, PAPER_METHODS
from nst_cli.plugins import paper_beta
from nst_cli.synthesis import objective, vgg
from nst_cli.synthesis.losses import style_loss
from nst_cli.weights import Weights

DRAWS = 5
STEPS = (10, 60)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("pairs", nargs="+", metavar="CONTENT,STYLE")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--method", action="append", default=[])
    arguments = parser.parse_args()
    methods = (*METHODS, *arguments.method)
    places = ["noise", *(f"{count} steps" for count in STEPS)]
    # For each place and method, the ratio at β′ = 1 of each pair of pictures.
    ratios = {place: {method: [] for method in methods} for place in places}
    for pair in arguments.pairs:
        paths = [str(arguments.folder / name) for name in pair.split(",")]
        content, style = pictures(arguments.size, *paths)
        for place, measured in zip(places, measure(content, style, methods)):
            for method, ratio in measured.items():
                ratios[place][method].append(ratio)
        print(f"measured {pair}", flush=True)
    print(f"\n{describe()}, {arguments.size} pixels, {len(arguments.pairs)} pairs\n")
    print("| image | method | ratio at β′ = 1 | spread | β′ now | ratio | β′ measured |")
    print("|---|---|---|---|---|---|---|")
    for place in places:
        for row in rows(place, ratios[place]):
            print(row)


def rows(place, ratios):
    """Return the rows of the table for one kind of image."""
    medians = {method: statistics.median(values) for method, values in ratios.items()}
    paper = {method: PAPER_BETA[method] * medians[method] for method in PAPER_METHODS}
    of_sums = statistics.median(paper[method] for method in ("linear", "poly", "bn"))
    for method, values in ratios.items():
        goal = paper["gaussian"] if like_gaussian(method) else of_sums
        now = paper_beta(method)
        yield (
            f"| {place} | {method} | {medians[method]:.3g} | {max(values) / min(values):.2g} "
            f"| {now:g} | {now * medians[method]:.3g} | {goal / medians[method]:.2g} |"
        )


def like_gaussian(method):
    return style_loss(method).needs == "pairs" or method == "fourier"


def measure(content, style, methods):
    """Return the ratio at β′ = 1 of each method, on each of the images."""
    device = engine.context("cpu")
    config = Config(method=",".join(f"{method}=1" for method in methods))
    layers = (*config.style_layers, *config.content_layers)
    layers = tuple(sorted(layers))
    shared = vgg.parameters(Weights.find().load(), layers, device)
    network = vgg.Network(shared, layers, content.shape)
    reader = vgg.Network(shared, layers, style.shape, gradient=False)
    features = reader.forward(engine.array(style, device))
    targets = objective.style_targets(config, features, numpy.random.RandomState(0))
    style_terms = objective.style_terms(config, targets)
    features = network.forward(engine.array(content, device))
    content_terms = objective.content_terms(config, features)
    by_image = []
    for image in images(content, style):
        on_device = engine.array(image, device)
        base = norm(network, content_terms, on_device)
        by_image.append(
            {
                method: norm(network, [t for t in style_terms if t.method == method], on_device)
                / base
                for method in methods
            }
        )
    return by_image


def norm(network, terms, image):
    """Return the norm of the gradient of some terms on an image: the median over some draws."""
    goal = objective.Objective(network, terms, 0, numpy.random.RandomState(1))
    draws = DRAWS if goal.draws else 1
    return statistics.median(float(goal(image).gradient_norm.asscalar()) for _ in range(draws))


def images(content, style):
    """Yield noise, and images of a run that minimises the Gram loss from the content image."""
    yield numpy.random.RandomState(0).uniform(-0.1, 0.1, content.shape)
    for steps in STEPS:
        choices = {"preset": "fast", "scales": 1, "precision": "float32", "gamma": 1}
        config = Config(iterations=steps, stop_eps=0, stop_decrease=0, device="cpu", **choices)
        yield transfer(content, style, config).image


if __name__ == "__main__":
    run(main)
