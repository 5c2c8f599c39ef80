"""The status that the process node reports is a kubelet's."""

from __future__ import annotations

from typing import Any

import pytest

from devcluster.process_node.pod_status import CREATING, INITIALIZING, lost, pod_status, running, terminated

POD: dict[str, Any] = {
    "metadata": {"uid": "u"},
    "spec": {"initContainers": [{"name": "init"}], "containers": [{"name": "a"}, {"name": "b"}]},
}
START = "2026-01-01T00:00:00Z"
OK, BAD = terminated(0, START), terminated(7, START)


@pytest.mark.parametrize(
    ("init", "a", "b", "phase"),
    [
        (INITIALIZING, INITIALIZING, INITIALIZING, "Pending"),
        (running(START), INITIALIZING, INITIALIZING, "Pending"),
        (BAD, INITIALIZING, INITIALIZING, "Failed"),
        (OK, CREATING, CREATING, "Pending"),
        (OK, running(START), CREATING, "Running"),
        (OK, OK, running(START), "Running"),
        (OK, OK, OK, "Succeeded"),
        (OK, OK, BAD, "Failed"),
        (OK, lost(START), OK, "Failed"),
    ],
)
def test_phase(init: Any, a: Any, b: Any, phase: str) -> None:
    assert pod_status(POD, {"init": init, "a": a, "b": b})["phase"] == phase


def test_conditions_keep_their_time_while_they_do_not_change() -> None:
    first = pod_status(POD, {"init": OK, "a": running(START), "b": running(START)})
    old = [{**c, "lastTransitionTime": START} for c in first["conditions"]]
    kept = {"type": "DisruptionTarget", "status": "True", "lastTransitionTime": START}
    pod = {**POD, "status": {"conditions": [*old, kept]}}
    second = {c["type"]: c for c in pod_status(pod, {"init": OK, "a": OK, "b": OK})["conditions"]}
    assert second["Initialized"]["lastTransitionTime"] == START
    assert second["Ready"]["lastTransitionTime"] != START
    assert second["Ready"]["reason"] == "PodCompleted"
    assert second["DisruptionTarget"] == kept
