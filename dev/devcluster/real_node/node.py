"""A real Kubernetes node on this machine, as root and without Docker.

Everything is the real thing: etcd, API server with Pod Security admission and the Node authorizer, controller
manager, scheduler, kubelet, containerd, runc, the CNI bridge, kube-proxy and CoreDNS. All of it carries one
name, listens on addresses of this machine only, and goes without a trace.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from rich.console import Console

from devcluster import host
from devcluster.cache import cache_dir
from devcluster.control_plane.control_plane import ControlPlane, Surroundings
from devcluster.control_plane.kubectl import Kubectl
from devcluster.errors import HostError
from devcluster.images.mounts import unmount_below
from devcluster.images.node_images import Image, program_image
from devcluster.processes import Process, free_ports, wait_until_ready
from devcluster.real_node import cgroups
from devcluster.real_node import cleanup as node_cleanup
from devcluster.real_node import config as node_config
from devcluster.real_node import dns as node_dns
from devcluster.real_node.layout import NodeLayout
from devcluster.tools.binaries import ensure_control_plane_binaries, ensure_node_binaries

DEFAULT_NAME: Final = "mconv"
_LOCK: Final = Path("/run/model-conversion-node.lock")
_READY_SECONDS: Final = 120
_REQUIRED_SYSCTLS: Final = {
    "net/ipv4/ip_forward": "1",
    # Without it a packet from pod to Service to pod on the same bridge never meets kube-proxy's rules.
    "net/bridge/bridge-nf-call-iptables": "1",
}


def layout_of(name: str = DEFAULT_NAME) -> NodeLayout:
    """Return the layout of the node ``name`` of this machine."""
    return NodeLayout(name, cache_dir() / "nodes" / name)


class RealNode:
    """A cluster of one real node that runs while the context is open.

    Raises :class:`HostError` where the machine cannot have one, e.g. without root.
    """

    def __init__(self, console: Console, name: str = DEFAULT_NAME) -> None:
        self.layout = layout_of(name)
        self._console = console
        self._started = time.monotonic()
        self._stack = ExitStack()
        self._processes: dict[str, Process] = {}
        self.control_plane: ControlPlane
        self.kubeconfig = self.layout.state / "admin.kubeconfig"
        self.logs = self.layout.state
        """The folder with every program's log; the pods' are in its ``pods``."""

    @property
    def kubectl(self) -> Kubectl:
        """Run kubectl as administrator."""
        return self.control_plane.kubectl

    @property
    def address(self) -> str:
        """Where pods reach programs of this machine."""
        return self.layout.address

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def load_image(self, image: Image) -> None:
        """Give the node an image."""
        if image.reference in self._ctr("images", "ls", "-q").split():
            return
        self._ctr("images", "import", str(image.archive))
        if image.reference not in self._ctr("images", "ls", "-q").split():
            raise HostError(f"{image.archive} holds no image {image.reference}")
        self._done(f"image {image.reference}")

    def trust_plain_registry(self, host: str) -> None:
        """Let the node pull over HTTP without TLS from a registry of this machine, ``ADDRESS:PORT``."""
        folder = self.layout.registries / host
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts.toml").write_text(node_config.plain_registry(host))

    def pull(self, image: str) -> None:
        """Have the node pull an image as the kubelet does: by the runtime interface's own settings."""
        self._ctr("images", "pull", "--hosts-dir", str(self.layout.registries), image)

    @contextmanager
    def files_of(self, image: str, folder: Path) -> Iterator[Path]:
        """Give the files of an image that the node has, below ``folder`` while the block lasts."""
        folder.mkdir()
        self._ctr("images", "mount", image, str(folder))
        try:
            yield folder
        finally:
            self._ctr("images", "unmount", "--rm", str(folder))
            folder.rmdir()

    def restart(self, *, once_idle: str | None = None) -> None:
        """Do to the node what a reboot does: every container dies, and what was running starts anew.

        The control plane, which would be on other machines, stays. ``once_idle`` is an image: the kubelet
        goes first, and the rest once the container of that image has ended, so that none was begun after it.
        """
        self._processes.pop("kubelet").kill()
        deadline = time.monotonic() + _READY_SECONDS
        while once_idle is not None and self._runs(once_idle):
            if time.monotonic() > deadline:
                raise HostError(f"a container of {once_idle} still runs after {_READY_SECONDS} s")
            time.sleep(0.1)
        for program in ("kube-proxy", "containerd"):
            self._processes.pop(program).kill()
        cgroups.kill(self.layout.name)
        unmount_below(self.layout.state)
        cgroups.remove(self.layout.name)
        cgroups.create(self.layout.name)
        shutil.rmtree(self.layout.runtime_state)  # as /run, where it would be, is empty after a reboot
        self._start_containerd()
        self._start_kubelet()
        self._wait_until_ready()
        self._done("node restarted")

    # Internals.

    def _start(self) -> None:
        host.ensure_host_tools(host.NODE_TOOLS, self._console)
        self._binaries = ensure_node_binaries(self._console)
        self._stack.enter_context(only_node())
        node_cleanup.clean(self.layout)  # of a node that was killed
        self.layout.state.mkdir(parents=True)
        node_cleanup.remember_machine(self.layout.state)
        self._stack.callback(node_cleanup.clean, self.layout)
        self._stack.callback(self._stop_programs)
        self._started = time.monotonic()
        self._prepare_machine()
        self._write_configuration()
        self._start_containerd()
        self._start_control_plane()
        self._start_kubelet()
        key = self._binaries.name
        self.load_image(program_image(self._binaries / "coredns", key))
        self._wait_until_ready()
        self._done(f"node {self.layout.node_name}")
        dns = program_image(self._binaries / "coredns", key)
        self.kubectl.apply(node_dns.manifests(dns.reference, self.layout.dns_address))
        self.kubectl("rollout", "status", "deployment/coredns", "-n", "kube-system", "--timeout=120s")
        self._done("CoreDNS")

    def _prepare_machine(self) -> None:
        for module in ("br_netfilter", "overlay", "nf_tables"):  # where they are no part of the kernel itself
            if host.find("modprobe"):
                host.run("modprobe", module, check=False)
        for name, value in _REQUIRED_SYSCTLS.items():
            file = Path("/proc/sys", name)
            if not file.exists():
                raise HostError(f"{file} does not exist: load the kernel module br_netfilter")
            file.write_text(value)
        layout = self.layout
        cgroups.create(layout.name)
        host.run("ip", "link", "add", layout.bridge, "type", "bridge")
        host.run("ip", "address", "add", f"{layout.address}/24", "dev", layout.bridge)
        host.run("ip", "link", "set", layout.bridge, "up")
        host.run("nft", "-f", "-", stdin=node_config.firewall(layout))

    def _write_configuration(self) -> None:
        layout, state = self.layout, self.layout.state
        pause = program_image(self._binaries / "pause", self._binaries.name)
        (self._kubelet_port,) = free_ports(1)
        for folder in (layout.cni, layout.kubelet, state / "pods", state / "volume-plugins"):
            folder.mkdir()
        texts = {
            "containerd.toml": node_config.containerd(layout, pause.reference, host.cni_folder()),
            f"cni/{layout.name}.conflist": json.dumps(node_config.network(layout)),
            "resolv.conf": f"nameserver {layout.dns_address}\n",
            "kubelet.yaml": json.dumps(node_config.kubelet(layout, self._kubelet_port)),
            "kube-proxy.yaml": json.dumps(node_config.kube_proxy(layout, state / "kube-proxy.kubeconfig")),
            "admission.yaml": json.dumps(node_config.admission()),
        }
        for name, text in texts.items():
            (state / name).write_text(text)

    def _start_containerd(self) -> None:
        layout = self.layout
        containerd = self._launch(
            "containerd", host.tool("containerd"), f"--config={layout.state}/containerd.toml"
        )
        wait_until_ready(containerd, self._containerd_answers, _READY_SECONDS)
        self.load_image(program_image(self._binaries / "pause", self._binaries.name))

    def _start_control_plane(self) -> None:
        layout, pki = self.layout, self.layout.pki
        around = Surroundings(
            address=layout.address,
            service_range=layout.service_range,
            controllers=("*",),
            authorization="Node,RBAC",
            api_server_flags=(
                "--enable-admission-plugins=NodeRestriction",
                f"--admission-control-config-file={layout.state}/admission.yaml",
                "--allow-privileged=true",
                f"--kubelet-certificate-authority={pki}/ca.crt",
                f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
                f"--kubelet-client-key={pki}/apiserver-kubelet.key",
                # The node's name is known to nobody else.
                "--kubelet-preferred-address-types=InternalIP",
            ),
            users=(
                ("kube-scheduler", "system:kube-scheduler", ""),
                ("kube-proxy", "system:kube-proxy", ""),
                ("kubelet", f"system:node:{layout.node_name}", "system:nodes"),
            ),
            certificates=(
                ("kubelet", (layout.node_name, layout.address), ""),
                ("apiserver-kubelet", ("kube-apiserver",), "system:masters"),
            ),
        )
        binaries = ensure_control_plane_binaries(self._console)
        self.control_plane = ControlPlane(binaries, layout.state, around)
        self._stack.enter_context(self.control_plane)
        (port,) = free_ports(1)
        self._launch(
            "kube-scheduler",
            self._binaries / "kube-scheduler",
            f"--kubeconfig={layout.state}/kube-scheduler.kubeconfig --bind-address=127.0.0.1"
            f" --secure-port={port} --cert-dir={layout.pki} --leader-elect=false --profiling=false"
            " --kube-api-qps=200 --kube-api-burst=400",
        )
        self._done("etcd, API server, controller manager and scheduler")

    def _start_kubelet(self) -> None:
        layout, state = self.layout, self.layout.state
        self._kubelet_started = int(time.time())
        self._launch(
            "kubelet",
            self._binaries / "kubelet",
            f"--config={state}/kubelet.yaml --kubeconfig={state}/kubelet.kubeconfig"
            f" --root-dir={layout.kubelet} --cert-dir={layout.pki} --hostname-override={layout.node_name}"
            f" --node-ip={layout.address} --v=1",
        )
        self._launch("kube-proxy", self._binaries / "kube-proxy", f"--config={state}/kube-proxy.yaml")

    def _wait_until_ready(self) -> None:
        wait_until_ready(self._processes["kubelet"], self._node_is_ready, _READY_SECONDS)

    def _node_is_ready(self) -> bool:
        node = self.kubectl.get("node", self.layout.node_name, "default")
        conditions = node["status"].get("conditions", []) if node else []
        return any(
            c["type"] == "Ready"
            and c["status"] == "True"
            and _seconds(c["lastHeartbeatTime"]) >= self._kubelet_started
            for c in conditions
        )

    def _containerd_answers(self) -> bool:
        try:
            self._ctr("version")
        except HostError:
            return False
        return True

    def _runs(self, image: str) -> bool:
        running = {line.split()[0] for line in self._ctr("tasks", "ls").splitlines() if " RUNNING" in line}
        containers = self._ctr("containers", "ls").splitlines()
        return any(line.split()[0] in running for line in containers if f" {image} " in line)

    def _ctr(self, *arguments: str) -> str:
        return host.run("ctr", "--address", self.layout.socket, "--namespace", "k8s.io", *arguments)

    def _launch(self, name: str, program: str | Path, flags: str) -> Process:
        process = Process(
            name,
            [program, *flags.split()],
            self.layout.state / f"{name}.log",
            environment={"PATH": host.SYSTEM_PATH, "HOME": str(self.layout.state)},
        )
        self._processes[name] = process
        return process

    def _stop_programs(self) -> None:
        # The kubelet first, or it would start again what ends.
        for name in ("kubelet", "kube-proxy", "kube-scheduler", "containerd"):
            if process := self._processes.pop(name, None):
                process.kill()

    def _done(self, what: str) -> None:
        self._console.print(
            f"{time.monotonic() - self._started:6.1f} s  {what}", highlight=False, soft_wrap=True
        )


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


@contextmanager
def only_node() -> Iterator[None]:
    """Hold the right to be the node of this machine: addresses and fixed places can serve one only."""
    with _LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HostError(
                "a node is already up on this machine, maybe of another checkout: end the tests or the "
                f"demonstration that hold it (`fuser {_LOCK}` names the process), or take it down with "
                "`python -m devcluster.real_node down`"
            ) from None
        yield
