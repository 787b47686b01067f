"""`nst theorem`: the Gram loss as an MMD, and what a transfer does to it."""

import click

from .. import config
from ..errors import shown
from .options import PATH, options_of, overwrite_option
from .output import echo_note
from .progress import tqdm


@click.command(short_help="Show the Gram loss as an MMD, and what a transfer leaves of it.")
@click.argument("content", type=PATH)
@click.argument("style", type=PATH)
@click.option("-o", "--output", metavar="PLOT", type=PATH,
              help="Plot to make; .png, .svg or .pdf. Needs matplotlib.")  # fmt: skip
@click.option("--picture", metavar="MADE", type=PATH,
              help="Picture made of the two, to compare as well.")  # fmt: skip
@click.option("--sample", type=click.IntRange(min=2), metavar="N", default=4096,
              show_default=True,
              help="Positions of a map, at most, to go through all pairs of.")  # fmt: skip
@click.option("--json", "numbers", metavar="FILE", type=PATH,
              help="Write all numbers, with every digit.")  # fmt: skip
@options_of("c", "style_layers", "pooling", "size", "style_fit", "seed", "device", "weights")
@overwrite_option
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def theorem(content, style, output, picture, sample, numbers, overwrite, quiet, **choices):
    """Show that the Gram loss is a squared MMD, and what a transfer leaves of it.

    Prints, for each style layer of CONTENT and STYLE, the Gram loss by Gram matrices and by the
    kernel (x.y)^2 over all pairs of positions; then the squared MMD of each kernel and the
    distance of the BN statistics. With --picture it does so for a picture made of the two as
    well, at the size of --size.

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
        outputs=[(path, ours) for path, ours in outputs if path], overwrite=overwrite,
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
