"""Functions that the benchmarks share: options for pictures, the machine in a line, step times."""

import platform
import sys
import time

from nst_cli import Config, engine, machine, samples, transfer
from nst_cli.errors import NstError


def run(main):
    """Run a benchmark; an error that the user can correct is one line."""
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


def step_times(content, style, steps, precision, device="auto", convolution="auto"):
    """Return the seconds of each step of preset `fast` after the first, at a single size."""
    moments = []
    config = Config(
        preset="fast", precision=precision, margin=0, scales=1, iterations=steps, stop_eps=0,
        stop_decrease=0, device=device, convolution=convolution,
    )  # fmt: skip
    transfer(content, style, config, on_step=lambda record: moments.append(time.perf_counter()))
    return [later - earlier for earlier, later in zip(moments, moments[1:])]
