"""A batch file, TOML, to the list of its runs."""

import glob
import itertools
import os
import string
from dataclasses import dataclass
from pathlib import Path

from .. import files, images
from ..config import INITS, PRESETS, Config, did_you_mean
from ..errors import BatchError, ConfigError
from .runner import log_of, sidecar_of

try:
    import tomllib
except ImportError:  # before Python 3.11
    import tomli as tomllib

_PATHS = ("content", "style")
_KEYS = (*_PATHS, "output", "preset", *PRESETS["paper"])
_TABLES = ("output", "defaults", "run", "grid")
_TEMPLATE = "{content}-{style}-{method}.png"


@dataclass(frozen=True)
class Run:
    """One picture to be made.

    Attributes
    ----------
    content, style, output : str
        Paths.
    config : Config
    """

    content: str
    style: str
    output: str
    config: Config


def read(path, overrides=None, template=None):
    """Read a batch file.

    Parameters
    ----------
    path : path-like
        TOML: ``output``, a template of names; ``[defaults]``; any number of ``[[run]]`` and
        ``[[grid]]``. Paths are relative to the file's folder.
    overrides : dict, optional
        Fields of `Config` that come before those of the file.
    template : str, optional
        Comes before every ``output`` of the file; relative to the working folder.

    Returns
    -------
    list of Run
        In the order of the file, the last key of a grid varying fastest.

    Raises
    ------
    BatchError
        The file cannot be read, or a key, a value or a template in it makes no sense.
    """
    document = _parsed(path)
    for key in document:
        if key not in _TABLES:
            raise BatchError(f"{path}: unknown key {key!r}{did_you_mean(key, _TABLES)}")
    folder, runs = os.path.dirname(path), []
    for where, table in _tables(path, document):
        try:
            runs.append(_run(folder, table, overrides or {}, template, len(runs) + 1))
        except (BatchError, ConfigError) as error:
            raise BatchError(f"{path}, {where}: {error}") from error
    if not runs:
        raise BatchError(f"{path} has no runs: add a [[run]] or a [[grid]].")
    return runs


def check(runs):
    """Find out, before the first run, whether all inputs are there and all outputs can be.

    Makes the folders of the outputs.

    Raises
    ------
    ImageError
        An input is missing or no picture.
    OutputError
        An output cannot be written or would overwrite an input.
    BatchError
        Two runs would write the same file.
    """
    inputs = sorted({path for run in runs for path in _inputs(run)})
    limits = {
        (path, run.config.size, run.config.max_pixels) for run in runs for path in _inputs(run)
    }
    for path, long_edge, max_pixels in sorted(limits):
        images.size_of(path, long_edge=long_edge, max_pixels=max_pixels)
    taken = {}
    for number, run in enumerate(runs, 1):
        images.check_ending(run.output)
        for path in (run.output, sidecar_of(run.output), log_of(run.output)):
            other = taken.setdefault(os.path.realpath(path), number)
            if other != number:
                raise BatchError(
                    f"Runs {other} and {number} would both write {path}: put what differs "
                    "between them into the output's template, such as {gamma} or {number}."
                )
    for run in runs:
        folder = os.path.dirname(run.output)
        if folder:
            _make_folder(folder)
        for path in (run.output, sidecar_of(run.output), log_of(run.output)):
            files.check_output(path, inputs)


def _make_folder(folder):
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise BatchError(f"Cannot make the folder {folder}: {error.strerror}.") from error


def _inputs(run):
    return (run.content, run.style) + ((run.config.init,) if run.config.init not in INITS else ())


def _parsed(path):
    try:
        with open(path, "rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise BatchError(f"Cannot read {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BatchError(f"{path} is not TOML: {error}.") from error


def _tables(path, document):
    """Yield where it stands and what it says, for each run, over the defaults."""
    defaults = dict(_table(path, "[defaults]", document.get("defaults", {})))
    if "output" in document:
        defaults.setdefault("output", document["output"])
    for kind in ("run", "grid"):
        entries = document.get(kind, [])
        for number, entry in enumerate(entries if isinstance(entries, list) else [entries], 1):
            where = f"{kind} {number}"
            tables = [_table(path, where, entry)]
            if kind == "grid":
                tables = _combinations(path, where, *tables)
            yield from ((where, {**defaults, **table}) for table in tables)


def _table(path, where, entry):
    if not isinstance(entry, dict):
        raise BatchError(f"{path}, {where}: {entry!r} is not a table of keys and values.")
    for key in entry:
        if key not in _KEYS:
            raise BatchError(f"{path}, {where}: unknown key {key!r}{did_you_mean(key, _KEYS)}")
    return entry


def _combinations(path, where, table):
    """Yield a table for each combination of what the lists of a grid hold."""
    axes = {}
    for key, value in table.items():
        values = value if isinstance(value, list) else [value]
        axes[key] = [name for v in values for name in _found(path, where, key, v)]
    for combination in itertools.product(*axes.values()):
        yield dict(zip(axes, combination))


def _found(path, where, key, value):
    """Return what a value stands for: the files that match it, where it is a pattern."""
    if key not in _PATHS or not isinstance(value, str) or not glob.has_magic(value):
        return [value]
    folder = os.path.dirname(path)
    if os.path.exists(_beside(folder, value)):
        return [value]
    names = sorted(glob.glob(os.path.join(folder, value), recursive=True))
    if not names:
        raise BatchError(f"{path}, {where}: no file matches {key} {value!r}.")
    return [os.path.relpath(name, folder or os.curdir) for name in names]


def _run(folder, table, overrides, template, number):
    paths = {}
    for key in _PATHS:
        if not isinstance(table.get(key), str):
            found = repr(table[key]) if key in table else "missing"
            raise BatchError(f"{key} is {found}; it must be the path of a picture.")
        paths[key] = _beside(folder, table[key])
    choices = {key: value for key, value in table.items() if key not in (*_PATHS, "output")}
    if choices.get("init", "random") not in INITS:
        choices["init"] = _beside(folder, str(choices["init"]))
    if choices.get("weights") not in (None, "builtin"):
        choices["weights"] = _beside(folder, str(choices["weights"]))
    config = Config.from_dict({**choices, **overrides})
    if template is None:
        name = _named(table.get("output", _TEMPLATE), paths, config, number)
        output = _beside(folder, name)
    else:
        output = os.path.normpath(_named(template, paths, config, number))
    return Run(**paths, output=output, config=config)


def _beside(folder, path):
    return os.path.normpath(os.path.join(folder, os.path.expanduser(path)))


def _named(template, paths, config, number):
    """Fill a template with the run's own values."""
    stems = {key: Path(path).stem for key, path in paths.items()}
    choices = {key: _word(value) for key, value in config.to_dict().items()}
    names = {**choices, **stems, "init": Path(config.init).stem, "number": f"{number:03d}"}
    try:
        for _, name, _, _ in string.Formatter().parse(template):
            if name is not None and name not in names:
                raise BatchError(f"output {template!r}: no field {name!r}{_did(name, names)}")
        return template.format_map(names)
    except (ValueError, TypeError, AttributeError) as error:
        raise BatchError(f"output {template!r} is not a template: {error}.") from error


def _did(name, names):
    return did_you_mean(name, sorted(names))


def _word(value):
    words = [f"{v:g}" if isinstance(v, float) else str(v) for v in _listed(value)]
    return "+".join(words).replace(os.sep, "-")


def _listed(value):
    return value if isinstance(value, list) else [value]
