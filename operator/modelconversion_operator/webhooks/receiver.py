"""Receives calls, believes those that know the trigger's secret, and has the trigger look at its source."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
import re
import signal
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from modelconversion_api.base import GROUP, VERSION
from modelconversion_api.triggers import TRIGGER_PLURAL, Webhook
from modelconversion_operator.cluster.client import Cluster, always
from modelconversion_operator.deciding.views import Body
from modelconversion_operator.errors import ApiError, NotFoundError, RejectedError
from modelconversion_operator.telemetry.web import serve
from modelconversion_operator.webhooks.settings import ReceiverSettings
from modelconversion_operator.webhooks.signatures import Replays, problem_of
from modelconversion_operator.webhooks.subjects import concerns

logger = logging.getLogger(__name__)

MOST_BYTES: Final = 1 << 20
"""Largest body that is read."""
_REMEMBERED_SECONDS: Final = 10.0
"""How long a trigger and its secret are remembered, so that a flood of calls is none of requests."""
_MOST_REMEMBERED: Final = 1000
_AT_A_TIME: Final = 16
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
OUTCOMES: Final = ("accepted", "ignored", "refused", "unreadable", "failed")


class Api(Protocol):
    """The requests. Every call may raise an ApiError."""

    async def request(self, method: str, path: str, body: Body | None = None) -> Body:
        """Send a request to the API server."""


class Receiver:
    """Believes calls, or does not."""

    def __init__(self, api: Api, registry: CollectorRegistry, now: Callable[[], float] = time.time) -> None:
        self._api, self._now = api, now
        self._known: OrderedDict[tuple[str, str], tuple[float, tuple[str, str] | None]] = OrderedDict()
        """By namespace and name, when a trigger was read, and its source and secret."""
        self._replays: OrderedDict[tuple[str, str], Replays] = OrderedDict()
        self._turns = asyncio.Semaphore(_AT_A_TIME)
        self._calls = Counter(
            "modelconversion_webhooks", "Calls by what came of them.", ["outcome"], registry=registry
        )
        for outcome in OUTCOMES:
            self._calls.labels(outcome)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer ``POST /NAMESPACE/TRIGGER``.

        202 where the trigger looks, or need not; 401 for every call that is not believed, also for triggers
        that there are not: who does not know the secret learns nothing; 413, 503.
        """
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return self._answer(413, "unreadable", f"a body of more than {MOST_BYTES} bytes")
        try:
            async with self._turns:
                return await self._judge(namespace, name, request, body)
        except ApiError as error:
            logger.warning("%s/%s: %s", namespace, name, error)
            return self._answer(503, "failed", "try again later")

    async def _judge(self, namespace: str, name: str, request: web.Request, body: bytes) -> web.Response:
        known = await self._trigger(namespace, name)
        if known is None:
            return self._answer(401, "refused", "not believed")
        source, secret = known
        replays = self._replays.setdefault((namespace, name), Replays())
        if len(self._replays) > _MOST_REMEMBERED:
            self._replays.popitem(last=False)
        if problem := problem_of(request.headers, body, secret, self._now(), replays):
            logger.warning("%s/%s: a call is not believed: %s", namespace, name, problem)
            return self._answer(401, "refused", "not believed")
        if not concerns(body, source):
            return self._answer(202, "ignored", "about another object")
        digest = hashlib.sha256(f"{self._now()}".encode() + body).hexdigest()[:32]
        path = f"{_triggers(namespace)}/{name}/status"
        await self._api.request("PATCH", path, {"status": {"lookRequested": digest}})
        logger.info("%s/%s: looks, for it was called", namespace, name)
        return self._answer(202, "accepted", "it looks")

    async def _trigger(self, namespace: str, name: str) -> tuple[str, str] | None:
        """Return a trigger's source and secret; None where there is none, or nobody may call it."""
        if not (_NAME.fullmatch(namespace) and _NAME.fullmatch(name)):
            return None
        key, now = (namespace, name), time.monotonic()
        at, found = self._known.get(key, (0.0, None))
        if at and now - at < _REMEMBERED_SECONDS:
            return found
        found = await self._read(namespace, name)
        self._known[key] = now, found
        self._known.move_to_end(key)
        while len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)
        return found

    async def _read(self, namespace: str, name: str) -> tuple[str, str] | None:
        try:
            spec: Any = (await self._api.request("GET", f"{_triggers(namespace)}/{name}")).get("spec") or {}
        except NotFoundError:
            logger.warning("%s/%s: called, and there is no such trigger", namespace, name)
            return None
        if "webhook" not in spec:
            logger.warning("%s/%s: called, and its spec has no webhook", namespace, name)
            return None
        try:
            wanted = Webhook.model_validate(spec["webhook"], extra="ignore").secret_ref
            template = spec["template"]
            source = (template.get("conversion") or template["set"]["models"][0])["source"]["uri"]
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            logger.warning("%s/%s: its spec cannot be read: %s", namespace, name, type(error).__name__)
            return None
        try:
            body = await self._api.request("GET", f"/api/v1/namespaces/{namespace}/secrets/{wanted.name}")
        except NotFoundError:
            logger.warning("%s/%s: there is no Secret %s", namespace, name, wanted.name)
            return None
        except RejectedError as error:
            logger.warning("%s/%s: %s: see TRIGGERS.md, Webhooks", namespace, name, error.message)
            return None
        with suppress(binascii.Error, ValueError):
            encoded = (body.get("data") or {}).get(wanted.key) or ""
            return source, base64.b64decode(encoded, validate=True).decode().strip()
        return None

    def _answer(self, status: int, outcome: str, words: str) -> web.Response:
        self._calls.labels(outcome).inc()
        return web.json_response({"outcome": outcome, "message": words}, status=status)


def routes(receiver: Receiver) -> Callable[[web.Application], None]:
    """Return what adds the receiver to a server."""

    def add(app: web.Application) -> None:
        app.router.add_post("/{namespace}/{name}", receiver.handle)

    return add


async def run(settings: ReceiverSettings) -> None:
    """Receive until told to stop.

    Raises:
        SettingsError: The address cannot be used.
        OperatorError: There is no cluster.

    """
    stop, registry = asyncio.Event(), CollectorRegistry()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def well() -> None:
        """Nothing is wrong while it answers."""

    async with Cluster(permit=always) as cluster:
        receiver = Receiver(cluster, registry)
        host, port = settings.http_host, settings.http_port
        async with serve(
            host, port, registry, well, well, more=routes(receiver), most_bytes=MOST_BYTES
        ) as at:
            logger.info("receiving webhooks on %s:%d", host or "port", at)
            await stop.wait()
    logger.info("stopped")


def _triggers(namespace: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{TRIGGER_PLURAL}"
