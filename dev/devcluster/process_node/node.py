"""A node that runs Pods' containers as local processes.

``python -m devcluster.process_node --kubeconfig FILE --state FOLDER``

It stands in for scheduler and kubelet where there is no container runtime, and is for tests and
demonstrations only. What it does as the real ones do:

- It binds Pods to itself. A ``nodeSelector`` that it does not match, requests beyond the machine's size, or
  more Pods than it takes leave a Pod pending, with ``PodScheduled=False`` and the reason Unschedulable.
- Init containers run one after another, then all containers; states, exit codes (128+n after signal n),
  termination messages, phases and conditions are the kubelet's. ``restartPolicy`` is taken as Never, which is
  what Jobs with a pod failure policy have.
- A Pod that is deleted gets SIGTERM, its grace period, then SIGKILL.
- After a restart, the containers that ran before are reported as lost and their Pods as failed.

What it does differently:

- Images are not used. A container's program is looked for in the folder of this Python's scripts, then in the
  system's; a container without ``command`` gets the command of ``--entrypoint``.
- There is no mount namespace. Each volume is a folder; in command, arguments, working folder and plain
  environment values, every mount path and the path of the termination message (whole path components, the
  longest first) is replaced by the folder that stands for it. Read-only mounts are not enforced.
- Each Pod has an address of its own in 127.0.0.0/8, on which its containers may listen.
- A container sees only its own environment, with PATH and HOME added, and its own folders: that, and nothing
  more, is the isolation. Security contexts, limits, probes, lifecycle hooks and service account tokens are
  left out.
- ``kubectl logs`` does not work; the logs are ``STATE/pods/NAMESPACE_NAME_UID/CONTAINER.log``.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import threading
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, Self

import httpx

from devcluster.control_plane.api import KubeApi
from devcluster.errors import ApiError
from devcluster.process_node import pod_status
from devcluster.process_node.pod_process import PodProcess
from devcluster.process_node.scheduling import (
    is_for_scheduler,
    machine_capacity,
    machine_labels,
    misfit,
    unschedulable,
)
from devcluster.programs import tells_errors

Json = dict[str, Any]

DEFAULT_ENTRYPOINT = "tflite-converter"
_RETRY_SECONDS = 0.5
_RESYNC_SECONDS = 120
# A server that has just started refuses everybody until it has read the roles.
_PASSING = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.TOO_MANY_REQUESTS)
_FINAL = ("Succeeded", "Failed")


class _Outcome(Enum):
    DONE = "done"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


class ProcessNode:
    """A node that runs Pods as processes while the context is open.

    ``state`` holds the logs and the running Pods' volumes. At most ``max_pods`` run at a time.
    """

    def __init__(
        self,
        kubeconfig: Path,
        state: Path,
        *,
        name: str = "process-node",
        max_pods: int = 4,
        entrypoint: str = DEFAULT_ENTRYPOINT,
    ) -> None:
        self.name = name
        self.logs = state / "pods"
        """Folder of the logs, as in ``NAMESPACE_NAME_UID/CONTAINER.log``."""
        self.claims = state / "claims"
        """Folder of what is behind PersistentVolumeClaims, as in ``NAMESPACE/CLAIM``; nothing binds these."""
        self.image_environment: dict[str, str] = {}
        """What the images of containers that start from now on would set, e.g. where their drivers lie."""
        self._api = KubeApi(kubeconfig)
        self._entrypoint = entrypoint
        self._labels = machine_labels(name)
        self._capacity = machine_capacity(max_pods)
        self._lock = threading.RLock()
        self._pods: dict[str, Json] = {}
        self._running: dict[str, PodProcess] = {}
        self._finished: set[str] = (
            set()
        )  # what ran to its end here; the watch may still bring older news of it
        self._graces: dict[str, float] = {}  # what is being stopped, and how quickly
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        self._register()
        self._spawn(self._watch)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        with self._lock:
            running = list(self._running.values())
        for process in running:
            process.stop(0)
        self._api.end_watches()
        for thread in self._threads:
            thread.join()
        self._api.close()

    # The node itself.

    def _register(self) -> None:
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": self._labels},
        }
        self._api.patch(f"/api/v1/nodes/{self.name}", node, "apply")
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "ProcessNodeReady",
            "message": "runs containers as processes",
            "lastHeartbeatTime": pod_status.now(),
            "lastTransitionTime": pod_status.now(),
        }
        status = {"capacity": self._capacity, "allocatable": self._capacity, "conditions": [ready]}
        self._api.patch(f"/api/v1/nodes/{self.name}/status", {"status": status})

    # Watching.

    def _watch(self) -> None:
        """Follow all Pods: list, then watch, and again when the watch ends or breaks."""
        while not self._stopping.is_set():
            try:
                pods = self._api.get("/api/v1/pods")
                with self._lock:
                    self._pods = {p["metadata"]["uid"]: p for p in pods["items"]}
                    self._finished &= self._pods.keys()
                    for uid in self._running.keys() - self._pods.keys():
                        self._stop(uid, 0)
                    self._act()
                version = pods["metadata"]["resourceVersion"]
                for event in self._api.watch("/api/v1/pods", version, _RESYNC_SECONDS):
                    self._handle(event)
            except (ApiError, httpx.HTTPError):
                self._stopping.wait(_RETRY_SECONDS)

    def _handle(self, event: Json) -> None:
        if event["type"] == "BOOKMARK" or self._stopping.is_set():
            return
        pod = event["object"]
        uid = pod["metadata"]["uid"]
        with self._lock:
            if event["type"] == "DELETED":
                self._pods.pop(uid, None)
                self._finished.discard(uid)
                self._stop(uid, 0)
            else:
                self._pods[uid] = pod
            self._act()

    def _act(self) -> None:
        """Bring what runs in line with the Pods that are known, the oldest first."""
        for pod in sorted(self._pods.values(), key=lambda p: str(p["metadata"]["creationTimestamp"])):
            uid, bound_to = pod["metadata"]["uid"], pod["spec"].get("nodeName")
            known = uid in self._running or uid in self._finished
            if is_for_scheduler(pod) and not known:
                self._schedule(pod)
            elif bound_to != self.name:
                continue
            elif "deletionTimestamp" in pod["metadata"]:
                self._delete(pod)
            elif not known and pod["status"].get("phase") not in _FINAL:
                self._start(pod)

    def _schedule(self, pod: Json) -> None:
        path, metadata = _path(pod), pod["metadata"]
        if problem := misfit(pod, self._labels, self._capacity, len(self._running)):
            if status := unschedulable(pod, problem):
                # Only of the pod as it was seen: somebody may have bound it meanwhile.
                seen = {"resourceVersion": metadata["resourceVersion"]}
                self._attempt(lambda: self._api.patch(f"{path}/status", {"metadata": seen, "status": status}))
            return
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": metadata["name"], "uid": metadata["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self.name},
        }
        if self._attempt(lambda: self._api.create(f"{path}/binding", binding)) is _Outcome.DONE:
            pod["spec"]["nodeName"] = self.name
            self._start(pod)

    # Running.

    def _start(self, pod: Json) -> None:
        if _has_started(pod):  # by a process node that is gone, and its processes with it
            self._report_lost(pod)
            return
        metadata = pod["metadata"]
        folder = self.logs / f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"
        folder.mkdir(parents=True, exist_ok=True)
        process = PodProcess(
            pod,
            folder,
            lambda kind, name: self._lookup(metadata["namespace"], kind, name),
            lambda status: self._report(pod, status),
            self._entrypoint,
            dict(self.image_environment),
            self.claims,
        )
        self._running[metadata["uid"]] = process
        self._spawn(self._run, pod, process)

    def _run(self, pod: Json, process: PodProcess) -> None:
        process.run()
        with self._lock:
            uid = pod["metadata"]["uid"]
            del self._running[uid]
            self._graces.pop(uid, None)
            if uid in self._pods:
                self._finished.add(uid)
            if not self._stopping.is_set():
                self._act()  # a place is free, or the Pod's deletion waits for its end

    def _delete(self, pod: Json) -> None:
        """Stop a Pod's processes; once they are gone, let the Pod go."""
        uid, metadata = pod["metadata"]["uid"], pod["metadata"]
        if uid in self._running:
            self._stop(uid, metadata.get("deletionGracePeriodSeconds", 30))
            return
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
        if metadata.get("deletionGracePeriodSeconds") != 0:  # else it waits for a finalizer, not for the node
            self._attempt(lambda: self._api.delete(_path(pod), body))

    def _stop(self, uid: str, grace_seconds: float) -> None:
        """Stop a Pod's processes, if they are not being stopped as quickly already."""
        if (process := self._running.get(uid)) and grace_seconds < self._graces.get(uid, math.inf):
            self._graces[uid] = grace_seconds
            self._spawn(process.stop, grace_seconds)

    def _report_lost(self, pod: Json) -> None:
        """Report containers that an earlier process node left behind when it died."""
        before = pod["status"].get("initContainerStatuses", []) + pod["status"].get("containerStatuses", [])
        states = {}
        for status in before:
            state = status["state"]
            if not pod_status.has_ended(state):
                started = state.get("running", {}).get("startedAt") or pod_status.now()
                state = pod_status.lost(started)
            states[status["name"]] = state
        message = "The process node was restarted; the Pod's processes ended with it."
        self._report(pod, pod_status.pod_status(pod, states, reason="NodeLost", message=message))

    # The API.

    def _lookup(self, namespace: str, kind: str, name: str) -> Json | None:
        objects: list[Json] = []

        def read() -> None:
            objects.append(self._api.get(f"/api/v1/namespaces/{namespace}/{kind}/{name}"))

        self._until_done(read)
        return objects[0] if objects else None

    def _report(self, pod: Json, status: Json) -> None:
        body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}
        self._until_done(lambda: self._api.patch(f"{_path(pod)}/status", body))

    def _until_done(self, action: Callable[[], object]) -> None:
        """Do it, again and again while the API server cannot be reached; give up when it refuses."""
        while self._attempt(action) is _Outcome.UNREACHABLE and not self._stopping.wait(_RETRY_SECONDS):
            pass

    def _attempt(self, action: Callable[[], object]) -> _Outcome:
        """Do it and say how it went; objects that are gone or have changed come again with the watch."""
        try:
            action()
        except ApiError as error:
            if error.status in _PASSING or error.status >= httpx.codes.INTERNAL_SERVER_ERROR:
                return _Outcome.UNREACHABLE
            if error.status not in (httpx.codes.NOT_FOUND, httpx.codes.CONFLICT):
                print(f"{self.name}: {error}", file=sys.stderr)
            return _Outcome.REFUSED
        except httpx.HTTPError:
            return _Outcome.UNREACHABLE
        return _Outcome.DONE

    def _spawn(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads = [t for t in self._threads if t.is_alive()] + [thread]
        thread.start()


def _path(pod: Json) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def _has_started(pod: Json) -> bool:
    statuses = pod["status"].get("initContainerStatuses", []) + pod["status"].get("containerStatuses", [])
    return any("waiting" not in s["state"] for s in statuses)


@tells_errors
def main() -> int:
    """Run a process node until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m devcluster.process_node", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--kubeconfig", type=Path, required=True, help="credentials of the node")
    parser.add_argument("--state", type=Path, required=True, help="folder for logs and volumes")
    parser.add_argument("--name", default="process-node", help="name of the Node (default: %(default)s)")
    parser.add_argument("--max-pods", type=int, default=4, help="Pods at a time (default: %(default)s)")
    parser.add_argument(
        "--entrypoint",
        default=DEFAULT_ENTRYPOINT,
        help="command of containers that name none (default: %(default)s)",
    )
    options = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with ProcessNode(
        options.kubeconfig,
        options.state,
        name=options.name,
        max_pods=options.max_pods,
        entrypoint=options.entrypoint,
    ) as node:
        print(f"{node.name} is ready; logs: {node.logs}", flush=True)
        ended.wait()
    return 0
