"""What is remembered of triggers, and of the conversions and sets that they have made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from modelconversion_api.base import GROUP, KIND, readable
from modelconversion_api.sets import SET_KIND
from modelconversion_api.status import Phase
from modelconversion_api.triggers import LOOK_NOW_ANNOTATION, TRIGGER_KIND, ModelConversionTriggerStatus
from modelconversion_operator.deciding.views import (
    Body,
    ConversionView,
    Key,
    owner_reference,
    parse_time,
    reading,
)
from modelconversion_operator.known import OwnView
from modelconversion_operator.sets.views import SetView

TRIGGER_LABEL: Final = f"{GROUP}/trigger"
SUSPENDED: Final = "Suspended"
"""Reason of a trigger that looks no more because its spec says so."""
_LONGEST_WORD: Final = 64


@dataclass(frozen=True, slots=True)
class TriggerView(OwnView):
    """A ModelConversionTrigger."""

    created: datetime
    status: ModelConversionTriggerStatus
    look_now: str | None
    """Value of the annotation that asks for a look now."""

    @classmethod
    def from_body(cls, body: Body) -> TriggerView:
        """Read the fields of a trigger.

        Raises:
            MalformedError: It lacks what every object of an API server has.

        """
        with reading(TRIGGER_KIND):
            own, meta = cls.fields_of(body), body["metadata"]
            word = (meta.get("annotations") or {}).get(LOOK_NOW_ANNOTATION)
            return cls(
                **own,
                created=parse_time(meta["creationTimestamp"]),
                status=readable(ModelConversionTriggerStatus, own["raw_status"]),
                look_now=None if word is None else str(word)[:_LONGEST_WORD],
            )


def owner_of(view: TriggerView) -> dict[str, Any]:
    """Return the owner reference by which what a trigger makes is its own, and goes with it."""
    return owner_reference(TRIGGER_KIND, view.key)


@dataclass(frozen=True, slots=True)
class MadeView:
    """A conversion or set that a trigger has made."""

    kind: str
    key: Key
    resource_version: str
    deleting: bool
    phase: Phase
    """Pending also where a newer spec has not been begun."""
    ended: datetime | None

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.phase.is_final


def made_view(view: ConversionView | SetView) -> MadeView:
    """Return what is remembered of something that a trigger has made."""
    status = view.status
    is_current = status.observed_generation == view.generation
    return MadeView(
        kind=KIND if isinstance(view, ConversionView) else SET_KIND,
        key=view.key,
        resource_version=view.resource_version,
        deleting=view.deleting,
        phase=(status.phase if is_current else None) or Phase.PENDING,
        ended=status.completion_time,
    )
