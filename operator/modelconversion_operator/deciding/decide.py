"""What to do about one conversion: a pure function of what is known, without any I/O.

The same input gives the same decision, so an operator that is killed at any point and started again ends in
the same state. The order in which a decision is carried out matters and is the same everywhere: a Job is
created, patched, then the status is written, then a Job is deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from pydantic import ValidationError

from modelconversion_api.fields.cache import CacheOutcome
from modelconversion_api.profiles import ProfileConflictError, under_profile
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import reason_of_none_passed
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_api.status import (
    FailureInfo,
    ModelConversionStatus,
    Phase,
    Reason,
)
from modelconversion_operator.deciding import outcome
from modelconversion_operator.deciding.admission import Place, held, released, wants_place
from modelconversion_operator.deciding.boards import on_boards
from modelconversion_operator.deciding.bookkeeping import kept
from modelconversion_operator.deciding.conditions import (
    seconds_since,
    summary_condition,
    with_condition,
)
from modelconversion_operator.deciding.decisions import (
    CreateJob,
    Decision,
    DeleteJob,
    Event,
    PatchJob,
    Rejection,
    failed,
)
from modelconversion_operator.deciding.failures import failure, failure_of_job, problems_of_spec
from modelconversion_operator.deciding.following import READING_AGAIN, WAITING_FOR_POD, Run, follow
from modelconversion_operator.deciding.manifest import Part, job_name
from modelconversion_operator.deciding.outcome import seconds_to_end_by_itself
from modelconversion_operator.deciding.policy import Policy
from modelconversion_operator.deciding.profiles import take_profile_on
from modelconversion_operator.deciding.progress import progress_of
from modelconversion_operator.deciding.registering import on_registry, with_registry
from modelconversion_operator.deciding.repairs import for_its_time_to_live
from modelconversion_operator.deciding.seen import Seen
from modelconversion_operator.deciding.timing import (
    REJECTED_RETRY_SECONDS,
    RESYNC_SECONDS,
    STRAYS_SECONDS,
)
from modelconversion_operator.deciding.views import (
    DEADLINE_EXCEEDED,
    ConversionView,
    JobView,
    spec_digest,
)
from modelconversion_operator.deciding.waiting import wait_of_refusal

_FAILURES: Final = frozenset(map(str, FailureReason))


AskForPlace = Callable[[datetime], Place | None]
"""Ask for a place from a time on: None when there may be a Job now, else the place in the line."""


def without_line(_since: datetime) -> None:
    """Give every conversion its place at once."""


def decide(
    seen: Seen, now: datetime, *, policy: Policy | None = None, ask: AskForPlace = without_line
) -> Decision:
    """Decide what to do about a conversion.

    Args:
        seen: The resource with its Job, pods and events.
        now: The time, in UTC.
        policy: What a conversion may ask for; the strictest when not given.
        ask: Asked only where a Job is wanted that takes one of the limited places.

    Returns:
        What to do. ``status`` equals the present one where nothing is to be written.

    """
    decision = _placed(seen, _decide(seen, now, policy or Policy()), now, ask)
    return replace(decision, status=kept(seen, decision.status, now))


def _placed(seen: Seen, decision: Decision, now: datetime, ask: AskForPlace) -> Decision:
    """Hold a Job back where there is no place for it."""
    conversion = seen.conversion
    # Where Kueue has the say, it holds Jobs back by itself.
    if conversion.queue is not None or not wants_place(conversion.status, decision):
        return released(decision)
    place = ask(decision.status.start_time or now)
    decision = released(decision) if place is None else held(conversion, decision, place, now)
    return replace(decision, wants_place=True)


def _decide(seen: Seen, now: datetime, policy: Policy) -> Decision:
    """Decide as if places were without limit."""
    conversion, status = seen.conversion, seen.conversion.status
    if conversion.deleting:
        return Decision(status)  # owner references remove the Job and its pods
    try:
        # A newer CRD may have fields that this operator does not know, and fill in their defaults: an upgrade
        # brings the CRD first, and must not fail what is under way.
        spec = ModelConversionSpec.model_validate(conversion.spec, extra="ignore")
    except ValidationError as error:
        return _invalid(conversion, error, now)
    name = status.run
    if name is None or _begins_new_run(conversion, spec):
        return _begin(conversion, spec, policy, now)
    status = status.model_copy(update={"observed_generation": conversion.generation})
    if status.phase is not None and status.phase.is_final:
        return _after_the_end(seen, status, spec, now)
    run = Run(seen, spec, status, name, now, policy)
    if spec.profile_ref is not None and status.profile is None:
        return _without_profile(run)
    try:
        return _under_way(replace(run, spec=under_profile(spec, status.profile)))
    except (ProfileConflictError, ValidationError) as error:  # the status was written by somebody else
        return _fail(run, FailureReason.PROFILE_CONFLICT, f"status.profile does not fit: {error}")


def _without_profile(run: Run) -> Decision:
    """Decide about a run that has not taken its profile on: nothing of it is there yet."""
    if run.spec.suspend:
        return _suspended(run, None)
    refused = run.seen.rejection
    return take_profile_on(run) if refused is None or run.seen.profile is None else _refused(run, refused)


def _begins_new_run(conversion: ConversionView, spec: ModelConversionSpec) -> bool:
    status = conversion.status
    if status.phase is None:
        return True
    if not status.phase.is_final:
        return False
    if conversion.asks_for_another_run:
        return True
    changed = conversion.generation != status.observed_generation
    return changed and status.spec_digest != spec_digest(spec)


def _begin(conversion: ConversionView, spec: ModelConversionSpec, policy: Policy, now: datetime) -> Decision:
    """Start a run: its status is written before its Job is made, so that no crash can start it twice."""
    if violation := policy.violation(conversion.key.namespace, spec):
        why = failure(FailureReason.POLICY_VIOLATION, violation, now)
        return failed(conversion, _status_without_job(conversion, now), why, now)
    phase, reason = (Phase.SUSPENDED, Reason.SUSPENDED) if spec.suspend else (Phase.PENDING, Reason.CREATED)
    status = ModelConversionStatus(
        observed_generation=conversion.generation,
        run_generation=conversion.generation,
        run_again=conversion.run_again,
        phase=phase,
        methods=",".join(spec.resolved_methods()) or None,
        spec_digest=spec_digest(spec),
        job_name=job_name(conversion.key, conversion.next_run),
        start_time=now,
        waiting_since=None if spec.suspend else now,
    )
    words = "spec.suspend is true" if spec.suspend else WAITING_FOR_POD
    return Decision(with_condition(status, conversion, "Unknown", reason, words, now), recheck_seconds=0)


def _invalid(conversion: ConversionView, error: ValidationError, now: datetime) -> Decision:
    """End a conversion whose spec this version cannot read; the CRD normally refuses such a spec earlier."""
    is_known = conversion.status.observed_generation == conversion.generation
    if conversion.status.phase is Phase.FAILED and is_known and not conversion.asks_for_another_run:
        return Decision(conversion.status)
    why = failure(FailureReason.INVALID_SPEC, problems_of_spec(error), now)
    return failed(conversion, _status_without_job(conversion, now), why, now)


def _status_without_job(conversion: ConversionView, now: datetime) -> ModelConversionStatus:
    """Return the status of a run that ends where it begins.

    Without a digest, so that any change starts another.
    """
    return ModelConversionStatus(
        observed_generation=conversion.generation,
        run_generation=conversion.generation,
        run_again=conversion.run_again,
        start_time=now,
    )


def _after_the_end(
    seen: Seen, status: ModelConversionStatus, spec: ModelConversionSpec, now: datetime
) -> Decision:
    """Clean up behind a run that ended."""
    job = seen.job
    if job is None or job.deleting or not job.belongs_to(seen.conversion.key):
        return Decision(status)
    if not job.finished:
        # One whose time ran out ends by itself, and keeps its pod's log. So does one whose pod has published,
        # unless a container that was injected goes on, or the pod was lost and is made again.
        left = 0.0 if job.overdue else seconds_to_end_by_itself(seen.pods, now)
        if left > 0:
            return Decision(status, recheck_seconds=left)
        return Decision(status, None if job.overdue else DeleteJob(job.name))
    return Decision(status, for_its_time_to_live(seen, spec))


def _under_way(run: Run) -> Decision:
    job, status = run.seen.job, run.status
    if job is not None and not job.belongs_to(run.conversion.key):
        words = f"a Job named {job.name} exists and belongs to something else"
        run = replace(run, seen=replace(run.seen, job=None))
        if not run.is_converted:
            return _fail(run, FailureReason.JOB_REJECTED, words)
        return _after_publishing(run, words)
    if job is not None and (job.finished or any(p.started for p in run.pods)):
        # Recorded with the next write that is due anyway; until then a lost Job is simply made again.
        run = replace(run, status=status.model_copy(update={"job_uid": job.uid}))
    if run.is_converted:
        return _after_publishing(run)
    if any(pod.published for pod in run.pods) or (job is not None and job.complete):
        # Everything is in the bucket: whatever becomes of the pod and its Job now changes nothing of that.
        return _completed(run)
    return _with_job(run)


def _after_publishing(run: Run, foreign: str | None = None) -> Decision:
    """Decide about a Job of a board, or of the registry; ``foreign`` says that its name is taken."""
    return (on_registry if run.part.registers else on_boards)(run, _with_job, foreign)


def _with_job(run: Run) -> Decision:
    """Decide about a Job that has not published, or has still to be made."""
    job, status = run.seen.job, run.status
    if job is None:
        if status.job_uid is not None:
            return _fail(run, FailureReason.JOB_DELETED, f"Job {status.job_name} is gone")
        if run.spec.suspend:
            return _suspended(run, None)
        return _create(run) if run.seen.rejection is None else _refused(run, run.seen.rejection)
    if job.failed_reason is not None or job.overdue:
        return failed(run.conversion, run.status, _why_the_job_failed(run, job), run.now)
    if job.deleting and status.job_uid is not None:
        return _fail(run, FailureReason.JOB_DELETED, f"Job {job.name} is being deleted")
    if run.spec.suspend:
        is_due = not job.suspended and "suspend" not in run.seen.pinned
        return _suspended(run, PatchJob(job.name, suspend=True) if is_due else None)
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


def _create(run: Run) -> Decision:
    if violation := run.policy.violation(run.conversion.key.namespace, run.spec):
        return _fail(run, FailureReason.POLICY_VIOLATION, violation)
    status = _pending(run)
    if run.seen.strays:
        names = ", ".join(job.name for job in run.seen.strays)
        words = f"an earlier Job, {names}, is being removed first: it would write to the same place"
        status = with_condition(status, run.conversion, "Unknown", Reason.CREATED, words, run.now)
        return Decision(status, recheck_seconds=STRAYS_SECONDS)
    if (shared := _behind_a_rival(run, status)) is not None:
        return shared
    create = CreateJob(run.name, run.spec, run.part)
    before = summary_condition(run.conversion.status)
    # What the Job was refused for stays in the status until it is known whether it still is.
    if before is None or before.reason not in _FAILURES:
        words = run.words_of_waiting
        status = with_condition(status, run.conversion, "Unknown", Reason.CREATED, words, run.now)
    return Decision(status, create, recheck_seconds=RESYNC_SECONDS)


def _behind_a_rival(run: Run, status: ModelConversionStatus) -> Decision | None:
    """Let an earlier conversion with the same output end first; None where there is none, or all may run."""
    key, since = run.conversion.key, run.status.start_time or run.now
    earlier = [rival for rival in run.seen.rivals if rival.is_before(key, since)]
    if not earlier or not run.part.converts or run.policy.shared_output == "allow":
        return None
    words = f"{earlier[0].key.name} writes to {run.spec.output.uri} as well, and began before"
    if run.policy.shared_output == "refuse":
        return _fail(run, FailureReason.OUTPUT_SHARED, words)
    status = status.model_copy(update={"waiting_since": None})  # however long that one takes
    words = failure(FailureReason.OUTPUT_SHARED, words, run.now).message
    status = with_condition(status, run.conversion, "Unknown", FailureReason.OUTPUT_SHARED, words, run.now)
    return Decision(status, recheck_seconds=RESYNC_SECONDS)


def _refused(run: Run, rejection: Rejection) -> Decision:
    """Try again later to create a Job that the API server refused, or give up."""
    wait = wait_of_refusal(rejection.message, rejection.reason)
    reason = wait.reason if isinstance(wait.reason, FailureReason) else rejection.reason
    why = failure(reason, wait.message, run.now, Stage.SCHEDULE)
    status = _pending(run)
    limit = wait.limit(run.spec.job.pending_deadline_seconds)
    if rejection.permanent or seconds_since(status.waiting_since, run.now) >= limit:
        return failed(run.conversion, status, why, run.now)
    status = with_condition(status, run.conversion, "Unknown", reason, why.message, run.now)
    before = summary_condition(run.conversion.status)
    is_known = before is not None and before.reason == reason
    events = () if is_known else (Event("Warning", reason, why.message),)
    return Decision(status, events=events, recheck_seconds=REJECTED_RETRY_SECONDS)


def _pending(run: Run) -> ModelConversionStatus:
    since = run.status.waiting_since or run.now
    return run.status.model_copy(update={"phase": Phase.PENDING, "waiting_since": since})


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


def _without_summary(run: Run) -> Decision:
    """Have the report read from the bucket: the pod was gone before anybody looked, or its message cut."""
    if run.part.reads_report:
        words = outcome.failure_of_publish(run.pods) or "the report was read again, and not seen either"
        return _fail(run, FailureReason.REPORT_LOST, words, Stage.PUBLISH)
    job = run.seen.job
    if job is not None and not job.finished and (left := seconds_to_end_by_itself(run.pods, run.now)) > 0:
        return Decision(run.status, recheck_seconds=left)
    name = job_name(run.conversion.key, run.name, Part(reads_report=True))
    status = _pending(run).model_copy(update={"job_name": name, "job_uid": None, "progress": None})
    status = with_condition(status, run.conversion, "Unknown", Reason.CREATED, READING_AGAIN, run.now)
    return Decision(status, recheck_seconds=0)


def _completed(run: Run) -> Decision:
    summary = outcome.summary_of(run.pods)
    if summary is None:
        return _without_summary(run)
    output_uri = run.spec.output.uri
    recommended = outcome.recommended_of(summary, output_uri)
    status = run.status.model_copy(
        update={
            "source": summary.source,
            "artifacts": outcome.artifacts_of(summary, output_uri),
            "failed_methods": outcome.failed_methods_of(summary),
            "oci": list(summary.oci),
            "recommended": recommended,
            "optimization": summary.optimization,
            "cache_hit": None if summary.cache is None else summary.cache is CacheOutcome.HIT,
            "report_uri": outcome.report_uri(output_uri),
        }
    )
    without = outcome.remarks_of(status)
    if recommended is None:
        missed = [f"{a.made_by}: {a.message or 'missed'}" for a in summary.artifacts]
        words = "; ".join([*missed, without] if without else missed)
        reason = reason_of_none_passed(summary.artifacts)
        stage = Stage.EVALUATE if reason is FailureReason.GATES_NOT_MET else Stage.COMPILE
        why = failure(reason, words, run.now, stage)
        return failed(run.conversion, status, why, run.now)
    if run.spec.benchmark.boards:
        return Decision(
            status.model_copy(update={"phase": Phase.RUNNING, "waiting_since": None}), recheck_seconds=0
        )
    return with_registry(run, status, recommended)
