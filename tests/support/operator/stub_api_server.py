"""An API server that answers lists and watches of conversions as it is told to, for the real kopf."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from modelconversion_api.base import API_VERSION, KIND, PLURAL

Json = dict[str, Any]


def conversion_body(namespace: str, name: str, version: int = 1) -> Json:
    """A conversion that has ended well."""
    meta = {"namespace": namespace, "name": name, "uid": f"{namespace}-{name}"}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {**meta, "generation": 1, "resourceVersion": str(version)},
        "spec": {},
        "status": {"phase": "Succeeded", "observedGeneration": 1},
    }


@dataclass(frozen=True)
class Answer:
    """An answer that is wrong.

    Attributes:
        status: HTTP status.
        body: What is sent.
        kind: Content type.
        headers: Further headers.
        cut: Whether the connection ends in the middle.

    """

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass
class Place:
    """A namespace.

    Attributes:
        objects: Names of the conversions there are.
        version: Resource version of a listing.
        to_list: Answers to the next listings or pages, None for the right one.
        to_watch: Answers to the next watches.
        page: Objects in a page of a listing.
        broken: Called when a wrong answer is given.

    """

    objects: list[str] = field(default_factory=list)
    version: int = 10
    to_list: list[Answer | None] = field(default_factory=list)
    to_watch: list[Answer] = field(default_factory=list)
    page: int = 500
    broken: Callable[[], None] = lambda: None


class StubApiServer:
    """The server; ``places`` may be changed at any time."""

    def __init__(self) -> None:
        self.places: dict[str, Place] = defaultdict(Place)
        self.agents: set[str] = set()
        self.lists: defaultdict[str, int] = defaultdict(int)
        self.watches: defaultdict[str, list[str]] = defaultdict(list)

    @asynccontextmanager
    async def serving(self, kubeconfig: Path) -> AsyncIterator[None]:
        """Serve while the block runs; how to come here is written to ``kubeconfig``."""
        app = web.Application()
        app.router.add_get(f"/apis/{API_VERSION}/namespaces/{{namespace}}/{PLURAL}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        cluster = {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}
        config = {
            "clusters": [{"name": "stub", "cluster": cluster}],
            "users": [{"name": "stub", "user": {"token": "t"}}],
            "contexts": [{"name": "stub", "context": {"cluster": "stub", "user": "stub"}}],
            "current-context": "stub",
        }
        await asyncio.to_thread(kubeconfig.write_text, yaml.safe_dump(config))
        try:
            yield
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["namespace"]
        place = self.places[name]
        self.agents.add(request.headers["User-Agent"])
        watching = "watch" in request.query
        if watching:
            self.watches[name].append(request.query["resourceVersion"])
        else:
            self.lists[name] += 1
        answers: list[Any] = place.to_watch if watching else place.to_list
        answer = answers.pop(0) if answers else None
        if answer is not None:
            place.broken()
            return await self._wrong(request, answer)
        if not watching:
            return web.json_response(self._listing(name, place, request.query.get("continue")))
        stream = web.StreamResponse(headers={"Content-Type": "application/json"})
        await stream.prepare(request)
        await asyncio.Event().wait()
        return stream

    def _listing(self, name: str, place: Place, token: str | None) -> Json:
        start = int(token or 0)
        shown = place.objects[start : start + place.page]
        meta: Json = {"resourceVersion": str(place.version)}
        if start + place.page < len(place.objects):
            meta["continue"] = str(start + place.page)
        items = [conversion_body(name, one) for one in shown]
        return {"kind": f"{KIND}List", "apiVersion": API_VERSION, "metadata": meta, "items": items}

    async def _wrong(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        headers = {"Content-Type": answer.kind, **answer.headers}
        stream = web.StreamResponse(status=answer.status, headers=headers)
        await stream.prepare(request)
        await stream.write(answer.body)
        if answer.cut and request.transport is not None:
            request.transport.abort()
        return stream


def error_event(status: Any) -> Answer:
    """A watch that says ERROR."""
    return Answer(body=json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
