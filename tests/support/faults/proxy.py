"""An API server with faults: a reverse proxy between an operator process and the real API server.

It names every request in the operator's own terms (``create job``, ``status Running``, ``event Started``),
keeps the list, and can do something about each: answer with an error, cut or silence a watch, or call a
function, such as one that kills the operator, before the request is passed on or before its answer is. It
listens without TLS on 127.0.0.1 and passes the operator's own token on, so that it has exactly its usual
permissions.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml
from aiohttp import web

Json = dict[str, Any]
_HOP: Final = {"transfer-encoding", "content-length", "connection", "content-encoding", "host"}
_WRITES: Final = ("POST", "PATCH", "PUT", "DELETE")


@dataclass(frozen=True)
class Request:
    """A request of the operator's."""

    name: str
    """What it is, without names of objects: ``create job``, ``status Running``, ``watch pods``."""
    conversion: str
    """Name of the conversion that it is about; empty for those about many."""
    occurrence: int
    """1 for the first of this name about this conversion; one that is refused keeps it when tried again."""
    write: bool


@dataclass
class Rule:
    """What to do about requests.

    Attributes:
        matches: Which requests.
        before: Called before the request is passed on.
        after: Called when the API server has done it, before the operator gets the answer.
        status: Answer with this status instead of passing the request on.
        headers: Headers of that answer.
        silent: A watch is accepted, and nothing is ever sent.
        says: A watch is accepted, says this line, and ends.
        times: How often; then the rule is spent.

    """

    matches: Callable[[Request], bool]
    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    silent: bool = False
    says: bytes | None = None
    times: int = 1
    hits: int = 0


class _DroppedError(Exception):
    """The connection ends without an answer, as when a server dies."""


class FaultProxy:
    """The proxy. ``rules`` may be changed at any time; the first that matches and is not spent counts."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self._upstream_config: Json = yaml.safe_load(kubeconfig.read_text())
        cluster = self._upstream_config["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=authority)
        self._server: str = cluster["server"]
        self._folder = folder
        self._done: Counter[tuple[str, str]] = Counter()
        self._watches: set[asyncio.Task[Any]] = set()
        self.rules: list[Rule] = []
        self.requests: list[Request] = []
        self.agents: set[str] = set()
        """What all requests said of who sent them."""
        self.jobs_created: Counter[str] = Counter()
        """How many Jobs the API server made, by conversion."""
        self.down = False
        """Whether this operator, and no other, is cut off from the API server."""
        self.kubeconfig = folder / "through-the-proxy.kubeconfig"

    def done(self, name: str) -> int:
        """How often the API server has done what is not about one conversion."""
        return self._done[name, ""]

    def names(self, conversion: str) -> list[tuple[str, int]]:
        """The writes about a conversion, in order: name and occurrence."""
        return [(r.name, r.occurrence) for r in self.requests if r.write and r.conversion == conversion]

    def cut_watches(self) -> int:
        """End all watches that are open in the middle of what they say; gives how many."""
        open_ones = list(self._watches)
        for watch in open_ones:
            watch.cancel()
        return len(open_ones)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FaultProxy]:
        """Serve while the block runs."""
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls)
        endless = aiohttp.ClientTimeout(None, sock_connect=10)
        async with aiohttp.ClientSession(
            connector=connector, timeout=endless, auto_decompress=False
        ) as session:
            self._session = session
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self._write_kubeconfig(runner.addresses[0][1])
            try:
                yield self
            finally:
                self.cut_watches()
                await runner.cleanup()

    def _write_kubeconfig(self, port: int) -> None:
        config = json.loads(json.dumps(self._upstream_config))
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{port}"}
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(yaml.safe_dump(config))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except _DroppedError:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=503)  # nobody hears it

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        named = self._name(request, body)
        self.requests.append(named)
        self.agents.add(request.headers.get("User-Agent", ""))
        if self.down:
            raise _DroppedError
        rule = next((r for r in self.rules if r.hits < r.times and r.matches(named)), None)
        if rule is not None and rule.after is None:
            rule.hits += 1
            if rule.before is not None:
                rule.before()
                raise _DroppedError
            if rule.status is not None:
                return _refusal(rule.status, rule.headers)
        watching = named.name.startswith("watch ")
        if watching:
            return await self._watch(request, rule or Rule(lambda _: True))
        # What has been sent is on its way, whether or not the operator lives to hear the answer.
        status, headers, answer = await asyncio.shield(self._forward(request, body, named))
        if rule is not None and rule.after is not None and status < 300:
            rule.hits += 1
            rule.after()
            raise _DroppedError
        return web.Response(status=status, headers=headers, body=answer)

    async def _forward(
        self, request: web.Request, body: bytes, named: Request
    ) -> tuple[int, dict[str, str], bytes]:
        try:
            async with self._session.request(
                request.method,
                self._server + request.raw_path,
                headers=_kept(request.headers),
                data=body or None,
            ) as response:
                if response.status < 300:
                    self._done[named.name, named.conversion] += 1
                if named.name == "create job" and response.status == 201:
                    self.jobs_created[named.conversion] += 1
                return response.status, _kept(response.headers, encoding=True), await response.read()
        except (aiohttp.ClientError, OSError):
            raise _DroppedError from None  # as without a proxy: the connection ends

    async def _watch(self, request: web.Request, rule: Rule) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        task = asyncio.current_task()
        assert task is not None
        self._watches.add(task)
        try:
            if rule.silent or rule.says is not None:
                await answer.prepare(request)
                if rule.says is None:
                    await asyncio.Event().wait()
                else:
                    await answer.write(rule.says + b"\n")
                return answer
            async with self._session.request(
                "GET", self._server + request.raw_path, headers=_kept(request.headers)
            ) as response:
                answer.set_status(response.status)
                await answer.prepare(request)
                async for chunk in response.content.iter_any():
                    await answer.write(chunk)
        except (aiohttp.ClientError, OSError, asyncio.CancelledError):
            raise _DroppedError from None
        finally:
            self._watches.discard(task)
        return answer

    def _name(self, request: web.Request, body: bytes) -> Request:
        sent: Json = json.loads(body) if body else {}
        name, conversion = _request_name(request, sent)
        write = request.method in _WRITES and "lease" not in name
        return Request(name, conversion, self._done[name, conversion] + 1, write)


_OWNERS: Final = {
    "modelconversionsets": "set",
    "modelconversiontriggers": "trigger",
    "modelchannels": "channel",
}
_SMALL_JOBS: Final = {
    "edgeml.dev/trigger": "look",
    "edgeml.dev/set": "comparison",
    "edgeml.dev/channel": "move",
}
"""Jobs that are no conversion's, by the label that says whose."""


def _request_name(request: web.Request, sent: Json) -> tuple[str, str]:
    """What the request is, and the name of its conversion."""
    parts = request.path.strip("/").split("/")
    parts = parts[parts.index("namespaces") + 2 :] if "namespaces" in parts else parts[-1:]
    resource, name = parts[0], parts[1] if len(parts) > 1 else ""
    if "watch" in request.query:
        return f"watch {resource}", ""
    if request.method == "GET" and not name:
        return f"list {resource}", ""
    if resource in _OWNERS:
        verb = "create" if request.method == "POST" else "status of"
        return f"{verb} {_OWNERS[resource]}", ""
    if resource == "modelconversions":
        if request.method == "POST":
            return ("check conversion" if "dryRun" in request.query else "create conversion"), ""
        if request.method == "PATCH":
            conditions = sent["status"].get("conditions") or [{}]
            return f"status {sent['status'].get('phase') or conditions[0].get('reason') or '-'}", name
        return "get conversion", name
    if resource == "jobs":
        labels = (sent.get("metadata") or {}).get("labels", {})
        small = next((what for label, what in _SMALL_JOBS.items() if label in labels), None)
        if small is not None and request.method == "POST":
            return f"create {small}", ""
        owner = labels.get("edgeml.dev/conversion", "")
        verb = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}.get(request.method, "get")
        # A Job is named after its conversion and a digest.
        return f"{verb} job", owner or name.rpartition("-")[0]
    if resource == "events":
        return f"event {sent['reason']}", sent["involvedObject"]["name"]
    return f"{request.method.lower()} {resource.removesuffix('s')}", ""


def _kept(headers: Any, *, encoding: bool = False) -> dict[str, str]:
    dropped = _HOP - {"content-encoding"} if encoding else _HOP
    return {name: value for name, value in headers.items() if name.lower() not in dropped}


def _refusal(status: int, headers: dict[str, str]) -> web.Response:
    return web.json_response(_status(status), status=status, headers=headers)


def error_event(code: int, **more: Any) -> bytes:
    """The line of a watch that says ERROR."""
    return json.dumps({"type": "ERROR", "object": _status(code) | more}).encode()


def _status(code: int) -> Json:
    """An error in the API server's form."""
    reasons = {409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError"}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"a fault of the test: {code}",
        "reason": reasons.get(code, "ServiceUnavailable"),
        "code": code,
    }
