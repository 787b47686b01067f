"""Every choice of a transfer in one frozen `Config`, with its defaults and its checks.

The names a user may choose from live here too, because the command line shows them without
loading anything else.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Union

from . import checks
from .checks import did_you_mean, parse_weights, short
from .errors import ConfigError

# The authors' factors per method: they bring the gradients of style and content on the image
# to the same order (section 4 of the paper; the values are in the authors' code alone).
PAPER_BETA = {"linear": 2e3, "poly": 1e-1, "gaussian": 3e14, "bn": 1e3}
METHODS = tuple(PAPER_BETA)

BLOCKS = (2, 2, 4, 4, 4)
LAYERS = tuple(
    f"relu{block}_{index}"
    for block, depth in enumerate(BLOCKS, 1)
    for index in range(1, depth + 1)
)

# Each optimiser's `lr` unless one is given: a learning rate, and for the others levels of grey.
LEARNING_RATES = {"sgd": 1e-3, "adam": 4.0, "lbfgs": 10.0}
OPTIMIZERS = tuple(LEARNING_RATES)
PRECISIONS = ("float32", "tf32", "bfloat16", "float16", "auto")
POOLINGS = ("avg", "max")
STYLE_FITS = ("squeeze", "keep")
INITS = ("random", "content")
# Larger pictures are refused, as by Pillow: a small file may claim any size.
MAX_PIXELS = 89_478_485

# MXNet counts the values of an array in 31 bits: even at the smallest height, 16 pixels, the 64
# channels of the first layer end here.
_MOST_SIZE = 2**21 - 1
_MOST_ITERATIONS = 10**9
_MOST_PIXELS = 2**40


@dataclass(frozen=True)
class Option:
    """One choice of a user's: the only place that its default, check and description have.

    Attributes
    ----------
    paper, fast : object
        Its value in each preset.
    check : callable
        Takes the field's name and a value, and returns the value in its final form.
    help : str
        What it does, in a sentence or two; for the help text, and for the reference in the docs.
    metavar : str
        How its values are written in a help text.
    choices : tuple of str
        All its values, where these are few words.
    names_path : bool
        Whether its value may be the path of a file.
    """

    paper: Any
    fast: Any
    check: Callable[[str, Any], Any]
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    names_path: bool = False


_SAME: Any = object()


def _option(
    paper: Any,
    check: Callable[[str, Any], Any],
    help: str,
    metavar: str = "",
    fast: Any = _SAME,
    **how: Any,
) -> Any:
    """Return a dataclass field, None until a preset fills it; its metadata hold the `Option`."""
    fast = paper if fast is _SAME else fast
    option = Option(paper, fast, check, help, metavar, **how)
    return dataclasses.field(default=None, metadata={"option": option})


def _one_of(paper: str, names: tuple[str, ...], help: str, fast: Any = _SAME) -> Any:
    return _option(paper, checks.one_of(names), help, fast=fast, choices=names)


@dataclass(frozen=True)
class Config:
    """All choices of one transfer; a field left out takes its value from the preset.

    Each field below has its default for preset ``paper`` (and for ``fast``, where it differs),
    the check that its values pass, and what it does. `OPTIONS` holds the same by name.

    Raises
    ------
    ConfigError
        A value is of the wrong kind, out of range or unknown, or values contradict each other.
    """

    preset: str = "paper"
    method: str = _option(
        "poly",
        checks.fusion(METHODS),
        f"Style loss: {', '.join(METHODS)}, or a fusion such as bn=0.3,poly=0.7.",
        "NAME|FUSION",
    )
    alpha: float = _option(1.0, checks.number, "Weight of the content loss (Eq. 3).", "X")
    beta: Union[str, float] = _option(
        "paper",
        checks.balance(METHODS),
        "Factor that balances style and content at gamma 1: the authors' value for each method, "
        "measured on the start image, or given. A fusion takes METHOD=X,...",
        "paper|auto|X",
    )
    gamma: float = _option(
        5.0, checks.number, "Balance factor: more gives more style and less content.", "X"
    )
    c: float = _option(
        0.0,
        checks.number,
        "Constant of the polynomial kernel (x.y + c)^2; 0 makes it the Gram matrix loss.",
        "X",
    )
    layer_weights: str = _option(
        "",
        checks.weight_list(LAYERS, "layer"),
        "Weights of style layers (w_l of Eq. 5); 1 where not given.",
        "LAYER=X,...",
    )
    style_layers: tuple[str, ...] = _option(
        ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
        checks.layer_list(LAYERS),
        "Layers of the style loss, relu1_1 to relu5_4.",
        "LAYER,...",
    )
    content_layers: tuple[str, ...] = _option(
        ("relu4_2",), checks.layer_list(LAYERS), "Layers of the content loss.", "LAYER,..."
    )
    pooling: str = _one_of(
        "avg", POOLINGS, "Pooling of the network: avg as in the paper, max as VGG-19 was trained."
    )
    size: int = _option(
        600, checks.integer(16, _MOST_SIZE), "Long edge of the picture made.", "PIXELS"
    )
    style_fit: str = _one_of(
        "squeeze",
        STYLE_FITS,
        "Resize the style image to the content's exact size, as the authors do, or keep its "
        "aspect and give its long edge --size pixels.",
        fast="keep",
    )
    iterations: int = _option(
        1000,
        checks.integer(0, _MOST_ITERATIONS),
        "Most steps at the full size, and a third of it at each smaller one; 0 only evaluates "
        "the objective.",
        "N",
        fast=150,
    )
    stop_eps: float = _option(
        0.005,
        checks.number,
        "Stop when the relative change of the image per step falls below X; 0 disables.",
        "X",
        fast=0.002,
    )
    optimizer: str = _one_of("sgd", OPTIMIZERS, "Optimiser; sgd is the paper's.", fast="lbfgs")
    lr: Union[str, float] = _option(
        "auto",
        checks.or_auto(checks.positive),
        "sgd: learning rate of the first steps; adam: grey levels per step; lbfgs: first trial "
        "step in grey levels.",
        "auto|X",
    )
    scales: Union[str, int] = _option(
        1,
        checks.or_auto(checks.integer(1, 8)),
        "Number of sizes to optimise at, each twice the one before and starting from its result; "
        "auto depends on --size.",
        "N|auto",
        fast="auto",
    )
    precision: str = _one_of(
        "float32",
        PRECISIONS,
        "Precision of the convolutions; auto: bfloat16 where the processor has it, tf32 where the "
        "GPU has it; float16 is for GPUs.",
        fast="auto",
    )
    tv_weight: float = _option(
        1e-2, checks.number, "Weight of the smoothing (total variation) at each step.", "X"
    )
    denoise: float = _option(
        0.02,
        checks.number,
        "Weight of the total variation denoising of the finished picture; 0 is off.",
        "X",
    )
    init: str = _option(
        "random",
        checks.text,
        "Start image.",
        "random|content|FILE",
        fast="content",
        names_path=True,
    )
    seed: int = _option(0, checks.integer(0, 2**32 - 1), "Seed of everything random.", "N")
    device: str = _option("auto", checks.device, "Device to compute on.", "auto|cpu|gpu|gpu:N")
    deterministic: bool = _option(
        False,
        checks.flag,
        "On a GPU, compute the same each time, which takes longer (not yet tried on hardware); "
        "the CPU always does.",
    )
    weights: str = _option(
        "",
        checks.text,
        "VGG-19 parameters; by default NST_WEIGHTS, then models/ here, then the user's cache.",
        "FILE|builtin",
        names_path=True,
    )
    max_pixels: int = _option(
        MAX_PIXELS,
        checks.integer(0, _MOST_PIXELS),
        "Refuse input pictures with more pixels than this, except a JPEG of which a smaller "
        "copy will do; 0: as many as fit into memory.",
        "N",
    )
    metadata: bool = _option(
        True,
        checks.flag,
        "Whether the picture carries how it was made; its sidecar has it in any case.",
    )

    def __post_init__(self):
        checks.choice("preset", self.preset, PRESETS)
        for name, default in PRESETS[self.preset].items():
            given = getattr(self, name)
            checked = OPTIONS[name].check(name, default if given is None else given)
            object.__setattr__(self, name, checked)
        self._check_together()

    def _check_together(self):
        for layer in parse_weights(self.layer_weights):
            if layer not in self.style_layers:
                raise ConfigError(
                    f"layer_weights names {layer!r}, which is not among the style layers "
                    f"{', '.join(self.style_layers)}.",
                    "layer_weights",
                )
        if isinstance(self.beta, str) and self.beta not in ("paper", "auto"):
            if set(parse_weights(self.beta)) != set(self.methods):
                raise ConfigError(
                    f"beta {short(self.beta)} needs one value for each method of {self.method!r}.",
                    "beta",
                )
        elif isinstance(self.beta, float) and len(self.methods) > 1:
            example = ",".join(f"{name}={PAPER_BETA[name]:g}" for name in self.methods)
            raise ConfigError(
                f"beta {self.beta:g} is one value for several methods, whose losses differ by "
                f"orders of magnitude: give each its own, as in {example!r}.",
                "beta",
            )
        if not self.alpha and not self._has_style():
            raise ConfigError(
                "alpha is 0, and so is gamma, beta or each weight of a method or a layer: nothing "
                "is left to minimise.",
                "alpha" if self.gamma else "gamma",
            )

    def _has_style(self):
        """Return whether a style loss has any weight."""
        beta = self.beta
        if isinstance(beta, str):
            beta = 1.0 if beta in ("paper", "auto") else parse_weights(beta)
        factors = beta if isinstance(beta, dict) else dict.fromkeys(self.methods, beta)
        return (
            self.gamma > 0
            and any(weight * factors[method] for method, weight in self.methods.items())
            and any(map(self.layer_weight, self.style_layers))
        )

    @property
    def methods(self):
        """The style losses and their fusion weights, ``{method: weight}``."""
        return parse_weights(self.method) if "=" in self.method else {self.method: 1.0}

    @property
    def faithful(self):
        """Whether pixels are scaled and rounded as in the authors' code: × 256, truncated."""
        return self.preset == "paper"

    @property
    def learning_rate(self):
        """`lr` as a number."""
        return LEARNING_RATES[self.optimizer] if self.lr == "auto" else self.lr

    def layer_weight(self, layer):
        """Return w_l of Eq. 5 for a style layer."""
        return parse_weights(self.layer_weights).get(layer, 1.0)

    def to_dict(self):
        """Return the choices as a plain dict that JSON can hold; `from_dict` undoes it."""
        plain = dataclasses.asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}

    @classmethod
    def from_dict(cls, choices):
        """Make a Config from what `to_dict` returned, or from a part of it.

        Raises
        ------
        ConfigError
            A key is unknown or a value is not valid.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for key in choices:
            if key not in names:
                raise ConfigError(f"Unknown key {short(key)}{did_you_mean(key, names)}")
        return cls(**choices)


#: Every option of a `Config` but the preset, by field name.
OPTIONS: dict[str, Option] = {
    field.name: field.metadata["option"]
    for field in dataclasses.fields(Config)
    if "option" in field.metadata
}

#: The values of each preset by field name. ``paper``: the experiments of section 4 of the paper
#: with the constants of the authors' code. ``fast``: the same objective, minimised in a fraction
#: of the time.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {name: option.paper for name, option in OPTIONS.items()},
    "fast": {name: option.fast for name, option in OPTIONS.items()},
}
