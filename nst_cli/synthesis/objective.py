"""The objective of a transfer (Eq. 3 and 5): its terms, their weights, and its gradient."""

from dataclasses import dataclass, replace
from typing import Any

from .. import engine
from ..config import PAPER_BETA, parse_weights
from ..errors import ConfigError
from . import losses


@dataclass(frozen=True)
class Term:
    """One loss at one layer, ready to be evaluated.

    Attributes
    ----------
    method : str
        ``content`` or one of `config.METHODS`.
    layer : str
    loss : object
        From `losses`.
    target : object
        What the loss keeps of the content or style image.
    weight : float
    """

    method: str
    layer: str
    loss: Any
    target: Any
    weight: float

    @property
    def name(self):
        """``method/layer``, as losses are logged."""
        return f"{self.method}/{self.layer}"


@dataclass(frozen=True)
class Evaluation:
    """The objective at one image, all on the device.

    Attributes
    ----------
    parts : NDArray, shape (P,)
        The weighted parts, in the order of `Objective.names`; their sum is the objective.
    gradient : NDArray, shape (1, 3, H, W)
        Of all but the smoothing. The next evaluation overwrites it.
    gradient_norm : NDArray, shape (1,)
        L2 norm of `gradient`.
    smoothing_gradient : NDArray or None
        None where the smoothing has no weight.
    """

    parts: Any
    gradient: Any
    gradient_norm: Any
    smoothing_gradient: Any

    def value(self):
        """Return the objective, NDArray of shape (1,)."""
        return engine.nd.dot(self.parts, engine.nd.ones_like(self.parts)).reshape((1,))

    def total_gradient(self):
        """Return the gradient of all parts, in an array of its own."""
        if self.smoothing_gradient is None:
            return self.gradient.copy()
        return self.gradient + self.smoothing_gradient


class Objective:
    """α L_content + γ β′ Σ w_l L_style + smoothing, as a function of the image.

    Parameters
    ----------
    network : vgg.Network
    terms : sequence of Term
    tv_weight : float
    random : numpy.random.RandomState
        Draws the pairs of the Gaussian MMD, anew at each evaluation.
    """

    def __init__(self, network, terms, tv_weight, random):
        self.terms = tuple(terms)
        self.names = tuple(term.name for term in terms) + (("smoothing",) if tv_weight else ())
        self._network = network
        self._tv_weight = tv_weight
        self._random = random
        self._held = {}

    @property
    def draws(self):
        """Whether a loss draws at random, so that two evaluations of an image differ."""
        return any(term.loss.draws for term in self.terms)

    def hold(self):
        """Draw anew, and evaluate on this draw alone until the next call."""
        self._held = self._drawn()

    def state(self):
        """Return what `resume` needs to draw as from here on."""
        return self._random.get_state(), self._held

    def resume(self, state):
        """Draw on as if there had been no evaluation since `state` was taken."""
        random, self._held = state
        self._random.set_state(random)

    def __call__(self, image):
        """Evaluate value and gradient at an image, NDArray (1, 3, H, W)."""
        drawn, values = self._held or self._drawn(), {}
        features = self._network.forward(image)

        def head_gradient(layer):
            maps, total = features.pop(layer), None
            # A layer may serve several terms at once, so gradients add up.
            for term in (term for term in self.terms if term.layer == layer):
                values[term.name], grad = self._evaluate(term, maps, drawn)
                total = grad if total is None else total + grad
            return engine.nd.zeros_like(maps) if total is None else total

        gradient = self._network.backward(head_gradient)
        parts = [values[term.name] for term in self.terms]
        smoothing_gradient = None
        if self._tv_weight:
            value, grad = losses.smoothing(image)
            parts.append(self._tv_weight * value)
            smoothing_gradient = self._tv_weight * grad
        # MXNet's norm adds up in float32, one value after the other, and so is off by some 1e-6.
        # The authors' clipping rests on it, and 20 steps from noise make 1e-2 of that difference.
        norm = engine.nd.norm(gradient).reshape((1,))
        return Evaluation(engine.nd.concat(*parts, dim=0), gradient, norm, smoothing_gradient)

    def non_finite(self, image):
        """Name the parts whose value or gradient at `image` is not finite, in words."""
        drawn, features = self._held or self._drawn(), self._network.forward(image)
        found = []
        for term in self.terms:
            value, grad = self._evaluate(term, features[term.layer], drawn)
            if not _finite(value):
                found.append(f"the loss {term.name}")
            elif not _finite(engine.nd.norm(grad)):
                found.append(f"the gradient of {term.name}")
        return ", ".join(found) or "the gradient on the image"

    def _evaluate(self, term, features, drawn):
        return term.loss(features, term.target, term.weight, drawn[term.name])

    def _drawn(self):
        """Return the draw of each loss, by the name of its term."""
        shapes = self._network.shapes
        return {
            term.name: term.loss.draw(self._random, shapes[term.layer], term.target)
            for term in self.terms
        }


def content_terms(config, features):
    """Return the content terms, their targets taken from `features` of the content image."""
    loss = losses.Content()
    return [
        Term("content", layer, loss, loss.target(features[layer]), 1.0)
        for layer in config.content_layers
    ]


def style_losses(config):
    """Return the loss of each method at each style layer, ``{(method, layer): loss}``."""
    return {
        (method, layer): losses.style_loss(method, config.c)
        for method in config.methods
        for layer in config.style_layers
    }


def style_targets(config, features, random):
    """Return what each style loss keeps of the style image, ``{(method, layer): target}``.

    Parameters
    ----------
    config : Config
    features : dict of str to NDArray
        Of the style image.
    random : numpy.random.RandomState
        For losses that draw from the style.
    """
    return {
        (method, layer): loss.target(features[layer], random)
        for (method, layer), loss in style_losses(config).items()
    }


def style_terms(config, targets):
    """Return a term per method and style layer, for what `style_targets` returned.

    The weights are those of the fusion times w_l of Eq. 5; γ and β′ are still to come.
    """
    return [
        Term(
            method, layer, loss, targets[method, layer],
            config.methods[method] * config.layer_weight(layer),
        )
        for (method, layer), loss in style_losses(config).items()
    ]  # fmt: skip


def scaled(terms, factors):
    """Return the terms with their weights multiplied by the factor of their method."""
    return [replace(term, weight=term.weight * factors[term.method]) for term in terms]


def given_beta(config):
    """Return β′ of each method as `config` gives it, or None where it is to be measured."""
    if config.beta == "auto":
        return None
    if config.beta == "paper":
        return {method: PAPER_BETA[method] for method in config.methods}
    if isinstance(config.beta, str):
        return parse_weights(config.beta)
    return {method: config.beta for method in config.methods}


def measured_beta(config, network, content, style, image, random):
    """Measure β′: each method's gradient gets the norm of the content gradient (section 4).

    Parameters
    ----------
    config : Config
    network : vgg.Network
    content, style : sequence of Term
        As `content_terms` and `style_terms` return them.
    image : NDArray
        Where to measure.
    random : numpy.random.RandomState

    Returns
    -------
    dict of str to float, or None
        None where the content gradient vanishes, as it does at the content image itself.

    Raises
    ------
    ConfigError
        A style gradient vanishes, so that no factor can balance it.
    """
    wanted = _gradient_norm(Objective(network, content, 0, random), image)
    if not wanted:
        return None
    beta = {}
    for method, share in config.methods.items():
        beta[method] = PAPER_BETA[method]
        if share:
            own = [term for term in style if term.method == method]
            own = scaled(own, {method: PAPER_BETA[method] / share})
            found = _gradient_norm(Objective(network, own, 0, random), image)
            if not found:
                raise ConfigError(
                    f"beta auto: the {method} style loss has no gradient on the start image, "
                    "so no factor can balance it; give beta a number.",
                    "beta",
                )
            beta[method] *= wanted / found
    return beta


def _gradient_norm(objective, image):
    return float(objective(image).gradient_norm.asscalar())


def _finite(scalar):
    return abs(float(scalar.asscalar())) < float("inf")
