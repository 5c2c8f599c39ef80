"""Everything that is known of one conversion at the moment of a decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from modelconversion_api.profiles import ResolvedProfile
from modelconversion_api.request import StageProgress
from modelconversion_operator.deciding.decisions import Rejection
from modelconversion_operator.deciding.views import ConversionView, EventView, JobView, Key, PodView


@dataclass(frozen=True, slots=True)
class Rival:
    """Another conversion of the namespace with the same output URI."""

    key: Key
    since: datetime | None = None
    """When its run was first seen; None where it was not yet, or is over."""

    def is_before(self, key: Key, since: datetime) -> bool:
        """Whether its run is under way, and began before that of another."""
        return self.since is not None and (self.since, self.key.uid) < (since, key.uid)


@dataclass(frozen=True, slots=True)
class Seen:
    """One conversion with what belongs to it."""

    conversion: ConversionView
    job: JobView | None = None
    """The Job of the present run; None must mean that there is none, not that none was seen yet."""
    pods: tuple[PodView, ...] = ()
    """The pods of that Job; one that is gone stays among them where ``publish`` had ended well in it."""
    events: tuple[EventView, ...] = ()
    """The Job controller's events about a Job that has no pod, where they were asked for."""
    reported: StageProgress | None = None
    """Progress as the container that converts reports it."""
    rejection: Rejection | None = None
    """Why the Job could not be created, or the profile not be taken on, when that was just tried."""
    profile: ResolvedProfile | None = None
    """The profile that the run has still to take on, where there is one of that name."""
    pinned: frozenset[str] = frozenset()
    """Fields of the Job that the cluster did not let this operator change."""
    rivals: tuple[Rival, ...] = ()
    """Conversions that write to the same place."""
    strays: tuple[JobView, ...] = ()
    """Jobs of earlier runs that have not ended: they would write where the present run does."""
