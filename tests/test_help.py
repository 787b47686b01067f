"""Each command's help at 80 columns, compared with its golden file in tests/help.

After an intended change, write the files again and read the differences:

    python tests/test_help.py
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nst_cli

FOLDER = Path(__file__).with_name("help")

COMMANDS = (
    "nst",
    "nst stylize",
    "nst report",
    "nst score",
    "nst plot",
    "nst theorem",
    "nst weights",
    "nst weights fetch",
    "nst weights check",
    "nst weights path",
    "nst mxnet",
    "nst mxnet install",
    "nst gpu",
    "nst gpu install",
    "nst doctor",
    "nst bench",
    "nst figure",
    "nst replay",
    "nst batch",
    "nst checkpoints",
)


def golden_file(command):
    return FOLDER / f"{command.replace(' ', '-')}.txt"


def help_of(command, option="--help"):
    """Return what a process prints, on a terminal of 80 columns."""
    done = subprocess.run(
        [sys.executable, "-m", "nst_cli", *command.split()[1:], option],
        env={
            **os.environ,
            "COLUMNS": "80",
            "PYTHONPATH": str(Path(nst_cli.__file__).parents[1]),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


# Compared exactly, because all versions of Click that setup.cfg allows give the same layout:
# 8.0.0, 8.0.4, 8.1.0, 8.1.8, 8.2.1, 8.3.0 and 8.5.1 were compared.
@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_equals_its_golden_file(command):
    expected = golden_file(command).read_text()
    assert help_of(command) == expected, "if that is meant: python tests/test_help.py"


def test_the_short_option_gives_the_same_help():
    assert help_of("nst stylize", "-h") == golden_file("nst stylize").read_text()


def test_without_docstrings_the_help_is_the_same(monkeypatch):
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    for command in ("nst", "nst stylize", "nst gpu install"):
        assert help_of(command) == golden_file(command).read_text()


def test_every_command_has_its_file_and_no_other_file_exists():
    from nst_cli import cli

    def names(command, path):
        yield " ".join(path)
        for name, child in getattr(command, "commands", {}).items():
            yield from names(child, (*path, name))

    assert sorted(names(cli.main, ("nst",))) == sorted(COMMANDS)
    assert set(FOLDER.iterdir()) == {golden_file(command) for command in COMMANDS}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in COMMANDS:
        golden_file(name).write_text(help_of(name))
