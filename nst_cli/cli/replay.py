"""`nst replay`: a picture made again."""

import os
import sys

import click

from ..errors import IncompleteError, shown
from .options import PATH, overwrite_option
from .output import echo_note, echo_path
from .progress import observing


@click.command(short_help="Make a picture again from what it carries.")
@click.argument("picture", type=PATH)
@click.option("-o", "--output", metavar="OUT", type=PATH,
              help="Default: PICTURE-replay, with its ending.")  # fmt: skip
@click.option("--content", metavar="FILE", type=PATH, help="Where the content picture is now.")
@click.option("--style", metavar="FILE", type=PATH, help="Where the style picture is now.")
@click.option("--init", metavar="FILE", type=PATH, help="Where the start image is now.")
@click.option("--weights", metavar="FILE", type=PATH, help="Where the weights are now.")
@overwrite_option
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def replay(picture, output, overwrite, quiet, **places):
    """Make PICTURE again from what it carries, and compare the two.

    Pictures and weights are checked by their checksums. On the same kind of processor, with the
    same versions, the two are the same byte for byte; where something differs, it is named.
    Prints the path of the new picture. Exits with 1 if the two differ and nothing tells why.

    \b
    Example:
      nst replay picture.png
    """
    from ..runs import replay as replays
    from ..runs import runner

    recipe = replays.read(picture, places)
    stem, ending = os.path.splitext(picture)
    output = output or f"{stem}-replay{ending}"
    job = replays.prepare(recipe, output, overwrite=overwrite)
    differences = replays.differences(recipe, job)
    for difference in differences:
        echo_note(f"{difference}.")
    incomplete = None
    with observing(recipe.config, quiet) as observe:
        try:
            outcome = runner.run(job, on_step=observe)
        except IncompleteError as error:
            outcome, incomplete = error.outcome, error
    echo_path(outcome.path)
    if incomplete:
        raise incomplete
    if outcome.result.stop_reason == "interrupted":
        click.echo(f"Interrupted; saved {shown(outcome.path)}.", err=True)
        sys.exit(130)
    result = replays.compare(recipe, outcome.path)
    click.echo(_verdict(result, differences), err=True)
    if not result.identical and not differences:
        sys.exit(1)


def _verdict(result, differences):
    if result.identical:
        return "The same, byte for byte."
    if result.largest == 0:
        return "The same pixels; what the picture carries differs."
    apart = "in size" if result.largest is None else f"by up to {result.largest} levels of grey"
    why = "see the notes above" if differences else "and nothing that is known tells why"
    return f"They differ {apart}: {why}."
