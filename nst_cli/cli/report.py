"""`nst report`: a page of many pictures."""

import click

from .options import PATH, overwrite_option
from .output import echo_note, echo_path


@click.command(short_help="Make a page of a folder's pictures.")
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("-o", "--output", metavar="FILE.html", type=PATH,
              help="Page to write.  [default: DIR/report.html]")  # fmt: skip
@overwrite_option
def report(folder, output, overwrite):
    """Make a page of the pictures in DIR: what each was made from and how, and its losses.

    Shows those with a sidecar beside them (picture.png.json), also in folders below DIR, and
    draws the losses where there is a log (picture.png.jsonl). The page is one file that needs
    no network: search, filter, sort, and compare any two pictures. Prints its path.

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
