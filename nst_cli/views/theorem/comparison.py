"""Compares the feature maps of pictures at each style layer: the numbers of the theorem."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

import numpy

from ... import __version__, engine, files, images
from ...config import INITS, PAPER_METHODS, Config
from ...files import StrPath
from ...runs.inputs import read_inputs
from ...synthesis import losses, vgg
from ...weights import Weights
from . import mmd

#: The roles of the pictures compared, in the order in which their positions are sampled.
ROLES = ("style", "content", "made")

# The start of a file by `write_json`.
_MARK, _START = re.compile(rb'\{\s*"program": "nst",\s*"version": '), 256

_BUILTIN_NOTE = (
    "The built-in filter bank stands in for the trained network; these numbers are of its "
    "features. nst weights fetch downloads VGG-19."
)


@dataclass(frozen=True)
class Job:
    """A comparison whose inputs have been read and whose outputs can be written.

    Attributes
    ----------
    config : Config
    images : dict of str to numpy.ndarray
        Network input by role (`ROLES`).
    sources : dict of str to dict
        Path and SHA-256 of each picture, by role.
    weights : Weights
    sample : int
        Most positions to sample from a map.
    notes : tuple of str
        Notes for the user, one line each.
    """

    config: Config
    images: dict[str, numpy.ndarray]
    sources: dict[str, dict[str, Any]]
    weights: Weights
    sample: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Layer:
    """The numbers at one layer.

    Attributes
    ----------
    name : str
    channels : int
        N.
    positions, sampled : dict of str to int
        Number of positions of each picture's map, and how many were sampled.
    loss : float
        Gram loss (Eq. 6) of content and style by `losses.PolynomialMMD`, in float32.
    gram : float
        The same from both Gram matrices, in float64.
    sample_gram, sample_pairs : float
        The same on the sampled positions: from Gram matrices, and by the double sum (Eq. 8).
    bandwidth : float
        2σ² of the Gaussian kernel, measured on content and style.
    mmd : dict of str to dict of str to float
        MMD² to the style, by role and method; for ``bn`` the distance of Eq. 11.
    axes : dict of str to numpy.ndarray
        Sampled positions of each picture, (m, 2), projected on the style's two leading axes.
    share : float
        Share of the style's mean square on these two axes.
    """

    name: str
    channels: int
    positions: dict[str, int]
    sampled: dict[str, int]
    loss: float
    gram: float
    sample_gram: float
    sample_pairs: float
    bandwidth: float
    mmd: dict[str, dict[str, float]]
    axes: dict[str, numpy.ndarray]
    share: float

    @property
    def loss_difference(self) -> Optional[float]:
        """Relative difference of `loss` and `gram`; None if the two maps are identical."""
        return self._relative(abs(self.loss - self.gram), self.gram)

    @property
    def sample_difference(self) -> Optional[float]:
        """Relative difference of `sample_pairs` and `sample_gram`; None if the maps are equal."""
        return self._relative(abs(self.sample_pairs - self.sample_gram), self.sample_gram)

    def left(self, method: str) -> Optional[float]:
        """Return the made picture's MMD² over the content's; None if the content's is 0."""
        return self._relative(self.mmd["made"][method], self.mmd["content"][method])

    def _relative(self, value: float, reference: float) -> Optional[float]:
        # If content and style are the same picture, `reference` is 0 or nothing but rounding.
        return value / reference if self.gram and reference else None


@dataclass(frozen=True)
class Comparison:
    """Content, style and possibly a picture made from them, compared at each style layer.

    Attributes
    ----------
    layers : tuple of Layer
    sources : dict of str to dict
        Path, SHA-256 and size of each picture, by role.
    pixels : dict of str to numpy.ndarray
        Each picture at the size compared, (H, W, 3), uint8.
    c : float
        Constant of the polynomial kernel.
    provenance : dict
        Program, version, config, weights and sample size behind these numbers.
    """

    layers: tuple[Layer, ...]
    sources: dict[str, dict[str, Any]]
    pixels: dict[str, numpy.ndarray]
    c: float
    provenance: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return everything except pixels and positions as plain data for JSON."""
        layers = [_plain(layer) for layer in self.layers]
        return {**self.provenance, "pictures": self.sources, "layers": layers}


def prepare(
    content: StrPath,
    style: StrPath,
    config: Config,
    *,
    picture: Optional[StrPath] = None,
    sample: int,
    outputs: Sequence[tuple[StrPath, Callable[[StrPath], bool]]] = (),
    overwrite: bool = False,
) -> Job:
    """Read and check everything that a comparison needs, before the long work.

    Parameters
    ----------
    content, style : path-like
        Pictures.
    config : Config
    picture : path-like, optional
        A picture made from the two.
    sample : int
        Most positions to sample from a map; at least 2.
    outputs : sequence of (path-like, callable)
        Files that the caller will write, each with a function that returns whether nst wrote it.
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
    weights = Weights.find(config.weights)
    paths = [content, style]
    paths += [picture] if picture else []
    paths += [config.init] if config.init not in INITS else []
    paths += [weights.path] if weights.path else []
    for output, ours in outputs:
        files.check_output(output, paths, overwrite=overwrite, ours=ours)
        paths.append(output)
    inputs = read_inputs(content, style, config)
    job = Job(
        config=config,
        images={"style": inputs.style, "content": inputs.content},
        sources={role: _source(inputs.pictures[role]) for role in ("style", "content")},
        weights=weights,
        sample=sample,
        notes=(_BUILTIN_NOTE,) * (not weights.path),
    )
    if picture:
        job = _with_picture(job, images.read(picture, max_pixels=config.max_pixels))
    weights.load()
    _device(config)
    return job


def _with_picture(job: Job, picture: images.Picture) -> Job:
    """Return the job with the made picture, at the size of the comparison."""
    shape = picture.pixels.shape
    size = images.fit(shape, max(job.images["content"].shape[2:]), picture.path)
    if size != shape[:2]:
        note = (
            f"{picture.path} has {shape[1]} x {shape[0]} pixels and is compared at "
            f"{size[1]} x {size[0]}; --size {max(shape[:2])} leaves it as it is."
        )
        job = replace(job, notes=(*job.notes, note))
    # Like the authors' code, preset `paper` scales pixels to 256 on input but not back on output.
    # A picture that it wrote is therefore already the network's image and is not scaled again.
    image = images.to_input(images.resize(picture.pixels, size))
    return replace(
        job,
        images={**job.images, "made": image},
        sources={**job.sources, "made": _source(picture)},
    )


def _device(config: Config) -> Any:
    # Always float32, so that differences between pictures are not hidden by rounding. On a GPU
    # this setting then holds for the whole process.
    return engine.context(config.device, deterministic=config.deterministic)


def compare(job: Job, on_layer: Optional[Callable[[Layer], object]] = None) -> Comparison:
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
    config = job.config
    layers: list[Layer] = []
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
            "weights": job.weights.identity(),
            "sample": job.sample,
        },
    )


def write_json(comparison: Comparison, path: StrPath) -> None:
    """Write everything except the pixels to a file, whole or not at all.

    Raises
    ------
    OutputError
    """
    files.write_json(path, comparison.to_dict())


def is_json(path: StrPath) -> bool:
    """Return whether `write_json` wrote a file."""
    try:
        with files.open_regular(path) as stream:
            return bool(_MARK.match(stream.read(_START)))
    except OSError:
        return False


@dataclass(frozen=True)
class _View:
    """One picture's map at one layer: its moments, and a sample of its positions as rows."""

    moments: mmd.Moments
    rows: numpy.ndarray


def _views(job: Job) -> tuple[dict[str, dict[str, _View]], dict[str, float]]:
    """Run the network on every picture.

    Returns
    -------
    views : dict of str to dict of str to _View
        By role and layer.
    gram_losses : dict of str to float
        Gram loss of content and style at each layer, as the transfer computes it.
    """
    config, layers = job.config, job.config.style_layers
    device = _device(config)
    shared = vgg.parameters(job.weights.load(), layers, device)
    random, gram = numpy.random.RandomState(config.seed), losses.PolynomialMMD()
    views: dict[str, dict[str, _View]] = {}
    targets: dict[str, Any] = {}
    gram_losses: dict[str, float] = {}
    for role in ROLES:
        if role not in job.images:
            continue
        image = engine.array(job.images[role], device)
        network = vgg.Network(shared, layers, image.shape, config.pooling, gradient=False)
        maps = network.forward(image)
        if role == "style":
            targets = {layer: gram.target(maps[layer]) for layer in layers}
        elif role == "content":
            gram_losses = {
                layer: _gram_loss(gram, maps[layer], targets[layer]) for layer in layers
            }
        views[role] = {layer: _view(maps[layer], job.sample, random) for layer in layers}
    return views, gram_losses


def _gram_loss(loss: losses.PolynomialMMD, features: Any, target: Any) -> float:
    """Return Eq. 6 from the transfer's loss, which is larger by the number of positions."""
    _, _, height, width = features.shape
    return float(loss(features, target).value.asscalar()) / (height * width)


def _view(features: Any, sample: int, random: numpy.random.RandomState) -> _View:
    rows = features.asnumpy().reshape(features.shape[1], -1).T.astype(numpy.float64)
    chosen = random.permutation(len(rows))[:sample]
    return _View(mmd.moments(rows), rows[chosen])


def _compared(name: str, views: dict[str, _View], loss: float, c: float) -> Layer:
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


def _distances(view: _View, style: _View, bandwidth: float, c: float) -> dict[str, float]:
    """Return a map's MMD² to the style's by method; for ``bn`` the distance of Eq. 11."""
    a, b = view.moments, style.moments
    distances = {
        "linear": mmd.linear(a, b),
        "poly": mmd.polynomial(a, b, c),
        # The same bandwidth for all pictures: values of different kernels are not comparable.
        "gaussian": mmd.gaussian(view.rows, style.rows, bandwidth, (a.positions, b.positions)),
        "bn": mmd.bn_statistics(a, b),
    }
    return {method: distances[method] for method in PAPER_METHODS}


def _leading_axes(gram: numpy.ndarray) -> tuple[numpy.ndarray, float]:
    """Return the two leading eigenvectors of a Gram matrix, (N, 2), and their share of its trace.

    These are principal axes about the origin, not about the mean: the kernel (x·y)² depends on
    the Gram matrix, which is not centred.
    """
    values, vectors = numpy.linalg.eigh(gram)
    axes = vectors[:, :-3:-1]
    # An eigenvector's sign is arbitrary: make its largest component positive.
    largest = axes[abs(axes).argmax(axis=0), [0, 1]]
    return axes * numpy.sign(largest), float(values[-2:].sum() / max(values.sum(), 1e-300))


def _plain(layer: Layer) -> dict[str, Any]:
    has_made = "made" in layer.mmd
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
            "stylize_apart": layer.loss_difference,
            "sample_apart": layer.sample_difference,
        },
        "bandwidth": layer.bandwidth,
        "mmd": layer.mmd,
        "left": {method: layer.left(method) for method in PAPER_METHODS} if has_made else None,
    }


def _source(picture: images.Picture) -> dict[str, Any]:
    return {"path": os.fspath(picture.path), "sha256": picture.sha256}
