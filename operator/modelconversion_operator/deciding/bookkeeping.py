"""What every status has in common, whatever was decided: whose generation it speaks of, and its times."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from modelconversion_api.status import ModelConversionStatus, Phase
from modelconversion_api.text import human_duration
from modelconversion_operator.deciding.conditions import seconds_since


def kept(before: ModelConversionStatus, after: ModelConversionStatus, now: datetime) -> ModelConversionStatus:
    """Return ``after`` with what follows from ``before`` and the time.

    A condition that is carried on speaks of the generation that was looked at: ``kubectl wait`` reads that.
    The time for which a conversion was suspended is neither time in the line nor a part of its duration.
    """
    changes: dict[str, Any] = {}
    stale = [c for c in after.conditions if c.observed_generation != after.observed_generation]
    if stale:
        changes["conditions"] = [
            c.model_copy(update={"observed_generation": after.observed_generation}) for c in after.conditions
        ]
    is_suspended = after.phase is Phase.SUSPENDED
    if is_suspended and after.suspended_since is None:
        changes["suspended_since"] = now
    elif not is_suspended and after.suspended_since is not None:
        so_far = after.suspended_seconds or 0
        changes["suspended_since"] = None
        changes["suspended_seconds"] = so_far + round(seconds_since(after.suspended_since, now))
    after = after.model_copy(update=changes)
    if after.completion_time is not None and before.completion_time != after.completion_time:
        after = after.model_copy(update={"duration": human_duration(worked_seconds(after, now))})
    return after


def worked_seconds(status: ModelConversionStatus, until: datetime) -> float:
    """Return how long a run has gone on, without the time for which it was suspended."""
    return max(0.0, seconds_since(status.start_time, until) - (status.suspended_seconds or 0))
