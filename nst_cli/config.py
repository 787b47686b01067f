"""Every choice of a transfer in one frozen `Config`, with its defaults and its checks.

The names a user may choose from live here too, because the command line shows them without
loading anything else.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, Union

from . import checks, methods, plugins, presets
from .checks import did_you_mean, parse_weights, short
from .errors import ConfigError

# Those of nst itself; `plugins` adds methods of other packages.
METHODS = methods.METHODS
PAPER_METHODS = methods.PAPER_METHODS
PAPER_BETA = methods.PAPER_BETA
METHOD_OPTIONS = methods.METHOD_OPTIONS

BLOCKS = (2, 2, 4, 4, 4)
LAYERS = tuple(
    f"relu{block}_{index}"
    for block, depth in enumerate(BLOCKS, 1)
    for index in range(1, depth + 1)
)

# Default `lr` of each optimiser: a learning rate for sgd, grey levels for the others.
LEARNING_RATES = {"sgd": 1e-3, "adam": 4.0, "lbfgs": 10.0}
OPTIMIZERS = tuple(LEARNING_RATES)
PRECISIONS = ("float32", "tf32", "bfloat16", "float16", "auto")
# The precisions that round; Winograd convolutions would add up their errors.
ROUNDED = ("bfloat16", "float16")
CONVOLUTIONS = ("direct", "winograd", "auto")
POOLINGS = ("avg", "max")
ESTIMATORS = ("pairs", "fourier")
BLENDS = ("mix", "between")
STYLE_FITS = ("squeeze", "keep")
INITS = ("random", "content", "style")
KEEP_COLORS = ("off", "luminance", "match", "after")
CHROMAS = ("4:4:4", "4:2:2", "4:2:0")
PROFILES = ("srgb", "keep")
# The options that give the finished picture its size: one of them, or width with height.
SIZES = ("size", "width", "height", "scale")
# Larger pictures are refused, as by Pillow: a small file may claim any size.
MAX_PIXELS = 89_478_485

# MXNet indexes arrays with 31 bits. At the smallest height, 16 pixels, the 64 channels of the
# first layer reach that limit at this width.
_MOST_SIZE = 2**21 - 1
_LEAST_SIZE = 16
_MOST_SCALE = 1000.0
#: The check of a side or a long edge in pixels.
check_pixels = checks.integer(_LEAST_SIZE, _MOST_SIZE)
_MOST_ITERATIONS = 10**9
_MOST_PIXELS = 2**40
_MOST_MEGABYTES = 1 << 20
_MOST_DRAWN = 2**13
_MOST_MARGIN = 1024


def init_of_path(path: str) -> str:
    """Return `init` for a start picture of any path, such as a file with the name of a word."""
    return f"./{path}" if path in INITS else path


@dataclass(frozen=True)
class Option:
    """One option of a transfer: its defaults, check and description, defined only here.

    Attributes
    ----------
    paper, fast : object
        Default in each preset.
    check : callable
        Takes the field's name and a value; returns the value in its final form.
    help : str
        Description in a sentence or two, for the help text.
    metavar : str
        Placeholder for the value in the help text.
    choices : tuple of str
        All allowed values, if the option takes one of a few words.
    names_path : bool
        Whether the value may be the path of a file.
    """

    paper: Any
    fast: Any
    check: checks.Check
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    names_path: bool = False


_SAME: Any = object()


def _option(
    paper: Any,
    check: checks.Check,
    help: str,
    metavar: str = "",
    fast: Any = _SAME,
    choices: tuple[str, ...] = (),
    names_path: bool = False,
) -> Any:
    """Return a dataclass field with the `Option` in its metadata; None stands for the default."""
    fast = paper if fast is _SAME else fast
    option = Option(paper, fast, check, help, metavar, choices, names_path)
    return dataclasses.field(default=None, metadata={"option": option})


def _one_of(paper: str, names: tuple[str, ...], help: str, fast: Any = _SAME) -> Any:
    return _option(paper, checks.one_of(names), help, fast=fast, choices=names)


@dataclass(frozen=True)
class Config:
    """All choices of one transfer; a field left out takes its value from the preset.

    Each field below states its default in preset ``paper`` (and in ``fast``, if that differs),
    the check of its values, and its description. `OPTIONS` holds the same by name; the defaults
    of further presets are in `presets`.

    Raises
    ------
    ConfigError
        A value has the wrong type, is out of range or unknown, or contradicts another value.
    """

    preset: str = "paper"
    method: str = _option(
        "poly",
        checks.fusion(plugins.NAMES),
        f"Style loss: {', '.join(METHODS)}, or a fusion such as bn=0.3,poly=0.7.",
        "NAME|FUSION",
    )
    alpha: float = _option(1.0, checks.number, "Weight of the content loss (Eq. 3).", "X")
    beta: Union[str, float] = _option(
        "paper",
        checks.balance(plugins.NAMES),
        "Style factor at gamma 1: paper for a fixed value per method, the authors' where there is "
        "one; auto to measure it on the start image; or a number. A fusion takes METHOD=X,...",
        "paper|auto|X",
    )
    gamma: float = _option(
        5.0, checks.number, "Balance of style and content: higher gives more style.", "X"
    )
    c: float = _option(
        0.0,
        checks.number,
        "Constant of the polynomial kernel (x.y + c)^2; 0 gives the Gram matrix loss.",
        "X",
    )
    directions: int = _option(
        32,
        checks.integer(1, _MOST_DRAWN),
        "Directions of sliced, drawn at each step.",
        "N",
    )
    kernels: tuple[float, ...] = _option(
        (0.25, 0.5, 1.0, 2.0, 4.0),
        checks.number_list,
        "Bandwidths of rbf's Gaussian kernels, over the mean squared distance.",
        "X,...",
    )
    estimator: str = _one_of(
        "pairs",
        ESTIMATORS,
        "How gaussian, rbf and laplace estimate their MMD: from random pairs, drawn at each step "
        "as the authors do; or from random Fourier features, drawn once.",
        fast="fourier",
    )
    features: Union[str, int] = _option(
        "auto",
        checks.or_auto(checks.integer(2, _MOST_DRAWN)),
        "Number of random Fourier features; auto: two for each channel, at most 1024.",
        "auto|N",
    )
    orders: int = _option(5, checks.integer(1, 20), "Highest order of cmd's moments.", "N")
    samples: int = _option(
        1024,
        checks.integer(1, _MOST_DRAWN),
        "Positions that remd draws from each picture at each step, at most.",
        "N",
    )
    loss_options: str = _option(
        "",
        plugins.check_options,
        "Options of methods from plugins; an option not named has its default.",
        "METHOD.KEY=X,...",
    )
    layer_weights: str = _option(
        "",
        checks.weight_list(LAYERS, "layer"),
        "Weights of style layers (w_l of Eq. 5); a layer not named has weight 1.",
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
    blend: str = _one_of(
        "mix",
        BLENDS,
        "Several styles with the same mask and method: mix makes one style of all their features; "
        "between adds up their losses, for a style between them. For linear and poly both are the "
        "same.",
    )
    mask_inside: bool = _option(
        False,
        checks.flag,
        "Use masks only for features that see nothing outside of them, so that regions do not mix "
        "at their borders. At relu5_1 a feature sees 156 pixels, so narrow regions have no style.",
    )
    pooling: str = _one_of(
        "avg",
        POOLINGS,
        "Pooling in the network: avg as in the paper, max as in VGG-19's training.",
    )
    size: Union[None, str, int] = _option(
        600,
        checks.optional(checks.or_word("keep", check_pixels)),
        "Long edge of the finished picture; keep: the content's own size.",
        "PIXELS|keep",
    )
    width: Optional[int] = _option(
        None,
        checks.optional(check_pixels),
        "Width of the finished picture, in place of --size; its height follows from the "
        "content's shape. With --height: the largest picture of that shape within both.",
        "PIXELS",
    )
    height: Optional[int] = _option(
        None,
        checks.optional(check_pixels),
        "Height of the finished picture, in place of --size; its width follows from the "
        "content's shape.",
        "PIXELS",
    )
    scale: Optional[float] = _option(
        None,
        checks.optional(checks.positive_to(_MOST_SCALE)),
        "Size of the finished picture as a factor on the content's own, in place of --size: 0.5 "
        "halves both sides. Not to be confused with --scales, the number of sizes on the way.",
        "X",
    )
    keep_colors: str = _one_of(
        "off",
        KEEP_COLORS,
        "Keep the content's colours. luminance: transfer brightness alone; match: move the "
        "style's colours to the content's first; after: give the finished picture the content's "
        "colours.",
    )
    style_fit: str = _one_of(
        "squeeze",
        STYLE_FITS,
        "squeeze: resize the style image to the content's exact size, as the authors do; keep: "
        "preserve its aspect ratio, with a long edge as long as that of the finished picture.",
        fast="keep",
    )
    iterations: int = _option(
        1000,
        checks.integer(0, _MOST_ITERATIONS),
        "Maximum number of steps at the full size, and a third of it at each smaller size; 0 "
        "only evaluates the objective.",
        "N",
        fast=150,
    )
    stop_eps: float = _option(
        0.005,
        checks.number,
        "Stop when the relative change of the image per step falls below X; 0 disables.",
        "X",
        fast=0.0,
    )
    stop_decrease: float = _option(
        0.0,
        checks.number,
        "Stop when the objective decreases by less than this share of itself per step, over the "
        "last 5 steps; for poly and coral, by less than twice this share. 0 disables.",
        "X",
        fast=0.005,
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
        "Number of image sizes, each twice the previous one and starting from its result; auto "
        "depends on the size of the finished picture.",
        "N|auto",
        fast="auto",
    )
    precision: str = _one_of(
        "float32",
        PRECISIONS,
        "Precision of the convolutions. auto: bfloat16 if the processor supports it, tf32 if the "
        "GPU does, else float32. float16 is for GPUs.",
        fast="auto",
    )
    convolution: str = _one_of(
        "direct",
        CONVOLUTIONS,
        "How convolutions are computed in float32. winograd: with fewer multiplications, from "
        "conv2_2 on; auto: by winograd where that is faster on this processor.",
        fast="auto",
    )
    tile: Union[str, int] = _option(
        "auto",
        checks.or_auto(checks.or_word("off", checks.integer(1, _MOST_MEGABYTES))),
        "Compute the network in tiles, which takes less memory and more time. auto: where a "
        "picture does not fit into memory otherwise; a number: wherever the feature maps take "
        "more than this many megabytes.",
        "auto|off|MEGABYTES",
    )
    margin: Union[str, int] = _option(
        0,
        checks.or_auto(checks.integer(0, _MOST_MARGIN)),
        "Pixels of reflected picture around the image while it is optimised, cut off afterwards, "
        "so that no frame forms along the border; auto: as many as that takes.",
        "auto|PIXELS",
        fast="auto",
    )
    tv_weight: Union[str, float] = _option(
        1e-2,
        checks.number_or_per_pixel,
        "Weight of the total variation smoothing in each step; X/pixel: X times the number of "
        "pixels of the image.",
        "X|X/pixel",
    )
    denoise: float = _option(
        0.02,
        checks.number,
        "Weight of the total variation denoising of the finished picture; 0 disables.",
        "X",
    )
    init: str = _option(
        "random",
        checks.text,
        "Start image: random noise, the content, random spots in the colours of the style, or "
        "any picture.",
        "random|content|style|FILE",
        fast="content",
        names_path=True,
    )
    init_noise: float = _option(
        0.0,
        checks.share,
        "Share of the start image that is replaced by strong noise, from 0 to 1.",
        "X",
    )
    seed: int = _option(0, checks.integer(0, 2**32 - 1), "Seed of all random numbers.", "N")
    device: str = _option("auto", checks.device, "Device to compute on.", "auto|cpu|gpu|gpu:N")
    deterministic: bool = _option(
        False,
        checks.flag,
        "On a GPU, make every run give the same result, which takes longer (not yet tried on "
        "hardware). On a CPU that is always so.",
    )
    weights: str = _option(
        "",
        checks.text,
        "VGG-19 parameters. Default: NST_WEIGHTS, else models/vgg19.params in the working folder, "
        "else the user's cache.",
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
    bits: int = _option(
        8,
        checks.either(8, 16),
        "Bits per channel of the picture; 16 needs PNG or TIFF.",
        "8|16",
    )
    quality: Optional[int] = _option(
        None,
        checks.optional(checks.integer(1, 100)),
        "Quality of a JPEG or WebP, 1 to 100; without it 95.",
        "N",
    )
    chroma: Optional[str] = _option(
        None,
        checks.optional(checks.one_of(CHROMAS)),
        "Detail of the colours in a JPEG: all, half or a quarter; without it all. WebP has a "
        "quarter, 4:2:0, in any case.",
        choices=CHROMAS,
    )
    profile: str = _one_of(
        "srgb",
        PROFILES,
        "Colour profile of the picture: that of sRGB; or keep: the content's own, to which the "
        "finished picture is converted.",
    )
    metadata: bool = _option(
        True,
        checks.flag,
        "Store in the picture how it was made; the sidecar has that in any case.",
    )

    def __post_init__(self) -> None:
        checks.choice("preset", self.preset, PRESETS)
        for name, default in self._defaults().items():
            given = getattr(self, name)
            checked = OPTIONS[name].check(name, default if given is None else given)
            object.__setattr__(self, name, checked)
        options = plugins.complete_options(self.loss_options, self.methods)
        object.__setattr__(self, "loss_options", options)
        self._check_together()

    def _defaults(self) -> dict[str, Any]:
        """Return the preset's values, without what other choices of the user rule out."""
        defaults = dict(PRESETS[self.preset])
        if any(getattr(self, name) is not None for name in SIZES):
            defaults["size"] = None
        weights = parse_weights(defaults["layer_weights"])
        if self.style_layers is not None and weights:
            layers = OPTIONS["style_layers"].check("style_layers", self.style_layers)
            defaults["layer_weights"] = {
                layer: weight for layer, weight in weights.items() if layer in layers
            }
        return defaults

    def _check_together(self) -> None:
        self._check_sizes()
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
            example = ",".join(f"{name}={plugins.paper_beta(name):g}" for name in self.methods)
            raise ConfigError(
                f"beta {self.beta:g} is one value for several methods, whose losses differ by "
                f"orders of magnitude: give one per method, as in {example!r}.",
                "beta",
            )
        if self.convolution == "winograd" and self.precision in ROUNDED:
            raise ConfigError(
                f"convolution winograd needs float32, and precision is {self.precision}: use "
                "convolution auto, or precision auto or float32.",
                "convolution",
            )
        if not self.alpha and not self._has_style():
            raise ConfigError(
                "alpha is 0, and so is gamma, beta, or every weight of a method or layer: nothing "
                "is left to minimise.",
                "alpha" if self.gamma else "gamma",
            )

    def _check_sizes(self) -> None:
        """Refuse two options that would each give the finished picture its size."""
        given = [name for name in SIZES if getattr(self, name) is not None]
        if len(given) > 1 and given != ["width", "height"]:
            values = " and ".join(f"{name} {getattr(self, name)}" for name in given)
            raise ConfigError(
                f"{values} contradict each other: give size, or scale, or width, or height, or "
                "width and height."
            )

    def _has_style(self) -> bool:
        """Return whether any style loss has a weight above 0."""
        if isinstance(self.beta, float):
            factors = dict.fromkeys(self.methods, self.beta)
        elif self.beta in ("paper", "auto"):
            factors = dict.fromkeys(self.methods, 1.0)
        else:
            factors = parse_weights(self.beta)
        return (
            self.gamma > 0
            and any(weight * factors[method] for method, weight in self.methods.items())
            and any(map(self.layer_weight, self.style_layers))
        )

    @property
    def methods(self) -> dict[str, float]:
        """The style losses and their fusion weights, ``{method: weight}``."""
        return parse_weights(self.method) if "=" in self.method else {self.method: 1.0}

    def loss_choices(self, method: str) -> dict[str, Any]:
        """Return the options of a method's loss by name."""
        if method in METHODS:
            return {name: getattr(self, name) for name in METHOD_OPTIONS.get(method, ())}
        return plugins.options_of(method, self.loss_options)

    @property
    def faithful(self) -> bool:
        """Whether pixels are scaled by 256 and truncated, as in the authors' code."""
        return self.preset == "paper" or (
            self.preset in presets.PRESETS and presets.PRESETS[self.preset].pixels_of_256
        )

    @property
    def learning_rate(self) -> float:
        """`lr` as a number."""
        return LEARNING_RATES[self.optimizer] if self.lr == "auto" else float(self.lr)

    def smoothing_weight(self, pixels: int) -> float:
        """Return `tv_weight` as a number for an image with a number of pixels."""
        number, unit, _ = str(self.tv_weight).partition(checks.PER_PIXEL)
        return float(number) * (pixels if unit else 1)

    def layer_weight(self, layer: str) -> float:
        """Return w_l of Eq. 5 for a style layer."""
        return parse_weights(self.layer_weights).get(layer, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the choices as a dict that JSON can hold; `from_dict` is the inverse."""
        plain = dataclasses.asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}

    @classmethod
    def from_dict(cls, choices: Mapping[str, Any]) -> "Config":
        """Make a Config from the result of `to_dict`, or from some of its items.

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


def override(choices: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return choices with `others` in place of theirs.

    A size in `others`, by whichever option, takes the place of every size in `choices`.
    """
    replaced = SIZES if any(others.get(name) is not None for name in SIZES) else ()
    return {**{name: v for name, v in choices.items() if name not in replaced}, **others}


#: Every option of a `Config` but the preset, by field name.
OPTIONS: dict[str, Option] = {
    field.name: field.metadata["option"]
    for field in dataclasses.fields(Config)
    if "option" in field.metadata
}

#: The values of each preset by field name. ``paper`` repeats the experiments of section 4 of the
#: paper with the constants of the authors' code. ``fast`` minimises the same objective in a
#: fraction of the time. The others are described in `presets`.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {name: option.paper for name, option in OPTIONS.items()},
    "fast": {name: option.fast for name, option in OPTIONS.items()},
}
for _name, _preset in presets.PRESETS.items():
    PRESETS[_name] = {
        **PRESETS[_preset.base],
        **{key: OPTIONS[key].check(key, value) for key, value in _preset.values.items()},
    }
