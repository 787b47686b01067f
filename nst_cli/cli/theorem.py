"""`nst theorem`: shows that the Gram loss is an MMD, and how a transfer reduces it."""

from typing import Any, Optional

import click

from .. import config
from ..errors import shown
from .options import PATH, options_of, overwrite_option
from .output import echo_note
from .progress import tqdm


@click.command(short_help="Show that the Gram loss is an MMD, and how a transfer reduces it.")
@click.argument("content", type=PATH)
@click.argument("style", type=PATH)
@click.option("-o", "--output", metavar="PLOT", type=PATH,
              help="Plot to make; .png, .svg or .pdf. Needs matplotlib.")  # fmt: skip
@click.option("--picture", metavar="MADE", type=PATH,
              help="Picture made from the two, to compare as well.")  # fmt: skip
@click.option("--sample", type=click.IntRange(min=2), metavar="N", default=4096,
              show_default=True,
              help="Maximum number of positions of a map whose pairs are summed.")  # fmt: skip
@click.option("--json", "numbers", metavar="FILE", type=PATH,
              help="Write all numbers at full precision.")  # fmt: skip
@options_of("c", "style_layers", "pooling", "size", "style_fit", "seed", "device", "weights")
@overwrite_option
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def theorem(
    content: str,
    style: str,
    output: Optional[str],
    picture: Optional[str],
    sample: int,
    numbers: Optional[str],
    overwrite: bool,
    quiet: bool,
    **choices: Any,
) -> None:
    """Show that the Gram loss is a squared MMD, and how a transfer reduces it.

    Prints, for each style layer of CONTENT and STYLE, the Gram loss computed from Gram matrices
    and from the kernel (x.y)^2 over all pairs of positions; then the squared MMD of each kernel
    and the distance of the BN statistics. With --picture it also compares a picture made from the
    two, at the long edge given by --size.

    \b
    Example:
      nst stylize photo.jpg painting.jpg -o made.png --preset fast --size 256
      nst theorem photo.jpg painting.jpg --picture made.png --preset fast --size 256
    """
    from ..views import canvas
    from ..views import theorem as comparisons

    settings = config.Config(**choices)
    if output:
        canvas.check(output)
    outputs = ((output, canvas.is_plot), (numbers, comparisons.is_json))
    job = comparisons.prepare(
        content, style, settings, picture=picture, sample=sample,
        outputs=[(path, is_own) for path, is_own in outputs if path], overwrite=overwrite,
    )  # fmt: skip
    for note in job.notes:
        echo_note(note)
    with tqdm(total=len(settings.style_layers), unit="layer", disable=quiet) as bar:
        comparison = comparisons.compare(job, on_layer=lambda layer: bar.update())
    for line in comparisons.lines(comparison):
        click.echo(shown(line))
    if numbers:
        comparisons.write_json(comparison, numbers)
    if output:
        comparisons.plot.write(comparison, output)
