"""The teller against a real receiver with outages; the API server is a stand-in that pages and refuses."""

from __future__ import annotations

import asyncio
import http.server
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from devcluster.processes import free_ports
from modelconversion_operator.deciding.views import Body, ConversionView
from modelconversion_operator.errors import ConflictError, NotFoundError, NotLeaderError, UnavailableError
from modelconversion_operator.telling import teller as telling
from modelconversion_operator.telling.events import Kind
from modelconversion_operator.telling.ledger import Ledger
from modelconversion_operator.telling.mark import Mark
from modelconversion_operator.telling.sink import Access, Sink
from modelconversion_operator.telling.teller import Scope, Teller
from support.cluster.web_server import WebServer, sends
from support.operator.objects import NOW, wire

Json = dict[str, Any]
ALL = tuple(Kind)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds with others takes moments here."""
    monkeypatch.setattr(telling, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(telling, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(telling, "_MARK_SECONDS", 0.02)
    monkeypatch.setattr(telling, "_AFTER_FAILURE_SECONDS", 0.02)


@pytest.fixture
def receiver() -> Iterator[WebServer]:
    with WebServer(encrypted=False) as server:
        server.answers["/"] = sends(b"")
        yield server


def conversion(name: str, phase: str = "Succeeded", at: datetime = NOW, class_name: str = "") -> Body:
    status: Json = {"phase": phase, "runGeneration": 1, "startTime": wire(at)}
    if phase in ("Succeeded", "Failed"):
        status["completionTime"] = wire(at)
    meta = {"namespace": "ml", "name": name, "uid": name, "generation": 1, "resourceVersion": "1"}
    spec = {"className": class_name} if class_name else {}
    return {"metadata": meta, "spec": spec, "status": status}


class ApiServer:
    """A stand-in: conversions in pages, a Lease, and what goes wrong with both."""

    def __init__(self, *bodies: Body) -> None:
        self.bodies = list(bodies)
        self.lease: Json | None = None
        self.writes: list[str] = []
        self.errors: list[Exception] = []
        """What the next listings fail with."""
        self.lease_errors: list[Exception] = []

    async def request(self, _method: str, path: str) -> Body:
        if self.errors:
            raise self.errors.pop(0)
        parts = urlsplit(path)
        if parts.path.endswith("/modelconversionsets"):
            raise NotFoundError(404, "no such resource")
        at = int((parse_qs(parts.query).get("continue") or ["0"])[0])
        more = str(at + 2) if at + 2 < len(self.bodies) else ""
        return {"items": self.bodies[at : at + 2], "metadata": {"continue": more}}

    async def get_lease(self, _seconds: float) -> Body:
        if self.lease_errors:
            raise self.lease_errors.pop(0)
        if self.lease is None:
            raise NotFoundError(404, "no lease")
        return self.lease

    async def create_lease(self, spec: Body, _seconds: float) -> Body:
        return self._write(spec)

    async def patch_lease(self, resource_version: str, spec: Body, _seconds: float) -> Body:
        assert self.lease is not None
        if resource_version != self.lease["metadata"]["resourceVersion"]:
            raise ConflictError(409, "changed")
        return self._write(spec)

    def _write(self, spec: Body) -> Body:
        self.writes.append(spec["renewTime"])
        self.lease = {"metadata": {"resourceVersion": str(len(self.writes))}, "spec": spec}
        return self.lease

    def marked(self, at: datetime) -> ApiServer:
        self.lease = {"metadata": {"resourceVersion": "0"}, "spec": {"renewTime": wire(at)}}
        return self


class Story:
    """A teller at work."""

    def __init__(self, server: ApiServer, url: str, kinds: tuple[Kind, ...] = ALL) -> None:
        self.server, self.counts, self.now = server, dict[str, int](), NOW
        self.permit: Callable[[], float] = lambda: 15.0
        self.teller = Teller(Sink(url, Access(), "test/1"), Scope(kinds, (), ""), self._count)

    def _count(self, outcome: str) -> None:
        self.counts[outcome] = self.counts.get(outcome, 0) + 1

    def see(self, *bodies: Body) -> None:
        for body in bodies:
            self.teller.see(ConversionView.from_body(body))

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        mark = Mark(self.server, lambda: self.permit())
        work = asyncio.create_task(self.teller.run(self.server, mark, lambda: self.now, lambda: 0.0))
        try:
            yield
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not is_so():  # noqa: ASYNC110 - a server in another thread has no event to wait for
                await asyncio.sleep(0.01)


def ids(receiver: WebServer) -> list[str]:
    return [json.loads(request.body)["id"] for request in receiver.requests]


BOTH = ["a/1/started", "a/1/succeeded"]


async def test_a_run_is_told_of_as_it_begins_and_ends_and_never_twice(receiver: WebServer) -> None:
    story = Story(ApiServer(), receiver.url)
    async with story.at_work():
        await story.until(lambda: story.server.lease is not None)
        await asyncio.sleep(0.05)
        story.see(conversion("a", "Pending"))
        await story.until(lambda: len(receiver.requests) == 1)
        for body in (conversion("a", "Running"), conversion("a"), conversion("a")):
            story.see(body)
        await story.until(lambda: story.counts.get("delivered") == 2)
    assert ids(receiver) == BOTH
    assert story.counts == {"delivered": 2}


async def test_one_that_begins_tells_what_happened_since_the_mark(receiver: WebServer) -> None:
    old = conversion("old", at=NOW - timedelta(seconds=100))
    other = conversion("other", class_name="else")
    odd = {"metadata": {}, "status": {"startTime": wire(NOW)}}
    many = [conversion(f"c{number}") for number in range(5)]
    server = ApiServer(old, other, odd, *many).marked(NOW - timedelta(seconds=99))
    story = Story(server, receiver.url)
    async with story.at_work():
        await story.until(lambda: story.counts.get("delivered") == 10)
    assert set(ids(receiver)) == {f"c{n}/1/{kind}" for n in range(5) for kind in ("started", "succeeded")}


async def test_the_first_of_all_tells_nothing_of_what_was_before(receiver: WebServer) -> None:
    server = ApiServer(conversion("old", at=NOW - timedelta(seconds=1)), conversion("a"))
    story = Story(server, receiver.url)
    async with story.at_work():
        await story.until(lambda: story.counts.get("delivered") == 2)
    assert sorted(ids(receiver)) == BOTH


async def test_only_the_kinds_that_are_wanted(receiver: WebServer) -> None:
    server = ApiServer(conversion("a"), conversion("b", "Failed")).marked(NOW)
    story = Story(server, receiver.url, kinds=(Kind.FAILED,))
    async with story.at_work():
        await story.until(lambda: bool(story.counts))
    assert ids(receiver) == ["b/1/failed"]


async def test_the_mark_is_written_when_it_has_passed_something_and_not_otherwise(
    receiver: WebServer,
) -> None:
    story = Story(ApiServer(conversion("a")).marked(NOW), receiver.url)
    async with story.at_work():
        await story.until(lambda: story.counts.get("delivered") == 2)
        await asyncio.sleep(0.1)
        assert story.server.writes == []  # it could be that something of that time is still unknown
        story.now = NOW + timedelta(seconds=61)
        await story.until(lambda: bool(story.server.writes))
        story.now = NOW + timedelta(hours=1)
        await asyncio.sleep(0.1)
    assert story.server.writes == ["2026-01-02T03:04:06.000000Z"]
    # One that begins then tells none of it again.
    story.now = NOW + timedelta(hours=1)
    again = Story(story.server, receiver.url)
    async with again.at_work():
        await asyncio.sleep(0.2)
    assert again.counts == {}


async def test_killed_while_the_sink_is_down_the_next_one_tells_it(receiver: WebServer) -> None:
    (dead,) = free_ports(1)
    server = ApiServer().marked(NOW)
    first = Story(server, f"http://127.0.0.1:{dead}")
    async with first.at_work():
        await first.until(lambda: first.teller.waiting() == 0 and first.teller._ledger is not None)
        server.bodies = [conversion("a")]
        first.see(*server.bodies)
        await first.until(lambda: first.counts.get("failed", 0) > 3)
        first.now = NOW + timedelta(hours=2)
        await asyncio.sleep(0.1)
        assert first.teller.waiting() == 2
    assert server.writes == []
    second = Story(server, receiver.url)
    second.now = NOW + timedelta(hours=2)
    async with second.at_work():
        await second.until(lambda: second.counts.get("delivered") == 2)
    assert sorted(ids(receiver)) == BOTH


async def test_an_outage_is_outlasted(receiver: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    receiver.answers["/"] = sends(b"", status=503)
    story = Story(ApiServer(conversion("a")).marked(NOW), receiver.url)
    async with story.at_work():
        await story.until(lambda: story.counts.get("failed", 0) >= 3)
        assert story.teller.waiting() == 2
        receiver.answers["/"] = sends(b"")
        await story.until(lambda: story.counts.get("delivered") == 2)
    said = [record.message for record in caplog.records if "takes no events" in record.message]
    assert len(said) == 1  # once, not for each try
    assert "it answers 503" in said[0]
    assert any("answers again" in record.message for record in caplog.records)


async def test_a_sink_that_asks_for_time_gets_it(
    receiver: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "_FIRST_PAUSE_SECONDS", 0.0)

    def busy(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(429)
        request.send_header("Retry-After", "1000")
        request.send_header("Content-Length", "0")
        request.end_headers()

    receiver.answers["/"] = busy
    story = Story(ApiServer(conversion("a", "Running")).marked(NOW), receiver.url)
    async with story.at_work():
        await story.until(lambda: story.counts.get("failed") == 1)
        loop = asyncio.get_running_loop()
        assert story.teller._resume_at - loop.time() > 500  # of the 600 that it gets at most
        await asyncio.sleep(0.4)
    assert len(receiver.requests) == 1


async def test_one_event_that_always_fails_keeps_no_other(receiver: WebServer) -> None:
    def fails_for_a(request: http.server.BaseHTTPRequestHandler) -> None:
        is_a = json.loads(receiver.requests[-1].body)["id"].startswith("a/")
        sends(b"", status=500 if is_a else 200)(request)

    receiver.answers["/"] = fails_for_a
    story = Story(ApiServer(conversion("a", "Running")).marked(NOW), receiver.url)
    async with story.at_work():
        await story.until(lambda: story.counts.get("failed", 0) >= 1)
        for number in range(10):
            story.see(conversion(f"c{number}", "Running"))
        await story.until(lambda: story.counts.get("delivered") == 10)
        assert story.teller.waiting() == 1


async def test_what_is_refused_is_given_up_and_told(
    receiver: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers["/"] = sends(b"", status=400)
    story = Story(ApiServer(conversion("a", "Running")).marked(NOW), receiver.url)
    async with story.at_work():
        await story.until(lambda: story.counts.get("refused") == 1)
        await asyncio.sleep(0.1)
    assert len(receiver.requests) == 1
    assert "events: a/1/started is given up: " in caplog.text
    assert "it answers 400" in caplog.text


async def test_what_waits_for_a_day_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    (dead,) = free_ports(1)
    story = Story(ApiServer(conversion("a", "Running")).marked(NOW), f"http://127.0.0.1:{dead}")
    async with story.at_work():
        await story.until(lambda: story.counts.get("failed", 0) >= 1)
        story.now = NOW + timedelta(hours=24, seconds=1)
        await story.until(lambda: story.counts.get("expired") == 1)
    assert "a/1/started is given up" in caplog.text


async def test_more_than_there_is_room_for_is_told_in_the_end(
    receiver: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "Ledger", lambda mark: Ledger(mark, most_waiting=4))
    many = [conversion(f"c{number}") for number in range(30)]
    story = Story(ApiServer(*many).marked(NOW), receiver.url)
    async with story.at_work():
        await story.until(lambda: story.counts.get("delivered") == 60)
    assert len(set(ids(receiver))) == 60
    assert story.counts["deferred"] > 0


async def test_an_api_server_that_refuses_for_a_while_puts_it_off(receiver: WebServer) -> None:
    server = ApiServer(conversion("a")).marked(NOW)
    server.errors = [UnavailableError(503, "down"), UnavailableError(0, "no answer")]
    server.lease_errors = [UnavailableError(503, "down")]
    story = Story(server, receiver.url)
    async with story.at_work():
        await story.until(lambda: story.counts.get("delivered") == 2)


async def test_one_that_does_not_lead_moves_no_mark(receiver: WebServer) -> None:
    story = Story(ApiServer(conversion("a")).marked(NOW), receiver.url)

    def refuse() -> float:
        raise NotLeaderError

    story.permit = refuse
    async with story.at_work():
        await story.until(lambda: story.counts.get("delivered") == 2)
        story.now = NOW + timedelta(seconds=100)
        await asyncio.sleep(0.1)
    assert story.server.writes == []


async def test_news_waits_for_nothing_and_outlives_a_bug(
    receiver: WebServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    story = Story(ApiServer().marked(NOW), receiver.url)
    story.see(conversion("before"))  # a replica that stands by
    assert story.teller.waiting() == 0
    async with story.at_work():
        await story.until(lambda: story.teller._ledger is not None)
        form = replace(telling.EVENTS, encode=lambda *_: 1 / 0)
        monkeypatch.setattr(story.teller, "_form", form)
        story.see(conversion("a"))
        monkeypatch.undo()
        story.see(conversion("b", "Running"))
        await story.until(lambda: story.counts.get("delivered") == 1)
    assert "bug in what is told" in caplog.text
    assert ids(receiver) == ["b/1/started"]
