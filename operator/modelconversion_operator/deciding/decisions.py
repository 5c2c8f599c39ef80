"""What a decision about one conversion consists of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from modelconversion_api.reasons import FailureReason
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_api.status import FailureInfo, ModelConversionStatus, Phase, Reason, Recommended
from modelconversion_api.text import human_size
from modelconversion_operator.deciding.conditions import ended, with_condition
from modelconversion_operator.deciding.manifest import CONVERTS, Part
from modelconversion_operator.deciding.outcome import remarks_of
from modelconversion_operator.deciding.views import ConversionView

_LONGEST_EVENT: Final = 1024
"""Characters of a message that Kubernetes takes."""


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes event on a conversion or a set."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str

    def to_wire(self, now: datetime) -> dict[str, Any]:
        """Return it as Kubernetes has events, without the object that it is about."""
        stamp = now.isoformat()
        return {
            "type": self.type,
            "reason": str(self.reason),
            "message": self.message[:_LONGEST_EVENT],
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }


@dataclass(frozen=True, slots=True)
class CreateJob:
    """Create the run's Job; that it exists already is a success."""

    run: str
    spec: ModelConversionSpec
    part: Part = CONVERTS
    """Which of the run's Jobs it is."""


@dataclass(frozen=True, slots=True)
class PatchJob:
    """Change what may change of a Job; what is None stays as it is."""

    name: str
    suspend: bool | None = None
    ttl_seconds: int | None = None
    parallelism: int | None = None
    backoff_limit: int | None = None
    active_deadline_seconds: int | None = None
    run: str | None = None
    """Write the labels and the owner reference of this run's Job again."""
    event: Event | None = None
    """To be written once the Job has been changed."""


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Stop and remove a Job that has nothing left to give."""

    name: str


JobAction = CreateJob | PatchJob | DeleteJob


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, in the order of the fields, and when to look again."""

    status: ModelConversionStatus
    job_action: JobAction | None = None
    events: tuple[Event, ...] = ()
    recheck_seconds: float | None = None
    """Seconds after which to decide again even if nothing happens; None: only when something does."""
    to_check: ModelConversionSpec | None = None
    """What the API server must be ready to take as a conversion before the status is written."""
    wants_place: bool = False
    """Whether a place was asked for: without one the conversion stands in line, else it was admitted."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """The Job was not made: the API server refused it, or no server could run it."""

    message: str
    permanent: bool
    reason: FailureReason = FailureReason.JOB_REJECTED


def failed(
    conversion: ConversionView, status: ModelConversionStatus, why: FailureInfo, now: datetime
) -> Decision:
    """End a run that failed: status and event say the same; the metric counts it."""
    status = ended(status, Phase.FAILED, now).model_copy(update={"failure": why})
    status = with_condition(status, conversion, "False", why.reason, why.message, now)
    return Decision(status, events=(Event("Warning", why.reason, why.message),), recheck_seconds=0)


def succeeded(
    conversion: ConversionView, status: ModelConversionStatus, recommended: Recommended, now: datetime
) -> Decision:
    """End a run that gave a file to use: status and event say the same; the metric counts it."""
    status = ended(status, Phase.SUCCEEDED, now)
    sizes = ", ".join(f"{a.made_by} {human_size(a.size_bytes)}" for a in status.artifacts)
    without = remarks_of(status)
    words = f"{sizes}; recommended: {recommended.made_by}{f'; {without}' if without else ''}"
    status = with_condition(status, conversion, "True", Reason.CONVERTED, words, now)
    return Decision(status, events=(Event("Normal", Reason.CONVERTED, words),))
