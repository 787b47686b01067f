"""Files: written whole or not at all, and never over an input."""

import os

import pytest

from nst_cli import files
from nst_cli.errors import OutputError


@pytest.fixture
def save(tmp_path):
    """Write bytes to a file in `tmp_path` and return its path."""

    def write(name, content):
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write


def test_a_file_appears_under_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    with files.replacing(path) as temporary:
        assert temporary.endswith("-a.txt")
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


def test_an_output_that_cannot_be_made_is_refused(tmp_path, save):
    (tmp_path / "folder.png").mkdir()
    file = save("file", b"")
    for path, reason in {
        tmp_path / "missing" / "a.png": "does not exist, make it first",
        os.path.join(file, "a.png"): "is not a folder",
        tmp_path / "folder.png": "it is a folder",
        tmp_path / ("a" * 248 + ".png"): "no file can be made",
    }.items():
        with pytest.raises(OutputError, match=reason) as error:
            files.check_output(path)
        assert str(path) in str(error.value)


def test_a_folder_that_takes_no_files_is_refused(tmp_path, monkeypatch):
    def refuse(**_):
        raise OSError(30, "Read-only file system", "x")

    monkeypatch.setattr(files.tempfile, "NamedTemporaryFile", refuse)
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


def test_an_existing_picture_may_be_replaced(save):
    files.check_output(save("a.png", b"picture"), inputs=[save("b.png", b"")])


def test_an_input_is_never_overwritten_by_any_name(tmp_path, save, monkeypatch):
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
