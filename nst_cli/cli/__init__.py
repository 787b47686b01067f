"""The command line: a command turns options into a `Config`, makes one call, prints a result."""

# isort: off
# Before the other imports, because they may open files.
from . import streams

streams.open_missing()
# isort: on

import sys

import click

from .. import __version__
from . import docstrings
from .batch import batch
from .bench import bench
from .checkpoints import checkpoints
from .doctor import doctor
from .figure import figure
from .gpu import gpu
from .group import Program
from .mxnet import mxnet
from .plot import plot
from .replay import replay
from .report import report
from .score import score
from .stylize import stylize
from .theorem import theorem
from .weights import weights


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nst")
def main() -> None:
    """Style transfer by matching feature distributions.

    \b
    Example:
      nst weights fetch
      nst stylize photo.jpg painting.jpg -o picture.png
    """


for command in (
    stylize, batch, checkpoints, replay, figure, report, score, plot, theorem, weights, mxnet, gpu,
    doctor, bench,
):  # fmt: skip
    main.add_command(command)

if sys.flags.optimize > 1:
    docstrings.restore(main)
