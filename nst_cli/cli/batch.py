"""`nst batch`: makes many pictures."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Optional

import click
from click.core import ParameterSource

from .. import config
from .making import jobs_option, make_all
from .options import PATH, ConfigCommand, config_options, overwrite_option
from .output import echo_note, echo_path
from .resuming import checkpoint_option

if TYPE_CHECKING:
    from ..runs.keeping import Every


@click.command(cls=ConfigCommand, short_help="Make the pictures that a file lists.")
@click.argument("file", type=PATH)
@config_options
@click.option("-o", "--output", metavar="TEMPLATE", type=PATH,
              help="Names of the pictures, such as out/{content}-{gamma}.png; overrides that of "
              "FILE.")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Also make pictures that are up to date.")
@overwrite_option
@jobs_option
@checkpoint_option
@click.option("--dask", metavar="ADDRESS",
              help="Dask scheduler whose cluster makes them: tcp://HOST:8786.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="No progress bars and no table.")
@click.pass_context
def batch(
    ctx: click.Context,
    /,
    file: str,
    output: Optional[str],
    force: bool,
    overwrite: bool,
    jobs: int,
    checkpoint: "Every",
    dask: Optional[str],
    quiet: bool,
    **choices: Any,
) -> None:
    """Make the pictures that FILE lists: a TOML file of runs and grids.

    Prints the path of each picture made. A picture that exists is skipped if it was made from the
    same inputs with the same options. A run that was interrupted goes on from its checkpoint. A
    failing run does not stop the others. Command-line options override FILE.

    \b
    Example:
      nst batch configs/methods.toml --size 256 --jobs 2
    """
    if dask and checkpoint not in ("auto", "off"):
        raise click.UsageError("--checkpoint does not work with --dask: its workers keep none.")
    given = {
        name: value
        for name, value in choices.items()
        if ctx.get_parameter_source(name) != ParameterSource.DEFAULT
    }
    config.Config(**given)

    from ..runs import plan

    work = plan.read(file, given, output)
    for note in work.notes:
        echo_note(note)
    code = make_all(
        work.runs, overwrite=overwrite, quiet=quiet, failures=work.failures,
        connected=lambda: _connected(dask), on_done=lambda run: echo_path(run.output),
        force=force, jobs=jobs, checkpoint=checkpoint,
    )  # fmt: skip
    if code:
        sys.exit(code)


def _connected(address: Optional[str]) -> AbstractContextManager[Optional[Callable[..., Any]]]:
    if not address:
        return nullcontext()

    from ..runs import cluster

    return cluster.connected(address)
