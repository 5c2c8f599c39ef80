"""A conversion that names a profile: its run takes the profile on as it is, and keeps to that."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from modelconversion_api.profiles import (
    ProfileConflictError,
    ResolvedProfile,
    readable_profile,
    under_profile,
)
from modelconversion_api.reasons import FailureReason
from modelconversion_api.spec import ProfileRef
from modelconversion_api.status import FailureInfo, ModelConversionStatus, Reason
from modelconversion_operator.deciding.conditions import seconds_since, summary_condition, with_condition
from modelconversion_operator.deciding.decisions import Decision, Event, failed
from modelconversion_operator.deciding.failures import failure
from modelconversion_operator.deciding.following import Run
from modelconversion_operator.deciding.timing import REJECTED_RETRY_SECONDS
from modelconversion_operator.deciding.views import ConversionView


def profile_wanted(conversion: ConversionView) -> ProfileRef | None:
    """Return the profile that a run has still to take on; None where it needs none, or has one."""
    status = conversion.status
    is_under_way = status.phase is not None and not status.phase.is_final
    given = conversion.spec.get("profileRef")
    if not is_under_way or status.profile is not None or not isinstance(given, Mapping):
        return None
    try:
        return ProfileRef.model_validate(given, extra="ignore")
    except ValidationError:
        return None  # the whole spec is refused for it


def take_profile_on(run: Run) -> Decision:
    """Write down the profile that a run follows, wait for it, or end the run.

    Nothing of a run begins before the API server was asked whether it would take what both make together as a
    conversion: the rules that need both could not be held against the conversion alone.
    """
    profile, ref = run.seen.profile, run.spec.profile_ref
    if profile is None or ref is None:
        return _wait(run, ref)
    if problem := readable_profile(profile):
        return _end(run, FailureReason.PROFILE_CONFLICT, f"{named(profile)} cannot be read: {problem}")
    try:
        spec = under_profile(run.spec, profile)
    except ProfileConflictError as error:
        return _end(run, FailureReason.PROFILE_CONFLICT, f"{error} ({named(profile)})")
    if violation := run.policy.violation(run.conversion.key.namespace, spec):
        return _end(run, FailureReason.POLICY_VIOLATION, f"with {named(profile)}: {violation}")
    methods = ",".join(spec.resolved_methods())
    status = run.status.model_copy(update={"profile": profile, "methods": methods})
    status = with_condition(status, run.conversion, "Unknown", Reason.CREATED, run.words_of_waiting, run.now)
    return Decision(status, to_check=spec, recheck_seconds=0)


def named(profile: ResolvedProfile) -> str:
    """Return what messages call a profile."""
    return f"{profile.kind} {profile.name}"


def _wait(run: Run, ref: ProfileRef | None) -> Decision:
    words = f"there is no {ref.kind} {ref.name}" if ref else "the profile is gone"
    if run.seen.rejection is not None:
        words = run.seen.rejection.message
    why = failure(FailureReason.PROFILE_NOT_FOUND, words, run.now)
    status = run.status.model_copy(update={"waiting_since": run.status.waiting_since or run.now})
    if seconds_since(status.waiting_since, run.now) >= run.spec.job.pending_deadline_seconds:
        return failed(run.conversion, status, why, run.now)
    return _told(run, status, why)


def _told(run: Run, status: ModelConversionStatus, why: FailureInfo) -> Decision:
    before = summary_condition(run.conversion.status)
    is_known = before is not None and before.reason == why.reason
    status = with_condition(status, run.conversion, "Unknown", why.reason, why.message, run.now)
    events = () if is_known else (Event("Warning", why.reason, why.message),)
    return Decision(status, events=events, recheck_seconds=REJECTED_RETRY_SECONDS)


def _end(run: Run, reason: FailureReason, words: str) -> Decision:
    return failed(run.conversion, run.status, failure(reason, words, run.now), run.now)
