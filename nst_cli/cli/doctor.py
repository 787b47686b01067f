"""`nst doctor`: checks this machine."""

import sys

import click

from ..errors import shown


@click.command(short_help="Check this machine for what nst needs.")
def doctor() -> None:
    """Check this machine: versions, processor, devices, weights, and a test run.

    Prints one line for each, ok or BAD. Exits with 1 if any is BAD.

    \b
    Example:
      nst doctor
    """
    from ..doctor import examine

    healthy = True
    for topic, finding, good in examine():
        healthy = healthy and good
        click.echo(f"{'ok ' if good else 'BAD'}  {topic:<10} {shown(finding)}")
    if not healthy:
        sys.exit(1)
