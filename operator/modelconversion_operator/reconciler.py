"""Carries decisions out: the thin shell of I/O around :func:`decide`."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from modelconversion_api.request import StageProgress
from modelconversion_api.status import ModelConversionStatus, Phase
from modelconversion_operator.cluster.client import Cluster
from modelconversion_operator.cluster.progress_reader import ProgressReader
from modelconversion_operator.cluster.store import Store
from modelconversion_operator.deciding import outcome
from modelconversion_operator.deciding.admission import (
    NO_LIMITS,
    Admission,
    Limits,
    held,
    released,
    wants_place,
)
from modelconversion_operator.deciding.decide import (
    REJECTED_RETRY_SECONDS,
    RESYNC_SECONDS,
    CreateJob,
    Decision,
    DeleteJob,
    Event,
    PatchJob,
    Rejection,
    decide,
)
from modelconversion_operator.deciding.manifest import JobSettings, job_manifest
from modelconversion_operator.deciding.policy import Policy
from modelconversion_operator.deciding.repairs import job_changes
from modelconversion_operator.deciding.views import ConversionView, EventView, JobView, Key, PodView
from modelconversion_operator.deciding.waiting import wants_events
from modelconversion_operator.errors import ApiError, ConflictError, NotFoundError, RejectedError
from modelconversion_operator.telemetry.metrics import Metrics
from modelconversion_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)

_AFTER_CREATION_SECONDS: Final = 5.0
"""A Job of which the watches say nothing for so long is looked at."""


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
        jobs: JobSettings,
        now: Callable[[], datetime] = utc_now,
        resync_seconds: float = RESYNC_SECONDS,
        policy: Policy | None = None,
        progress: ProgressReader | None = None,
        limits: Limits = NO_LIMITS,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._queue = queue
        self._metrics = metrics
        self._jobs = jobs
        self._now = now
        self._resync_seconds = resync_seconds
        self._policy = policy or Policy()
        self._progress = progress or ProgressReader(store, queue, seconds=0)
        self.admission = Admission(limits, store.active, queue.add)
        self._last_look: dict[str, float] = {}
        """When a conversion under way was last compared with the API server itself."""
        self._ending: set[str] = set()
        """Conversions whose end was sent to the API server, and not yet counted."""

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
        conversion = self._store.conversion(uid)
        if conversion is not None and self._is_due_for_a_look(conversion):
            await self._refresh(conversion.key)
            conversion = self._store.conversion(uid)
        elif conversion is None and (key := self._store.reopen(uid)) is not None:
            await self._refresh(key)
            conversion = self._store.conversion(uid)
        if conversion is None:
            self._forget(uid)
            return None
        job, pods = await self._known(conversion)
        events = await self._job_events(conversion, job, pods)
        reported = self._progress.latest(uid, pods)
        decision = self._decide(conversion, job, pods, events=events, reported=reported)
        decision = self._in_turn(conversion, decision)
        decision = await self._act_before_status(conversion, job, decision)
        wrote = await self._write_status(conversion, decision, job, pods)
        if isinstance(decision.job_action, DeleteJob) and job is not None:
            await self._cluster.delete_job(job)
        if isinstance(decision.job_action, CreateJob):
            return _AFTER_CREATION_SECONDS
        if decision.status.phase is None or not decision.status.phase.is_final:
            return decision.recheck_seconds
        if wrote or isinstance(decision.job_action, PatchJob):
            return 0  # another look finds that nothing is left to do
        self._settle(conversion, job, decision)
        return None

    def _in_turn(self, conversion: ConversionView, decision: Decision) -> Decision:
        """Let a conversion that wants a Job stand in line where their number is limited."""
        key = conversion.key
        if conversion.queue is None and wants_place(conversion.status, decision):
            place = self.admission.ask(key, decision.status.start_time or self._now())
            if place is not None:
                return held(conversion, decision, place, self._now())
        else:
            self.admission.leave(key.uid)
        return released(decision)

    def _settle(self, conversion: ConversionView, job: JobView | None, decision: Decision) -> None:
        """Keep only a few words of a conversion behind which nothing is left to do."""
        uid = conversion.key.uid
        if uid in self._ending:  # its end was written, although the answer never came
            self._ending.discard(uid)
            self._count_end(conversion.status, self._store.pods(uid, conversion.status.job_name or ""))
        unfinished = job is not None and not (job.finished or job.deleting)
        if decision.job_action is None and decision.status == conversion.status and not unfinished:
            self._store.settle(conversion)
            self._forget(uid)

    def _forget(self, uid: str) -> None:
        self._last_look.pop(uid, None)
        self._ending.discard(uid)
        self.admission.leave(uid)

    async def _known(self, conversion: ConversionView) -> tuple[JobView | None, list[PodView]]:
        """The run's Job and pods; what the watches have not shown is asked for before it counts as absent."""
        status, key = conversion.status, conversion.key
        if status.job_name is None:
            return None, []
        ended = status.phase is not None and status.phase.is_final
        job = self._store.job(key.uid, status.job_name)
        # The Job of a conversion that has ended is not kept in mind, and may be wanted again for its TTL.
        wanted = not ended or conversion.generation != status.observed_generation
        if job is None and status.job_uid is not None and wanted:
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

    async def _job_events(
        self, conversion: ConversionView, job: JobView | None, pods: list[PodView]
    ) -> list[EventView]:
        """Why a Job that should have a pod has none, where that is the question."""
        if job is None or not wants_events(job, pods, conversion.status, self._now()):
            return []
        try:
            return [EventView.from_body(body) for body in await self._cluster.job_events(job)]
        except RejectedError as error:
            # An installation may withhold this right: the conversion then waits without a cause.
            logger.info("%s: the Job's events cannot be read: %s", self._name(conversion.key.uid), error)
            return []

    def _decide(
        self,
        conversion: ConversionView,
        job: JobView | None,
        pods: Sequence[PodView],
        rejection: Rejection | None = None,
        *,
        events: Sequence[EventView] = (),
        reported: StageProgress | None = None,
    ) -> Decision:
        return decide(
            conversion,
            job,
            pods,
            self._now(),
            rejection,
            events=events,
            reported=reported,
            policy=self._policy,
        )

    async def _act_before_status(
        self, conversion: ConversionView, known: JobView | None, decision: Decision
    ) -> Decision:
        """Create or patch the Job; gives the decision that holds after that."""
        key, action = conversion.key, decision.job_action
        if isinstance(action, CreateJob):
            manifest = job_manifest(key, action.run_generation, action.spec, self._jobs, conversion.queue)
            try:
                job = JobView.from_body(await self._cluster.create_job(manifest))
            except RejectedError as error:
                rejection = Rejection(error.message, error.is_permanent)
                self.admission.refuse(key, REJECTED_RETRY_SECONDS)
                return released(self._decide(conversion, None, (), rejection))
            except NotFoundError as error:  # the namespace is on its way out
                rejection = Rejection(error.message, permanent=False)
                return self._decide(conversion, None, (), rejection)
            if job.owner_uid != key.uid:
                return self._decide(conversion, job, ())
            self._store.put_job(job)
            self._metrics.job_created(decision.status, self._now())
        elif isinstance(action, PatchJob) and known is not None:
            body = await self._cluster.patch_job(known, job_changes(action, key))
            self._store.put_job(JobView.from_body(body))
            if action.event is not None:
                logger.warning("%s: %s", self._name(key.uid), action.event.message)
                await self._record(conversion, action.event)
        return decision

    async def _write_status(
        self, conversion: ConversionView, decision: Decision, job: JobView | None, pods: list[PodView]
    ) -> bool:
        changes = status_changes(conversion.raw_status, decision.status)
        if not changes:
            return False
        key, before, after = conversion.key, conversion.status, decision.status
        ends = after.phase is not None and after.phase.is_final and before.phase != after.phase
        if ends:
            self._ending.add(key.uid)
        try:
            body = await self._cluster.patch_status(key, conversion.resource_version, changes)
        except NotFoundError:
            return False  # deleted meanwhile: the watch will say so
        self._store.put_conversion(ConversionView.from_body(body))
        logger.info("%s/%s: %s", key.namespace, key.name, _headline(after))
        if ends:
            self._ending.discard(key.uid)
            self._count_end(after, pods)
        elif after.phase is Phase.RUNNING and before.phase is Phase.PENDING and job is not None:
            self._metrics.job_started(job.created, self._now())
        for event in decision.events:
            await self._record(conversion, event)
        return True

    def _count_end(self, status: ModelConversionStatus, pods: list[PodView]) -> None:
        self._metrics.conversion_ended(status, outcome.summary_of(pods) if pods else None)

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

    def _is_due_for_a_look(self, conversion: ConversionView) -> bool:
        """Whether what the watches said is old enough to be checked: a watch can lose an event."""
        uid, now = conversion.key.uid, time.monotonic()
        last = self._last_look.setdefault(uid, now)
        phase = conversion.status.phase
        if phase is not None and phase.is_final and last != -math.inf:
            del self._last_look[uid]
            return False
        # With very many under way this takes longer, so that it stays at ten conversions a second.
        if now - last < max(self._resync_seconds, len(self._last_look) / 10):
            return False
        self._last_look[uid] = now
        return True

    async def _refresh(self, key: Key) -> None:
        """Take a conversion, its Job and its pods from the API server itself."""
        uid = key.uid
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
