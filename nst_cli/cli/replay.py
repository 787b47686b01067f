"""`nst replay`: a picture made again."""

import contextlib
import os
import sys

import click

from .progress import interrupts, progress


@click.command(short_help="Make a picture again from what it carries.")
@click.argument("picture")
@click.option("-o", "--output", metavar="OUT", help="Default: PICTURE-replay, with its ending.")
@click.option("--content", metavar="FILE", help="Where the content picture is now.")
@click.option("--style", metavar="FILE", help="Where the style picture is now.")
@click.option("--init", metavar="FILE", help="Where the start image is now.")
@click.option("--weights", metavar="FILE", help="Where the weights are now.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def replay(picture, output, quiet, **found):
    """Make PICTURE again from what it carries, and compare the two.

    Pictures and weights are checked by their checksums. On the same kind of processor, with the
    same versions, the two are the same byte for byte; where something differs, it is named.
    Prints the path of the new picture. Exits with 1 if the two differ and nothing tells why.

    \b
    Example:
      nst replay picture.png
    """
    from ..runs import replay as room
    from ..runs import runner

    recipe = room.read(picture, found)
    stem, ending = os.path.splitext(picture)
    job = room.prepare(recipe, output or f"{stem}-replay{ending}")
    differences = room.differences(recipe, job)
    for difference in differences:
        click.echo(f"Note: {difference}.", err=True)
    with contextlib.ExitStack() as stack:
        observers = [stack.enter_context(interrupts())]
        if not quiet:
            observers.append(stack.enter_context(progress(recipe.config)))
        outcome = runner.run(
            job, on_step=lambda record: [observe(record) for observe in observers],
            at_once=not quiet,
        )  # fmt: skip
    click.echo(os.fsencode(outcome.path))
    if outcome.result.stop_reason == "interrupted":
        click.echo(f"Interrupted; saved {outcome.path}.", err=True)
        sys.exit(130)
    made = room.compare(recipe, outcome.path)
    click.echo(_verdict(made, differences), err=True)
    if not made.identical and not differences:
        sys.exit(1)


def _verdict(made, differences):
    if made.identical:
        return "The same, byte for byte."
    if made.largest == 0:
        return "The same pixels; what the picture carries differs."
    apart = "in size" if made.largest is None else f"by up to {made.largest} levels of grey"
    why = "see the notes above" if differences else "and nothing that is known tells why"
    return f"They differ {apart}: {why}."
