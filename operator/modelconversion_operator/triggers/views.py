"""What is remembered of triggers, and of the conversions and sets that they have made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from sys import intern
from typing import Any, Final

from modelconversion_api.base import GROUP, KIND, readable
from modelconversion_api.sets import SET_KIND
from modelconversion_api.status import Phase
from modelconversion_api.triggers import LOOK_NOW_ANNOTATION, TRIGGER_KIND, ModelConversionTriggerStatus
from modelconversion_operator.deciding.views import (
    QUEUE_LABEL,
    Body,
    ConversionView,
    Key,
    owner_reference,
    parse_time,
    reading,
)
from modelconversion_operator.sets.views import SetView

TRIGGER_LABEL: Final = f"{GROUP}/trigger"
SUSPENDED: Final = "Suspended"
"""Reason of a trigger that looks no more because its spec says so."""
_LONGEST_WORD: Final = 64


@dataclass(frozen=True, slots=True)
class TriggerView:
    """A ModelConversionTrigger."""

    key: Key
    generation: int
    resource_version: str
    created: datetime
    deleting: bool
    spec: Body
    status: ModelConversionTriggerStatus
    raw_status: Body
    look_now: str | None
    """Value of the annotation that asks for a look now."""
    class_name: str
    queue: str | None
    """Kueue's queue that the Jobs of what it makes are to wait in."""

    @property
    def uid(self) -> str:
        """Its UID."""
        return self.key.uid

    @property
    def owner_uid(self) -> str:
        """Whom news of it wakes: itself."""
        return self.key.uid

    @classmethod
    def from_body(cls, body: Body) -> TriggerView:
        """Read the fields of a trigger.

        Raises:
            MalformedError: It lacks what every object of an API server has.

        """
        with reading(TRIGGER_KIND):
            meta = body["metadata"]
            raw_status, spec = body.get("status") or {}, body.get("spec") or {}
            word = (meta.get("annotations") or {}).get(LOOK_NOW_ANNOTATION)
            return cls(
                key=Key(intern(meta["namespace"]), str(meta["name"]), intern(meta["uid"])),
                generation=int(meta["generation"]),
                resource_version=str(meta["resourceVersion"]),
                created=parse_time(meta["creationTimestamp"]),
                deleting="deletionTimestamp" in meta,
                spec=spec,
                status=readable(ModelConversionTriggerStatus, raw_status),
                raw_status=raw_status,
                look_now=None if word is None else str(word)[:_LONGEST_WORD],
                class_name=str(spec.get("className") or ""),
                queue=(meta.get("labels") or {}).get(QUEUE_LABEL),
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
