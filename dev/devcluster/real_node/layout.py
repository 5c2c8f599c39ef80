"""Where everything of a real node is, and what it is called: all of it follows from the node's name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devcluster.errors import HostError

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,9}")  # a network device's name has 15 characters at most
_LONGEST_SOCKET: Final = 90  # the kernel allows 107, and containerd appends to it


@dataclass(frozen=True)
class NodeLayout:
    """Names, paths and addresses of the node ``name``, whose files lie in the folder ``state``."""

    name: str
    state: Path

    service_range = "10.97.0.0/16"
    dns_address = "10.97.0.10"
    pod_range = "10.245.0.0/24"
    address = "10.245.0.1"
    """Of the machine on the pods' bridge; the API server and the kubelet listen there."""

    def __post_init__(self) -> None:
        """Refuse what the kernel would refuse later, with a harder message."""
        if not _NAME.fullmatch(self.name):
            raise HostError(f"{self.name!r} cannot be a node's name: use up to 10 letters a-z, digits and -")
        if len(str(self.socket)) > _LONGEST_SOCKET:
            raise HostError(
                f"{self.state} is too long a path for Unix sockets: set XDG_CACHE_HOME to a shorter one"
            )

    @property
    def node_name(self) -> str:
        """The Node's name in the API."""
        return f"{self.name}-node"

    @property
    def bridge(self) -> str:
        """The network device that joins the pods."""
        return f"{self.name}0"

    @property
    def firewall(self) -> str:
        """The nftables table, of the family inet."""
        return self.name

    @property
    def pki(self) -> Path:
        """Certificates and keys, written by the control plane."""
        return self.state / "pki"

    @property
    def socket(self) -> Path:
        """Where containerd listens."""
        return self.state / "containerd.sock"

    @property
    def runtime_state(self) -> Path:
        """What containerd keeps of running containers; a reboot empties it."""
        return self.state / "containerd-state"

    @property
    def registries(self) -> Path:
        """Where containerd looks, at every pull, for how a registry is spoken with."""
        return self.state / "registries"

    @property
    def kubelet(self) -> Path:
        """The kubelet's folder, with the pods' volumes."""
        return self.state / "kubelet"

    @property
    def cni(self) -> Path:
        """The network plugins' configuration."""
        return self.state / "cni"
