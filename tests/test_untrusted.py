"""What files of strangers cannot do: run code, or write what a terminal takes for commands."""

import ast
import hashlib
import json
import struct
from pathlib import Path

import click.testing
import pytest

import nst_cli
from nst_cli.cli import main
from nst_cli.errors import shown
from nst_cli.runs import checkpoints

PACKAGE = Path(nst_cli.__file__).parent
#: Modules that run code in the data that they read, or may.
MODULES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve", "yaml"}
#: Functions that do.
CALLS = {"eval", "exec", "execfile"}
#: Loaders that may use pickle, or hang on a broken header.
LOADERS = {("np", "load"), ("numpy", "load"), ("nd", "load"), ("torch", "load"), ("mx", "load")}


def dangers(source):
    """Yield a line number and a name for each way in which a source might run data."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom):
            names = {(node.module or "").partition(".")[0]} & MODULES
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            names = {node.func.id} & CALLS
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names = {node.attr} if (node.value.id, node.attr) in LOADERS else set()
        elif isinstance(node, ast.keyword):
            names = {node.arg} & {"allow_pickle"}
        else:
            names = set()
        yield from ((getattr(node, "lineno", 0), name) for name in names)


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from marshal import loads", "import numpy as np\nnp.load('a')",
     "eval('1')", "def f():\n    exec('1')", "g('a', allow_pickle=False)", "import yaml.loader"],
)  # fmt: skip
def test_a_way_to_run_data_is_reported(source):
    assert len(list(dangers(source))) == 1


def test_nothing_in_the_package_runs_the_data_that_it_reads():
    sources = sorted(PACKAGE.rglob("*.py"))
    assert len(sources) > 100
    assert [(path, *line) for path in sources for line in dangers(path.read_text())] == []


CODES = "\x1b[2J\x1b]0;title\x07\r\u202e\x9b31m"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def output_of(*words):
    """Return all that a command writes; it must be printable text."""
    result = click.testing.CliRunner().invoke(main, words)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert [line for line in result.output.split("\n") if shown(line) != line] == []
    return result.output


@pytest.mark.parametrize(
    "command",
    [
        ("stylize", "{}.png", "b.png", "-o", "o.png", "--dry-run"),
        ("stylize", "a.png", "b.png", "-o", "{}.png", "--dry-run"),
        ("stylize", "a.png", "b.png", "-o", "o.png", "--method", "{}"),
        ("stylize", "a.png", "b.png", "-o", "o.png", "--loss-options", "{}.a=1"),
        ("stylize", "a.png", "b.png", "-o", "o.png", "--weights", "{}"),
        ("batch", "{}.toml"),
        ("replay", "{}.png"),
        ("report", "{}"),
        ("weights", "check", "{}"),
        ("weights", "fetch", "w", "--url", "{}"),
        ("checkpoints", "remove", "{}"),
        ("score", "{}.png", "a.png", "b.png"),
        ("{}",),
        ("stylize", "--{}"),
    ],
    ids=lambda command: " ".join(command),
)
def test_codes_for_a_terminal_in_an_argument_are_escaped(folder, command):
    assert output_of(*(word.format(CODES) for word in command))


@pytest.mark.parametrize(
    "text",
    ['"{}" = 1', '[[run]]\n"{}" = 1', '[[run]]\ncontent = "{}.png"\nstyle = "b.png"',
     '[[grid]]\ncontent = "{}*"\nstyle = "b.png"', '[[run]]\ncontent = "a"\nstyle = "b"\n"{}" = 2',
     '[[run]]\ncontent = "a.png"\nstyle = "b.png"\nmethod = "{}"',
     '[[run]]\ncontent = "a.png"\nstyle = "b.png"\noutput = "{{{}}}"'],
)  # fmt: skip
def test_codes_for_a_terminal_in_a_batch_file_are_escaped(folder, text):
    codes = json.dumps(CODES)[1:-1].replace("\u202e", "\\u202e")
    Path("b.toml").write_text(text.format(codes))
    assert output_of("batch", "b.toml")


def test_codes_for_a_terminal_in_a_sidecar_are_escaped(folder):
    Path("a.png").write_bytes(b"\x1b[2J")
    for document in ({"program": "nst", CODES: 1}, {"program": CODES}):
        Path("a.png.json").write_text(json.dumps(document))
        assert output_of("report", ".")
        assert output_of("replay", "a.png")


def test_codes_for_a_terminal_in_a_checkpoint_are_escaped(folder):
    name = "ab" * 32
    header = {
        "name": name,
        "output": CODES,
        "step": 1,
        "steps": 2,
        "numbers": {},
        "arrays": [],
    }
    text = json.dumps(header).encode()
    start = struct.pack("<8sIQ", b"NSTCHECK", 1, len(text)) + text
    path = checkpoints.make_folder() / f"{name}.checkpoint"
    path.write_bytes(start + hashlib.sha256(start).digest())
    assert "title" in output_of("checkpoints")
