"""What every status has in common, whatever was decided: whose generation it speaks of, and its times."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from modelconversion_api.base import ApiModel
from modelconversion_api.status import OUTPUT_SHARED, Condition, ModelConversionStatus, Phase
from modelconversion_api.text import human_duration
from modelconversion_operator.deciding.conditions import seconds_since
from modelconversion_operator.deciding.progress import lets_go_of_job, stages_with
from modelconversion_operator.deciding.seen import Seen

_NAMED: Final = 3


def kept(seen: Seen, after: ModelConversionStatus, now: datetime) -> ModelConversionStatus:
    """Return ``after`` with what follows from what is seen, and from the time.

    A condition that is carried on speaks of the generation that was looked at: ``kubectl wait`` reads that.
    The time for which a conversion was suspended is neither time in the line nor a part of its duration.
    """
    before = seen.conversion.status
    after = after.model_copy(update={"conditions": _with_rivals(seen, after.conditions, now)})
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
    if lets_go_of_job(before, after):
        after = after.model_copy(update={"stages": stages_with(seen, after, now)})
    if after.completion_time is not None and before.completion_time != after.completion_time:
        after = after.model_copy(update={"duration": human_duration(after.worked_seconds(now))})
    return after


def _with_rivals(seen: Seen, conditions: list[Condition], now: datetime) -> list[Condition]:
    """Say on each of two conversions that both write to one place, whatever has become of them."""
    others = [c for c in conditions if c.type != OUTPUT_SHARED]
    if not seen.rivals or not others:
        return others
    names = ", ".join(rival.key.name for rival in seen.rivals[:_NAMED])
    more = len(seen.rivals) - _NAMED
    before = next((c for c in seen.conversion.status.conditions if c.type == OUTPUT_SHARED), None)
    shared = Condition(
        type=OUTPUT_SHARED,
        status="True",
        reason=OUTPUT_SHARED,
        message=f"{names}{f' and {more} others' if more > 0 else ''} in this namespace: the same output.uri",
        observed_generation=seen.conversion.generation,
        last_transition_time=before.last_transition_time if before else now,
    )
    return [*others, shared]


def status_changes(before: Mapping[str, Any], after: ApiModel) -> dict[str, Any]:
    """Return the merge patch from a stored status to a new one.

    Changed fields, and null for those to be removed.
    """
    wire = after.to_wire()
    known = {info.alias or name for name, info in type(after).model_fields.items()}
    changes = {name: value for name, value in wire.items() if before.get(name) != value}
    return changes | {name: None for name in before if name in known and name not in wire}
