"""The presets besides ``paper`` and ``fast``: small tables of differences from one of these.

Those named after another tool have its objective and its defaults, as far as options of nst can
express them. docs/presets.md derives the numbers, and says what is exact and what is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Weights of layers where a loss divides by other powers of the numbers of channels N and positions
# M than nst's poly, by N²M. These tools divide by N⁴M². N²M is the same in blocks 1 to 4, and a
# quarter of that in block 5.
_AS_MEANS = "relu5_1=4"
# cysmith divides by N²M². M falls to a quarter from block to block.
_AS_SQUARED_SUMS = "relu2_1=4,relu3_1=16,relu4_1=64,relu5_1=256"

# A fixed number of steps at the full size alone.
_PLAIN_RUN: dict[str, Any] = {
    "iterations": 1000,
    "stop_decrease": 0.0,
    "scales": 1,
    "margin": 0,
    "denoise": 0.0,
}


@dataclass(frozen=True)
class Preset:
    """A table of differences from another preset.

    Attributes
    ----------
    base : str
        ``paper`` or ``fast``.
    values : dict of str to object
        The options that differ, by field name.
    tool : str
        The program or repository whose objective it has; empty for nst's own.
    pixels_of_256 : bool
        Whether pixels are scaled by 256 and truncated, as in the authors' code.
    """

    base: str
    values: Mapping[str, Any]
    tool: str = ""
    pixels_of_256: bool = False


PRESETS: dict[str, Preset] = {
    "anishathalye": Preset(
        "fast",
        {
            **_PLAIN_RUN,
            "init": "random",
            "gamma": 1.5625,
            "layer_weights": _AS_MEANS,
            "pooling": "max",
            "size": "keep",
            "optimizer": "adam",
            "lr": 10.0,
            "tv_weight": 2560 / 3,
        },
        "anishathalye/neural-style",
    ),
    "crowsonkb": Preset(
        "fast",
        {
            "method": "wasserstein",
            "gamma": 2.002,
            "pooling": "max",
            "size": 512,
            "optimizer": "adam",
            "lr": 5.1,
            "iterations": 500,
            "stop_decrease": 0.0,
            "scales": 3,
            "margin": 0,
            "tv_weight": 290.0,
            "denoise": 0.0,
        },
        "crowsonkb/style-transfer-pytorch",
    ),
    "cysmith": Preset(
        "fast",
        {
            **_PLAIN_RUN,
            "gamma": 10.206,
            "layer_weights": _AS_SQUARED_SUMS,
            "size": 512,
            "style_fit": "squeeze",
            "tv_weight": 0.4,
        },
        "cysmith/neural-style-tf",
    ),
    # Decided by looking at sheets of benchmarks/candidates.py. More weight on deep layers makes
    # larger strokes, and a little smoothing takes single pixels away.
    "fine": Preset(
        "fast",
        {
            "method": "wasserstein",
            "gamma": 3.0,
            "layer_weights": "relu1_1=0.5,relu4_1=2,relu5_1=4",
            "tv_weight": 30.0,
            "iterations": 300,
            "stop_decrease": 0.002,
        },
    ),
    "jcjohnson": Preset(
        "fast",
        {
            **_PLAIN_RUN,
            "init": "random",
            "gamma": 1.5625,
            "layer_weights": _AS_MEANS,
            "pooling": "max",
            "size": 512,
            "tv_weight": "0.0128/pixel",
        },
        "jcjohnson/neural-style",
    ),
    "mxnet": Preset(
        "paper",
        {"alpha": 10.0, "gamma": 40.0, "denoise": 0.0},
        "apache/mxnet, example/neural-style",
        pixels_of_256=True,
    ),
    "neural-style-pt": Preset(
        "fast",
        {
            **_PLAIN_RUN,
            "init": "random",
            "gamma": 1.5625,
            "layer_weights": _AS_MEANS,
            "pooling": "max",
            "size": 512,
            "tv_weight": "0.00128/pixel",
        },
        "ProGamerGov/neural-style-pt",
    ),
}

#: The presets that are named after another tool.
OF_TOOLS = tuple(name for name, preset in PRESETS.items() if preset.tool)
