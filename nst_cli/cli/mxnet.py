"""`nst mxnet`: installs MXNet, the library that nst computes with."""

import click

from .group import Group
from .output import echo_path


@click.group(cls=Group)
def mxnet() -> None:
    """Install MXNet where pip does not install it with nst."""


@mxnet.command(short_help="Install MXNet 1.9.1 beside NumPy 2.")
def install() -> None:
    """Install MXNet 1.9.1 in nst's environment, and try to import it.

    From Python 3.13 on, pip cannot install it with nst, because MXNet requires a NumPy below 2.
    It runs with NumPy 2 all the same: this command downloads MXNet without its dependencies
    (49 MB) and leaves NumPy as it is. If MXNet is installed and works, nothing changes. Prints
    MXNet's folder.

    \b
    Example:
      nst mxnet install
    """
    from .. import engine
    from ..engine.install import install as install_mxnet

    engine.check_python()
    echo_path(install_mxnet())
