"""The losses of plugins: a fault in one is an error of one line that names its package."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ... import engine
from ...plugins import Plugin, plugin_of
from .frame import LossGrad, SumLoss

_NEEDS = ("sums", "positions", "pairs", "order", "neighbours")


@dataclass(frozen=True)
class PluginLoss:
    """The loss of a plugin, whose results are checked; see `Loss`.

    Two are equal if they have the same plugin and options.
    """

    plugin: Plugin
    options: tuple[tuple[str, str], ...]
    inner: Any = field(compare=False)

    def __getattr__(self, name: str) -> Any:
        """Return what the loss has by a name, such as `needs`."""
        return getattr(self.inner, name)

    def target(self, *arguments: Any, **named: Any) -> Any:
        """Return the target of the loss."""
        with self._blamed("target"):
            return self.inner.target(*arguments, **named)

    def basis(self, *arguments: Any, **named: Any) -> Any:
        """Return the basis of a `SumLoss`."""
        with self._blamed("basis"):
            return self.inner.basis(*arguments, **named)

    def basis_by(self, *arguments: Any, **named: Any) -> Any:
        """Return the basis of a `SumLoss`."""
        with self._blamed("basis"):
            return self.inner.basis_by(*arguments, **named)

    def sums(self, *arguments: Any, **named: Any) -> Any:
        """Return the sums of a `SumLoss`."""
        with self._blamed("sums"):
            return self.inner.sums(*arguments, **named)

    def combined(self, sums: Any, other: Any, share: float) -> Any:
        """Return the sums of a style's pictures; see `SumLoss`."""
        with self._blamed("sum of sums"):
            return self.inner.combined(sums, other, share)

    def reduced(self, *arguments: Any, **named: Any) -> Any:
        """Return the target of a `SumLoss` that its sums give."""
        with self._blamed("target"):
            return self.inner.reduced(*arguments, **named)

    def pooled(self, *arguments: Any, **named: Any) -> Any:
        """Return the target of a `SampleLoss`."""
        with self._blamed("target"):
            return self.inner.pooled(*arguments, **named)

    def draw(self, *arguments: Any, **named: Any) -> Any:
        """Return the draw of the loss."""
        with self._blamed("draw"):
            return self.inner.draw(*arguments, **named)

    def __call__(self, features: Any, *arguments: Any, **named: Any) -> LossGrad:
        """Return value and gradient of the loss, after a check of their shapes and types."""
        with self._blamed("value or gradient"):
            value, grad = self.inner(features, *arguments, **named)
            _check_array("value", value, (1,), features)
            _check_array("gradient", grad, features.shape, features)
        return LossGrad(value, grad)

    @contextlib.contextmanager
    def _blamed(self, what: str) -> Iterator[None]:
        with self.plugin.blamed(f"its loss gives no {what}"), engine.failures():
            yield


def plugin_loss(method: str, options: Mapping[str, Any]) -> PluginLoss:
    """Return the loss of a plugin's method; options left out have the plugin's defaults.

    Raises
    ------
    PluginError
        There is no such plugin, or what it gives is not a loss.
    """
    # With NumPy 2 or a card, MXNet must be loaded by nst: the plugin may import it.
    engine.load()
    plugin = plugin_of(method)
    names = plugin.method().options
    loss = plugin.loss({name: options[name] for name in names if name in options})
    problem = _problem(loss)
    if problem:
        reference = plugin.method().loss
        plugin.fail(f"{reference} gives a {type(loss).__name__}, which is not a loss: {problem}")
    return PluginLoss(plugin, tuple((name, repr(value)) for name, value in options.items()), loss)


def _problem(loss: Any) -> str:
    """Return what an object lacks to be a loss, or an empty text."""
    if isinstance(loss, type) or not callable(loss):
        return "it cannot be called with features"
    for name in ("target", "draw"):
        if not callable(getattr(loss, name, None)):
            return f"it has no method {name!r}"
    for name in ("draws", "seeded"):
        if not isinstance(getattr(loss, name, None), bool):
            return f"its attribute {name!r} is not True or False"
    if getattr(loss, "needs", None) not in _NEEDS:
        return f"its attribute 'needs' is none of {', '.join(_NEEDS)}"
    if loss.needs == "sums" and not isinstance(loss, SumLoss):
        return "it needs 'sums' and is not a SumLoss"
    return ""


def _check_array(what: str, array: Any, shape: tuple[int, ...], features: Any) -> None:
    """Raise an exception unless an array has a shape, and the type and device of the features."""
    if not isinstance(array, engine.nd.NDArray):
        raise TypeError(f"the {what} is a {type(array).__name__}, not an NDArray")
    if array.shape != shape or array.dtype != features.dtype or array.context != features.context:
        raise ValueError(
            f"the {what} has shape {array.shape} and type {array.dtype.__name__} on "
            f"{array.context}; it must have {shape} and {features.dtype.__name__} on "
            f"{features.context}"
        )
