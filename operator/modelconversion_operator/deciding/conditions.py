"""How a status says where a conversion is: its Succeeded condition and what goes with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

from modelconversion_api.status import (
    READY,
    RECONCILING,
    STALLED,
    SUCCEEDED,
    Condition,
    ModelConversionStatus,
    Phase,
    Reason,
)
from modelconversion_operator.deciding.views import ConversionView

Value = Literal["True", "False", "Unknown"]
"""Of a condition."""
WAITING: Final = "Waiting"
"""Of a metric: Ready is False, and nothing is wrong."""


def summary_condition(status: ModelConversionStatus) -> Condition | None:
    """Return the Succeeded condition; None before the first visit."""
    return next((c for c in status.conditions if c.type == SUCCEEDED), None)


def with_condition(
    status: ModelConversionStatus,
    conversion: ConversionView,
    value: Value,
    reason: str,
    message: str,
    now: datetime,
) -> ModelConversionStatus:
    """Set the Succeeded condition, and those of kstatus with it."""
    before, generation = conversion.status.conditions, conversion.generation
    return status.model_copy(
        update={"conditions": conditions_of(before, generation, value, reason, message, now)}
    )


def ready_condition(conditions: Sequence[Condition]) -> Condition | None:
    """Return the Ready condition; None where there is none."""
    return next((each for each in conditions if each.type == READY), None)


def readiness(conditions: Sequence[Condition], resting: Collection[str]) -> str:
    """Return the condition Ready for a metric: Waiting where it is False for one of the reasons ``resting``.

    Those wait for somebody, and nothing is wrong with them.
    """
    ready = ready_condition(conditions)
    if ready is None:
        return "Unknown"
    return WAITING if ready.status == "False" and ready.reason in resting else ready.status


def conditions_of(
    known: Sequence[Condition],
    generation: int,
    value: Value,
    reason: str,
    message: str,
    now: datetime,
) -> list[Condition]:
    """Return the Succeeded condition, and those of kstatus with it; a time moves only when its value does.

    Reconciling and Stalled are there while they are true only, as kstatus wants it; what is suspended is
    neither, and not Ready. Tools show the message of these two; Ready has none, for it would be the third.
    """
    ready: Literal["True", "False"] = "True" if value == "True" else "False"
    values: dict[str, Value] = {SUCCEEDED: value, READY: ready}
    if value == "False":
        values[STALLED] = "True"
    elif value == "Unknown" and reason != Reason.SUSPENDED:
        values[RECONCILING] = "True"
    made = dated(known, generation, values, reason, message, now)
    return [c.model_copy(update={"message": ""}) if c.type == READY else c for c in made]


def ready_conditions(
    known: Sequence[Condition],
    generation: int,
    value: Value,
    reason: str,
    message: str,
    now: datetime,
    *,
    stalled: bool = False,
) -> list[Condition]:
    """Return the Ready condition of what never ends, and those of kstatus with it.

    A time moves only when its value does.
    """
    values: dict[str, Value] = {READY: value}
    if stalled:
        values[STALLED] = "True"
    elif value == "Unknown":
        values[RECONCILING] = "True"
    return dated(known, generation, values, reason, message, now)


def dated(
    known: Sequence[Condition],
    generation: int,
    values: Mapping[str, Value],
    reason: str,
    message: str,
    now: datetime,
) -> list[Condition]:
    """Return conditions by their values; a time moves only when its value does."""
    before = {(c.type, c.status): c.last_transition_time for c in known}
    return [
        Condition(
            type=kind,
            status=value,
            reason=str(reason),
            message=message,
            observed_generation=generation,
            last_transition_time=before.get((kind, value), now),
        )
        for kind, value in values.items()
    ]


def ended(status: ModelConversionStatus, phase: Phase, now: datetime) -> ModelConversionStatus:
    """Return the status of a run that has ended."""
    return status.model_copy(
        update={
            "phase": phase,
            "progress": None,
            "waiting_since": None,
            "completion_time": now,
        }
    )


def seconds_since(start: datetime | None, now: datetime) -> float:
    """Seconds between two times; 0 where there is no first one."""
    return 0.0 if start is None else max(0.0, (now - start) / timedelta(seconds=1))
