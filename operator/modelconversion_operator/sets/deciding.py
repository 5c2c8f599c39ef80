"""What to do about one set: a pure function of the set and its members, without any I/O.

Members that are not there are made as far as ``maxParallel`` allows; those that are no more wanted, or were
made from an older spec, go once they have ended. A set that has ended stays as it is until its spec or the
annotation ``edgeml.dev/retry-failed`` changes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from pydantic import ValidationError

from modelconversion_api.reports.comparison import COMPARISON_FILE_NAME
from modelconversion_api.sets import (
    ROW_MESSAGE_LENGTH,
    MemberRow,
    ModelConversionSetSpec,
    ModelConversionSetStatus,
    SetModel,
    SetPolicy,
)
from modelconversion_api.spec import ModelConversionSpec, ProfileRef
from modelconversion_api.status import Phase
from modelconversion_operator.deciding.conditions import conditions_of
from modelconversion_operator.deciding.failures import problems_of_spec
from modelconversion_operator.deciding.views import JobView, Key, spec_digest
from modelconversion_operator.sets.views import MemberView, SetView

_MOST_AT_A_TIME: Final = 50
"""Members that are made in one look, so that others get their turn."""
_SOON_SECONDS: Final = 5.0
_NAME_TAKEN: Final = "NameTaken"
_HEAD_LENGTH: Final = 43
"""Characters of a member's name before its digest: a conversion's has at most 52."""
_SHOWN_FAILURES: Final = 3


class SetReason(StrEnum):
    """Reasons of a set's Succeeded condition."""

    CONVERTING = "Converting"
    SUSPENDED = "Suspended"
    COMPARING = "Comparing"
    ALL_SUCCEEDED = "AllSucceeded"
    SOME_SUCCEEDED = "SomeSucceeded"
    MEMBERS_FAILED = "MembersFailed"
    INVALID_SPEC = "InvalidSpec"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A member that a set should have."""

    model: SetModel
    profile: ProfileRef
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class SetSeen:
    """A set with what belongs to it."""

    view: SetView
    spec: ModelConversionSetSpec
    wanted: Sequence[Wanted]
    members: Mapping[str, MemberView]
    """By name."""
    taken: frozenset[str] = frozenset()
    """Names of members that something else has."""
    comparison: JobView | None = None
    """The Job that compares, where the status names one."""


@dataclass(frozen=True, slots=True)
class SetDecision:
    """What to do, in the order of the fields, and when to look again."""

    status: ModelConversionSetStatus
    create: Sequence[Wanted] = ()
    delete: Sequence[MemberView] = ()
    suspend: Sequence[MemberView] = ()
    resume: Sequence[MemberView] = ()
    compare: bool = False
    """Make the Job that ``status`` names, which compares those that have succeeded."""
    recheck_seconds: float | None = None


@dataclass(slots=True)
class _Tally:
    """Members by what they are, with their rows."""

    rows: list[MemberRow] = field(default_factory=list)
    missing: list[Wanted] = field(default_factory=list)
    leaving: list[MemberView] = field(default_factory=list)
    """Made from an older spec: they go when they have ended."""
    present: list[MemberView] = field(default_factory=list)

    @property
    def counts(self) -> Counter[Phase]:
        return Counter(row.phase for row in self.rows)

    @property
    def active(self) -> int:
        """Members that may have a Job."""
        return sum(not member.is_over for member in (*self.present, *self.leaving))


def wanted_of(key: Key, spec: ModelConversionSetSpec) -> tuple[Wanted, ...]:
    """Return the members that a set should have, in the order of models and profiles."""
    pairs = [(model, profile) for model in spec.models for profile in spec.profiles]
    return tuple(
        Wanted(*pair, name=member_name(key, *pair), digest=spec_digest(member_spec(spec, *pair)))
        for pair in pairs
    )


def member_name(key: Key, model: SetModel, profile: ProfileRef) -> str:
    """Name a member: the same one always has the same name, so making it twice cannot double it."""
    digest = hashlib.sha256(f"{key.name}/{model.name}/{profile.name}".encode()).hexdigest()[:8]
    head = f"{key.name}-{model.name}-{profile.name}"[:_HEAD_LENGTH].rstrip("-.")
    return f"{head}-{digest}"


def member_spec(spec: ModelConversionSetSpec, model: SetModel, profile: ProfileRef) -> ModelConversionSpec:
    """Return the spec of a member."""
    folder = f"{spec.output.uri.rstrip('/')}/{model.name}/{profile.name}/"
    oci = spec.output.oci
    if oci is not None:
        # A profile's name may have dots, which are allowed between letters here too.
        oci = oci.changed(repository=f"{oci.repository}/{model.name}/{profile.name}")
    registration = spec.registration
    if registration is not None:
        registration = registration.changed(mlflow=registration.mlflow.named(model.name, profile.name))
    return ModelConversionSpec(
        profile_ref=profile,
        source=model.source,
        calibration=model.calibration,
        validation=model.validation,
        output=spec.output.model_copy(update={"uri": folder, "oci": oci}),
        storage=spec.storage,
        hugging_face=spec.hugging_face,
        registration=registration,
        job=spec.job,
        class_name=spec.class_name,
    )


def comparison_name(view: SetView) -> str:
    """Name the Job that compares what a set has come to."""
    what = f"{view.key.uid}/{view.generation}/{view.retry or ''}"
    return f"{view.key.name}-{hashlib.sha256(what.encode()).hexdigest()[:10]}"


def decide_set(seen: SetSeen, now: datetime) -> SetDecision:
    """Decide what to do about a set.

    Returns:
        What to do. ``status`` equals the present one where nothing is to be written.

    """
    view, status = seen.view, seen.view.status
    if view.deleting:
        return SetDecision(status)  # owner references remove the members
    is_new = status.observed_generation != view.generation
    wants_retry = view.retry is not None and view.retry != status.retried
    if status.phase is not None and status.phase.is_final:
        if not (is_new or wants_retry):
            return SetDecision(status)
        status = status.model_copy(
            update={"completion_time": None, "comparison_job": None, "comparison_uri": None}
        )
    if is_new or status.start_time is None:
        status = status.model_copy(update={"start_time": now, "observed_generation": view.generation})
    tally = _tally(seen)
    delete = _departures(seen, tally, retries=wants_retry)
    counts = tally.counts
    awaits_retry = wants_retry and any(member.phase is Phase.FAILED for member in tally.present)
    if wants_retry and not awaits_retry:  # those that had failed are gone, and are made again
        status = status.model_copy(update={"retried": view.retry})
    status = status.model_copy(
        update={
            "total": len(tally.rows),
            "succeeded": counts[Phase.SUCCEEDED],
            "failed": counts[Phase.FAILED],
            "under_way": sum(not member.is_over for member in tally.present),
            "progress": f"{counts[Phase.SUCCEEDED] + counts[Phase.FAILED]}/{len(tally.rows)}",
            "members": tally.rows,
        }
    )
    stops = seen.spec.policy is SetPolicy.ALL_MUST_PASS and counts[Phase.FAILED] > 0
    if seen.spec.suspend or delete or tally.leaving or tally.active or (tally.missing and not stops):
        return _under_way(seen, status, tally, delete, now, stops=stops)
    return _ended(seen, status, now)


def _tally(seen: SetSeen) -> _Tally:
    tally = _Tally()
    for wanted in seen.wanted:
        member = seen.members.get(wanted.name)
        if member is None:
            if wanted.name not in seen.taken:
                tally.missing.append(wanted)
        elif member.digest != wanted.digest or member.deleting:
            tally.leaving.append(member)
        else:
            tally.present.append(member)
        tally.rows.append(_row(seen, wanted))
    return tally


def _row(seen: SetSeen, wanted: Wanted) -> MemberRow:
    member = seen.members.get(wanted.name)
    row = MemberRow(
        model=wanted.model.name, profile=wanted.profile.name, conversion=wanted.name, phase=Phase.PENDING
    )
    if member is None and wanted.name in seen.taken:
        words = "a ModelConversion of that name exists and belongs to something else"
        return row.model_copy(update={"phase": Phase.FAILED, "reason": _NAME_TAKEN, "message": words})
    if member is None or member.digest != wanted.digest or member.deleting:
        return row
    return row.model_copy(
        update={
            "phase": member.phase,
            "recommended": member.recommended,
            "size": member.size,
            "agreement": member.agreement,
            "reason": member.reason,
            "message": member.message and member.message[:ROW_MESSAGE_LENGTH],
        }
    )


def _departures(seen: SetSeen, tally: _Tally, *, retries: bool) -> list[MemberView]:
    """Return the members to delete: those that nobody wants, and that have ended and are to be made again."""
    names = {wanted.name for wanted in seen.wanted}
    gone = [member for name, member in seen.members.items() if name not in names]
    # One that is under way ends first: two Jobs must not write to one place.
    gone += [member for member in tally.leaving if member.is_over]
    if retries:
        gone += [member for member in tally.present if member.phase is Phase.FAILED]
    return [member for member in gone if not member.deleting]


def _under_way(
    seen: SetSeen,
    status: ModelConversionSetStatus,
    tally: _Tally,
    delete: Sequence[MemberView],
    now: datetime,
    *,
    stops: bool,
) -> SetDecision:
    suspended = seen.spec.suspend
    room = 0 if suspended or stops else seen.spec.max_parallel - tally.active
    create = _next(seen, tally)[: max(0, min(room, _MOST_AT_A_TIME))]
    begun = [member for member in tally.present if not member.is_over]
    if suspended:
        phase, reason, words = Phase.SUSPENDED, SetReason.SUSPENDED, "spec.suspend is true"
    else:
        phase = Phase.RUNNING if seen.members else Phase.PENDING
        reason, words = SetReason.CONVERTING, f"{status.progress} members have ended"
    status = _with(status.model_copy(update={"phase": phase}), seen, "Unknown", reason, words, now)
    return SetDecision(
        status,
        create,
        delete,
        [member for member in begun if suspended and not member.suspended],
        [member for member in begun if not suspended and member.suspended],
    )


def _next(seen: SetSeen, tally: _Tally) -> list[Wanted]:
    """Return the members to make, in their order.

    With a cache, a model's first member goes ahead alone: the others need not do again what it leaves there.
    """
    if seen.spec.output.cache is None:
        return tally.missing
    models = {wanted.name: wanted.model.name for wanted in seen.wanted}
    over = {models[member.key.name] for member in tally.present if member.is_over}
    ahead = {models[member.key.name] for member in tally.present} - over
    found = []
    for wanted in tally.missing:
        model = wanted.model.name
        if model in over or model not in ahead:
            found.append(wanted)
            ahead.add(model)
    return found


def _ended(seen: SetSeen, status: ModelConversionSetStatus, now: datetime) -> SetDecision:
    """End a set whose members have ended, once those that have succeeded were compared."""
    if status.succeeded and (waits := _compared(seen, status, now)) is not None:
        return waits
    remark = ""
    if (job := seen.comparison) is not None:
        if job.complete:
            uri = f"{seen.spec.output.uri.rstrip('/')}/{COMPARISON_FILE_NAME}"
            status = status.model_copy(update={"comparison_uri": uri})
        else:
            remark = f"; they could not be compared: see the log of Job {job.name}"
    words = f"{status.succeeded} of {status.total} succeeded"
    failures = [row for row in status.members if row.phase is Phase.FAILED]
    named = ", ".join(f"{row.model}/{row.profile} {row.reason}" for row in failures[:_SHOWN_FAILURES])
    more = len(failures) - _SHOWN_FAILURES
    if failures:
        words += f", {len(failures)} failed: {named}" + (f" and {more} more" if more > 0 else "")
    if unbegun := status.total - status.succeeded - status.failed:
        words += f"; {unbegun} did not begin"
    passed = bool(status.succeeded) if seen.spec.policy is SetPolicy.ANY_MAY_FAIL else not failures
    if passed:
        reason = SetReason.SOME_SUCCEEDED if failures else SetReason.ALL_SUCCEEDED
    else:
        reason = SetReason.MEMBERS_FAILED
    phase = Phase.SUCCEEDED if passed else Phase.FAILED
    status = status.model_copy(update={"phase": phase, "completion_time": now})
    return SetDecision(_with(status, seen, "True" if passed else "False", reason, words + remark, now))


def _compared(seen: SetSeen, status: ModelConversionSetStatus, now: datetime) -> SetDecision | None:
    """Have the members compared; None where that is over."""
    name = comparison_name(seen.view)
    if status.comparison_job == name and seen.comparison is not None and seen.comparison.finished:
        return None
    status = status.model_copy(update={"phase": Phase.RUNNING, "comparison_job": name})
    words = "all members have ended; they are being compared"
    status = _with(status, seen, "Unknown", SetReason.COMPARING, words, now)
    # Made again where it is gone: it writes one page, the same each time.
    return SetDecision(status, compare=seen.comparison is None, recheck_seconds=_SOON_SECONDS)


def invalid(view: SetView, error: ValidationError, now: datetime) -> SetDecision:
    """End a set whose spec this version cannot read; the CRD normally refuses such a spec earlier."""
    if view.status.phase is Phase.FAILED and view.status.observed_generation == view.generation:
        return SetDecision(view.status)
    status = ModelConversionSetStatus(
        observed_generation=view.generation, phase=Phase.FAILED, start_time=now, completion_time=now
    )
    conditions = conditions_of(
        view.status.conditions,
        view.generation,
        "False",
        SetReason.INVALID_SPEC,
        problems_of_spec(error),
        now,
    )
    return SetDecision(status.model_copy(update={"conditions": conditions}))


def _with(
    status: ModelConversionSetStatus, seen: SetSeen, value: str, reason: str, words: str, now: datetime
) -> ModelConversionSetStatus:
    known, generation = seen.view.status.conditions, seen.view.generation
    conditions = conditions_of(known, generation, value, reason, words, now)  # type: ignore[arg-type]  # one of three
    return status.model_copy(update={"conditions": conditions})
