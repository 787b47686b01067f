"""Runs on a cluster: the parts that one process can test."""

import contextlib
import json
import os
import sys
from concurrent import futures
from pathlib import Path

import pytest
from processes import TINY, noise

from nst_cli import images
from nst_cli.config import Config
from nst_cli.errors import BatchError, EngineError, NonFiniteError, WeightsError
from nst_cli.runs import batch, cluster, plan, sidecar
from nst_cli.weights import Weights


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.png", "b.png", "s.png")):
        noise(seed, 16, 16).save(name)
    return tmp_path


def run_of(content="a.png", output="o.png", **choices):
    config = Config(**{**TINY, **choices})
    return plan.Run(content, "s.png", output, config)


def parcel_of(run, checksum=None):
    paths = {"content": run.content, "style": run.style}
    pictures = {name: (path, Path(path).read_bytes()) for name, path in paths.items()}
    if checksum is None:
        checksum = Weights().sha256
    return cluster.Parcel(pictures, run.styles, run.config, ".png", checksum, {})


def test_a_worker_makes_the_picture_that_this_process_makes():
    run = run_of()
    assert batch.make([run])[0].state == "done"
    result = cluster.work(parcel_of(run))
    assert (result.picture, result.error) == (Path("o.png").read_bytes(), "")
    assert result.log == Path(sidecar.log_of("o.png")).read_bytes()
    assert result.document["losses"] == sidecar.read("o.png").losses


def test_a_worker_with_different_weights_makes_nothing():
    with pytest.raises(WeightsError, match="worker's weights builtin differ"):
        cluster.work(parcel_of(run_of(), "0" * 64))


def test_a_run_that_becomes_non_finite_sends_its_last_good_image(monkeypatch):
    def fail(job, **_):
        noise(5, 16, 16).save(job.output)
        document = sidecar_document(job)
        Path(sidecar.sidecar_of(job.output)).write_text(json.dumps(document))
        raise NonFiniteError("Step 2 is not finite.")

    def sidecar_document(job):
        return {
            **job.provenance, "steps": 1, "stop_reason": "non-finite", "beta": {}, "losses": {},
        }  # fmt: skip

    monkeypatch.setattr(cluster.runner, "run", fail)
    run = run_of()
    result = cluster.work(parcel_of(run))
    assert result.error == "Step 2 is not finite."

    future = futures.Future()
    future.set_result(result)
    finished = cluster._received(run, future, "builtin", {})
    assert (finished.state, finished.reason) == (
        "failed", "Step 2 is not finite. The last good image is in o.png.",
    )  # fmt: skip
    assert images.read("o.png").pixels.shape == (16, 16, 3)


@contextlib.contextmanager
def submission_of(runs):
    """Yield a client and runs submitted to a cluster of threads in this process."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://",
            dashboard_address=None,
        ) as local,
        distributed.Client(local, set_as_default=False) as client,
    ):  # fmt: skip
        yield client, cluster._Submission(client, runs)


def test_each_picture_is_sent_once_and_a_limited_number_of_runs_waits_at_the_cluster(monkeypatch):
    contents = ["a.png", "b.png", "none.png"]
    runs = [
        run_of(content, f"out-{number}-{content}", gamma=number)
        for content in contents
        for number in range(1, 4)
    ]
    sent, waiting, results = [], [], []
    with submission_of(runs) as (client, submission):
        scatter = client.scatter

        def counted(data, **options):
            sent.extend(data.values())
            return scatter(data, **options)

        monkeypatch.setattr(client, "scatter", counted)
        for finished in submission.finished():
            results.append(finished)
            waiting.append(len(submission._running))
    states = {finished.run.output: finished.state for finished in results}
    assert states == {run.output: "failed" if "none" in run.output else "done" for run in runs}
    assert all("Cannot read none.png" in f.reason for f in results if f.state == "failed")
    assert sorted(sent) == sorted(Path(name).read_bytes() for name in ("a.png", "b.png", "s.png"))
    assert max(waiting) <= 2
    # Nothing is kept for runs that are finished.
    assert not submission._pictures
    for run in runs[:6]:
        known = {"content": run.content, "style": run.style}
        known = {name: images.read(path).sha256 for name, path in known.items()}
        known["weights"] = Weights().sha256
        assert sidecar.is_up_to_date(run.output, run.config, known)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (WeightsError("The weights differ."), "The weights differ."),
        (ModuleNotFoundError("No module named 'nst_cli'"), "ModuleNotFoundError: No module named"),
        ("KilledWorker", "several workers died making it"),
    ],
)
def test_a_failure_on_a_worker_fails_its_run_with_the_reason(error, reason):
    distributed = pytest.importorskip("distributed")
    if error == "KilledWorker":
        error = distributed.KilledWorker("task", None, 3)
    future = futures.Future()
    future.set_exception(error)
    finished = cluster._received(run_of(), future, "builtin", {})
    assert finished.state == "failed" and finished.reason.startswith(reason)


def test_a_result_that_cannot_be_written_fails_its_run():
    pytest.importorskip("distributed")
    result = cluster.work(parcel_of(run_of()))
    future = futures.Future()
    future.set_result(result)
    finished = cluster._received(run_of(output="none/o.png"), future, "builtin", {})
    assert finished.state == "failed" and "Cannot write none/o.png" in finished.reason


def test_a_scheduler_that_is_gone_fails_the_runs_that_it_does_not_accept(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("the scheduler is closed")

    runs = [run_of(output="1.png"), run_of(output="2.png")]
    with submission_of(runs) as (client, submission):
        monkeypatch.setattr(client, "submit", refuse)
        reasons = [finished.reason for finished in submission.finished()]
    assert reasons == ["the Dask scheduler does not accept it: the scheduler is closed"] * 2


@pytest.mark.parametrize("returns", [True, False])
def test_a_scheduler_that_dies_is_waited_for_and_fails_what_is_left_if_it_stays_away(
    monkeypatch, returns
):
    monkeypatch.setattr(cluster, "_RECONNECT_TIMEOUT", 0.2 if not returns else 600)
    monkeypatch.setattr(cluster, "_RECONNECT_PAUSE", 0.05)
    runs, attempts = [run_of(output="1.png"), run_of(output="2.png", gamma=2.0)], []
    with submission_of([]) as (first, _), submission_of([]) as (second, _):

        def connect():
            attempts.append(1)
            if not returns or len(attempts) < 3:
                raise OSError("Timed out")
            return second

        submission = cluster._Submission(first, runs, connect)
        first.close()
        results = list(submission.finished())
    assert [finished.run for finished in results] == runs and len(attempts) >= 3
    for finished in results:
        assert finished.state == ("done" if returns else "failed")
        assert returns or finished.reason.startswith("the Dask scheduler has died")
    assert not [name for name in os.listdir() if name.startswith(".")]


def test_an_error_for_a_missing_dask_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(EngineError, match=r"pip install 'nst-cli\[cluster\]'"),
        cluster.connected("tcp://127.0.0.1:1"),
    ):
        pass


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x"])
def test_an_address_without_a_scheduler_is_an_error(address):
    pytest.importorskip("distributed")
    with (
        pytest.raises(BatchError, match=f"No Dask scheduler answers at {address}"),
        cluster.connected(address),
    ):
        pass
