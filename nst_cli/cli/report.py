"""`nst report`: writes a page of many pictures."""

from typing import Optional

import click

from .options import PATH, overwrite_option
from .output import echo_note, echo_path


@click.command(short_help="Make a page of a folder's pictures.")
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("-o", "--output", metavar="FILE.html", type=PATH,
              help="Page to write.  [default: DIR/report.html]")  # fmt: skip
@overwrite_option
def report(folder: str, output: Optional[str], overwrite: bool) -> None:
    """Make a page of the pictures in DIR, with their inputs, parameters and losses.

    Shows each picture in and below DIR that has a sidecar beside it (picture.png.json), and draws
    its losses if it has a log (picture.png.jsonl). The page is one file that needs no network: it
    can search, filter, sort, and compare any two pictures. Prints its path.

    \b
    Example:
      mkdir tries
      nst stylize photo.jpg painting.jpg -o tries/a.png --log tries/a.png.jsonl
      nst report tries
    """
    from ..views import report as reports

    path, notes = reports.make(folder, output, overwrite=overwrite)
    for note in notes:
        echo_note(note)
    echo_path(path)
