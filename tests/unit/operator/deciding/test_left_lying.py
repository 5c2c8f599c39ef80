"""A node that restarts between two containers leaves the pod lying: another Job takes its place."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from modelconversion_api.status import Phase
from modelconversion_operator.deciding.decisions import CreateJob
from modelconversion_operator.deciding.manifest import Part, job_manifest, job_name
from modelconversion_operator.deciding.seen import Seen
from modelconversion_operator.deciding.views import PodView
from support.operator import objects
from support.operator.objects import (
    CONTAINERS,
    DEFAULTS,
    KEY,
    NOW,
    conversion,
    decide,
    ended,
    job,
    pod,
    running,
    waiting,
    wire,
)

BEGUN = decide(conversion(), None, [], NOW).status
RUNNING = decide(conversion(BEGUN), job(), [pod(running())], NOW).status


def left_lying(*states: dict[str, Any], age: float = 60, ready: str = "False") -> PodView:
    """A pod as the kubelet shows it after that (kubernetes/kubernetes#118321)."""
    sandbox = {
        "type": "PodReadyToStartContainers",
        "status": ready,
        "lastTransitionTime": wire(NOW - timedelta(seconds=age)),
    }
    found = [
        {"name": c, "state": s, "containerID": "containerd://1"}
        for c, s in zip(CONTAINERS, states, strict=False)
    ]
    waits = [{"name": c, "state": waiting("PodInitializing")} for c in CONTAINERS[len(found) :]]
    shown = [*found, *waits]
    lists = {"initContainerStatuses": shown[:2], "containerStatuses": shown[2:]}
    return pod(phase="Pending", conditions=[sandbox], age=300, **lists)


LYING = {
    "after fetch": left_lying(ended()),
    "before fetch": left_lying(waiting("PodInitializing")),
    "before publish": left_lying(ended(), ended(), waiting("ContainerCreating")),
}


@pytest.mark.parametrize("before", [BEGUN, RUNNING], ids=["pending", "running"])
@pytest.mark.parametrize("lying", LYING.values(), ids=LYING.keys())
def test_a_pod_that_its_node_left_lying_gives_way_to_another_job(lying, before) -> None:
    decision = decide(conversion(before), job(), [lying], NOW)
    second = job_name(KEY, "1", Part(repeat=1))
    assert (decision.status.phase, decision.status.job_name, decision.status.job_uid) == (
        Phase.PENDING,
        second,
        None,
    )
    assert [e.reason for e in decision.events] == ["Retrying"]
    assert lying.name in decision.events[0].message
    seen = Seen(conversion(decision.status), strays=(job(),))
    assert objects.deciding.decide(seen, NOW).job_action is None, "the first Job goes before"
    made = decide(conversion(decision.status), None, [], NOW)
    assert made.job_action == CreateJob("1", made.job_action.spec, Part(repeat=1))
    assert (
        job_manifest(KEY, "1", made.job_action.spec, DEFAULTS, part=Part(repeat=1))["metadata"]["name"]
        == second
    )


@pytest.mark.parametrize(
    "standing",
    [
        left_lying(ended(), age=10),
        left_lying(ended(), ready="True"),
        left_lying(ended(), running()),
        left_lying(),
        pod(ended(), waiting("PodInitializing"), phase="Pending"),
    ],
    ids=["a moment", "with sandbox", "one runs", "no container was made", "an older cluster's"],
)
def test_a_pod_that_may_go_on_is_left_alone(standing) -> None:
    decision = decide(conversion(RUNNING), job(), [standing], NOW)
    assert decision.status.job_name == job_name(KEY, "1")
    assert decision.events == ()


def test_pods_are_left_lying_as_often_as_failures_are_tried_again() -> None:
    status = RUNNING
    names = []
    for _ in range(3):
        decision = decide(conversion(status), job(), [LYING["after fetch"]], NOW)
        status = decision.status
        names.append(status.job_name)
    assert names == [
        job_name(KEY, "1", Part(repeat=1)),
        job_name(KEY, "1", Part(repeat=2)),
        job_name(KEY, "1", Part(repeat=2)),
    ]
    assert (status.phase, status.failure and status.failure.reason) == (Phase.FAILED, "NodeLost")
    assert status.failure.pod == LYING["after fetch"].name


def test_so_does_the_job_that_reads_a_report() -> None:
    lost = decide(conversion(RUNNING), job(complete=True), [], NOW).status
    reading = decide(conversion(lost), None, [], NOW).status
    lying = left_lying(waiting("ContainerCreating"))
    decision = decide(
        conversion(reading), job(meta={"name": job_name(KEY, "1", Part(reads_report=True))}), [lying], NOW
    )
    assert decision.status.job_name == job_name(KEY, "1", Part(reads_report=True, repeat=1))
    made = decide(conversion(decision.status), None, [], NOW)
    assert (made.job_action.part.reads_report, made.job_action.part.repeat) == (True, 1)
