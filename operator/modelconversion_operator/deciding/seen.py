"""Everything that is known of one conversion at the moment of a decision."""

from __future__ import annotations

from dataclasses import dataclass

from modelconversion_api.request import StageProgress
from modelconversion_operator.deciding.decisions import Rejection
from modelconversion_operator.deciding.views import ConversionView, EventView, JobView, PodView


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
    """Why the Job could not be created, when that was just tried."""
    strays: tuple[JobView, ...] = ()
    """Jobs of earlier runs that have not ended: they would write where the present run does."""
