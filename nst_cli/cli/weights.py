"""`nst weights`: get, check and find the parameters of VGG-19."""

import click
from tqdm import tqdm

from .group import Group


@click.group(cls=Group)
def weights():
    """Get, check and find the parameters of VGG-19."""


@weights.command()
@click.argument("destination", required=False)
@click.option("--url", help="Another address of the same file.")
def fetch(destination, url):
    """Download the authors' VGG-19 (80 MB) to DESTINATION or the user's cache, and check it.

    A download that broke off goes on where it stopped.

    \b
    Example:
      nst weights fetch models/
    """
    from .. import weights as room

    # A download that fails at once shows no bar.
    with tqdm(unit="B", unit_scale=True, unit_divisor=1024, delay=0.2) as bar:

        def progress(done, total):
            bar.total = total
            bar.update(done - bar.n)

        path = room.fetch(destination, progress=progress, **({"url": url} if url else {}))
    click.echo(path)


@weights.command()
@click.argument("file")
def check(file):
    """Read FILE to the end and say whether it holds VGG-19, and which.

    \b
    Example:
      nst weights check models/vgg19.params
    """
    from .. import weights as room

    report = room.check(file)
    kind = "the published file" if report.published else "not the published file, but usable"
    click.echo(f"{report.path}: VGG-19 from {report.layers[0]} to {report.layers[-1]}; {kind}")
    click.echo(f"git blob id {report.blob_id}\nsha256 {report.sha256}\n{report.size} bytes")


@weights.command()
def path():
    """Print the path of the weights that a run would use.

    \b
    Example:
      nst weights path
    """
    from .. import weights as room

    click.echo(room.find())
