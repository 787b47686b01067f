"""Makes packages with plugins, for the tests: what pip leaves in a folder of Python's path."""

import shutil
from pathlib import Path

from nst_cli import plugins

EXAMPLE = Path(__file__).with_name("plugin_example")

#: A declaration of a method of a test, with names that its options may use.
DECLARATION = """\
from nst_cli.checks import number_list, one_of, positive
from nst_cli.plugins import Method, Option

METHOD = Method(loss="{package}.loss:Loss", beta=3.0, help="A method of a test.")
"""


def save_package(folder, package, methods, sources, version="1.0"):
    """Save a package and its metadata in a folder.

    Parameters
    ----------
    folder : Path
    package : str
        Name of the package, and with ``_`` for ``-`` of its Python module.
    methods : dict of str to str
        The entry points: a name, and ``module:NAME``.
    sources : dict of str to str
        Python code by the name of a module in the package; ``__init__`` is empty by default.
    version : str
    """
    name = package.replace("-", "_")
    (folder / name).mkdir(parents=True, exist_ok=True)
    for module, source in {"__init__": "", **sources}.items():
        (folder / name / f"{module}.py").write_text(source, encoding="utf-8")
    _save_metadata(folder, package, methods, version)


def save_example(folder, version="1.0"):
    """Save the example of docs/plugins.md in a folder, as pip would install it."""
    shutil.copytree(EXAMPLE / "nst_robust", folder / "nst_robust", dirs_exist_ok=True)
    _save_metadata(folder, "nst-robust", {"robust": "nst_robust:METHOD"}, version)


def forget():
    """Let nst look at the installed packages again."""
    plugins.installed.cache_clear()
    plugins._method.cache_clear()


def _save_metadata(folder, package, methods, version):
    info = folder / f"{package.replace('-', '_')}.dist-info"
    info.mkdir(exist_ok=True)
    metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    lines = [f"{name} = {reference}" for name, reference in methods.items()]
    text = "\n".join(["[console_scripts]", "[nst.losses]", *lines, ""])
    (info / "entry_points.txt").write_text(text, encoding="utf-8")
