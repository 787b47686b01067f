"""Many runs, in this process, in several or on a cluster: all are made that can be made."""

import contextlib
import functools
import os

from .. import files, images, weights
from ..config import INITS
from ..errors import NstError
from . import sidecar
from .maker import Finished, Maker, network_of
from .workers import Pool

__all__ = ["Finished", "make"]


def make(
    runs, *, refused=None, force=False, overwrite=False, jobs=1, submit=None, on_start=None,
    on_finished=None, on_stop=None,
):  # fmt: skip
    """Make every picture that does not exist yet; a run that fails does not stop the others.

    An interruption saves the images so far and ends the batch.

    Parameters
    ----------
    runs : sequence of plan.Run
    refused : dict of plan.Run to list of NstError, optional
        What `plan.check` returned. These runs fail, unless they are up to date.
    force : bool
        Also make those that exist and are up to date.
    overwrite : bool
        Whether files may be replaced that nst did not make.
    jobs : int
        How many processes; with one, the runs are made in this.
    submit : callable, optional
        Takes the place of processes: runs to an iterator of `Finished`.
    on_start : callable, optional
        Called with a run when it starts in this process; returns the observer of its steps.
    on_finished : callable, optional
        Called with each `Finished`: first those skipped or refused.
    on_stop : callable, optional
        Called when other processes are interrupted, which takes them a while.

    Returns
    -------
    list of Finished
        In the order of `runs`. Those that an interruption left out are missing.
    """
    results = {}

    def finish(finished):
        results[finished.run] = finished
        if on_finished:
            on_finished(finished)

    waiting = []
    is_made = _up_to_date()
    for run in runs:
        errors = (refused or {}).get(run)
        if not force and is_made(run):
            finish(Finished(run, "skipped", reason="up to date"))
        elif errors:
            finish(Finished(run, "failed", reason=str(errors[0])))
        else:
            waiting.append(run)
    waiting = _ordered(waiting)
    if submit:
        # Closed at once where the user interrupts, so that nothing goes on unseen.
        with contextlib.closing(submit(waiting)) as made:
            _each(made, finish)
    elif jobs > 1:
        _in_processes(Pool(waiting, jobs, overwrite), finish, on_stop)
    else:
        _each(_here(waiting, Maker(overwrite), on_start), finish)
    return [results[run] for run in runs if run in results]


def _each(made, finish):
    for finished in made:
        finish(finished)


def _here(runs, make_one, on_start):
    """Make runs in this process; yield what they come to, up to one that is interrupted."""
    for run in runs:
        finished = make_one(run, on_start(run) if on_start else None)
        yield finished
        if finished.state == "interrupted":
            return


def _in_processes(pool, finish, on_stop):
    with contextlib.closing(pool):
        try:
            _each(pool.finished(), finish)
        except KeyboardInterrupt:
            if on_stop:
                on_stop()
            _each(pool.stop(), finish)


def _up_to_date():
    """Return a function that tells of a run whether its picture needs no making."""
    picture_sum = functools.cache(files.sha256)

    @functools.cache
    def weights_sum(name):
        return weights.identity(weights.find(name or None))["sha256"]

    def is_made(run):
        if not os.path.exists(run.output):
            return False
        inputs = {"content": run.content, "style": run.style}
        if run.config.init not in INITS:
            inputs["init"] = run.config.init
        try:
            known = {name: picture_sum(path) for name, path in inputs.items()}
            known["weights"] = weights_sum(run.config.weights)
            return sidecar.is_made(run.output, run.config, known)
        # Whatever is wrong with it, the run itself will say.
        except (OSError, NstError):
            return False

    return is_made


def _ordered(runs):
    """Put those next to each other that share executors, and of these the ones of one style."""
    size_of = functools.cache(images.size_of)

    def key(run):
        config = run.config
        size = images.fit(size_of(run.content), config.size, run.content)
        # On a GPU a process can relax float32 and determinism, but never enforce them later.
        lax = config.precision != "float32", not config.deterministic
        return (
            *lax,
            *network_of(config),
            *size,
            run.style,
            config.style_fit,
            config.method,
            config.c,
        )

    # Pictures too elongated for a size fail in their turn.
    def safe_key(run):
        try:
            return (0, *map(str, key(run)))
        except NstError:
            return (1,)

    return sorted(runs, key=safe_key)
