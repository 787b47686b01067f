"""Many pictures made by a command, with what the user sees of it."""

import collections
import contextlib
from collections.abc import Iterator

import click

from ..errors import BatchError, shown
from .output import echo_note
from .progress import interrupts, interval, observing, tqdm

#: How many pictures at a time.
jobs_option = click.option(
    "-j", "--jobs", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
    help="Processes, which share the processor's cores.",
)  # fmt: skip

# As many different faults fit into one line.
_FEW = 3


def make_all(
    runs, *, overwrite, quiet, failures=(), connected=contextlib.nullcontext, on_done=None,
    with_table=True, **how,
) -> int:  # fmt: skip
    """Check runs, make those that can be made, and report what they have come to.

    Parameters
    ----------
    runs : sequence of plan.Run
    overwrite : bool
        As `plan.check` takes it.
    quiet : bool
        No bars.
    failures : sequence of str
        What was asked for beside the runs and cannot be made; fails as a run does.
    connected : callable
        Returns a context that yields what `batch.make` takes as `submit`.
    on_done : callable, optional
        Called with each run whose picture has been made.
    with_table : bool
        Whether to print the table also if every picture exists in the end; never if `quiet`.
    how
        For `batch.make`.

    Returns
    -------
    int
        Exit code: 0, 1 if a run failed, 130 if the user interrupted.

    Raises
    ------
    NstError
        No run can be made, or two would write the same file.
    """
    from ..runs import batch, plan

    refused = plan.check(runs, overwrite)
    notes = [*failures, *_counted(refused)]
    if len(refused) == len(runs):
        _raise_all(refused, notes)
    for note in notes:
        echo_note(note)
    results = []
    with connected() as submit, interrupts(), Bars(len(runs), quiet) as bars:

        def on_finished(finished):
            results.append(finished)
            bars.finish()
            if finished.state == "done" and on_done:
                bars.clear()
                on_done(finished.run)

        def on_stop():
            bars.clear()
            click.echo("Saving the images so far; Ctrl-C again ends it at once.", err=True)

        # Runs that were not begun are missing from the results, and the table counts them.
        with contextlib.suppress(KeyboardInterrupt):
            batch.make(
                runs, refused=refused, overwrite=overwrite, submit=submit, on_start=bars.start,
                on_finished=on_finished, on_stop=on_stop, **how,
            )  # fmt: skip
    code = _exit_code(results, len(runs), failures)
    failed = failures or any(finished.state == "failed" for finished in results)
    if failed or not quiet and (code or with_table):
        for line in table(results, len(runs), failures):
            click.echo(line, err=True)
    return code


def _exit_code(results, total, failures):
    states = {finished.state for finished in results}
    if len(results) < total or "interrupted" in states:
        return 130
    return 1 if "failed" in states or failures else 0


def _counted(refused):
    """Return each fault once, with the number of runs that it concerns."""
    counts = collections.Counter(str(error) for errors in refused.values() for error in errors)
    return [
        f"{message} {count} runs need it." if count > 1 else message
        for message, count in counts.items()
    ]


def _raise_all(refused, notes):
    """Raise the faults of runs of which none can be made: in one line, where they fit into it."""
    distinct = {str(error): error for errors in refused.values() for error in errors}
    if len(distinct) == 1 and len(notes) == 1:
        raise next(iter(distinct.values()))
    if len(notes) <= _FEW:
        raise BatchError(" ".join(notes))
    for note in notes:
        echo_note(note)
    raise BatchError(f"None of the {len(refused)} runs can be made; the notes above say why.")


class Bars:
    """A bar over the runs, and one over the steps of the run that this process makes."""

    def __init__(self, runs, quiet):
        self._quiet, self._steps = quiet, contextlib.ExitStack()
        self._runs = tqdm(total=runs, unit="run", disable=quiet, mininterval=interval())

    def start(self, run):
        """Return the observer of a run's steps."""
        return self._steps.enter_context(
            observing(run.config, self._quiet, position=1, leave=False)
        )

    def finish(self):
        """Count a run that is finished."""
        self._steps.close()
        self._runs.update()

    def clear(self):
        """Make room for a line of text."""
        self._runs.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._steps.close()
        self._runs.close()


def table(results, total, failures=()) -> Iterator[str]:
    """Yield the lines that say what the runs have come to.

    Parameters
    ----------
    results : sequence of batch.Finished
    total : int
        Of the runs.
    failures : sequence of str
        What else failed.
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


def _shown_reason(reason):
    # The traceback of a bug keeps its lines.
    lines = reason.split("\n") if reason.startswith("Traceback ") else [reason]
    return "\n".join(map(shown, lines))
