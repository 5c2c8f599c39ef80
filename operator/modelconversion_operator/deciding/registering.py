"""The model registry after a conversion and its boards: its Job, and what came of it."""

from __future__ import annotations

from collections.abc import Callable

from modelconversion_api.fields.registration import RegistrationResult
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import ModelConversionStatus, Phase, Reason, Recommended
from modelconversion_operator.deciding.conditions import with_condition
from modelconversion_operator.deciding.decisions import Decision, failed, succeeded
from modelconversion_operator.deciding.failures import failure
from modelconversion_operator.deciding.following import REGISTERING, Run
from modelconversion_operator.deciding.manifest import Part, job_name
from modelconversion_operator.deciding.outcome import results_of_publish, seconds_to_end_by_itself


def with_registry(run: Run, status: ModelConversionStatus, recommended: Recommended) -> Decision:
    """End a run well, or have its files registered first, where that is asked for."""
    if run.spec.registration is None or status.registration is not None:
        return succeeded(run.conversion, status, recommended, run.now)
    job = run.seen.job
    if job is not None and not job.finished and (left := seconds_to_end_by_itself(run.pods, run.now)) > 0:
        return Decision(status, recheck_seconds=left)
    name = job_name(run.conversion.key, run.name, Part(registers=True))
    update = {"job_name": name, "job_uid": None, "progress": None, "waiting_since": run.now}
    status = status.model_copy(update={"phase": Phase.PENDING, **update})
    status = with_condition(status, run.conversion, "Unknown", Reason.CREATED, REGISTERING, run.now)
    return Decision(status, recheck_seconds=0)


def on_registry(run: Run, with_job: Callable[[Run], Decision], foreign: str | None = None) -> Decision:
    """Have the files registered; a run that was to be, and could not be, has failed with its files published.

    ``with_job`` decides about a Job that has not ended, and ``foreign`` says that its name is taken.
    """
    if foreign is not None:
        why = failure(FailureReason.JOB_REJECTED, foreign, run.now)
        return failed(run.conversion, run.status, why, run.now)
    found = next((r.registered for r in results_of_publish(run.pods) if r.registered is not None), None)
    recommended, job = run.status.recommended, run.seen.job
    if found is not None and recommended is not None:
        result = RegistrationResult(**dict(found), time=run.now)
        status = run.status.model_copy(update={"registration": result})
        return succeeded(run.conversion, status, recommended, run.now)
    if any(pod.published for pod in run.pods) or (job is not None and job.complete):
        words = "nobody saw what its Job has registered"
        why = failure(FailureReason.REPORT_LOST, words, run.now, Stage.PUBLISH)
        return failed(run.conversion, run.status, why, run.now)
    return with_job(run)
