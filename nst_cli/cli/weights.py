"""`nst weights`: fetches, checks and finds the parameters of VGG-19."""

from typing import Optional

import click

from ..errors import shown
from .group import Group
from .options import PATH
from .output import echo_path
from .progress import tqdm


@click.group(cls=Group)
def weights() -> None:
    """Fetch, check and find the parameters of VGG-19."""


@weights.command()
@click.argument("destination", type=PATH, required=False)
@click.option("--url", metavar="URL", help="Another address for the same file.")
@click.option("--overwrite", is_flag=True, help="Replace a different file at DESTINATION.")
def fetch(destination: Optional[str], url: Optional[str], overwrite: bool) -> None:
    """Download the authors' VGG-19 (80 MB) to DESTINATION or the user's cache, and check it.

    An interrupted download is resumed. A broken file in the cache is replaced.

    \b
    Example:
      nst weights fetch models/
    """
    from ..weights import PUBLISHED_URL
    from ..weights import fetch as fetch_weights

    # The delay keeps a download that fails at once from showing a bar.
    with tqdm(unit="B", unit_scale=True, unit_divisor=1024, delay=0.2) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        path = fetch_weights(
            destination, url or PUBLISHED_URL, overwrite=overwrite, progress=progress,
            on_wait=lambda: click.echo("Waiting for another nst weights fetch.", err=True),
        )  # fmt: skip
    echo_path(path)


@weights.command()
@click.argument("file", type=PATH)
def check(file: str) -> None:
    """Read FILE and report whether it holds the parameters of VGG-19, and which.

    \b
    Example:
      nst weights check models/vgg19.params
    """
    from ..weights import check as check_weights

    report = check_weights(file)
    kind = "the published file" if report.published else "not the published file, but usable"
    line = f"{report.path}: VGG-19 from {report.layers[0]} to {report.layers[-1]}; {kind}"
    click.echo(shown(line))
    click.echo(f"git blob id {report.blob_id}\nsha256 {report.sha256}\n{report.size} bytes")


@weights.command()
def path() -> None:
    """Print the path of the weights that a run would use.

    \b
    Example:
      nst weights path
    """
    from ..weights import Weights

    echo_path(Weights.find().source)
