"""A kubelet's words, written by a test: of pods that no node of the cluster runs."""

from __future__ import annotations

import json
from typing import Any

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.process_node.pod_status import now
from support.cluster.conversions import Conversions, until

Json = dict[str, Any]

SELECTOR = {"devcluster/kept-for": "tests"}
"""A nodeSelector that keeps a pod from the process node."""
_NODE = "kept-for-tests"


def running() -> Json:
    return {"running": {"startedAt": now()}}


def waiting(reason: str, message: str = "") -> Json:
    return {"waiting": {"reason": reason, "message": message}}


def ended(code: int = 0, reason: str = "", message: str = "") -> Json:
    state = {"exitCode": code, "reason": reason or ("Error" if code else "Completed"), "message": message}
    return {"terminated": {**state, "startedAt": now(), "finishedAt": now()}}


class Kubelet:
    """Writes the status of pods that carry :data:`SELECTOR`, on a node that exists as an object only."""

    def __init__(self, cluster: ControlPlane, conversions: Conversions) -> None:
        self._cluster, self._conversions = cluster, conversions
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": _NODE, "labels": SELECTOR}}
        cluster.api.patch(f"/api/v1/nodes/{_NODE}", node, "apply")

    def pods(self) -> list[Json]:
        """The pods of the test's namespace, the oldest first."""
        items = self._cluster.api.get(f"/api/v1/namespaces/{self._conversions.namespace}/pods")["items"]
        return sorted(items, key=lambda p: str(p["metadata"]["creationTimestamp"]))

    def take(self, number: int = 1) -> Json:
        """Wait for the ``number``-th pod and bind it to the node."""
        until(
            lambda: len(self.pods()) >= number,
            f"there are {number} pods",
            60,
            lambda: json.dumps(self.pods()),
        )
        pod = self.pods()[number - 1]
        self.bind(pod)
        return pod

    def bind(self, pod: Json) -> None:
        """Bind a pod to the node."""
        target = {"apiVersion": "v1", "kind": "Node", "name": _NODE}
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod["metadata"]["name"]},
            "target": target,
        }
        self._cluster.api.create(f"{self._path(pod)}/binding", body)

    def says(self, pod: Json, *states: Json, phase: str = "Pending", **status: Any) -> None:
        """Write the states of the containers, in the spec's order; those not given wait for their turn."""
        init = [c["name"] for c in pod["spec"].get("initContainers", ())]
        names = [*init, *(c["name"] for c in pod["spec"]["containers"])]
        turn = [*states, *[waiting("PodInitializing")] * (len(names) - len(states))]
        statuses = [
            {"name": name, "image": "c", "imageID": "", "ready": False, "restartCount": 0, "state": state}
            for name, state in zip(names, turn, strict=True)
        ]
        body = {
            "phase": phase,
            "initContainerStatuses": statuses[: len(init)],
            "containerStatuses": statuses[len(init) :],
            "startTime": now(),
            **status,
        }
        self._cluster.api.patch(f"{self._path(pod)}/status", {"status": body})

    def lets_go(self, pod: Json) -> None:
        """Say that the processes of a pod that is being deleted are gone."""
        self._cluster.api.delete(self._path(pod), {"gracePeriodSeconds": 0})

    def _path(self, pod: Json) -> str:
        return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
