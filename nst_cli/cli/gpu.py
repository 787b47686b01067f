"""`nst gpu`: the CUDA build of MXNet."""

import os

import click

from ..errors import shown
from .group import Group
from .options import PATH
from .output import echo_path


@click.group(cls=Group)
def gpu():
    """Get the CUDA build of MXNet, for NVIDIA cards."""


@gpu.command(short_help="Install the CUDA build of MXNet.")
@click.option("--dir", "place", metavar="DIR", type=PATH,
              help="Folder of its own for it.  [default: NST_GPU, else nst/gpu in the user's data "
              "folder]")  # fmt: skip
@click.option("--no-card", is_flag=True, help="Install it though this machine has no card, as "
              "for an image that will run on one.")  # fmt: skip
def install(place, no_card):
    """Install the CUDA build of MXNet, with NVIDIA's libraries, in a folder of its own.

    Looks at driver and card, downloads 2.4 GB from PyPI, which unpack to 4.1 GB, and tests the
    card. Prints the folder; remove that to undo it all. The MXNet installed with nst stays as it
    is, for --device cpu.

    \b
    Example:
      nst gpu install
    """
    from .. import engine
    from ..engine.gpu import library
    from ..engine.gpu.install import install as install_build

    engine.check_python()
    usual = library.folder()
    if not place and not usual:
        raise click.UsageError("This user has no home folder: name a folder by --dir.")
    done = install_build(place or usual, card=not no_card)
    if not usual or done != usual.resolve():
        click.echo(f"Set {library.VARIABLE}={shown(done)}, so that nst finds it.", err=True)
    if not no_card:
        from .. import doctor

        os.environ[library.VARIABLE] = str(done)
        click.echo(doctor.try_network(f"gpu:{library.first_usable()}"), err=True)
    echo_path(done)
