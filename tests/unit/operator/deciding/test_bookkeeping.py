"""What every status has in common: generations, the conditions of kstatus, and time that does not count."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from modelconversion_api.reasons import FailureReason
from modelconversion_api.status import ModelConversionStatus
from modelconversion_operator.telemetry.metrics import Metrics
from support.operator.objects import (
    NOW,
    conversion,
    decide,
    ended,
    failure_message,
    job,
    pod,
    published,
    running,
)


def kstatus(generation: int, status: dict[str, Any]) -> str:
    """Return what kstatus computes for a custom resource, by the rules that its README gives."""
    if status.get("observedGeneration") not in (None, generation):
        return "InProgress"
    conditions = {c["type"]: c for c in status.get("conditions", ())}
    for kind, result in (("Reconciling", "InProgress"), ("Stalled", "Failed")):
        if conditions.get(kind, {}).get("status") == "True":
            return result
    ready = conditions.get("Ready")
    return "Current" if ready is None or ready["status"] == "True" else "InProgress"


def _ends() -> dict[str, ModelConversionStatus]:
    begun = decide(conversion(), None, [], NOW).status
    under_way = decide(conversion(begun), job(), [pod(running())], NOW).status
    done = [pod(ended(), ended(), ended(message=published()), phase="Succeeded")]
    message = failure_message(FailureReason.UNREADABLE_MODEL)
    broken = [pod(ended(), ended(21, message), phase="Failed")]
    return {
        "begun": begun,
        "running": under_way,
        "suspended": decide(conversion(begun, suspend=True), None, [], NOW).status,
        "succeeded": decide(conversion(under_way), job(complete=True), done, NOW).status,
        "failed": decide(conversion(under_way), job(failed="PodFailurePolicy"), broken, NOW).status,
        "refused": decide(conversion(job={"serviceAccountName": "admin"}), None, [], NOW).status,
    }


@pytest.mark.parametrize(
    ("state", "result"),
    [
        ("begun", "InProgress"),
        ("running", "InProgress"),
        ("suspended", "InProgress"),
        ("succeeded", "Current"),
        ("failed", "Failed"),
        ("refused", "Failed"),
    ],
)
def test_tools_that_read_kstatus_see_how_it_is(state: str, result: str) -> None:
    status = _ends()[state].to_wire()
    assert kstatus(1, status) == result
    assert kstatus(2, status) == "InProgress"
    (succeeded, *others) = status["conditions"]
    assert succeeded["type"] == "Succeeded"
    assert {c["reason"] for c in others} == {succeeded["reason"]}
    shown = {c["message"] for c in others if c["type"] in ("Reconciling", "Stalled")}
    assert shown <= {succeeded["message"]} != {""}
    assert {c["observedGeneration"] for c in status["conditions"]} == {1}


def test_a_time_moves_with_its_condition_only() -> None:
    begun = decide(conversion(), None, [], NOW).status
    later = NOW + timedelta(seconds=40)
    under_way = decide(conversion(begun), job(), [pod(running())], later).status
    assert {c.last_transition_time for c in under_way.conditions} == {NOW}
    done = [pod(ended(), ended(), ended(message=published()), phase="Succeeded")]
    end = decide(conversion(under_way), job(complete=True), done, later).status
    assert {c.type: c.last_transition_time for c in end.conditions} == {"Succeeded": later, "Ready": later}


def _run(
    status: ModelConversionStatus, at: datetime, *pods: Any, suspend: bool = False
) -> ModelConversionStatus:
    return decide(conversion(status, suspend=suspend), job(suspend=suspend), pods, at).status


def test_suspended_time_is_neither_queue_nor_duration() -> None:
    """Suspended from the first to the 100th second and from the 130th to the 190th, of 200: 40 are left."""
    status = decide(conversion(suspend=True), None, [], NOW).status
    status = decide(conversion(status), None, [], NOW + timedelta(seconds=100)).status
    assert status.worked_seconds(NOW + timedelta(seconds=110)) == 10
    status = _run(status, NOW + timedelta(seconds=120), pod(running()))
    status = _run(status, NOW + timedelta(seconds=130), pod(running()), suspend=True)
    assert status.suspended_since == NOW + timedelta(seconds=130)
    status = _run(status, NOW + timedelta(seconds=150), suspend=True)
    status = _run(status, NOW + timedelta(seconds=190), pod(running()))
    assert (status.suspended_since, status.suspended_seconds) == (None, 160)
    done = pod(ended(), ended(), ended(message=published()), phase="Succeeded")
    status = _run(status, NOW + timedelta(seconds=200), done)
    assert status.duration == "40s"
    metrics = Metrics()
    metrics.conversion_ended(status, None)
    name = "modelconversion_duration_seconds_sum"
    assert metrics.registry.get_sample_value(name, {"outcome": "succeeded"}) == 40


def test_a_new_run_begins_with_no_suspended_time() -> None:
    status = decide(conversion(suspend=True), None, [], NOW).status
    status = status.model_copy(update={"suspended_seconds": 7})
    failed = decide(conversion(status, job={"serviceAccountName": "a"}), None, [], NOW).status
    again = decide(conversion(failed, generation=2, methods=["Float16"]), None, [], NOW).status
    assert again.suspended_seconds is None


def test_buckets_reach_as_far_as_the_longest_deadline() -> None:
    text = {
        metric.name: {s.labels["le"] for s in metric.samples if "le" in s.labels}
        for metric in Metrics().registry.collect()
    }
    for name in ("duration", "queue_duration", "start_duration", "stage_duration"):
        assert "604800.0" in text[f"modelconversion_{name}_seconds"]
