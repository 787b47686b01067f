"""Every choice of a transfer in one frozen `Config`, with its defaults and its checks.

The names a user may choose from live here too, because the command line shows them without
loading anything else.
"""

import dataclasses
import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

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

PRESETS = {
    "paper": {
        "method": "poly",
        "alpha": 1.0,
        "beta": "paper",
        "gamma": 5.0,
        "c": 0.0,
        "layer_weights": "",
        "style_layers": ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
        "content_layers": ("relu4_2",),
        "pooling": "avg",
        "size": 600,
        "style_fit": "squeeze",
        "iterations": 1000,
        "stop_eps": 0.005,
        "optimizer": "sgd",
        "lr": "auto",
        "scales": 1,
        "precision": "float32",
        "tv_weight": 1e-2,
        "denoise": 0.02,
        "init": "random",
        "seed": 0,
        "device": "auto",
        "deterministic": False,
        "weights": "",
        "max_pixels": MAX_PIXELS,
    },
}
PRESETS["fast"] = {
    **PRESETS["paper"],
    "optimizer": "lbfgs",
    "scales": "auto",
    "precision": "auto",
    "init": "content",
    "style_fit": "keep",
    "iterations": 150,
    "stop_eps": 0.002,
}


@dataclass(frozen=True)
class Config:
    """All choices of one transfer; a field left out takes its value from the preset.

    Parameters
    ----------
    preset : str
        ``paper``: the experiments of section 4 of the paper with the constants of the
        authors' code. ``fast``: the same objective, minimised in a fraction of the time.
    method : str or mapping of str to float
        A style loss (``linear``, ``poly``, ``gaussian``, ``bn``) or a fusion of them:
        ``"bn=0.3,poly=0.7"`` or ``{"bn": 0.3, "poly": 0.7}``. Kept in the first form.
    alpha : float
        Weight of the content loss (Eq. 3).
    beta : str, float or mapping of str to float
        The factor β′ that makes β = γ β′ (section 4): ``paper`` for the authors' value of each
        method, ``auto`` to measure it on the start image, or a number; for a fusion one
        number per method, ``"bn=1000,poly=0.1"``.
    gamma : float
        The balance factor γ: more style, less content.
    c : float
        The constant of the polynomial kernel (x·y + c)²; 0 makes it the Gram matrix loss.
    layer_weights : str or mapping of str to float
        w_l of Eq. 5 by style layer, ``"relu1_1=1,relu4_1=0.5"``; 1 for those not named.
    style_layers, content_layers : sequence of str
        Layers of VGG-19, ``relu1_1`` to ``relu5_4``; a string is split at its commas.
    pooling : str
        ``avg`` or ``max``.
    size : int
        Length of the long edge of the picture made, in pixels.
    style_fit : str
        ``squeeze`` brings the style image to the content's exact size, as the authors do;
        ``keep`` keeps its aspect and makes its long edge `size`.
    iterations : int
        Steps at most, at the full size; a third of it at each smaller scale. 0 only evaluates
        the objective.
    stop_eps : float
        Stop where ‖new − old‖ / ‖new‖ of the image falls below this; 0 means never.
    optimizer : str
        ``sgd``, the paper's; ``adam``; ``lbfgs``.
    lr : str or float
        ``sgd``: learning rate of the first steps. ``adam``: about how many levels of grey a
        value moves in a step. ``lbfgs``: length of the first trial step in levels of grey.
        ``auto`` is a usual value of each.
    scales : str or int
        At how many sizes to optimise, each twice as large as the one before and starting from
        its result; ``auto`` goes by the size.
    precision : str
        Of the network's convolutions: ``float32``; ``bfloat16``, on processors that have it;
        ``tf32``, on NVIDIA cards that have it, for all products; ``auto``, which takes of these
        two the one that is there; or ``float16``, for NVIDIA cards with tensor cores: a CPU
        rounds to it and multiplies in float32. All else is float32.
    tv_weight : float
        Weight of the smoothing (total variation) during the optimisation.
    denoise : float
        Weight of the final Chambolle denoising of the finished picture; 0 means off.
    init : str
        Start image: ``random``, ``content``, or the path of a picture.
    seed : int
        Drives everything random, 0 to 2³² − 1.
    device : str
        ``auto``, ``cpu``, ``gpu`` or ``gpu:N``.
    deterministic : bool
        Whether a GPU shall compute the same each time, which takes longer. The CPU always does.
    weights : str
        Path of the VGG-19 parameters or ``builtin``; empty means look in the usual places.
    max_pixels : int
        Pictures of more pixels are refused, unless they are JPEG and the result is much smaller;
        0 means that memory alone is the limit.

    Raises
    ------
    ConfigError
        A value is of the wrong kind, out of range or unknown.
    """

    preset: str = "paper"
    method: Optional[str] = None
    alpha: Optional[float] = None
    beta: Optional[str] = None
    gamma: Optional[float] = None
    c: Optional[float] = None
    layer_weights: Optional[str] = None
    style_layers: Optional[tuple] = None
    content_layers: Optional[tuple] = None
    pooling: Optional[str] = None
    size: Optional[int] = None
    style_fit: Optional[str] = None
    iterations: Optional[int] = None
    stop_eps: Optional[float] = None
    optimizer: Optional[str] = None
    lr: Optional[str] = None
    scales: Optional[str] = None
    precision: Optional[str] = None
    tv_weight: Optional[float] = None
    denoise: Optional[float] = None
    init: Optional[str] = None
    seed: Optional[int] = None
    device: Optional[str] = None
    deterministic: Optional[bool] = None
    weights: Optional[str] = None
    max_pixels: Optional[int] = None

    def __post_init__(self):
        _choice("preset", self.preset, PRESETS)
        for name, default in PRESETS[self.preset].items():
            given = getattr(self, name)
            checked = _CHECKS[name](name, default if given is None else given)
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
                    f"beta {self.beta!r} needs one value for each method of {self.method!r}.",
                    "beta",
                )
        elif isinstance(self.beta, float) and len(self.methods) > 1:
            example = ",".join(f"{name}={PAPER_BETA[name]:g}" for name in self.methods)
            raise ConfigError(
                f"beta {self.beta:g} is one value for several methods, whose losses differ by "
                f"orders of magnitude: give each its own, as in {example!r}.",
                "beta",
            )
        if not self.alpha and not self.gamma:
            raise ConfigError("alpha and gamma are both 0: nothing is left to minimise.", "gamma")

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
                raise ConfigError(f"Unknown key {key!r}{did_you_mean(key, names)}")
        return cls(**choices)


def parse_weights(text, field=None):
    """Read ``"name=weight,name=weight"``; an empty text gives an empty dict.

    Raises
    ------
    ConfigError
        An entry is not of that form, or a name comes twice; it concerns `field`.
    """
    weights = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (part.strip() for part in entry.partition("="))
        if not equals or name in weights:
            found = "names it twice" if equals else "is not of the form name=weight"
            raise ConfigError(f"{text!r}: {entry!r} {found}; as in 'bn=0.3,poly=0.7'.", field)
        weights[name] = _number(field, value, what=f"{name} in {text!r}")
    return weights


def did_you_mean(word, names):
    """Return the end of an error message about an unknown `word`: a suggestion, or all names."""
    names = list(names)
    close = difflib.get_close_matches(str(word).lower(), [name.lower() for name in names], 1)
    if close:
        match = next(name for name in names if name.lower() == close[0])
        return f": did you mean {match!r}?"
    return f": choose from {', '.join(names)}."


def _number(field, value, low=0.0, positive=False, what=None):
    """Return `value` as a finite float not below `low`; `what` names it, where not the field."""
    what = what or field
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{what} is {value!r}, which is not a number.", field) from None
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ConfigError(f"{what} is {_short(value)}; it must be a finite number.", field)
    if number < low or (positive and number == 0):
        bound = "above 0" if positive else f"at least {low:g}"
        raise ConfigError(f"{what} is {number:g}; it must be {bound}.", field)
    return number


def _short(value):
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _positive(field, value):
    return _number(field, value, positive=True)


def _or_auto(check):
    return lambda field, value: value if value == "auto" else check(field, value)


def _integer(low, high=None):
    def check(field, value):
        number = _number(field, value, -math.inf)
        if number != int(number) or number < low or (high is not None and number > high):
            bound = f"at least {low}" if high is None else f"from {low} to {high}"
            raise ConfigError(f"{field} is {value}; it must be a whole number {bound}.", field)
        return int(number)

    return check


def _choice(field, value, names):
    if not isinstance(value, str) or value not in names:
        raise ConfigError(f"Unknown {field} {value!r}{did_you_mean(value, names)}", field)
    return value


def _one_of(names):
    return lambda field, value: _choice(field, value, names)


def _weight_list(names, kind):
    """Return a check that brings a text or a mapping to the text ``"name=weight,…"``."""

    def check(field, value):
        if isinstance(value, str):
            weights = parse_weights(value, field)
        elif isinstance(value, Mapping):
            weights = {
                str(name): _number(field, weight, what=f"{name} in {field}")
                for name, weight in value.items()
            }
        else:
            raise ConfigError(
                f"{field} is {value!r}; it must be of the form name=weight,name=weight.", field
            )
        for name in weights:
            if name not in names:
                raise ConfigError(f"Unknown {kind} {name!r}{did_you_mean(name, names)}", field)
        return ",".join(f"{name}={weight!r}" for name, weight in weights.items())

    return check


_method_weights = _weight_list(METHODS, "method")


def _method(field, value):
    if isinstance(value, str) and "=" not in value:
        return _choice(field, value.strip(), METHODS)
    text = _method_weights(field, value)
    weights = parse_weights(text)
    if not any(weights.values()):
        raise ConfigError(f"Every weight of the fusion {text!r} is 0.", field)
    if len(weights) == 1 and 1.0 in weights.values():
        return next(iter(weights))
    return text


def _beta(field, value):
    if value in ("paper", "auto"):
        return value
    if isinstance(value, Mapping) or (isinstance(value, str) and "=" in value):
        return _method_weights(field, value)
    try:
        return _number(field, float(value))
    except (TypeError, ValueError):
        raise ConfigError(
            f"beta is {value!r}; it must be paper, auto or a number.", field
        ) from None


def _layers(field, value):
    if not isinstance(value, (str, list, tuple)):
        raise ConfigError(f"{field} is {value!r}; it must be a list of layers.", field)
    names = value.split(",") if isinstance(value, str) else value
    names = [name.strip() if isinstance(name, str) else name for name in names]
    for name in names:
        if name not in LAYERS:
            raise ConfigError(f"Unknown layer {name!r}{did_you_mean(name, LAYERS)}", field)
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"{field} needs one or more layers, each once.", field)
    return tuple(names)


def _device(field, value):
    if isinstance(value, str) and re.fullmatch(r"auto|cpu|gpu(:[0-9]{1,3})?", value):
        return value
    raise ConfigError(f"device is {value!r}; it must be auto, cpu, gpu or gpu:N.", field)


def _flag(field, value):
    if isinstance(value, bool):
        return value
    raise ConfigError(f"{field} is {value!r}; it must be true or false.", field)


def _text(field, value):
    return str(value)


_CHECKS = {
    "method": _method,
    "alpha": _number,
    "beta": _beta,
    "gamma": _number,
    "c": _number,
    "layer_weights": _weight_list(LAYERS, "layer"),
    "style_layers": _layers,
    "content_layers": _layers,
    "pooling": _one_of(POOLINGS),
    "size": _integer(16),
    "style_fit": _one_of(STYLE_FITS),
    "iterations": _integer(0),
    "stop_eps": _number,
    "optimizer": _one_of(OPTIMIZERS),
    "lr": _or_auto(_positive),
    "scales": _or_auto(_integer(1, 8)),
    "precision": _one_of(PRECISIONS),
    "tv_weight": _number,
    "denoise": _number,
    "init": _text,
    "seed": _integer(0, 2**32 - 1),
    "device": _device,
    "deterministic": _flag,
    "weights": _text,
    "max_pixels": _integer(0),
}
