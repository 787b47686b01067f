"""Completion of the command line in a shell, as docs/using.md sets it up."""

import re
from pathlib import Path

import pytest

import nst_cli
from nst_cli import cli

USING = Path(nst_cli.__file__).resolve().parents[1] / "docs" / "using.md"


@pytest.fixture
def answer(monkeypatch, capsys):
    """Return what nst prints for the script that completes, with some variables set."""

    def ask(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ending:
            cli.main([], prog_name="nst")
        assert not ending.value.code
        return capsys.readouterr().out

    return ask


def test_the_documented_variable_prints_the_script_of_each_shell(answer):
    documented = re.findall(r"_NST_COMPLETE=(\w+)_source nst", USING.read_text(encoding="utf-8"))
    assert documented == ["bash", "zsh", "fish"]
    for shell in documented:
        assert f"_NST_COMPLETE={shell}_complete" in answer(_NST_COMPLETE=f"{shell}_source")


@pytest.mark.parametrize(
    "line, completions",
    [
        ("nst sty", ["plain,stylize"]),
        ("nst weights f", ["plain,fetch"]),
        ("nst stylize --tv", ["plain,--tv-weight"]),
        ("nst stylize --pooling a", ["plain,avg"]),
        ("nst stylize pho", ["file,pho"]),
        ("nst stylize photo.jpg painting.jpg -o pic", ["file,pic"]),
    ],
)
def test_commands_options_and_choices_are_completed_and_files_by_the_shell(
    answer, line, completions
):
    words = str(len(line.split()) - 1)
    out = answer(_NST_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=words)
    assert out.splitlines() == completions
