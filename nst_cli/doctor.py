"""Reports what this machine has, and whether the network runs on it."""

import contextlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Iterator

import numpy
import PIL

from . import __version__, config, engine, machine, plugins
from .engine import mxnet2
from .engine.gpu import driver, library
from .errors import EngineError, PluginError, WeightsError
from .synthesis import losses, vgg
from .weights import BUILTIN, Weights

_TEST_SIDE = 128
_TEST_SECONDS = 1.0

# Topic, finding, and whether that is good.
Finding = tuple[str, str, bool]


def examine() -> Iterator[Finding]:
    """Examine this machine, one topic at a time.

    Yields
    ------
    topic, finding : str
    good : bool
        False if `nst stylize`, or a method of a plugin, cannot work because of it.
    """
    yield "nst", f"{__version__}, Python {platform.python_version()}", True
    yield from _gpu()
    try:
        engine.load()
    except EngineError as error:
        yield "mxnet", str(error), False
        return
    yield "mxnet", f"{engine.version()} in {engine.origin()}, {_installed_by()}", True
    yield "packages", f"{_numpy()}, Pillow {PIL.__version__}, click {_version('click')}", True
    yield "processor", f"{machine.describe()}, {engine.threads()} threads", True
    count = engine.gpu_count()
    built = "built for CUDA" if engine.has_cuda() else "built for the CPU only"
    yield "devices", f"CPU and {count} GPU{'s' * (count != 1)}; this MXNet is {built}", True
    for plugin in plugins.installed():
        yield "plugin", *_plugin(plugin)
    try:
        weights = Weights.find()
        weights.load()
        yield "weights", weights.source, True
    except WeightsError as error:
        yield "weights", str(error), False
    try:
        yield "executor", try_network("auto"), True
    except EngineError as error:
        yield "executor", str(error), False


def _plugin(plugin: plugins.Plugin) -> tuple[str, bool]:
    """Return whether the method of a plugin can be used, and why not."""
    try:
        plugin.method()
        losses.style_loss(plugin.name)
    except PluginError as error:
        return str(error), False
    return f"the method {plugin.name} of {plugin.source}", True


def _installed_by() -> str:
    """Return how the MXNet in use was installed, in words."""
    if library.MARK in os.listdir(os.path.dirname(engine.origin())):
        return "installed by nst gpu install"
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        installer = importlib.metadata.distribution("mxnet").read_text("INSTALLER")
        if installer:
            return f"installed by {installer.strip()}"
    return "installed by hand"


def _numpy() -> str:
    name = f"NumPy {numpy.__version__}"
    newer = int(numpy.__version__.partition(".")[0]) >= 2 and engine.version().startswith("1.")
    return f"{name} (MXNet requires one below 2; nst adapts it)" if newer else name


def _version(package: str) -> str:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return "(unknown version)"


def _gpu() -> Iterator[Finding]:
    """Report the driver, the cards and the CUDA build; a machine may lack all of them."""
    try:
        nvidia = driver.probe()
    except EngineError as error:
        yield "driver", str(error), True
        return
    yield "driver", f"NVIDIA's, for CUDA {driver.dotted(nvidia.cuda)}", True
    installed = mxnet2.version()
    for card in nvidia.cards:
        warning = "" if card.usable or installed else ", which MXNet has no kernels for"
        memory = f"{card.memory / 2**30:.1f} GiB"
        capability = f"compute capability {driver.dotted(card.capability)}{warning}"
        yield f"gpu:{card.index}", f"{card.name}, {memory}, {capability}", True
    if installed:
        yield "cuda", f"MXNet {installed} is installed and serves the cards it was built for", True
        return
    try:
        place = library.find()
    except EngineError as error:
        yield "cuda", str(error), False
        return
    if place:
        where = f"in {place}"
    elif any(card.usable for card in nvidia.cards):
        where = "not installed: run nst gpu install"
    else:
        where = "not installed; no card here can use it"
    yield "cuda", f"MXNet's CUDA build is {where}", True


def try_network(device: str) -> str:
    """Run the network for about a second; return the time of its fastest step in words.

    Parameters
    ----------
    device : str
        As in `Config`.

    Raises
    ------
    EngineError
        The device cannot be used, or its gradient is not finite.
    """
    context = engine.context(device)
    layers = config.PRESETS["paper"]["style_layers"]
    with engine.failures():
        shared = vgg.parameters(Weights.find(BUILTIN).load(), layers, context)
        network = vgg.Network(shared, layers, (1, 3, _TEST_SIDE, _TEST_SIDE))
        image = engine.nd.ones((1, 3, _TEST_SIDE, _TEST_SIDE), ctx=context)
        times: list[float] = []
        end = time.monotonic() + _TEST_SECONDS
        while time.monotonic() < end or len(times) < 2:
            began = time.monotonic()
            gradient = network.backward(network.forward(image).get).asnumpy()
            times.append(time.monotonic() - began)
    if not numpy.isfinite(gradient).all():
        raise EngineError(f"The gradient on {context} is not finite.")
    return f"{min(times):.3f} s for a step at {_TEST_SIDE} x {_TEST_SIDE} pixels on {context}"
