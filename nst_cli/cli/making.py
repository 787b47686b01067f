"""Makes many pictures for a command, with bars, notes and a table of results."""

import collections
import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NoReturn, Optional

import click

from ..errors import BatchError, NstError, shown
from .output import echo_note
from .progress import Observer, interrupts, interval, observing, tqdm

if TYPE_CHECKING:
    from ..runs.batch import Finished
    from ..runs.plan import Run

#: The option for the number of processes.
jobs_option = click.option(
    "-j", "--jobs", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
    help="Number of processes; they share the processor's cores.",
)  # fmt: skip

# The most faults reported in one line.
_FEW = 3


def make_all(
    runs: Sequence["Run"],
    *,
    overwrite: bool,
    quiet: bool,
    failures: Sequence[str] = (),
    connected: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
    on_done: Optional[Callable[["Run"], object]] = None,
    with_table: bool = True,
    **options: Any,
) -> int:
    """Check runs, make those that can be made, and report the results.

    Parameters
    ----------
    runs : sequence of plan.Run
    overwrite : bool
        Whether existing files may be replaced that nst did not make.
    quiet : bool
        Whether to draw no bars.
    failures : sequence of str
        Further requests that cannot become runs, such as an unreadable pattern; each counts as
        a failed run.
    connected : callable
        Returns a context that yields the `submit` of `batch.make`.
    on_done : callable, optional
        Called with each run after its picture is made.
    with_table : bool
        Whether to print the table even if every run succeeds; never if `quiet`.
    **options
        Passed to `batch.make`.

    Returns
    -------
    int
        Exit code: 0, 1 if a run failed, 130 if the user interrupted.

    Raises
    ------
    NstError
        No run can be made, or two would write the same file.
    """
    from ..runs import batch, claims, precheck
    from ..weights import Weights

    find_weights = functools.cache(Weights.find)
    refused = precheck.check(runs, overwrite, find_weights)
    notes = [*failures, *_counted(refused)]
    if len(refused) == len(runs):
        _raise_all(refused, notes)
    for note in notes:
        echo_note(note)
    results: list[Finished] = []
    outputs = [run.output for run in runs if run not in refused]
    with (
        claims.claimed_batch(outputs), connected() as submit, interrupts(),
        Bars(len(runs), quiet) as bars,
    ):  # fmt: skip

        def on_finished(finished: "Finished") -> None:
            results.append(finished)
            bars.finish()
            if finished.state == "done" and on_done:
                bars.clear()
                on_done(finished.run)

        def on_stop() -> None:
            bars.clear()
            click.echo("Saving the images so far; press Ctrl-C again to stop at once.", err=True)

        # Runs that never started have no result; the table counts them.
        with contextlib.suppress(KeyboardInterrupt):
            batch.make(
                runs, refused=refused, overwrite=overwrite, submit=submit, on_start=bars.start,
                on_finished=on_finished, on_stop=on_stop, find_weights=find_weights, **options,
            )  # fmt: skip
    code = _exit_code(results, len(runs), failures)
    failed = failures or any(finished.state == "failed" for finished in results)
    if failed or not quiet and (code or with_table):
        for line in table(results, len(runs), failures):
            click.echo(line, err=True)
    return code


def _exit_code(results: Sequence["Finished"], total: int, failures: Sequence[str]) -> int:
    states = {finished.state for finished in results}
    if len(results) < total or "interrupted" in states:
        return 130
    return 1 if "failed" in states or failures else 0


def _counted(refused: Mapping["Run", Sequence[NstError]]) -> list[str]:
    """Return each fault once, with the number of runs that it affects."""
    counts = collections.Counter(str(error) for errors in refused.values() for error in errors)
    return [
        f"{message} {count} runs need it." if count > 1 else message
        for message, count in counts.items()
    ]


def _raise_all(refused: Mapping["Run", Sequence[NstError]], notes: Sequence[str]) -> NoReturn:
    """Raise the faults of runs none of which can be made; many are printed as notes instead."""
    distinct = {str(error): error for errors in refused.values() for error in errors}
    if len(distinct) == 1 and len(notes) == 1:
        raise next(iter(distinct.values()))
    if len(notes) <= _FEW:
        raise BatchError(" ".join(notes))
    for note in notes:
        echo_note(note)
    raise BatchError(f"None of the {len(refused)} runs can be made; see the notes above.")


class Bars:
    """A bar of the runs, and one of the steps of the run in this process."""

    def __init__(self, runs: int, quiet: bool) -> None:
        self._quiet, self._steps = quiet, contextlib.ExitStack()
        self._runs = tqdm(total=runs, unit="run", disable=quiet, mininterval=interval())

    def start(self, run: "Run") -> Observer:
        """Return the observer of a run's steps."""
        return self._steps.enter_context(
            observing(run.config, self._quiet, position=1, leave=False)
        )

    def finish(self) -> None:
        """Count a finished run."""
        self._steps.close()
        self._runs.update()

    def clear(self) -> None:
        """Remove the bars from the terminal so that a line can be printed."""
        self._runs.clear()

    def __enter__(self) -> "Bars":  # noqa: PYI034 Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self._steps.close()
        self._runs.close()


def table(
    results: Sequence["Finished"], total: int, failures: Sequence[str] = ()
) -> Iterator[str]:
    """Yield a line for each result and a summary.

    Parameters
    ----------
    results : sequence of batch.Finished
    total : int
        Number of runs.
    failures : sequence of str
        Further failures, one line each.
    """
    for finished in results:
        seconds = f"{finished.seconds:7.1f} s" if finished.seconds else " " * 9
        reason = f"  {_shown_reason(finished.reason)}" if finished.reason else ""
        yield f"{finished.state:<11} {seconds}  {shown(finished.run.output)}{reason}"
    for failure in failures:
        yield f"{'failed':<11} {' ' * 9}  {shown(failure)}"
    states = [finished.state for finished in results]
    counts = {state: states.count(state) for state in ("done", "skipped", "failed", "interrupted")}
    counts["not begun"] = total - len(results)
    words = [f"{count} {state}" for state, count in counts.items() if count]
    yield f"{', '.join(words)}, of {total} runs."


def _shown_reason(reason: str) -> str:
    # The traceback of a bug keeps its lines.
    lines = reason.split("\n") if reason.startswith("Traceback ") else [reason]
    return "\n".join(map(shown, lines))
