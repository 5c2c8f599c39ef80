"""What is sent to the API server, and what of its answers is believed: a stand-in answers anything."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from modelconversion_client import errors
from modelconversion_client.viewer.asking import MOST_BYTES, ApiServer, Asker

Asked = tuple[list[web.Request], Asker, dict[str, web.Response]]


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    requests: list[web.Request] = []
    answers: dict[str, web.Response] = {}

    async def handle(request: web.Request) -> web.Response:
        requests.append(request)
        return answers[request.path]

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    async with ApiServer(url, ssl.create_default_context()) as server:
        yield requests, server.asker("the-token"), answers
    await runner.cleanup()


async def test_the_token_is_sent_and_no_cookie_is_kept(asked: Asked) -> None:
    requests, asker, answers = asked
    answers["/a"] = web.json_response({"kind": "A"}, headers={"Set-Cookie": "session=somebody"})
    assert await asker.read("/a", "get a", {"limit": "1", "continue": ""}, "application/json") == {
        "kind": "A"
    }
    answers["/b"] = web.json_response([])
    assert await asker.read("/b", "get b", {}, "application/json") == {}
    first, second = requests
    assert first.rel_url.query_string == "limit=1"
    for request in (first, second):
        assert request.headers["Authorization"] == "Bearer the-token"
        assert request.headers["User-Agent"] == "model-conversion-viewer"
        assert "Cookie" not in request.headers
        assert request.method == "GET"


async def test_a_redirect_gets_no_token(asked: Asked) -> None:
    requests, asker, answers = asked
    answers["/a"] = web.Response(status=302, headers={"Location": "/elsewhere"})
    with pytest.raises(errors.ServerError):
        await asker.read("/a", "get a", {}, "application/json")
    assert [request.path for request in requests] == ["/a"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (web.Response(body=b" " * (MOST_BYTES + 1)), errors.TooLargeError),
        (web.Response(body=b"<html>"), errors.ServerError),
        (web.Response(body=b"\xff"), errors.ServerError),
        (web.Response(status=410, body=b"old"), errors.ExpiredError),
        (web.Response(status=500, body=b" " * (MOST_BYTES + 1)), errors.TooLargeError),
    ],
    ids=["too large", "no JSON", "no text", "old", "a large error"],
)
async def test_what_is_no_answer_is_named(
    asked: Asked, answer: web.Response, error: type[errors.ConversionClientError]
) -> None:
    _, asker, answers = asked
    answers["/a"] = answer
    with pytest.raises(error, match="get a"):
        await asker.read("/a", "get a", {}, "application/json")
