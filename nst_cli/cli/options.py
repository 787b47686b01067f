"""The options that make a `Config`, one for each of its fields."""

import click

from .. import config


def _option(name, metavar, text, choices=None):
    """Return the Click option of the `Config` field of that name."""
    kind = click.Choice(choices) if choices else str
    return click.option(
        f"--{name.replace('_', '-')}", name, type=kind, metavar=None if choices else metavar,
        help=text + _defaults(name),
    )  # fmt: skip


def _defaults(name):
    """Return a field's default in words, and those of the presets that have another."""
    values = {preset: fields[name] for preset, fields in config.PRESETS.items()}
    values = {p: ",".join(v) if isinstance(v, tuple) else v for p, v in values.items()}
    usual = values.pop("paper")
    if usual == "":
        return ""
    others = "".join(f"; {preset}: {v}" for preset, v in values.items() if v != usual)
    return f"  [default: {usual}{others}]"


_OPTIONS = (
    click.option(
        "--preset", metavar="NAME", default="paper", show_default=True,
        help="Set of defaults: " + ", ".join(config.PRESETS) + ".",
    ),
    _option("method", "NAME|FUSION", "Style loss, " + ", ".join(config.METHODS)
            + ", or a fusion such as bn=0.3,poly=0.7."),
    _option("alpha", "X", "Weight of the content loss."),
    _option("beta", "paper|auto|X", "Factor that balances style and content at gamma 1: the "
            "authors' for each method, measured on the start image, or given."),
    _option("gamma", "X", "Balance: more style, less content."),
    _option("c", "X", "Constant of the polynomial kernel (x.y + c)^2."),
    _option("layer_weights", "LAYER=X,...", "Weights of style layers; 1 where not given."),
    _option("style_layers", "LAYER,...", "Layers of the style loss."),
    _option("content_layers", "LAYER,...", "Layers of the content loss."),
    _option("pooling", "", "Pooling of the network.", config.POOLINGS),
    _option("size", "PIXELS", "Long edge of the picture made."),
    _option("style_fit", "", "Bring the style image to the content's size, or keep its aspect "
            "and make its long edge --size.", config.STYLE_FITS),
    _option("iterations", "N", "Steps at most; a third of it at each smaller scale."),
    _option("stop_eps", "X", "Stop where the image changes by a smaller part; 0: never."),
    _option("optimizer", "NAME", "Optimiser: " + ", ".join(config.OPTIMIZERS) + "."),
    _option("lr", "auto|X", "Learning rate of sgd; levels of grey that adam moves a value in a "
            "step, or lbfgs at its first trial."),
    _option("scales", "N|auto", "Sizes to optimise at, each twice the one before."),
    _option("precision", "", "Of the convolutions; auto: bfloat16 where the processor has it, "
            "tf32 where the GPU has it; float16 is for GPUs.", config.PRECISIONS),
    _option("tv_weight", "X", "Weight of the smoothing during the optimisation."),
    _option("denoise", "X", "Weight of the final total variation denoising; 0: off."),
    _option("init", "random|content|FILE", "Start image."),
    _option("seed", "N", "Drives everything random."),
    _option("device", "auto|cpu|gpu|gpu:N", "Where to compute."),
    click.option(
        "--deterministic", is_flag=True, default=None,
        help="On a GPU, compute the same each time, which takes longer; the CPU always does.",
    ),
    _option("weights", "FILE|builtin", "VGG-19 parameters; by default NST_WEIGHTS, then models/ "
            "here, then the user's cache."),
    _option("max_pixels", "N", "Refuse pictures of more pixels than this, but for JPEG where a "
            "smaller copy will do; 0: as many as memory holds."),
)  # fmt: skip


def config_options(command):
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
