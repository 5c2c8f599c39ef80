"""The watches: kopf's of the conversions, and the mirrors of our Jobs and their pods.

Of kopf there is one ``event`` handler and nothing else: no finalizers, no annotations, no handler state, so
that removing the operator leaves objects exactly as they are.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import kopf

from modelconversion_api.base import GROUP, PLURAL, VERSION
from modelconversion_operator.clock import running_seconds
from modelconversion_operator.cluster.mirror import WATCH_SECONDS, Mirror, Server, Shelf
from modelconversion_operator.cluster.store import Store
from modelconversion_operator.deciding.views import (
    MANAGED_BY,
    MANAGED_BY_LABEL,
    UID_LABEL,
    ConversionView,
    JobView,
    PodView,
)
from modelconversion_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)


_LATE_SECONDS: Final = 120.0
_LOGIN_PAUSE_SECONDS: Final = 1.0


class WatchProgress:
    """Whether all watches have begun, and whether one stands still.

    Of kopf's it is its requests that tell; of the mirrors, they themselves.

    Args:
        namespaces: How many namespaces are watched; 0 for the whole cluster.
        silence_seconds: A watch that says nothing for so long is opened anew.
        mirrors: The watches that are not kopf's.
        clock: Seconds that only ever grow.

    """

    def __init__(
        self,
        namespaces: int,
        silence_seconds: float,
        mirrors: Sequence[Mirror[Any]] = (),
        clock: Callable[[], float] = running_seconds,
    ) -> None:
        self._mirrors = mirrors
        self._expected = max(1, namespaces)
        self._limit = max(WATCH_SECONDS, silence_seconds) + _LATE_SECONDS
        self._clock = clock
        self._asked: dict[str, float] = {}
        self._watching: set[str] = set()

    def asked(self, path: str, *, watch: bool) -> None:
        """Note a request of kopf's that begins."""
        if path.endswith(f"/{PLURAL}"):
            self._asked[path] = self._clock()
            if watch:
                self._watching.add(path)

    def unready(self) -> str | None:
        """Say what has not been listed yet."""
        begun = len(self._watching) + sum(mirror.listed for mirror in self._mirrors)
        expected = self._expected + len(self._mirrors)
        return f"{expected - begun} of {expected} watches have not begun yet" if begun < expected else None

    def age_seconds(self) -> float:
        """Time since the watch that moved longest ago moved; 0 before the first."""
        return max(age for _, age in self._ages()) if self._asked else 0.0

    def _ages(self) -> Iterator[tuple[str, float]]:
        now = self._clock()
        yield from ((path, now - asked_at) for path, asked_at in self._asked.items())
        yield from ((mirror.path, mirror.age_seconds()) for mirror in self._mirrors)

    def problem(self) -> str | None:
        """Say which watch has not moved for so long that nobody can be following it."""
        for path, age in self._ages():
            if age > self._limit:
                return f"the watch of {path} stands still for {age:.0f} s"
        return None

    def trace(self) -> aiohttp.TraceConfig:
        """Make an HTTP session tell of its requests."""

        async def begins(_: Any, __: SimpleNamespace, request: aiohttp.TraceRequestStartParams) -> None:
            self.asked(request.url.path, watch="watch" in request.url.query)

        config = aiohttp.TraceConfig()
        config.on_request_start.append(begins)
        return config


def make_registry(
    store: Store, queue: WorkQueue[str], progress: WatchProgress, stopping: asyncio.Event
) -> kopf.OperatorRegistry:
    """Handlers that keep the store in step with the cluster and queue what changed.

    ``stopping`` is set when kopf begins to stop, on a signal for instance.
    """
    registry = kopf.OperatorRegistry()
    logins = itertools.count()

    @kopf.on.login(registry=registry)
    async def login(**kwargs: Any) -> kopf.AiohttpSession | None:
        # In a pod the mounted token, which is read again when it is refused; elsewhere the kubeconfig.
        info = kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
        if info is None:
            return None
        if next(logins):  # a server that has just started may refuse everybody for a while
            await asyncio.sleep(_LOGIN_PAUSE_SECONDS)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers=info.as_http_headers(),
            trace_configs=[progress.trace()],
        )
        return kopf.AiohttpSession(
            server=info.server, default_namespace=info.default_namespace, aiohttp_session=session
        )

    @kopf.on.cleanup(registry=registry)
    async def stop(**_: Any) -> None:
        stopping.set()

    def is_news(event: kopf.RawEvent, **_: Any) -> bool:
        """Whether an event tells more than is known: most tell what this operator has just written."""
        meta = event["object"]["metadata"]
        return event["type"] == "DELETED" or store.is_news(meta["uid"], meta["resourceVersion"])

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry, when=is_news)
    async def conversion_seen(event: kopf.RawEvent, **_: Any) -> None:
        view = ConversionView.from_body(event["object"])
        if event["type"] == "DELETED":
            rivals = store.rivals(view.key.uid)
            store.drop_conversion(view.key)
            queue.add(view.key.uid)  # its place is free
            for rival in rivals:
                queue.add(rival.key.uid)
        elif store.put_conversion(view):
            queue.add(view.key.uid)

    return registry


def make_mirrors(
    server: Server, store: Store, queue: WorkQueue[str], namespaces: Sequence[str], silence_seconds: float
) -> list[Mirror[Any]]:
    """Watches of our own Jobs and their pods: in the namespaces given, or in all when none is."""
    selector = quote(f"{MANAGED_BY_LABEL}={MANAGED_BY},{UID_LABEL}")
    mirrors: list[Mirror[Any]] = []
    scopes: Sequence[str | None] = namespaces or [None]
    for name in scopes:
        where = f"namespaces/{name}/" if name else ""
        jobs = Shelf(JobView.from_body, store.put_job, store.drop_job, partial(store.retain_jobs, name))
        pods = Shelf(PodView.from_body, store.put_pod, store.drop_pod, partial(store.retain_pods, name))
        for path, shelf in ((f"/apis/batch/v1/{where}jobs", jobs), (f"/api/v1/{where}pods", pods)):
            # A result that is there comes before conversions that have yet to begin, however many those are.
            wake = partial(queue.add, urgent=True)
            mirrors.append(Mirror(server, path, selector, shelf, wake, silence_seconds))
    return mirrors


class _NoDiffs(kopf.DiffBaseStorage):
    """Keeps kopf from comparing objects with what they were, which nobody here asks for.

    It would copy each object several times, which is half of what an operator with kopf's defaults does.
    """

    def build(self, **_: Any) -> None:  # type: ignore[override]  # kopf takes None as "nothing to compare"
        """Give nothing to compare with later."""

    def fetch(self, **_: Any) -> None:
        """Give nothing that was kept."""

    def store(self, **_: Any) -> None:
        """Keep nothing."""


class _Backoffs:
    """Seconds between tries of a request, without end: giving up would end the process, and help nobody."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.25, 0.5, 1.0, 2.0, 4.0), itertools.repeat(8.0))


def make_settings(silence_seconds: float) -> kopf.OperatorSettings:
    """Kopf's settings: watch conversions, write nothing, notice silent watches."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = (
        True  # the resources are fixed: no right to list CRDs or namespaces is needed
    )
    settings.peering.standalone = True
    settings.watching.chunk_size = 500
    settings.watching.connect_timeout = 10
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.inactivity_timeout = silence_seconds
    settings.networking.connect_timeout = 10
    settings.networking.request_timeout = 60
    settings.networking.error_backoffs = _Backoffs()
    settings.persistence.diffbase_storage = _NoDiffs()
    # A worker of kopf's lives this long after its object's last event, with kilobytes to itself: a listing of
    # thousands makes as many of them, and the process's end waits for them.
    settings.queueing.idle_timeout = 0.1
    return settings
