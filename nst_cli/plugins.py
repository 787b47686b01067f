"""Style losses that other packages add, by the entry-point group ``nst.losses``.

The name of an entry point is that of a method, and the entry point refers to a `Method`. nst lists
entry points when it needs the names, and imports a package when one of its methods is used or its
help is shown. The loss itself, which needs MXNet, is imported when a run is prepared.
"""

import contextlib
import functools
import importlib
import os
import re
import sys
import traceback
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, NoReturn, Optional

from .checks import Check, did_you_mean, number, short
from .errors import ConfigError, NstError, PluginError, reason
from .methods import PAPER_BETA

GROUP = "nst.losses"

# Names become parts of fusions, logs and file names.
_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
_LONGEST_NAME = 30
_KEY = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
# Words that have a meaning where the name of a method may stand.
_RESERVED = ("auto", "content", "paper", "smoothing", "total")
_REFERENCE = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")
# An option, and the comma before the next one: a value may have commas too.
_ENTRY = re.compile(r"\s*([a-z][\w-]*)\.([a-z]\w*)\s*=(.*)", re.DOTALL)
_BETWEEN = re.compile(r",(?=\s*[a-z][\w-]*\.[a-z]\w*\s*=)")
_EXAMPLE = "an example is 'mine.sharpness=2'"


@dataclass(frozen=True)
class Option:
    """An option of a plugin's method.

    Attributes
    ----------
    default : object
        A number, a text, a bool, or a tuple of these.
    check : callable
        Takes a name for messages and the value as a text; returns the value that the loss gets,
        or raises a ValueError or a `ConfigError`. Those of `nst_cli.checks` will do.
    help : str
        Description in a sentence, for the help text.
    """

    default: Any
    check: Check
    help: str


@dataclass(frozen=True)
class Method:
    """A method that a plugin adds, as its package declares it.

    Attributes
    ----------
    loss : str
        ``package.module:Name`` of a class or function that takes the options by name and returns
        a loss; see `synthesis.losses.Loss`.
    beta : float
        β′: it gives the method's gradient at γ = 1 about the size that of other methods has.
    help : str
        What the method compares, in a sentence, for the help text.
    options : dict of str to Option
    """

    loss: str
    beta: float
    help: str
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True)
class Plugin:
    """An entry point of an installed package.

    Attributes
    ----------
    name : str
        Name of the method.
    package, version : str
        Name and version of the installed package.
    reference : str
        ``module:NAME`` of the `Method`.
    problem : str
        Why the name cannot be used; empty if it can.
    """

    name: str
    package: str
    version: str
    reference: str
    problem: str = ""

    @property
    def source(self) -> str:
        """The package and its version."""
        return f"{self.package} {self.version}"

    def method(self) -> Method:
        """Import and check the declaration of the method.

        Raises
        ------
        PluginError
            The package cannot be imported, or declares no valid method.
        """
        if self.problem:
            self.fail(self.problem)
        return _method(self)

    def loss(self, choices: Mapping[str, Any]) -> Any:
        """Import the loss, and make it with some options by name; the others have their defaults.

        Raises
        ------
        PluginError
            The loss cannot be imported or made.
        """
        method = self.method()
        defaults = {name: option.default for name, option in method.options.items()}
        with self.blamed(method.loss):
            return _imported(method.loss)(**{**defaults, **choices})

    @contextlib.contextmanager
    def blamed(self, what: str) -> Iterator[None]:
        """Turn any exception of the package's code into a `PluginError` of one line."""
        try:
            # Standard output is for results.
            with contextlib.redirect_stdout(sys.stderr):
                yield
        except PluginError:
            raise
        except NstError as error:
            self.fail(f"{what}: {reason(error)}", error)
        except (Exception, SystemExit) as error:  # noqa: BLE001
            # Any code of a stranger may run here.
            where = _place(error.__traceback__)
            self.fail(f"{what}: {type(error).__name__}: {reason(error)}{where}", error)

    def fail(self, why: str, cause: Optional[BaseException] = None) -> NoReturn:
        """Raise a `PluginError` that names the method and its package."""
        raise PluginError(
            f"The method {self.name!r} of {self.source} cannot be used: {why}."
        ) from cause


@functools.cache
def _method(plugin: Plugin) -> Method:
    """Import a declaration; its options get their defaults in the form that the check returns."""
    with plugin.blamed(plugin.reference):
        method = _imported(plugin.reference)
    if not isinstance(method, Method):
        kind = type(method).__name__
        plugin.fail(f"{plugin.reference} is of type {kind}; it must be a nst_cli.plugins.Method")
    with plugin.blamed(plugin.reference):
        _check_declaration(method)
        options = {
            name: replace(option, default=_checked(option, name, text_of(option.default)))
            for name, option in method.options.items()
        }
    return replace(method, beta=float(method.beta), options=options)


def _check_declaration(method: Method) -> None:
    number("beta", method.beta, positive=True)
    if not isinstance(method.loss, str) or not _REFERENCE.fullmatch(method.loss):
        raise ValueError(f"loss is {short(method.loss)}; it must be of the form 'module:Name'")
    if not isinstance(method.help, str):
        raise TypeError(f"help is {short(method.help)}; it must be a text")
    if not isinstance(method.options, Mapping):
        raise TypeError(f"options is {short(method.options)}; it must be a dict of Option")
    for name, option in method.options.items():
        if not isinstance(name, str) or not _KEY.fullmatch(name):
            raise ValueError(f"the option {name!r} must have a name such as 'sharpness'")
        if not isinstance(option, Option) or not isinstance(option.help, str):
            raise TypeError(f"the option {name!r} must be a nst_cli.plugins.Option with a help")


def _imported(reference: str) -> Any:
    module, _, names = reference.partition(":")
    value: Any = importlib.import_module(module)
    for name in names.split("."):
        value = getattr(value, name)
    return value


def _place(trace: Optional[TracebackType]) -> str:
    """Return the file and line of a package's code where an exception was raised, if known."""
    nst = os.path.dirname(__file__)
    frames = [
        frame
        for frame in traceback.extract_tb(trace)
        if not frame.filename.startswith((nst, importlib.__path__[0], "<"))
        and frame.filename != contextlib.__file__
    ]
    # Not a line of another library that the package calls.
    lines = [frame for frame in frames if _folder(frame) == _folder(frames[0])]
    return f" ({lines[-1].filename}, line {lines[-1].lineno})" if lines else ""


def _folder(frame: traceback.FrameSummary) -> str:
    return os.path.dirname(frame.filename)


# The installed plugins


@functools.cache
def installed() -> tuple[Plugin, ...]:
    """Return the plugins of all installed packages, sorted by name, without importing them."""
    plugins = sorted(_entries(), key=lambda plugin: (plugin.name, plugin.package))
    return tuple(replace(plugin, problem=_problem(plugin, plugins)) for plugin in plugins)


def _entries() -> Iterator[Plugin]:
    # Not imported with this module, because it takes a while and few commands need it.
    import importlib.metadata

    packages = set()
    for distribution in importlib.metadata.distributions():
        # Whatever is wrong with the metadata of some package must not stop nst.
        with contextlib.suppress(Exception):
            if GROUP not in (distribution.read_text("entry_points.txt") or ""):
                continue
            package, version = distribution.metadata["Name"], distribution.version
            # As for imports, the first folder of the path takes precedence.
            key = re.sub(r"[-_.]+", "-", package).lower()
            entries = [entry for entry in distribution.entry_points if entry.group == GROUP]
            if key not in packages:
                packages.add(key)
                for entry in entries:
                    # A reference may end with extras in brackets.
                    reference = entry.value.partition("[")[0].strip()
                    yield Plugin(entry.name, package, version, reference)


def _problem(plugin: Plugin, plugins: Collection[Plugin]) -> str:
    """Return why the name of a plugin's method cannot be used, or an empty text."""
    name = plugin.name
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        return (
            "its name must be of lower-case letters, digits and single hyphens, begin with a "
            f"letter, and have at most {_LONGEST_NAME} characters"
        )
    if name in PAPER_BETA or name in _RESERVED:
        return f"nst itself uses the name {name!r}"
    others = [one.source for one in plugins if one.name == name and one != plugin]
    if others:
        return f"{' and '.join(others)} has a method of the same name; uninstall one of them"
    if not _REFERENCE.fullmatch(plugin.reference):
        return f"its entry point {short(plugin.reference)} is not of the form 'module:NAME'"
    return ""


def plugin_of(name: str) -> Plugin:
    """Return the plugin that adds a method.

    Raises
    ------
    PluginError
        There is none.
    """
    plugins = [plugin for plugin in installed() if plugin.name == name]
    if not plugins:
        raise PluginError(f"No installed package has the method {short(name)}.")
    return plugins[0]


def used(methods: Collection[str]) -> dict[str, Plugin]:
    """Return the plugins of those methods that are not nst's own, by method."""
    return {name: plugin_of(name) for name in methods if name not in PAPER_BETA}


def record(methods: Collection[str]) -> dict[str, dict[str, str]]:
    """Return name and version of the package of each method that is not nst's own."""
    return {
        name: {"package": plugin.package, "version": plugin.version}
        for name, plugin in used(methods).items()
    }


def paper_beta(method: str) -> float:
    """Return β′ of a method for ``beta = "paper"``."""
    if method in PAPER_BETA:
        return PAPER_BETA[method]
    return plugin_of(method).method().beta


class _Names(Collection[str]):
    """The names of all methods: nst's own, then those of plugins, which are listed when needed.

    A name that only a broken plugin has is among them, so that its use reports what is wrong.
    """

    def __contains__(self, name: object) -> bool:
        return name in PAPER_BETA or any(plugin.name == name for plugin in installed())

    def __iter__(self) -> Iterator[str]:
        yield from PAPER_BETA
        yield from (plugin.name for plugin in installed() if not plugin.problem)

    def __len__(self) -> int:
        return sum(1 for _ in self)


#: The names of all methods.
NAMES = _Names()


# Options, ``method.key=value,...``


def check_options(field: str, value: Any) -> str:
    """Return options of plugins' methods as one text.

    Parameters
    ----------
    field : str
    value : str or dict
        ``"mine.sharpness=2,mine.mode=soft"``, or the same as a dict of dicts.

    Raises
    ------
    ConfigError
        The form is wrong, there is no such option, or a value is not valid.
    PluginError
        A plugin cannot be used.
    """
    texts: dict[str, str] = {}
    for method, key, text in _entries_of(field, value):
        options = _options(field, method)
        name = f"{method}.{key}"
        if key not in options:
            raise ConfigError(
                f"The method {method!r} has no option {short(key)}{did_you_mean(key, options)}"
                if options
                else f"The method {method!r} has no options.",
                field,
            )
        if name in texts:
            raise ConfigError(f"{field} has {name} twice.", field)
        try:
            texts[name] = text_of(_checked(options[key], name, text))
        except ConfigError as error:
            raise ConfigError(str(error), field) from error
        except ValueError as error:
            message = f"{name} is {short(text)}: {reason(error)}."
            raise ConfigError(message, field) from error
    return _joined(texts)


def complete_options(text: str, methods: Collection[str]) -> str:
    """Return options as text: all that some methods have, and none of other methods."""
    given = {f"{method}.{key}": value for method, key, value in _split(text)}
    texts = {
        f"{name}.{key}": given.get(f"{name}.{key}", text_of(option.default))
        for name, plugin in used(methods).items()
        for key, option in plugin.method().options.items()
    }
    return _joined(texts)


def options_of(method: str, text: str) -> dict[str, Any]:
    """Return the options of a method by name, from a text of `complete_options`."""
    options = plugin_of(method).method().options
    return {
        key: _checked(options[key], f"{name}.{key}", value)
        for name, key, value in _split(text)
        if name == method
    }


def _entries_of(field: str, value: Any) -> Iterator[tuple[str, str, str]]:
    """Yield method, key and value of each option in a text or in a dict of dicts."""
    if isinstance(value, Mapping):
        for method, options in value.items():
            if not isinstance(options, Mapping):
                raise ConfigError(
                    f"{field}: {short(method)} is not a table of options; {_EXAMPLE}.", field
                )
            for key, one in options.items():
                yield str(method), str(key), text_of(one)
    elif isinstance(value, str):
        try:
            yield from _split(value)
        except ValueError as error:
            raise ConfigError(f"{field}: {error}", field) from error
    else:
        raise ConfigError(f"{field} is {short(value)}; {_EXAMPLE}.", field)


def _split(text: str) -> Iterator[tuple[str, str, str]]:
    for entry in _BETWEEN.split(text) if text.strip() else ():
        match = _ENTRY.fullmatch(entry)
        if not match:
            raise ValueError(f"{short(entry)} is not of the form method.key=value; {_EXAMPLE}.")
        method, key, value = match.groups()
        yield method, key, value.strip()


def _options(field: str, method: str) -> Mapping[str, Option]:
    """Return the options of a method that a user named."""
    if method in PAPER_BETA:
        raise ConfigError(
            f"{field} is for methods from plugins, and {method!r} is one of nst's own: its "
            "options have names of their own.",
            field,
        )
    if method not in NAMES:
        names = [plugin.name for plugin in installed() if not plugin.problem]
        hint = did_you_mean(method, names) if names else ": no plugin is installed."
        raise ConfigError(f"{field} has the unknown method {short(method)}{hint}", field)
    return plugin_of(method).method().options


def _checked(option: Option, name: str, text: str) -> Any:
    """Return the value of an option in its final form, which must have a text that gives it."""
    if not text.isprintable():
        raise ValueError("it must not have control characters")
    value = option.check(name, text)
    written = text_of(value)
    if option.check(name, written.strip()) != value or _BETWEEN.search(written):
        raise ValueError("it cannot be written as a text")
    return value


def text_of(value: Any) -> str:
    """Return a value as a text, as the command line has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(map(text_of, value))
    return repr(value) if isinstance(value, float) else str(value)


def _joined(texts: Mapping[str, str]) -> str:
    return ",".join(f"{name}={text}" for name, text in texts.items())
