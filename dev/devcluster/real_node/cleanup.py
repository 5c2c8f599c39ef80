"""Takes away what a real node leaves on the machine, and says what is still there.

Processes end with the program that holds the node (:mod:`devcluster.supervise`), however that ends; mounts,
network devices, firewall rules, control groups and files in fixed places do not. All of them carry the node's
name or lie in its folder, so this can be run at any time, also for a node that died.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from devcluster import host
from devcluster.images.mounts import mounts_below, unmount_below
from devcluster.real_node import cgroups
from devcluster.real_node.layout import NodeLayout

_CNI_CACHE: Final = Path("/var/lib/cni/results")
_CONTAINER_LOGS: Final = Path("/var/log/containers")
_PLUGIN_SOCKETS: Final = Path("/var/lib/kubelet/device-plugins")
FIXED_PLACES: Final = (
    Path("/run/containerd"),
    Path("/var/lib/cni"),
    Path("/var/lib/kubelet"),
    _CONTAINER_LOGS,
)
"""Folders that containerd, the kubelet and the network plugins use wherever else they are told to be."""
SYSCTLS: Final = (
    "net/ipv4/ip_forward",
    "net/bridge/bridge-nf-call-iptables",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""What the kubelet and the node set for the whole machine."""
_SYSCTL_FOLDER: Final = Path("/proc/sys")
_BEFORE: Final = "machine-before.json"
_PROXY_TABLES: Final = ("ip kube-proxy", "ip6 kube-proxy")


def remember_machine(state: Path) -> None:
    """Write down how the machine was before the node changed it."""
    settings = {name: (_SYSCTL_FOLDER / name) for name in SYSCTLS}
    before = {
        "sysctls": {name: file.read_text().strip() for name, file in settings.items() if file.exists()},
        "absent": [str(place) for place in FIXED_PLACES if not place.exists()],
    }
    (state / _BEFORE).write_text(json.dumps(before))


def clean(layout: NodeLayout) -> None:
    """Take away everything of the node ``layout``."""
    cgroups.kill(layout.name)
    shim_sockets = list(_shim_sockets(layout))
    unmount_below(layout.state)
    if layout.bridge in _devices():
        host.run("ip", "link", "delete", layout.bridge)
    if host.find("nft"):
        for table in (f"inet {layout.firewall}", *_PROXY_TABLES):
            if layout.state.exists():  # kube-proxy's tables have no name of ours: only after a node of ours
                host.run("nft", "delete", "table", *table.split(), check=False)
    for socket in shim_sockets:
        socket.unlink(missing_ok=True)
    for entry in _CNI_CACHE.glob(f"{layout.name}-*"):
        entry.unlink(missing_ok=True)
    for link in _log_links(layout):
        link.unlink(missing_ok=True)
    cgroups.remove(layout.name)
    _restore_machine(layout.state)
    shutil.rmtree(layout.state, ignore_errors=True)


def leftovers(layout: NodeLayout) -> list[str]:
    """Describe what is left of the node ``layout`` on this machine, running or not."""
    descriptions = [f"process {pid} in a control group" for pid in cgroups.members(layout.name)]
    descriptions += [f"mount {mount}" for mount in mounts_below(layout.state)]
    descriptions += [f"control group {folder}" for folder in cgroups.groups(layout.name)]
    descriptions += [f"device {name}" for name in _devices() if name == layout.bridge]
    descriptions += [f"file {entry}" for entry in (*_CNI_CACHE.glob(f"{layout.name}-*"), *_log_links(layout))]
    if host.find("nft"):
        ours = (f"inet {layout.firewall}", *_PROXY_TABLES)
        tables = {line.removeprefix("table ") for line in host.run("nft", "list", "tables").splitlines()}
        descriptions += [f"nftables table {name}" for name in ours if name in tables]
    if layout.state.exists():
        descriptions.append(f"folder {layout.state}")
    return descriptions


# Files, devices, settings.


def _shim_sockets(layout: NodeLayout) -> Iterator[Path]:
    """Yield the sockets of containers' shims; containerd lets nobody choose their place."""
    for file in layout.runtime_state.glob("io.containerd.runtime.v2.task/*/*/address"):
        yield Path(file.read_text().strip().removeprefix("unix://"))


def _log_links(layout: NodeLayout) -> Iterable[Path]:
    if not _CONTAINER_LOGS.is_dir():
        return []
    links = (p for p in _CONTAINER_LOGS.iterdir() if p.is_symlink())
    return [link for link in links if link.readlink().is_relative_to(layout.state)]


def _devices() -> list[str]:
    return [device.name for device in Path("/sys/class/net").iterdir()]


def _restore_machine(state: Path) -> None:
    file = state / _BEFORE
    if not file.exists():
        return
    before = json.loads(file.read_text())
    for name, value in before["sysctls"].items():
        (_SYSCTL_FOLDER / name).write_text(value)
    for name in before["absent"]:
        # Nothing was there before, so what is there is this node's.
        place = Path(name)
        if place.is_relative_to("/run"):
            shutil.rmtree(place, ignore_errors=True)
        else:
            _remove_empty(place)


def _remove_empty(place: Path) -> None:
    for file in _PLUGIN_SOCKETS.glob("*") if _PLUGIN_SOCKETS.is_relative_to(place) else ():
        file.unlink(missing_ok=True)
    for folder in [*sorted(place.rglob("*"), reverse=True), place]:
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            folder.rmdir()
