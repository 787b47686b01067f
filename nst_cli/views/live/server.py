"""Serves the page on the loopback address, to requests with its token alone."""

import contextlib
import hmac
import http.server
import json
import secrets
import socket
import socketserver
import sys
import threading
from http import HTTPStatus
from typing import Any, Optional

from ... import __version__
from .. import report
from ..report.escape import escaped
from ..report.template import asset, filled
from .state import State

_ADDRESS = "127.0.0.1"
# Names in the Host header, with any port, because a tunnel by ssh may have another. A page of a
# stranger whose name leads to 127.0.0.1 has its own name there.
_HOSTS = (_ADDRESS, "localhost", "[::1]")
# Connections at the same time.
_MOST = 32
# Seconds that a connection may be silent.
_PATIENCE = 10

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; script-src 'self'; "
    # The curves have their hues in attributes.
    "style-src 'self'; style-src-attr 'unsafe-inline'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Server(socketserver.ThreadingTCPServer):
    """A server in threads of its own, which all end with the context.

    Parameters
    ----------
    state : State

    Attributes
    ----------
    state : State
    token : str
    url : str

    Raises
    ------
    OSError
        No port can be opened.
    """

    def __init__(self, state: State) -> None:
        self.state, self.token = state, secrets.token_urlsafe(24)
        self._connections: set[Any] = set()
        self._lock = threading.Lock()
        super().__init__((_ADDRESS, 0), _Handler)
        self.url = f"http://{_ADDRESS}:{self.server_address[1]}/{self.token}/view"
        # If the interpreter ends without leaving the context, it does not wait.
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> "Server":  # noqa: PYI034 (Self needs Python 3.11)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        with self._lock:
            for connection in self._connections:
                # A thread may be waiting for it.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        # Waits for the threads of all connections.
        self.server_close()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Accept a connection unless there are too many."""
        with self._lock:
            if len(self._connections) >= _MOST:
                return False
            self._connections.add(request)
            return True

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the traceback of a bug; say nothing if a browser closes its connection."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    timeout = _PATIENCE

    def do_GET(self) -> None:  # the name is http.server's
        self._answer()

    def do_POST(self) -> None:  # the name is http.server's
        self._answer()

    def _answer(self) -> None:
        folder, _, name = self.path.partition("?")[0][1:].partition("/")
        method = _METHODS.get(name)
        token = self.server.token.encode()
        if not _is_loopback(self.headers.get_all("Host", [])):
            self.send_error(HTTPStatus.FORBIDDEN, explain="The host must be 127.0.0.1.")
        elif not hmac.compare_digest(folder.encode("utf-8", "replace"), token):
            self.send_error(HTTPStatus.FORBIDDEN, explain="Use the URL that nst printed.")
        elif not method:
            self.send_error(HTTPStatus.NOT_FOUND)
        elif method != self.command:
            self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)
        elif name == "stop":
            self.server.state.stop()
            self._send(HTTPStatus.NO_CONTENT)
        else:
            self._send_content(name)

    def _send_content(self, name: str) -> None:
        state = self.server.state
        if name == "view":
            page = filled(
                asset(__package__, "page.html"),
                title=escaped(state.title),
                version=escaped(__version__),
            )
            self._send(HTTPStatus.OK, page.encode(), "text/html; charset=utf-8")
        elif name == "page.css":
            style = asset(report.__name__, "page.css") + asset(__package__, "page.css")
            self._send(HTTPStatus.OK, style.encode(), "text/css; charset=utf-8")
        elif name == "page.js":
            script = asset(__package__, "page.js")
            self._send(HTTPStatus.OK, script.encode(), "text/javascript; charset=utf-8")
        elif name == "data":
            data = state.data()
            self._send(HTTPStatus.OK, json.dumps(data).encode(), "application/json")
            state.sent("data", data["ended"])
        else:
            number, picture = state.picture()
            if number:
                self._send(HTTPStatus.OK, picture, "image/jpeg")
                state.sent("picture", number)
            else:
                self.send_error(HTTPStatus.NOT_FOUND, explain="There is no picture yet.")

    def _send(self, status: HTTPStatus, body: bytes = b"", kind: str = "") -> None:
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_error(
        self, code: int, message: Optional[str] = None, explain: Optional[str] = None
    ) -> None:
        """Send an error as one line of text; `http.server` calls it for broken requests too."""
        status = HTTPStatus(code)
        text = f"{status.value} {status.phrase}. {explain or ''}".strip() + "\n"
        self._send(status, text.encode(), "text/plain; charset=utf-8")

    def end_headers(self) -> None:
        """Send the headers of every answer."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def version_string(self) -> str:
        """Return the Server header, without versions."""
        return "nst"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing: stderr has the progress bar."""


_METHODS = {
    "view": "GET", "page.css": "GET", "page.js": "GET", "data": "GET", "picture": "GET",
    "stop": "POST",
}  # fmt: skip


def _is_loopback(hosts: list[str]) -> bool:
    """Return whether there is one Host header, and it names this machine."""
    if len(hosts) != 1:
        return False
    name, _, port = hosts[0].rpartition(":")
    return (name if port.isdigit() else hosts[0]).lower() in _HOSTS
