"""Click options derived from the fields of `Config`, and the type of paths."""

import os
from collections.abc import Callable
from typing import Any, Optional

import click
from click.shell_completion import CompletionItem

from .. import config, plugins, presets
from ..errors import ConfigError, PluginError, shown

# A function that a decorator makes into a command, before or after the other decorators.
_Command = Callable[..., Any]
_Decorator = Callable[[_Command], _Command]


class _Path(click.ParamType):
    """A path; a leading ``~`` is the home folder.

    A shell expands it too, but not in quotes or within ``--output=~/out.png``.
    """

    name = "text"

    def convert(
        self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]
    ) -> str:
        return os.path.expanduser(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Let the shell complete the names of files and folders."""
        return [CompletionItem(incomplete, type="file")]


PATH = _Path()


class _Methods(click.ParamType):
    """Names of methods, separated by commas; each counts once."""

    name = "text"

    def convert(
        self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]
    ) -> list[str]:
        names = list(dict.fromkeys(name.strip() for name in value.split(",")))
        for name in names:
            if "=" in name:
                self.fail(f"{name!r} has a weight; give names alone.", param, ctx)
            try:
                config.Config(method=name)
            except ConfigError as error:
                self.fail(str(error), param, ctx)
        return names


METHODS = _Methods()

overwrite_option = click.option(
    "--overwrite", is_flag=True,
    help="Also replace existing files that nst did not make.",
)  # fmt: skip

_OWN_PRESETS = [name for name in config.PRESETS if name not in presets.OF_TOOLS]

_preset_option = click.option(
    "--preset", metavar="NAME", default="paper", show_default=True,
    help=f"Set of defaults: {', '.join(_OWN_PRESETS)}; or those of another tool: "
    f"{', '.join(presets.OF_TOOLS)}.",
)  # fmt: skip


class ConfigCommand(click.Command):
    """A command with the options of `Config`; its help also has the methods of plugins."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        rows = [row for plugin in plugins.installed() for row in _rows(plugin)]
        if rows:
            with formatter.section("Methods of plugins"):
                formatter.write_dl(rows)


def _rows(plugin: plugins.Plugin) -> list[tuple[str, str]]:
    """Return the lines of help for a plugin: its method, and each option of that."""
    try:
        method = plugin.method()
    except PluginError as error:
        return [(shown(plugin.name), shown(error))]
    source = f"From {plugin.source}, beta {method.beta:g}."
    options = [
        (f"  {plugin.name}.{key}", f"{option.help}  [default: {plugins.text_of(option.default)}]")
        for key, option in method.options.items()
    ]
    rows = [(plugin.name, f"{method.help} {source}"), *options]
    return [(name, shown(text)) for name, text in rows]


def config_options(command: _Command) -> _Command:
    """Add an option for each field of `Config` to a command."""
    return options_of(*config.OPTIONS)(command)


def options_of(*names: str) -> _Decorator:
    """Return a decorator that adds ``--preset`` and the options of the named fields."""

    return lambda command: _preset_option(plain_options_of(*names)(command))


def plain_options_of(*names: str) -> _Decorator:
    """Return a decorator that adds the options of the named fields."""

    def decorate(command: _Command) -> _Command:
        for name in reversed(names):
            command = _option(name, config.OPTIONS[name])(command)
        return command

    return decorate


def _option(name: str, option: Any) -> _Decorator:
    """Return the Click option for a field of `Config`."""
    flag = f"--{name.replace('_', '-')}"
    if isinstance(option.paper, bool):
        # A flag that is on by default also needs its opposite.
        declaration = f"{flag}/--no-{flag[2:]}" if option.paper else flag
        shown = f"  [default: {flag[2:]}]" if option.paper else ""
        return click.option(
            declaration, name, is_flag=True, default=None, help=option.help + shown
        )
    kind: Any = str
    if option.choices:
        kind = click.Choice(option.choices)
    elif option.names_path:
        kind = PATH
    return click.option(
        flag, name, type=kind, metavar=option.metavar or None, help=option.help + _defaults(option)
    )


def _defaults(option: Any) -> str:
    """Return an option's default as text, and that of preset fast if it differs."""
    paper, fast = (_words(value) for value in (option.paper, option.fast))
    if option.paper in ("", None):
        return ""
    return f"  [default: {paper}{'' if fast == paper else f'; fast: {fast}'}]"


def _words(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(part if isinstance(part, str) else f"{part:g}" for part in value)
    return str(value)
