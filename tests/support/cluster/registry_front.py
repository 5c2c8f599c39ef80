"""A server in front of a real registry, which hands requests on, and does wrong where a test says so."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self


class Asked(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    authorization: str | None


class Said(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    content: bytes


Change = Callable[[Asked, Said], Said | None]
"""What is said in place of the registry's answer; None to hang up."""
Stop = Callable[[Asked], Said | None]
"""What is said without asking the registry; None to ask it."""


class RegistryFront:
    """Forwards to ``host``; ``asked`` has what came, ``stop`` and ``change`` are a test's to set."""

    def __init__(self, host: str, address: str = "127.0.0.1") -> None:
        self.asked: list[Asked] = []
        self.stop: Stop = lambda asked: None
        self.change: Change = lambda asked, said: said
        front = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = Asked(self.command, self.path, self.headers.get("Authorization"))
                front.asked.append(asked)
                said = front.stop(asked)
                if said is None:
                    names = ("Content-Type", "Accept", "Authorization", "If-Match")
                    headers = {name: self.headers[name] for name in names if name in self.headers}
                    headers["Host"] = self.headers["Host"]  # so that uploads come back this way
                    line = http.client.HTTPConnection(host, timeout=30)
                    line.request(self.command, self.path, body, headers)
                    answer = line.getresponse()
                    found = front.change(asked, Said(answer.status, dict(answer.headers), answer.read()))
                    line.close()
                    if found is None:
                        self.close_connection = True
                        return
                    said = found
                self.send_response(said.status)
                for name, value in said.headers.items():
                    if name.lower() not in ("content-length", "date", "transfer-encoding"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(said.content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(said.content)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815

        self._server = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.host = f"{address}:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
