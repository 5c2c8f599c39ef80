"""What is remembered of channels, and which of them a conversion is news for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from sys import intern
from typing import Any, Final

from modelconversion_api.base import GROUP, readable
from modelconversion_api.channels import CHANNEL_KIND, ModelChannelStatus
from modelconversion_api.status import Phase
from modelconversion_operator.deciding.conditions import readiness
from modelconversion_operator.deciding.views import (
    QUEUE_LABEL,
    Body,
    ConversionView,
    Key,
    owner_reference,
    reading,
)
from modelconversion_operator.known import KnownObjects

CHANNEL_LABEL: Final = f"{GROUP}/channel"
SUSPENDED, CANDIDATE_WAITING, NO_CANDIDATE = "Suspended", "CandidateWaiting", "NoCandidate"
RESTING: Final = (SUSPENDED, CANDIDATE_WAITING, NO_CANDIDATE)
"""Reasons of a channel that is not ready, and waits for somebody."""


@dataclass(frozen=True, slots=True)
class ChannelView:
    """A ModelChannel."""

    key: Key
    generation: int
    resource_version: str
    deleting: bool
    spec: Body
    status: ModelChannelStatus
    raw_status: Body
    class_name: str
    queue: str | None
    """Kueue's queue that its Jobs are to wait in."""

    @property
    def uid(self) -> str:
        """Its UID."""
        return self.key.uid

    @property
    def owner_uid(self) -> str:
        """Whom news of it wakes: itself."""
        return self.key.uid

    @classmethod
    def from_body(cls, body: Body) -> ChannelView:
        """Read the fields of a channel.

        Raises:
            MalformedError: It lacks what every object of an API server has.

        """
        with reading(CHANNEL_KIND):
            meta = body["metadata"]
            raw_status, spec = body.get("status") or {}, body.get("spec") or {}
            return cls(
                key=Key(intern(meta["namespace"]), str(meta["name"]), intern(meta["uid"])),
                generation=int(meta["generation"]),
                resource_version=str(meta["resourceVersion"]),
                deleting="deletionTimestamp" in meta,
                spec=spec,
                status=readable(ModelChannelStatus, raw_status),
                raw_status=raw_status,
                class_name=str(spec.get("className") or ""),
                queue=(meta.get("labels") or {}).get(QUEUE_LABEL),
            )


def owner_of(view: ChannelView) -> dict[str, Any]:
    """Return the owner reference by which the Jobs of a channel are its own, and go with it."""
    return owner_reference(CHANNEL_KIND, view.key)


class ChannelStore(KnownObjects[ChannelView]):
    """Channels by UID. What they take their candidates from is read when one is looked at."""

    def ready(self) -> Counter[str]:
        """Count channels by :func:`readiness`."""
        return Counter(readiness(view.status.conditions, RESTING) for view in self.views())

    def concerned(self, view: ConversionView) -> Iterable[str]:
        """Return the UIDs of the channels that a conversion may have a new candidate for."""
        if view.status.phase is not Phase.SUCCEEDED:
            return ()
        is_owned = view.set_uid is not None or view.trigger_uid is not None
        return [
            uid
            for uid, channel in self._views.items()
            if channel.key.namespace == view.key.namespace
            and (is_owned or (channel.spec.get("from") or {}).get("name") == view.key.name)
        ]
