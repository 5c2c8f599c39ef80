"""kopf's part: it watches conversions, our Jobs and our pods, and this module notes what it shows.

One ``event`` handler a resource and nothing else: no finalizers, no annotations, no handler state, so that
removing the operator leaves objects exactly as they are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import kopf

from modelconversion_api.base import GROUP, PLURAL, VERSION

from .manifest import MANAGED_BY
from .store import Store
from .views import UID_LABEL, ConversionView, JobView, PodView
from .workqueue import WorkQueue

logger = logging.getLogger(__name__)


def make_registry(store: Store, queue: WorkQueue[str], stopping: asyncio.Event) -> kopf.OperatorRegistry:
    """Handlers that keep the store in step with the cluster and queue what changed.

    ``stopping`` is set when kopf begins to stop, on a signal for instance.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        # In a pod the mounted token, which kopf reads again when it expires; elsewhere the kubeconfig.
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.cleanup(registry=registry)
    async def stop(**_: Any) -> None:
        stopping.set()

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def conversion_seen(event: kopf.RawEvent, **_: Any) -> None:
        view = ConversionView.from_body(event["object"])
        if event["type"] == "DELETED":
            store.drop_conversion(view.key)
        elif store.put_conversion(view):
            queue.add(view.key.uid)

    @kopf.on.event("batch", "v1", "jobs", registry=registry)
    async def job_seen(event: kopf.RawEvent, **_: Any) -> None:
        _note(event, JobView.from_body, store.put_job, store.drop_job)

    @kopf.on.event("", "v1", "pods", registry=registry)
    async def pod_seen(event: kopf.RawEvent, **_: Any) -> None:
        _note(event, PodView.from_body, store.put_pod, store.drop_pod)

    def _note(
        event: kopf.RawEvent,
        read: Callable[[Any], Any],
        put: Callable[[Any], None],
        drop: Callable[[Any], None],
    ) -> None:
        view = read(event["object"])
        (drop if event["type"] == "DELETED" else put)(view)
        queue.add(view.owner_uid)

    return registry


def make_settings() -> kopf.OperatorSettings:
    """Kopf's settings: watch only our own Jobs and pods, write nothing, notice silent watches."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = (
        True  # the resources are fixed: no right to list CRDs or namespaces is needed
    )
    settings.peering.standalone = True
    ours = f"app.kubernetes.io/managed-by={MANAGED_BY},{UID_LABEL}"
    settings.watching.label_selectors["batch", "v1", "jobs"] = ours
    settings.watching.label_selectors["", "v1", "pods"] = ours
    settings.watching.chunk_size = 500
    settings.watching.connect_timeout = 10
    # A worker of kopf's lives this long after its object's last event, and as long delays the process's end.
    settings.queueing.idle_timeout = 1.0
    return settings
