"""Who may have a Job next, where the number of Jobs is limited: fair between namespaces, in order within one.

:func:`admit` is the rule, a pure function. :class:`Admission` applies it to what the operator knows: it keeps
the line of those who wait, and asks the store who has a Job. Nothing of it is written down: an operator that
starts again counts the Jobs that are there, and every conversion without one stands in line again. The order
is that of their start times, so it is the same as before.
"""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from modelconversion_api.status import ModelConversionStatus, Phase, Reason
from modelconversion_operator.deciding.conditions import summary_condition, with_condition
from modelconversion_operator.deciding.decisions import CreateJob, Decision, PatchJob
from modelconversion_operator.deciding.timing import RESYNC_SECONDS
from modelconversion_operator.deciding.views import ConversionView, Key

_TELL_SECONDS: Final = 10.0
"""Positions that are news are looked for at most this often."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many Jobs there may be at a time; 0 is without limit."""

    total: int = 0
    per_namespace: int = 0

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return bool(self.total or self.per_namespace)


NO_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True, order=True)
class Waiting:
    """One that waits; the order is that of the line."""

    since: datetime
    key: Key


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the line of a namespace, counted from 1."""

    position: int
    waiting: int


def admit(
    waiting: Mapping[str, Sequence[Waiting]],
    running: Mapping[str, int],
    limits: Limits,
    served: Mapping[str, int] | None = None,
) -> list[Waiting]:
    """Choose those who may have a Job now.

    Each free place goes to the namespace that has least, among those where somebody waits and whose own limit
    is not reached; of equals, to the one that was served longest ago, so that with a single place they take
    turns; and there to the one who has waited longest.

    Args:
        waiting: Who waits, by namespace, in the order of the line.
        running: How many Jobs each namespace has.
        limits: How many there may be.
        served: When each namespace was last served, as any growing number; those not in it never were.

    Returns:
        The chosen, in the order in which they were chosen.

    """
    has, turn, chosen = Counter(running), dict(served or {}), []
    taken = Counter[str]()
    last = max(turn.values(), default=0)
    free = limits.total - sum(has.values()) if limits.total else None
    while free is None or free > 0:
        able = [
            name
            for name, line in waiting.items()
            if taken[name] < len(line) and not (limits.per_namespace and has[name] >= limits.per_namespace)
        ]
        if not able:
            break
        name = min(able, key=lambda n: (has[n], turn.get(n, -1), waiting[n][taken[n]]))
        chosen.append(waiting[name][taken[name]])
        taken[name] += 1
        has[name] += 1
        last += 1
        turn[name] = last
        free = None if free is None else free - 1
    return chosen


@dataclass(slots=True)
class _Line:
    """Those who wait in one namespace."""

    waiting: list[Waiting] = field(default_factory=list)
    told: dict[str, tuple[Waiting, int]] = field(default_factory=dict)
    """By UID: the entry, and the position that the conversion's status names."""

    def position(self, entry: Waiting) -> int:
        """Where an entry stands, counted from 1."""
        return bisect_left(self.waiting, entry) + 1


class Admission:
    """The lines of all namespaces, and the places that were promised but have no Job yet.

    Args:
        limits: How many Jobs there may be.
        with_job: UIDs of the conversions that have a Job which counts, by namespace.
        wake: Called with the UID of each conversion that has been admitted, or whose position is news.
        clock: Seconds.

    """

    def __init__(
        self,
        limits: Limits,
        with_job: Callable[[], Mapping[str, set[str]]],
        wake: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._with_job = with_job
        self._wake = wake
        self._clock = clock
        self._lines: dict[str, _Line] = {}
        self._promised: dict[str, str] = {}
        self._served: dict[str, int] = {}
        self._turn = 0
        self._refused_until: dict[str, float] = {}
        self._told_at = clock()
        self._where: dict[str, str] = {}

    def __len__(self) -> int:
        """How many wait."""
        return sum(len(line.waiting) for line in self._lines.values())

    def ask(self, key: Key, since: datetime) -> Place | None:
        """Ask for a Job: None when there may be one now, else the place in the line."""
        if not self._limits or key.uid in self._promised:
            return None
        line = self._lines.setdefault(key.namespace, _Line())
        if key.uid not in line.told:
            entry = Waiting(since, key)
            insort(line.waiting, entry)
            line.told[key.uid] = (entry, 0)
            self._where[key.uid] = key.namespace
        self.fill()
        if key.uid in self._promised:
            return None
        entry, _ = line.told[key.uid]
        line.told[key.uid] = (entry, line.position(entry))
        return Place(line.position(entry), len(line.waiting))

    def leave(self, uid: str) -> None:
        """Take a conversion out of the line, and its promise back: it has its Job, or wants none any more."""
        self._promised.pop(uid, None)
        self._step_out(uid)
        self.fill()

    def _step_out(self, uid: str) -> None:
        namespace = self._where.pop(uid, None)
        if namespace is None:
            return
        line = self._lines[namespace]
        entry, _ = line.told.pop(uid)
        del line.waiting[line.position(entry) - 1]
        if not line.waiting:
            del self._lines[namespace]

    def refuse(self, key: Key, seconds: float) -> None:
        """Take a promise back because the API server refused the Job; nobody there is tried for so long.

        What refuses one Job of a namespace, a quota above all, mostly refuses the next one as well, and its
        place is of use to other namespaces meanwhile.
        """
        self._promised.pop(key.uid, None)
        if self._limits:
            self._refused_until[key.namespace] = self._clock() + seconds
            self.fill()

    def fill(self) -> None:
        """Give free places to those who wait, and wake them."""
        if not self._lines:
            return
        now = self._clock()
        self._refused_until = {name: until for name, until in self._refused_until.items() if until > now}
        holders = {name: set(uids) for name, uids in self._with_job().items()}
        for uid, namespace in self._promised.items():
            holders.setdefault(namespace, set()).add(uid)
        running = {name: len(uids) for name, uids in holders.items()}
        waiting = {n: line.waiting for n, line in self._lines.items() if n not in self._refused_until}
        for entry in admit(waiting, running, self._limits, self._served):
            self._turn += 1
            self._served[entry.key.namespace] = self._turn
            self._step_out(entry.key.uid)
            self._promised[entry.key.uid] = entry.key.namespace
            self._wake(entry.key.uid)
        self._tell(now)

    def _tell(self, now: float) -> None:
        """Wake those whose position has become a quarter of what their status says, or less.

        Every step would be a write for each who waits whenever one of them leaves. This way, somebody who
        starts at position n is told about log4(n) times.
        """
        if now - self._told_at < _TELL_SECONDS:
            return
        self._told_at = now
        for line in self._lines.values():
            for position, entry in enumerate(line.waiting, start=1):
                if position * 4 <= line.told[entry.key.uid][1]:
                    self._wake(entry.key.uid)


def wants_place(before: ModelConversionStatus, decision: Decision) -> bool:
    """Whether a decision begins something that takes a place: a run, its Job, or a Job's second life."""
    action = decision.job_action
    if isinstance(action, PatchJob):
        return action.suspend is False
    begins = decision.status.run != before.run
    return isinstance(action, CreateJob) or (begins and decision.status.phase is Phase.PENDING)


def held(conversion: ConversionView, decision: Decision, place: Place, now: datetime) -> Decision:
    """Return the decision for a conversion that has to stand in line first.

    The position is written when the line is entered, and again each time when only a quarter of it is left.
    """
    before = conversion.status
    status = decision.status.model_copy(
        update={"phase": Phase.PENDING, "progress": None, "waiting_since": None}
    )
    known = summary_condition(before)
    if (
        known is not None
        and known.reason == Reason.QUEUED
        and before.queue_position is not None
        and place.position * 4 > before.queue_position
    ):
        unchanged = {"conditions": before.conditions, "queue_position": before.queue_position}
        return Decision(status.model_copy(update=unchanged), recheck_seconds=RESYNC_SECONDS)
    words = f"position {place.position} of {place.waiting} in namespace {conversion.key.namespace}"
    status = with_condition(status, conversion, "Unknown", Reason.QUEUED, words, now)
    status = status.model_copy(update={"queue_position": place.position})
    return Decision(status, recheck_seconds=RESYNC_SECONDS)


def released(decision: Decision) -> Decision:
    """Return the decision for a conversion that stands in no line."""
    if decision.status.queue_position is None:
        return decision
    return replace(decision, status=decision.status.model_copy(update={"queue_position": None}))
