"""A symbol bound to arrays: `engine.bind` makes it, and gives it the MXNet to run on."""


class Executor:
    """Forward and backward of a symbol, for MXNet 1.9.1 and MXNet 2 alike.

    MXNet 1.9.1's own executor holds all maps and all their gradients at once, and MXNet 2's copies
    the parameters, so that each size of image would have its own. This one stands on the
    operator that both make of a symbol for their `gluon` blocks, and gives up what has been used.

    Parameters
    ----------
    mx : module
    symbol, parameters, gradient
        As `engine.bind` gets them.
    """

    def __init__(self, mx, symbol, parameters, gradient):
        self._autograd = mx.autograd
        self._gradient = gradient
        self._names = symbol.list_inputs()
        # Detached, they are the same arrays in memory, but not the same to another's backward.
        self._parameters = {
            name: parameters[name].detach() for name in self._names if name != "data"
        }
        self._run = mx.nd.CachedOp(symbol)
        self._recorded = []

    def forward(self, data):
        """Return the outputs for an input, a list of NDArray."""
        # The last run's maps are given up before there are new ones.
        self._recorded = []
        data = data.detach()
        trains = self._gradient is not None
        if trains:
            self._autograd.mark_variables([data], [self._gradient], "write")
        scope = self._autograd.record if trains else self._autograd.pause
        with scope(train_mode=trains):
            found = self._run(
                *(data if name == "data" else self._parameters[name] for name in self._names)
            )
        self._recorded = found if isinstance(found, (list, tuple)) else [found]
        # Who keeps an output keeps no more than that.
        return [output.detach() for output in self._recorded]

    def backward(self, head_gradients):
        """Return the gradient for those of the outputs; once after each `forward`.

        The next call overwrites it.
        """
        recorded, self._recorded = self._recorded, []
        self._autograd.backward(recorded, head_gradients)
        return self._gradient
