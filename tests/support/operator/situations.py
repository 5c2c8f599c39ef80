"""Situations of a run, and the words in which a decision speaks of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from modelconversion_api.status import ModelConversionStatus
from modelconversion_operator.deciding.decisions import Decision
from modelconversion_operator.deciding.views import EventView
from support.operator.objects import NOW, conversion, decide, wire

BEGUN = NOW - timedelta(seconds=3000)


def begun(at: Any = BEGUN, **changes: Any) -> ModelConversionStatus:
    """The status of a run that began then, and whose Job exists."""
    return decide(conversion(), None, [], at).status.model_copy(update={"job_uid": "job-1", **changes})


def condition(decision: Decision) -> tuple[str, str]:
    only = decision.status.conditions[0]
    return only.status, only.reason


def words(decision: Decision) -> str:
    return decision.status.conditions[0].message


def refused(message: str, age: float = 0) -> EventView:
    """The Job controller's event about a pod that it could not create."""
    return EventView.from_body(
        {
            "metadata": {"name": "gesture-1.18", "namespace": "ml", "uid": f"event-{age}"},
            "involvedObject": {"kind": "Job", "uid": "job-1"},
            "reason": "FailedCreate",
            "type": "Warning",
            "message": f"Error creating: {message}",
            "source": {"component": "job-controller"},
            "firstTimestamp": wire(NOW - timedelta(seconds=age)),
            "lastTimestamp": wire(NOW - timedelta(seconds=age)),
            "count": 1,
        }
    )


def unschedulable(message: str, reason: str = "Unschedulable") -> list[dict[str, Any]]:
    return [{"type": "PodScheduled", "status": "False", "reason": reason, "message": message}]


def disrupted(reason: str, message: str) -> list[dict[str, Any]]:
    return [{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}]
