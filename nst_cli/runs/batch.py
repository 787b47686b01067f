"""Makes many runs in this process, in several, or on a cluster; a failed run stops no other."""

import contextlib
import functools
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional

from .. import files, images
from ..errors import NstError
from ..weights import Weights
from . import keeping, sidecar, sizes
from .keeping import Every
from .maker import Finished, Maker, Observer, network_of
from .plan import Run
from .workers import Pool

__all__ = ["Finished", "make"]


def make(
    runs: Sequence[Run],
    *,
    refused: Optional[Mapping[Run, Sequence[NstError]]] = None,
    force: bool = False,
    overwrite: bool = False,
    jobs: int = 1,
    submit: Optional[Callable[[Sequence[Run]], Generator[Finished, None, None]]] = None,
    on_start: Optional[Callable[[Run], Observer]] = None,
    on_finished: Optional[Callable[[Finished], object]] = None,
    on_stop: Optional[Callable[[], object]] = None,
    find_weights: Callable[[str], Weights] = Weights.find,
    checkpoint: Every = "off",
) -> list[Finished]:
    """Make every picture that is missing or out of date.

    A run that fails does not stop the others. An interruption saves the images so far and ends
    the batch.

    Parameters
    ----------
    runs : sequence of plan.Run
    refused : dict of plan.Run to list of NstError, optional
        The result of `precheck.check`. These runs fail, unless they are up to date.
    force : bool
        Also make pictures that are up to date.
    overwrite : bool
        Allow replacing files that nst did not make.
    jobs : int
        Number of processes; 1 makes the runs in this process.
    submit : callable, optional
        Replaces the processes: takes the runs and returns an iterator of `Finished`.
    on_start : callable, optional
        Called with each run that starts in this process; returns the observer of its steps.
    on_finished : callable, optional
        Called with each `Finished`, beginning with skipped and refused runs.
    on_stop : callable, optional
        Called before worker processes are interrupted, which takes a while.
    find_weights : callable, optional
        Finds the weights that a config names. Each worker process finds its own.
    checkpoint : str or float
        When to write checkpoints, as for `keeping.Keeper`; a run goes on from the one it left.
        Processes that `submit` uses write none.

    Returns
    -------
    list of Finished
        In the order of `runs`, without those that an interruption prevented.
    """
    results: dict[Run, Finished] = {}

    def finish(finished: Finished) -> None:
        results[finished.run] = finished
        if on_finished:
            on_finished(finished)

    waiting = []
    find_weights = functools.cache(find_weights)
    is_up_to_date = _up_to_date_check(find_weights)
    for run in runs:
        errors = (refused or {}).get(run)
        if not force and is_up_to_date(run):
            keeping.remove_finished(run.output)
            finish(Finished(run, "skipped", reason="up to date"))
        elif errors:
            finish(Finished(run, "failed", reason=str(errors[0])))
        else:
            waiting.append(run)
    waiting = _ordered(waiting)
    if submit:
        # Closed explicitly, so that an interruption also ends the work at the cluster.
        with contextlib.closing(submit(waiting)) as submission:
            _finish_all(submission, finish)
    elif jobs > 1:
        _make_in_processes(Pool(waiting, jobs, overwrite, checkpoint), finish, on_stop)
    else:
        maker = Maker(overwrite, find_weights, checkpoint)
        _finish_all(_make_here(waiting, maker, on_start), finish)
    return [results[run] for run in runs if run in results]


def _finish_all(finished_runs: Iterable[Finished], finish: Callable[[Finished], None]) -> None:
    for finished in finished_runs:
        finish(finished)


def _make_here(
    runs: Iterable[Run], make_one: Maker, on_start: Optional[Callable[[Run], Observer]]
) -> Iterator[Finished]:
    """Make runs in this process; yield how each ended, up to one that is interrupted."""
    for run in runs:
        finished = make_one(run, on_start(run) if on_start else None)
        yield finished
        if finished.state == "interrupted":
            return


def _make_in_processes(
    pool: Pool,
    finish: Callable[[Finished], None],
    on_stop: Optional[Callable[[], object]],
) -> None:
    with contextlib.closing(pool):
        try:
            _finish_all(pool.finished(), finish)
        except KeyboardInterrupt:
            if on_stop:
                on_stop()
            _finish_all(pool.stop(), finish)


def _up_to_date_check(find_weights: Callable[[str], Weights]) -> Callable[[Run], bool]:
    """Return a function of a run: whether its picture exists and is up to date."""
    picture_checksum = functools.cache(files.sha256)

    def is_up_to_date(run: Run) -> bool:
        if not os.path.exists(run.output):
            return False
        try:
            checksums = sidecar.checksums_of(run.record(picture_checksum))
            checksums["weights"] = find_weights(run.config.weights).sha256
            return sidecar.is_up_to_date(run.output, run.config, checksums)
        # The run itself reports what is wrong.
        except (OSError, NstError):
            return False

    return is_up_to_date


def _ordered(runs: Iterable[Run]) -> list[Run]:
    """Sort runs so that those that share executors are adjacent, and within these, styles."""
    size_of = functools.cache(images.size_of)

    def key(run: Run) -> tuple[Any, ...]:
        config = run.config
        size = sizes.finished_size(size_of(run.content), config, run.content)
        # On a GPU, float32 and deterministic mode can be relaxed later in a process but never
        # enabled, so strict runs come first.
        return (
            config.precision != "float32",
            not config.deterministic,
            *network_of(config),
            *size,
            run.styles,
            config.style_fit,
            config.keep_colors,
            config.method,
            config.c,
        )

    # Runs whose size cannot be computed come last, and fail there.
    def safe_key(run: Run) -> tuple[Any, ...]:
        try:
            return (0, *map(str, key(run)))
        except NstError:
            return (1,)

    return sorted(runs, key=safe_key)
