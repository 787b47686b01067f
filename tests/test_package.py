"""What the package offers to Python programs."""

import re
import subprocess
import sys
from pathlib import Path

from processes import environment

import nst_cli


def test_what_the_documentation_names_exists_and_is_listed():
    names = {
        "Config", "NonFiniteError", "NstError", "Record", "Result", "StyleImage", "images",
        "transfer",
    }  # fmt: skip
    assert set(nst_cli.__all__) == names <= set(dir(nst_cli))
    for name in names:
        assert getattr(nst_cli, name).__name__.rpartition(".")[2] == name


def test_importing_the_package_or_its_command_line_does_not_load_the_engine():
    heavy = {"mxnet", "numpy", "PIL", "http.server"}
    code = f"import sys, nst_cli, nst_cli.cli; print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"


def test_the_version_and_its_date_are_the_same_in_package_citation_and_changelog():
    root = Path(nst_cli.__file__).resolve().parents[1]
    citation = (root / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    cited = re.search(r"^version: (.+)\ndate-released: (.+)$", citation, re.MULTILINE).groups()
    latest = re.search(r"^## ([0-9.]+) - ([0-9-]+)$", changelog, re.MULTILINE).groups()
    assert cited == latest
    assert nst_cli.__version__ == cited[0]
