"""Carries decisions out: the thin shell of I/O around :func:`decide`."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from modelconversion_api.status import ModelConversionStatus

from . import outcome
from .cluster import Cluster
from .decide import (
    RESYNC_SECONDS,
    CreateJob,
    Decision,
    DeleteJob,
    Event,
    PatchJob,
    Rejection,
    decide,
)
from .errors import ApiError, ConflictError, NotFoundError, RejectedError
from .manifest import JobDefaults, job_manifest
from .metrics import Metrics
from .store import Store
from .views import ConversionView, JobView, PodView
from .workqueue import WorkQueue

logger = logging.getLogger(__name__)


def utc_now() -> datetime:
    """The time in whole seconds, as Kubernetes writes it."""
    return datetime.now(UTC).replace(microsecond=0)


class Reconciler:
    """Looks at one conversion at a time per worker, decides, and acts."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        queue: WorkQueue[str],
        metrics: Metrics,
        defaults: JobDefaults,
        now: Callable[[], datetime] = utc_now,
        resync_seconds: float = RESYNC_SECONDS,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._queue = queue
        self._metrics = metrics
        self._defaults = defaults
        self._now = now
        self._resync_seconds = resync_seconds
        self._last_look: dict[str, float] = {}
        """When a conversion under way was last compared with the API server itself."""

    async def work(self) -> None:
        """Take conversions from the queue until cancelled."""
        while True:
            uid = await self._queue.get()
            try:
                with self._metrics.reconcile_seconds.time():
                    delay = await self.reconcile(uid)
            except ConflictError as error:
                # The watch has not caught up with a write; it will in a moment.
                self._metrics.reconcile_failed(error)
                self._last_look[uid] = -math.inf  # look at the server itself next time
                self._queue.add_failed(uid)
            except ApiError as error:
                self._metrics.reconcile_failed(error)
                delay = self._queue.add_failed(uid)
                logger.warning("%s: %s; trying again in %.1f s", self._name(uid), error, delay)
            except Exception as error:
                # One object that trips a bug must not stop the work on all others.
                self._metrics.reconcile_failed(error)
                delay = self._queue.add_failed(uid)
                logger.exception("%s: bug; trying again in %.1f s", self._name(uid), delay)
            else:
                self._queue.forget_failures(uid)
                if delay is not None:
                    self._queue.add_after(uid, min(delay, self._resync_seconds))
            finally:
                self._queue.done(uid)

    async def reconcile(self, uid: str) -> float | None:
        """Look at a conversion and do what is to be done; gives the seconds until it wants another look."""
        if self._is_due_for_a_look(uid):
            await self._refresh(uid)
        conversion = self._store.conversion(uid)
        if conversion is None:
            self._last_look.pop(uid, None)
            return None
        job, pods = await self._known(conversion)
        decision = decide(conversion, job, pods, self._now())
        decision = await self._act_before_status(conversion, decision)
        await self._write_status(conversion, decision, pods)
        if isinstance(decision.job_action, DeleteJob):
            await self._cluster.delete_job(conversion.key.namespace, decision.job_action.name)
        return decision.recheck_seconds

    async def _known(self, conversion: ConversionView) -> tuple[JobView | None, list[PodView]]:
        """The run's Job and pods; what the watches have not shown is asked for before it counts as absent."""
        status, key = conversion.status, conversion.key
        if status.job_name is None:
            return None, []
        ended = status.phase is not None and status.phase.is_final
        job = self._store.job(key.uid, status.job_name)
        if job is None and status.job_uid is not None and not ended:
            body = await self._cluster.get_job(key.namespace, status.job_name)
            if body is not None:
                job = JobView.from_body(body)
                self._store.put_job(job)
        if job is None:
            return None, []
        pods = self._store.pods(key.uid, job.name)
        if job.finished and not ended and not _conclusive(job, pods):
            for body in await self._cluster.list_pods(key.namespace, job.name):
                self._store.put_pod(PodView.from_body(body))
            pods = self._store.pods(key.uid, job.name)
        return job, pods

    async def _act_before_status(self, conversion: ConversionView, decision: Decision) -> Decision:
        """Create or patch the Job; gives the decision that holds after that."""
        key, action = conversion.key, decision.job_action
        if isinstance(action, CreateJob):
            manifest = job_manifest(key, action.run_generation, action.spec, self._defaults)
            try:
                job = JobView.from_body(await self._cluster.create_job(manifest))
            except RejectedError as error:
                rejection = Rejection(error.message, error.is_permanent)
                return decide(conversion, None, (), self._now(), rejection)
            except NotFoundError as error:  # the namespace is on its way out
                rejection = Rejection(error.message, permanent=False)
                return decide(conversion, None, (), self._now(), rejection)
            if job.owner_uid != key.uid:
                return decide(conversion, job, (), self._now())
            self._store.put_job(job)
            self._queue.add(key.uid)
        elif isinstance(action, PatchJob):
            changes: dict[str, Any] = {}
            if action.suspend is not None:
                changes["suspend"] = action.suspend
            if action.ttl_seconds is not None:
                changes["ttlSecondsAfterFinished"] = action.ttl_seconds
            body = await self._cluster.patch_job(key.namespace, action.name, {"spec": changes})
            self._store.put_job(JobView.from_body(body))
        return decision

    async def _write_status(
        self, conversion: ConversionView, decision: Decision, pods: list[PodView]
    ) -> None:
        changes = status_changes(conversion.raw_status, decision.status)
        if not changes:
            return
        key = conversion.key
        try:
            body = await self._cluster.patch_status(key, conversion.resource_version, changes)
        except NotFoundError:
            return  # deleted meanwhile: the watch will say so
        self._store.put_conversion(ConversionView.from_body(body))
        before, after = conversion.status, decision.status
        logger.info("%s/%s: %s", key.namespace, key.name, _headline(after))
        if after.phase is not None and after.phase.is_final and before.phase != after.phase:
            self._metrics.conversion_ended(after, outcome.summary_of(pods) if pods else None)
        for event in decision.events:
            await self._record(conversion, event)

    async def _record(self, conversion: ConversionView, event: Event) -> None:
        """Write an event; the status holds the same facts, so a lost event is no error."""
        stamp = self._now().isoformat()
        body = {
            "type": event.type,
            "reason": event.reason,
            "message": event.message[:1024],
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
        try:
            await self._cluster.create_event(conversion.key, body)
        except ApiError as error:
            logger.info("event %s was not written: %s", event.reason, error)

    def _is_due_for_a_look(self, uid: str) -> bool:
        """Whether what the watches said is old enough to be checked: a watch can lose an event."""
        conversion = self._store.conversion(uid)
        if conversion is None:
            return False
        now = time.monotonic()
        last = self._last_look.setdefault(uid, now)
        phase = conversion.status.phase
        if phase is not None and phase.is_final and last != -math.inf:
            del self._last_look[uid]
            return False
        if now - last < self._resync_seconds:
            return False
        self._last_look[uid] = now
        return True

    async def _refresh(self, uid: str) -> None:
        """Take a conversion, its Job and its pods from the API server itself."""
        conversion = self._store.conversion(uid)
        if conversion is None:
            return
        key = conversion.key
        try:
            fresh = ConversionView.from_body(await self._cluster.get_conversion(key))
        except NotFoundError:
            self._store.drop_conversion(key)
            return
        if fresh.key != key:  # deleted, and made again under the same name
            self._store.drop_conversion(key)
            return
        self._store.put_conversion(fresh)
        name = fresh.status.job_name
        body = await self._cluster.get_job(key.namespace, name) if name else None
        if name and body is None:
            known = self._store.job(uid, name)
            if known is not None:
                self._store.drop_job(known)
        elif name and body is not None:
            self._store.put_job(JobView.from_body(body))
            for pod in await self._cluster.list_pods(key.namespace, name):
                self._store.put_pod(PodView.from_body(pod))

    def _name(self, uid: str) -> str:
        conversion = self._store.conversion(uid)
        return f"{conversion.key.namespace}/{conversion.key.name}" if conversion else uid


def _conclusive(job: JobView, pods: list[PodView]) -> bool:
    """Whether the pods that are known already tell how the Job ended."""
    if job.complete:
        return outcome.summary_of(pods) is not None
    return any(c.exit_code for p in pods for c in p.containers)


def status_changes(before: Mapping[str, Any], after: ModelConversionStatus) -> dict[str, Any]:
    """The merge patch from a stored status to a new one: changed fields, and null for those to be removed."""
    wire = after.to_wire()
    changes = {name: value for name, value in wire.items() if before.get(name) != value}
    changes |= {name: None for name in before if name in _STATUS_FIELDS and name not in wire}
    return changes


_STATUS_FIELDS = frozenset(info.alias or name for name, info in ModelConversionStatus.model_fields.items())


def _headline(status: ModelConversionStatus) -> str:
    words = status.conditions[0].message if status.conditions else ""
    reason = status.conditions[0].reason if status.conditions else ""
    return f"{status.phase} {reason}: {words}"


async def run_workers(reconciler: Reconciler, count: int) -> None:
    """Run ``count`` workers until cancelled."""
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(reconciler.work())
