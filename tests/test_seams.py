"""A picture made in tiles has no seams: not even in the difference to the picture without them."""

import numpy

from nst_cli import engine, images, samples
from nst_cli.config import Config
from nst_cli.synthesis import tiles, transfer, vgg
from nst_cli.weights import Weights

HEIGHT, WIDTH = 64, 80
CHOICES = {
    "weights": "builtin", "device": "cpu", "precision": "float32", "scales": 1, "margin": 0,
    "iterations": 3, "stop_eps": 0, "init": "content", "seed": 0, "optimizer": "lbfgs",
}  # fmt: skip
# Positions on each side of a border between two cores.
REACH = 4


def picture(path, height=HEIGHT, width=WIDTH):
    return images.to_input(images.resize(images.read(path).pixels, (height, width)))


def made(tile):
    """Make a picture of the samples in a few steps; return its pixels, float64 (H, W, 3)."""
    config = Config(tile=tile, **CHOICES)
    result = transfer(picture(samples.CONTENT), picture(samples.STYLES[0], 64, 72), config)
    assert (result.tiling is None) == (tile == "off")
    return images.to_float_pixels(result.image).astype(float)


def near_borders():
    """Return which pixels are near a border between the tiles of the image's gradient."""
    config = Config(tile=1, **CHOICES)
    layers = [*config.style_layers, *config.content_layers]
    layers.sort(key=vgg.LAYERS.index)
    shared = vgg.parameters(Weights.find("builtin").load(), layers, engine.context("cpu"))
    network = tiles.TiledNetwork(shared, layers, (1, 3, HEIGHT, WIDTH), tile_bytes=1 << 20)
    stage, *_ = network._stages
    near = numpy.zeros((HEIGHT, WIDTH), bool)
    for tile in stage.tiles(True, network.tile_bytes, network._value_bytes):
        (top, _), (left, _) = tile.core
        near[max(0, top - REACH) * (top > 0) : (top + REACH) * (top > 0)] = True
        near[:, max(0, left - REACH) * (left > 0) : (left + REACH) * (left > 0)] = True
    return near


def test_the_difference_to_the_untiled_picture_is_rounding_and_no_larger_at_tile_borders():
    near = near_borders()
    assert 0.1 < near.mean() < 0.9
    difference = numpy.abs(made(1) - made("off"))
    # Amplified 50 times it is less than one of 255 levels.
    assert difference.max() < 1 / 50
    assert difference[near].mean() < 2 * difference[~near].mean() + 1e-6
