"""How a status says where a conversion is: its Succeeded condition and what goes with it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from modelconversion_api.status import SUCCEEDED, Condition, ModelConversionStatus, Phase
from modelconversion_api.text import human_duration
from modelconversion_operator.deciding.views import ConversionView


def summary_condition(status: ModelConversionStatus) -> Condition | None:
    """Return the Succeeded condition; None before the first visit."""
    return next((c for c in status.conditions if c.type == SUCCEEDED), None)


def with_condition(
    status: ModelConversionStatus,
    conversion: ConversionView,
    value: Literal["True", "False", "Unknown"],
    reason: str,
    message: str,
    now: datetime,
) -> ModelConversionStatus:
    """Set the Succeeded condition; its time moves only when its value does."""
    before = summary_condition(conversion.status)
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


def ended(status: ModelConversionStatus, phase: Phase, now: datetime) -> ModelConversionStatus:
    """Return the status of a run that has ended."""
    return status.model_copy(
        update={
            "phase": phase,
            "progress": None,
            "waiting_since": None,
            "completion_time": now,
            "duration": human_duration(seconds_since(status.start_time, now)),
        }
    )


def seconds_since(start: datetime | None, now: datetime) -> float:
    """Seconds between two times; 0 where there is no first one."""
    return 0.0 if start is None else max(0.0, (now - start) / timedelta(seconds=1))
