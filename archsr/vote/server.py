"""Serve the voting page by the standard library's HTTP server, on loopback by default, with small requests only."""

import json
import re
import socket
import socketserver
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from archsr.errors import UserError
from archsr.utils.web import host_of, is_loopback
from archsr.vote.ballot import Ballot, RefusedError
from archsr.vote.study import Study, image_file

_PAGE = Path(__file__).with_name("page.html")
_MOST = 4096  # bytes of a request's body
_IDLE = 60.0  # seconds until an idle connection is closed
_IMAGE = re.compile(r"/images/([0-9a-f]{32})\.png")
_POLICY = (
    "default-src 'none'; img-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class _Server(ThreadingHTTPServer):
    """`local`: bound to loopback, so that only requests with a loopback host are answered."""

    daemon_threads = True

    def __init__(self, address: Any, family: socket.AddressFamily, folder: Path, study: Study) -> None:  # noqa: ANN401
        self.address_family = family
        super().__init__(address, _Handler)
        self.local = is_loopback(str(self.server_address[0]))
        self.folder = folder
        self.ballot = Ballot(folder, study)
        self.page = _PAGE.read_bytes()

    def server_bind(self) -> None:
        """Bind without the standard library's DNS lookup."""
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base's signature
        """Ignore visitors who disconnect."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One visitor's requests."""

    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "archsr", ""
    timeout = _IDLE

    def do_GET(self) -> None:
        """Send the page or an image."""
        path = self.path.partition("?")[0]
        if not self._is_welcome():
            self._refuse(403, "this page is for this machine only")
        elif path == "/":
            self._answer(200, self.server.page, "text/html; charset=utf-8")
        elif path == "/favicon.ico":
            self._answer(204, b"", "image/png")
        elif (found := _IMAGE.fullmatch(path)) and (file := image_file(self.server.folder, found[1])).is_file():
            self._answer(200, file.read_bytes(), "image/png", cache="private, max-age=86400, immutable")
        else:
            self._refuse(404, "not found")

    def do_POST(self) -> None:
        """Answer with a voter's state, after a vote or taking one back if requested."""
        ballot = self.server.ballot
        actions = {"/state": ballot.state, "/vote": ballot.vote, "/back": ballot.take_back}
        if not self._is_welcome() or not self._is_from_the_page():
            self._refuse(403, "this page is for this machine only")
        elif (action := actions.get(self.path)) is None:
            self._refuse(404, "not found")
        elif (request := self._body()) is not None:
            try:
                self._answer(200, json.dumps(action(request)).encode(), "application/json")
            except RefusedError as error:
                self._refuse(400, str(error))
            except OSError as error:
                self._refuse(507, f"the vote could not be stored: {error.strerror or error}")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the base's signature
        """Print nothing: a line per image would hide what matters."""

    def _is_welcome(self) -> bool:
        """Return whether the host is allowed. On loopback a foreign host is a DNS rebinding attack."""
        hosts = self.headers.get_all("Host", [])
        return not self.server.local or (len(hosts) == 1 and is_loopback(host_of(f"//{hosts[0]}")))

    def _is_from_the_page(self) -> bool:
        """Return whether our page sent this. Other pages can send forms, but neither JSON nor our origin."""
        origin, host = self.headers.get("Origin"), self.headers.get("Host", "")
        kind = self.headers.get_content_type()
        return kind == "application/json" and (origin is None or origin.partition("://")[2] == host)

    def _body(self) -> dict[str, Any] | None:
        """Return the object in the request, or None after refusing it."""
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not re.fullmatch(r"[0-9]{1,9}", length):
            self._refuse(411, "Content-Length is missing")
        elif int(length) > _MOST:
            self._refuse(413, f"at most {_MOST} bytes")
        else:
            try:
                request = json.loads(self.rfile.read(int(length)))
            except (ValueError, RecursionError):
                request = None
            if isinstance(request, dict):
                return request
            self._refuse(400, "a JSON object is expected")
        return None

    def _refuse(self, status: int, why: str) -> None:
        """Answer with an error and close the connection, because the rest of the request is not read."""
        self.close_connection = True
        self._answer(status, json.dumps({"error": why}).encode(), "application/json")

    def _answer(self, status: int, content: bytes, kind: str, *, cache: str = "no-store") -> None:
        heads = {"Content-Type": kind, "Content-Length": str(len(content)), "Cache-Control": cache}
        heads |= {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
        heads |= {"Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin"}
        heads |= {"Connection": "close"} if self.close_connection else {}
        self.send_response(status)
        for name, value in heads.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serve(folder: Path, study: Study, *, host: str, port: int) -> Generator[str]:
    """Serve the page until the block ends; yields its address. Port 0 is any free one. Raises `UserError`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        server = _Server(address, family, folder, study)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{host}:{port}: cannot listen there: {reason}; choose another --host or --port") from None
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="vote", daemon=True)
    thread.start()
    try:
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
