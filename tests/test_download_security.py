"""Downloads from servers that cannot be trusted: https, redirects, proxies, wrong lengths."""

import hashlib
import http.server
import ssl
import time
from pathlib import Path

import pytest
from servers import serving

from nst_cli import download
from nst_cli.errors import DownloadError

CERTIFICATE = Path(__file__).with_name("localhost.pem")
CONTENT = bytes(range(256)) * 1024
BLOB_ID = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every request as its server's `answer` does: a status, headers and body."""

    def do_GET(self):
        self.server.requests.append(f"{self.command} {self.path}")
        status, headers, body = self.server.answer(self)
        self.send_response(status, self.server.words)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

        for byte in self.server.drops:
            time.sleep(0.1)
            self.wfile.write(bytes([byte]))

    do_CONNECT = do_GET

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def __init__(self, is_secure=False):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.answer, self.words, self.drops = [], whole, None, b""
        self.scheme = "https" if is_secure else "http"
        if is_secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, *_):
        # A client that refuses the certificate ends the connection.
        pass

    def url(self, host="localhost"):
        return f"{self.scheme}://{host}:{self.server_port}/file"


def whole(_):
    return 200, {"Content-Length": str(len(CONTENT))}, CONTENT


def redirect_to(url):
    return lambda _: (302, {"Location": url, "Content-Length": "0"}, b"")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server():
    with serving(Server()) as running:
        yield running


@pytest.fixture
def secure(monkeypatch):
    """A server over https, whose certificate is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with serving(Server(is_secure=True)) as running:
        yield running


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new" / "file.bin"


def fetch(url, target):
    return download.fetch(target, url, BLOB_ID, len(CONTENT), timeout=20)


def refusal(url, target):
    """Return the one-line error of a download that leaves nothing behind."""
    with pytest.raises(DownloadError) as caught:
        fetch(url, target)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 1000
    assert not target.parent.exists() or list(target.parent.iterdir()) == []
    return line


def test_a_download_over_https_works(secure, target):
    assert fetch(secure.url(), target).read_bytes() == CONTENT


def test_a_certificate_that_nobody_vouches_for_is_refused(secure, target, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert "certificate verify failed" in refusal(secure.url(), target).lower()
    assert secure.requests == []


def test_a_certificate_of_another_host_is_refused(secure, target):
    assert "127.0.0.1" in refusal(secure.url("127.0.0.1"), target)
    assert secure.requests == []


@pytest.mark.parametrize(
    "aim",
    ["http://localhost:1/file", "http://example.org/", "ftp://localhost/a", "file:///etc/hosts",
     "data:,a", "//[::1"],
)  # fmt: skip
def test_https_is_redirected_to_https_alone(secure, target, aim):
    secure.answer = redirect_to(aim)
    refusal(secure.url(), target)
    assert secure.requests == ["GET /file"]


def test_a_redirect_from_https_to_http_is_refused_even_on_this_machine(secure, server, target):
    secure.answer = redirect_to(server.url())
    assert "which is not https" in refusal(secure.url(), target)
    assert server.requests == []


def test_a_redirect_from_https_to_https_is_followed(secure, target):
    aim = secure.url().replace("file", "moved")
    secure.answer = lambda request: (redirect_to(aim) if request.path == "/file" else whole)(None)
    assert fetch(secure.url(), target).read_bytes() == CONTENT
    assert secure.requests == ["GET /file", "GET /moved"]


def test_the_number_of_redirects_is_limited(server, target):
    server.answer = lambda request: redirect_to(f"{server.url()}{len(server.requests)}")(None)
    refusal(server.url(), target)
    assert 2 < len(server.requests) <= 20


@pytest.mark.parametrize("length", [len(CONTENT) - 1, 0])
def test_a_length_that_is_too_small_is_noticed_by_the_checksum(server, target, length):
    server.answer = lambda _: (200, {"Content-Length": str(length)}, CONTENT)
    assert "is not the right file" in refusal(server.url(), target)


def test_a_length_that_is_too_large_is_refused_before_the_content_is_read(server, target):
    server.answer = lambda _: (200, {"Content-Length": str(10**15)}, CONTENT)
    assert "at most" in refusal(server.url(), target)


def test_a_body_without_an_end_is_stopped(server, target):
    # Much more than the file has, without a length.
    server.answer = lambda _: (200, {}, CONTENT * 200)
    assert "the server sends more" in refusal(server.url(), target)


def test_a_server_that_sends_a_byte_now_and_then_is_left_and_the_bytes_are_kept(server, target):
    server.answer = lambda _: (200, {"Content-Length": str(len(CONTENT))}, CONTENT[:100])
    server.drops = CONTENT[100:]
    with pytest.raises(DownloadError, match="only 1.. bytes came in . seconds.*it resumes where"):
        download.fetch(target, server.url(), BLOB_ID, len(CONTENT), timeout=1)
    part = target.with_name(f"{target.name}.part")
    assert part.read_bytes() == CONTENT[: part.stat().st_size] != b""


@pytest.mark.parametrize("sent", ["bytes 5-10/20", "bytes x-y/z", "", "bytes 0-9/" + "9" * 30])
def test_a_part_other_than_the_one_asked_for_is_refused(server, target, sent):
    target.parent.mkdir()
    part = target.with_name("file.bin.part")
    part.write_bytes(CONTENT[:100])
    server.answer = lambda _: (206, {"Content-Range": sent, "Content-Length": "10"}, bytes(10))
    with pytest.raises(DownloadError, match="asked for the bytes from 100 on, the server sent"):
        fetch(server.url(), target)
    assert part.read_bytes() == CONTENT[:100] and not target.exists()


def test_a_partial_file_that_is_a_link_is_not_written_through(server, target, tmp_path):
    target.parent.mkdir()
    (tmp_path / "diary").write_text("mine")
    part = target.with_name("file.bin.part")
    part.symlink_to(tmp_path / "diary")
    with pytest.raises(DownloadError, match="Cannot write"):
        fetch(server.url(), target)
    assert (tmp_path / "diary").read_text() == "mine" and not target.exists()


@pytest.mark.parametrize("header", ["X: " + "x" * 100_000, "X: 1\r\n" * 500], ids=["long", "many"])
def test_headers_without_an_end_are_a_one_line_error(server, target, header):
    name, _, value = header.partition(": ")
    server.answer = lambda _: (200, {name: value}, CONTENT)
    refusal(server.url(), target)


def test_https_goes_through_the_proxy_that_the_environment_names(
    secure, server, target, monkeypatch
):
    monkeypatch.setenv("https_proxy", server.url())
    server.answer = lambda _: (407, {"Content-Length": "0"}, b"")
    assert "407" in refusal(secure.url(), target)
    assert server.requests == [f"CONNECT localhost:{secure.server_port}"] and not secure.requests
    monkeypatch.setenv("no_proxy", "localhost")
    assert fetch(secure.url(), target).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "proxy", ["nonsense", "http://[::1", "ftp://a:b@c", "file:///etc", "http://", ":"]
)
def test_a_proxy_that_makes_no_sense_is_a_one_line_error(secure, target, monkeypatch, proxy):
    monkeypatch.setenv("https_proxy", proxy)
    refusal(secure.url(), target)


def test_the_words_of_a_server_are_cut_to_a_part_of_one_line(server, target):
    server.words = "no\x1b[2J " + "x" * 5000
    server.answer = lambda _: (503, {}, b"")
    assert "503 no" in refusal(server.url(), target)
