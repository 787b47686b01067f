"""`nst bench`: measures how fast this machine is."""

from typing import TYPE_CHECKING, Any, Optional

import click

from .. import config
from .options import PATH

if TYPE_CHECKING:
    from ..bench import Row

_HEAD = (
    "| device | size | method | preset | precision | s per step | steps | s to paper's loss "
    "| s in all | final loss, of paper's | peak memory, MB |"
)


@click.command(short_help="Measure how fast this machine is.")
@click.option("--content", metavar="FILE", type=PATH,
              help="Content picture; by default the sample.")  # fmt: skip
@click.option("--style", metavar="FILE", type=PATH,
              help="Style picture; by default the sample.")  # fmt: skip
@click.option("--size", "sizes", multiple=True, default=("224",), metavar="PIXELS",
              help="Long edge to measure at; may be repeated.  [default: 224]")  # fmt: skip
@click.option("--method", "methods", multiple=True, metavar="NAME",
              default=config.PAPER_METHODS,
              help="Style loss to measure; may be repeated. By default the paper's.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|gpu|gpu:N",
              help="Device to compute on.")  # fmt: skip
def bench(
    content: Optional[str],
    style: Optional[str],
    sizes: tuple[Any, ...],
    methods: tuple[str, ...],
    device: str,
) -> None:
    """Measure this machine: preset paper, and preset fast (without a margin) up to the same loss.

    Prints a Markdown table, row by row. "s in all" counts from the start of a process to the end
    of its run, by its own stop rule, without the reading and writing of pictures. At 224 pixels
    the paper's four methods take a few minutes. Other work on the machine distorts the times.

    \b
    Example:
      nst bench --size 224 --size 512 --method poly
    """
    edges = [config.check_pixels("size", size) for size in sizes]
    methods = tuple(config.Config(method=method).method for method in methods)
    device = config.Config(device=device).device

    from .. import engine, machine, samples
    from ..bench import pictures, rows

    pairs = [
        pictures(size, content or samples.CONTENT, style or samples.STYLES[0]) for size in edges
    ]
    context = engine.context(device)
    click.echo(f"{machine.describe()}, {engine.threads()} threads, MXNet {engine.version()}\n")
    click.echo(f"{_HEAD}\n{'|---' * _HEAD.count(' |')}|")
    for content_image, style_image in pairs:
        for method in methods:
            for row in rows(content_image, style_image, method, device):
                click.echo(_line(context, row))


def _line(context: Any, row: "Row") -> str:
    height, width = row.size
    seconds = "not reached" if row.seconds is None else f"{row.seconds:.1f}"
    memory = "unknown" if row.memory is None else f"{row.memory / 1e6:.0f}"
    cells = (
        context, f"{width} x {height}", row.method, row.preset, row.precision,
        f"{row.step_seconds:.3f}", row.steps, seconds, f"{row.whole_seconds:.1f}",
        f"{row.loss_ratio:.3f}", memory,
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"
