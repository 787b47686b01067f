"""`nst doctor`: what this machine has."""

import sys

import click

from ..errors import shown


@click.command(short_help="Say what this machine has, and test it.")
def doctor():
    """Say what this machine has: versions, processor, devices, weights, and a test run.

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
