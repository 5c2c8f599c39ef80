"""HTTP/1.1 to one server over connections that are kept, for many small requests.

A request through aiohttp takes two to three times the processor time of one through here, for things that an
API server does not do: redirects, cookies, compression. With thousands of conversions that was a sixth of all
that the operator does; ``tests/benchmarks/requests_cost.py`` measures both. Watches, and clusters behind a
proxy, stay with aiohttp.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aiohappyeyeballs import start_connection

_LONGEST_HEAD_BYTES: Final = 1 << 18
_MOST_BYTES: Final = 256 << 20
"""A page of 500 objects at etcd's limit of 1.5 MiB each would be larger; what is larger has gone astray."""
_MOST_IDLE: Final = 32
_NEXT_ADDRESS_SECONDS: Final = 0.25
"""When to try the server's next address beside the first (RFC 8305, section 5)."""
_WITHOUT_BODY: Final = (204, 304)


class BrokenAnswerError(OSError):
    """The connection ended, or what came is no HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One response.

    Attributes:
        status: HTTP status.
        reason: The status in the server's words.
        headers: By name in small letters; of a name that comes twice, the last.
        data: The body.

    """

    status: int
    reason: str
    headers: Mapping[str, str]
    data: bytes


@dataclass(frozen=True, slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def is_open(self) -> bool:
        """Whether the server has not hung up, as it does when nothing is asked for some minutes."""
        return not (self.writer.is_closing() or self.reader.at_eof())


class Connections:
    """Connections to one server.

    Args:
        url: The server's address, perhaps with a path before every other.
        tls: How to prove who it is; for https only.
        server_name: Name in its certificate, where that is not the address's.

    """

    def __init__(self, url: str, tls: ssl.SSLContext | None, server_name: str | None = None) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = tls if parts.scheme == "https" else None
        self._server_name = (server_name or self._host) if self._tls else None
        self._prefix = parts.path.rstrip("/")
        self._authority = parts.netloc.rpartition("@")[2]
        self._idle: deque[_Connection] = deque()

    def close(self) -> None:
        """Hang up."""
        while self._idle:
            self._idle.pop().writer.close()

    async def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, seconds: float
    ) -> Answer:
        """Send one request and read its answer.

        A server may hang up on a kept connection just as it is used again. Then nothing has come, and the
        request is sent once more over a new one: who calls sees to it that nothing is done twice by that.

        Raises:
            TimeoutError: It took longer than ``seconds``.
            OSError: There is no connection, or it broke.

        """
        lines = [f"{method} {self._prefix}{path} HTTP/1.1", f"Host: {self._authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None or method != "GET":
            lines.append(f"Content-Length: {len(body or b'')}")
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header or path has a line break")
        sent = "\r\n".join((*lines, "", "")).encode("latin-1") + (body or b"")
        async with asyncio.timeout(seconds):
            while self._idle:
                if (kept := self._idle.pop()).is_open:
                    try:
                        return await self._ask(kept, sent)
                    except (_NothingCameError, ConnectionError):
                        break
                kept.writer.close()
            return await self._ask(await self._connect(), sent)

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        # Not asyncio's own way of trying the next address beside the first: it can lose a cancellation.
        connected = await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS)
        try:
            reader, writer = await asyncio.open_connection(
                sock=connected, ssl=self._tls, server_hostname=self._server_name, limit=_LONGEST_HEAD_BYTES
            )
        except BaseException:
            connected.close()
            raise
        return _Connection(reader, writer)

    async def _ask(self, connection: _Connection, sent: bytes) -> Answer:
        """Send a request over a connection, and keep it where it may be used again."""
        is_reusable = False
        try:
            connection.writer.write(sent)
            await connection.writer.drain()
            answer = await _read(connection.reader)
            is_reusable = "close" not in answer.headers.get("connection", "").lower()
            return answer
        finally:
            # Also when this is cancelled: an answer that is still to come would be taken for the next one's.
            if is_reusable and len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
            else:
                connection.writer.close()


class _NothingCameError(BrokenAnswerError):
    """The connection ended before the answer began."""


async def _read(reader: asyncio.StreamReader) -> Answer:
    try:
        status, reason, headers = await _head(reader)
        while 100 <= status < 200:  # interim answers, RFC 9110 section 15.2
            status, reason, headers = await _head(reader)
        return Answer(status, reason, headers, await _body(reader, status, headers))
    except asyncio.IncompleteReadError as error:
        raise BrokenAnswerError("the connection ended in an answer") from error
    except (asyncio.LimitOverrunError, ValueError) as error:
        raise BrokenAnswerError(f"the answer is no HTTP: {error}") from error


async def _head(reader: asyncio.StreamReader) -> tuple[int, str, dict[str, str]]:
    """Read a status line and headers."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            raise _NothingCameError("the server hung up") from error
        raise
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    protocol, _, rest = first.partition(" ")
    status, _, reason = rest.partition(" ")
    if not protocol.startswith("HTTP/1.") or len(status) != 3 or not status.isdecimal():
        raise ValueError(f"it begins with {first[:40]!r}")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"a header is {line[:40]!r}")
        headers[name.strip().lower()] = value.strip()
    return int(status), reason, headers


async def _body(reader: asyncio.StreamReader, status: int, headers: Mapping[str, str]) -> bytes:
    """Read what comes after the head (RFC 9112, section 6.3)."""
    if status in _WITHOUT_BODY:
        return b""
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if coding.lower() != "chunked":
            raise ValueError(f"the body comes as {coding[:40]!r}")
        return await _chunks(reader)
    if length is not None:
        return await reader.readexactly(_size(length, 10))
    data = bytearray()
    while part := await reader.read(_LONGEST_HEAD_BYTES):  # it ends with the connection
        data += part
        _check_size(len(data))
    return bytes(data)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts, total = [], 0
    while size := _size((await reader.readuntil(b"\r\n")).partition(b";")[0].decode("latin-1").strip(), 16):
        total += size
        _check_size(total)
        parts.append(await reader.readexactly(size))
        if await reader.readexactly(2) != b"\r\n":
            raise ValueError("a chunk is longer than it says")
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    return b"".join(parts)


def _size(text: str, base: int) -> int:
    """Read a number of bytes."""
    if not text.isalnum():
        raise ValueError(f"a length is {text[:40]!r}")
    size = int(text, base)
    _check_size(size)
    return size


def _check_size(size: int) -> None:
    if size > _MOST_BYTES:
        raise ValueError(f"it has {size} bytes and more")
