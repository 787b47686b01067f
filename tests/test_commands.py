"""What all commands share: paths as options, and lines without control characters."""

import pytest
from click.testing import CliRunner
from processes import noise

from nst_cli import cli, weights
from nst_cli.cli import making, options
from nst_cli.errors import shown
from nst_cli.runs import batch, plan

# Parameters that name a file, besides those whose metavar says so.
FILES = {"content", "style", "picture", "file", "destination", "init", "weights", "output"}
WORDS = ("FILE", "FOLDER", "DIR", "PLOT", "MADE", "OUT", "TEMPLATE", "LOG")

# Turns a terminal red.
RED = "\x1b[31m"


def parameters(command, path=("nst",)):
    for parameter in command.params:
        yield " ".join((*path, parameter.name)), parameter
    for name, child in getattr(command, "commands", {}).items():
        yield from parameters(child, (*path, name))


def names_a_file(parameter):
    metavar = (parameter.metavar or "").removesuffix("...").partition(".")[0]
    return parameter.name in FILES or bool(set(metavar.split("|")) & set(WORDS))


def test_every_option_and_argument_that_names_a_file_expands_the_home_folder():
    paths = {
        name: parameter for name, parameter in parameters(cli.main) if names_a_file(parameter)
    }
    assert len(paths) > 30
    others = [name for name, parameter in paths.items() if parameter.type is not options.PATH]
    assert others == []


def run(*arguments, **variables):
    return CliRunner().invoke(cli.main, list(map(str, arguments)), env=variables)


@pytest.mark.parametrize(
    "arguments",
    [
        ["weights", "check", "~/none.params"],
        ["bench", "--content", "~/none.params"],
        ["figure", "1", "--weights", "~/none.params"],
    ],
)
def test_a_tilde_that_the_shell_did_not_expand_is_expanded(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments, HOME=str(tmp_path), NST_WEIGHTS="builtin")
    assert done.exit_code == 1 and f"{tmp_path}/none.params" in done.output


def test_notes_show_a_name_without_its_control_characters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("good.png", f"{RED}.png"):
        noise(1, 24, 32).save(tmp_path / name)
    words = ["good.png", "good.png", "-o", "good-2.png", "--weights", "builtin", "--size", "24"]
    assert run("stylize", *words, "--iterations", "1", "--quiet").exit_code == 0
    (tmp_path / f"{RED}.png.json").write_text("{")
    done = run("report", ".")
    assert done.exit_code == 0 and "Note: " in done.output
    assert "\x1b" not in done.output and r"\x1b[31m.png" in done.output


def test_tables_show_names_without_their_control_characters():
    red = plan.Run("a.png", "b.png", f"{RED}.png", None)
    failed = batch.Finished(red, "failed", reason=f"Traceback (most recent call last):\n{RED}")
    for line in making.table([failed], 1, [RED]):
        assert "failed" in line and "\x1b" not in line


def test_the_theorems_table_shows_names_without_their_control_characters(tmp_path):
    picture = tmp_path / f"{RED}.png"
    noise(1, 24, 32).save(picture)
    done = run(
        "theorem", picture, picture, "--weights", "builtin", "--size", "24", "--quiet",
        "--style-layers", "relu1_1",
    )  # fmt: skip
    assert done.exit_code == 0 and shown(picture) in done.output
    assert "\x1b" not in done.output


def test_weights_are_checked_in_lines_without_control_characters(tmp_path, monkeypatch):
    name = tmp_path / f"{RED}.params"
    report = weights.Report(name, 1, "blob", "sum", False, ("conv1_1", "conv5_1"))
    monkeypatch.setattr(weights, "check", lambda path: report)
    done = run("weights", "check", name)
    assert done.exit_code == 0 and r"\x1b[31m.params: VGG-19" in done.output
