"""Downloading the paper's pictures, from a server on this machine."""

import hashlib
import http.server

import pictures as tool
import pytest
from servers import serving

from nst_cli.files import git_blob_id

CONTENT = {"a.jpg": b"first" * 100, "b.jpg": b"second" * 100, "c.png": b"third" * 100}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        folder, name = self.path.rsplit("/", 1)
        self.server.asked.append(name)
        body = self.server.content.get(name) if folder == "/input" else None
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.asked = dict(CONTENT), []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/input"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    table = {
        name: (hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest(), len(body))
        for name, body in CONTENT.items()
    }
    monkeypatch.setattr(tool, "PICTURES", table)
    with serving(Server()) as running:
        yield running


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "new" / "images"


@pytest.fixture
def run(server, folder, capsys):
    """Run the command; return its exit code, and the lines it wrote to stdout and stderr."""

    def run():
        with pytest.raises(SystemExit) as caught:
            tool.main([str(folder), "--base-url", server.url])
        out, err = capsys.readouterr()
        return caught.value.code, out.splitlines(), err.splitlines()

    return run


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_picture_arrives_and_its_path_is_printed(run, folder):
    code, out, _ = run()
    assert code == 0
    assert content_of(folder) == CONTENT
    assert out == [str(folder / name) for name in CONTENT]


def test_pictures_that_exist_and_are_right_are_not_downloaded_again(run, server, folder):
    run()
    (folder / "b.jpg").unlink()
    server.asked.clear()
    code, _, _ = run()
    assert code == 0
    assert server.asked == ["b.jpg"]
    assert content_of(folder) == CONTENT


@pytest.mark.parametrize("bad", [None, b"another picture"], ids=["missing", "wrong"])
def test_one_failure_stops_no_other_picture_and_is_reported_at_the_end(run, server, folder, bad):
    server.content["b.jpg"] = bad
    code, _, err = run()
    assert code == 1
    assert content_of(folder) == {name: CONTENT[name] for name in ("a.jpg", "c.png")}
    headline, row = err
    assert headline == "1 of 3 pictures failed:"
    assert row.startswith("b.jpg  ")
    assert f"{server.url}/b.jpg" in row


def test_a_different_file_with_that_name_is_left_alone(run, folder):
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"my own")
    code, _, err = run()
    assert code == 1
    assert content_of(folder) == {**CONTENT, "a.jpg": b"my own"}
    assert "exists already" in err[1]


def test_a_server_that_sends_more_than_a_picture_has_is_refused(run, server, folder):
    server.content["b.jpg"] += b"more"
    code, _, err = run()
    assert code == 1
    assert "at most 600 bytes" in err[1]
    assert set(content_of(folder)) == {"a.jpg", "c.png"}


def test_the_table_holds_a_git_blob_id_and_a_size_for_each_picture():
    ids = [blob_id for blob_id, _ in tool.PICTURES.values()]
    assert len(ids) == len(set(ids)) == 27
    assert all(len(bytes.fromhex(blob_id)) == 20 for blob_id in ids)
    assert all(0 < size < 10**6 for _, size in tool.PICTURES.values())


def test_ids_and_sizes_are_those_of_the_pictures_themselves(pictures):
    here = [path for path in pictures.iterdir() if path.suffix == ".jpg"]
    contents = {path.name: (git_blob_id(path), path.stat().st_size) for path in here}
    assert contents
    assert contents == {name: tool.PICTURES[name] for name in contents}
