"""A web server on this machine over TLS, and what can go wrong with its answers."""

from __future__ import annotations

import hashlib
import http.server
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import trustme

CONTENT = bytes(range(256)) * 400
DIGEST = hashlib.sha256(CONTENT).hexdigest()

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Asked(NamedTuple):
    """A request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class WebServer:
    """A server that runs while the context is open; ``answers`` say what it does with a path.

    Those of a path without its query count where there are none for the whole.
    """

    names: tuple[str, ...] = ("localhost", "127.0.0.1")
    authority: trustme.CA = field(default_factory=trustme.CA)
    encrypted: bool = True
    keeps_bodies: bool = True
    port: int = 0
    asked: list[str] = field(default_factory=list)
    requests: list[Asked] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)

    @property
    def bundle(self) -> str:
        return self.authority.cert_pem.bytes().decode()

    @property
    def url(self) -> str:
        return f"{'https' if self.encrypted else 'http'}://localhost:{self.port}"

    def forget(self) -> None:
        self.answers.clear()
        self.asked.clear()
        self.requests.clear()

    def __enter__(self) -> Self:
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                length, body = int(self.headers.get("Content-Length", "0")), b""
                while length > 0 and (piece := self.rfile.read(min(length, 1 << 16))):
                    body, length = body + piece if server.keeps_bodies else b"", length - len(piece)
                server.asked.append(self.path)
                server.requests.append(Asked(self.command, self.path, dict(self.headers.items()), body))
                plain = self.path.partition("?")[0]
                server.answers.get(self.path, server.answers.get(plain, sends(b"no", status=404)))(self)

            do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                pass

        class Listener(http.server.ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Say nothing of those who hang up, which is what many tests do."""

        self._listener = Listener(("127.0.0.1", 0), Handler)
        if self.encrypted:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.authority.issue_cert(*self.names).configure_cert(context)
            self._listener.socket = context.wrap_socket(self._listener.socket, server_side=True)
        self.port = self._listener.server_address[1]
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()


def sends(content: bytes = CONTENT, *, promised: int | None = None, status: int = 200) -> Answer:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(content) if promised is None else promised))
        request.end_headers()
        request.wfile.write(content)

    return answer


def leads_to(location: str, status: int = 302) -> Answer:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Location", location)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def says_badly(status: int, words: str) -> Answer:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(f"HTTP/1.1 {status} {words}\r\nContent-Length: 0\r\n\r\n".encode())

    return answer


def sends_length(length: str) -> Answer:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", length)
        request.end_headers()
        request.wfile.write(b"other")

    return answer
