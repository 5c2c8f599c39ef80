"""What to do about one conversion: a pure function of what is known, without any I/O.

The same input gives the same decision, so an operator that is killed at any point and started again ends in
the same state. The order in which a decision is carried out matters and is the same everywhere: a Job is
created, patched, then the status is written, then a Job is deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from pydantic import ValidationError

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_api.status import (
    SUCCEEDED,
    Condition,
    FailureInfo,
    ModelConversionStatus,
    Phase,
    Reason,
)
from modelconversion_api.text import human_duration, human_size

from . import outcome
from .manifest import job_name, job_ttl
from .views import ConversionView, JobView, PodView, spec_digest

RESYNC_SECONDS: Final = 300.0
"""An unfinished conversion is looked at this often even when no watch speaks."""
REJECTED_RETRY_SECONDS: Final = 15.0
_CREATED_WORDS: Final = "waiting for the Job's pod to start"


@dataclass(frozen=True, slots=True)
class CreateJob:
    """Create the run's Job; that it exists already is a success."""

    run_generation: int
    spec: ModelConversionSpec


@dataclass(frozen=True, slots=True)
class PatchJob:
    """Change what may change of a Job."""

    name: str
    suspend: bool | None = None
    ttl_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Stop and remove a Job that has nothing left to give."""

    name: str


JobAction = CreateJob | PatchJob | DeleteJob


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes event on the conversion."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, in the order of the fields, and when to look again."""

    status: ModelConversionStatus
    job_action: JobAction | None = None
    events: tuple[Event, ...] = ()
    recheck_seconds: float | None = None
    """Seconds after which to decide again even if nothing happens; None: only when something does."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """The API server refused the Job."""

    message: str
    permanent: bool


def decide(
    conversion: ConversionView,
    job: JobView | None,
    pods: Sequence[PodView],
    now: datetime,
    rejection: Rejection | None = None,
) -> Decision:
    """Decide what to do about a conversion.

    Args:
        conversion: The resource.
        job: The Job of the present run; None must mean that there is none, not that none was seen yet.
        pods: The pods of that Job.
        now: The time, in UTC.
        rejection: Why the Job could not be created, when that was just tried.

    Returns:
        What to do. ``status`` equals the present one where nothing is to be written.

    """
    status = conversion.status
    if conversion.deleting:
        return Decision(status)  # owner references remove the Job and its pods
    try:
        spec = ModelConversionSpec.model_validate(conversion.spec)
    except ValidationError as error:
        return _invalid(conversion, error, now)
    if _begins_new_run(conversion, spec):
        return _begin(conversion, spec, now)
    status = status.model_copy(update={"observed_generation": conversion.generation})
    if status.phase is not None and status.phase.is_final:
        return _after_the_end(status, spec, job)
    return _under_way(_Run(conversion, spec, status, job, tuple(pods), now), rejection)


@dataclass(frozen=True, slots=True)
class _Run:
    """Everything that the decisions about a run under way look at."""

    conversion: ConversionView
    spec: ModelConversionSpec
    status: ModelConversionStatus
    job: JobView | None
    pods: tuple[PodView, ...]
    now: datetime


def _begins_new_run(conversion: ConversionView, spec: ModelConversionSpec) -> bool:
    status = conversion.status
    if status.run_generation is None or status.phase is None:
        return True
    changed = conversion.generation != status.observed_generation
    return status.phase.is_final and changed and status.spec_digest != spec_digest(spec)


def _begin(conversion: ConversionView, spec: ModelConversionSpec, now: datetime) -> Decision:
    """Start a run: its status is written before its Job is made, so that no crash can start it twice."""
    phase, reason = (Phase.SUSPENDED, Reason.SUSPENDED) if spec.suspend else (Phase.PENDING, Reason.CREATED)
    status = ModelConversionStatus(
        observed_generation=conversion.generation,
        run_generation=conversion.generation,
        phase=phase,
        methods=",".join(spec.resolved_methods()),
        spec_digest=spec_digest(spec),
        job_name=job_name(conversion.key, conversion.generation),
        start_time=now,
    )
    words = "spec.suspend is true" if spec.suspend else _CREATED_WORDS
    return Decision(_with_condition(status, conversion, "Unknown", reason, words, now), recheck_seconds=0)


def _invalid(conversion: ConversionView, error: ValidationError, now: datetime) -> Decision:
    """End a conversion whose spec this version cannot read; the CRD normally refuses such a spec earlier."""
    if conversion.status.phase is Phase.FAILED and (
        conversion.status.observed_generation == conversion.generation
    ):
        return Decision(conversion.status)
    where = "; ".join(f"spec.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
    status = ModelConversionStatus(
        observed_generation=conversion.generation, run_generation=conversion.generation, start_time=now
    )
    run = outcome.failure(FailureReason.INVALID_SPEC, where, now)
    return _failed(conversion, status, run, now)


def _after_the_end(status: ModelConversionStatus, spec: ModelConversionSpec, job: JobView | None) -> Decision:
    """Clean up behind a run that ended."""
    if job is None or job.deleting:
        return Decision(status)
    if not job.finished:
        return Decision(status, DeleteJob(job.name))
    ttl = job_ttl(spec.job, harvested=True)
    return Decision(status, PatchJob(job.name, ttl_seconds=ttl) if job.ttl_seconds != ttl else None)


def _under_way(run: _Run, rejection: Rejection | None) -> Decision:
    job, status = run.job, run.status
    if job is None:
        if status.job_uid is not None:
            lost = outcome.failure(FailureReason.JOB_DELETED, f"Job {status.job_name} is gone", run.now)
            return _failed(run.conversion, status, lost, run.now)
        if run.spec.suspend:
            return _suspended(run, None)
        return _create(run, rejection)
    if job.owner_uid != run.conversion.key.uid:
        words = f"a Job named {job.name} exists and belongs to something else"
        return _failed(
            run.conversion, status, outcome.failure(FailureReason.JOB_REJECTED, words, run.now), run.now
        )
    if job.finished or any(p.started for p in run.pods):
        # Recorded with the next write that is due anyway; until then a lost Job is simply made again.
        run = replace(run, status=status.model_copy(update={"job_uid": job.uid}))
    if job.complete:
        return _completed(run)
    if job.failed_reason is not None:
        failed = outcome.failure_of_job(job, run.pods, run.now)
        return _failed(run.conversion, run.status, failed, run.now)
    if run.spec.suspend:
        return _suspended(run, None if job.suspended else PatchJob(job.name, suspend=True))
    return _active(run, job)


def _create(run: _Run, rejection: Rejection | None) -> Decision:
    assert run.status.run_generation is not None  # noqa: S101 - _begin wrote it; told to the type checker
    create = CreateJob(run.status.run_generation, run.spec)
    if rejection is None:
        status = run.status.model_copy(update={"phase": Phase.PENDING})
        return Decision(
            _with_condition(status, run.conversion, "Unknown", Reason.CREATED, _CREATED_WORDS, run.now),
            create,
            recheck_seconds=RESYNC_SECONDS,
        )
    waited = _seconds_since(run.status.start_time, run.now)
    failed = outcome.failure(FailureReason.JOB_REJECTED, rejection.message, run.now, Stage.SCHEDULE)
    if rejection.permanent or waited > run.spec.job.pending_deadline_seconds:
        return _failed(run.conversion, run.status, failed, run.now)
    status = _with_condition(
        run.status, run.conversion, "Unknown", FailureReason.JOB_REJECTED, failed.message, run.now
    )
    return Decision(status, recheck_seconds=REJECTED_RETRY_SECONDS)


def _suspended(run: _Run, action: PatchJob | None) -> Decision:
    status = run.status.model_copy(update={"phase": Phase.SUSPENDED, "progress": None})
    status = _with_condition(
        status, run.conversion, "Unknown", Reason.SUSPENDED, "spec.suspend is true", run.now
    )
    fresh = run.conversion.status.phase is not Phase.SUSPENDED
    events = (Event("Normal", Reason.SUSPENDED, "stopped; set spec.suspend to false to start again"),)
    return Decision(status, action, events if fresh else (), RESYNC_SECONDS)


def _active(run: _Run, job: JobView) -> Decision:
    """Follow a Job that has neither ended nor is to be stopped."""
    action = None
    # Only what this operator suspended is resumed by it: a queue such as Kueue has a say of its own.
    if job.suspended and run.conversion.status.phase is Phase.SUSPENDED:
        action = PatchJob(job.name, suspend=False)
    # A pod that has succeeded counts until its Job says so too: nothing is pending again meanwhile.
    pod = outcome.newest([p for p in run.pods if p.phase != "Failed" and not p.deleting])
    was = run.conversion.status.phase
    if pod is not None and pod.started:
        progress = outcome.progress_of(pod)
        status = run.status.model_copy(update={"phase": Phase.RUNNING, "progress": progress})
        stage = progress.stage if progress else Stage.FETCH
        status = _with_condition(
            status, run.conversion, "Unknown", Reason.RUNNING, f"{stage} in pod {pod.name}", run.now
        )
        events = () if was is Phase.RUNNING else (Event("Normal", "Started", f"pod {pod.name} is running"),)
        return Decision(status, action, events, RESYNC_SECONDS)
    return _waiting(run, job, pod, action)


def _waiting(run: _Run, job: JobView, pod: PodView | None, action: PatchJob | None) -> Decision:
    """Follow a Job none of whose pods has started: it may still, or it has waited too long."""
    limit = run.spec.job.pending_deadline_seconds
    ended = [f for p in run.pods if (f := outcome.failure_of_pod(p, run.now)) is not None]
    if ended and run.status.phase is Phase.RUNNING and pod is None:
        last = ended[-1]
        status = _with_condition(
            run.status,
            run.conversion,
            "Unknown",
            Reason.RETRYING,
            f"attempt {len(ended)} failed with {last.reason}: {last.message}",
            run.now,
        )
        event = Event("Warning", Reason.RETRYING, f"{last.reason}: {last.message}")
        return Decision(status, action, (event,) if status != run.status else (), RESYNC_SECONDS)
    since = pod.created if pod else max([job.created, *(p.created for p in run.pods)])
    waited = _seconds_since(since, run.now)
    # A Job that a queue holds back is not pending: its time has not begun.
    if waited >= limit and not job.suspended:
        return _failed(run.conversion, run.status, outcome.pending_failure(job, pod, limit, run.now), run.now)
    if job.suspended and action is None:
        words = "the Job is held back by its queue"
    else:
        words = outcome.noteworthy_wait(pod) or _CREATED_WORDS
    status = run.status.model_copy(update={"phase": Phase.PENDING, "progress": None})
    status = _with_condition(status, run.conversion, "Unknown", Reason.CREATED, words, run.now)
    return Decision(status, action, recheck_seconds=min(RESYNC_SECONDS, max(1.0, limit - waited + 0.5)))


def _completed(run: _Run) -> Decision:
    summary = outcome.summary_of(run.pods)
    if summary is None:
        lost = outcome.failure(
            FailureReason.REPORT_LOST, "the Job completed, but its report cannot be read", run.now
        )
        return _failed(run.conversion, run.status, lost, run.now)
    output_uri = run.spec.output.uri
    recommended = outcome.recommended_of(summary, output_uri)
    status = run.status.model_copy(
        update={
            "source": summary.source,
            "artifacts": outcome.artifacts_of(summary, output_uri),
            "failed_methods": outcome.failed_methods_of(summary),
            "recommended": recommended,
            "report_uri": outcome.report_uri(output_uri),
        }
    )
    without = outcome.words_of_failed_methods(summary)
    if recommended is None:
        missed = [f"{a.method}: {a.message or 'missed'}" for a in summary.artifacts]
        words = "; ".join([*missed, without] if without else missed)
        failed = outcome.failure(FailureReason.GATES_NOT_MET, words, run.now, Stage.EVALUATE)
        return _failed(run.conversion, status, failed, run.now)
    status = _ended(status, Phase.SUCCEEDED, run.now)
    sizes = ", ".join(f"{a.method} {human_size(a.size_bytes)}" for a in summary.artifacts)
    words = f"{sizes}; recommended: {recommended.method}{f'; {without}' if without else ''}"
    status = _with_condition(status, run.conversion, "True", Reason.CONVERTED, words, run.now)
    return Decision(status, events=(Event("Normal", Reason.CONVERTED, words),))


def _failed(
    conversion: ConversionView, status: ModelConversionStatus, failed: FailureInfo, now: datetime
) -> Decision:
    status = _ended(status, Phase.FAILED, now).model_copy(update={"failure": failed})
    status = _with_condition(status, conversion, "False", failed.reason, failed.message, now)
    return Decision(status, events=(Event("Warning", failed.reason, failed.message),), recheck_seconds=0)


def _ended(status: ModelConversionStatus, phase: Phase, now: datetime) -> ModelConversionStatus:
    return status.model_copy(
        update={
            "phase": phase,
            "progress": None,
            "completion_time": now,
            "duration": human_duration(_seconds_since(status.start_time, now)),
        }
    )


def _with_condition(
    status: ModelConversionStatus,
    conversion: ConversionView,
    value: Literal["True", "False", "Unknown"],
    reason: str,
    message: str,
    now: datetime,
) -> ModelConversionStatus:
    """Set the Succeeded condition; its time moves only when its value does."""
    before = next((c for c in conversion.status.conditions if c.type == SUCCEEDED), None)
    same = before is not None and before.status == value
    condition = Condition(
        type=SUCCEEDED,
        status=value,
        reason=str(reason),
        message=message,
        observed_generation=conversion.generation,
        last_transition_time=before.last_transition_time if same and before else now,
    )
    return status.model_copy(update={"conditions": [condition]})


def _seconds_since(start: datetime | None, now: datetime) -> float:
    return 0.0 if start is None else max(0.0, (now - start) / timedelta(seconds=1))
