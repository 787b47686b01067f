"""`nst stylize`: one picture."""

import contextlib
import os
import sys

import click

from .. import config
from ..errors import NonFiniteError, NstError, OutputError
from ..runs.log import Log
from .options import config_options
from .progress import duration, interrupts, progress


@click.command()
@click.argument("content")
@click.argument("style")
@click.option("-o", "--output", metavar="OUT", required=True,
              help="Picture to make; .png, .jpg, .tif or .webp.")  # fmt: skip
@config_options
@click.option("--save-every", type=click.IntRange(min=1), metavar="N",
              help="Also write OUT-00N.png and so on, after every N steps.")  # fmt: skip
@click.option("--log", metavar="FILE.jsonl", help="Write the losses of each step, one per line.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
@click.option("--dry-run", is_flag=True,
              help="Make no picture: try a few small steps and print what memory and time the run "
              "would take.")  # fmt: skip
def stylize(content, style, output, save_every, log, quiet, dry_run, **choices):
    """Give the picture CONTENT the style of the picture STYLE.

    Prints the path of the picture made. Beside it OUT.png.json holds everything that made it, and
    so does the picture itself. Ctrl-C saves the image so far.

    \b
    Example:
      nst stylize photo.jpg painting.jpg -o picture.png --method bn=0.3,poly=0.7 --gamma 2
    """
    from ..runs import runner

    settings = config.Config(**choices)
    save_every = save_every or 0
    job = runner.prepare(content, style, output, settings, save_every=save_every, log=log)
    # Whoever gets the built-in filters or loses transparency is told so even when quiet.
    for note in job.notes:
        click.echo(f"Note: {note}", err=True)
    if dry_run:
        for line in _forecast(job):
            click.echo(line)
        return
    with contextlib.ExitStack() as stack:
        observers = [stack.enter_context(interrupts())]
        logged = stack.enter_context(Log(log)) if log else None
        if logged:
            observers.append(logged.write)
        if not quiet:
            observers.append(stack.enter_context(progress(settings)))
        try:
            outcome = runner.run(
                job,
                on_step=lambda record: [observe(record) for observe in observers],
                save_every=save_every,
                at_once=not quiet,
            )
        except NonFiniteError as error:
            made = error.result.steps
            kept = f" The last good image is in {output}." if made else " No picture was written."
            raise NstError(f"{error}{kept}") from error
        except KeyboardInterrupt:
            outcome = None
    if not outcome:
        click.echo("Interrupted before the first step: no picture was written.", err=True)
        sys.exit(130)
    # As bytes, because a file may have a name that is no text.
    click.echo(os.fsencode(outcome.path))
    if outcome.result.stop_reason == "interrupted":
        click.echo(f"Interrupted after step {outcome.result.steps}; saved {output}.", err=True)
        sys.exit(130)
    if logged and logged.error:
        raise OutputError(f"The log {log} is not complete: {logged.error.strerror}.")


def _forecast(job):
    """Yield the lines of a dry run."""
    from ..runs import forecast

    found = forecast.forecast(job.content, job.style, job.config)
    sizes = ", then ".join(f"{width} x {height}" for height, width in found.sizes)
    yield f"size    {sizes}"
    free = "" if found.free is None else f"; {found.free / 1e9:.1f} GB can be had"
    yield f"memory  {found.memory / 1e9:.2f} GB at most{free}"
    steps = " + ".join(map(str, found.steps))
    rule = "; the stop rule may end it sooner" if job.config.stop_eps else ""
    yield (
        f"time    {found.step_seconds:.3g} s per step at the full size; "
        f"{duration(found.seconds)} for {steps} steps{rule}"
    )
