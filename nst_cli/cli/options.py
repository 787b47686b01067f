"""The options that make a `Config`, one for each of its fields."""

import os

import click
from click.shell_completion import CompletionItem

from .. import config


class _Path(click.ParamType):
    """The name of a file or folder; ``~`` at its start is the home folder, as in a shell.

    A shell leaves it alone within ``--output=~/out.png`` and in quotes.
    """

    name = "text"

    def convert(self, value, param, ctx):
        return os.path.expanduser(value)

    def shell_complete(self, ctx, param, incomplete):
        """Let the shell complete the names of files and folders."""
        return [CompletionItem(incomplete, type="file")]


PATH = _Path()

overwrite_option = click.option(
    "--overwrite", is_flag=True,
    help="Also replace existing files that nst did not make.",
)  # fmt: skip

_preset_option = click.option(
    "--preset", metavar="NAME", default="paper", show_default=True,
    help=f"Set of defaults: {', '.join(config.PRESETS)}.",
)  # fmt: skip


def config_options(command):
    """Give a command an option for each field of `Config`."""
    return options_of(*config.OPTIONS)(command)


def options_of(*names):
    """Return a decorator that gives a command ``--preset`` and the options of some fields."""

    def decorate(command):
        for name in reversed(names):
            command = _option(name, config.OPTIONS[name])(command)
        return _preset_option(command)

    return decorate


def _option(name, option):
    """Return the Click option of a field of `Config`."""
    flag = f"--{name.replace('_', '-')}"
    if isinstance(option.paper, bool):
        # Off by default, a flag only needs its name; on by default, only its opposite counts.
        declaration = f"{flag}/--no-{flag[2:]}" if option.paper else flag
        shown = f"  [default: {flag[2:]}]" if option.paper else ""
        return click.option(
            declaration, name, is_flag=True, default=None, help=option.help + shown
        )
    kind = click.Choice(option.choices) if option.choices else PATH if option.names_path else str
    return click.option(
        flag, name, type=kind, metavar=option.metavar or None, help=option.help + _defaults(option)
    )


def _defaults(option):
    """Return an option's default in words, and that of preset fast if it differs."""
    paper, fast = (_words(value) for value in (option.paper, option.fast))
    if not paper:
        return ""
    return f"  [default: {paper}{'' if fast == paper else f'; fast: {fast}'}]"


def _words(value):
    return ",".join(value) if isinstance(value, tuple) else str(value)
