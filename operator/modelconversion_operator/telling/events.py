"""Which events follow from a status, and what is in them: pure functions, CloudEvents 1.0 in structured JSON.

An event's id is made of the run that it speaks of, so that sending it twice sends the same event twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from pydantic_core import to_json

from modelconversion_api.base import GROUP, PLURAL
from modelconversion_api.sets import SET_PLURAL
from modelconversion_api.status import SUCCEEDED, Condition, Phase
from modelconversion_operator.deciding.views import ConversionView
from modelconversion_operator.sets.views import SetView

CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
_TYPE_PREFIX: Final = "dev.edgeml.conversion."

_LONGEST_MESSAGE: Final = 4096
"""Characters: a status may have eight times as many, and a thousand events wait in memory."""

View = ConversionView | SetView


class Kind(StrEnum):
    """What is told; a set's are those of its members taken together."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SET_STARTED = "set.started"
    SET_SUCCEEDED = "set.succeeded"
    SET_FAILED = "set.failed"

    @property
    def type(self) -> str:
        """The event's type."""
        return _TYPE_PREFIX + self.value


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that is to be told.

    Attributes:
        kind: What it is.
        id: The event's id: the same for the same run and kind, whoever makes it and whenever.
        time: When it was, in UTC and whole seconds.

    """

    kind: Kind
    id: str
    time: datetime


def moments_of(view: View) -> list[Moment]:
    """Return what a status says has happened: that the run began, and how it ended."""
    status = view.status
    began, ended = status.start_time, status.completion_time
    moments = []
    if began is not None:
        kind = Kind.SET_STARTED if isinstance(view, SetView) else Kind.STARTED
        moments.append(_moment(view, kind, began))
    if ended is not None and status.phase in (Phase.SUCCEEDED, Phase.FAILED):
        is_good = status.phase is Phase.SUCCEEDED
        if isinstance(view, SetView):
            kind = Kind.SET_SUCCEEDED if is_good else Kind.SET_FAILED
        else:
            kind = Kind.SUCCEEDED if is_good else Kind.FAILED
        moments.append(_moment(view, kind, ended))
    return moments


def _moment(view: View, kind: Kind, time: datetime) -> Moment:
    """Name a moment.

    A conversion's run is known by its name. A set may end several times in one, as its failed members
    are tried again: it is known by the second.
    """
    run = int(time.timestamp()) if isinstance(view, SetView) else view.status.run or 0
    return Moment(kind, f"{view.key.uid}/{run}/{kind}", time.astimezone(UTC))


def times_of(body: Any) -> Iterable[str]:
    """Return the times of what may have happened, as an object of the API server has them."""
    status = body.get("status") or {}
    return filter(None, (status.get("startTime"), status.get("completionTime")))


def encode(view: View, moment: Moment) -> bytes:
    """Return the event: what an HTTP request carries."""
    key, is_set = view.key, isinstance(view, SetView)
    plural = SET_PLURAL if is_set else PLURAL
    return to_json(
        {
            "specversion": "1.0",
            "id": moment.id,
            "source": f"/apis/{GROUP}/namespaces/{key.namespace}/{plural}/{key.name}",
            "type": moment.kind.type,
            "subject": key.name,
            "time": _stamp(moment.time),
            "datacontenttype": "application/json",
            "data": _data(view, moment),
        }
    )


def _data(view: View, moment: Moment) -> dict[str, Any]:
    """Return the small facts; of a run that has just begun only what holds from its start.

    The event of a start is made from whatever the status is by then, and must not depend on when that was.
    """
    key, status = view.key, view.status
    facts: dict[str, Any] = {
        "namespace": key.namespace,
        "name": key.name,
        "uid": key.uid,
        **_begun_with(view),
        "startTime": _stamp(status.start_time),
    }
    is_end = moment.kind not in (Kind.STARTED, Kind.SET_STARTED)
    if isinstance(view, ConversionView):
        facts |= {"source": {"uri": _uri(view.spec, "source")}, "output": {"uri": _uri(view.spec, "output")}}
    if is_end:
        facts |= {
            "completionTime": _stamp(status.completion_time),
            "phase": str(status.phase),
            **_verdict(status.conditions),
            **(_set_results(view) if isinstance(view, SetView) else _results(view)),
        }
    return _without_none(facts)


def _begun_with(view: View) -> dict[str, Any]:
    """Return what tells a run from the others of its object."""
    if isinstance(view, SetView):
        return {"generation": view.status.observed_generation}
    return {"generation": view.status.run_generation or 0, "runAgain": view.status.run_again}


def _results(view: ConversionView) -> dict[str, Any]:
    """Return what a conversion has come to."""
    status, source, best = view.status, view.status.source, view.status.recommended
    file = next((a for a in status.artifacts if best is not None and a.made_by == best.made_by), None)
    profile, failure = status.profile, status.failure
    return {
        "duration": status.duration,
        "source": {
            "uri": _uri(view.spec, "source"),
            "sha256": source and source.sha256,
            "sizeBytes": source and source.size_bytes,
            "format": source and str(source.format),
        },
        "profile": profile and {"kind": str(profile.kind), "name": profile.name},
        "recommended": best
        and {
            "name": best.made_by,
            "uri": best.uri,
            "reason": best.reason,
            "sha256": file and file.sha256,
            "sizeBytes": file and file.size_bytes,
            "agreement": file and file.agreement,
            "accuracy": file and file.accuracy,
        },
        "artifacts": len(status.artifacts),
        "stage": str(failure.stage) if failure is not None and failure.stage is not None else None,
        "reportUri": status.report_uri,
    }


def _set_results(view: SetView) -> dict[str, Any]:
    """Return what a set has come to."""
    status = view.status
    return {
        "total": status.total,
        "succeeded": status.succeeded,
        "failed": status.failed,
        "comparisonUri": status.comparison_uri,
    }


def _verdict(conditions: Sequence[Condition]) -> dict[str, str]:
    """Return reason and message as the condition has them."""
    found = next((c for c in conditions if c.type == SUCCEEDED), None)
    return (
        {}
        if found is None
        else {
            "reason": str(found.reason),
            "message": found.message[:_LONGEST_MESSAGE],
        }
    )


def _uri(spec: Any, part: str) -> str | None:
    """Return a uri of a spec that nobody has checked."""
    inner = spec.get(part)
    uri = inner.get("uri") if isinstance(inner, dict) else None
    return uri if isinstance(uri, str) else None


def _stamp(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _without_none(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_none(inner) if isinstance(inner, dict) else inner
        for name, inner in facts.items()
        if inner is not None
    }
