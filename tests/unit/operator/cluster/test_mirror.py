"""The watches of Jobs and pods, against a server that answers as it is told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from modelconversion_operator.cluster import mirror as mirror_module
from modelconversion_operator.cluster import watch_state
from modelconversion_operator.cluster.mirror import Mirror, Shelf
from modelconversion_operator.cluster.store import Store
from modelconversion_operator.cluster.watch_state import WatchProgress, WatchState
from modelconversion_operator.errors import MalformedError, UnavailableError
from support.operator.objects import KEY, conversion, job, pod

Json = dict[str, Any]


@dataclass(frozen=True)
class Thing:
    uid: str
    owner_uid: str
    version: int


def read(body: Json) -> Thing:
    meta = body["metadata"]
    if "uid" not in meta:
        raise MalformedError("no uid")
    return Thing(meta["uid"], f"owner-{meta['uid']}", int(meta["resourceVersion"]))


def thing(uid: str, version: int) -> Json:
    return {"metadata": {"uid": uid, "resourceVersion": str(version)}}


def event(kind: str, body: Json) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode()


class Server:
    """Answers from a script: a listing (its items and version), a list of lines for a watch, or an error."""

    def __init__(self, *script: Any) -> None:
        self._script = list(script)
        self.asked: list[str] = []
        self.idle = asyncio.Event()

    async def request(self, method: str, path: str) -> Json:
        answer = await self._next(path)
        return {"items": answer[0], "metadata": {"resourceVersion": str(answer[1]), **dict(answer[2:])}}

    async def watch(self, path: str, silence_seconds: float) -> AsyncGenerator[bytes]:
        for line in await self._next(path):
            yield line

    async def _next(self, path: str) -> Any:
        self.asked.append(path)
        if not self._script:
            self.idle.set()
            await asyncio.Event().wait()
        answer = self._script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def versions(self) -> list[str]:
        """What was asked: ``list``, or the version that a watch began at."""
        return [p.rpartition("resourceVersion=")[2] if "watch=true" in p else "list" for p in self.asked]


class Shelved:
    def __init__(self) -> None:
        self.things: dict[str, Thing] = {}
        self.woken: list[str] = []
        self.pressing: list[str] = []

    def presses(self, seen: Thing) -> bool:
        return seen.uid in ("c", "d")

    def wake(self, owner: str, presses: bool) -> None:
        self.woken.append(owner)
        if presses:
            self.pressing.append(owner)

    def put(self, seen: Thing) -> bool:
        changed = self.things.get(seen.uid) != seen
        self.things[seen.uid] = seen
        return changed

    def drop(self, seen: Thing) -> bool:
        return self.things.pop(seen.uid, None) is not None

    def retain(self, uids: set[str], version: str) -> set[str]:
        gone = [t for t in self.things.values() if t.uid not in uids and t.version <= int(version)]
        for lost in gone:
            del self.things[lost.uid]
        return {lost.owner_uid for lost in gone}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(mirror_module, "_BETWEEN_WATCHES_SECONDS", 0)
    monkeypatch.setattr(watch_state, "_FIRST_PAUSE_SECONDS", 0)


async def follow(
    server: Server, shelf: Shelved | None = None, silence_seconds: float = 70
) -> tuple[Shelved, WatchState]:
    """Run a mirror until the server has no more answers."""
    shelf = shelf or Shelved()
    kept = Shelf(read, shelf.put, shelf.drop, shelf.retain, shelf.presses)
    state = WatchProgress(70).watch("things", None)
    mirror = Mirror(server, "/things", "labelSelector=a%3Db", kept, shelf.wake, silence_seconds, state)
    running = asyncio.create_task(mirror.run())
    await asyncio.wait_for(server.idle.wait(), 5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return shelf, state


async def test_what_is_there_is_listed_in_pages_and_then_watched():
    pages = [([thing("a", 1)], 5, ("continue", "more")), ([thing("b", 2)], 5)]
    lines = [event("MODIFIED", thing("a", 6)), event("ADDED", thing("c", 7)), event("DELETED", thing("b", 8))]
    server = Server(*pages, lines)
    shelf, state = await follow(server)
    assert set(shelf.things) == {"a", "c"}
    assert shelf.woken == ["owner-a", "owner-b", "owner-a", "owner-c", "owner-b"]
    assert shelf.pressing == ["owner-c", "owner-b"]  # one presses by itself, the other is gone
    assert "continue=more" in server.asked[1]
    assert all("labelSelector=a%3Db" in path for path in server.asked)
    assert state.listed


async def test_a_watch_that_ends_goes_on_where_it_was():
    bookmark = event("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
    server = Server(([], 5), [event("ADDED", thing("a", 6))], [bookmark], [])
    await follow(server)
    assert server.versions == ["list", "5", "6", "9", "9"]


@pytest.mark.parametrize(
    "line",
    [
        event("ERROR", {"code": 410, "message": "too old"}),
        event("ERROR", {"code": 500, "message": "etcdserver: leader changed"}),
        event("ERROR", {"code": "what", "details": "none"}),
        b'{"type": "ADD',
        b"[]",
        b"{}",
        b'{"type": "ADDED"}',
        b'{"type": "ADDED", "object": "a"}',
        b"<html>",
        b"\xff\xfe",
    ],
)
async def test_a_watch_that_cannot_go_on_lists_everything_again(line):
    server = Server(([thing("a", 1)], 5), [line], ([thing("b", 6)], 7))
    shelf, _ = await follow(server)
    assert server.versions == ["list", "5", "list", "7"]
    assert set(shelf.things) == {"b"}
    assert shelf.woken == ["owner-a", "owner-b", "owner-a"]  # the last: a is gone


async def test_what_is_newer_than_a_listing_is_not_taken_for_gone():
    shelf = Shelved()
    shelf.put(Thing("just-made", "owner", 9))
    await follow(Server(([], 5)), shelf)
    assert set(shelf.things) == {"just-made"}


async def test_a_server_that_refuses_or_is_away_is_asked_again():
    errors: list[Callable[[], Exception]] = [lambda: UnavailableError(503, "overloaded")] * 2
    server = Server(errors[0](), ([thing("a", 1)], 5), errors[1](), ([thing("a", 1)], 6))
    shelf, state = await follow(server)
    assert server.versions == ["list", "list", "5", "list", "6"]
    assert shelf.woken == ["owner-a"]
    assert state.listed


async def test_an_object_that_is_none_is_left_out():
    server = Server(([{"metadata": {}}, thing("a", 1)], 5), [event("ADDED", {"metadata": {}})])
    shelf, _ = await follow(server)
    assert set(shelf.things) == {"a"}


@pytest.mark.parametrize(
    "page",
    [{}, {"items": []}, {"items": [], "metadata": {}}, {"items": {}, "metadata": {"resourceVersion": "5"}}],
    ids=["nothing", "no version", "empty metadata", "no list"],
)
async def test_what_is_no_listing_is_not_taken_for_an_empty_one(page):
    shelf = Shelved()
    shelf.put(Thing("a", "owner-a", 3))
    server = Server(([], 4), UnavailableError(0, "away"))
    answers = [page]

    async def request(method: str, path: str) -> Json:
        return answers.pop() if answers else await Server.request(server, method, path)

    server.request = request  # type: ignore[method-assign]
    _, state = await follow(server, shelf)
    assert state.listed
    assert server.versions == ["list", "4", "list"]


async def test_a_server_that_says_nothing_is_listed_again():
    server = Server(([thing("a", 1)], 5), [], ([thing("a", 1)], 6))
    await follow(server, silence_seconds=0)
    assert server.versions == ["list", "5", "list", "6"]


async def test_a_listing_older_than_what_was_seen_is_not_used():
    """The cluster was put back to an earlier state: what is known is of a history that never was."""
    shelf = Shelved()
    progress = WatchProgress(70)
    state = progress.watch("things", None)
    kept = Shelf(read, shelf.put, shelf.drop, shelf.retain, shelf.presses)
    server = Server(([thing("a", 3)], 5), [event("ADDED", thing("b", 9)), b"no event"], ([], 8))
    mirror = Mirror(server, "/things", "", kept, shelf.wake, 70, state)
    running = asyncio.create_task(mirror.run())
    await asyncio.wait_for(progress.restored.wait(), 5)
    running.cancel()
    assert set(shelf.things) == {"a", "b"}
    assert "things are at version 8 and were at 9" in progress.history


def test_the_store_forgets_what_a_listing_did_not_have():
    store = Store()
    store.put_conversion(conversion())
    store.put_job(job())  # at version 20
    store.put_pod(pod())  # at version 30
    assert store.retain_jobs("elsewhere", set(), "50") == set()
    assert store.retain_jobs(KEY.namespace, set(), "19") == set()
    assert store.retain_jobs(KEY.namespace, {job().uid}, "50") == set()
    assert store.retain_jobs(None, set(), "50") == {KEY.uid}
    assert store.retain_pods(None, set(), "29") == set()
    assert store.retain_pods(KEY.namespace, set(), "50") == {KEY.uid}
    assert store.job(KEY, job().name) is None
    assert store.pods(KEY, job().uid) == []
