"""What to do about one conversion: a pure function of what is known, without any I/O.

The same input gives the same decision, so an operator that is killed at any point and started again ends in
the same state. The order in which a decision is carried out matters and is the same everywhere: a Job is
created, patched, then the status is written, then a Job is deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from pydantic import ValidationError

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.report import reason_of_none_passed
from modelconversion_api.request import StageProgress
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_api.status import FailureInfo, ModelConversionStatus, Phase, Reason
from modelconversion_api.text import human_size
from modelconversion_operator.deciding import outcome
from modelconversion_operator.deciding.conditions import (
    ended,
    failed,
    seconds_since,
    summary_condition,
    with_condition,
)
from modelconversion_operator.deciding.decisions import (
    CreateJob,
    Decision,
    DeleteJob,
    Event,
    JobAction,
    PatchJob,
    Rejection,
)
from modelconversion_operator.deciding.failures import failure, failure_of_job
from modelconversion_operator.deciding.following import RESYNC_SECONDS, WAITING_FOR_POD, Run, follow
from modelconversion_operator.deciding.manifest import job_name, job_ttl
from modelconversion_operator.deciding.policy import Policy
from modelconversion_operator.deciding.progress import progress_of
from modelconversion_operator.deciding.views import (
    DEADLINE_EXCEEDED,
    ConversionView,
    EventView,
    JobView,
    PodView,
    spec_digest,
)
from modelconversion_operator.deciding.waiting import wait_of_refusal

__all__ = [
    "RESYNC_SECONDS",
    "CreateJob",
    "Decision",
    "DeleteJob",
    "Event",
    "JobAction",
    "PatchJob",
    "Rejection",
    "decide",
]

REJECTED_RETRY_SECONDS: Final = 15.0
_FAILURES: Final = frozenset(map(str, FailureReason))


def decide(
    conversion: ConversionView,
    job: JobView | None,
    pods: Sequence[PodView],
    now: datetime,
    rejection: Rejection | None = None,
    *,
    events: Sequence[EventView] = (),
    reported: StageProgress | None = None,
    policy: Policy | None = None,
) -> Decision:
    """Decide what to do about a conversion.

    Args:
        conversion: The resource.
        job: The Job of the present run; None must mean that there is none, not that none was seen yet.
        pods: The pods of that Job.
        now: The time, in UTC.
        rejection: Why the Job could not be created, when that was just tried.
        events: The Job controller's events about a Job that has no pod, where they were asked for.
        reported: What the container that converts says of its progress.
        policy: What a conversion may ask for; the strictest when not given.

    Returns:
        What to do. ``status`` equals the present one where nothing is to be written.

    """
    status, policy = conversion.status, policy or Policy()
    if conversion.deleting:
        return Decision(status)  # owner references remove the Job and its pods
    try:
        # A newer CRD may have fields that this operator does not know, and fill in their defaults: an upgrade
        # brings the CRD first, and must not fail what is under way.
        spec = ModelConversionSpec.model_validate(conversion.spec, extra="ignore")
    except ValidationError as error:
        return _invalid(conversion, error, now)
    if _begins_new_run(conversion, spec):
        return _begin(conversion, spec, policy, now)
    status = status.model_copy(update={"observed_generation": conversion.generation})
    if status.phase is not None and status.phase.is_final:
        return _after_the_end(conversion, status, spec, job)
    run = Run(conversion, spec, status, job, tuple(pods), now, tuple(events), reported, policy)
    return _under_way(run, rejection)


def _begins_new_run(conversion: ConversionView, spec: ModelConversionSpec) -> bool:
    status = conversion.status
    if status.run_generation is None or status.phase is None:
        return True
    changed = conversion.generation != status.observed_generation
    return status.phase.is_final and changed and status.spec_digest != spec_digest(spec)


def _begin(conversion: ConversionView, spec: ModelConversionSpec, policy: Policy, now: datetime) -> Decision:
    """Start a run: its status is written before its Job is made, so that no crash can start it twice."""
    if violation := policy.violation(conversion.key.namespace, spec.job):
        why = failure(FailureReason.POLICY_VIOLATION, violation, now)
        return failed(conversion, _status_without_job(conversion, now), why, now)
    phase, reason = (Phase.SUSPENDED, Reason.SUSPENDED) if spec.suspend else (Phase.PENDING, Reason.CREATED)
    status = ModelConversionStatus(
        observed_generation=conversion.generation,
        run_generation=conversion.generation,
        phase=phase,
        methods=",".join(spec.resolved_methods()),
        spec_digest=spec_digest(spec),
        job_name=job_name(conversion.key, conversion.generation),
        start_time=now,
        waiting_since=None if spec.suspend else now,
    )
    words = "spec.suspend is true" if spec.suspend else WAITING_FOR_POD
    return Decision(with_condition(status, conversion, "Unknown", reason, words, now), recheck_seconds=0)


def _invalid(conversion: ConversionView, error: ValidationError, now: datetime) -> Decision:
    """End a conversion whose spec this version cannot read; the CRD normally refuses such a spec earlier."""
    if conversion.status.phase is Phase.FAILED and (
        conversion.status.observed_generation == conversion.generation
    ):
        return Decision(conversion.status)
    # What was given stays out of the message: somebody may have pasted a secret where it does not belong.
    problems = error.errors(include_input=False, include_url=False, include_context=False)[:3]
    where = "; ".join(f"spec.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in problems)
    why = failure(FailureReason.INVALID_SPEC, where, now)
    return failed(conversion, _status_without_job(conversion, now), why, now)


def _status_without_job(conversion: ConversionView, now: datetime) -> ModelConversionStatus:
    """The status of a run that ends where it begins; without a digest, so that any change starts another."""
    return ModelConversionStatus(
        observed_generation=conversion.generation, run_generation=conversion.generation, start_time=now
    )


def _after_the_end(
    conversion: ConversionView, status: ModelConversionStatus, spec: ModelConversionSpec, job: JobView | None
) -> Decision:
    """Clean up behind a run that ended."""
    if job is None or job.deleting or job.owner_uid != conversion.key.uid:
        return Decision(status)
    if not job.finished:
        # One whose time ran out ends by itself, and keeps its pod's log.
        return Decision(status, None if job.overdue else DeleteJob(job.name))
    ttl = job_ttl(spec.job, harvested=True)
    return Decision(status, PatchJob(job.name, ttl_seconds=ttl) if job.ttl_seconds != ttl else None)


def _under_way(run: Run, rejection: Rejection | None) -> Decision:
    job, status = run.job, run.status
    if job is None:
        if status.job_uid is not None:
            return _fail(run, FailureReason.JOB_DELETED, f"Job {status.job_name} is gone")
        if run.spec.suspend:
            return _suspended(run, None)
        return _create(run, rejection)
    if job.owner_uid != run.conversion.key.uid:
        words = f"a Job named {job.name} exists and belongs to something else"
        return _fail(run, FailureReason.JOB_REJECTED, words)
    if job.finished or any(p.started for p in run.pods):
        # Recorded with the next write that is due anyway; until then a lost Job is simply made again.
        run = replace(run, status=status.model_copy(update={"job_uid": job.uid}))
    if job.complete:
        return _completed(run)
    if job.failed_reason is not None or job.overdue:
        return failed(run.conversion, run.status, _why_the_job_failed(run, job), run.now)
    if job.deleting and status.job_uid is not None:
        return _fail(run, FailureReason.JOB_DELETED, f"Job {job.name} is being deleted")
    if run.spec.suspend:
        return _suspended(run, None if job.suspended else PatchJob(job.name, suspend=True))
    return follow(run, job)


def _fail(run: Run, reason: FailureReason, words: str, stage: Stage | None = None) -> Decision:
    return failed(run.conversion, run.status, failure(reason, words, run.now, stage), run.now)


def _why_the_job_failed(run: Run, job: JobView) -> FailureInfo:
    """Why a Job failed; one whose time ran out before anything ran failed for what it waited for."""
    before, shown = run.conversion.status, summary_condition(run.conversion.status)
    in_time = not job.overdue and job.failed_reason != DEADLINE_EXCEEDED
    waited = not in_time and before.phase is Phase.PENDING
    if waited and shown is not None and shown.reason in _FAILURES:
        words = f"the Job's time was over before anything ran: {shown.message}"
        return failure(FailureReason(shown.reason), words, run.now, Stage.SCHEDULE)
    pod = outcome.newest([p for p in run.pods if p.started])
    seen = before.progress or (progress_of(pod, None, run.now) if pod else None)
    return failure_of_job(job, run.pods, seen.stage if seen else None, run.now)


def _create(run: Run, rejection: Rejection | None) -> Decision:
    assert run.status.run_generation is not None  # noqa: S101 - _begin wrote it; told to the type checker
    if violation := run.policy.violation(run.conversion.key.namespace, run.spec.job):
        return _fail(run, FailureReason.POLICY_VIOLATION, violation)
    begun = run.status.waiting_since or run.now
    status = run.status.model_copy(update={"phase": Phase.PENDING, "waiting_since": begun})
    if rejection is None:
        create = CreateJob(run.status.run_generation, run.spec)
        before = summary_condition(run.conversion.status)
        if before is not None and before.reason in _FAILURES:
            # It is tried again: what it was refused for stays until it is known whether it still is.
            return Decision(status, create, recheck_seconds=RESYNC_SECONDS)
        status = with_condition(status, run.conversion, "Unknown", Reason.CREATED, WAITING_FOR_POD, run.now)
        return Decision(status, create, recheck_seconds=RESYNC_SECONDS)
    wait = wait_of_refusal(rejection.message, FailureReason.JOB_REJECTED)
    assert isinstance(wait.reason, FailureReason)  # noqa: S101 - every refusal has one; told to the type checker
    why = failure(wait.reason, wait.message, run.now, Stage.SCHEDULE)
    limit = wait.limit(run.spec.job.pending_deadline_seconds)
    if rejection.permanent or seconds_since(begun, run.now) >= limit:
        return failed(run.conversion, status, why, run.now)
    status = with_condition(status, run.conversion, "Unknown", wait.reason, why.message, run.now)
    before = summary_condition(run.conversion.status)
    told = before is not None and before.reason == wait.reason
    events = () if told else (Event("Warning", wait.reason, why.message),)
    return Decision(status, events=events, recheck_seconds=REJECTED_RETRY_SECONDS)


def _suspended(run: Run, action: PatchJob | None) -> Decision:
    update = {"phase": Phase.SUSPENDED, "progress": None, "waiting_since": None}
    status = with_condition(
        run.status.model_copy(update=update),
        run.conversion,
        "Unknown",
        Reason.SUSPENDED,
        "spec.suspend is true",
        run.now,
    )
    fresh = run.conversion.status.phase is not Phase.SUSPENDED
    events = (Event("Normal", Reason.SUSPENDED, "stopped; set spec.suspend to false to start again"),)
    return Decision(status, action, events if fresh else (), RESYNC_SECONDS)


def _completed(run: Run) -> Decision:
    summary = outcome.summary_of(run.pods)
    if summary is None:
        lost = "its report cannot be read" if run.pods else "its pod was gone before the report was read"
        return _fail(run, FailureReason.REPORT_LOST, f"the Job completed, but {lost}")
    output_uri = run.spec.output.uri
    recommended = outcome.recommended_of(summary, output_uri)
    status = run.status.model_copy(
        update={
            "source": summary.source,
            "artifacts": outcome.artifacts_of(summary, output_uri),
            "failed_methods": outcome.failed_methods_of(summary),
            "recommended": recommended,
            "optimization": summary.optimization,
            "report_uri": outcome.report_uri(output_uri),
        }
    )
    told = (
        outcome.words_of_failed_methods(summary),
        outcome.words_of_optimization(summary),
        outcome.words_of_compilers(summary),
    )
    without = "; ".join(filter(None, told)) or None
    if recommended is None:
        missed = [f"{a.method}: {a.message or 'missed'}" for a in summary.artifacts]
        words = "; ".join([*missed, without] if without else missed)
        reason = reason_of_none_passed(summary.artifacts)
        stage = Stage.EVALUATE if reason is FailureReason.GATES_NOT_MET else Stage.COMPILE
        why = failure(reason, words, run.now, stage)
        return failed(run.conversion, status, why, run.now)
    status = ended(status, Phase.SUCCEEDED, run.now)
    sizes = ", ".join(f"{a.method} {human_size(a.size_bytes)}" for a in summary.artifacts)
    words = f"{sizes}; recommended: {recommended.method}{f'; {without}' if without else ''}"
    status = with_condition(status, run.conversion, "True", Reason.CONVERTED, words, run.now)
    return Decision(status)  # which says it all: an event would be a write that tells nothing more
