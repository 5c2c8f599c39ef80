"""The watches: kopf's of the conversions, and the mirrors of our Jobs and their pods.

Of kopf there is one ``event`` handler and nothing else: no finalizers, no annotations, no handler state, so
that removing the operator leaves objects exactly as they are.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiohttp
import kopf
from kopf._core.reactor import inventory

from modelconversion_api.base import GROUP, PLURAL, VERSION
from modelconversion_api.channels import CHANNEL_PLURAL
from modelconversion_api.sets import SET_PLURAL
from modelconversion_api.triggers import TRIGGER_PLURAL
from modelconversion_operator.channels.views import ChannelView
from modelconversion_operator.cluster.client import USER_AGENT
from modelconversion_operator.cluster.kopf_watch import ConversionWatch
from modelconversion_operator.cluster.mirror import Mirror, Server, Shelf
from modelconversion_operator.cluster.news import BATCH_SECONDS, job_presses, pod_presses
from modelconversion_operator.cluster.store import Store
from modelconversion_operator.cluster.watch_state import WATCH_SECONDS, WatchProgress
from modelconversion_operator.deciding.views import (
    MANAGED_BY,
    MANAGED_BY_LABEL,
    UID_LABEL,
    Body,
    ConversionView,
    EventView,
    JobView,
    PodView,
)
from modelconversion_operator.deciding.waiting import EVENTS_AFTER_SECONDS
from modelconversion_operator.known import KnownObjects
from modelconversion_operator.sets.views import SetView
from modelconversion_operator.triggers.views import TriggerView
from modelconversion_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)


_LOGIN_PAUSE_SECONDS: Final = 1.0
_JOBS, _PODS, _EVENTS = "jobs", "pods", "events"
WATCHED: Final = (PLURAL, _JOBS, _PODS, _EVENTS, SET_PLURAL, TRIGGER_PLURAL, CHANNEL_PLURAL)
_NO_POD: Final = "fieldSelector=" + quote("reason=FailedCreate,involvedObject.kind=Job")
"""Selects the events by which the Job controller says why a Job has no pod."""
"""Plural names of what is watched."""


def make_conversion_watch(
    progress: WatchProgress, store: Store, namespaces: Sequence[str]
) -> ConversionWatch:
    """Watch of the conversions: in the namespaces given, or in all when none is."""
    scopes: Sequence[str | None] = namespaces or [None]
    return ConversionWatch({name: progress.watch(PLURAL, name) for name in scopes}, store)


def make_registry(
    store: Store,
    queue: WorkQueue[str],
    watch: ConversionWatch,
    stopping: asyncio.Event,
    class_name: str = "",
) -> kopf.OperatorRegistry:
    """Handlers that keep the store in step with the cluster and queue what changed of one class.

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
            watch.login_refused()
            await asyncio.sleep(_LOGIN_PAUSE_SECONDS)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers={**info.as_http_headers(), "User-Agent": USER_AGENT},
        )
        return kopf.AiohttpSession(
            server=info.server, default_namespace=info.default_namespace, aiohttp_session=session
        )

    @kopf.on.cleanup(registry=registry)
    async def stop(**_: Any) -> None:
        stopping.set()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def conversion_seen(event: kopf.RawEvent, **_: Any) -> None:
        view = ConversionView.from_body(event["object"])
        is_ours = str(view.spec.get("className") or "") == class_name
        if event["type"] == "DELETED" or not is_ours:
            rivals = store.rivals(view.key.uid)
            store.drop_conversion(view.key)
            queue.add(view.key.uid)  # its place is free
            for rival in rivals:
                queue.add(rival.key.uid)
        elif store.put_conversion(view):
            queue.add(view.key.uid)

    return registry


def make_mirrors(
    server: Server,
    store: Store,
    queue: WorkQueue[str],
    progress: WatchProgress,
    namespaces: Sequence[str],
    silence_seconds: float,
) -> list[Mirror[Any]]:
    """Watches of our own Jobs and their pods: in the namespaces given, or in all when none is."""
    selector = "labelSelector=" + quote(f"{MANAGED_BY_LABEL}={MANAGED_BY},{UID_LABEL}")
    mirrors: list[Mirror[Any]] = []

    def wake(uid: str, presses: bool) -> None:
        """Have a conversion looked at; what does not press is looked at with what follows within a moment."""
        if presses:
            # A result that is there comes before conversions that have yet to begin, however many those are.
            queue.add(uid, urgent=True)
        else:
            queue.add_after(uid, BATCH_SECONDS)

    def wake_conversion(job: str, _: bool) -> None:
        if (uid := store.conversion_of(job)) is not None:
            queue.add_after(uid, EVENTS_AFTER_SECONDS)

    scopes: Sequence[str | None] = namespaces or [None]
    for name in scopes:
        where = f"namespaces/{name}/" if name else ""
        retain_jobs, retain_pods = partial(store.retain_jobs, name), partial(store.retain_pods, name)
        jobs = Shelf(JobView.from_body, store.put_job, store.drop_job, retain_jobs, job_presses)
        pods = Shelf(PodView.from_body, store.put_pod, store.drop_pod, retain_pods, pod_presses)
        for resource, api, shelf in ((_JOBS, "apis/batch/v1", jobs), (_PODS, "api/v1", pods)):
            path, state = f"/{api}/{where}{resource}", progress.watch(resource, name)
            mirrors.append(Mirror(server, path, selector, shelf, wake, silence_seconds, state))
        # One watch, where asking for each Job that waits for its pod would take most of the operator's time.
        retain = partial(store.retain_events, name)
        events = Shelf(EventView.from_body, store.put_event, store.drop_event, retain, lambda _: False)
        path, state = f"/api/v1/{where}{_EVENTS}", progress.watch_aside(_EVENTS, name)
        mirrors.append(Mirror(server, path, _NO_POD, events, wake_conversion, silence_seconds, state))
    return mirrors


V = TypeVar("V", SetView, TriggerView, ChannelView)


def make_mirrors_of(
    plural: str,
    from_body: Callable[[Body], V],
    server: Server,
    store: KnownObjects[V],
    queue: WorkQueue[str],
    progress: WatchProgress,
    namespaces: Sequence[str],
    silence_seconds: float,
    class_name: str = "",
) -> list[Mirror[V]]:
    """Watches of the objects of one kind, and one class: in the namespaces given, or in all when none is.

    Conversions do not wait for them: a cluster may not have the resource yet.
    """

    def put(view: V) -> bool:
        return store.put(view) if view.class_name == class_name else store.drop(view)

    def wake(uid: str, _: bool) -> None:
        queue.add(uid)

    scopes: Sequence[str | None] = namespaces or [None]
    mirrors = []
    for name in scopes:
        where = f"namespaces/{name}/" if name else ""
        shelf = Shelf(from_body, put, store.drop, partial(store.retain, name), lambda _: True)
        path, state = f"/apis/{GROUP}/{VERSION}/{where}{plural}", progress.watch_aside(plural, name)
        mirrors.append(Mirror(server, path, "", shelf, wake, silence_seconds, state))
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


class NoMemories(inventory.ResourceMemories):
    """Keeps kopf from remembering each object for daemons, indices and throttling, of which there are none.

    That would be more than what we remember of it, and stays when a deletion was missed.
    """

    async def recall(self, raw_body: Any, **kwargs: Any) -> Any:
        """Give a memory for this event only."""
        return await super().recall(raw_body, **kwargs | {"ephemeral": True})


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
    settings.networking.error_backoffs = ()  # each failure is told and waited for by the watch itself
    settings.persistence.diffbase_storage = _NoDiffs()
    # A worker of kopf's lives this long after its object's last event, with kilobytes to itself: a listing of
    # thousands makes as many of them, and the process's end waits for them.
    settings.queueing.idle_timeout = 0.1
    return settings
