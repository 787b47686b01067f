"""A symbol bound to arrays: `engine.bind` makes it, and gives it the MXNet to run on."""


class Executor:
    """Forward and backward of a symbol, for MXNet 1.9.1 and MXNet 2 alike.

    MXNet 1.9.1's own executor holds all maps and all their gradients at once, and MXNet 2's copies
    the parameters, so that each size of image would have its own. This one stands on the
    operator that both make of a symbol for their `gluon` blocks, and gives up what has been used.

    Parameters
    ----------
    mx : module
    symbol : Symbol
    arguments, gradients : dict of str to NDArray
        As `engine.bind` gets them.
    """

    def __init__(self, mx, symbol, arguments, gradients):
        self._autograd = mx.autograd
        # Detached, they are the same arrays in memory, but not the same to another's backward.
        own = {name: array.detach() for name, array in arguments.items()}
        self._arguments = [own[name] for name in symbol.list_inputs()]
        for name, gradient in gradients.items():
            mx.autograd.mark_variables([own[name]], [gradient], "write")
        self._trains = bool(gradients)
        self._run = mx.nd.CachedOp(symbol)
        self._recorded = []

    def forward(self):
        """Return the outputs, a list of NDArray."""
        # The last run's maps are given up before there are new ones.
        self._recorded = []
        scope = self._autograd.record if self._trains else self._autograd.pause
        with scope(train_mode=self._trains):
            found = self._run(*self._arguments)
        self._recorded = found if isinstance(found, (list, tuple)) else [found]
        # Who keeps an output keeps no more than that.
        return [output.detach() for output in self._recorded]

    def backward(self, head_gradients):
        """Write the gradients, for those of the outputs; once after each `forward`."""
        recorded, self._recorded = self._recorded, []
        self._autograd.backward(recorded, head_gradients)
