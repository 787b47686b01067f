"""What the package offers to Python programs."""

import subprocess
import sys

from processes import environment

import nst_cli


def test_what_the_documentation_names_is_there_and_listed():
    names = {"Config", "NonFiniteError", "NstError", "Record", "Result", "images", "transfer"}
    assert set(nst_cli.__all__) == names <= set(dir(nst_cli))
    for name in names:
        assert getattr(nst_cli, name).__name__.rpartition(".")[2] == name


def test_neither_the_package_nor_its_command_line_loads_the_engine():
    code = "import sys, nst_cli, nst_cli.cli; print({'mxnet', 'numpy', 'PIL'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"
