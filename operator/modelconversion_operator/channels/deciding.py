"""What to do about a channel: a pure function of what is known, without any I/O.

The number of a pointer never falls, and the Job that writes it takes a greater one than it finds there: what
is done twice, by an operator that was killed in between, moves the pointer once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from modelconversion_api.channels import (
    MOST_CANDIDATES,
    MOST_RELEASES,
    POINTER_FILE_NAME,
    Candidate,
    ModelChannelSpec,
    ModelChannelStatus,
    Moved,
    MoveRequest,
    Promotion,
    Release,
)
from modelconversion_api.reasons import FailureReason
from modelconversion_api.status import Condition
from modelconversion_operator.channels.finding import Found
from modelconversion_operator.channels.views import (
    CANDIDATE_WAITING,
    NO_CANDIDATE,
    SUSPENDED,
    ChannelView,
)
from modelconversion_operator.deciding.conditions import Value, ready_condition, ready_conditions
from modelconversion_operator.deciding.decisions import Event
from modelconversion_operator.deciding.timing import pause_after
from modelconversion_operator.small_jobs import LOOKED_AFTER_SECONDS, JobSeen

_BLOCKED_SECONDS: Final = 20.0
_RELEASED, _MOVING, _UNKNOWN, _INVALID = "Released", "Moving", "UnknownRelease", "InvalidSpec"
_FOUND: Final = "CandidateFound"


@dataclass(frozen=True, slots=True)
class ChannelSeen:
    """What is known of a channel."""

    view: ChannelView
    spec: ModelChannelSpec
    found: Found
    move: JobSeen[Moved] | None = None


@dataclass(frozen=True, slots=True)
class ChannelDecision:
    """What to do, in this order: write the status, make the Job that moves, tell."""

    status: ModelChannelStatus
    move: MoveRequest | None = None
    """What the Job that the status names is to be told, where it is to be made."""
    events: Sequence[Event] = ()
    recheck_seconds: float | None = None


def decide_channel(seen: ChannelSeen, now: datetime) -> ChannelDecision:
    """Decide what to do about a channel.

    Returns:
        What to do. ``status`` equals the present one where nothing is to be written.

    """
    view, spec = seen.view, seen.spec
    if view.deleting:
        return ChannelDecision(view.status)  # the pointer stays: devices follow it
    status = view.status.model_copy(update={"observed_generation": view.generation})
    status, events, failed = _taken(seen, status, now)
    if spec.suspend:
        return ChannelDecision(
            _with(status, view, "False", SUSPENDED, "spec.suspend is true", now), events=events
        )
    status, news = _with_candidate(seen, status)
    events = (*events, *news)
    wanted = _wanted(spec, status)
    if status.move_job is not None:
        if seen.move is not None:  # one at a time: what is wanted by then is moved to next
            status = _with(status, view, "Unknown", _MOVING, "the pointer is being moved", now)
            return ChannelDecision(status, None, events, LOOKED_AFTER_SECONDS)
        # Its Job was never made, or somebody has deleted it: what it has written, the next one finds.
        status = status.model_copy(update={"move_job": None})
    if wanted is None:
        return ChannelDecision(_without_release(seen, status, now), events=events)
    if _is_there(spec, status, wanted):
        return ChannelDecision(_resting(seen, status, wanted, now), events=events)
    if failed is not None or _must_wait(view, status, now):
        condition = failed or ready_condition(view.status.conditions)
        if condition is not None:
            status = _with(status, view, "False", condition.reason, condition.message, now)
        return ChannelDecision(status, events=events, recheck_seconds=_seconds_to_retry(status, now))
    status = status.model_copy(update={"move_job": _job_name(view, spec, status, wanted), "retry_time": None})
    if status.move_job != view.status.move_job:  # else its Job was refused, which is true until it is made
        status = _with(status, view, "Unknown", _MOVING, "the pointer is being moved", now)
    return ChannelDecision(status, _request(view, wanted, status), events, LOOKED_AFTER_SECONDS)


def refused(seen: ChannelSeen, decision: ChannelDecision, words: str, now: datetime) -> ChannelDecision:
    """Return what is left of a decision whose Job the API server does not take; it is asked again."""
    reason = FailureReason.JOB_REJECTED
    before = ready_condition(seen.view.status.conditions)
    known = before is not None and (before.reason, before.message) == (reason, words)
    status = _with(decision.status, seen.view, "False", reason, words, now)
    events = () if known else (Event("Warning", reason, words),)
    return ChannelDecision(status, events=events, recheck_seconds=_BLOCKED_SECONDS)


def blocked(
    seen: ChannelSeen, decision: ChannelDecision, reason: str, words: str, now: datetime
) -> ChannelDecision:
    """Return a decision whose move is not made now, and why."""
    before = ready_condition(seen.view.status.conditions)
    known = before is not None and before.reason == reason
    event = () if known else (Event("Warning", reason, words),)
    status = decision.status.model_copy(update={"move_job": None})
    status = _with(status, seen.view, "False", reason, words, now)
    return ChannelDecision(status, events=(*decision.events, *event), recheck_seconds=_BLOCKED_SECONDS)


def invalid(view: ChannelView, words: str, now: datetime) -> ChannelDecision:
    """End the work on a channel whose spec this version cannot read; the CRD normally refuses it earlier."""
    status = view.status.model_copy(update={"observed_generation": view.generation})
    return ChannelDecision(_with(status, view, "False", _INVALID, words, now, stalled=True))


def _taken(
    seen: ChannelSeen, status: ModelChannelStatus, now: datetime
) -> tuple[ModelChannelStatus, tuple[Event, ...], Condition | None]:
    """Take what a move has done, once it has ended; gives the condition of one that failed."""
    move, view = seen.move, seen.view
    if move is None or not move.job.finished:
        return status, (), None
    status = status.model_copy(update={"move_job": None})
    if move.found is None:
        count = (status.failed_moves or 0) + 1
        # Whatever the reason: a Secret or a file that was mended changes nothing of the spec.
        status = status.model_copy(update={"failed_moves": count, "retry_time": now + pause_after(count)})
        status = _with(status, view, "False", move.reason, move.words, now)
        events = (Event("Warning", move.reason, move.words),) if count == 1 else ()
        return status, events, ready_condition(status.conditions)
    named = _known(status, move.found.sha256)
    status = status.model_copy(update={"failed_moves": None, "retry_time": None})
    if named is None:  # nobody but a stranger's Job says so
        return status, (), None
    choice = seen.spec.release
    is_chosen = choice is not None and choice.sha256 == named.sha256
    of_release = {
        "sequence": move.found.sequence,
        "released": now,
        "approved_by": choice.approved_by if choice is not None and is_chosen else None,
        "baseline_sha256": move.found.baseline_sha256,
    }
    release = Release.model_validate(dict(named) | of_release)  # also where it was released before
    others = [each for each in status.releases if each.sha256 != release.sha256]
    status = status.model_copy(
        update={
            "releases": [release, *others][:MOST_RELEASES],
            "sequence": max(status.sequence, release.sequence),
            "pointer_uri": _pointer_uri(seen.spec),
            "signed_with": _key_of(seen.spec),
        }
    )
    words = f"the pointer names {_named(release)} (number {release.sequence})"
    return status, (Event("Normal", _RELEASED, words),), None


def _with_candidate(
    seen: ChannelSeen, status: ModelChannelStatus
) -> tuple[ModelChannelStatus, tuple[Event, ...]]:
    """Take a new candidate; the same file, made by another run, is no news."""
    found = seen.found.candidate
    if found is None:
        return status, ()
    newest = status.candidates[0] if status.candidates else None
    is_known = newest is not None and newest.sha256 == found.sha256
    if newest is not None and is_known:
        found = found.model_copy(update={"time": newest.time})
    others = [each for each in status.candidates if each.sha256 != found.sha256]
    event = Event("Normal", _FOUND, f"{_named(found)} may be released")
    status = status.model_copy(update={"candidates": [found, *others][:MOST_CANDIDATES]})
    return status, () if is_known else (event,)


def _wanted(spec: ModelChannelSpec, status: ModelChannelStatus) -> Candidate | None:
    """Return what the pointer is to name."""
    if spec.release is not None:
        return _known(status, spec.release.sha256)
    if spec.promotion is Promotion.AUTOMATIC and status.candidates:
        return status.candidates[0]
    return status.releases[0] if status.releases else None


def _known(status: ModelChannelStatus, sha256: str) -> Candidate | None:
    # A release first: it knows its baseline, and its file lies beside the pointer already.
    known = (*status.releases, *status.candidates)
    return next((each for each in known if each.sha256 == sha256), None)


def _is_there(spec: ModelChannelSpec, status: ModelChannelStatus, wanted: Candidate) -> bool:
    """Whether the pointer names it already, at the place and with the key that the spec says."""
    return (
        bool(status.releases)
        and status.releases[0].sha256 == wanted.sha256
        and status.pointer_uri == _pointer_uri(spec)
        and status.signed_with == _key_of(spec)
    )


def _resting(
    seen: ChannelSeen, status: ModelChannelStatus, named: Candidate, now: datetime
) -> ModelChannelStatus:
    newest = status.candidates[0] if status.candidates else named
    status = status.model_copy(update={"failed_moves": None, "retry_time": None})
    if newest.sha256 != named.sha256 and newest.time > status.releases[0].released:
        words = f"the pointer names {_named(named)}; {_named(newest)} waits for spec.release.sha256"
        return _with(status, seen.view, "True", CANDIDATE_WAITING, words, now)
    return _with(status, seen.view, "True", _RELEASED, f"the pointer names {_named(named)}", now)


def _without_release(seen: ChannelSeen, status: ModelChannelStatus, now: datetime) -> ModelChannelStatus:
    """Say why the pointer names nothing, or not what it was told to."""
    choice = seen.spec.release
    if choice is not None:
        words = f"{choice.sha256[:12]} is none of status.candidates and status.releases"
        return _with(status, seen.view, "False", _UNKNOWN, words, now)
    if status.candidates:
        words = f"nothing is released; {_named(status.candidates[0])} waits for spec.release.sha256"
        return _with(status, seen.view, "False", CANDIDATE_WAITING, words, now)
    return _with(
        status, seen.view, "False", NO_CANDIDATE, seen.found.words or "there is no candidate yet", now
    )


def _must_wait(view: ChannelView, status: ModelChannelStatus, now: datetime) -> bool:
    """Whether a move has failed, and is not to be tried again yet: a changed spec always is."""
    if view.status.observed_generation != view.generation:
        return False
    return status.retry_time is not None and now < status.retry_time


def _seconds_to_retry(status: ModelChannelStatus, now: datetime) -> float | None:
    return None if status.retry_time is None else max(0.0, (status.retry_time - now).total_seconds())


def _request(view: ChannelView, candidate: Candidate, status: ModelChannelStatus) -> MoveRequest:
    return MoveRequest(
        channel=f"{view.key.namespace}/{view.key.name}",
        sequence=status.sequence,
        candidate=candidate,
        baseline_sha256=candidate.baseline_sha256 if isinstance(candidate, Release) else None,
    )


def _job_name(
    view: ChannelView, spec: ModelChannelSpec, status: ModelChannelStatus, wanted: Candidate
) -> str:
    """Name a move: another file, place, key, number or try is another move."""
    tries = status.failed_moves or 0
    parts = (view.key.uid, wanted.sha256, _pointer_uri(spec), _key_of(spec), status.sequence, tries)
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:10]
    return f"{view.key.name}-move-{digest}"


def _pointer_uri(spec: ModelChannelSpec) -> str:
    return f"{spec.output.uri.rstrip('/')}/{POINTER_FILE_NAME}"


def _key_of(spec: ModelChannelSpec) -> str:
    return f"{spec.signing.secret_ref.name}/{spec.signing.secret_ref.key}"


def _named(file: Candidate) -> str:
    return f"{file.name} of {file.conversion} ({file.sha256[:12]})"


def _with(
    status: ModelChannelStatus,
    view: ChannelView,
    value: Value,
    reason: str,
    words: str,
    now: datetime,
    *,
    stalled: bool = False,
) -> ModelChannelStatus:
    generation, before = view.generation, view.status.conditions
    conditions = ready_conditions(before, generation, value, reason, words, now, stalled=stalled)
    return status.model_copy(update={"conditions": conditions})
