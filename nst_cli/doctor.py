"""What this machine has to offer, and whether the executor works on it."""

import platform
import time

import numpy
import PIL

from . import __version__, config, engine, machine, weights
from .engine import mxnet2
from .engine.gpu import driver, library
from .errors import EngineError, WeightsError
from .synthesis import vgg

_TEST_SIDE = 128
_TEST_SECONDS = 1.0


def examine():
    """Look at this machine, one topic at a time.

    Yields
    ------
    topic, finding : str
    good : bool
        False where `nst stylize` will not work as it stands.
    """
    yield "nst", f"{__version__}, Python {platform.python_version()}", True
    yield from _gpu()
    try:
        engine.load()
    except EngineError as error:
        yield "mxnet", str(error), False
        return
    libraries = f"NumPy {numpy.__version__}, Pillow {PIL.__version__}"
    yield "mxnet", f"{engine.version()} in {engine.origin()}, {libraries}", True
    yield "processor", f"{machine.describe()}, {engine.threads()} threads", True
    count = engine.gpu_count()
    built = "built for CUDA" if engine.has_cuda() else "built for the CPU alone"
    yield "devices", f"CPU and {count} GPU{'s' * (count != 1)}; this MXNet is {built}", True
    try:
        which = weights.find()
        weights.load(which)
        yield "weights", str(which), True
    except WeightsError as error:
        yield "weights", str(error), False
    try:
        yield "executor", test_run("auto"), True
    except EngineError as error:
        yield "executor", str(error), False


def _gpu():
    """Say what there is for computing on a GPU; a machine may well do without."""
    try:
        found = driver.probe()
    except EngineError as error:
        yield "driver", str(error), True
        return
    yield "driver", f"NVIDIA's, for CUDA {driver.dotted(found.cuda)}", True
    own = mxnet2.version()
    for card in found.cards:
        fit = "" if card.usable or own else ", which MXNet has no kernels for"
        memory = f"{card.memory / 2**30:.1f} GiB"
        capability = f"compute capability {driver.dotted(card.capability)}{fit}"
        yield f"gpu:{card.index}", f"{card.name}, {memory}, {capability}", True
    if own:
        yield "cuda", f"MXNet {own} is installed, and serves what cards it was built for", True
        return
    try:
        place = library.find()
    except EngineError as error:
        yield "cuda", str(error), False
        return
    if place:
        where = f"in {place}"
    elif any(card.usable for card in found.cards):
        where = "not installed: nst gpu install gets it"
    else:
        where = "not installed, and of no use here"
    yield "cuda", f"MXNet's CUDA build is {where}", True


def test_run(device):
    """Run steps of the network for about a second; return their speed in words.

    Parameters
    ----------
    device : str
        As in `Config`.

    Raises
    ------
    EngineError
        The device cannot be used, or computes nonsense.
    """
    device = engine.context(device)
    layers = config.PRESETS["paper"]["style_layers"]
    with engine.failures():
        shared = vgg.parameters(weights.load(weights.BUILTIN), layers, device)
        network = vgg.Network(shared, layers, (1, 3, _TEST_SIDE, _TEST_SIDE))
        image = engine.nd.ones((1, 3, _TEST_SIDE, _TEST_SIDE), ctx=device)
        times, end = [], time.monotonic() + _TEST_SECONDS
        while time.monotonic() < end or len(times) < 2:
            began = time.monotonic()
            gradient = network.backward(network.forward(image).get).asnumpy()
            times.append(time.monotonic() - began)
    if not numpy.isfinite(gradient).all():
        raise EngineError(f"The gradient on {device} is not finite.")
    return f"{min(times):.3f} s for a step at {_TEST_SIDE} x {_TEST_SIDE} pixels on {device}"
