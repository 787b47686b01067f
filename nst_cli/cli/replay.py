"""`nst replay`: makes a picture again."""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional

import click

from ..errors import IncompleteError, shown
from .options import PATH, overwrite_option
from .output import echo_note, echo_path
from .progress import observing

if TYPE_CHECKING:
    from ..runs.replay import Replay


@click.command(short_help="Make a picture again from its metadata.")
@click.argument("picture", type=PATH)
@click.option("-o", "--output", metavar="OUT", type=PATH,
              help="Picture to make.  [default: PICTURE-replay, same ending]")  # fmt: skip
@click.option("--content", metavar="FILE", type=PATH, help="Content picture, if it has moved.")
@click.option("--style", metavar="FILE", type=PATH, multiple=True,
              help="Style picture, or a folder with style pictures, if they have moved; once for "
              "each.")  # fmt: skip
@click.option("--mask", metavar="FILE", type=PATH, multiple=True,
              help="Mask, or a folder with masks, if they have moved; once for each.")  # fmt: skip
@click.option("--init", metavar="FILE", type=PATH, help="Start image, if it has moved.")
@click.option("--weights", metavar="FILE", type=PATH, help="Weights, if they have moved.")
@overwrite_option
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def replay(
    picture: str, output: Optional[str], overwrite: bool, quiet: bool, **places: Any
) -> None:
    """Make PICTURE again from its metadata, and compare the two.

    Inputs and weights are verified by their checksums. On the same kind of processor and with the
    same versions, the two are identical byte for byte. Any difference in machine or versions is
    printed first. Prints the path of the new picture. Exits with 1 if the two differ without such
    a difference.

    \b
    Example:
      nst replay picture.png
    """
    from ..runs import claims, runner
    from ..runs import replay as replays

    recipe = replays.read(picture, places)
    stem, ending = os.path.splitext(picture)
    output = output or f"{stem}-replay{ending}"
    click.get_current_context().with_resource(claims.claimed([output]))
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


def _verdict(result: "Replay", differences: Sequence[str]) -> str:
    if result.identical:
        return "Identical, byte for byte."
    if result.largest == 0:
        return "Identical pixels; the metadata differ."
    extent = "in size" if result.largest is None else f"by up to {result.largest:g} levels of grey"
    why = "see the notes above" if differences else "the cause is unknown"
    return f"They differ {extent}: {why}."
