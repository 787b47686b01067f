"""`nst gpu`: installs the CUDA build of MXNet."""

import os
from typing import Optional

import click

from ..errors import shown
from .group import Group
from .options import PATH
from .output import echo_path


@click.group(cls=Group)
def gpu() -> None:
    """Install the CUDA build of MXNet, for NVIDIA cards."""


@gpu.command(short_help="Install the CUDA build of MXNet.")
@click.option("--dir", "place", metavar="DIR", type=PATH,
              help="Folder to install into.  [default: NST_GPU, else nst/gpu in the user's data "
              "folder]")  # fmt: skip
@click.option("--no-card", is_flag=True, help="Install even if this machine has no card, for "
              "example in a container image.")  # fmt: skip
def install(place: Optional[str], no_card: bool) -> None:
    """Install the CUDA build of MXNet, with NVIDIA's libraries, in a folder of its own.

    Checks driver and card, downloads 2.4 GB from PyPI (4.1 GB unpacked), and tests the card.
    Prints the folder; removing it undoes the installation. The MXNet installed with nst stays as
    it is, for --device cpu.

    \b
    Example:
      nst gpu install
    """
    from .. import engine
    from ..engine.gpu import library
    from ..engine.gpu.install import install as install_build

    engine.check_python()
    default = library.folder()
    chosen = place or default
    if not chosen:
        raise click.UsageError("This user has no home folder: choose a folder with --dir.")
    installed = install_build(chosen, card=not no_card)
    if not default or installed != default.resolve():
        click.echo(f"Set {library.VARIABLE}={shown(installed)} so that nst finds it.", err=True)
    if not no_card:
        from .. import doctor

        os.environ[library.VARIABLE] = str(installed)
        click.echo(doctor.try_network(f"gpu:{library.first_usable()}"), err=True)
    echo_path(installed)
