"""The real kopf over a server that answers anything: no answer ends its watch, and what went is noticed."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import kopf
import pytest
from kopf._cogs.clients import watching
from kopf._core.reactor import observation, queueing

from modelconversion_operator.cluster import kopf_watch, watch_state
from modelconversion_operator.cluster.client import USER_AGENT
from modelconversion_operator.cluster.store import Store
from modelconversion_operator.cluster.watch_state import WatchProgress
from modelconversion_operator.cluster.watches import make_conversion_watch, make_registry, make_settings
from modelconversion_operator.deciding.views import ConversionView
from modelconversion_operator.workqueue import WorkQueue
from support.operator.stub_api_server import Answer, Place, StubApiServer, conversion_body, error_event

HTML = b"<html><body>502 Bad Gateway</body></html>"
REFUSALS = {
    "400": Answer(400, b'{"kind": "Status", "message": "no"}'),
    "403": Answer(403, b'{"kind": "Status", "message": "forbidden"}'),
    "404": Answer(404, b"404 page not found", "text/plain"),
    "409": Answer(409, b"{}"),
    "410": Answer(410, b'{"kind": "Status", "code": 410, "message": "too old"}'),
    "418": Answer(418, b""),
    "429": Answer(429, b"slow down", "text/plain", {"Retry-After": "1"}),
    "429-unclear": Answer(429, b"[]", headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    "500": Answer(500, b'{"kind": "Status", "message": "etcdserver: request timed out"}'),
    "503": Answer(503, b""),
    "504": Answer(504, HTML, "text/html"),
    "html": Answer(200, HTML, "text/html"),
    "html-json": Answer(200, HTML),
    "array": Answer(200, b"[]"),
    "text": Answer(200, b'"ok"'),
    "bytes": Answer(200, b"\xff\xfe\x00"),
    "cut": Answer(200, b'{"ki', cut=True),
    "empty": Answer(200, b""),
}
LISTS = REFUSALS | {
    "object": Answer(200, b"{}"),
    "status": Answer(200, b'{"kind": "Status", "message": "what?"}'),
    "version": Answer(200, b'{"items": [], "metadata": {"resourceVersion": "new"}}'),
    "items": Answer(200, b'{"items": {"a": 1}, "metadata": {}}'),
    "null": Answer(200, b'{"items": null, "metadata": null}'),
}
WATCHES = REFUSALS | {
    "error-410": error_event({"code": 410, "message": "too old resource version"}),
    "error-429": error_event({"code": 429, "message": "slow down", "details": {"retryAfterSeconds": 1}}),
    "error-500": error_event({"code": 500, "message": "etcdserver: no leader"}),
    "error-504": error_event({"code": 504, "reason": "Timeout"}),
    "error-empty": error_event({}),
    "error-strange": error_event({"code": "x", "details": "y", "message": None}),
    "error-text": error_event("broken"),
    "error-none": error_event(None),
    "event-empty": Answer(body=b"{}\n"),
    "event-half": Answer(body=b'{"type": "ADDED"}\n'),
    "event-null": Answer(body=b"null\n"),
    "event-number": Answer(body=b"7\n"),
    "event-unknown": Answer(body=json.dumps({"type": "NEW", "object": {}}).encode()),
    "object-empty": Answer(body=b'{"type": "ADDED", "object": {}}\n'),
    "object-list": Answer(body=b'{"type": "MODIFIED", "object": []}\n'),
    "no-metadata": Answer(body=b'{"type": "DELETED", "object": {"metadata": "none"}}\n'),
    "no-version": Answer(
        body=json.dumps({"type": "ADDED", "object": {"metadata": {"uid": "u", "name": "n"}}}).encode() + b"\n"
    ),
    "late": Answer(
        body=json.dumps({"type": "MODIFIED", "object": conversion_body("watch-late", "b", 11)}).encode()
        + b"\n"
        + HTML
        + b"\n"
    ),
}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(watch_state, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(kopf_watch, "_BETWEEN_WATCHES_SECONDS", 0.01)


class Operator:
    """kopf with our handlers, as far as it is about conversions."""

    def __init__(self, names: Sequence[str], silence_seconds: float = 70) -> None:
        self.store, self.queue = Store(), WorkQueue[str]()
        self.progress = WatchProgress(silence_seconds)
        self.watch = make_conversion_watch(self.progress, self.store, names)
        self._names, self._silence = names, silence_seconds

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        with self.watch.installed():
            kopfs = asyncio.create_task(
                kopf.operator(
                    registry=make_registry(self.store, self.queue, self.watch, stopping=stop),
                    settings=make_settings(self._silence),
                    namespaces=self._names,
                    standalone=True,
                    stop_flag=stop,
                )
            )
            try:
                yield
                assert not kopfs.done(), kopfs
            finally:
                stop.set()
                await kopfs

    def known(self, namespace: str) -> set[str]:
        return {key.name for key in self.store.keys(namespace)}


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


async def until(done: Callable[[], bool], words: Callable[[], object] = lambda: "") -> None:
    for _ in range(600):
        if done():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"it never came to that: {words()}")


def breaking(place: Place) -> Place:
    """While the watch is broken, b goes and c comes; what is there from the start is a and b."""

    def change() -> None:
        place.objects, place.version = ["a", "c"], 20

    place.objects = ["a", "b"]
    place.broken = change
    return place


async def test_whatever_is_answered_the_watch_goes_on_and_what_went_is_noticed(kubeconfig: Path, caplog):
    server = StubApiServer()
    places = {f"watch-{n}": breaking(Place(to_watch=[answer])) for n, answer in WATCHES.items()}
    again = error_event({"code": 410})
    places |= {
        f"list-{n}": breaking(Place(to_list=[None, answer], to_watch=[again])) for n, answer in LISTS.items()
    }
    server.places.update(places)
    operator = Operator(list(places))
    async with server.serving(kubeconfig), operator.running():

        def wrong() -> dict[str, set[str]]:
            return {n: operator.known(n) for n in places if operator.known(n) != {"a", "c"}}

        await until(lambda: not wrong(), wrong)
        assert [n for n, place in places.items() if place.to_list or place.to_watch] == []
        assert operator.progress.unready() is None
    assert server.agents == {USER_AGENT}
    ours = [r for r in caplog.records if r.name != "aiohttp.server"]
    assert not [r.getMessage() for r in ours if r.levelname == "ERROR"]
    told = [r.getMessage() for r in ours if r.levelname == "WARNING"]
    assert not [
        words for words in told if re.search(r"(Attribute|Type|Value|Key|Decode)Error|object has", words)
    ]


async def test_a_page_that_is_no_longer_there_begins_the_listing_anew(kubeconfig: Path):
    server = StubApiServer()
    server.places["one"] = Place(objects=["a", "b", "c"], page=2, to_list=[None, REFUSALS["410"]])
    operator = Operator(["one"])
    async with server.serving(kubeconfig), operator.running():
        await until(lambda: operator.known("one") == {"a", "b", "c"})
        await until(lambda: bool(server.watches["one"]))
    assert server.lists["one"] == 4


async def test_refused_credentials_are_read_again_and_the_watch_goes_on_where_it_was(
    kubeconfig: Path, caplog
):
    server = StubApiServer()
    refusal = Answer(401, b'{"kind": "Status", "message": "who are you"}')
    place = server.places["one"] = Place(objects=["a"], to_list=[refusal] * 2, to_watch=[refusal])
    operator = Operator(["one"])
    async with server.serving(kubeconfig), operator.running():
        words = "modelconversions in namespace one cannot be listed: 401: the API server refused"
        await until(lambda: words in (operator.progress.unready() or ""))
        await until(lambda: len(server.watches["one"]) == 2)
        await until(lambda: operator.known("one") == {"a"})
    assert place.to_watch == []
    assert server.lists["one"] == 3
    assert server.watches["one"] == ["10", "10"]
    assert caplog.text.count("refused the operator's credentials") == 2  # before the listing, and after it


async def test_a_crd_that_is_not_there_is_waited_for_and_named(kubeconfig: Path):
    server = StubApiServer()
    server.places["one"] = Place(objects=["a"], to_list=[REFUSALS["404"]] * 3)
    operator = Operator(["one"])
    async with server.serving(kubeconfig), operator.running():
        await until(lambda: operator.progress.failing("modelconversions") == 1)
        assert "CRD modelconversions.edgeml.dev is not installed" in (operator.progress.unready() or "")
        await until(lambda: operator.progress.unready() is None)
        await until(lambda: operator.known("one") == {"a"})


async def test_one_namespace_that_is_refused_leaves_the_others_alone(kubeconfig: Path):
    server = StubApiServer()
    server.places["well"] = Place(objects=["a"])
    server.places["refused"] = Place(objects=["a"], to_list=[REFUSALS["403"]] * 1000)
    operator = Operator(["refused", "well"])
    async with server.serving(kubeconfig), operator.running():
        await until(lambda: operator.known("well") == {"a"})
        await until(lambda: operator.progress.unready() is None)
        words = "modelconversions in namespace refused cannot be listed: 403: forbidden"
        assert operator.progress.remarks() == words
        assert operator.progress.knows("well")
        assert not operator.progress.knows("refused")
        server.places["refused"].to_list.clear()
        await until(lambda: operator.known("refused") == {"a"})


async def test_an_older_listing_is_reported_and_not_used(kubeconfig: Path):
    server = StubApiServer()
    place = server.places["one"] = breaking(Place(version=30, to_watch=[error_event({"code": 410})]))
    operator = Operator(["one"])
    async with server.serving(kubeconfig), operator.running():
        await asyncio.wait_for(operator.progress.restored.wait(), 10)
        assert place.version == 20
        assert operator.known("one") >= {"a", "b"}
        assert "were at 30" in operator.progress.history


async def test_an_older_state_in_a_newer_listing_is_reported_too(kubeconfig: Path):
    """The store was put back, and has passed the version that we knew before we list again."""
    server = StubApiServer()
    newer = json.dumps({"type": "MODIFIED", "object": conversion_body("one", "a", 25)}).encode() + b"\n"
    place = server.places["one"] = Place(objects=["a"], to_watch=[Answer(body=newer + b"{}\n")])

    def change() -> None:
        place.version = 90

    place.broken = change
    operator = Operator(["one"])
    async with server.serving(kubeconfig), operator.running():
        await asyncio.wait_for(operator.progress.restored.wait(), 10)
        assert "a is listed in an older state than was seen" in operator.progress.history


@pytest.mark.parametrize(
    ("listed", "listing", "contradicts"), [(25, 90, False), (26, 90, False), (24, 90, True), (24, 24, False)]
)
def test_a_listing_from_before_what_was_seen_contradicts_nothing(
    listed: int, listing: int, contradicts: bool
):
    store = Store()
    view = ConversionView.from_body(conversion_body("one", "a", 25))
    store.put_conversion(view)
    assert store.contradicts("one-a", str(listed), str(listing)) is contradicts
    assert not store.contradicts("another", "1", "90")


def test_kopf_takes_its_events_from_the_function_that_is_replaced():
    """What this rests on in kopf: a name in a module, and the arguments it is called with."""
    watch = make_conversion_watch(WatchProgress(70), Store(), [])
    before = watching.infinite_watch
    with watch.installed():
        assert queueing.watching.infinite_watch == watch.follow
    assert queueing.watching.infinite_watch is before
    assert "watching.infinite_watch(" in inspect.getsource(queueing.watcher)
    assert "await scanning.scan_resources(" in inspect.getsource(observation.resource_observer)
    wanted = set(inspect.signature(before).parameters)
    assert {"settings", "resource", "namespace"} <= wanted


def test_what_the_operator_has_written_itself_does_not_reach_kopf():
    operator = Operator(["watch-echo"])
    body = conversion_body("watch-echo", "a", 20)
    operator.store.put_conversion(ConversionView.from_body(body))
    is_echo = operator.watch._is_echo
    assert is_echo({"type": "MODIFIED", "object": body})
    assert is_echo({"type": "ADDED", "object": conversion_body("watch-echo", "a", 19)})
    assert not is_echo({"type": "MODIFIED", "object": conversion_body("watch-echo", "a", 21)})
    assert not is_echo({"type": "ADDED", "object": conversion_body("watch-echo", "b", 1)})
    assert not is_echo({"type": "DELETED", "object": body})
