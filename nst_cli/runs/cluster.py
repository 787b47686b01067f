"""A batch on the workers of a Dask cluster: pictures travel as bytes, the caller writes."""

import collections
import contextlib
import functools
import os
import socket
import tempfile
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from .. import files, images, weights
from ..config import INITS, Config
from ..errors import (
    BatchError,
    EngineError,
    NonFiniteError,
    NstError,
    OutputError,
    WeightsError,
    reason,
)
from . import runner, sidecar
from .inputs import fitted
from .log import Log
from .maker import Finished

_PATIENCE = 10
# Runs that wait at the cluster for each thread of its workers.
_AHEAD = 2
# A worker that is lost takes pictures with it. A run that needs them is sent again.
_ATTEMPTS = 3

# A worker's threads take turns: MXNet uses all cores for one run.
_turn = threading.Lock()


class Parcel(NamedTuple):
    """A run on its way to a worker.

    Attributes
    ----------
    pictures : dict of str to (str, bytes)
        The caller's path and the file, of content, style and, where it is one, init.
    config : Config
    ending : str
        Of the picture to be made.
    weights : str
        SHA-256 of the weights that the caller would use.
    """

    pictures: Any
    config: Config
    ending: str
    weights: str


class Made(NamedTuple):
    """What a worker made.

    Attributes
    ----------
    picture, log : bytes
        The files.
    document : dict
        What the sidecar says, paths as the worker has them.
    error : str
        Why the run failed although there is a picture; empty if it did not.
    """

    picture: bytes
    log: bytes
    document: Any
    error: str = ""


@contextlib.contextmanager
def connected(address: str):
    """Yield what `batch.make` takes as `submit`, while a connection to a scheduler is held.

    Parameters
    ----------
    address : str
        Of the scheduler, ``tcp://host:8786``.

    Raises
    ------
    EngineError
        Dask is not installed.
    BatchError
        No scheduler answers there, or it has no workers.
    """
    try:
        import distributed
    except ImportError as error:
        raise EngineError(
            "--dask needs Dask: install it with pip install 'nst-cli[cluster]'."
        ) from error
    try:
        # Dask tries an address that refuses for as long as it waits for one that is slow.
        _, place = distributed.comm.parse_address(distributed.comm.resolve_address(address))
        socket.create_connection(distributed.comm.parse_host_port(place), _PATIENCE).close()
        client = distributed.Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise BatchError(
            f"No Dask scheduler answers at {address}: start one with dask scheduler, and workers "
            "with dask worker."
        ) from error
    with client:
        if not client.nthreads():
            raise BatchError(
                f"The Dask scheduler at {address} has no workers: start some with dask worker "
                f"{address}."
            )
        yield lambda runs: _Submission(client, runs).finished()


class _Submission:
    """The runs of one batch at a cluster: some ahead of the workers, each picture sent once."""

    def __init__(self, client, runs):
        self._client, self._waiting = client, collections.deque(runs)
        # Names of its own, because another caller may be at the same cluster.
        self._name, self._submitted = f"nst-{uuid.uuid4().hex}", 0
        self._attempts, self._running = collections.Counter(), {}
        # Pictures at the cluster, by SHA-256, each with the paths that it has here.
        self._pictures, self._sums = {}, functools.cache(_picture_sum)
        self._weights_sum = functools.cache(_weights_sum)
        self._needed = collections.Counter(
            path for run in runs for path in set(_pictures_of(run).values())
        )

    def finished(self) -> Iterator[Finished]:
        """Yield what the runs come to, as it becomes known."""
        import distributed

        answers = distributed.as_completed(loop=self._client.loop)
        try:
            yield from self._fill(answers)
            while self._running:
                future = next(answers)
                run = self._running.pop(future)
                if future.cancelled() and self._attempts[run] < _ATTEMPTS:
                    self._send_again(run)
                else:
                    yield _received(run, future)
                    self._release(run)
                yield from self._fill(answers)
        finally:
            self._client.cancel(list(self._running))

    def _fill(self, answers):
        """Submit runs until enough are ahead; yield those that cannot be submitted."""
        while self._waiting and len(self._running) < self._window():
            run = self._waiting.popleft()
            try:
                future = self._submit(run)
            except NstError as error:
                yield Finished(run, "failed", reason=str(error))
                self._release(run)
            # Dask has many kinds of error for a scheduler that is gone.
            except Exception as error:  # noqa: BLE001
                why = f"the Dask scheduler does not take it: {reason(error)}"
                yield Finished(run, "failed", reason=why)
            else:
                self._running[future] = run
                answers.add(future)

    def _window(self):
        with contextlib.suppress(Exception):
            return max(_AHEAD, _AHEAD * sum(self._client.nthreads().values()))
        return _AHEAD

    def _submit(self, run):
        self._attempts[run] += 1
        self._submitted += 1
        paths = _pictures_of(run)
        parcel = Parcel(
            {name: (path, None) for name, path in paths.items()},
            run.config,
            os.path.splitext(run.output)[1],
            self._weights_sum(run.config.weights),
        )
        contents = {name: self._picture(path) for name, path in paths.items()}
        key = f"{self._name}-{self._submitted}"
        return self._client.submit(_work_on, parcel, key=key, pure=False, **contents)

    def _picture(self, path):
        """Return the content of a picture as it lies at the cluster, sent there if it does not."""
        checksum = self._sums(path)
        if checksum not in self._pictures:
            key = f"{self._name}-{checksum}-{self._submitted}"
            self._pictures[checksum] = self._client.scatter({key: _content(path)})[key], set()
        picture, paths = self._pictures[checksum]
        paths.add(path)
        return picture

    def _send_again(self, run):
        """Have a run sent again, with its pictures, which a lost worker took with it."""
        self._waiting.appendleft(run)
        for path in _pictures_of(run).values():
            picture, _ = self._pictures.get(self._sums(path), (None, None))
            if picture is not None and picture.cancelled():
                del self._pictures[self._sums(path)]

    def _release(self, run):
        """Let the cluster forget the pictures that no other run needs."""
        for path in set(_pictures_of(run).values()):
            self._needed[path] -= 1
            if not self._needed[path]:
                for checksum, (_, paths) in list(self._pictures.items()):
                    paths.discard(path)
                    if not paths:
                        del self._pictures[checksum]


def _pictures_of(run):
    paths = {"content": run.content, "style": run.style, "init": run.config.init}
    return {name: path for name, path in paths.items() if name != "init" or path not in INITS}


def _content(path):
    try:
        with files.open_regular(path) as stream:
            return stream.read()
    except OSError as error:
        raise BatchError(f"Cannot read {path}: {reason(error)}.") from error


def _picture_sum(path):
    try:
        return files.sha256(path)
    except OSError as error:
        raise BatchError(f"Cannot read {path}: {reason(error)}.") from error


def _weights_sum(name):
    return weights.identity(weights.find(name or None))["sha256"]


def _work_on(parcel, **contents):
    """Make a picture of a parcel whose pictures came apart from it."""
    pictures = {name: (path, contents[name]) for name, (path, _) in parcel.pictures.items()}
    return work(parcel._replace(pictures=pictures))


def work(parcel: Parcel) -> Made:
    """Make a picture on a worker.

    Raises
    ------
    NstError
        There is no picture.
    """
    with _turn, tempfile.TemporaryDirectory() as folder:
        pictures = {}
        for name, (path, content) in parcel.pictures.items():
            place = Path(folder, f"{name}{Path(path).suffix}")
            place.write_bytes(content)
            pictures[name] = replace(images.read(place), path=path)
        output = os.path.join(folder, f"out{parcel.ending}")
        inputs = fitted(pictures, parcel.config)
        job = runner.assemble(inputs, output, parcel.config)
        used = job.provenance["weights"]
        if used["sha256"] != parcel.weights:
            raise WeightsError(
                f"The worker's weights {used['source']} differ from those of the caller."
            )
        error = ""
        with Log(sidecar.log_of(output)) as lines:
            try:
                runner.run(job, on_step=lines.write)
            except NonFiniteError as failure:
                if not os.path.exists(output):
                    raise
                error = str(failure)
        if lines.error:
            raise OutputError(f"The worker's log is not complete: {lines.error.strerror}.")
        picture, log = (Path(path).read_bytes() for path in (output, sidecar.log_of(output)))
        return Made(picture, log, sidecar.read(output).document, error)


def _received(run, future):
    """Write what a worker made; return what the run has come to."""
    import distributed

    try:
        made = future.result()
    except NstError as error:
        return Finished(run, "failed", reason=str(error))
    except distributed.KilledWorker:
        return Finished(
            run, "failed", reason="it took several workers down; do they have enough memory?"
        )
    except Exception as error:  # noqa: BLE001
        # A bug, or a worker without nst: either way the other runs go on.
        return Finished(run, "failed", reason=f"{type(error).__name__}: {reason(error)}")
    try:
        _write(run, made)
    except NstError as error:
        return Finished(run, "failed", reason=str(error))
    except OSError as error:
        return Finished(run, "failed", reason=f"Cannot write {run.output}: {reason(error)}.")
    if made.error:
        why = f"{made.error} The last good image is in {run.output}."
        return Finished(run, "failed", reason=why)
    return Finished(run, "done")


def _write(run, made):
    """Write what a worker made, the sidecar last: a picture without one is made again."""
    for path, content in ((run.output, made.picture), (sidecar.log_of(run.output), made.log)):
        with files.replacing(path) as temporary:
            Path(temporary).write_bytes(content)
    document = dict(made.document)
    for name, path in _pictures_of(run).items():
        document[name] = {**document[name], "path": path}
    source = os.fspath(weights.find(run.config.weights or None))
    document["weights"] = {**document["weights"], "source": source}
    sidecar.write(run.output, document)
