"""Objects as an API server gives them."""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]


def conversion(name: str = "gesture", status: Body | None = None, **more: Any) -> Body:
    spec = {
        "source": {"uri": "s3://models/a.h5"},
        "output": {"uri": "s3://models/out/"},
        "methods": ["Float16"],
    }
    meta = {
        "name": name,
        "namespace": "team",
        "uid": f"uid-of-{name}",
        "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return {"metadata": meta | more.pop("metadata", {}), "spec": spec | more, "status": status or {}}


def condition(reason: str, message: str, status: str = "Unknown") -> Body:
    return {
        "type": "Succeeded",
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


def artifact(method: str, **more: Any) -> Body:
    return {
        "method": method,
        "uri": f"s3://models/out/a_{method}.tflite",
        "sizeBytes": 23962,
        "sizeFraction": "0.2612",
        "sha256": "0" * 64,
        "passed": True,
    } | more


def pod(name: str, *containers: Body) -> Body:
    return {
        "metadata": {"name": name, "namespace": "team", "uid": f"uid-of-{name}"},
        "spec": {
            "nodeName": "node-1",
            "initContainers": [{"name": "fetch"}, {"name": "convert"}],
            "containers": [{"name": "publish"}],
        },
        "status": {"phase": "Failed", "initContainerStatuses": list(containers)},
    }


def terminated(name: str, exit_code: int, reason: str = "Error") -> Body:
    return {"name": name, "state": {"terminated": {"exitCode": exit_code, "reason": reason}}}
