"""`nst figure`: makes the figures of the paper, and two of all alignments."""

import sys
from typing import TYPE_CHECKING, Any, Optional, Union

import click

from .making import jobs_option, make_all
from .options import METHODS, PATH, overwrite_option
from .output import echo_note, echo_path
from .progress import tqdm

if TYPE_CHECKING:
    from ..views.figures import Figure

_FIGURES = ("1", "2", "3", "4", "alignments", "judged")


@click.command(short_help="Make a figure of the paper, or of all alignments.")
@click.argument("name", metavar="FIGURE", type=click.Choice(_FIGURES))
@click.option("-o", "--output", metavar="FOLDER", type=PATH, default="out/figures",
              show_default=True,
              help="Folder for the figure, its pictures and its manifest.")  # fmt: skip
@click.option("--pictures", metavar="FOLDER", type=PATH,
              help="The authors' pictures (make images); by default the samples.")  # fmt: skip
@click.option("--method", "methods", metavar="NAME,...", type=METHODS,
              help="Style losses to compare, except in figure 4.  [default: the paper's four; "
              "alignments and judged: all]")  # fmt: skip
@click.option("--full", is_flag=True,
              help="Use preset paper at its full size, which takes hours on a CPU. By default "
              "pictures are small, and all figures but 1 use preset fast.")  # fmt: skip
@click.option("--size", metavar="PIXELS|keep", help="Long edge of each picture.")
@click.option("--iterations", metavar="N", help="Maximum number of steps.")
@click.option("--weights", metavar="FILE|builtin", type=PATH, help="VGG-19 parameters.")
@click.option("--device", metavar="auto|cpu|gpu|gpu:N", help="Device to compute on.")
@jobs_option
@overwrite_option
@click.option("-q", "--quiet", is_flag=True, help="No progress bars and no tables.")
def figure(
    name: str,
    output: str,
    pictures: Optional[str],
    methods: Optional[list[str]],
    full: bool,
    jobs: int,
    overwrite: bool,
    quiet: bool,
    **choices: Any,
) -> None:
    """Make a FIGURE: its pictures, a labelled grid of them, and a manifest.

    Those of the paper are 1: styles alone, by method and depth of layers. 2: the methods at five
    values of gamma. 3: six pairs by the four methods. 4: fusions of two methods.

    Two more are of all alignments. alignments: every method on two pairs. judged: what the
    pictures by each method leave of every alignment, as a heat map, as JSON, and as a table; it
    shares the pictures of alignments.

    Pictures that are up to date are not made again. Prints the path of the grid, or of the heat
    map.

    \b
    Example:
      nst figure 2 --pictures images
    """
    from ..views import figures

    number: Union[int, str] = int(name) if name.isdigit() else name
    given = {name: value for name, value in choices.items() if value is not None}
    layout = figures.figure(number, output, given, pictures, full, methods)
    figures.check(layout, overwrite=overwrite)
    runs = [cell.run for cell in layout.cells]
    code = make_all(
        runs, overwrite=overwrite, quiet=quiet, with_table=False, jobs=jobs, checkpoint="auto"
    )
    if code:
        sys.exit(code)
    if number == "judged":
        _judge(layout, quiet)
    else:
        figures.write(layout)
    echo_path(layout.grid)


def _judge(layout: "Figure", quiet: bool) -> None:
    """Judge the pictures of a figure by every method, and write the result."""
    from ..views import judged

    jobs = judged.jobs(layout)
    for note in dict.fromkeys(note for job in jobs for note in job.notes):
        echo_note(note)
    with tqdm(total=sum(job.steps for job in jobs), unit="measure", disable=quiet) as bar:
        matrix = judged.judge(layout, jobs, on_step=bar.update)
    judged.write(layout, matrix)
    if not quiet:
        for line in judged.markdown(matrix):
            click.echo(line, err=True)
