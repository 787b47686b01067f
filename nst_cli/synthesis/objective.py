"""The objective of a transfer (Eq. 3 and 5): its terms, their weights, and its gradient."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

import numpy

from .. import engine
from ..checks import parse_weights
from ..config import Config
from ..errors import ConfigError
from ..plugins import paper_beta
from . import losses, masks
from .styles import Group


@dataclass(frozen=True)
class Term:
    """One loss at one layer, ready to be evaluated.

    Attributes
    ----------
    method : str
        ``content`` or one of `plugins.NAMES`.
    layer : str
    loss : object
        From `losses`.
    target : object
        What the loss's `target` returned for the content or style image.
    weight : float
    mask : losses.Mask or None
        Where it applies in the layer's map; None for everywhere.
    style : int
        Number of the first style of its group, counted from 1; 0 if no other group has a term of
        the same method.
    stream : int
        Index of the group, which keys the random draws of its terms.
    """

    method: str
    layer: str
    loss: losses.Loss
    target: Any
    weight: float
    mask: Optional[losses.Mask] = None
    style: int = 0
    stream: int = 0

    @property
    def name(self) -> str:
        """``method/layer`` or ``method/layer/style``, the name of the loss in logs."""
        end = f"/{self.style}" if self.style else ""
        return f"{self.method}/{self.layer}{end}"

    def draw(self, random: numpy.random.RandomState, shape: tuple[int, ...]) -> Any:
        """Return the random draw for one evaluation of features of a shape."""
        if self.mask is None:
            return self.loss.draw(random, shape, self.target)
        return self.loss.draw(random, shape, self.target, self.mask)  # type: ignore[call-arg]

    def __call__(self, features: Any, drawn: Any) -> losses.LossGrad:
        """Return the weighted value and gradient at features."""
        if self.mask is None:
            return self.loss(features, self.target, self.weight, drawn)
        return self.loss(
            features,
            self.target,
            self.weight,
            drawn,
            self.mask,  # type: ignore[call-arg]
        )


@dataclass(frozen=True)
class Evaluation:
    """The objective at one image; all arrays are on the device.

    Attributes
    ----------
    parts : NDArray, shape (P,)
        The weighted parts, in the order of `Objective.names`; their sum is the objective.
    gradient : NDArray, shape (1, 3, H, W), or None
        Without the smoothing. None after `without_gradients`.
    gradient_norm : NDArray, shape (1,)
        L2 norm of `gradient`.
    smoothing_gradient : NDArray or None
        None if the smoothing has no weight.
    """

    parts: Any
    gradient: Any
    gradient_norm: Any
    smoothing_gradient: Any

    def value(self) -> Any:
        """Return the objective, NDArray of shape (1,)."""
        return engine.nd.dot(self.parts, engine.nd.ones_like(self.parts)).reshape((1,))

    def total_gradient(self) -> Any:
        """Return the gradient of all parts, which may be the array `gradient` itself."""
        if self.smoothing_gradient is None:
            return self.gradient
        return self.gradient + self.smoothing_gradient

    def without_gradients(self) -> "Evaluation":
        """Return the evaluation without the arrays that are as large as images."""
        return replace(self, gradient=None, smoothing_gradient=None)


class Objective:
    """α L_content + γ β′ Σ w_l L_style + smoothing, as a function of the image.

    Parameters
    ----------
    network : vgg.Network
        Or what a subclass needs.
    terms : sequence of Term
    tv_weight : float
    random : numpy.random.RandomState
        Draws new pairs for the Gaussian MMD at each evaluation.
    streams : dict of int to numpy.random.RandomState, optional
        What draws for the terms of a stream, by its index; by default `random`. So another style
        does not change the draws of those before it.
    """

    def __init__(
        self,
        network: Any,
        terms: Iterable[Term],
        tv_weight: float,
        random: numpy.random.RandomState,
        streams: Optional[Mapping[int, numpy.random.RandomState]] = None,
    ) -> None:
        self.terms = tuple(terms)
        self.names = tuple(term.name for term in terms) + (("smoothing",) if tv_weight else ())
        self._network = network
        self._tv_weight = tv_weight
        self._random = random
        self._streams = dict(streams or {})
        self._held: dict[str, Any] = {}

    @property
    def draws(self) -> bool:
        """Whether a loss draws at random, so that two evaluations of an image differ."""
        return any(term.loss.draws for term in self.terms)

    @property
    def degree(self) -> int:
        """The highest degree of a loss; see `losses.Loss`."""
        return max((getattr(term.loss, "degree", 2) for term in self.terms), default=2)

    def hold(self) -> None:
        """Draw once and use this draw in all evaluations until the next call."""
        self._held = self._drawn()

    def state(self) -> tuple[Any, dict[str, Any]]:
        """Return the state of the random draws, for `resume`."""
        streams = (self._random, *self._streams.values())
        return [random.get_state() for random in streams], self._held

    def resume(self, state: tuple[Any, dict[str, Any]]) -> None:
        """Restore what `state` returned, as if nothing had been evaluated since."""
        states, self._held = state
        for random, values in zip((self._random, *self._streams.values()), states):
            random.set_state(values)

    def __call__(self, image: Any) -> Evaluation:
        """Evaluate value and gradient at an image, NDArray (1, 3, H, W)."""
        values, gradient = self._evaluated(image, self._held or self._drawn())
        parts = [values[term.name] for term in self.terms]
        smoothing_gradient = None
        if self._tv_weight:
            value, grad = losses.smoothing(image)
            parts.append(self._tv_weight * value)
            grad *= self._tv_weight
            smoothing_gradient = grad
        # MXNet's norm accumulates in float32 and is off by about 1e-6. The authors clip by this
        # norm, and in 20 steps from noise the error grows to 1e-2, so nst uses it too.
        norm = engine.nd.norm(gradient).reshape((1,))
        return Evaluation(engine.nd.concat(*parts, dim=0), gradient, norm, smoothing_gradient)

    def _evaluated(self, image: Any, drawn: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
        """Return the values of the terms by name, and the gradient on the image."""
        values: dict[str, Any] = {}
        features = self._network.forward(image)

        def head_gradient(layer: str) -> Any:
            maps, total = features.pop(layer), None
            # A layer may serve several terms, so gradients add up.
            for term in (term for term in self.terms if term.layer == layer):
                values[term.name], grad = term(maps, drawn[term.name])
                total = grad if total is None else total + grad
            return engine.nd.zeros_like(maps) if total is None else total

        gradient = self._network.backward(head_gradient)
        return values, gradient

    def non_finite(self, image: Any) -> str:
        """Describe the parts whose value or gradient at `image` is not finite."""
        drawn, features = self._held or self._drawn(), self._network.forward(image)
        failures = []
        for term in self.terms:
            value, grad = term(features[term.layer], drawn[term.name])
            if not finite(value):
                failures.append(f"the loss {term.name}")
            elif not finite(engine.nd.norm(grad)):
                failures.append(f"the gradient of {term.name}")
        return self._described(failures, image)

    def _described(self, failures: Sequence[str], image: Any) -> str:
        """Return what is not finite in words, from the failures of terms."""
        if not failures and self._tv_weight:
            value, _ = losses.smoothing(image)
            if not finite(self._tv_weight * value):
                return "the loss smoothing"
        return ", ".join(failures) or "the gradient on the image"

    def _drawn(self) -> dict[str, Any]:
        """Return a new random draw for each term, by its name."""
        shapes = self._network.shapes
        return {
            term.name: term.draw(self._random_of(term), shapes[term.layer]) for term in self.terms
        }

    def _random_of(self, term: Term) -> numpy.random.RandomState:
        """Return what draws for a term."""
        return self._streams.get(term.stream, self._random)


def content_terms(config: Config, features: Mapping[str, Any]) -> list[Term]:
    """Return the content terms, with targets from the content image's `features`."""
    loss = losses.Content()
    return [
        Term("content", layer, loss, loss.target(features[layer]), 1.0)
        for layer in config.content_layers
    ]


def style_losses(
    config: Config, methods: Optional[Iterable[str]] = None
) -> dict[tuple[str, str], losses.Loss]:
    """Return the loss of each method at each style layer, ``{(method, layer): loss}``.

    `methods` are by default those of the config.
    """
    return {
        (method, layer): losses.style_loss(method, **config.loss_choices(method))
        for method in methods or config.methods
        for layer in config.style_layers
    }


def check_pools(group: Group, style_losses: Mapping[tuple[str, str], losses.Loss]) -> None:
    """Raise a `PluginError` if a group needs what the loss of a plugin cannot do."""
    needs = [] if group.whole else ["masks"]
    if len(group.pictures) > 1:
        needs.append("several pictures as one style")
    for loss in style_losses.values() if needs else ():
        # All of nst's own do.
        if not getattr(loss, "pools", False):
            loss.plugin.fail(  # type: ignore[attr-defined]
                f"its loss does not take {' or '.join(needs)}; a SumLoss would"
            )


def style_targets(
    config: Config,
    features: Mapping[str, Any],
    random: numpy.random.RandomState,
    bases: Optional[numpy.random.RandomState] = None,
    methods: Optional[Iterable[str]] = None,
) -> dict[tuple[str, str], Any]:
    """Return the target of each style loss, ``{(method, layer): target}``.

    Parameters
    ----------
    config : Config
    features : dict of str to NDArray
        The features of the style image.
    random : numpy.random.RandomState
        For losses that draw from the style.
    bases : numpy.random.RandomState, optional
        For the basis of losses that need only sums; by default `random`.
    methods : iterable of str, optional
        By default those of the config.
    """
    streams = {"sums": bases or random}
    return {
        (method, layer): loss.target(features[layer], streams.get(loss.needs, random))
        for (method, layer), loss in style_losses(config, methods).items()
    }


def style_terms(
    config: Config,
    targets: Mapping[tuple[str, str], Any],
    group: Optional[Group] = None,
    like: Any = None,
) -> list[Term]:
    """Return a term for each method and style layer, with the targets of `style_targets`.

    Its weight is that of the group times the method's share of the fusion times w_l of Eq. 5. It
    lacks γ and β′, which `scaled` multiplies in.

    Parameters
    ----------
    config : Config
    targets : dict
        A layer that it lacks has no term.
    group : Group, optional
        By default a style that applies everywhere. Layers where its mask covers no position have
        no term.
    like : NDArray
        Has the device and type of the features; needed if the group has a mask.
    """
    if group is None:
        group = Group((), config.methods)
    at_layers = _layer_masks(config, group, like)
    return [
        Term(
            method, layer, loss, targets[method, layer],
            group.weight * (group.methods[method] * config.layer_weight(layer)),
            at_layers[layer], group.number if method in group.numbered else 0, group.index,
        )
        for (method, layer), loss in style_losses(config, group.methods).items()
        if layer in at_layers and (method, layer) in targets
    ]  # fmt: skip


def _layer_masks(config: Config, group: Group, like: Any) -> dict[str, Optional[losses.Mask]]:
    """Return the mask of a group at each style layer where it covers a position."""
    if group.mask is None:
        return dict.fromkeys(config.style_layers)
    values = {
        layer: masks.at_layer(group.mask, layer, config.mask_inside)
        for layer in config.style_layers
    }
    return {
        layer: losses.Mask.of(value, like)
        for layer, value in values.items()
        if value.sum() >= masks.LEAST_MASS
    }


def scaled(terms: Iterable[Term], factors: Mapping[str, float]) -> list[Term]:
    """Return the terms with their weights multiplied by the factor of their method."""
    return [replace(term, weight=term.weight * factors[term.method]) for term in terms]


def given_beta(
    config: Config, methods: Optional[Iterable[str]] = None
) -> Optional[dict[str, float]]:
    """Return β′ of each method as `config` gives it, or None if it has to be measured.

    Parameters
    ----------
    config : Config
    methods : iterable of str, optional
        By default those of the config.
    """
    methods = config.methods if methods is None else methods
    if config.beta == "auto":
        return None
    if config.beta == "paper":
        return {method: paper_beta(method) for method in methods}
    if isinstance(config.beta, str):
        values = parse_weights(config.beta)
        return {method: value for method, value in values.items() if method in methods}
    return {method: config.beta for method in methods}


def measured_beta(
    config: Config,
    network: Any,
    content: Iterable[Term],
    style: Iterable[Term],
    image: Any,
    random: numpy.random.RandomState,
    shares: Optional[Mapping[str, float]] = None,
    covers: Optional[Mapping[str, Any]] = None,
    kind: type[Objective] = Objective,
) -> Optional[dict[str, float]]:
    """Measure the β′ that scales each method's gradient to the content gradient (section 4).

    Parameters
    ----------
    config : Config
    network : vgg.Network or tiles.TiledNetwork
    content, style : sequence of Term
        As `content_terms` and `style_terms` return them.
    image : NDArray
        Where to measure.
    random : numpy.random.RandomState
    shares : dict of str to float, optional
        The part of all style that each method has; by default its weight in the fusion. β′ is
        what a method needs that has all.
    covers : dict of str to NDArray, shape (1, 1, H, W), optional
        Where each method applies. The content gradient is taken there alone; for methods that it
        lacks, everywhere.
    kind : type
        The class of objectives for the network.

    Returns
    -------
    dict of str to float, or None
        None if the content gradient vanishes, as it does at the content image itself.

    Raises
    ------
    ConfigError
        A style gradient vanishes, so that no factor can balance it.
    """
    shares, covers = shares or config.methods, covers or {}
    evaluation = kind(network, content, 0, random)(image)
    norms = {method: _norm(evaluation, covers.get(method)) for method in shares}
    beta = {}
    for method, share in shares.items():
        beta[method], content_norm = paper_beta(method), norms[method]
        if not content_norm:
            return None
        if share:
            terms = [term for term in style if term.method == method]
            terms = scaled(terms, {method: paper_beta(method) / share})
            style_norm = _norm(kind(network, terms, 0, random)(image))
            if not style_norm:
                raise ConfigError(
                    f"beta auto: the {method} style loss has no gradient on the start image, "
                    "so no factor can balance it; give beta a number.",
                    "beta",
                )
            beta[method] *= content_norm / style_norm
    return beta


def _norm(evaluation: Evaluation, cover: Any = None) -> float:
    """Return the norm of a gradient, times `cover` if that is given."""
    if cover is None:
        return float(evaluation.gradient_norm.asscalar())
    covered = engine.nd.broadcast_mul(evaluation.gradient, cover)
    return float(engine.nd.norm(covered).asscalar())


def finite(scalar: Any) -> bool:
    """Return whether an NDArray of one element is finite."""
    return abs(float(scalar.asscalar())) < float("inf")
