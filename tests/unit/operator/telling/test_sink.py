"""What a sink answers, and what is made of it: a real HTTP server, with and without TLS."""

from __future__ import annotations

import http.server
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devcluster.processes import free_ports
from modelconversion_operator.errors import SettingsError
from modelconversion_operator.settings import load
from modelconversion_operator.telling import sink as sinks
from modelconversion_operator.telling.sink import Access, Outcome, Sink, Verdict, judge, url_problem
from support.cluster.web_server import Answer, WebServer, leads_to, sends

TOKEN = "t0ken-that-nobody-may-see"


@pytest.fixture
def receiver() -> Iterator[WebServer]:
    with WebServer(encrypted=False) as server:
        server.answers["/in"] = sends(b"", status=202)
        yield server


async def deliver(url: str, token: str = "", ca: str = "") -> Verdict:
    async with Sink(url, Access(token, ca_file=ca), "test/1") as sink:
        return await sink.deliver(b'{"id": "1"}')


@pytest.mark.parametrize(
    ("status", "headers", "outcome", "wait"),
    [
        (200, {}, Outcome.DELIVERED, 0),
        (202, {}, Outcome.DELIVERED, 0),
        (204, {"Retry-After": "9"}, Outcome.DELIVERED, 0),
        (301, {}, Outcome.REFUSED, 0),
        (307, {}, Outcome.REFUSED, 0),
        (400, {}, Outcome.REFUSED, 0),
        (401, {}, Outcome.REFUSED, 0),
        (404, {}, Outcome.REFUSED, 0),
        (410, {}, Outcome.REFUSED, 0),
        (413, {}, Outcome.REFUSED, 0),
        (408, {}, Outcome.FAILED, 0),
        (425, {}, Outcome.FAILED, 0),
        (429, {"Retry-After": "7"}, Outcome.FAILED, 7),
        (429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, Outcome.FAILED, 0),
        (500, {}, Outcome.FAILED, 0),
        (503, {"Retry-After": "120"}, Outcome.FAILED, 120),
        (599, {}, Outcome.FAILED, 0),
    ],
)
def test_what_an_answer_means(status: int, headers: dict[str, str], outcome: Outcome, wait: float) -> None:
    verdict = judge(status, headers)
    assert (verdict.outcome, verdict.wait_seconds) == (outcome, wait)
    assert (str(status) in verdict.words) is (outcome is not Outcome.DELIVERED)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://events.example/in?key=1", None),
        ("http://[::1]:8080", None),
        ("ftp://events.example", "it must be http"),
        ("events.example", "it must be http"),
        ("https:///in", "it must be http"),
        ("https://user:hush@events.example", "it has a user in it"),
        ("https://user@events.example", "it has a user in it"),
        ("https://events.example:port", "it is no URL"),
        ("https://events.example/#a", "it has a fragment"),
        ("https://events.example/a b", "it has a fragment, a space"),
    ],
)
def test_urls_that_can_be_no_sink(
    url: str, words: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = url_problem(url)
    assert (problem or "").startswith(words or "")
    assert (problem is None) is (words is None)
    monkeypatch.setenv("MODELCONVERSION_EVENTS_SINK", url)
    if words is None:
        assert load(["--converter-image", "x"]).events_sink == url
        return
    with pytest.raises(SettingsError, match=r"--events-sink \(MODELCONVERSION_EVENTS_SINK\)") as caught:
        load(["--converter-image", "x"])
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("types", ["", "ended", "started,ended"])
def test_types_that_there_are_not(types: str) -> None:
    with pytest.raises(SettingsError, match="--events-types"):
        load(["--converter-image", "x", "--events-types", types])


async def test_a_request_is_a_structured_event_with_the_token_of_the_moment(
    receiver: WebServer, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    async with Sink(f"{receiver.url}/in", Access(str(file)), "test/1") as sink:
        assert (await sink.deliver(b"1")).words == "the token cannot be read: No such file or directory"
        for token in (TOKEN, "another"):
            file.write_text(f"{token}\n")
            assert (await sink.deliver(b'{"id": "1"}')).outcome is Outcome.DELIVERED
    first, second = receiver.requests
    assert (first.method, first.path, first.body) == ("POST", "/in", b'{"id": "1"}')
    assert first.headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert first.headers["User-Agent"] == "test/1"
    assert [r.headers["Authorization"] for r in (first, second)] == [f"Bearer {TOKEN}", "Bearer another"]


async def test_a_header_of_its_own_takes_the_token_as_it_is(receiver: WebServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("Basic dXNlcjp0b2tlbg==\n")
    access = Access(str(tmp_path / "token"), header="X-Key")
    async with Sink(f"{receiver.url}/in", access, "test/1") as sink:
        assert (await sink.deliver(b"1")).outcome is Outcome.DELIVERED
        (tmp_path / "token").write_text("line\r\nX-Header: 1")
        assert (await sink.deliver(b"1")).words.endswith("has a character that no header takes")
    (request,) = receiver.requests
    assert request.headers["X-Key"] == "Basic dXNlcjp0b2tlbg=="
    assert "Authorization" not in request.headers


async def test_without_a_token_none_is_sent(receiver: WebServer) -> None:
    assert (await deliver(f"{receiver.url}/in")).outcome is Outcome.DELIVERED
    assert "Authorization" not in receiver.requests[0].headers


@pytest.mark.parametrize("content", ["", "two words", "line\r\nX-Header: 1", "\N{BULLET}"])
async def test_what_is_no_token_is_not_sent_and_not_told(
    receiver: WebServer, tmp_path: Path, content: str
) -> None:
    (tmp_path / "token").write_text(content)
    verdict = await deliver(f"{receiver.url}/in", str(tmp_path / "token"))
    assert verdict.outcome is Outcome.FAILED
    assert verdict.words == (
        "the token cannot be read: it is empty, or has a space or a character that no header takes"
    )
    assert receiver.requests == []


async def test_redirects_are_not_followed(receiver: WebServer) -> None:
    receiver.answers["/moved"] = leads_to(f"{receiver.url}/in", 307)
    verdict = await deliver(f"{receiver.url}/moved")
    assert verdict.outcome is Outcome.REFUSED
    assert "redirects are not followed" in verdict.words
    assert receiver.asked == ["/moved"]


async def test_proxies_of_the_environment_are_not_used(
    receiver: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dead,) = free_ports(1)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{dead}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert (await deliver(f"{receiver.url}/in")).outcome is Outcome.DELIVERED


async def test_certificates_are_checked_against_the_file(tmp_path: Path) -> None:
    with WebServer() as receiver:
        receiver.answers["/in"] = sends(b"")
        bundle = tmp_path / "ca.crt"
        bundle.write_text(receiver.bundle)
        assert (await deliver(f"{receiver.url}/in", ca=str(bundle))).outcome is Outcome.DELIVERED
        verdict = await deliver(f"{receiver.url}/in")
    assert verdict.outcome is Outcome.FAILED
    assert "CERTIFICATE_VERIFY_FAILED" in verdict.words
    bundle.write_text("no certificate")
    for path in (bundle, tmp_path / "absent"):
        with pytest.raises(SettingsError, match="--events-ca-file"):
            Sink("https://events.example/", Access(ca_file=str(path)), "test/1")


def is_silent(_: http.server.BaseHTTPRequestHandler) -> None:
    time.sleep(1)


def hangs_up(request: http.server.BaseHTTPRequestHandler) -> None:
    request.close_connection = True


def trickles(request: http.server.BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    for _ in range(40):
        request.wfile.write(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("answer", "words"),
    [(is_silent, "it says nothing for"), (hangs_up, "ServerDisconnected")],
)
async def test_a_sink_that_does_not_answer(
    receiver: WebServer, answer: Answer, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "_REQUEST_SECONDS", 0.3)
    receiver.answers["/in"] = answer
    verdict = await deliver(f"{receiver.url}/in")
    assert verdict.outcome is Outcome.FAILED
    assert words in verdict.words


async def test_an_answer_is_not_read_to_its_end(receiver: WebServer) -> None:
    receiver.answers["/in"] = trickles
    assert (await deliver(f"{receiver.url}/in")).outcome is Outcome.DELIVERED


def _dead_port() -> str:
    return f"http://127.0.0.1:{free_ports(1)[0]}/in?sas=HUSH"


@pytest.mark.parametrize("make_url", [_dead_port, lambda: "http://nowhere.invalid/in?sas=HUSH"])
async def test_nothing_secret_is_in_words(make_url: Callable[[], str], tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    sink = Sink(make_url(), Access(str(tmp_path / "token")), "test/1")
    async with sink:
        verdict = await sink.deliver(b"1")
    assert verdict.outcome is Outcome.FAILED
    for told in (verdict.words, sink.name):
        assert "HUSH" not in told
        assert TOKEN not in told
