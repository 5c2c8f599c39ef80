"""What is remembered of channels, and which of them a conversion is news for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from modelconversion_api.base import GROUP, readable
from modelconversion_api.channels import CHANNEL_KIND, ModelChannelStatus
from modelconversion_api.status import Phase
from modelconversion_operator.deciding.conditions import readiness
from modelconversion_operator.deciding.views import (
    Body,
    ConversionView,
    reading,
)
from modelconversion_operator.known import KnownObjects, OwnView

CHANNEL_LABEL: Final = f"{GROUP}/channel"
SUSPENDED, CANDIDATE_WAITING, NO_CANDIDATE = "Suspended", "CandidateWaiting", "NoCandidate"
RESTING: Final = (SUSPENDED, CANDIDATE_WAITING, NO_CANDIDATE)
"""Reasons of a channel that is not ready, and waits for somebody."""


@dataclass(frozen=True, slots=True)
class ChannelView(OwnView):
    """A ModelChannel."""

    status: ModelChannelStatus

    @classmethod
    def from_body(cls, body: Body) -> ChannelView:
        """Read the fields of a channel.

        Raises:
            MalformedError: It lacks what every object of an API server has.

        """
        with reading(CHANNEL_KIND):
            own = cls.fields_of(body)
            return cls(**own, status=readable(ModelChannelStatus, own["raw_status"]))


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
