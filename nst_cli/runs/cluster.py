"""Makes a batch on a Dask cluster: pictures are sent as bytes, only the caller writes files."""

import collections
import contextlib
import functools
import logging
import os
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Optional

from .. import files, plugins
from ..config import INITS, Config
from ..errors import (
    BatchError,
    EngineError,
    NonFiniteError,
    NstError,
    OutputError,
    PluginError,
    WeightsError,
    reason,
)
from ..weights import Weights
from . import claims, runner, sidecar
from .inputs import read_inputs
from .log import Log
from .maker import Finished
from .plan import Run
from .styles import Style, methods_of, moved

# Seconds to wait for the scheduler.
_TIMEOUT = 10
# Seconds to wait for a scheduler that has died, and between two attempts to reach it.
_RECONNECT_TIMEOUT, _RECONNECT_PAUSE = 60, 1
# Submitted runs per thread of the workers, so that no thread waits for the caller.
_RUNS_PER_THREAD = 2
# A lost worker may have had the only copy of a picture; then the run is submitted again.
_ATTEMPTS = 3

# A worker's threads make one run at a time, because MXNet uses all cores for it.
_one_run = threading.Lock()


class Parcel(NamedTuple):
    """A run as it is sent to a worker.

    Attributes
    ----------
    pictures : dict of str to (str, bytes)
        The caller's path and the file's content, by role as in `Run.pictures`.
    styles : tuple of Style
        With the caller's paths.
    config : Config
    ending : str
        Ending of the picture to make.
    weights : str
        SHA-256 of the weights that the caller would use.
    plugins : dict of str to dict
        The caller's packages of methods; see `plugins.record`.
    """

    pictures: Mapping[str, tuple[str, bytes]]
    styles: tuple[Style, ...]
    config: Config
    ending: str
    weights: str
    plugins: Mapping[str, Mapping[str, str]]


class WorkerResult(NamedTuple):
    """The files that a worker made.

    Attributes
    ----------
    picture, log : bytes
        Content of the files.
    document : dict
        Content of the sidecar, with the caller's paths but those of the weights.
    error : str
        Why the run failed after some steps; empty if it did not fail.
    """

    picture: bytes
    log: bytes
    document: dict[str, Any]
    error: str = ""


@contextlib.contextmanager
def connected(
    address: str,
) -> Iterator[Callable[[Sequence[Run]], Generator[Finished, None, None]]]:
    """Connect to a scheduler; yield the function that `batch.make` takes as `submit`.

    Parameters
    ----------
    address : str
        Address of the scheduler, such as ``tcp://host:8786``.

    Raises
    ------
    EngineError
        Dask is not installed.
    BatchError
        No scheduler answers at the address, or it has no workers.
    """
    try:
        import distributed
    except ImportError as error:
        raise EngineError(
            "--dask needs Dask: install it with pip install 'nst-cli[cluster]'."
        ) from error
    try:
        # Dask itself would go on trying an address that refuses the connection.
        _, location = distributed.comm.parse_address(distributed.comm.resolve_address(address))
        socket.create_connection(distributed.comm.parse_host_port(location), _TIMEOUT).close()
        client = _client_of(address)
    except (OSError, ValueError) as error:
        raise BatchError(
            f"No Dask scheduler answers at {address}: start one with dask scheduler, and workers "
            "with dask worker."
        ) from error
    # Dask would print tracebacks of its own if the scheduler dies.
    with contextlib.ExitStack() as stack:
        for name in ("distributed", "distributed.client"):
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        stack.callback(_close, client)
        if not client.nthreads():
            raise BatchError(
                f"The Dask scheduler at {address} has no workers: start some with dask worker "
                f"{address}."
            )

        def connect() -> Any:
            again = _client_of(address)
            stack.callback(_close, again)
            return again

        yield lambda runs: _Submission(client, runs, connect).finished()


def _client_of(address: str) -> Any:
    import distributed

    return distributed.Client(address, timeout=_TIMEOUT, set_as_default=False)


def _close(client: Any) -> None:
    # A client whose scheduler has died may raise many kinds of errors.
    with contextlib.suppress(Exception):
        client.close()


class _LostError(Exception):
    """The scheduler has died."""


class _Submission:
    """The runs of one batch at a cluster; a few are submitted ahead, each picture is sent once.

    If the scheduler dies and comes back, the runs that it had are submitted again.
    """

    def __init__(
        self, client: Any, runs: Sequence[Run], connect: Optional[Callable[[], Any]] = None
    ):
        self._client, self._waiting = client, collections.deque(runs)
        self._connect = connect
        # A unique name, because other callers may use the same cluster.
        self._name, self._submitted = f"nst-{uuid.uuid4().hex}", 0
        self._attempts: collections.Counter[Run] = collections.Counter()
        self._running: dict[Any, Run] = {}
        # The claims of runs that were submitted and have not ended.
        self._claims: dict[Run, contextlib.ExitStack] = {}
        # The files of these runs that may be replaced, as `runner.Job.existing`.
        self._existing: dict[Run, dict[str, Any]] = {}
        # Pictures at the cluster: SHA-256 to the Dask future and the caller's paths.
        self._pictures: dict[str, tuple[Any, set[str]]] = {}
        self._picture_checksum = functools.cache(_picture_checksum)
        self._find_weights = functools.cache(Weights.find)
        # Number of runs that still need each path.
        self._needed = collections.Counter(
            path for run in runs for path in set(run.pictures.values())
        )

    def finished(self) -> Generator[Finished, None, None]:
        """Yield how each run ended, as soon as it ends."""
        try:
            while self._waiting or self._running:
                try:
                    yield from self._results()
                except _LostError:
                    if not self._reconnect():
                        yield from self._given_up()
        finally:
            for claim in self._claims.values():
                claim.close()
            # A client whose scheduler has died may raise many kinds of errors.
            with contextlib.suppress(Exception):
                self._client.cancel(list(self._running))

    def _results(self) -> Iterator[Finished]:
        """Yield how runs ended until all have, or raise a `_LostError`."""
        import distributed

        self._check_connection()
        completed = distributed.as_completed(loop=self._client.loop)
        yield from self._submit_ahead(completed)
        while self._running:
            future = next(completed)
            run = self._running[future]
            if future.cancelled():
                self._check_connection()
            if future.cancelled() and self._attempts[run] < _ATTEMPTS:
                self._retry(run)
            else:
                source = self._find_weights(run.config.weights).source
                finished = _received(run, future, source, self._existing[run])
                if finished.state == "failed":
                    self._check_connection()
                yield finished
                self._release(run)
            del self._running[future]
            yield from self._submit_ahead(completed)

    def _check_connection(self) -> None:
        """Raise a `_LostError` if the scheduler has died."""
        if self._connect and self._client.status != "running":
            raise _LostError

    def _reconnect(self) -> bool:
        """Wait for the scheduler, and queue the runs again that it had; return whether it came."""
        self._waiting.extendleft(reversed(self._running.values()))
        self._running.clear()
        self._pictures.clear()
        self._attempts.clear()
        end = time.monotonic() + _RECONNECT_TIMEOUT
        while self._connect and time.monotonic() < end:
            # Dask raises many kinds of errors.
            with contextlib.suppress(Exception):
                if self._client.status != "running":
                    self._client = self._connect()
                # Its workers come after it.
                if self._client.nthreads():
                    return True
            time.sleep(_RECONNECT_PAUSE)
        return False

    def _given_up(self) -> Iterator[Finished]:
        """Fail all runs that have not ended."""
        while self._waiting:
            run = self._waiting.popleft()
            why = f"the Dask scheduler has died, and did not return in {_RECONNECT_TIMEOUT} s"
            yield Finished(run, "failed", reason=why)
            self._release(run)

    def _submit_ahead(self, completed: Any) -> Iterator[Finished]:
        """Submit runs until the window is full; yield those that cannot be submitted."""
        while self._waiting and len(self._running) < self._window():
            run = self._waiting.popleft()
            try:
                future = self._submit(run)
            except NstError as error:
                yield Finished(run, "failed", reason=str(error))
                self._release(run)
            # If the scheduler is dead, Dask raises many kinds of errors.
            except Exception as error:  # noqa: BLE001
                try:
                    self._check_connection()
                except _LostError:
                    self._waiting.appendleft(run)
                    raise
                why = f"the Dask scheduler does not accept it: {reason(error)}"
                yield Finished(run, "failed", reason=why)
                self._release(run)
            else:
                self._running[future] = run
                completed.add(future)

    def _window(self) -> int:
        """Return how many runs may be submitted at a time."""
        with contextlib.suppress(Exception):
            threads: int = sum(self._client.nthreads().values())
            return _RUNS_PER_THREAD * max(1, threads)
        return _RUNS_PER_THREAD

    def _submit(self, run: Run) -> Any:
        if run not in self._claims:
            claim = contextlib.ExitStack()
            claim.enter_context(claims.claimed([run.output]))
            self._claims[run] = claim
            self._existing[run] = {
                path: files.state_of(path) for path, _ in sidecar.outputs(run.output)
            }
        self._attempts[run] += 1
        self._submitted += 1
        paths = run.pictures
        parcel = Parcel(
            {name: (path, b"") for name, path in paths.items()},
            run.styles,
            run.config,
            os.path.splitext(run.output)[1],
            self._find_weights(run.config.weights).sha256,
            plugins.record(methods_of(run.styles, run.config)),
        )
        contents = {name: self._picture(path) for name, path in paths.items()}
        key = f"{self._name}-{self._submitted}"
        return self._client.submit(_work_on, parcel, key=key, pure=False, **contents)

    def _picture(self, path: str) -> Any:
        """Return the future of a picture's content; send the picture if the cluster lacks it."""
        checksum = self._picture_checksum(path)
        if checksum not in self._pictures:
            key = f"{self._name}-{checksum}-{self._submitted}"
            self._pictures[checksum] = self._client.scatter({key: _content(path)})[key], set()
        picture, paths = self._pictures[checksum]
        paths.add(path)
        return picture

    def _retry(self, run: Run) -> None:
        """Put a run back in the queue; forget its pictures that were lost with a worker."""
        self._waiting.appendleft(run)
        for path in run.pictures.values():
            checksum = self._picture_checksum(path)
            picture, _ = self._pictures.get(checksum, (None, None))
            if picture is not None and picture.cancelled():
                del self._pictures[checksum]

    def _release(self, run: Run) -> None:
        """Release a run's output, and the pictures at the cluster that no other run needs."""
        if run in self._claims:
            self._claims.pop(run).close()
            del self._existing[run]
        for path in set(run.pictures.values()):
            self._needed[path] -= 1
            if not self._needed[path]:
                for checksum, (_, paths) in list(self._pictures.items()):
                    paths.discard(path)
                    if not paths:
                        del self._pictures[checksum]


def _content(path: str) -> bytes:
    try:
        with files.open_regular(path) as stream:
            return stream.read()
    except OSError as error:
        raise BatchError(f"Cannot read {path}: {reason(error)}.") from error


def _picture_checksum(path: str) -> str:
    try:
        return files.sha256(path)
    except OSError as error:
        raise BatchError(f"Cannot read {path}: {reason(error)}.") from error


def _work_on(parcel: Parcel, **contents: bytes) -> WorkerResult:
    """Make the picture of a parcel whose pictures were sent separately."""
    pictures = {name: (path, contents[name]) for name, (path, _) in parcel.pictures.items()}
    return work(parcel._replace(pictures=pictures))


def work(parcel: Parcel) -> WorkerResult:
    """Make a picture on a worker.

    Raises
    ------
    NstError
        No picture was made.
    """
    _check_plugins(parcel)
    with _one_run, tempfile.TemporaryDirectory() as folder:
        copies = _copied(parcel, folder)
        callers = {copy: path for path, copy in copies.items()}
        output = os.path.join(folder, f"out{parcel.ending}")
        config = parcel.config
        weights = Weights.find(config.weights)
        if weights.sha256 != parcel.weights:
            raise WeightsError(f"The worker's weights {weights.source} differ from the caller's.")
        inputs = read_inputs(
            copies[parcel.pictures["content"][0]],
            [moved(style, copies.__getitem__) for style in parcel.styles],
            config if config.init in INITS else replace(config, init=copies[config.init]),
        )
        job = runner.assemble(inputs, output, config, weights)
        provenance = sidecar.with_paths(job.provenance, lambda path: callers.get(path, path))
        job = replace(job, provenance=provenance)
        error = ""
        with Log(sidecar.log_of(output)) as lines:
            try:
                runner.run(job, on_step=lines.write)
            except NonFiniteError as failure:
                if not os.path.exists(output):
                    raise
                error = str(failure)
        if lines.error:
            raise OutputError(f"The worker's log is not complete: {reason(lines.error)}.")
        content, log = (Path(path).read_bytes() for path in (output, sidecar.log_of(output)))
        document = {**sidecar.read(output).document, **provenance}
        return WorkerResult(content, log, document, error)


def _copied(parcel: Parcel, folder: str) -> dict[str, str]:
    """Write the pictures of a parcel to a folder; return ``{the caller's path: path}``."""
    copies: dict[str, str] = {}
    for name, (path, content) in parcel.pictures.items():
        if path not in copies:
            copies[path] = os.path.join(folder, f"{name}{Path(path).suffix}")
            Path(copies[path]).write_bytes(content)
    return copies


def _check_plugins(parcel: Parcel) -> None:
    """Refuse a parcel whose methods are from packages that this worker lacks or has otherwise."""
    for method, theirs in parcel.plugins.items():
        ours = plugins.record([method]).get(method) if method in plugins.NAMES else None
        if ours != theirs:
            has = f"{ours['package']} {ours['version']}" if ours else "none that has it"
            raise PluginError(
                f"The method {method!r} is from {theirs['package']} {theirs['version']} for the "
                f"caller; the worker has {has}."
            )


def _received(run: Run, future: Any, weights: str, existing: Mapping[str, Any]) -> Finished:
    """Write the files of a worker's result; return how the run ended.

    Parameters
    ----------
    run : Run
    future : distributed.Future
    weights : str
        Path of the caller's weights.
    existing : dict
        As `runner.Job.existing`.
    """
    import distributed

    try:
        result = future.result()
    except NstError as error:
        return Finished(run, "failed", reason=str(error))
    except distributed.KilledWorker:
        return Finished(
            run, "failed", reason="several workers died making it; do they have enough memory?"
        )
    except Exception as error:  # noqa: BLE001
        # A bug, or a worker without nst; the other runs continue.
        return Finished(run, "failed", reason=f"{type(error).__name__}: {reason(error)}")
    try:
        for path, ours in sidecar.outputs(run.output):
            files.check_untouched(path, existing.get(path), ours)
        _write(run, result, weights)
    except NstError as error:
        return Finished(run, "failed", reason=str(error))
    except OSError as error:
        return Finished(run, "failed", reason=f"Cannot write {run.output}: {reason(error)}.")
    if result.error:
        why = f"{result.error} The last good image is in {run.output}."
        return Finished(run, "failed", reason=why)
    return Finished(run, "done")


def _write(run: Run, result: WorkerResult, weights: str) -> None:
    """Write the files of a run, the sidecar last: a picture without a sidecar is made again."""
    for path, content in ((run.output, result.picture), (sidecar.log_of(run.output), result.log)):
        with files.replacing(path) as temporary:
            Path(temporary).write_bytes(content)
    entry = {**result.document["weights"], "source": weights}
    sidecar.write(run.output, {**result.document, "weights": entry})
