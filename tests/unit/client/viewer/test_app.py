"""The server of the page over an API server that only remembers: bounds, and what goes wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest
from aiohttp import web

from modelconversion_client import errors
from modelconversion_client.resources import Conversion
from modelconversion_client.viewer import app
from modelconversion_client.viewer.app import Viewer, limits
from modelconversion_client.viewer.asking import Asker, Body, token_of
from support.client.objects import conversion

TOKEN = "canary-of-the-page"
MINE = {"Authorization": f"Bearer {TOKEN}"}
REPORTED = conversion(status={"reportUri": "s3://models/out/report.json"})
QUERY = "namespace=team&name=gesture"


class Remembering:
    """An API server with one conversion, and a store with its report."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.asked = 0
        self.heard = asyncio.Condition()
        self.body: Body = REPORTED
        self.count = 0

    async def read(self, path: str, what: str, query: Mapping[str, str], accept: str) -> Body:
        async with self.heard:
            self.asked += 1
            self.heard.notify_all()
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        if "Table" not in accept:
            return self.body
        start, end = int(query["continue"] or 0), int(query["continue"] or 0) + int(query["limit"])
        names = [f"c-{number}" for number in range(self.count)][start:end]
        rows = [{"cells": [], "object": {"metadata": {"name": name, "namespace": "team"}}} for name in names]
        return {"rows": rows, "metadata": {"continue": str(end)} if end < self.count else {}}

    async def until_asked(self, times: int) -> None:
        async with self.heard:
            await self.heard.wait_for(lambda: self.asked >= times)


class Reports:
    def where(self, found: Conversion) -> str | None:
        return "AWS S3" if found.status.report_uri else None

    async def read(self, found: Conversion) -> bytes:
        return b"<script>the report</script>"


Running = tuple[Remembering, str]


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    server = Remembering()

    def connect(request: web.Request) -> Asker:
        token_of(request.headers.get("Authorization"))
        return server

    runner = web.AppRunner(Viewer(connect, reports=Reports()).application(), **limits())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield server, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def get(url: str, **headers: str) -> tuple[int, Mapping[str, str], str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers=MINE | headers, allow_redirects=False) as answer,
    ):
        return answer.status, answer.headers, await answer.text()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.UnauthorizedError("a", "b"), 401),
        (errors.ForbiddenError("a", "b"), 403),
        (errors.NotFoundError("a", "b"), 404),
        (errors.NotInstalledError("a", "b"), 404),
        (errors.RefusedError("a", "b"), 400),
        (errors.ExpiredError("a", "b"), 410),
        (errors.TooLargeError("a", "b"), 502),
        (errors.ServerError("a", "b"), 502),
        (errors.UnreachableError("a", "b"), 502),
        (errors.ConversionClientError("a", "b"), 502),
        (ValueError(TOKEN), 500),
        (KeyError("x"), 500),
    ],
)
async def test_what_goes_wrong_is_a_page(running: Running, error: Exception, status: int) -> None:
    server, url = running
    server.error = error
    found, headers, text = await get(f"{url}/conversion?{QUERY}")
    assert found == status
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert 'role="alert"' in text
    assert "Traceback" not in text
    assert TOKEN not in text


@pytest.mark.parametrize(
    "body",
    [{}, {"metadata": None}, {"metadata": []}, {"metadata": {}}, {"metadata": {"name": "a"}, "spec": 7}],
)
async def test_what_is_no_object_is_no_traceback(running: Running, body: Body) -> None:
    server, url = running
    server.body = body
    status, _, text = await get(f"{url}/conversion?{QUERY}")
    assert status in (200, 404, 500)
    assert "Traceback" not in text


async def test_too_many_at_a_time_are_told_to_come_later_and_probes_go_on(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_MOST_AT_A_TIME", 3)
    server, url = running
    server.go_on.clear()
    waiting = [asyncio.create_task(get(f"{url}/conversion?{QUERY}")) for _ in range(3)]
    await server.until_asked(3)
    status, headers, _ = await get(f"{url}/conversion?{QUERY}")
    assert (status, headers["Retry-After"]) == (503, "5")
    assert (await get(f"{url}/healthz"))[0] == 200
    server.go_on.set()
    assert [(await one)[0] for one in waiting] == [200, 200, 200]
    assert (await get(f"{url}/conversion?{QUERY}"))[0] == 200


async def test_what_takes_too_long_is_ended(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_SECONDS", 0.05)
    server, url = running
    server.go_on.clear()
    status, _, text = await get(f"{url}/?namespace=team")
    assert status == 504
    assert "This takes too long" in text


async def test_whole_lists_are_read_a_few_at_a_time(running: Running) -> None:
    server, url = running
    server.go_on.clear()
    waiting = [asyncio.create_task(get(f"{url}/?order=newest")) for _ in range(12)]
    await server.until_asked(4)
    await asyncio.sleep(0.1)
    assert server.asked == 4
    server.go_on.set()
    assert {(await one)[0] for one in waiting} == {200}
    assert server.asked == 12


@pytest.mark.parametrize(
    ("count", "query", "asked", "order"),
    [
        (500, "", 1, "newest"),
        (501, "", 2, "name"),
        (10_000, "", 2, "name"),
        (10_000, "?order=name", 1, "name"),
        (10_000, "?order=newest", 20, "newest"),
        (10_000, "?name=c-17", 20, "newest"),
        (30_000, "?order=newest", 40, "newest"),
    ],
)
async def test_a_long_list_is_read_whole_for_who_asks_for_it_only(
    running: Running, count: int, query: str, asked: int, order: str
) -> None:
    server, url = running
    server.count = count
    status, _, text = await get(f"{url}/{query}")
    assert (status, server.asked) == (200, asked)
    assert f'<option value="{order}" selected>' in text
    assert ("They are by namespace and name" in text) is (order == "name")
    assert ("Only the first 20,000" in text) is (count > 20_000)


async def test_the_report_goes_into_a_frame_only_and_has_a_policy_of_its_own(running: Running) -> None:
    server, url = running
    where = f"{url}/report.html?{QUERY}"
    for purpose in ("document", "object", "embed", "empty"):
        status, headers, _ = await get(where, **{"Sec-Fetch-Dest": purpose})
        assert (status, headers["Location"]) == (302, f"report?{QUERY}")
    broken = f"{url}/report.html?namespace=a%0d%0aX-Evil:%20b&name=%22%3E"
    status, headers, _ = await get(broken, **{"Sec-Fetch-Dest": "document"})
    assert (status, headers["Location"]) == (302, "report?namespace=a%0D%0AX-Evil:%20b&name=%22%3E")
    assert "X-Evil" not in headers
    status, headers, text = await get(where, **{"Sec-Fetch-Dest": "iframe"})
    assert status == 200
    assert text == "<script>the report</script>"
    policy = headers["Content-Security-Policy"]
    assert {"sandbox", "default-src 'none'", "form-action 'none'"} <= set(map(str.strip, policy.split(";")))
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    server.body = conversion()
    assert (await get(where))[0] == 404
    async with aiohttp.ClientSession() as session, session.get(where) as answer:
        assert answer.status == 401


@pytest.mark.parametrize(
    "path",
    ["conversion", "conversion?name=a", "set?namespace=a", "trigger", "report", "report.html", "compare"],
)
async def test_an_address_that_names_nothing_is_told(running: Running, path: str) -> None:
    _, url = running
    assert (await get(f"{url}/{path}"))[0] == 400


async def test_a_long_token_is_read_and_none_is_logged(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server, url = running
    assert (await get(url, Authorization=f"Bearer {'a' * 16000}"))[0] == 200
    server.error = errors.ServerError("no answer", "wait")
    await get(url)
    server.error = RuntimeError("a bug")
    await get(url)
    assert "no answer" in caplog.text
    assert "a bug" in caplog.text
    assert TOKEN not in caplog.text
    assert "aaaa" not in caplog.text


async def test_the_style_sheet_may_be_kept_and_everything_else_not(running: Running) -> None:
    _, url = running
    assert (await get(f"{url}/style.css"))[1]["Cache-Control"] == "public, max-age=86400"
    assert (await get(f"{url}/"))[1]["Cache-Control"] == "no-store"
