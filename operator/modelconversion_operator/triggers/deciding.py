"""What to do about a trigger: a pure function of what is known, without any I/O.

A look is a Job whose name comes from the time that it was due at, and what is made of a version has a name
that comes from the version: whatever is done twice, by an operator that was killed in between, is done once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from modelconversion_api.base import KIND
from modelconversion_api.reasons import FailureReason, retry_can_help
from modelconversion_api.reports.conversion import Look
from modelconversion_api.sets import SET_KIND
from modelconversion_api.status import Phase
from modelconversion_api.triggers import (
    VERSION_PLACE,
    ConcurrencyPolicy,
    ModelConversionTriggerSpec,
    ModelConversionTriggerStatus,
    SourceVersion,
    Template,
    made_name,
)
from modelconversion_operator.deciding.conditions import Value, ready_condition, ready_conditions
from modelconversion_operator.deciding.decisions import Event
from modelconversion_operator.deciding.timing import pause_after
from modelconversion_operator.small_jobs import LOOKED_AFTER_SECONDS, JobSeen
from modelconversion_operator.triggers.times import due, next_time, schedule_problem
from modelconversion_operator.triggers.views import SUSPENDED, MadeView, TriggerView

_BLOCKED_SECONDS: Final = 20.0
"""How often a look that may not be made is asked for again."""
_FIRST_LOOK, _LOOKED, _LOOK_FAILED = "FirstLook", "Looked", "LookFailed"
_INVALID, _REJECTED = "InvalidSpec", "Rejected"
_MISSED, _MADE, _REPLACED = "LooksMissed", "VersionFound", "VersionReplaced"
_MOST_ACTIVE: Final = 64


@dataclass(frozen=True, slots=True)
class TriggerSeen:
    """What is known of a trigger."""

    view: TriggerView
    spec: ModelConversionTriggerSpec
    made: Mapping[str, MadeView] = field(default_factory=dict)
    look: JobSeen[Look] | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A conversion, or set, to make."""

    kind: str
    name: str
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TriggerDecision:
    """What to do, in this order: delete, make, write the status, make the Job that looks, tell."""

    status: ModelConversionTriggerStatus
    delete: Sequence[MadeView] = ()
    make: Made | None = None
    looks: bool = False
    """Whether the Job that the status names as the look is to be made."""
    events: Sequence[Event] = ()
    recheck_seconds: float | None = None


def decide_trigger(seen: TriggerSeen, now: datetime) -> TriggerDecision:
    """Decide what to do about a trigger.

    Returns:
        What to do. ``status`` equals the present one where nothing is to be written.

    """
    view, spec = seen.view, seen.spec
    if view.deleting:
        return TriggerDecision(view.status)  # owner references remove the rest
    status = view.status.model_copy(update={"observed_generation": view.generation, **_counts(seen)})
    if problem := schedule_problem(spec.schedule):
        return TriggerDecision(_with(status, seen.view, "False", _INVALID, problem, now, stalled=True))
    status, events = _taken(seen, status, now)
    if spec.suspend:
        status = status.model_copy(update={"next_look_time": None})
        words = "spec.suspend is true"
        return TriggerDecision(_with(status, seen.view, "False", SUSPENDED, words, now), events=events)
    status, missed = _begun(seen, status, now)
    looks = status.look_job is not None and (seen.look is None or seen.look.job.name != status.look_job)
    status, delete, make = _for_version(seen, status)
    if make is not None and status.version is not None:
        events += (Event("Normal", _MADE, f"{make.kind} {make.name} for version {status.version.short}"),)
    if delete:
        words = ", ".join(made.key.name for made in delete)
        events += (Event("Normal", _REPLACED, f"deleted {words}, for there is a newer version"),)
    if not status.conditions:
        status = _with(status, seen.view, "Unknown", _FIRST_LOOK, "the source is being looked at", now)
    return TriggerDecision(
        status, [*delete, *_old(seen)], make, looks, (*missed, *events), _recheck(status, now)
    )


def refused(seen: TriggerSeen, decision: TriggerDecision, words: str, now: datetime) -> TriggerDecision:
    """Return what is left of a decision where the API server does not want what it would make."""
    before = seen.view.status
    status = decision.status.model_copy(update={"converted": before.converted})
    status = _with(status, seen.view, "False", _REJECTED, words, now)
    event = Event("Warning", _REJECTED, words)
    known = any(c.reason == _REJECTED and c.message == words for c in before.conditions)
    return TriggerDecision(status, looks=decision.looks, events=() if known else (event,))


def blocked(
    seen: TriggerSeen, decision: TriggerDecision, reason: str, words: str, now: datetime
) -> TriggerDecision:
    """Return a decision whose look is not made now, and why."""
    before = ready_condition(seen.view.status.conditions)
    known = before is not None and before.reason == reason
    event = () if known else (Event("Warning", reason, words),)
    status = _with(decision.status, seen.view, "False", reason, words, now)
    return TriggerDecision(status, events=(*decision.events, *event), recheck_seconds=_BLOCKED_SECONDS)


def invalid(view: TriggerView, words: str, now: datetime) -> TriggerDecision:
    """End the work on a trigger whose spec this version cannot read; the CRD normally refuses it earlier."""
    status = view.status.model_copy(update={"observed_generation": view.generation})
    return TriggerDecision(_with(status, view, "False", _INVALID, words, now, stalled=True))


def _counts(seen: TriggerSeen) -> dict[str, Any]:
    made = seen.made.values()
    return {
        "active": sorted(m.key.name for m in made if not m.is_over)[:_MOST_ACTIVE] or None,
        "succeeded": sum(m.phase is Phase.SUCCEEDED for m in made),
        "failed": sum(m.phase is Phase.FAILED for m in made),
    }


def _taken(
    seen: TriggerSeen, status: ModelConversionTriggerStatus, now: datetime
) -> tuple[ModelConversionTriggerStatus, tuple[Event, ...]]:
    """Take what a look has found, once it has ended."""
    look = seen.look
    if look is None or not look.job.finished:
        return status, ()
    status = status.model_copy(update={"look_job": None})
    uri = seen.spec.template.source.uri
    if look.found is None:
        before = ready_condition(status.conditions)
        is_news = before is None or before.reason != look.reason
        events = (Event("Warning", look.reason, look.words),) if is_news else ()
        count = (status.failed_looks or 0) + 1
        again = now + pause_after(count) if retry_can_help(FailureReason(look.reason)) else None
        status = status.model_copy(update={"failed_looks": count, "retry_look_time": again})
        return _with(status, seen.view, "False", look.reason, look.words, now), events
    version = status.version
    if look.found.sha256 is not None and look.found.size_bytes is not None:
        is_same = version is not None and version.sha256 == look.found.sha256
        version = SourceVersion(
            sha256=look.found.sha256,
            size_bytes=look.found.size_bytes,
            stamp=look.found.stamp,
            time=version.time if is_same and version is not None else now,
        )
    if version is None:
        words = f"the look at {uri} says that nothing has changed, and nothing was known"
        return _with(status, seen.view, "False", _LOOK_FAILED, words, now), ()
    well = {"failed_looks": None, "retry_look_time": None}
    status = status.model_copy(update={"version": version, **well})
    return _with(status, seen.view, "True", _LOOKED, f"{uri} is at version {version.short}", now), ()


def _begun(
    seen: TriggerSeen, status: ModelConversionTriggerStatus, now: datetime
) -> tuple[ModelConversionTriggerStatus, tuple[Event, ...]]:
    """Begin a look that is due; one at a time."""
    view, spec = seen.view, seen.spec
    events: tuple[Event, ...] = ()
    was_suspended = any(c.reason == SUSPENDED for c in view.status.conditions)
    last = status.last_look_time
    if last is None and spec.schedule is None and spec.poll is not None:
        last = view.created - timedelta(seconds=spec.poll.interval_seconds)  # the first one is due at once
    found = due(spec, last or view.created, now)
    asked = view.look_now is not None and view.look_now != status.look_asked
    called = status.look_requested is not None and status.look_requested != status.look_taken
    if status.look_job is not None:
        return status, ()
    if asked:
        status = _look(view, status.model_copy(update={"look_asked": view.look_now}), f"now/{view.look_now}")
    elif called:
        taken = status.model_copy(update={"look_taken": status.look_requested})
        status = _look(view, taken, f"called/{status.look_requested}")
    elif found is not None:
        at, missed = found
        if missed and status.last_look_time is not None and not was_suspended:
            words = f"{missed} looks were missed, of which this one stands for all"
            events = (Event("Warning", _MISSED, words),)
            status = status.model_copy(update={"missed": (status.missed or 0) + missed})
        status = _look(view, status.model_copy(update={"last_look_time": at}), at.isoformat())
    elif status.retry_look_time is not None and status.retry_look_time <= now:
        status = _look(view, status, f"again/{status.retry_look_time.isoformat()}")
    if status.look_job is not None:
        status = status.model_copy(update={"retry_look_time": None})
    times = (next_time(spec, status.last_look_time or last or view.created), status.retry_look_time)
    following = min(filter(None, times), default=None)
    return status.model_copy(update={"next_look_time": following}), events


def _look(view: TriggerView, status: ModelConversionTriggerStatus, what: str) -> ModelConversionTriggerStatus:
    digest = hashlib.sha256(f"{view.key.uid}/{what}".encode()).hexdigest()[:10]
    return status.model_copy(update={"look_job": f"{view.key.name}-look-{digest}"})


def _for_version(
    seen: TriggerSeen, status: ModelConversionTriggerStatus
) -> tuple[ModelConversionTriggerStatus, list[MadeView], Made | None]:
    """Make what the newest version is to have, where it has not been made."""
    version, spec = status.version, seen.spec
    if version is None:
        return status, [], None
    name = made_name(seen.view.key.name, seen.view.key.uid, version, spec.template)
    if name == status.converted:
        return status, [], None
    if name in seen.made:
        return status.model_copy(update={"converted": name}), [], None
    active = [made for made in seen.made.values() if not made.is_over]
    if active and spec.concurrency_policy is ConcurrencyPolicy.FORBID:
        return status, [], None
    replaced = active if spec.concurrency_policy is ConcurrencyPolicy.REPLACE else []
    status = status.model_copy(update={"converted": name})
    return status, [made for made in replaced if not made.deleting], _made(name, version, spec.template)


def _made(name: str, version: SourceVersion, template: Template) -> Made:
    """Fill a version into a template."""
    pinned = template.source.model_copy(update={"sha256": version.sha256})
    if template.conversion is not None:
        one = template.conversion
        output = one.output.model_copy(update={"uri": _filled(one.output.uri, version)})
        return Made(KIND, name, one.model_copy(update={"source": pinned, "output": output}).to_wire())
    several = template.conversion_set
    assert several is not None  # noqa: S101 - template.source has said so
    output = several.output.model_copy(update={"uri": _filled(several.output.uri, version)})
    model = several.models[0].model_copy(update={"source": pinned})
    return Made(SET_KIND, name, several.model_copy(update={"models": [model], "output": output}).to_wire())


def _filled(uri: str, version: SourceVersion) -> str:
    return uri.replace(VERSION_PLACE, version.short)


def _old(seen: TriggerSeen) -> list[MadeView]:
    """Return what has ended and is more than the history keeps: the oldest."""
    history, gone = seen.spec.history, []
    for phase, kept in ((Phase.SUCCEEDED, history.succeeded), (Phase.FAILED, history.failed)):
        over = [made for made in seen.made.values() if made.phase is phase and not made.deleting]
        over.sort(key=lambda made: made.ended or datetime.max.replace(tzinfo=seen.view.created.tzinfo))
        gone += over[: max(0, len(over) - kept)]
    return gone


def _recheck(status: ModelConversionTriggerStatus, now: datetime) -> float | None:
    if status.look_job is not None:
        return LOOKED_AFTER_SECONDS
    if status.next_look_time is None:
        return None
    return max(0.0, (status.next_look_time - now).total_seconds())


def _with(
    status: ModelConversionTriggerStatus,
    view: TriggerView,
    value: Value,
    reason: str,
    words: str,
    now: datetime,
    *,
    stalled: bool = False,
) -> ModelConversionTriggerStatus:
    generation, before = view.generation, view.status.conditions
    conditions = ready_conditions(before, generation, value, reason, words, now, stalled=stalled)
    return status.model_copy(update={"conditions": conditions})
