"""Scores pictures: reads them, measures what they leave of every alignment, and ranks them."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

import numpy

from ... import __version__, files, images
from ...config import METHODS, Config
from ...errors import ImageError
from ...files import StrPath
from ...runs.inputs import read_inputs
from ...weights import Weights
from .measures import Left, Measures, measure, steps

#: Draws of each estimate, unless the caller gives another number.
DRAWS = 16

# The start of a file by `write_json`.
_MARK, _START = re.compile(rb'\{\s*"program": "nst",\s*"scores": '), 256

_BUILTIN_NOTE = (
    "The built-in filter bank stands in for the trained network; these numbers are of its "
    "features. nst weights fetch downloads VGG-19."
)


@dataclass(frozen=True)
class Job:
    """A scoring whose inputs have been read and whose output can be written.

    Attributes
    ----------
    config : Config
    content, style : numpy.ndarray
        Network input.
    pictures : tuple of numpy.ndarray
        Network inputs, shaped like `content`.
    sources : tuple of dict
        Path, SHA-256, width and height of the content, the style and each picture, as in the
        file.
    weights : Weights
    draws : int
    notes : tuple of str
        Notes for the user, one line each.
    """

    config: Config
    content: numpy.ndarray
    style: numpy.ndarray
    pictures: tuple[numpy.ndarray, ...]
    sources: tuple[dict[str, Any], ...]
    weights: Weights
    draws: int
    notes: tuple[str, ...]

    @property
    def steps(self) -> int:
        """How often `score` calls its `on_step`."""
        return steps(self.config, len(self.pictures))


@dataclass(frozen=True)
class Scored:
    """One picture's score.

    Attributes
    ----------
    source : dict
        Path, SHA-256, width and height of the file.
    left : dict of str to dict of str to Left
        What it leaves of each alignment, by method and style layer.
    content : dict of str to float or None
        Its content loss by content layer; see `Measures`.
    mean_rank : float or None
        Mean over methods and layers of its rank among the pictures, from 1. None if no alignment
        can be measured.
    rank : int or None
        Its rank by `mean_rank`.
    """

    source: dict[str, Any]
    left: dict[str, dict[str, Left]]
    content: dict[str, Optional[float]]
    mean_rank: Optional[float]
    rank: Optional[int]

    def mean(self, method: str) -> Left:
        """Return the mean over the layers of what is left of an alignment."""
        return mean_of(self.left[method].values())


@dataclass(frozen=True)
class Score:
    """The scores of some pictures by one content and style.

    Attributes
    ----------
    pictures : tuple of Scored
    content, style : dict
        Path, SHA-256, width and height of the file.
    size : (int, int)
        Height and width at which the pictures were compared.
    style_size : (int, int)
    config : Config
    draws : int
    weights : dict of str to str
    """

    pictures: tuple[Scored, ...]
    content: dict[str, Any]
    style: dict[str, Any]
    size: tuple[int, int]
    style_size: tuple[int, int]
    config: Config
    draws: int
    weights: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""
        config = self.config
        return {
            "program": "nst",
            "scores": [_plain(scored) for scored in self.pictures],
            "version": __version__,
            "content": self.content,
            "style": self.style,
            "width": self.size[1],
            "height": self.size[0],
            "style_width": self.style_size[1],
            "style_height": self.style_size[0],
            "methods": list(config.methods),
            "style_layers": list(config.style_layers),
            "content_layers": list(config.content_layers),
            "pooling": config.pooling,
            "seed": config.seed,
            "draws": self.draws,
            "weights": self.weights,
        }


def config_of(methods: Optional[Iterable[str]] = None, **choices: Any) -> Config:
    """Return the config of a scoring.

    Parameters
    ----------
    methods : iterable of str, optional
        By default all of `config.METHODS`.
    **choices
        Fields of `Config`.

    Raises
    ------
    ConfigError
        A method or a choice is not valid.
    """
    fusion = ",".join(f"{name}=1" for name in methods or METHODS)
    # Each method judges by its own loss, also where preset fast minimises another estimate of it.
    fixed = {"preset": "fast", "precision": "float32", "init": "content", "estimator": "pairs"}
    return Config(**{**choices, **fixed}, method=fusion)


def prepare(
    content: StrPath,
    style: StrPath,
    pictures: Sequence[StrPath],
    config: Config,
    *,
    draws: int = DRAWS,
    output: Optional[StrPath] = None,
    overwrite: bool = False,
) -> Job:
    """Read and check everything that a scoring needs, before the long work.

    Parameters
    ----------
    content, style : path-like
        Pictures.
    pictures : sequence of path-like
        The pictures to score. Those of another size than the content are resized to it.
    config : Config
        From `config_of`.
    draws : int
        Draws of each estimate at layers of few positions.
    output : path-like, optional
        File of `write_json`.
    overwrite : bool
        Whether `output` may be replaced if nst did not make it.

    Returns
    -------
    Job

    Raises
    ------
    ImageError, WeightsError, EngineError
        An input cannot be used.
    OutputError
        The output cannot be written, or would overwrite an input or a file that nst did not make.
    """
    weights = Weights.find(config.weights)
    if output:
        inputs = [content, style, *pictures, *([weights.path] if weights.path else [])]
        files.check_output(output, inputs, overwrite=overwrite, ours=is_json)
    # One method is measured at a time.
    start = read_inputs(content, style, replace(config, method="gaussian"))
    if start.content.shape == start.style.shape and (start.content == start.style).all():
        raise ImageError(
            f"Cannot score by {os.fspath(style)}: it shows the same as the content, so no "
            "alignment has anything left; choose another style."
        )
    content_picture, style_picture = (start.pictures[role] for role in ("content", "style"))
    size = start.content.shape[2:]
    scored = [
        images.read(path, long_edge=max(size), max_pixels=config.max_pixels) for path in pictures
    ]
    job = Job(
        config=config,
        content=start.content,
        style=start.style,
        pictures=tuple(images.to_input(images.resize(one.pixels, size)) for one in scored),
        sources=tuple(map(_source, (content_picture, style_picture, *scored))),
        weights=weights,
        draws=draws,
        notes=(
            *_size_notes(scored, content_picture, size),
            *((_BUILTIN_NOTE,) * (not weights.path)),
        ),
    )
    weights.load()
    return job


def score(job: Job, on_step: Optional[Callable[[], object]] = None) -> Score:
    """Measure and rank the pictures of a job.

    Parameters
    ----------
    job : Job
    on_step : callable, optional
        Called `job.steps` times.

    Returns
    -------
    Score
    """
    measures = measure(
        job.content, job.style, job.pictures, job.config, job.weights, job.draws, on_step
    )
    content, style, *sources = job.sources
    _, _, height, width = job.content.shape
    _, _, style_height, style_width = job.style.shape
    means = _mean_ranks(measures)
    pictures = [
        Scored(source, one.left, one.content, mean, _place(mean, means))
        for source, one, mean in zip(sources, measures, means)
    ]
    return Score(
        pictures=tuple(pictures),
        content=content,
        style=style,
        size=(height, width),
        style_size=(style_height, style_width),
        config=job.config,
        draws=job.draws,
        weights=job.weights.identity(),
    )


def mean_of(lefts: Iterable[Left]) -> Left:
    """Return the mean of several `Left`, leaving out those without a value."""
    known = [(left.value, left.error) for left in lefts if left.value is not None]
    if not known:
        return Left(None, None)
    value = sum(value for value, _ in known) / len(known)
    errors = [error for _, error in known if error is not None]
    if not errors:
        return Left(value, None)
    return Left(value, sum(error**2 for error in errors) ** 0.5 / len(known))


def write_json(score: Score, path: StrPath) -> None:
    """Write a score to a file, whole or not at all.

    Raises
    ------
    OutputError
    """
    files.write_json(path, score.to_dict())


def is_json(path: StrPath) -> bool:
    """Return whether `write_json` wrote a file."""
    try:
        with files.open_regular(path) as stream:
            return bool(_MARK.match(stream.read(_START)))
    except OSError:
        return False


def _source(picture: images.Picture) -> dict[str, Any]:
    height, width = picture.pixels.shape[:2]
    path = os.fspath(picture.path)
    return {"path": path, "sha256": picture.sha256, "width": width, "height": height}


def _size_notes(
    pictures: Iterable[images.Picture], content: images.Picture, size: tuple[int, int]
) -> list[str]:
    """Return a note that names the pictures of other sizes than the content, if there are any."""
    usual = size, content.pixels.shape[:2]
    names = [
        f"{picture.path} ({picture.pixels.shape[1]} x {picture.pixels.shape[0]})"
        for picture in pictures
        if picture.pixels.shape[:2] not in usual
    ]
    if not names:
        return []
    return [f"Resized to the content's {size[1]} x {size[0]} pixels: {', '.join(names)}."]


def _mean_ranks(measures: Sequence[Measures]) -> list[Optional[float]]:
    """Return the mean over methods and layers of each picture's rank."""
    cells = [[left for by_layer in one.left.values() for left in by_layer.values()]
             for one in measures]  # fmt: skip
    ranks: list[list[float]] = [[] for _ in measures]
    for cell in zip(*cells):
        values = [left.value for left in cell]
        for of_picture, value in zip(ranks, values):
            if value is not None:
                of_picture.append(_rank(value, [other for other in values if other is not None]))
    return [sum(many) / len(many) if many else None for many in ranks]


def _rank(value: float, values: Sequence[float]) -> float:
    """Return the rank of one of the values, from 1 for the lowest; equal ones share theirs."""
    lower = sum(other < value for other in values)
    return lower + (1 + values.count(value)) / 2


def _place(mean: Optional[float], means: Sequence[Optional[float]]) -> Optional[int]:
    if mean is None:
        return None
    return 1 + sum(other < mean for other in means if other is not None)


def _plain(scored: Scored) -> dict[str, Any]:
    return {
        **scored.source,
        "rank": scored.rank,
        "mean_rank": scored.mean_rank,
        "content_loss": scored.content,
        "left": {
            method: {
                layer: {"value": left.value, "standard_error": left.error}
                for layer, left in by_layer.items()
            }
            for method, by_layer in scored.left.items()
        },
    }
