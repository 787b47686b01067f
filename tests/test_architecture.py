"""Imports within the package point down, and only the engine imports MXNet.

`ROWS` is the plan of the package; CONTRIBUTING.md describes it in words.
"""

import ast
from pathlib import Path

import pytest

import nst_cli

PACKAGE = Path(nst_cli.__file__).parent

#: Folders and modules of the package, from top to bottom; the leaves, which serve all, are last.
#: A folder imports from itself and from lower rows, a module from lower rows.
ROWS = (
    ("__main__",),
    ("cli",),
    ("views", "doctor", "bench"),
    ("runs",),
    ("synthesis",),
    ("engine",),
    # The leaves.
    ("images", "weights", "samples"),
    ("config", "download"),
    ("plugins",),
    ("presets", "checks", "files", "folders", "machine", "signals"),
    ("errors", "methods"),
)
ROW_OF = {unit: row for row, units in enumerate(ROWS) for unit in units}

#: What `nst_cli/__init__.py` may import: modules that load nothing else.
LIGHT = ("config", "errors")


def violations(package):
    """Yield a line for each import in the folder `package` that the plan forbids."""
    for path in sorted(package.rglob("*.py")):
        names = path.relative_to(package).with_suffix("").parts
        unit = names[0]
        # Relative imports start from the folder of the file.
        parents = (package.name, *names[:-1])
        tree = ast.parse(path.read_text(encoding="utf-8"))
        # What `__getattr__` of `nst_cli/__init__.py` imports is imported on first use.
        for node in tree.body if names == ("__init__",) else ast.walk(tree):
            for target in targets(node, parents):
                problem = forbidden(unit, target, package)
                if problem:
                    place = path.relative_to(package.parent).as_posix()
                    yield f"{place}:{node.lineno} {problem}"


def targets(node, parents):
    """Return what a node of a module in `parents` imports, as absolute dotted names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = absolute("." * node.level + (node.module or ""), parents)
        return [f"{base}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = getattr(node.func, "attr", getattr(node.func, "id", None))
        if called in ("import_module", "__import__"):
            return [absolute(node.args[0].value, parents)]
    return []


def absolute(name, parents):
    """Return a name such as ``..errors`` without its dots, as seen from a folder."""
    relative = name.lstrip(".")
    level = len(name) - len(relative)
    above = parents[: len(parents) - level + 1] if level else ()
    return ".".join((*above, *filter(None, [relative])))


def forbidden(unit, target, package):
    """Return why a file of `unit` may not import `target`, or None."""
    top, _, rest = target.partition(".")
    if top == "mxnet":
        return None if unit == "engine" else "imports mxnet: only nst_cli/engine may"
    imported = rest.partition(".")[0]
    inside = (package / imported).is_dir() or (package / f"{imported}.py").is_file()
    # Names that `nst_cli/__init__.py` defines, such as `__version__`, are for all.
    if top != package.name or not imported or not inside or imported == unit:
        return None
    if unit == "__init__":
        return (
            None
            if imported in LIGHT
            else f"imports {imported}: only {', '.join(LIGHT)} load quickly"
        )
    for name in (unit, imported):
        if name not in ROW_OF:
            return f"imports {imported}, but {name} has no row in tests/test_architecture.py"
    if ROW_OF[imported] > ROW_OF[unit]:
        return None
    return f"imports {imported}, which is not below {unit}"


def test_imports_point_down_and_only_the_engine_imports_mxnet():
    assert list(violations(PACKAGE)) == []


def test_every_folder_and_module_has_a_row():
    units = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py"}
    units |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert units - {"__init__"} == set(ROW_OF)


@pytest.fixture
def tree(tmp_path):
    """Make a package of empty modules with some lines in one of them; return its folder."""

    def make(module, line):
        package = tmp_path / "nst_cli"
        for name in ("", "cli", "views", "runs", "synthesis", "engine", "images", "weights"):
            (package / name).mkdir()
            (package / name / "__init__.py").touch()
        for name in ("config", "errors", "files", "bench", "new", "runs/sidecar"):
            (package / f"{name}.py").touch()
        (package / module).write_text(f'"""A module."""\n\n{line}\n')
        return package

    return make


@pytest.mark.parametrize(
    "module, line, problem",
    [
        ("engine/gpu.py", "from ..synthesis import vgg", "imports synthesis, which is not below"),
        ("synthesis/vgg.py", "from .. import runs", "imports runs, which is not below synthesis"),
        ("runs/log.py", "import nst_cli.views", "imports views, which is not below runs"),
        ("runs/log.py", "def f():\n    from nst_cli.cli import main", "imports cli, which is not"),
        ("views/plot.py", "from .. import bench", "imports bench, which is not below views"),
        ("files.py", "from . import images", "imports images, which is not below files"),
        ("images/__init__.py", "from ..engine import array", "imports engine, which is not below"),
        ("images/__init__.py", "from .. import weights", "imports weights, which is not below"),
        ("errors.py", "import importlib as i; i.import_module('nst_cli.runs')", "imports runs"),
        ("runs/log.py", "import_module('..views', __package__)", "imports views"),
        ("__init__.py", "from . import synthesis", "imports synthesis: only config"),
        ("new.py", "from .errors import NstError", "but new has no row"),
        ("cli/main.py", "from .. import new", "but new has no row"),
        ("synthesis/vgg.py", "import mxnet as mx", "only nst_cli/engine may"),
        ("runs/log.py", "from mxnet import nd", "only nst_cli/engine may"),
        ("cli/main.py", "__import__('mxnet.ndarray')", "only nst_cli/engine may"),
    ],
)
def test_an_import_that_the_plan_forbids_is_reported(tree, module, line, problem):
    (only,) = violations(tree(module, line))
    assert only.startswith(f"nst_cli/{module}:") and problem in only


@pytest.mark.parametrize(
    "module, line",
    [
        ("cli/main.py", "from ..views import figures\nfrom . import options"),
        ("views/report.py", "from nst_cli.runs import sidecar\nfrom .. import __version__"),
        ("runs/log.py", "from .sidecar import read\nimport nst_cli.synthesis"),
        ("engine/loading.py", "import mxnet\nfrom ..errors import EngineError"),
        ("images/__init__.py", "import mxnetish\nfrom ..files import replacing"),
        ("__init__.py", "from .config import Config"),
    ],
)
def test_an_import_that_the_plan_allows_is_not_reported(tree, module, line):
    assert list(violations(tree(module, line))) == []


def test_contributing_names_every_folder_and_module():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    places = {f"{unit}/" if (PACKAGE / unit).is_dir() else f"{unit}.py" for unit in ROW_OF}
    assert {place for place in places if place not in text} == set()
