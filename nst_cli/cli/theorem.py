"""`nst theorem`: the Gram loss as an MMD, and what a transfer does to it."""

import contextlib
import os

import click

from .. import config
from ..errors import ConfigError
from .options import PATH, comparison_options, overwrite_option
from .progress import interrupts, progress, tqdm

# What a comparison goes by; the rest of a `Config` is the transfer's alone.
_COMPARED = (
    "preset", "c", "style_layers", "pooling", "size", "style_fit", "seed", "device", "weights",
)  # fmt: skip


@click.command(short_help="Show the Gram loss as an MMD, and what a transfer leaves of it.")
@click.argument("content", type=PATH)
@click.argument("style", type=PATH)
@click.option("-o", "--output", metavar="PLOT", type=PATH,
              help="Plot to make; .png, .svg or .pdf. Needs matplotlib.")  # fmt: skip
@click.option("--picture", metavar="MADE", type=PATH,
              help="Picture made of the two, to compare as well.")  # fmt: skip
@click.option("--transfer", is_flag=True,
              help="Make such a picture as nst stylize does, and compare it.")  # fmt: skip
@click.option("--sample", type=click.IntRange(min=2), metavar="N", default=4096,
              show_default=True,
              help="Positions of a map, at most, to go through all pairs of.")  # fmt: skip
@click.option("--json", "numbers", metavar="FILE", type=PATH,
              help="Write all numbers, with every digit.")  # fmt: skip
@comparison_options
@overwrite_option
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def theorem(
    content, style, output, picture, transfer, sample, numbers, overwrite, quiet, **choices
):
    """Show that the Gram loss is a squared MMD, and what a transfer leaves of it.

    Prints, for each style layer of CONTENT and STYLE, the Gram loss by Gram matrices and by the
    kernel (x.y)^2 over all pairs of positions; then the squared MMD of each kernel and the
    distance of the BN statistics. With --picture or --transfer it does so for a picture made of
    the two as well. Most options concern the transfer, and are refused without it.

    \b
    Example:
      nst theorem photo.jpg painting.jpg --transfer --preset fast --size 256 -o plot.png
    """
    from ..views import canvas
    from ..views import theorem as comparisons

    settings = config.Config(**choices)
    if transfer and picture:
        raise click.UsageError("--picture names a picture made, --transfer makes one: choose one.")
    for name, value in choices.items():
        if value is not None and name not in _COMPARED and not transfer:
            raise ConfigError("concerns the transfer alone; give --transfer with it.", name)
    if output:
        canvas.check(output)
    outputs = ((output, canvas.is_plot), (numbers, comparisons.is_json))
    job = comparisons.prepare(
        content, style, settings, picture=picture, sample=sample,
        outputs=[(path, ours) for path, ours in outputs if path], overwrite=overwrite,
    )  # fmt: skip
    for note in job.notes:
        click.echo(f"Note: {note}", err=True)
    if transfer:
        job = _transferred(job, quiet)
    with tqdm(total=len(settings.style_layers), unit="layer", disable=quiet) as bar:
        comparison = comparisons.compare(job, on_layer=lambda layer: bar.update())
    # As bytes, because a picture may have a name that is no text.
    click.echo(os.fsencode("\n".join(comparisons.lines(comparison))))
    if numbers:
        comparisons.write_json(comparison, numbers)
    if output:
        comparisons.plot.write(comparison, output)


def _transferred(job, quiet):
    from ..views import theorem as comparisons

    with contextlib.ExitStack() as stack:
        observers = [stack.enter_context(interrupts())]
        if not quiet:
            observers.append(stack.enter_context(progress(job.config)))
        return comparisons.transferred(
            job, lambda record: [observe(record) for observe in observers]
        )
