"""Reads a batch file, TOML, into a list of runs."""

import functools
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional

from .. import checks
from ..checks import did_you_mean
from ..config import INITS, OPTIONS, PRESETS, Config, init_of_path, override
from ..errors import BatchError, ConfigError, ImageError, PluginError
from ..files import StrPath
from ..weights import BUILTIN
from . import patterns, tomlfile
from .styles import (
    Style,
    as_styles,
    check,
    check_scale,
    files_of,
    is_by_nst,
    listed,
    methods_of,
    record,
)
from .templates import output_path, short

_PATHS = ("content", "style")
# A list of tables, one for each style of a run; it stands in place of `style`.
_STYLES = "styles"
_STYLE_KEYS = ("path", "weight", "scale", "mask", "style_mask", "method")
_KEYS = (*_PATHS, _STYLES, "output", "preset", *PRESETS["paper"])
_TABLES = ("output", "defaults", "run", "grid")
_TEMPLATE = "{content}-{style}-{method}.png"
# Keys whose value may be a list of names, or a table of numbers; the others take a single value.
_LISTS = ("style_layers", "content_layers")
_WEIGHTS = ("method", "beta", "layer_weights")
# A table of tables, whose values may be lists.
_NESTED = "loss_options"

_MAX_RUNS = 100_000
# Characters of a pattern in a message.
_LONGEST_PATTERN = 300

# Keys and values as TOML has them; pictures become `patterns.Match`.
Table = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One picture to make.

    Attributes
    ----------
    content : str
        A path.
    styles : tuple of Style
        The path of one picture, or a sequence of `Style`, becomes such a tuple.
    output : str
        A path.
    config : Config
    """

    content: str
    styles: Any
    output: str
    config: Config

    def __post_init__(self) -> None:
        object.__setattr__(self, "styles", as_styles(self.styles))

    @property
    def style(self) -> str:
        """The path of the first style."""
        path: str = self.styles[0].path
        return path

    @property
    def pictures(self) -> dict[str, str]:
        """Paths of all input files by role, as `files_of` names those of the styles."""
        paths = {"content": self.content, **files_of(self.styles)}
        return paths if self.config.init in INITS else {**paths, "init": self.config.init}

    def record(self, checksum: Callable[[str], str]) -> dict[str, Any]:
        """Return the entries of the sidecar for the pictures.

        Parameters
        ----------
        checksum : callable
            Returns the SHA-256 of the file at a path.
        """
        paths = [("content", self.content)]
        paths += [] if self.config.init in INITS else [("init", self.config.init)]
        sources = {role: {"path": path, "sha256": checksum(path)} for role, path in paths}
        return {**sources, **record(self.styles, checksum)}


class Plan(NamedTuple):
    """The content of a batch file.

    Attributes
    ----------
    runs : list of Run
        In the order of the file; the last key of a grid varies fastest.
    notes : list of str
        Hints for the user, one line each.
    failures : list of str
        Requests of the file for which there is no run, one line each.
    """

    runs: list[Run]
    notes: list[str]
    failures: list[str]


def read(
    path: StrPath,
    overrides: Optional[Mapping[str, Any]] = None,
    template: Optional[str] = None,
) -> Plan:
    """Read a batch file.

    Parameters
    ----------
    path : path-like
        TOML: ``output``, a template for names; ``[defaults]``; any number of ``[[run]]`` and
        ``[[grid]]``. Paths are relative to the file's folder.
    overrides : dict, optional
        Fields of `Config` that override the file.
    template : str, optional
        Overrides every ``output`` of the file; relative to the working folder.

    Returns
    -------
    Plan

    Raises
    ------
    BatchError
        The file cannot be read, or a key, a value or a template in it is not valid.
    """
    path, choices = os.path.expanduser(os.fspath(path)), dict(overrides or {})
    if choices.get("init"):
        choices["init"] = os.path.expanduser(choices["init"])
    document = tomlfile.read(path)
    for key in document:
        if key not in _TABLES:
            raise BatchError(f"{path}: unknown key {short(key)}{did_you_mean(key, _TABLES)}")
    return _Reader(path, choices, template).plan(document)


class _Reader:
    """Reads the tables of one batch file."""

    def __init__(self, path: str, overrides: Mapping[str, Any], template: Optional[str]):
        self._path, self._folder = path, os.path.dirname(path)
        self._overrides, self._template = overrides, template
        self._notes: list[str] = []
        self._failures: list[str] = []
        # Paths that patterns matched; and those of them left out because nst made them.
        self._matched: set[str] = set()
        self._left_out: set[str] = set()
        self._expanded = functools.cache(functools.partial(patterns.expand, base=self._folder))
        self._is_by_nst = functools.cache(is_by_nst)
        self._listed = functools.cache(listed)

    def plan(self, document: Table) -> Plan:
        runs: list[Run] = []
        for where, table in self._tables(document):
            if len(runs) == _MAX_RUNS:
                raise BatchError(f"{self._path} has more than {_MAX_RUNS} runs.")
            try:
                runs.append(self._run(table, len(runs) + 1))
            except (BatchError, ConfigError, ImageError, PluginError) as error:
                raise BatchError(f"{self._path}, {where}: {error}") from error
        # Equal runs make one picture.
        runs = list(dict.fromkeys(self._without_own_outputs(runs)))
        if self._left_out:
            count = len(self._left_out)
            self._notes.append(
                f"Patterns left out {count} picture{'s' * (count > 1)} that nst made or that this "
                "batch makes; to use such a picture, write its path without a wildcard."
            )
        if not runs:
            raise BatchError(
                self._failures[0]
                if self._failures
                else f"{self._path} has no runs: add a [[run]] or a [[grid]]."
            )
        return Plan(runs, list(dict.fromkeys(self._notes)), self._failures)

    def _tables(self, document: Table) -> Iterator[tuple[str, Table]]:
        """Yield ``(where, table)`` for each run; its keys override the defaults."""
        defaults = dict(self._table("[defaults]", document.get("defaults", {})))
        if "output" in document:
            defaults.setdefault("output", document["output"])
        for kind in ("run", "grid"):
            entries = document.get(kind, [])
            for number, entry in enumerate(entries if isinstance(entries, list) else [entries], 1):
                where = f"{kind} {number}"
                table = self._table(where, entry)
                if kind == "run":
                    yield where, self._single(_over(defaults, table))
                else:
                    # A pattern in the defaults is also an axis.
                    paths = {key: defaults[key] for key in _PATHS if key in defaults}
                    for combination in self._combinations(where, _over(paths, table)):
                        yield where, _over(defaults, combination)

    def _table(self, where: str, entry: Any) -> Table:
        if not isinstance(entry, dict):
            raise BatchError(f"{self._path}, {where}: it is not a table of keys and values.")
        for key in entry:
            if key not in _KEYS:
                raise BatchError(
                    f"{self._path}, {where}: unknown key {short(key)}{did_you_mean(key, _KEYS)}"
                )
        return entry

    def _single(self, table: Table) -> Table:
        """Return the table of a single run with its pictures as `patterns.Match`."""
        paths = {
            key: patterns.literal(table[key], self._folder) if _is_path(table[key]) else table[key]
            for key in _PATHS
            if key in table
        }
        return {**table, **paths}

    def _combinations(self, where: str, table: Table) -> Iterator[Table]:
        """Yield a table for each combination of the values in a grid's lists."""
        axes = {}
        for key, value in table.items():
            # The list of styles is one value: the styles of each picture.
            values = value if isinstance(value, list) and key != _STYLES else [value]
            if not values:
                raise BatchError(f"{self._path}, {where}: {key} is an empty list.")
            axes[key] = self._pictures(where, key, values) if key in _PATHS else values
        count = math.prod(map(len, axes.values()))
        if count > _MAX_RUNS:
            raise BatchError(
                f"{self._path}, {where}: it has {count} combinations; the limit is {_MAX_RUNS}."
            )
        for combination in itertools.product(*axes.values()):
            yield dict(zip(axes, combination))

    def _pictures(self, where: str, key: str, values: Iterable[Any]) -> list[Any]:
        """Return the pictures that paths and patterns name, each once."""
        pictures: dict[str, Any] = {}
        unmatched: list[str] = []
        for value in values:
            if not _is_path(value):
                # `_run` refuses it, in a message that names the key.
                pictures[str(value)] = value
            elif not patterns.is_pattern(value):
                match = patterns.literal(value, self._folder)
                pictures[match.path] = match
            else:
                matches, unreadable = self._expanded(value)
                self._notes += unreadable
                kept = [match for match in matches if not self._leaves_out(value, match)]
                self._matched.update(match.path for match in kept)
                for match in kept:
                    pictures.setdefault(match.path, match)
                if not kept:
                    but = " but pictures that nst made" if matches else ""
                    pattern = checks.short(value, _LONGEST_PATTERN)
                    unmatched.append(f"{where}: no file matches {key} {pattern}{but}.")
        # If other entries of the list match, a pattern without a match is only worth a note.
        (self._notes if pictures else self._failures).extend(
            f"{self._path}, {message}{tomlfile.backslash_advice(message)}" for message in unmatched
        )
        return list(pictures.values())

    def _leaves_out(self, pattern: str, match: patterns.Match) -> bool:
        """Return whether a pattern leaves out a match, because nst made it; take note of it."""
        # A file whose name is the pattern itself was named literally.
        literal = patterns.beside(self._folder, pattern)
        if match.path == literal or not self._is_by_nst(match.path):
            return False
        self._left_out.add(match.path)
        return True

    def _without_own_outputs(self, runs: list[Run]) -> list[Run]:
        """Leave out runs whose inputs were matched by a pattern and are outputs of other runs."""
        outputs: dict[str, list[Run]] = {}
        for run in runs:
            outputs.setdefault(os.path.abspath(run.output), []).append(run)

        def is_output(path: str) -> bool:
            makers = outputs.get(os.path.abspath(path), ()) if path in self._matched else ()
            return any(path not in run.pictures.values() for run in makers)

        def outputs_in(run: Run) -> list[str]:
            return [*filter(is_output, (run.content, *(style.path for style in run.styles)))]

        for run in runs:
            self._left_out.update(outputs_in(run))
        return [run for run in runs if not outputs_in(run)]

    def _run(self, table: Table, number: int) -> Run:
        for key, value in table.items():
            if key != _STYLES:
                _check_kind(key, value)
        content = self._picture("content", table.get("content"), "content" in table)
        styles = self._styles(table)
        choices = {
            key: value for key, value in table.items() if key not in (*_PATHS, _STYLES, "output")
        }
        for key, names in (("init", (None, *INITS)), ("weights", (None, "", BUILTIN))):
            if choices.get(key) not in names:
                choices[key] = patterns.beside(self._folder, str(choices[key]))
                _check_path(key, choices[key])
        if choices.get("init") in INITS and table["init"] not in INITS:
            choices["init"] = init_of_path(choices["init"])
        config = Config.from_dict(override(choices, self._overrides))
        check([style for style, _ in styles], config)
        _check_options(override(choices, self._overrides), styles, config)
        if self._template is None:
            template, folder = table.get("output", _TEMPLATE), self._folder
            if isinstance(template, str) and tomlfile.has_control_characters(template):
                raise BatchError(
                    f"output is {short(template)}{tomlfile.backslash_advice(template)}."
                )
        else:
            template, folder = self._template, ""
        output = output_path(template, folder, content, styles, config, number)
        return Run(content.path, tuple(style for style, _ in styles), output, config)

    def _picture(self, key: str, match: Any, is_given: bool = True) -> patterns.Match:
        """Return the picture of a key, if it names one."""
        if not isinstance(match, patterns.Match):
            given = short(match) if is_given else "missing"
            raise BatchError(f"{key} is {given}; it must be the path of a picture.")
        _check_path(key, match.path)
        return match

    def _styles(self, table: Table) -> list[tuple[Style, patterns.Match]]:
        """Return the styles of a run, each with its match."""
        if _STYLES not in table:
            match = self._picture("style", table.get("style"), "style" in table)
            return [(self._listed(Style(match.path)), match)]
        if "style" in table:
            raise BatchError("it has style and styles; give one of them.")
        entries = table[_STYLES]
        if not isinstance(entries, list) or not entries:
            raise BatchError(
                f"styles is {short(entries)}; it must be a list of tables, one for each style: "
                'styles = [{path = "a.jpg", weight = 0.7}, {path = "b.jpg", weight = 0.3}].'
            )
        return [self._style(entry, f"style {place}") for place, entry in enumerate(entries, 1)]

    def _style(self, entry: Any, where: str) -> tuple[Style, patterns.Match]:
        """Return a style of a list, which is a path or a table, with its match."""
        entry = {"path": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, dict):
            raise BatchError(f"{where} is {short(entry)}; it must be a table with a path.")
        for key in entry:
            if key not in _STYLE_KEYS:
                raise BatchError(
                    f"{where}: unknown key {short(key)}{did_you_mean(key, _STYLE_KEYS)}"
                )
        paths = {
            key: self._literal(f"{key} of {where}", entry[key])
            for key in ("path", "mask", "style_mask")
            if key in entry
        }
        if "path" not in paths:
            raise BatchError(f"{where} has no path; name a picture or a folder of pictures.")
        choices: dict[str, Any] = {key: match.path for key, match in paths.items()}
        converted: dict[str, Callable[..., Any]] = {"weight": checks.number, "scale": check_scale}
        choices |= {
            key: convert(None, entry[key], what=f"{key} of {where}")
            for key, convert in converted.items()
            if key in entry
        }
        if "method" in entry:
            choices["method"] = OPTIONS["method"].check("method", entry["method"])
        return self._listed(Style(**choices)), paths["path"]

    def _literal(self, key: str, value: Any) -> patterns.Match:
        """Return the file that the text of a key names."""
        is_path = _is_path(value) and value
        return self._picture(key, patterns.literal(value, self._folder) if is_path else value)


def _check_options(
    choices: Table, styles: Iterable[tuple[Style, patterns.Match]], config: Config
) -> None:
    """Refuse options of a plugin's method that a style has and the config drops."""
    text = OPTIONS["loss_options"].check("loss_options", choices.get("loss_options", ""))
    given = {entry.partition(".")[0] for entry in text.split(",")}
    for method in methods_of((style for style, _ in styles), config):
        if method in given and method not in config.methods:
            fusion = config.method if "=" in config.method else f"{config.method}=1"
            raise BatchError(
                f"loss_options names {method!r}, which only a style has as its method: add it to "
                f"method too, with weight 0, as in {f'{fusion},{method}=0'!r}."
            )


def _over(table: Table, other: Table) -> Table:
    """Return a table with the keys of another over it; ``style`` and ``styles`` are one choice."""
    replaced = {"style", _STYLES} if {"style", _STYLES} & set(other) else set()
    return override({key: v for key, v in table.items() if key not in replaced}, other)


def _is_path(value: object) -> bool:
    """Return whether a value can be used as a path; if not, `_check_kind` says why."""
    return isinstance(value, str) and "\0" not in value


def _check_kind(key: str, value: Any) -> None:
    """Refuse a list or table in place of a single value, and lists or tables in one another."""
    if isinstance(value, patterns.Match) or (key == _NESTED and isinstance(value, Mapping)):
        return
    if isinstance(value, list):
        parts = value if key in _LISTS else None
    elif isinstance(value, Mapping):
        parts = list(value.values()) if key in _WEIGHTS else None
    else:
        parts = [value]
    if parts is None:
        kind = "a list" if isinstance(value, list) else "a table"
        grid = "; in a [[grid]] a list makes several runs" if isinstance(value, list) else ""
        raise BatchError(f"{key} is {kind}; it must be a single value{grid}.")
    for part in parts:
        if isinstance(part, (list, Mapping)):
            raise BatchError(f"{key} has lists or tables within one another.")
        if isinstance(part, str) and "\0" in part:
            raise BatchError(f"{key} is {short(part)}; it must not contain a NUL character.")


def _check_path(key: str, path: str) -> None:
    """Refuse an impossible path, and a missing one with a wildcard or the trace of a backslash."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise BatchError(f"{key} is {short(path)}, which is not a possible file name.") from None
    if tomlfile.has_control_characters(path) and not os.path.lexists(path):
        raise BatchError(f"{key} {short(path)} is missing{tomlfile.backslash_advice(path)}.")
    if key not in ("init", "weights") and patterns.is_pattern(path) and not os.path.lexists(path):
        where = "the content or style of a [[grid]]" if " of " in key else "a [[grid]]"
        raise BatchError(f"{key} {short(path)} is missing; patterns belong in {where}.")
