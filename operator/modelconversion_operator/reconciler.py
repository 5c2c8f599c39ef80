"""Carries decisions out: the thin shell of I/O around :func:`decide`."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple

from modelconversion_api.reasons import FailureReason
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_api.status import OUTPUT_SHARED, ModelConversionStatus, Phase
from modelconversion_operator.cluster.news import BATCH_SECONDS
from modelconversion_operator.cluster.progress_reader import ProgressReader
from modelconversion_operator.cluster.protocol import ConversionApi
from modelconversion_operator.cluster.store import Store
from modelconversion_operator.deciding import outcome
from modelconversion_operator.deciding.admission import Admission
from modelconversion_operator.deciding.boards import boards_of
from modelconversion_operator.deciding.bookkeeping import status_changes
from modelconversion_operator.deciding.decide import decide
from modelconversion_operator.deciding.decisions import (
    CreateJob,
    Decision,
    DeleteJob,
    Event,
    PatchJob,
    Rejection,
)
from modelconversion_operator.deciding.manifest import (
    engine_problem,
    job_manifest,
    job_name,
    request_problem,
)
from modelconversion_operator.deciding.policy import (
    Grant,
    grants_of,
    not_released,
    reason_not_released,
)
from modelconversion_operator.deciding.profiles import named, profile_wanted
from modelconversion_operator.deciding.repairs import job_changes, pinned_by, words_of_pinned
from modelconversion_operator.deciding.seen import Seen
from modelconversion_operator.deciding.timing import REJECTED_RETRY_SECONDS, RESYNC_SECONDS
from modelconversion_operator.deciding.views import ConversionView, EventView, JobView, Key, PodView
from modelconversion_operator.deciding.waiting import EVENTS_AFTER_SECONDS, events_count_in, wants_events
from modelconversion_operator.errors import ApiError, ConflictError, NotFoundError, RejectedError
from modelconversion_operator.rules import Rules
from modelconversion_operator.telemetry.metrics import Metrics
from modelconversion_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)

_AFTER_CREATION_SECONDS: Final = 60.0
"""A Job of which the watches say nothing for so long is looked at."""

_MOST_WOKEN: Final = 16
"""So many of those that write to one place are looked at, those under way first: thousands may have ended."""
_RELEASE_SECONDS: Final = 30.0
"""How long what was released counts as released."""


class _Unreleased(NamedTuple):
    """What a conversion may not use yet."""

    grant: Grant
    """One of them, which decides whether it is waited for."""
    words: str
    """All of them, and what to do."""


def utc_now() -> datetime:
    """Return the time in whole seconds, as Kubernetes writes it."""
    return datetime.now(UTC).replace(microsecond=0)


class Reconciler:
    """Looks at one conversion at a time per worker, decides, and acts."""

    def __init__(
        self,
        api: ConversionApi,
        store: Store,
        queue: WorkQueue[str],
        metrics: Metrics,
        rules: Rules,
        progress: ProgressReader,
        now: Callable[[], datetime] = utc_now,
        knows: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._api = api
        self._store = store
        self._queue = queue
        self._metrics = metrics
        self._rules = rules
        self._progress = progress
        self._now = now
        self._knows = knows
        self.admission = Admission(rules.limits, store.active, queue.add)
        self._last_look: dict[str, float] = {}
        """When a conversion under way was last compared with the API server itself."""
        self._pinned: dict[str, set[str]] = {}
        """By conversion, the fields of its Job that the cluster keeps as they are."""
        self._released: dict[tuple[str, Grant], float] = {}
        """When a Secret or claim of a namespace was last found to be released."""
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
                    self._queue.add_after(uid, min(delay, self._rules.resync_seconds))
            finally:
                self._queue.done(uid)

    async def stand_by(self) -> None:
        """Forget, as one that works does, what is over: until cancelled, and without asking or writing."""
        while True:
            uid = await self._queue.get()
            try:
                self._tidy(uid)
            except Exception:
                logger.exception("%s: bug", self._name(uid))
            finally:
                self._queue.done(uid)
            await asyncio.sleep(0)  # taking from a full queue waits for nothing

    def _tidy(self, uid: str) -> None:
        conversion = self._store.conversion(uid)
        if conversion is None:
            self._forget(uid)
            return
        status, key = conversion.status, conversion.key
        if (
            _has_ended(conversion)
            and status.observed_generation == conversion.generation
            and self._knows(key.namespace)
        ):
            name = status.job_name or job_name(key, conversion.next_run)
            job = self._store.job(key, name)
            job_uid = status.job_uid if job is None else job.uid
            pods = () if job_uid is None else tuple(self._store.pods(key, job_uid))
            rivals, strays = tuple(self._store.rivals(uid)), tuple(self._store.strays(key, name))
            seen = Seen(conversion, job, pods, rivals=rivals, strays=strays)
            self._settle(seen, decide(seen, self._now(), policy=self._rules.policy))

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
        if not self._knows(conversion.key.namespace):
            return None  # its Jobs have not been listed; the end of that listing brings all back here
        seen = await self._look(conversion)
        for stray in seen.strays:
            if not stray.deleting:
                logger.warning("%s: removing Job %s, which came before", self._name(uid), stray.name)
                await self._api.delete_job(stray, pods_first=True)
        decision = self._decide(seen)
        if not decision.wants_place:
            self.admission.leave(uid)
        decision = await self._checked(seen, decision)
        decision = await self._act_before_status(seen, decision)
        wrote = await self._write_status(seen, decision)
        if isinstance(decision.job_action, DeleteJob) and seen.job is not None:
            logger.info("%s: removing Job %s, which goes on after the end", self._name(uid), seen.job.name)
            await self._api.delete_job(seen.job)
        if isinstance(decision.job_action, CreateJob):
            return _AFTER_CREATION_SECONDS
        if decision.status.phase is None or not decision.status.phase.is_final:
            return self._until_events_count(seen, decision.recheck_seconds)
        if wrote or isinstance(decision.job_action, PatchJob):
            return BATCH_SECONDS  # another look finds that nothing is left to do
        self._settle(seen, decision)
        return decision.recheck_seconds

    def _until_events_count(self, seen: Seen, recheck: float | None) -> float | None:
        """Look again soon where an event says why a Job has no pod, for which it is too early yet."""
        if seen.job is None or self._store.event(seen.job) is None:
            return recheck
        if not events_count_in(seen.job, seen.pods, seen.conversion.status, self._now()):
            return recheck
        return min(recheck or RESYNC_SECONDS, EVENTS_AFTER_SECONDS)

    def _decide(self, seen: Seen) -> Decision:
        ask = partial(self.admission.ask, seen.conversion.key)
        return decide(seen, self._now(), policy=self._rules.policy, ask=ask)

    def _settle(self, seen: Seen, decision: Decision) -> None:
        """Keep only a few words of a conversion behind which nothing is left to do."""
        conversion, job = seen.conversion, seen.job
        uid = conversion.key.uid
        if uid in self._ending:  # its end was written, although the answer never came
            self._ending.discard(uid)
            self._count_end(conversion.status, seen.pods)
        unfinished = job is not None and not (job.finished or job.deleting)
        if decision.job_action is None and decision.status == conversion.status and not unfinished:
            self._store.settle(conversion)
            self._forget(uid)

    def _forget(self, uid: str) -> None:
        self._last_look.pop(uid, None)
        self._pinned.pop(uid, None)
        self._ending.discard(uid)
        self.admission.leave(uid)

    async def _look(self, conversion: ConversionView) -> Seen:
        """Gather what is known; what the watches have not shown is asked for before it counts as absent."""
        job, key, status = await self._job(conversion), conversion.key, conversion.status
        pods: tuple[PodView, ...] = ()
        events: tuple[EventView, ...] = ()
        if job is not None:
            pods = tuple(await self._pods(conversion, job))
            events = self._job_events(conversion, job, pods)
        elif status.job_uid is not None:
            pods = tuple(self._store.pods(key, status.job_uid))
        # Without pods too: it stops asking one that has gone.
        reported = self._progress.latest(key.uid, pods)
        # Without a status, which may have been lost, the run that is about to begin is meant.
        name = status.job_name or job_name(key, conversion.next_run)
        strays = tuple(self._store.strays(key, name))
        pinned = frozenset(self._pinned.get(key.uid, ()))
        rivals = tuple(self._store.rivals(key.uid))
        seen = Seen(conversion, job, pods, events, reported, pinned=pinned, rivals=rivals, strays=strays)
        return await self._with_profile(seen)

    async def _with_profile(self, seen: Seen) -> Seen:
        """Add the profile that a run has still to take on."""
        key, ref = seen.conversion.key, profile_wanted(seen.conversion)
        if ref is None:
            return seen
        try:
            return replace(seen, profile=await self._api.get_profile(key.namespace, ref))
        except RejectedError as error:
            words = f"the operator may not read {ref.kind} {ref.name}: {error.message}"
            return replace(seen, rejection=Rejection(words, False, FailureReason.PROFILE_NOT_FOUND))

    async def _checked(self, seen: Seen, decision: Decision) -> Decision:
        """Ask the API server about what is to be checked; decide again where it refuses."""
        if decision.to_check is None or (profile := decision.status.profile) is None:
            return decision
        try:
            await self._api.check_conversion(seen.conversion.key.namespace, decision.to_check.to_wire())
        except RejectedError as error:
            rejection = Rejection(
                f"with {named(profile)}: {error.message}",
                permanent=error.is_permanent,
                reason=FailureReason.PROFILE_CONFLICT,
            )
            return self._decide(replace(seen, rejection=rejection))
        return decision

    async def _job(self, conversion: ConversionView) -> JobView | None:
        """Return the Job of the present run."""
        status, key = conversion.status, conversion.key
        if status.job_name is None:
            return None
        job = self._store.job(key, status.job_name)
        # The Job of a conversion that has ended is not kept in mind, and may be wanted again for its TTL.
        is_wanted = not _has_ended(conversion) or conversion.generation != status.observed_generation
        if job is None and status.job_uid is not None and is_wanted:
            job = await self._api.get_job(key.namespace, status.job_name)
            if job is not None:
                self._store.keep(job)
        return job

    async def _pods(self, conversion: ConversionView, job: JobView) -> list[PodView]:
        """Return the pods of a Job."""
        pods = self._store.pods(conversion.key, job.uid)
        if job.finished and not _has_ended(conversion) and not _conclusive(job, pods):
            await self._renew_pods(conversion.key, job)
            pods = self._store.pods(conversion.key, job.uid)
        return pods

    async def _renew_pods(self, key: Key, job: JobView) -> None:
        pods, version = await self._api.list_pods(job)
        self._store.renew_pods(key, job, pods, version)

    def _job_events(
        self, conversion: ConversionView, job: JobView, pods: Sequence[PodView]
    ) -> tuple[EventView, ...]:
        """Return why a Job that should have a pod has none, where that is the question."""
        event = self._store.event(job)
        if event is None or not wants_events(job, pods, conversion.status, self._now()):
            return ()
        return (event,)

    async def _act_before_status(self, seen: Seen, decision: Decision) -> Decision:
        """Create or patch the Job; gives the decision that holds after that."""
        action = decision.job_action
        if isinstance(action, CreateJob):
            return await self._create(seen, action, decision)
        if isinstance(action, PatchJob) and seen.job is not None:
            await self._patch(seen.conversion, seen.job, action)
        return decision

    async def _patch(self, conversion: ConversionView, job: JobView, action: PatchJob) -> None:
        """Change a Job; what the cluster keeps as it is is said once, and accepted."""
        key = conversion.key
        patched = await self._api.patch_job(job, job_changes(action, key))
        self._store.keep(patched)
        event = action.event
        if pinned := pinned_by(action, patched):
            known = self._pinned.setdefault(key.uid, set())
            event = None if pinned <= known else words_of_pinned(job, pinned)
            known |= pinned
        if event is not None:
            logger.warning("%s: %s", self._name(key.uid), event.message)
            await self._record(conversion, event)

    async def _create(self, seen: Seen, action: CreateJob, decision: Decision) -> Decision:
        """Create the Job, or decide again with the reason why there is none."""
        conversion = seen.conversion
        key = conversion.key
        if problem := request_problem(action.spec, self._rules.jobs):
            rejection = Rejection(problem, permanent=True, reason=FailureReason.INVALID_SPEC)
            return self._decide(replace(seen, rejection=rejection))
        if action.part.converts and (problem := engine_problem(action.spec, self._rules.jobs)):
            rejection = Rejection(problem, permanent=True, reason=FailureReason.ENGINE_NOT_FOUND)
            return self._decide(replace(seen, rejection=rejection))
        unreleased = await self._unreleased(key, action.spec)
        if unreleased is not None and self._rules.must_be_released(unreleased.grant):
            reason = reason_not_released(unreleased.grant)
            rejection = Rejection(unreleased.words, permanent=False, reason=reason)
            self.admission.refuse(key, REJECTED_RETRY_SECONDS)
            return self._decide(replace(seen, rejection=rejection))
        manifest = job_manifest(
            key,
            action.run,
            action.spec,
            self._rules.jobs,
            conversion.queue,
            action.part,
            best.made_by if (best := decision.status.recommended) is not None else "",
        )
        try:
            job = await self._api.create_job(manifest)
        except RejectedError as error:
            self.admission.refuse(key, REJECTED_RETRY_SECONDS)
            rejection = Rejection(error.message, error.is_permanent)
            return self._decide(replace(seen, rejection=rejection))
        except NotFoundError as error:  # the namespace is on its way out
            return self._decide(replace(seen, rejection=Rejection(error.message, permanent=False)))
        if not job.belongs_to(key):
            return self._decide(replace(seen, job=job))
        self._store.keep(job)
        if unreleased is not None:
            reason = reason_not_released(unreleased.grant)
            await self._record(conversion, Event("Warning", reason, unreleased.words))
        if action.part.converts:
            self._metrics.job_created(decision.status, self._now())
        return decision

    async def _unreleased(self, key: Key, spec: ModelConversionSpec) -> _Unreleased | None:
        """Say what a conversion's author chose that is not released; None for nothing.

        Of Secrets and claims the claims count, which no setting lets through.
        """
        missing = []
        for grant in grants_of(spec):
            asked = self._released.get((key.namespace, grant), -math.inf)
            if time.monotonic() - asked < _RELEASE_SECONDS:
                continue
            try:
                is_released = await self._api.may_use(key.namespace, grant)
            except RejectedError as error:
                words = (
                    f"whether {grant.kind} {grant.name} is released is a question that the operator may not"
                    f" ask: {error}"
                )
                return _Unreleased(grant, words)
            if is_released:
                self._released[key.namespace, grant] = time.monotonic()
            else:
                missing.append(grant)
        return _Unreleased(missing[-1], not_released(key.namespace, missing)) if missing else None

    async def _write_status(self, seen: Seen, decision: Decision) -> bool:
        conversion, job = seen.conversion, seen.job
        changes = status_changes(conversion.raw_status, decision.status)
        if not changes:
            return False
        key, before, after = conversion.key, conversion.status, decision.status
        ends = after.phase is not None and after.phase.is_final and before.phase != after.phase
        if ends:
            self._ending.add(key.uid)
        try:
            updated = await self._api.patch_status(key, conversion.resource_version, changes)
        except NotFoundError:
            return False  # deleted meanwhile: the watch will say so
        self._store.keep(updated)
        if _tells_of_rivals(before) != _tells_of_rivals(after) or (ends and seen.rivals):
            for rival in seen.rivals[:_MOST_WOKEN]:  # it says so as well; and one that waits may begin
                self._queue.add(rival.key.uid)
        logger.info("%s/%s: %s", key.namespace, key.name, _headline(after))
        if after.report_uri is not None and before.report_uri is None and not ends:
            # Boards are to follow, whose pods do not tell what was converted.
            self._metrics.converted(outcome.summary_of(seen.pods))
            self._metrics.boards_ahead(boards_of(conversion.spec, after), after.artifacts)
        for measurement in after.measurements[len(before.measurements) :]:
            self._metrics.measured(measurement)
        if ends:
            self._ending.discard(key.uid)
            self._count_end(after, seen.pods)
            self._store.take_results(key)
        elif _begins_to_convert(before, after) and job is not None:
            self._metrics.job_started(job.created, self._now())
        for event in decision.events:
            await self._record(conversion, event)
        return True

    def _count_end(self, status: ModelConversionStatus, pods: Sequence[PodView]) -> None:
        self._metrics.conversion_ended(status, outcome.summary_of(pods) if pods else None)

    async def _record(self, conversion: ConversionView, event: Event) -> None:
        """Write an event; the status holds the same facts, so a lost event is no error."""
        try:
            await self._api.create_event(conversion.key, event.to_wire(self._now()))
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
        if now - last < max(self._rules.resync_seconds, len(self._last_look) / 10):
            return False
        self._last_look[uid] = now
        return True

    async def _refresh(self, key: Key) -> None:
        """Take a conversion, its Job and its pods from the API server itself."""
        try:
            conversion = await self._api.get_conversion(key)
        except NotFoundError:
            self._store.drop_conversion(key)
            return
        if conversion.key != key:  # deleted, and made again under the same name
            self._store.drop_conversion(key)
            return
        self._store.keep(conversion)
        name = conversion.status.job_name
        if name is None:
            return
        job = await self._api.get_job(key.namespace, name)
        if job is not None:
            self._store.keep(job)
            await self._renew_pods(key, job)
        elif (known := self._store.job(key, name)) is not None:
            self._store.drop_job(known)

    def _name(self, uid: str) -> str:
        conversion = self._store.conversion(uid)
        return f"{conversion.key.namespace}/{conversion.key.name}" if conversion else uid


def _begins_to_convert(before: ModelConversionStatus, after: ModelConversionStatus) -> bool:
    """Whether the Job that converts has just begun to run; those of boards are not counted with it."""
    starts = after.phase is Phase.RUNNING and before.phase is Phase.PENDING
    return starts and after.report_uri is None


def _has_ended(conversion: ConversionView) -> bool:
    phase = conversion.status.phase
    return phase is not None and phase.is_final


def _conclusive(job: JobView, pods: Sequence[PodView]) -> bool:
    """Whether the pods that are known already tell how the Job ended."""
    if job.complete:
        return outcome.summary_of(pods) is not None
    return any(c.exit_code for p in pods for c in p.containers)


def _tells_of_rivals(status: ModelConversionStatus) -> bool:
    return any(condition.type == OUTPUT_SHARED for condition in status.conditions)


def _headline(status: ModelConversionStatus) -> str:
    words = status.conditions[0].message if status.conditions else ""
    reason = status.conditions[0].reason if status.conditions else ""
    return f"{status.phase} {reason}: {words}"


async def run_workers(reconciler: Reconciler, count: int) -> None:
    """Run ``count`` workers until cancelled."""
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(reconciler.work())
