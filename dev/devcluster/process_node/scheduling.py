"""Whether the process node can take a Pod, in the words of the Kubernetes scheduler."""

from __future__ import annotations

import os
import platform
import shutil
from typing import Any

from devcluster.process_node.environment import parse_quantity, pod_request
from devcluster.process_node.pod_status import now

Json = dict[str, Any]


def machine_labels(name: str) -> dict[str, str]:
    """Return the labels that a kubelet gives its node."""
    machine = platform.machine()
    return {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
    }


def machine_capacity(max_pods: int) -> dict[str, str]:
    """Return the machine's size, as Kubernetes quantities."""
    return {
        "cpu": str(os.cpu_count() or 1),
        "memory": str(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        "ephemeral-storage": str(shutil.disk_usage("/").free),
        "pods": str(max_pods),
    }


def misfit(pod: Json, labels: dict[str, str], capacity: dict[str, str], running: int) -> str:
    """Why a node cannot take the Pod beside ``running`` others; empty when it can."""
    selector: Json = pod["spec"].get("nodeSelector", {})
    if any(labels.get(key) != value for key, value in selector.items()):
        return "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    for resource in ("cpu", "memory", "ephemeral-storage"):
        if pod_request(pod, resource) > parse_quantity(capacity[resource]):
            return f"0/1 nodes are available: 1 Insufficient {resource}."
    if running >= int(capacity["pods"]):
        return "0/1 nodes are available: 1 Too many pods."
    return ""


def is_for_scheduler(pod: Json) -> bool:
    """Whether the default scheduler would look at this Pod."""
    spec = pod["spec"]
    return (
        "nodeName" not in spec
        and "deletionTimestamp" not in pod["metadata"]
        and not spec.get("schedulingGates")
        and spec.get("schedulerName", "default-scheduler") == "default-scheduler"
    )


def unschedulable(pod: Json, problem: str) -> Json | None:
    """Return the status of a Pod that must wait; None when it says so already."""
    conditions = pod["status"].get("conditions") or []
    if any(c["type"] == "PodScheduled" and c.get("message") == problem for c in conditions):
        return None
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": problem,
        "lastTransitionTime": now(),
    }
    return {"phase": "Pending", "conditions": [condition]}
