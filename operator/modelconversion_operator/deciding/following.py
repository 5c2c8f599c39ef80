"""What to do about a Job that has neither ended nor is to be stopped."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from modelconversion_api.fields.boards import Board
from modelconversion_api.fields.scheduling import MAX_BACKOFF
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_api.status import Condition, FailureInfo, ModelConversionStatus, Phase, Reason
from modelconversion_operator.deciding.conditions import seconds_since, summary_condition, with_condition
from modelconversion_operator.deciding.decisions import Decision, Event, PatchJob, failed
from modelconversion_operator.deciding.failures import (
    failure,
    failure_of_pod,
    failures_of_pods,
    will_not_be_retried,
)
from modelconversion_operator.deciding.manifest import CONVERTS, Part, job_name
from modelconversion_operator.deciding.outcome import newest
from modelconversion_operator.deciding.policy import Policy
from modelconversion_operator.deciding.progress import forward, progress_of
from modelconversion_operator.deciding.repairs import repair_of
from modelconversion_operator.deciding.seen import Seen
from modelconversion_operator.deciding.timing import BY_ITSELF_SECONDS, RESYNC_SECONDS, SANDBOX_SECONDS
from modelconversion_operator.deciding.views import OUR_CONTAINERS, ConversionView, JobView, PodView
from modelconversion_operator.deciding.waiting import (
    Wait,
    wait_for_departure,
    wait_of_creation,
    wait_of_pod,
)

WAITING_FOR_POD: Final = "waiting for the Job's pod to start"
REGISTERING: Final = "converted; waiting for the pod that registers the files"
READING_AGAIN: Final = "nobody saw the result of the Job, which has published: its report is being read"
_USUAL: Final = (Reason.CREATED, Reason.QUEUED, Reason.SUSPENDED, Reason.RUNNING)
"""Reasons of a conversion with which nothing is wrong."""
_SOONEST_SECONDS, _LATEST_SECONDS = 5.0, 60.0
"""How soon and how late to look again where no watch would speak of what becomes of a cause with time."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run under way, as decisions look at it."""

    seen: Seen
    spec: ModelConversionSpec
    status: ModelConversionStatus
    """The present one, brought up to date as far as is known; a decision writes what it makes from it."""
    name: str
    """The run's name among those of the conversion."""
    now: datetime
    policy: Policy

    @property
    def conversion(self) -> ConversionView:
        """The resource."""
        return self.seen.conversion

    @property
    def part(self) -> Part:
        """Which of the run's Jobs the present one is, by its name."""
        key, names = self.conversion.key, [board.name for board in self.spec.benchmark.boards]
        kinds = [CONVERTS, Part(reads_report=True), *(Part(board=name) for name in names)]
        kinds += [Part(registers=True)] if self.spec.registration is not None else []
        for repeat, kind in itertools.product(range(MAX_BACKOFF + 1), kinds):
            part = replace(kind, repeat=repeat)
            if self.status.job_name == job_name(key, self.name, part):
                return part
        return CONVERTS

    @property
    def is_converted(self) -> bool:
        """Whether the files are published, and only boards or a registry are still to be asked."""
        return self.status.report_uri is not None

    @property
    def board(self) -> Board | None:
        """The board that the present Job measures on; None for the Job that converts."""
        name = self.part.board
        return next((board for board in self.spec.benchmark.boards if board.name == name), None)

    @property
    def words_of_waiting(self) -> str:
        """What is waited for while its pod does not run yet."""
        part = self.part
        if part.board:
            return f"converted; waiting for a pod on board {part.board}"
        if part.registers:
            return REGISTERING
        return READING_AGAIN if part.reads_report else WAITING_FOR_POD

    @property
    def pods(self) -> tuple[PodView, ...]:
        """The pods of its Job."""
        return self.seen.pods


def follow(run: Run, job: JobView) -> Decision:
    """Show how far a Job is or what it waits for, put it right, and end what has waited too long."""
    action = None
    # Only what this operator suspended is resumed by it: a queue such as Kueue has a say of its own.
    if job.suspended and run.conversion.status.phase is Phase.SUSPENDED:
        action = PatchJob(job.name, suspend=False)
    elif not job.deleting:
        action = repair_of(job, run.spec.job, run.name, run.seen.pinned)
    # A pod that has succeeded counts until its Job says so too: nothing is pending again meanwhile.
    pod = newest([p for p in run.pods if p.phase != "Failed" and not p.deleting])
    if pod is not None and (end := _end_behind_injected(pod, run.now)) is not None:
        why, left = end
        if left <= 0:
            return failed(run.conversion, run.status, why, run.now)
        return Decision(run.status, action, recheck_seconds=left)
    if pod is not None and pod.sandbox_lost is not None:
        left = SANDBOX_SECONDS - seconds_since(pod.sandbox_lost, run.now)
        return Decision(run.status, action, recheck_seconds=left) if left > 0 else _left_lying(run, pod)
    if pod is not None and pod.started and wait_of_pod(pod, run.now) is None:
        return _running(run, pod, action)
    return _waiting(run, job, pod, action)


def _end_behind_injected(pod: PodView, now: datetime) -> tuple[FailureInfo, float] | None:
    """Return how ``publish`` failed in a pod that an injected container keeps up; and how long that may last.

    Its Job would wait for the pod until its own deadline, and only then try again.
    """
    last = pod.containers[-1] if pod.containers else None
    if pod.phase == "Failed" or last is None or last.name != OUR_CONTAINERS[-1] or not last.exit_code:
        return None
    why = failure_of_pod(pod, now)
    others = ", ".join(c.name for c in pod.injected if c.running)
    if why is None or not others:
        return None
    words = f"{why.message}; it was not tried again, for the pod does not end before {others}"
    return why.changed(message=words), BY_ITSELF_SECONDS - seconds_since(last.finished or now, now)


def _left_lying(run: Run, pod: PodView) -> Decision:
    """Let another Job take the place of one whose pod would stay as it is until the Job's own deadline.

    Its name says how many there were; the one that came before is removed first, as a stray.
    """
    words = f"pod {pod.name} has lost its sandbox, as in a restart of its node, which does not go on with it"
    part = replace(run.part, repeat=run.part.repeat + 1)
    if part.repeat > run.spec.job.backoff_limit:
        why = failure(FailureReason.NODE_LOST, words, run.now).model_copy(update={"pod": pod.name})
        return failed(run.conversion, run.status, why, run.now)
    name = job_name(run.conversion.key, run.name, part)
    update = {"phase": Phase.PENDING, "job_name": name, "job_uid": None, "progress": None}
    words = f"{words}: another Job, {name}, takes its place"
    status = run.status.model_copy(update=update | {"waiting_since": run.now})
    status = with_condition(status, run.conversion, "Unknown", Reason.RETRYING, words, run.now)
    return Decision(status, events=(Event("Warning", Reason.RETRYING, words),), recheck_seconds=0)


def _running(run: Run, pod: PodView, action: PatchJob | None) -> Decision:
    before = run.conversion.status
    was_running = before.phase is Phase.RUNNING and before.waiting_since is None
    known = before.progress if was_running else None
    progress, soon = forward(known, progress_of(pod, run.seen.reported, run.now), run.now)
    status = run.status.model_copy(
        update={"phase": Phase.RUNNING, "progress": progress, "waiting_since": None}
    )
    words = f"{progress.stage} in pod {pod.name}"
    status = with_condition(status, run.conversion, "Unknown", Reason.RUNNING, words, run.now)
    fresh = known is None or known.pod != pod.name
    # The usual course is told by the status; an event that something goes on answers one that it did not.
    shown = summary_condition(before)
    answers = fresh and shown is not None and shown.reason not in _USUAL
    events = (Event("Normal", "Started", f"pod {pod.name} is running"),) if answers else ()
    return Decision(status, action, events, RESYNC_SECONDS if soon is None else max(1.0, soon))


def _waiting(run: Run, job: JobView, pod: PodView | None, action: PatchJob | None) -> Decision:
    """Follow a Job in which nothing runs: it may start, or it has waited too long."""
    if pod is None and will_not_be_retried(run.pods, run.spec.job.backoff_limit):
        # The Job's end is a moment away, and says the rest: to speak of another try would be a lie.
        return Decision(run.status, action, recheck_seconds=RESYNC_SECONDS)
    wait = _cause(run, job, pod, action)
    deadline = run.spec.job.pending_deadline_seconds
    limit = wait.limit(deadline) if wait else float(deadline)
    # Time without a limit, in a queue for instance, does not count; counting begins after it.
    begun = None if limit == math.inf else run.conversion.status.waiting_since or run.now
    since = max(begun or run.now, job.created, *([pod.idle_since] if pod else []))
    waited = seconds_since(since, run.now)
    if waited >= limit:
        return _waited_too_long(run, job, pod, wait, limit)
    reason, words, phase = _words(run, wait)
    status = run.status.model_copy(update={"phase": phase, "progress": None, "waiting_since": begun})
    status = with_condition(status, run.conversion, "Unknown", reason, words, run.now)
    return Decision(status, action, _events(run, reason, words), _look_again(run, job, pod, limit - waited))


def _events(run: Run, reason: FailureReason | Reason, words: str) -> tuple[Event, ...]:
    """Give the event about a cause, once, however its words change; attempts are told one by one."""
    is_attempt = reason is Reason.RETRYING
    if not (is_attempt or isinstance(reason, FailureReason)):
        return ()
    before = _condition_of(run, reason)
    if before is not None and (not is_attempt or before.message == words):
        return ()
    return (Event("Warning", reason, words),)


def _condition_of(run: Run, reason: str) -> Condition | None:
    """Return the condition as it stands, where it already names ``reason`` as what is waited for."""
    before = summary_condition(run.conversion.status)
    if before is not None and before.status == "Unknown" and before.reason == reason:
        return before
    return None


def _cause(run: Run, job: JobView, pod: PodView | None, action: PatchJob | None) -> Wait | None:
    """Return what the Job waits for, when that is more than the usual moment."""
    resumed = action is not None and action.suspend is False
    if job.suspended and not resumed:
        by = f"queue {job.queue}" if job.queue else "a queue, or somebody who has suspended it"
        return Wait(Reason.QUEUED, f"Job {job.name} is held back by {by}", math.inf)
    if pod is not None:
        return wait_of_pod(pod, run.now)
    return wait_for_departure(job, run.pods) or wait_of_creation(
        run.seen.events, run.conversion.status.waiting_since
    )


def _words(run: Run, wait: Wait | None) -> tuple[FailureReason | Reason, str, Phase]:
    """Return reason, message and phase of a conversion in which nothing runs."""
    if wait is not None:
        words = wait.message
        if isinstance(wait.reason, FailureReason):
            words = failure(wait.reason, wait.message, run.now).message
        before = _condition_of(run, wait.reason)
        if wait.is_vague and before is not None:
            words = before.message
        return wait.reason, words, Phase.PENDING
    if failures := failures_of_pods(run.pods, run.now):
        last = failures[-1]
        words = f"attempt {len(failures)} failed with {last.reason}: {last.message}"
        return Reason.RETRYING, words, run.conversion.status.phase or Phase.PENDING
    return Reason.CREATED, run.words_of_waiting, Phase.PENDING


def _look_again(run: Run, job: JobView, pod: PodView | None, left: float) -> float:
    """Seconds until the next look at a conversion that has ``left`` seconds to start."""
    soon = RESYNC_SECONDS
    # Why it has no pod is told by an event, which brings a look by itself.
    if pod is not None and pod.unscheduled_reason and not pod.started:
        soon = min(max(seconds_since(pod.created, run.now), _SOONEST_SECONDS), _LATEST_SECONDS)
    return min(soon, max(1.0, left + 0.5))


def _waited_too_long(
    run: Run, job: JobView, pod: PodView | None, wait: Wait | None, limit: float
) -> Decision:
    reason = FailureReason.PENDING_DEADLINE_EXCEEDED
    if wait is not None:
        words = wait.message
        if isinstance(wait.reason, FailureReason):
            reason = wait.reason
    elif pod is not None:
        words = f"pod {pod.name} is waiting for its node"
    else:
        words = f"no pod was created; see kubectl describe job {job.name}"
    if limit >= run.spec.job.pending_deadline_seconds:
        words = f"no container started within {limit:.0f} s: {words}"
    why = failure(reason, words, run.now, Stage.SCHEDULE)
    return failed(
        run.conversion, run.status, why.model_copy(update={"pod": pod.name if pod else None}), run.now
    )
