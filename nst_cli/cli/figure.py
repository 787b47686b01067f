"""`nst figure`: makes the figures of the paper."""

import sys
from typing import Any, Optional

import click

from .making import jobs_option, make_all
from .options import PATH, overwrite_option
from .output import echo_path


@click.command(short_help="Make a figure of the paper.")
@click.argument("number", type=click.IntRange(1, 4))
@click.option("-o", "--output", metavar="FOLDER", type=PATH, default="out/figures",
              show_default=True,
              help="Folder for the grid, its pictures and its manifest.")  # fmt: skip
@click.option("--pictures", metavar="FOLDER", type=PATH,
              help="The authors' pictures (make images); by default the samples.")  # fmt: skip
@click.option("--full", is_flag=True,
              help="Use preset paper at its full size, which takes hours on a CPU. By default "
              "pictures are small, and all figures but 1 use preset fast.")  # fmt: skip
@click.option("--size", metavar="PIXELS", help="Long edge of each picture.")
@click.option("--iterations", metavar="N", help="Maximum number of steps.")
@click.option("--weights", metavar="FILE|builtin", type=PATH, help="VGG-19 parameters.")
@click.option("--device", metavar="auto|cpu|gpu|gpu:N", help="Device to compute on.")
@jobs_option
@overwrite_option
@click.option("-q", "--quiet", is_flag=True, help="No progress bars and no table.")
def figure(
    number: int,
    output: str,
    pictures: Optional[str],
    full: bool,
    jobs: int,
    overwrite: bool,
    quiet: bool,
    **choices: Any,
) -> None:
    """Make figure NUMBER of the paper: its pictures, a labelled grid of them, and a manifest.

    1: styles alone, by method and depth of layers. 2: the methods at five values of gamma. 3: six
    pairs by the four methods. 4: fusions of two methods. Pictures that are up to date are not
    made again. Prints the path of the grid.

    \b
    Example:
      nst figure 2 --pictures images
    """
    from ..views import figures

    given = {name: value for name, value in choices.items() if value is not None}
    layout = figures.figure(number, output, given, pictures, full)
    figures.check(layout, overwrite=overwrite)
    runs = [cell.run for cell in layout.cells]
    code = make_all(runs, overwrite=overwrite, quiet=quiet, with_table=False, jobs=jobs)
    if code:
        sys.exit(code)
    figures.write(layout)
    echo_path(layout.grid)
