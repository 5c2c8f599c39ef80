"""The status that a kubelet would report of a Pod. Pure functions over the Pod's JSON."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

CREATING: Json = {"waiting": {"reason": "ContainerCreating"}}
INITIALIZING: Json = {"waiting": {"reason": "PodInitializing"}}


def now() -> str:
    """Return the time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def waiting(reason: str, message: str) -> Json:
    """Return the state of a container that cannot start yet."""
    return {"waiting": {"reason": reason, "message": message}}


def running(started: str) -> Json:
    """Return the state of a container that runs."""
    return {"running": {"startedAt": started}}


def terminated(exit_code: int, started: str, message: str = "", reason: str | None = None) -> Json:
    """Return the state of a container that has ended."""
    state: Json = {
        "exitCode": exit_code,
        "reason": reason or ("Error" if exit_code else "Completed"),
        "startedAt": started,
        "finishedAt": now(),
    }
    if message:
        state["message"] = message
    return {"terminated": state}


def lost(started: str) -> Json:
    """Return the state of a container that nobody knows of any more, in the kubelet's words."""
    message = "The container could not be located when the pod was terminated"
    return terminated(137, started, message, "ContainerStatusUnknown")


def has_ended(state: Json) -> bool:
    """Whether the container's process is over."""
    return "terminated" in state


def pod_ip(pod: Json) -> str:
    """Return an address for each Pod: all of 127.0.0.0/8 is this machine, so ports do not collide."""
    number = zlib.crc32(str(pod["metadata"]["uid"]).encode())
    return f"127.{1 + number % 254}.{number >> 8 & 255}.{1 + (number >> 16) % 254}"


def pod_status(pod: Json, states: dict[str, Json], *, reason: str = "", message: str = "") -> Json:
    """Return the Pod's whole status from the states of its containers, by name."""
    spec = pod["spec"]
    inits = [_container_status(pod, c, states[c["name"]], init=True) for c in spec.get("initContainers", ())]
    mains = [_container_status(pod, c, states[c["name"]], init=False) for c in spec["containers"]]
    phase = _phase(inits, mains)
    if reason:  # a verdict on the Pod itself, such as a lost node
        phase = "Failed"
    over = phase in ("Succeeded", "Failed")
    initialized = all(s["ready"] for s in inits)
    ready = not over and all(s["ready"] for s in mains)
    ready_reason = "PodCompleted" if phase == "Succeeded" else "PodFailed" if over else "ContainersNotReady"
    conditions = [
        _condition(pod, "PodReadyToStartContainers", not over, "" if not over else ready_reason),
        _condition(pod, "Initialized", initialized, "" if initialized else "ContainersNotInitialized"),
        _condition(pod, "Ready", ready, "" if ready else ready_reason),
        _condition(pod, "ContainersReady", ready, "" if ready else ready_reason),
        _condition(pod, "PodScheduled", True, ""),
    ]
    others = [c for c in _conditions(pod) if c["type"] not in {c["type"] for c in conditions}]
    status: Json = {
        "phase": phase,
        "conditions": conditions + others,
        "hostIP": "127.0.0.1",
        "podIP": pod_ip(pod),
        "podIPs": [{"ip": pod_ip(pod)}],
        "startTime": pod.get("status", {}).get("startTime") or now(),
        "qosClass": pod.get("status", {}).get("qosClass", "BestEffort"),
        "containerStatuses": mains,
    }
    if inits:
        status["initContainerStatuses"] = inits
    if reason:
        status |= {"reason": reason, "message": message}
    return status


def _phase(inits: list[Json], mains: list[Json]) -> str:
    if any("terminated" in s["state"] and s["state"]["terminated"]["exitCode"] for s in inits):
        return "Failed"
    if all(has_ended(s["state"]) for s in mains):
        failed = any(s["state"]["terminated"]["exitCode"] for s in mains)
        return "Failed" if failed else "Succeeded"
    return "Running" if any("waiting" not in s["state"] for s in mains) else "Pending"


def _container_status(pod: Json, container: Json, state: Json, *, init: bool) -> Json:
    ended = state.get("terminated")
    ready = (ended is not None and not ended["exitCode"]) if init else "running" in state
    status: Json = {
        "name": container["name"],
        "image": container.get("image", ""),
        "imageID": "",  # no image was used
        "ready": ready,
        "started": "running" in state,
        "restartCount": 0,
        "state": state,
    }
    if "waiting" not in state:
        status["containerID"] = f"process://{pod['metadata']['uid']}/{container['name']}"
    return status


def _condition(pod: Json, kind: str, holds: bool, reason: str) -> Json:
    status = "True" if holds else "False"
    before = next((c for c in _conditions(pod) if c["type"] == kind), None)
    unchanged = before is not None and before["status"] == status
    condition: Json = {
        "type": kind,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": before["lastTransitionTime"] if before and unchanged else now(),
    }
    return condition | ({"reason": reason} if reason else {})


def _conditions(pod: Json) -> list[Json]:
    conditions: list[Json] = pod.get("status", {}).get("conditions") or []
    return conditions
