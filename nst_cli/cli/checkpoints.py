"""`nst checkpoints`: lists and removes what interrupted runs left."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from ..errors import shown
from ..runs.work import duration

if TYPE_CHECKING:
    from ..runs.checkpoints import Entry

_SHORT_NAME = 12


@click.command(short_help="List or remove the checkpoints of interrupted runs.")
@click.option("--remove", metavar="NAME|all", multiple=True,
              help="Remove the checkpoint whose name starts with NAME, or all.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def checkpoints(remove: Sequence[str], as_json: bool) -> None:
    """List the checkpoints of interrupted runs, the newest first.

    Prints for each its name, size, age, the steps made, and the picture that its run makes.
    Checkpoints of finished runs are removed by themselves. With --remove, lists those removed.

    \b
    Example:
      nst checkpoints
      nst checkpoints --remove all
    """
    from ..runs import checkpoints as files

    entries = files.matching(remove) if remove else files.entries()
    if remove:
        for entry in entries:
            files.remove(entry.name)
    if as_json:
        click.echo(json.dumps([entry.to_dict() for entry in entries], indent=2))
        return
    for line in _table(entries):
        click.echo(line)
    total = sum(entry.size for entry in entries)
    verb = "removed" if remove else f"in {shown(files.folder())}"
    count = f"{len(entries)} checkpoint{'' if len(entries) == 1 else 's'}"
    click.echo(f"{count}, {_size(total)}, {verb}.", err=True)


def _table(entries: Sequence["Entry"]) -> Iterator[str]:
    for entry in entries:
        how_far = f"step {entry.step}/{entry.steps}" if entry.step else "damaged"
        yield (
            f"{entry.name[:_SHORT_NAME]}  {_size(entry.size):>8}  {_age(entry.age):>12}  "
            f"{how_far:<16}  {shown(entry.output)}".rstrip()
        )


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _age(seconds: float) -> str:
    seconds = max(0.0, seconds)
    return duration(seconds) if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"
