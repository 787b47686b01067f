"""A symbol bound to arrays; `engine.bind` creates it."""

from collections.abc import Mapping, Sequence
from typing import Any


class Executor:
    """Forward and backward passes of a symbol, under MXNet 1.9.1 and MXNet 2.

    It replaces MXNet's own executors: that of 1.9.1 holds all maps and all their gradients at
    once, and that of MXNet 2 copies the parameters for each image size. It runs the symbol as a
    `CachedOp`, the operator behind `gluon` blocks, and frees maps once they have been used.

    Parameters
    ----------
    mx : module
        MXNet.
    symbol, parameters, gradient
        As for `engine.bind`.
    """

    def __init__(
        self, mx: Any, symbol: Any, parameters: Mapping[str, Any], gradient: bool
    ) -> None:
        self._mx = mx
        self._records = gradient
        self._names = symbol.list_inputs()
        # Detach so that executors sharing these arrays do not share autograd state.
        self._parameters = {
            name: parameters[name].detach() for name in self._names if name != "data"
        }
        self._run = mx.nd.CachedOp(symbol)
        self._recorded: Sequence[Any] = []
        self._data: Any = None

    def forward(self, data: Any) -> list[Any]:
        """Return the outputs for an input, a list of NDArray."""
        # Free the last run's maps before new ones are allocated.
        self._recorded, self._data = [], None
        data = data.detach()
        if self._records:
            # `backward` makes the array of the gradient, but MXNet wants one here.
            unused = self._mx.nd.zeros((1,), ctx=data.context)
            self._mx.autograd.mark_variables([data], [unused], "write")
        scope = self._mx.autograd.record if self._records else self._mx.autograd.pause
        with scope(train_mode=self._records):
            outputs = self._run(
                *(data if name == "data" else self._parameters[name] for name in self._names)
            )
        self._recorded = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        self._data = data
        # Detach, so that keeping an output does not keep the recorded graph alive.
        return [output.detach() for output in self._recorded]

    def backward(self, head_gradients: Sequence[Any]) -> Any:
        """Return the gradient on the input, given the gradients on the outputs.

        It can be called once after each `forward`.
        """
        (recorded, data), self._recorded, self._data = (self._recorded, self._data), [], None
        (gradient,) = self._mx.autograd.grad(recorded, [data], head_gradients)
        return gradient
