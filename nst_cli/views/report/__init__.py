"""Writes a page that shows a folder's pictures, their parameters and their losses."""

import os
import re
from typing import Optional

from ... import files
from ...errors import OutputError
from ...files import StrPath
from . import collect, page

_ENDINGS = (".html", ".htm")
# A line near the start of page.html.
_MARK = re.compile(rb'<meta name="generator" content="nst ')
_START = 4096


def make(
    folder: StrPath, output: Optional[StrPath] = None, *, overwrite: bool = False
) -> tuple[str, list[str]]:
    """Write the page of a folder: one file that needs no other file and no network.

    Parameters
    ----------
    folder : path-like
        The page shows the pictures with a sidecar in it and in the folders below it.
    output : path-like, optional
        By default ``report.html`` in the folder.
    overwrite : bool
        Whether an existing file may be replaced that nst did not make.

    Returns
    -------
    path : str
    notes : list of str
        What cannot be shown and why, one line each.

    Raises
    ------
    ReportError
        The folder does not exist or holds nothing to show.
    OutputError
        The page cannot be written, or would overwrite one of its inputs or a file that nst did
        not make.
    """
    folder = os.fspath(folder)
    output = os.fspath(os.path.join(folder, "report.html") if output is None else output)
    pictures = collect.pictures(folder)
    if not output.lower().endswith(_ENDINGS):
        raise OutputError(f"Cannot write {output}: a page's name ends in {' or '.join(_ENDINGS)}.")
    inputs = [path for picture in pictures for path in collect.files_of(picture)]
    files.check_output(output, inputs, overwrite=overwrite, ours=is_page)
    runs, notes = collect.runs(folder, pictures)
    text = page.render(os.path.basename(os.path.abspath(folder)) or folder, runs)
    files.write_text(output, text)
    return output, notes


def is_page(path: StrPath) -> bool:
    """Return whether `make` wrote a file."""
    try:
        with files.open_regular(path) as stream:
            return bool(_MARK.search(stream.read(_START)))
    except OSError:
        return False
