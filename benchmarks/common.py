"""What the benchmarks share: the choice of pictures, and the machine in a line."""

import platform
import sys

from nst_cli import engine, machine, samples
from nst_cli.errors import NstError


def run(main):
    """Run a benchmark; what its user can mend is one line."""
    try:
        main()
    except NstError as error:
        sys.exit(f"Error: {error}")


def describe():
    """Return the machine and the versions in a line."""
    return (
        f"{machine.describe()}, {engine.threads()} threads, "
        f"Python {platform.python_version()}, MXNet {engine.version()}"
    )


def add_pictures(parser):
    """Give a parser the options that choose pictures and sizes."""
    parser.add_argument("--content", default=samples.CONTENT, help="by default the sample")
    parser.add_argument("--style", default=samples.STYLES[0], help="by default the sample")
    parser.add_argument("--sizes", default="224,512", help="long edges in pixels")
