"""Requests over kept connections, asked of servers that do what servers may, and what they may not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelconversion_operator.cluster.connections import Answer, BrokenAnswerError, Connections

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: today\r\n\r\n{}"


class Server:
    """Answers each request with the next of ``answers``; None hangs up without a word."""

    def __init__(self, *answers: bytes | None, cuts: tuple[int, ...] = ()) -> None:
        self._answers = list(answers)
        self._cuts = cuts
        self.requests: list[bytes] = []
        self.connections = 0

    @asynccontextmanager
    async def client(self, path: str = "", host: str = "127.0.0.1") -> AsyncIterator[Connections]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        _, port = server.sockets[0].getsockname()
        connections = Connections(f"http://{host}:{port}{path}", None)
        try:
            yield connections
        finally:
            connections.close()
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = next((int(line[15:]) for line in head.lower().split(b"\r\n") if b"length:" in line), 0)
                self.requests.append(head + await reader.readexactly(size))
                answer = self._answers.pop(0)
                if answer is None:
                    break
                start = 0
                for cut in (*sorted(self._cuts), len(answer)):
                    writer.write(answer[start:cut])
                    await writer.drain()
                    await asyncio.sleep(0)
                    start = max(start, cut)
                if b"Content-Length" not in answer and b"chunked" not in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def ask(client: Connections, method: str = "GET", body: bytes | None = None) -> Answer:
    return await client.request(method, "/x?y=1", {"Accept": "a"}, body, 5)


async def test_a_connection_is_used_again():
    server = Server(OK, OK, OK)
    async with server.client("/prefix/") as client:
        first = await ask(client)
        await ask(client, "PATCH", b"[1]")
        await ask(client, "DELETE")
    assert (first.status, first.reason, first.data, first.headers["date"]) == (200, "OK", b"{}", "today")
    assert server.connections == 1
    get, patch, delete = server.requests
    assert get.startswith(b"GET /prefix/x?y=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"Accept: a\r\n" in get
    assert b"Content-Length" not in get
    assert patch.endswith(b"Content-Length: 3\r\n\r\n[1]")
    assert b"Content-Length: 0\r\n" in delete


async def test_of_several_addresses_one_that_answers_is_enough():
    async with Server(OK).client(host="localhost") as client:  # also ::1 where there is IPv6
        assert (await ask(client)).data == b"{}"


CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;name=value\r\nabc\r\nA\r\n0123456789\r\n0\r\n"
)


@pytest.mark.parametrize(
    ("answer", "status", "data"),
    [
        (OK, 200, b"{}"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, 200, b"{}"),
        (CHUNKED + b"\r\n", 200, b"abc0123456789"),
        (CHUNKED + b"Trailer: 1\r\n\r\n", 200, b"abc0123456789"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, b"until the end"),
        (b"HTTP/1.1 409\r\ncontent-LENGTH:0\r\n\r\n", 409, b""),
    ],
)
async def test_what_a_server_may_say_is_understood(answer, status, data):
    async with Server(answer).client() as client:
        got = await ask(client)
    assert (got.status, got.data) == (status, data)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, len(CHUNKED) + 2), max_size=6), st.sampled_from([OK, CHUNKED + b"\r\n"]))
def test_it_does_not_matter_in_which_parts_an_answer_comes(cuts, answer):
    async def run() -> Answer:
        async with Server(answer, cuts=tuple(cuts)).client() as client:
            return await ask(client)

    assert asyncio.run(run()).data == (b"{}" if answer is OK else b"abc0123456789")


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * (1 << 19) + b"\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_said_and_the_connection_not_kept(answer):
    server = Server(answer, OK)
    async with server.client() as client:
        with pytest.raises(BrokenAnswerError):
            await ask(client)
        assert (await ask(client)).data == b"{}"
    assert server.connections == 2


async def test_an_answer_that_ends_early_is_no_answer():
    server = Server(OK.replace(b": 2", b": 9"), OK)
    async with server.client() as client:
        asked = asyncio.create_task(ask(client))
        await asyncio.sleep(0.1)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert (await ask(client)).data == b"{}", "the rest of the first answer is not the second"
    assert server.connections == 2


async def test_a_server_that_hangs_up_on_a_kept_connection_is_asked_once_more():
    server = Server(OK, None, OK)
    async with server.client() as client:
        await ask(client)
        assert (await ask(client, "PATCH", b"{}")).data == b"{}"
    assert server.connections == 2
    assert server.requests[1] == server.requests[2]


async def test_a_server_that_hangs_up_on_a_new_connection_is_not():
    server = Server(None, OK)
    async with server.client() as client:
        with pytest.raises(BrokenAnswerError):
            await ask(client)
    assert len(server.requests) == 1


async def test_a_connection_that_was_closed_meanwhile_is_not_used():
    server = Server(OK.replace(b"Date", b"Connection: close\r\nDate"), OK)
    async with server.client() as client:
        await ask(client)
        await ask(client)
    assert server.connections == 2


async def test_a_silent_server_costs_no_more_than_the_time_given():
    server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n")
    async with server.client() as client:
        with pytest.raises(TimeoutError):
            await client.request("GET", "/", {}, None, 0.2)


async def test_a_name_with_a_line_break_is_not_sent():
    server = Server(OK)
    async with server.client() as client:
        with pytest.raises(ValueError, match="line break"):
            await client.request("GET", "/a\r\nX: y", {}, None, 5)
    assert server.requests == []
