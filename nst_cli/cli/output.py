"""What commands print: paths as results on stdout, notes on stderr."""

import os
from typing import Union

import click

from ..errors import shown


def echo_path(path: Union[str, "os.PathLike[str]"]) -> None:
    """Print a path on stdout, byte for byte: a file's name need not be text."""
    click.echo(os.fsencode(path))


def echo_note(note: object) -> None:
    """Print a note on stderr, in one line without control characters."""
    click.echo(f"Note: {shown(note)}", err=True)
