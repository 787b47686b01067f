"""Standard streams that are missing, full, closed or of another encoding; by real processes."""

import errno
import os
import subprocess
import sys

import click
import pytest
from processes import PATIENCE, SMALL_OPTIONS, content_of, environment, save_pair

from nst_cli.cli import streams
from nst_cli.cli.group import Group
from nst_cli.errors import NstError, shown


def run(folder, words, wiring="", stdout=subprocess.PIPE, **variables):
    """Run the command in a shell with redirections such as ``2>&-``; return the process."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {wiring}', "sh", sys.executable, "-m", "nst_cli", *words],
        cwd=folder,
        env=environment(**variables),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


BATCH = """
output = "{content}-{gamma}-made.png"
[defaults]
weights = "builtin"
[[grid]]
content = "content.png"
style = "style.png"
gamma = [1, 2]
"""


@pytest.fixture
def batch(tmp_path):
    save_pair(tmp_path)
    (tmp_path / "b.toml").write_text(BATCH)
    return ["batch", "b.toml", "-q", *SMALL_OPTIONS]


def pictures(folder):
    return sorted(path.name for path in folder.glob("*-made.png"))


MADE = ["content-1-made.png", "content-2-made.png"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_stdout_stops_no_run_and_is_reported_in_one_line_at_the_end(tmp_path, batch):
    done = run(tmp_path, batch, ">/dev/full")
    assert pictures(tmp_path) == MADE
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: Cannot write to the standard output: No space left on device.")


def test_a_closed_pipe_stops_no_run_and_the_exit_code_is_that_of_sigpipe(tmp_path, batch):
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        done = run(tmp_path, batch, stdout=theirs)
    finally:
        os.close(theirs)
    assert pictures(tmp_path) == MADE
    assert (done.returncode, done.stderr) == (141, "")


def test_without_any_stream_the_work_is_done_and_no_file_receives_the_output(tmp_path, batch):
    # The file would get the number of a missing stream, and MXNet writes to it.
    wiring = "<&- >&- 2>&-"
    words = ["stylize", "content.png", "style.png", "-o", "x.png", "--log", "log.jsonl"]
    done = run(
        tmp_path, [*words, "--weights", "builtin", *SMALL_OPTIONS], wiring,
        OMP_PROC_BIND="nonsense", MXNET_ENGINE_TYPE="NaiveEngine",
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    log = (tmp_path / "log.jsonl").read_text().splitlines()
    assert len(log) == 4 and all(line.startswith('{"step"') for line in log)
    assert {"x.png", "x.png.json"} <= set(content_of(tmp_path))


@pytest.mark.parametrize("words", [["--help"], ["weights", "path"], ["--version"]])
def test_commands_that_only_print_report_a_full_stdout_in_one_line(tmp_path, words):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    done = run(tmp_path, words, ">/dev/full", NST_WEIGHTS="builtin")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "No space left on device" in done.stderr


def test_a_failure_keeps_its_exit_code_where_stderr_is_full_or_closed(tmp_path):
    for wiring in ("2>&-", "2>/dev/full"):
        assert run(tmp_path, ["weights", "check", "none"], wiring).returncode == 1
        assert run(tmp_path, ["no-command"], wiring).returncode == 2


def test_a_path_that_is_not_valid_text_is_printed_byte_for_byte(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    os.makedirs(path)
    with open(os.path.join(path, "vgg19.params"), "wb") as stream:
        stream.write(b"x")
    done = subprocess.run(
        [sys.executable, "-m", "nst_cli", "weights", "path"],
        env=environment(NST_WEIGHTS=path, PYTHONIOENCODING="ascii"),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == os.fsencode(path) + b"/vgg19.params\n"


def test_malformed_tqdm_variables_leave_the_bars_at_their_defaults(tmp_path):
    done = run(tmp_path, ["weights", "path"], NST_WEIGHTS="builtin", TQDM_MININTERVAL="x")
    assert (done.returncode, done.stdout, done.stderr) == (0, "builtin\n", "")


def test_output_after_an_error_is_dropped_and_the_first_error_is_kept(monkeypatch):
    with open("/dev/full", "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        with streams.forgiving() as failure:
            assert failure() is None
            for text in ("é\udce9\n", b"bytes\n"):
                click.echo(text)
            print("more")
            assert failure().errno == errno.ENOSPC
        assert sys.stdout is stream


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\tc\x1b[31m", r"a\nb\tc\x1b[31m"),
        ("caf\udce9", r"caf\xe9"),
        ("naïve 絵 🖼\u200d", "naïve 絵 🖼\u200d"),
        ("a\u2028b\u202egpj.exe", r"a\u2028b\u202egpj.exe"),
    ],
)
def test_names_are_shown_with_their_control_characters_escaped(text, expected):
    assert shown(text) == expected


@pytest.mark.parametrize("error", [NstError, click.UsageError])
def test_an_error_is_one_line_whatever_the_names_in_it(error):
    from click.testing import CliRunner

    group = Group("nst")

    @group.command()
    def fail():
        raise error("Cannot read a\nError: b\x1b[2J.")

    done = CliRunner().invoke(group, ["fail"])
    assert done.output.splitlines()[-1] == r"Error: Cannot read a\nError: b\x1b[2J."
