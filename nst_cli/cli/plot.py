"""`nst plot`: draws loss curves."""

import click

from .options import PATH, overwrite_option
from .output import echo_note, echo_path


@click.command(short_help="Draw the loss curves of logs.")
@click.argument("logs", metavar="LOG...", type=PATH, nargs=-1, required=True)
@click.option("-o", "--output", metavar="FILE", type=PATH, required=True,
              help="Picture to write; .png, .svg or .pdf.")  # fmt: skip
@overwrite_option
def plot(logs: tuple[str, ...], output: str, overwrite: bool) -> None:
    """Draw the losses in LOG, written by nst stylize --log, on a logarithmic scale.

    One log: a panel of the total and its parts by method, and a panel of layers for each method.
    Several logs: a panel for each loss, with a line for each log. Prints the picture's path.

    Needs matplotlib: pip install 'nst-cli[plot]'

    \b
    Example:
      nst stylize photo.jpg painting.jpg -o a.png --log a.jsonl
      nst plot a.jsonl -o losses.png
    """
    from ..views import plot as plots

    path, notes = plots.draw(logs, output, overwrite=overwrite)
    for note in notes:
        echo_note(note)
    echo_path(path)
