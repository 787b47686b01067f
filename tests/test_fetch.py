"""Downloads: complete, interrupted, resumed, wrong and refused; from a server on this machine."""

import errno
import fcntl
import hashlib
import http.server
import os
import socket
import threading

import pytest
from servers import serving

from nst_cli import download, weights
from nst_cli.errors import DownloadError

CONTENT = bytes(range(256)) * 4096
BLOB_ID = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the content of its server; attributes of the server select how it misbehaves."""

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if server.status != 200:
            self.send_error(server.status)
            return
        if server.redirects:
            self.send_response(302)
            self.send_header("Location", server.redirects.pop())
            self.end_headers()
            return
        first = 0
        if asked and server.takes_ranges:
            first = int(asked[len("bytes=") : -1])
            if first >= len(server.content):
                self.send_error(416)
                return
            self.send_response(206)
            last = len(server.content) - 1
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(server.content)}")
        else:
            self.send_response(200)
        body = server.content[first:]
        if server.sends_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if server.cut is None else body[: server.cut])

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.status, self.cut = CONTENT, 200, None
        self.takes_ranges = self.sends_length = True
        self.ranges, self.redirects = [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/file"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with serving(Server()) as running:
        yield running


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new" / "file.bin"


@pytest.fixture
def part(target):
    return target.with_name("file.bin.part")


def fetch(server, target, **options):
    return download.fetch(target, server.url, BLOB_ID, len(CONTENT), timeout=5, **options)


def cut_off(server, target, at=100_000):
    """Interrupt a download after `at` bytes, and repair the server."""
    server.cut = at
    with pytest.raises(DownloadError, match="again"):
        fetch(server, target)
    server.cut = None
    assert not target.exists()


def test_a_complete_download_has_its_name_and_leaves_nothing_else(server, target):
    seen = []
    assert fetch(server, target, progress=lambda *state: seen.append(state)) == target
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_an_interrupted_download_is_resumed_where_it_stopped(server, target, part):
    cut_off(server, target, at=100_000)
    assert part.read_bytes() == CONTENT[:100_000]
    seen = []
    fetch(server, target, progress=lambda *state: seen.append(state))
    assert server.ranges == [None, "bytes=100000-"]
    assert target.read_bytes() == CONTENT
    assert not part.exists()
    assert min(seen)[0] > 100_000
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_download_may_be_interrupted_many_times(server, target):
    for _ in range(3):
        cut_off(server, target)
    assert server.ranges == [None, "bytes=100000-", "bytes=200000-"]
    fetch(server, target)
    assert target.read_bytes() == CONTENT


def test_a_download_starts_over_if_the_server_ignores_the_range(server, target):
    cut_off(server, target)
    server.takes_ranges = False
    fetch(server, target)
    assert server.ranges[-1] == "bytes=100000-"
    assert target.read_bytes() == CONTENT


def test_a_complete_partial_file_is_checked_and_renamed(server, target, part):
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert not part.exists()


def test_a_server_that_sends_no_length_is_checked_by_the_checksum(server, target, part):
    server.sends_length = False
    seen = []
    fetch(server, target, progress=lambda *state: seen.append(state))
    assert target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), None)
    target.unlink()
    server.cut = 1000
    with pytest.raises(DownloadError, match="not the right file"):
        fetch(server, target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("content", [b"<html>Please log in</html>", CONTENT[:-1] + b"!"])
def test_wrong_content_is_removed_and_both_ids_are_named(server, target, content):
    server.content = content
    blob_id = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    with pytest.raises(DownloadError, match=f"{blob_id}, not {BLOB_ID}"):
        fetch(server, target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("status", [403, 404, 416, 500, 503])
def test_an_error_names_a_server_that_refuses_and_its_answer(server, target, status):
    server.status = status
    with pytest.raises(DownloadError, match=f"{server.url}: the server answers {status} "):
        fetch(server, target)
    assert list(target.parent.iterdir()) == []


def test_a_refusal_keeps_the_partial_download(server, target, part):
    cut_off(server, target)
    server.status = 503
    with pytest.raises(DownloadError, match="503"):
        fetch(server, target)
    server.status = 200
    fetch(server, target)
    assert server.ranges[-1] == "bytes=100000-"


def test_an_unreachable_server_or_invalid_address_is_a_one_line_error(target, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # Bound, but nobody listens: the connection is refused.
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/file"
        with pytest.raises(DownloadError, match="refused.* again") as caught:
            download.fetch(target, url, BLOB_ID, 100)
    assert "\n" not in str(caught.value)
    with pytest.raises(DownloadError, match="Cannot download no-address"):
        download.fetch(target, "no-address", BLOB_ID, 100)
    assert list(target.parent.iterdir()) == []


def test_a_silent_server_is_abandoned(target, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/file"
        with pytest.raises(DownloadError, match="timed out"):
            download.fetch(target, url, BLOB_ID, 100, timeout=0.1)


def test_an_existing_file_is_not_downloaded_again(server, target):
    fetch(server, target)
    assert fetch(server, target) == target
    assert len(server.ranges) == 1


def test_a_different_file_with_that_name_is_left_alone(server, target):
    target.parent.mkdir()
    target.write_bytes(b"mine")
    with pytest.raises(DownloadError, match="move it away"):
        fetch(server, target)
    assert target.read_bytes() == b"mine"
    assert server.ranges == []


def test_a_full_disk_says_what_to_do(server, target, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download.os, "replace", full)
    with pytest.raises(DownloadError, match="No space left on device. Make room"):
        fetch(server, target)
    assert not target.exists()


def test_a_destination_that_cannot_be_a_folder_is_an_error(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match="Cannot write"):
        fetch(server, tmp_path / "file" / "below")


def test_by_default_the_weights_go_to_the_cache(server, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = weights.fetch(url=server.url, blob_id=BLOB_ID)
    assert path == tmp_path / "nst" / "vgg19.params"
    assert weights.fetch(tmp_path, server.url, BLOB_ID) == tmp_path / "vgg19.params"


def test_a_broken_file_in_the_cache_is_replaced_and_one_elsewhere_is_not(
    server, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached, other = tmp_path / "nst" / "vgg19.params", tmp_path / "other.params"
    cached.parent.mkdir()
    for path in (cached, other):
        path.write_bytes(CONTENT[:1000])
    weights.fetch(url=server.url, blob_id=BLOB_ID)
    assert cached.read_bytes() == CONTENT
    cached.write_bytes(b"")
    weights.fetch(cached.parent, server.url, BLOB_ID)
    assert cached.read_bytes() == CONTENT
    with pytest.raises(DownloadError, match="--overwrite"):
        weights.fetch(other, server.url, BLOB_ID)
    assert other.read_bytes() == CONTENT[:1000]
    weights.fetch(other, server.url, BLOB_ID, overwrite=True)
    assert other.read_bytes() == CONTENT


def test_a_file_that_will_be_replaced_stays_until_the_right_one_is_complete(server, target):
    target.parent.mkdir()
    target.write_bytes(b"mine")
    server.cut = 1000
    with pytest.raises(DownloadError, match="again"):
        fetch(server, target, overwrite=True)
    assert target.read_bytes() == b"mine"


@pytest.mark.parametrize("start", [b"another version of it", b"x" * (len(CONTENT) + 5)])
def test_a_partial_file_of_other_content_is_discarded(server, target, part, start):
    part.parent.mkdir()
    part.write_bytes(start)
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges[-1] is None
    assert not part.exists()


@pytest.mark.parametrize("sends_length", [True, False])
def test_a_server_that_sends_more_than_the_file_has_is_stopped(server, target, sends_length):
    server.content, server.sends_length = CONTENT + CONTENT, sends_length
    with pytest.raises(DownloadError, match=f"at most {len(CONTENT)} bytes"):
        fetch(server, target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["http://example.org/file", "ftp://127.0.0.1/file", "file:///etc/hosts", "https:///x"]
)
def test_only_https_and_this_machine_are_accepted_as_servers(target, url):
    with pytest.raises(DownloadError, match="https"):
        download.fetch(target, url, BLOB_ID, 100)
    assert not target.parent.exists()


@pytest.mark.parametrize("aim", ["http://example.org/file", "ftp://example.org/file"])
def test_a_redirect_to_another_kind_of_address_is_refused(server, target, aim):
    server.redirects = [aim]
    with pytest.raises(DownloadError, match="only https|redirection error|not https"):
        fetch(server, target)
    assert len(server.ranges) == 1 and not target.exists()


def test_a_redirect_on_this_machine_is_followed(server, target):
    server.redirects = [server.url]
    assert fetch(server, target).read_bytes() == CONTENT


def test_of_two_downloads_at_once_the_second_waits_and_both_have_the_file(server, target, part):
    part.parent.mkdir()
    waits, results = threading.Event(), []
    with open(part, "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        second = threading.Thread(
            target=lambda: results.append(fetch(server, target, on_wait=waits.set))
        )
        second.start()
        assert waits.wait(30)
        # The first download does this at its end.
        other.write(CONTENT)
        other.flush()
        os.replace(part, target)
    second.join(30)
    assert results == [target] and target.read_bytes() == CONTENT
    assert server.ranges == []
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


def test_a_link_stays_a_link_and_its_target_is_written(server, tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "link.bin"
    link.symlink_to(tmp_path / "disk" / "real.bin")
    assert fetch(server, link) == link
    assert link.is_symlink()
    assert (tmp_path / "disk" / "real.bin").read_bytes() == CONTENT


def test_a_destination_that_is_not_a_file_is_left_alone_even_with_overwrite(server, target):
    target.mkdir(parents=True)
    with pytest.raises(DownloadError, match="not a file"):
        fetch(server, target, overwrite=True)
    assert target.is_dir()


def test_a_file_system_without_locks_is_no_obstacle(server, target, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert fetch(server, target).read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["https://", "https://[::1", "file:///etc/hosts"])
def test_an_address_without_a_server_is_an_error(target, url):
    with pytest.raises(DownloadError, match="not an address such as https://HOST/FILE"):
        download.fetch(target, url, BLOB_ID, len(CONTENT))
