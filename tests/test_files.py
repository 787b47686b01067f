"""Files: written completely or not at all, and never over an input."""

import concurrent.futures
import os
import signal
import subprocess
import sys

import pytest
from processes import PATIENCE, environment, nst

from nst_cli import files
from nst_cli.errors import OutputError


@pytest.fixture
def save(tmp_path):
    """Write bytes to a file in `tmp_path` and return its path."""

    def write(name, content):
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write


def test_a_file_appears_under_its_name_only_when_complete(tmp_path):
    path = tmp_path / "a.txt"
    with files.replacing(path) as temporary:
        assert os.path.basename(temporary).startswith(".nst-") and temporary.endswith(".txt")
        with open(temporary, "w") as stream:
            stream.write("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, save, error):
    path = save("a.txt", b"old")
    with pytest.raises(error), files.replacing(path) as temporary:
        with open(temporary, "w") as stream:
            stream.write("half")
        raise error
    assert (tmp_path / "a.txt").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_checksums_are_those_of_sha256sum_and_git(save):
    # printf 'hello\\n' | sha256sum; printf 'hello\\n' | git hash-object --stdin
    path = save("a.txt", b"hello\n")
    assert files.sha256(path) == (
        "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    )
    assert files.git_blob_id(path) == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_a_good_output_passes_and_nothing_is_left_behind(tmp_path, monkeypatch):
    files.check_output(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    files.check_output("a.png", inputs=["other.png"])
    assert os.listdir(tmp_path) == []


def test_an_output_in_an_impossible_place_is_refused(tmp_path, save):
    (tmp_path / "folder.png").mkdir()
    file = save("file", b"")
    for path, reason in {
        tmp_path / "missing" / "a.png": "does not exist, make it first",
        os.path.join(file, "a.png"): "is not a folder",
        tmp_path / "folder.png": "it is a folder",
        tmp_path / ("a" * 252 + ".png"): "File name too long",
        # Python 3.13 says character.
        tmp_path / "a\0.png": "null (byte|character)",
        tmp_path / "\ud800.png": "surrogates not allowed",
    }.items():
        with pytest.raises(OutputError, match=reason) as error:
            files.check_output(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_folder_in_which_no_file_can_be_created_is_refused(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(30, "Read-only file system", "x")

    monkeypatch.setattr(files.os, "open", refuse)
    with pytest.raises(OutputError, match="Read-only file system"):
        files.check_output(tmp_path / "a.png")


def test_a_folder_or_file_without_write_permission_is_refused(tmp_path, save):
    path = save("a.png", b"")
    os.chmod(path, 0o400)
    if os.access(path, os.W_OK):
        pytest.skip("permissions do not bind this user")
    with pytest.raises(OutputError, match="write-protected"):
        files.check_output(path)
    os.chmod(tmp_path, 0o500)
    try:
        with pytest.raises(OutputError, match="no file can be made"):
            files.check_output(tmp_path / "b.png")
    finally:
        os.chmod(tmp_path, 0o700)


def test_a_write_protected_file_is_refused(save, monkeypatch):
    path = save("a.png", b"")
    monkeypatch.setattr(os, "access", lambda name, _: str(name) != path)
    with pytest.raises(OutputError, match=r"a\.png: the file there is write-protected"):
        files.check_output(path)


def test_an_existing_file_is_replaced_only_if_nst_made_it_or_with_overwrite(save):
    path, asked = save("a.png", b"picture"), []
    with pytest.raises(OutputError, match=r"a\.png: it exists and nst did not make it; --overwr"):
        files.check_output(path)
    with pytest.raises(OutputError, match="nst did not make it"):
        files.check_output(path, ours=lambda file: asked.append(file))
    assert asked == [path]
    files.check_output(path, inputs=[save("b.png", b"")], ours=lambda file: True)
    files.check_output(path, overwrite=True)
    files.check_output(save("empty.png", b""))


def test_an_output_that_is_not_a_regular_file_is_refused_even_with_overwrite(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to(os.devnull)
    (tmp_path / "folder").mkdir()
    for name, words in {
        "pipe": "a device or a pipe", "null": "a device or a pipe", "folder": "it is a folder",
    }.items():  # fmt: skip
        with pytest.raises(OutputError, match=words):
            files.check_output(tmp_path / name, overwrite=True, ours=lambda path: True)


def test_an_error_for_a_link_to_itself_says_so(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OutputError, match="a symbolic link that leads back to itself"):
        files.check_output(tmp_path / "a")


def test_a_link_is_written_through_and_stays_a_link(tmp_path, save):
    (tmp_path / "disk").mkdir()
    for name in ("old.txt", "new.txt"):
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
    (tmp_path / "disk" / "old.txt").write_text("old")
    for name in ("old.txt", "new.txt"):
        files.check_output(tmp_path / name, overwrite=True)
        files.write_text(tmp_path / name, "new")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "disk" / name).read_text() == "new"
    assert sorted(os.listdir(tmp_path / "disk")) == ["new.txt", "old.txt"]


def test_a_link_into_a_missing_folder_is_refused(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "none" / "a")
    with pytest.raises(OutputError, match="none does not exist"):
        files.check_output(tmp_path / "a")


def test_the_target_of_a_link_is_recognised_as_an_input(tmp_path, save):
    path = save("in.png", b"picture")
    (tmp_path / "out.png").symlink_to(path)
    with pytest.raises(OutputError, match="would overwrite"):
        files.check_output(tmp_path / "out.png", [path], overwrite=True)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_an_existing_file_keeps_its_permissions_and_a_new_one_follows_the_umask(save, mode):
    path = save("a.txt", b"old")
    os.chmod(path, mode)
    files.write_text(path, "new")
    assert os.stat(path).st_mode & 0o777 == mode
    before = os.umask(0o027)
    try:
        files.write_text(f"{path}.new", "new")
    finally:
        os.umask(before)
    assert os.stat(f"{path}.new").st_mode & 0o777 == 0o640


def test_a_name_may_use_all_255_bytes(tmp_path):
    for name in ("a" * 251 + ".png", "b." + "c" * 253, "ä" * 127 + "x"):
        files.check_output(tmp_path / name)
        files.write_text(tmp_path / name, "x")
    assert len(os.listdir(tmp_path)) == 3


KILLED = """
import os, signal, sys
from nst_cli import files
with files.replacing(sys.argv[1]) as temporary:
    open(temporary, "w").write("half")
    if sys.argv[2:]:
        print("ready", flush=True)
        sys.stdin.read()
    else:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("again", ["write", "check"])
def test_the_remains_of_a_killed_writer_are_removed_by_the_next_writer_of_the_file(
    tmp_path, again
):
    path = tmp_path / "a.txt"
    done = nst(tmp_path, path, program=("-c", KILLED))
    assert done.returncode == -signal.SIGKILL
    (leftover,) = os.listdir(tmp_path)
    assert leftover.startswith(".nst-")
    files.write_text(tmp_path / "other.txt", "of another name")
    assert leftover in os.listdir(tmp_path)
    if again == "check":
        files.check_output(path)
    else:
        files.write_text(path, "whole")
    assert leftover not in os.listdir(tmp_path)


def test_the_temporary_file_of_a_running_writer_is_left_alone(tmp_path):
    path = tmp_path / "a.txt"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, path, "wait"], env=environment(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "ready\n"
        (theirs,) = os.listdir(tmp_path)
        files.check_output(path)
        files.write_text(path, "ours")
        assert sorted(os.listdir(tmp_path)) == sorted([theirs, "a.txt"])
        process.communicate("", timeout=PATIENCE)
    finally:
        process.kill()
    # Each wrote a complete file, and the later one remains.
    assert path.read_text() == "half" and os.listdir(tmp_path) == ["a.txt"]


def test_concurrent_writers_leave_one_complete_file(tmp_path):
    path, texts = tmp_path / "a.txt", [str(number) * 50_000 for number in range(6)]

    def write(text):
        for _ in range(20):
            files.write_text(path, text)

    with concurrent.futures.ThreadPoolExecutor(len(texts)) as pool:
        list(pool.map(write, texts))
    assert path.read_text() in texts and os.listdir(tmp_path) == ["a.txt"]


def test_a_file_is_synced_before_it_is_renamed(tmp_path, monkeypatch):
    calls = []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda fd: (calls.append("sync"), fsync(fd)))
    monkeypatch.setattr(files.os, "replace", lambda *a: (calls.append("rename"), rename(*a)))
    files.write_text(tmp_path / "a.txt", "x")
    assert calls == ["sync", "rename", "sync"]


def test_json_that_cannot_be_written_is_a_one_line_error(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OutputError, match=r"Cannot write .*a\.json: Is a directory\."):
        files.write_json(tmp_path / "a.json", {})
    with pytest.raises(OutputError, match="No such file"):
        files.write_json(tmp_path / "none" / "a.json", {})
    assert os.listdir(tmp_path) == ["a.json"]


def test_only_regular_files_have_a_checksum(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(OSError, match="not a regular file|it is a folder"):
            files.sha256(path)
        with pytest.raises(OSError, match="not a regular file|it is a folder"):
            files.git_blob_id(path)


@pytest.mark.parametrize("text", [b"[" * 100_000, b"\xff", b"{", b"", b"1" * 100_000])
def test_untrusted_json_raises_at_worst_a_one_line_value_error(text):
    try:
        files.from_json(text)
    except ValueError as error:
        assert "JSON" in str(error) or "nested" in str(error)
        assert "\n" not in str(error)


def test_an_input_is_never_overwritten_under_any_name(tmp_path, save, monkeypatch):
    path = save("in.png", b"picture")
    os.symlink(path, tmp_path / "soft.png")
    os.link(path, tmp_path / "hard.png")
    (tmp_path / "sub").mkdir()
    os.symlink(tmp_path, tmp_path / "round")
    monkeypatch.chdir(tmp_path)
    for output in (path, "in.png", "sub/../in.png", "soft.png", "hard.png", "round/in.png"):
        with pytest.raises(OutputError, match="that would overwrite"):
            files.check_output(output, inputs=["else.png", path])
    with pytest.raises(OutputError, match="that would overwrite"):
        files.check_output("round/new.png", inputs=[tmp_path / "new.png"])
