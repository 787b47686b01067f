"""The commands nst weights and nst bench, in real processes."""

import functools
import http.server
import os
import shlex

import pytest
from processes import (
    content_of,
    error_of,
    nst,
)
from servers import serving
from test_cli import sidecar_in

from nst_cli import files, weights


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of the files in a folder; yields the folder and the address."""
    folder = tmp_path_factory.mktemp("served")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as running:
        yield folder, f"http://127.0.0.1:{running.server_port}"


# The command line with a small file in place of the published 80 MB.
FETCH_OTHER = """
import functools
from nst_cli import cli, weights
weights.fetch = functools.partial(weights.fetch, blob_id="{}")
cli.main(prog_name="nst")
"""


def test_fetch_prints_the_path_and_the_second_time_downloads_nothing(server, tmp_path):
    served, url = server
    (served / "good").write_bytes(bytes(range(256)) * 1000)
    code = FETCH_OTHER.format(files.git_blob_id(served / "good"))
    target = tmp_path / "new" / "vgg19.params"
    for address in (f"{url}/good", f"{url}/gone"):
        done = nst(tmp_path, "weights", "fetch", target, "--url", address, program=("-c", code))
        assert (done.returncode, done.stdout) == (0, f"{target}\n"), done.stderr
        assert content_of(target.parent) == {"vgg19.params": (served / "good").read_bytes()}


def test_by_default_weights_are_fetched_to_the_cache_and_found_there(server, tmp_path):
    served, url = server
    (served / "good").write_bytes(bytes(range(256)) * 1000)
    code = FETCH_OTHER.format(files.git_blob_id(served / "good"))
    cache = {"XDG_CACHE_HOME": tmp_path / "cache"}
    fetched = nst(
        tmp_path, "weights", "fetch", "--url", f"{url}/good", program=("-c", code), **cache
    )
    printed = nst(tmp_path, "weights", "path", **cache)
    path = tmp_path / "cache" / "nst" / "vgg19.params"
    assert (fetched.stdout, printed.stdout) == (f"{path}\n", f"{path}\n")
    assert (fetched.returncode, printed.returncode) == (0, 0)


def test_a_download_that_differs_from_the_published_file_is_refused_and_removed(server, tmp_path):
    served, url = server
    (served / "other").write_bytes(b"<html>Please log in</html>")
    target = tmp_path / "vgg19.params"
    done = nst(tmp_path, "weights", "fetch", target, "--url", f"{url}/other")
    last = done.stderr.splitlines()[-1]
    assert (done.returncode, done.stdout) == (1, "")
    assert last.startswith("Error: ") and weights.PUBLISHED_BLOB_ID in last
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_fetching_from_an_address_that_does_not_answer_is_an_error(server, tmp_path):
    done = nst(tmp_path, "weights", "fetch", tmp_path, "--url", f"{server[1]}/gone")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith(f"Error: Cannot download {server[1]}/gone: ")
    assert "Traceback" not in done.stderr


def test_weights_path_prints_the_path_that_a_run_would_use(tmp_path, small_weights):
    done = nst(tmp_path, "weights", "path", NST_WEIGHTS=small_weights)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{small_weights}\n", "")
    line = error_of(nst(tmp_path, "weights", "path"), 1)
    assert "No VGG-19 weights found" in line and "nst weights fetch" in line


def test_weights_check_describes_a_file(tmp_path, small_weights):
    done = nst(tmp_path, "weights", "check", small_weights)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(small_weights) in done.stdout and "not the published file" in done.stdout
    for words in (
        files.git_blob_id(small_weights),
        files.sha256(small_weights),
        f"{os.path.getsize(small_weights)} bytes",
    ):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.params", ("No such file",)),
        ("cut.params", ("broken", "ends in")),
        ("words.params", ("not an MXNet parameter file",)),
        ("folder.params", ("folder",)),
    ],
)
def test_weights_check_of_an_unusable_file_is_a_one_line_error(
    tmp_path, small_weights, name, words
):
    with open(small_weights, "rb") as stream:
        (tmp_path / "cut.params").write_bytes(stream.read(100_000))
    (tmp_path / "words.params").write_bytes(b"words\n" * 100)
    (tmp_path / "folder.params").mkdir()
    line = error_of(nst(tmp_path, "weights", "check", name), 1)
    for word in (name, *words):
        assert word in line


@pytest.mark.slow
def test_the_real_weights_are_distinguished_from_the_published_file_and_not_refused(
    tmp_path, real_weights
):
    done = nst(tmp_path, "weights", "check", real_weights)
    assert done.returncode == 0, done.stderr
    blob_id = files.git_blob_id(real_weights)
    assert f"git blob id {blob_id}\n" in done.stdout
    published = "; the published file\n" in done.stdout
    assert published == (blob_id == weights.PUBLISHED_BLOB_ID)


@pytest.mark.slow
def test_a_pair_of_pictures_is_stylised_with_the_real_weights_and_the_papers_layers(
    pair, real_weights
):
    command = "stylize content.png style.png -o out.png --size 64 --iterations 10 --quiet"
    done = nst(pair, *shlex.split(command), NST_WEIGHTS=real_weights)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out.png\n", "")
    losses = sidecar_in(pair)["losses"]
    assert {"content/relu4_2", "poly/relu1_1", "poly/relu5_1", "smoothing"} < set(losses)


@pytest.mark.slow
def test_bench_prints_a_table_with_a_row_for_each_preset(tmp_path, real_weights):
    command = ("bench", "--size", "32", "--method", "linear", "--device", "cpu")
    assert "No VGG-19 weights found" in nst(tmp_path, *command).stderr
    done = nst(tmp_path, *command, NST_WEIGHTS=real_weights)
    assert (done.returncode, done.stderr) == (0, "")
    head, paper, fast = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in done.stdout.splitlines()
        if line.startswith("|") and "---" not in line
    )
    for row in (paper, fast):
        assert len(row) == len(head) and row[:3] == ["cpu(0)", "32 x 21", "linear"]
        assert float(row[5]) > 0 and float(row[10]) > 100
    assert (paper[3], paper[4], paper[9]) == ("paper", "float32", "1.000")
    assert fast[3] == "fast" and float(fast[9]) < 1.1


def test_bench_of_a_missing_picture_is_a_one_line_error(tmp_path):
    assert "Cannot read none.jpg" in error_of(nst(tmp_path, "bench", "--content", "none.jpg"), 1)
