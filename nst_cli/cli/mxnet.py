"""`nst mxnet`: the MXNet that nst computes with."""

import click

from .group import Group
from .output import echo_path


@click.group(cls=Group)
def mxnet():
    """Get MXNet, where pip does not install it with nst."""


@mxnet.command(short_help="Install MXNet 1.9.1 beside NumPy 2.")
def install():
    """Install MXNet 1.9.1 in the environment that nst runs in, and try to import it.

    From Python 3.13 on pip cannot do it with nst, because MXNet asks for a NumPy below 2. It runs
    with NumPy 2 all the same: this downloads MXNet without what it asks for (49 MB), and leaves
    NumPy as it is. Where MXNet is installed and works, nothing is changed. Prints the folder that
    MXNet is in.

    \b
    Example:
      nst mxnet install
    """
    from .. import engine
    from ..engine.install import install as install_mxnet

    engine.check_python()
    echo_path(install_mxnet())
