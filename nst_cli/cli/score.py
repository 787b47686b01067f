"""`nst score`: what pictures leave of every alignment, whatever made them."""

import json
from typing import Any, Optional

import click

from ..errors import shown
from .options import METHODS, PATH, overwrite_option, plain_options_of
from .output import echo_note
from .progress import tqdm


@click.command(short_help="Score pictures by every alignment.")
@click.argument("pictures", metavar="PICTURE...", type=PATH, nargs=-1, required=True)
@click.option("--content", metavar="FILE", type=PATH, required=True,
              help="The content picture.")  # fmt: skip
@click.option("--style", metavar="FILE", type=PATH, required=True,
              help="The style picture.")  # fmt: skip
@click.option("--json", "output", metavar="FILE|-", type=PATH,
              help="Write all numbers at full precision; -: to the standard output, without the "
              "table.")  # fmt: skip
@click.option("--method", "methods", metavar="NAME,...", type=METHODS,
              help="Alignments to score by; those of plugins only by name.  [default: all of "
              "nst's own]")  # fmt: skip
@click.option("--size", metavar="PIXELS|keep", default="512", show_default=True,
              help="Long edge at which all pictures are compared; keep: the content's "
              "own.")  # fmt: skip
@click.option("--draws", type=click.IntRange(min=2), metavar="N", default=16, show_default=True,
              help="Random draws of each estimate. Large layers get fewer, but at least 4, "
              "because each draw takes more positions there.")  # fmt: skip
@plain_options_of(
    "style_layers", "content_layers", "pooling", "max_pixels", "seed", "device", "weights"
)
@overwrite_option
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def score(
    pictures: tuple[str, ...],
    content: str,
    style: str,
    output: Optional[str],
    methods: Optional[list[str]],
    draws: int,
    overwrite: bool,
    quiet: bool,
    **choices: Any,
) -> None:
    """Score each PICTURE by every alignment: how close its features are to those of the style.

    A picture may be of any origin, as only its pixels count. For each method and style layer,
    the table has what the picture leaves of the alignment, relative to what the content picture
    has left: 0 equals the style, 1 is as far from it as the content. It also has the content
    loss, and a rank over all pictures by the mean of their ranks.

    All pictures are compared by the same random draws, at the content's size. The style keeps its
    own aspect ratio.

    \b
    Example:
      nst score mine.png theirs.jpg --content photo.jpg --style painting.jpg
    """
    from ..views import score as scores

    to_stdout = output == "-"
    path = None if to_stdout else output
    config = scores.config_of(methods, **choices)
    job = scores.prepare(
        content, style, pictures, config, draws=draws, output=path, overwrite=overwrite
    )
    for note in job.notes:
        echo_note(note)
    with tqdm(total=job.steps, unit="measure", disable=quiet) as bar:
        result = scores.score(job, on_step=bar.update)
    if to_stdout:
        click.echo(json.dumps(result.to_dict(), indent=2))
        return
    for line in scores.lines(result):
        click.echo(shown(line))
    if path:
        scores.write_json(result, path)
