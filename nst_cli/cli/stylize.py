"""`nst stylize`: makes one picture."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Optional

import click

from .. import config
from ..errors import (
    CheckpointError,
    IncompleteError,
    NonFiniteError,
    NstError,
    OutputError,
    reason,
    shown,
)
from ..runs import log as logs
from .options import PATH, ConfigCommand, config_options, overwrite_option
from .output import echo_note, echo_path
from .progress import observing
from .resuming import checkpoint_option
from .styling import style_options, styles_of

if TYPE_CHECKING:
    from ..runs.checkpoints import Saved
    from ..runs.keeping import Every, Keeper
    from ..runs.runner import Job, Outcome
    from ..views.live import View

_AFRESH = "The run starts afresh."


@click.command(cls=ConfigCommand, short_help="Give a picture the style of another, or of several.")
@click.argument("content", type=PATH)
@click.argument("style", type=PATH, nargs=-1, required=True)
@click.option("-o", "--output", metavar="OUT", type=PATH, required=True,
              help="Picture to make; .png, .jpg, .tif or .webp.")  # fmt: skip
@style_options
@config_options
@click.option("--save-every", type=click.IntRange(min=1), metavar="N",
              help="Also write OUT-00N.png and so on, every N steps.")  # fmt: skip
@click.option("--log", metavar="FILE.jsonl", type=PATH,
              help="Write the losses of each step, one line per step.")  # fmt: skip
@checkpoint_option
@click.option("--resume", is_flag=True,
              help="Go on from where the same command was interrupted.")  # fmt: skip
@overwrite_option
@click.option("--view", is_flag=True,
              help="Show the run on a page with a button to stop and save. The page's address is "
              "printed, and only this machine can open it.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
@click.option("--dry-run", is_flag=True,
              help="Make no picture: time a few small steps and print the memory and time that "
              "the run would need.")  # fmt: skip
def stylize(
    content: str,
    style: tuple[str, ...],
    output: str,
    style_weights: Optional[str],
    style_scale: Optional[str],
    masks: tuple[str, ...],
    style_masks: tuple[str, ...],
    save_every: Optional[int],
    log: Optional[str],
    checkpoint: "Every",
    resume: bool,
    overwrite: bool,
    view: bool,
    quiet: bool,
    dry_run: bool,
    **choices: Any,
) -> None:
    """Give the picture CONTENT the style of the picture STYLE, or of several.

    A STYLE that is a folder stands for all pictures in it together.

    Prints the path of the picture. A sidecar beside it, OUT.png.json, describes how it was made,
    and so do the picture's own metadata. Ctrl-C saves the image so far, and the same command with
    --resume goes on from there.

    \b
    Example:
      nst stylize photo.jpg painting.jpg -o picture.png --method bn=0.3,poly=0.7 --gamma 2
    """
    from ..runs import claims, keeping, runner

    if view and dry_run:
        raise click.UsageError(
            "--view shows a run, and --dry-run makes none: leave one of them out."
        )
    settings = config.Config(**choices)
    styles = styles_of(style, style_weights, style_scale, masks, style_masks)
    save_every = save_every or 0
    if not dry_run:
        names, steps_of = [output, log] if log else [output], output if save_every else None
        click.get_current_context().with_resource(claims.claimed(names, steps_of))
    job = runner.prepare(
        content, styles, output, settings, save_every=save_every, log=log, overwrite=overwrite
    )
    # Even with --quiet, because the picture will look different.
    for note in job.notes:
        echo_note(note)
    if dry_run:
        for line in _forecast(job):
            click.echo(line)
        return
    keeper = keeping.Keeper(job, checkpoint)
    click.get_current_context().with_resource(contextlib.closing(keeper))
    saved = _saved(keeper, resume)
    try:
        outcome, lines, incomplete = _run(job, keeper, saved, log, quiet, save_every, view)
    except CheckpointError as error:
        # It was written for this run, and its content does not fit it.
        echo_note(f"The checkpoint cannot be used: {error}. {_AFRESH}")
        keeper.forget()
        outcome, lines, incomplete = _run(job, keeper, None, log, quiet, save_every, view)
    if keeper.error:
        echo_note(keeper.error)
    if not outcome:
        click.echo("Interrupted before the first step: no picture was written.", err=True)
        sys.exit(130)
    echo_path(outcome.path)
    interrupted = outcome.result.stop_reason == "interrupted"
    if interrupted or outcome.result.stop_reason == "stopped":
        step = outcome.checkpoint
        further = f" --resume goes on from step {step}." if step else ""
        saved_as, end = shown(outcome.path), outcome.result.stop_reason.capitalize()
        click.echo(
            f"{end} after step {outcome.result.steps}; saved {saved_as}.{further}", err=True
        )
    if incomplete:
        raise incomplete
    if interrupted:
        sys.exit(130)
    if lines and lines.error:
        raise OutputError(f"The log {log} is not complete: {reason(lines.error)}.")


def _saved(keeper: "Keeper", resume: bool) -> Optional["Saved"]:
    """Return the checkpoint to go on from, if there is one and the user asks for it."""
    if not resume:
        if keeper.exists():
            echo_note("This run was interrupted before; --resume would go on from there.")
        return None
    try:
        saved = keeper.load()
    except CheckpointError as error:
        echo_note(f"{error} {_AFRESH}")
        return None
    if saved is None:
        echo_note(f"There is no checkpoint of this run. {_AFRESH}")
    else:
        echo_note(f"The run goes on after step {saved.step}.")
    return saved


def _run(
    job: "Job",
    keeper: "Keeper",
    saved: Optional["Saved"],
    log: Optional[str],
    quiet: bool,
    save_every: int,
    view: bool,
) -> tuple[Optional["Outcome"], Optional[logs.Log], Optional[IncompleteError]]:
    """Make the picture; return what is known of it, the log, and what could not be written."""
    from ..runs import runner

    outcome = lines = incomplete = page = None
    with contextlib.ExitStack() as stack:
        writers = []
        if log:
            lines = stack.enter_context(logs.writing(log))
            writers.append(lines.write)
        if view:
            page = stack.enter_context(_page(job))
            writers.append(page)
        observe = stack.enter_context(observing(job.config, quiet, *writers))
        if lines and saved:
            lines.restore(saved.log)
        try:
            outcome = runner.run(
                job, on_step=observe, save_every=save_every, keeper=keeper, saved=saved
            )
        except IncompleteError as error:
            outcome, incomplete = error.outcome, error
        except NonFiniteError as error:
            kept = (
                f"The last good image is in {error.path}."
                if error.path
                else "No picture was written."
            )
            raise NstError(f"{error} {kept}") from error
        except KeyboardInterrupt:
            outcome = None
        if page and outcome and outcome.result.stop_reason != "interrupted":
            page.finish(outcome.path, outcome.result.steps)
    return outcome, lines, incomplete


@contextlib.contextmanager
def _page(job: "Job") -> Iterator["View"]:
    """Serve the page of a run, and print its address."""
    # Only here, because a run without a page does without a server.
    from ..runs import runner
    from ..views import live

    # Denoising takes long, and the page shows what the optimiser does.
    plain = replace(job.config, denoise=0)

    def pixels_of(image: Any) -> Any:
        pixels = runner.finished_pixels(image, plain, job.colours)
        return pixels.round().astype("uint8")

    with live.serving(job.output, job.config.iterations, pixels_of) as page:
        click.echo(f"The run can be watched at {page.url}", err=True)
        yield page


def _forecast(job: "Job") -> Iterator[str]:
    """Yield the lines that a dry run prints."""
    from ..runs import forecast
    from ..runs.work import duration

    expected = forecast.forecast(job.content, job.styles, job.config, job.weights)
    sizes = ", then ".join(f"{width} x {height}" for height, width in expected.sizes)
    yield f"size    {sizes}"
    free = "" if expected.free is None else f"; {expected.free / 1e9:.1f} GB available"
    tiles = f", in tiles of {expected.tiles[-1] >> 20} MB" if expected.tiles[-1] else ""
    yield f"memory  {expected.memory / 1e9:.2f} GB at most{tiles}{free}"
    steps = " + ".join(map(str, expected.steps))
    rule = (
        "; the stop rule may end the run sooner"
        if job.config.stop_eps or job.config.stop_decrease
        else ""
    )
    yield (
        f"time    {expected.step_seconds:.3g} s per step at the full size; "
        f"{duration(expected.seconds)} for {steps} steps{rule}"
    )
