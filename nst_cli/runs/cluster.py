"""A batch on the workers of a Dask cluster: pictures travel as bytes, the caller writes."""

import contextlib
import os
import socket
import tempfile
import threading
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from .. import files, images, weights
from ..config import INITS, Config
from ..errors import BatchError, EngineError, NstError, OutputError, WeightsError
from . import batch, runner
from .log import Log

_PATIENCE = 10

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


@contextlib.contextmanager
def connected(address):
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
        if not client.scheduler_info()["workers"]:
            raise BatchError(
                f"The Dask scheduler at {address} has no workers: start some with dask worker "
                f"{address}."
            )
        yield lambda runs: _submitted(client, runs)


def _submitted(client, runs):
    """Yield what became of runs, as it becomes known."""
    import distributed

    # Names of their own: what another caller made is not ours.
    batch_id, waiting = uuid.uuid4().hex, {}
    for number, run in enumerate(runs):
        try:
            parcel = _packed(run)
        except NstError as error:
            yield batch.Finished(run, "failed", reason=str(error))
            continue
        key = f"nst-{batch_id}-{number}"
        waiting[client.submit(work, parcel, key=key, pure=False)] = run
    try:
        for future in distributed.as_completed(list(waiting), loop=client.loop):
            yield _received(waiting.pop(future), future)
    finally:
        client.cancel(list(waiting))


def _packed(run):
    pictures = {}
    for name, path in (("content", run.content), ("style", run.style), ("init", run.config.init)):
        if name != "init" or path not in INITS:
            try:
                pictures[name] = path, Path(path).read_bytes()
            except OSError as error:
                raise BatchError(f"Cannot read {path}: {error.strerror}.") from error
    which = weights.find(run.config.weights or None)
    ending = os.path.splitext(run.output)[1]
    return Parcel(pictures, run.config, ending, weights.identity(which)["sha256"])


def work(parcel):
    """Make a picture on a worker.

    Parameters
    ----------
    parcel : Parcel

    Returns
    -------
    dict of str to bytes
        The files to be written, by what follows the picture's name: none, ``.json``,
        ``.jsonl``.
    """
    with _turn, tempfile.TemporaryDirectory() as folder:
        pictures, config = {}, parcel.config
        limits = {"long_edge": config.size, "max_pixels": config.max_pixels}
        for name, (path, content) in parcel.pictures.items():
            place = Path(folder, f"{name}{Path(path).suffix}")
            place.write_bytes(content)
            pictures[name] = replace(images.read(place, **limits), path=path)
        output = os.path.join(folder, f"out{parcel.ending}")
        inputs = runner.fitted(pictures, parcel.config)
        job = runner.assemble(inputs, output, parcel.config)
        found = job.provenance["weights"]
        if found["sha256"] != parcel.weights:
            raise WeightsError(
                f"The worker's weights {found['source']} are others than the caller's."
            )
        with Log(runner.log_of(output)) as lines:
            runner.run(job, on_step=lines.write, at_once=False)
        if lines.error:
            raise OutputError(f"The worker's log is not complete: {lines.error.strerror}.")
        return {ending: Path(output + ending).read_bytes() for ending in ("", ".json", ".jsonl")}


def _received(run, future):
    """Write what a worker made; return what became of the run."""
    import distributed

    try:
        made = future.result()
    except NstError as error:
        return batch.Finished(run, "failed", reason=str(error))
    except distributed.KilledWorker:
        return batch.Finished(
            run, "failed", reason="it took several workers down; do they have enough memory?"
        )
    except Exception as error:  # noqa: BLE001
        # A bug, or a worker without nst: either way the other runs go on.
        return batch.Finished(run, "failed", reason=f"{type(error).__name__}: {error}")
    try:
        # The sidecar last: a picture without it is made again.
        for ending in ("", ".jsonl", ".json"):
            with files.replacing(run.output + ending) as temporary:
                Path(temporary).write_bytes(made[ending])
    except OSError as error:
        reason = f"Cannot write {run.output}: {error.strerror}."
        return batch.Finished(run, "failed", reason=reason)
    return batch.Finished(run, "done")
