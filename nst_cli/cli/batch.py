"""`nst batch`: many pictures."""

import contextlib
import os
import sys

import click
from click.core import ParameterSource

from .. import config
from .options import config_options
from .progress import interrupts, interval, progress, tqdm


@click.command(short_help="Make the pictures that a file lists.")
@click.argument("file")
@config_options
@click.option("-o", "--output", metavar="TEMPLATE",
              help="Names of the pictures, such as out/{content}-{gamma}.png; comes before those "
              "of FILE.")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Also make what is there and up to date.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=1, show_default=True,
              metavar="N", help="Processes, which share the processor's cores.")  # fmt: skip
@click.option("--dask", metavar="ADDRESS",
              help="Scheduler of a Dask cluster that shall do it: tcp://HOST:8786.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="No progress bars and no table.")
@click.pass_context
def batch(ctx, file, output, force, jobs, dask, quiet, **choices):
    """Make the pictures that FILE lists, a TOML file of runs and grids.

    Prints the path of each picture made. What is there and up to date is skipped: same inputs and
    same options. A run that fails does not stop the others. Options come before what FILE says.

    \b
    Example:
      nst batch configs/methods.toml --size 256 --jobs 2
    """
    given = {
        name: value
        for name, value in choices.items()
        if ctx.get_parameter_source(name) != ParameterSource.DEFAULT
    }
    config.Config(**given)

    from ..runs import batch as room
    from ..runs import plan

    runs = plan.read(file, given, output)
    plan.check(runs)
    found = []
    with contextlib.ExitStack() as stack:
        submit = None
        if dask:
            from ..runs import cluster

            submit = stack.enter_context(cluster.connected(dask))
        bars = stack.enter_context(Bars(len(runs), quiet))

        def on_finished(finished):
            found.append(finished)
            bars.finish(finished)
            if finished.state == "done":
                bars.clear()
                click.echo(os.fsencode(finished.run.output))

        # Of those that go on elsewhere nothing is left over.
        with contextlib.suppress(KeyboardInterrupt):
            room.make(
                runs, force=force, jobs=jobs, submit=submit, on_start=bars.start,
                on_finished=on_finished, at_once=not quiet,
            )  # fmt: skip
    states = [finished.state for finished in found]
    if not quiet or "failed" in states:
        for line in table(found, len(runs)):
            click.echo(line, err=True)
    if len(found) < len(runs) or "interrupted" in states:
        sys.exit(130)
    if "failed" in states:
        sys.exit(1)


class Bars:
    """A bar over the runs, and one over the steps of the run that this process is at."""

    def __init__(self, runs, quiet):
        self._stack, self._quiet, self._steps = contextlib.ExitStack(), quiet, None
        self._runs = tqdm(total=runs, unit="run", disable=quiet, mininterval=interval())
        self._lost = self._stack.enter_context(interrupts())

    def start(self, run):
        """Return the observer of a run's steps."""
        if self._quiet:
            return self._lost
        self._steps = contextlib.ExitStack()
        draw = self._steps.enter_context(progress(run.config, position=1, leave=False))

        def observe(record):
            self._lost(record)
            draw(record)

        return observe

    def finish(self, finished):
        """Count a run that is finished."""
        if self._steps:
            self._steps.close()
        self._runs.update()

    def clear(self):
        """Make room for a line on stdout."""
        self._runs.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._steps:
            self._steps.close()
        self._runs.close()
        self._stack.close()


def table(found, total):
    """Yield the lines that say what became of the runs."""
    for finished in found:
        seconds = f"{finished.seconds:7.1f} s" if finished.seconds else " " * 9
        reason = f"  {finished.reason}" if finished.reason else ""
        yield f"{finished.state:<11} {seconds}  {finished.run.output}{reason}"
    states = [finished.state for finished in found]
    counts = {state: states.count(state) for state in ("done", "skipped", "failed", "interrupted")}
    counts["not begun"] = total - len(found)
    words = [f"{count} {state}" for state, count in counts.items() if count]
    yield f"{', '.join(words)}, of {total} runs."
