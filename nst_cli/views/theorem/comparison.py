"""From pictures to the numbers of the theorem: their maps at each style layer, compared."""

import os
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy

from ... import __version__, engine, files, images, weights
from ...config import INITS, METHODS, Config
from ...runs.inputs import read_inputs
from ...synthesis import losses, vgg
from . import mmd

#: The pictures that may be compared, in the order in which their positions are drawn.
ROLES = ("style", "content", "made")

# How `write_json` begins.
_MARK, _START = re.compile(rb'\{\s*"program": "nst",\s*"version": '), 256

_BUILTIN_NOTE = (
    "The built-in filter bank stands in for the trained network, and these are its features. "
    "nst weights fetch gets VGG-19."
)


@dataclass(frozen=True)
class Job:
    """Pictures that have been read and whose comparison can be written.

    Attributes
    ----------
    config : Config
    images : dict of str to numpy.ndarray
        Network input by role (`ROLES`).
    sources : dict of str to dict
        What is known of each picture, by role.
    weights : path-like or str
    sample : int
        Positions to draw of a map at most.
    notes : tuple of str
        What the user should be told, one line each.
    """

    config: Config
    images: dict
    sources: dict
    weights: Any
    sample: int
    notes: tuple


@dataclass(frozen=True)
class Layer:
    """What was found at one layer.

    Attributes
    ----------
    name : str
    channels : int
        N.
    positions, sampled : dict of str to int
        Of each picture's map, and how many of them were drawn.
    loss : float
        The Gram loss (Eq. 6) of content and style by `losses.PolynomialMMD` in float32.
    gram : float
        The same in float64 from both Gram matrices.
    sample_gram, sample_pairs : float
        On the positions drawn: from Gram matrices, and by the double sum (Eq. 8).
    bandwidth : float
        2σ² of the Gaussian kernel, measured on content and style.
    mmd : dict of str to dict of str to float
        MMD² to the style by picture and method; of ``bn`` the distance of Eq. 11.
    axes : dict of str to numpy.ndarray
        The positions drawn of each picture, (m, 2), on the two leading axes of the style.
    share : float
        The part of the style's mean square that these two axes hold.
    """

    name: str
    channels: int
    positions: dict
    sampled: dict
    loss: float
    gram: float
    sample_gram: float
    sample_pairs: float
    bandwidth: float
    mmd: dict
    axes: dict
    share: float

    @property
    def loss_apart(self):
        """Relative difference of `loss` and `gram`; None where the two maps are one."""
        return self._relative(abs(self.loss - self.gram), self.gram)

    @property
    def sample_apart(self):
        """Relative difference of `sample_pairs` and `sample_gram`, or None as `loss_apart`."""
        return self._relative(abs(self.sample_pairs - self.sample_gram), self.sample_gram)

    def left(self, method):
        """Return what is left of the content's MMD² in the picture made, or None of nothing."""
        return self._relative(self.mmd["made"][method], self.mmd["content"][method])

    def _relative(self, one, other):
        # With content and style the same picture, there is nothing but rounding to divide by.
        return one / other if self.gram and other else None


@dataclass(frozen=True)
class Comparison:
    """Two pictures, and a third that was made of them, compared at each style layer.

    Attributes
    ----------
    layers : tuple of Layer
    sources : dict of str to dict
        What is known of each picture, its size with it, by role.
    pixels : dict of str to numpy.ndarray
        Each picture as compared, (H, W, 3), uint8.
    c : float
        Constant of the polynomial kernel.
    provenance : dict
        What made these numbers.
    """

    layers: tuple
    sources: dict
    pixels: dict
    c: float
    provenance: dict

    def to_dict(self):
        """Return everything but pixels and positions as plain data that JSON can hold."""
        layers = [_plain(layer) for layer in self.layers]
        return {**self.provenance, "pictures": self.sources, "layers": layers}


def prepare(content, style, config, *, picture=None, sample, outputs=(), overwrite=False):
    """Read and check everything that a comparison needs, before the long work.

    Parameters
    ----------
    content, style : path-like
        Pictures.
    config : Config
    picture : path-like, optional
        One that was made of the two.
    sample : int
        Positions to draw of a map at most, from 2.
    outputs : sequence of (path-like, callable)
        Files that the caller will write, each with the function that recognises one of nst's.
    overwrite : bool
        Whether existing files may be replaced that nst did not make.

    Returns
    -------
    Job

    Raises
    ------
    ImageError, WeightsError, EngineError
        An input cannot be used.
    OutputError
        An output cannot be written, or would overwrite an input, another output, or a file that
        nst did not make.
    """
    which = weights.find(config.weights or None)
    paths = [content, style] + [picture] * bool(picture)
    paths += [config.init] * (config.init not in INITS) + [which] * (which != weights.BUILTIN)
    for output, ours in outputs:
        files.check_output(output, paths, overwrite=overwrite, ours=ours)
        paths.append(output)
    inputs = read_inputs(content, style, config)
    job = Job(
        config=config,
        images={"style": inputs.style, "content": inputs.content},
        sources={role: _source(inputs.pictures[role]) for role in ("style", "content")},
        weights=which,
        sample=sample,
        notes=(_BUILTIN_NOTE,) * (which == weights.BUILTIN),
    )
    if picture:
        job = _with_picture(job, images.read(picture))
    weights.load(which)
    _device(config)
    return job


def _with_picture(job, picture):
    """Return the job with the picture made of the two, at the size of the comparison."""
    shape = picture.pixels.shape
    size = images.fit(shape, job.config.size, picture.path)
    if size != shape[:2]:
        note = (
            f"{picture.path} has {shape[1]} x {shape[0]} pixels and is compared at "
            f"{size[1]} x {size[0]}: --size {max(shape[:2])} takes it as it is."
        )
        job = replace(job, notes=(*job.notes, note))
    # The preset `paper` scales pixels to 256 on the way in and not back on the way out, as the
    # authors' code does: what it wrote is the image it made, and is not to be scaled again.
    image = images.to_input(images.resize(picture.pixels, size))
    return replace(
        job,
        images={**job.images, "made": image},
        sources={**job.sources, "made": _source(picture)},
    )


def _device(config):
    # In float32 whatever the precision of the transfer: a difference of two pictures is looked
    # for, not of two roundings. On a GPU that holds for the whole of a process.
    return engine.context(config.device, deterministic=config.deterministic)


def compare(job, on_layer=None):
    """Compare the pictures of a job at each style layer.

    Parameters
    ----------
    job : Job
    on_layer : callable, optional
        Called with each `Layer`.

    Returns
    -------
    Comparison
    """
    config, layers = job.config, []
    with engine.failures():
        views, gram_losses = _views(job)
        for name in config.style_layers:
            at_layer = {role: views[role][name] for role in job.images}
            layers.append(_compared(name, at_layer, gram_losses[name], config.c))
            if on_layer:
                on_layer(layers[-1])
    shapes = {role: image.shape for role, image in job.images.items()}
    return Comparison(
        layers=tuple(layers),
        sources={
            role: {**source, "width": shapes[role][3], "height": shapes[role][2]}
            for role, source in job.sources.items()
        },
        pixels={role: images.to_pixels(image) for role, image in job.images.items()},
        c=config.c,
        provenance={
            "program": "nst",
            "version": __version__,
            "config": config.to_dict(),
            "weights": weights.identity(job.weights),
            "sample": job.sample,
        },
    )


def write_json(comparison: Comparison, path: os.PathLike) -> None:
    """Write everything but the pixels to a file, whole or not at all.

    Raises
    ------
    OutputError
    """
    files.write_json(path, comparison.to_dict())


def is_json(path: os.PathLike) -> bool:
    """Return whether `write_json` wrote a file."""
    try:
        with files.open_regular(path) as stream:
            return bool(_MARK.match(stream.read(_START)))
    except OSError:
        return False


@dataclass(frozen=True)
class _View:
    """One picture's map at one layer: its moments, and some of its positions as rows."""

    moments: mmd.Moments
    rows: numpy.ndarray


def _views(job):
    """Run the network on every picture.

    Returns
    -------
    views : dict of str to dict of str to _View
        By role and layer.
    found : dict of str to float
        The Gram loss of content and style at each layer, as the transfer computes it.
    """
    config, layers = job.config, job.config.style_layers
    device = _device(config)
    shared = vgg.parameters(weights.load(job.weights), layers, device)
    random, gram = numpy.random.RandomState(config.seed), losses.PolynomialMMD()
    views, targets, found = {}, {}, {}
    for role in ROLES:
        if role not in job.images:
            continue
        image = engine.array(job.images[role], device)
        network = vgg.Network(shared, layers, image.shape, config.pooling, gradient=False)
        maps = network.forward(image)
        if role == "style":
            targets = {layer: gram.target(maps[layer]) for layer in layers}
        elif role == "content":
            found = {layer: _gram_loss(gram, maps[layer], targets[layer]) for layer in layers}
        views[role] = {layer: _view(maps[layer], job.sample, random) for layer in layers}
    return views, found


def _gram_loss(loss, features, target):
    """Return Eq. 6 by the loss of the transfer, which counts each position."""
    _, _, height, width = features.shape
    return float(loss(features, target).value.asscalar()) / (height * width)


def _view(features, sample, random):
    rows = features.asnumpy().reshape(features.shape[1], -1).T.astype(numpy.float64)
    drawn = random.permutation(len(rows))[:sample]
    return _View(mmd.moments(rows), rows[drawn])


def _compared(name, views, loss, c):
    style, content = views["style"], views["content"]
    bandwidth = mmd.bandwidth(content.moments, style.moments)
    axes, share = _leading_axes(style.moments.gram)
    channels = len(style.moments.means)
    return Layer(
        name=name,
        channels=channels,
        positions={role: view.moments.positions for role, view in views.items()},
        sampled={role: len(view.rows) for role, view in views.items()},
        loss=loss,
        gram=mmd.gram_loss(content.moments, style.moments),
        sample_gram=mmd.gram_loss(mmd.moments(content.rows), mmd.moments(style.rows)),
        sample_pairs=mmd.by_pairs(mmd.polynomial_kernel(), content.rows, style.rows)
        / (4 * channels**2),
        bandwidth=bandwidth,
        mmd={
            role: _distances(view, style, bandwidth, c)
            for role, view in views.items()
            if role != "style"
        },
        axes={role: view.rows @ axes for role, view in views.items()},
        share=share,
    )


def _distances(view, style, bandwidth, c):
    """Return MMD² of a map to the style's by method, and for ``bn`` the distance of Eq. 11."""
    a, b = view.moments, style.moments
    found = {
        "linear": mmd.linear(a, b),
        "poly": mmd.polynomial(a, b, c),
        # One bandwidth for all pictures: values under different kernels cannot be compared.
        "gaussian": mmd.gaussian(view.rows, style.rows, bandwidth, (a.positions, b.positions)),
        "bn": mmd.bn_statistics(a, b),
    }
    return {method: found[method] for method in METHODS}


def _leading_axes(gram):
    """Return the two leading eigenvectors of a Gram matrix, (N, 2), and their part of its trace.

    These are principal axes about the origin: the kernel (x·y)² sees a map through its Gram
    matrix, which is not centred.
    """
    values, vectors = numpy.linalg.eigh(gram)
    axes = vectors[:, :-3:-1]
    # An eigenvector's sign is arbitrary; its largest part is made positive.
    largest = axes[abs(axes).argmax(axis=0), [0, 1]]
    return axes * numpy.sign(largest), float(values[-2:].sum() / max(values.sum(), 1e-300))


def _plain(layer):
    made = "made" in layer.mmd
    return {
        "layer": layer.name,
        "channels": layer.channels,
        "positions": layer.positions,
        "sampled": layer.sampled,
        "gram_loss": {
            "stylize": layer.loss,
            "gram": layer.gram,
            "sample_gram": layer.sample_gram,
            "sample_pairs": layer.sample_pairs,
            "stylize_apart": layer.loss_apart,
            "sample_apart": layer.sample_apart,
        },
        "bandwidth": layer.bandwidth,
        "mmd": layer.mmd,
        "left": {method: layer.left(method) for method in METHODS} if made else None,
    }


def _source(picture):
    return {"path": os.fspath(picture.path), "sha256": picture.sha256}
