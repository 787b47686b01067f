"""A page that shows the pictures of a folder beside what made them."""

import os

from ... import files
from ...errors import OutputError
from . import collect, page

_ENDINGS = (".html", ".htm")


def make(folder, output=None):
    """Write the page of a folder: one file, which needs no other and no network.

    Parameters
    ----------
    folder : path-like
        Its pictures with a sidecar are shown, and those in the folders below it.
    output : path-like, optional
        By default ``report.html`` in the folder.

    Returns
    -------
    path : str
    notes : list of str
        What could not be shown and why, one line each.

    Raises
    ------
    ReportError
        There is no such folder, or nothing in it to show.
    OutputError
        The page cannot be written, or would overwrite what it is made of.
    """
    folder = os.fspath(folder)
    output = os.path.join(folder, "report.html") if output is None else os.fspath(output)
    found = collect.pictures(folder)
    if not output.lower().endswith(_ENDINGS):
        raise OutputError(f"Cannot write {output}: a page's name ends in {' or '.join(_ENDINGS)}.")
    files.check_output(output, [own for picture in found for own in collect.belongings(picture)])
    runs, notes = collect.runs(folder, found)
    text = page.render(os.path.basename(os.path.abspath(folder)) or folder, runs)
    try:
        with (
            files.replacing(output) as temporary,
            open(temporary, "w", encoding="utf-8") as stream,
        ):
            stream.write(text)
    except OSError as error:
        raise OutputError(f"Cannot write {output}: {error.strerror}.") from error
    return output, notes
