"""What the containers of every Job have in common: the volume, the mounts on it, and what keeps them in."""

from __future__ import annotations

from typing import Any, Final

VOLUME: Final = "work"
TMP: Final = "/tmp"  # noqa: S108 - an emptyDir of the pod's own
TERMINATION_LOG: Final = "/dev/termination-log"
RESTRICTED: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""Security context of a container; that of the pod has the rest of what pod security calls restricted."""


def mount(path: str, *, sub_path: str = "", read_only: bool = False) -> dict[str, Any]:
    """Return a mount of the part of the volume that is called ``sub_path``, or like the end of ``path``."""
    sub_path = sub_path or path.rsplit("/", 1)[-1]
    return {"name": VOLUME, "mountPath": path, "subPath": sub_path, "readOnly": read_only}


def without_devices(resources: dict[str, Any]) -> dict[str, Any]:
    """Return resources without those of device plugins, whose names have a domain."""
    return {
        kind: {name: amount for name, amount in amounts.items() if "/" not in name}
        for kind, amounts in resources.items()
    }
