"""A real Kubernetes control plane on 127.0.0.1: etcd, kube-apiserver and kube-controller-manager, no root."""

from __future__ import annotations

import base64
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Self

import trustme
import yaml

from devcluster.control_plane.api import KubeApi
from devcluster.control_plane.kubectl import Kubectl
from devcluster.errors import ApiError, ProcessError
from devcluster.local import write_private
from devcluster.processes import Process, free_ports, wait_until_ready

NODE_USER = "process-node"
_READY_SECONDS = 60
_ISSUER = "https://kubernetes.default.svc.cluster.local"
_API_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", _ISSUER.removeprefix("https://"))
# What Jobs need, and what the garbage of any object needs. Each controller costs start time and memory.
_CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "pod-garbage-collector-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "ttl-after-finished-controller",
    "validatingadmissionpolicy-status-controller",
)


@dataclass(frozen=True)
class Surroundings:
    """What is around a control plane; by default nothing but one process node, which needs no network."""

    address: str = "127.0.0.1"
    """Where the API server listens."""
    service_range: str = "10.0.0.0/24"
    """From which Services get their addresses; the first one is the API server's own."""
    controllers: tuple[str, ...] = _CONTROLLERS
    authorization: str = "RBAC"
    api_server_flags: tuple[str, ...] = ("--endpoint-reconciler-type=none",)
    users: tuple[tuple[str, str, str], ...] = ((NODE_USER, NODE_USER, ""),)
    """Whose kubeconfigs are written beside the administrator's: its name, the user, and the user's group."""
    certificates: tuple[tuple[str, tuple[str, ...], str], ...] = ()
    """What the authority certifies besides, in ``pki/NAME.crt``: the name, its hosts, and its group."""


class ControlPlane:
    """A control plane that runs while the context is open.

    ``binaries`` is the folder of :func:`~devcluster.tools.binaries.ensure_control_plane_binaries`. ``state``
    keeps certificates, logs and etcd's data; without it they lie in a temporary folder that goes with the
    context. RBAC is on, anonymous requests are refused.
    """

    def __init__(
        self, binaries: Path, state: Path | None = None, surroundings: Surroundings | None = None
    ) -> None:
        self._binaries = binaries
        self._around = surroundings or Surroundings()
        self._temporary = state is None
        self.state = state or Path(tempfile.mkdtemp(prefix="devcluster-"))
        self._pki = self.state / "pki"
        self._processes: dict[str, Process] = {}
        ports = free_ports(4)
        self._etcd_url = f"https://127.0.0.1:{ports[0]}"
        self._etcd_peer_url = f"http://127.0.0.1:{ports[1]}"
        self._port, self._controller_manager_port = ports[2:]
        self.server = f"https://{self._around.address}:{self._port}"
        self.kubeconfig = self.state / "admin.kubeconfig"
        """Kubeconfig of a cluster administrator."""
        self.kubectl = Kubectl(self.kubeconfig, self.state / "kubectl-cache")
        """kubectl as administrator."""

    def __enter__(self) -> Self:
        try:
            self._write_credentials()
            self.api = KubeApi(self.kubeconfig)
            self.start_etcd(wait=False)
            self.start_api_server()
            self.start_controller_manager()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if api := getattr(self, "api", None):
            api.close()
        # The state goes with the processes, so there is nothing that a slow, orderly end would save.
        for process in self._processes.values():
            process.kill()
        self._processes.clear()
        if self._temporary:
            shutil.rmtree(self.state, ignore_errors=True)

    # Parts, for tests that take one away.

    def start_etcd(self, *, wait: bool = True) -> None:
        """Start etcd on the state that it left."""
        peer = self._etcd_peer_url
        process = self._start(
            "etcd",
            f"--name=devcluster --data-dir={self.state}/etcd --unsafe-no-fsync --log-level=warn"
            f" --listen-client-urls={self._etcd_url} --advertise-client-urls={self._etcd_url}"
            f" --listen-peer-urls={peer} --initial-advertise-peer-urls={peer}"
            f" --initial-cluster=devcluster={peer}"
            f" --cert-file={self._pki}/etcd.crt --key-file={self._pki}/etcd.key"
            f" --client-cert-auth --trusted-ca-file={self._pki}/etcd-ca.crt",
        )
        if wait:
            wait_until_ready(process, self._ready, _READY_SECONDS)

    def stop_etcd(self) -> None:
        """Kill etcd; its data stays."""
        self._kill("etcd")

    def start_api_server(self) -> None:
        """Start the API server and wait until it is ready."""
        process = self._start(
            "kube-apiserver",
            f"--bind-address={self._around.address} --advertise-address={self._around.address}"
            f" --secure-port={self._port}"
            f" --etcd-servers={self._etcd_url} --etcd-cafile={self._pki}/etcd-ca.crt"
            f" --etcd-certfile={self._pki}/etcd-client.crt --etcd-keyfile={self._pki}/etcd-client.key"
            f" --tls-cert-file={self._pki}/apiserver.crt --tls-private-key-file={self._pki}/apiserver.key"
            f" --cert-dir={self._pki} --token-auth-file={self._pki}/tokens.csv --anonymous-auth=false"
            f" --authorization-mode={self._around.authorization} --service-account-issuer={_ISSUER}"
            f" --service-account-key-file={self._pki}/service-account.key"
            f" --service-account-signing-key-file={self._pki}/service-account.key"
            f" --service-cluster-ip-range={self._around.service_range} --profiling=false"
            f" {' '.join(self._around.api_server_flags)}",
        )
        wait_until_ready(process, self._ready, _READY_SECONDS)

    def stop_api_server(self) -> None:
        """Kill the API server."""
        self._kill("kube-apiserver")

    def start_controller_manager(self) -> None:
        """Start the controller manager and wait until its controllers work."""
        process = self._start(
            "kube-controller-manager",
            f"--kubeconfig={self.state}/kube-controller-manager.kubeconfig"
            f" --bind-address=127.0.0.1 --secure-port={self._controller_manager_port} --cert-dir={self._pki}"
            f" --service-account-private-key-file={self._pki}/service-account.key"
            f" --root-ca-file={self._pki}/ca.crt --use-service-account-credentials --leader-elect=false"
            " --kube-api-qps=200 --kube-api-burst=400 --concurrent-job-syncs=10 --profiling=false"
            f" --controllers={','.join(self._around.controllers)}",
        )
        wait_until_ready(process, lambda: self._exists("default"), _READY_SECONDS)

    def stop_controller_manager(self) -> None:
        """Kill the controller manager."""
        self._kill("kube-controller-manager")

    def kubeconfig_for(self, token: str, name: str) -> Path:
        """Write a kubeconfig with this token, and return its path."""
        path = self.state / f"{name}.kubeconfig"
        authority = base64.b64encode((self._pki / "ca.crt").read_bytes()).decode()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "devcluster",
                    "cluster": {"server": self.server, "certificate-authority-data": authority},
                }
            ],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": "devcluster", "user": name}}],
            "current-context": name,
        }
        write_private(path, yaml.safe_dump(config))
        return path

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        """Return a kubeconfig with a token of this service account, valid for a day."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 86400},
        }
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        return self.kubeconfig_for(self.api.create(path, body)["status"]["token"], f"{namespace}-{name}")

    def apply(self, what: Path | Iterable[Mapping[str, Any]]) -> None:
        """``kubectl apply`` a file, a folder, or objects."""
        self.kubectl.apply(what)

    def create_namespace(self, name: str) -> None:
        """Create a namespace and wait until Pods can be created in it."""
        self.api.create("/api/v1/namespaces", {"metadata": {"name": name}})
        while not self._exists(name):
            time.sleep(0.02)

    # Internals.

    def _ready(self) -> bool:
        """Whether the API server is ready; an etcd that died is the error to name."""
        if etcd := self._processes.get("etcd"):
            etcd.check()
        return self.api.ready()

    def _exists(self, namespace: str) -> bool:
        """Whether the namespace has its default service account, without which it accepts no Pods."""
        try:
            self.api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts/default")
        except ApiError as error:
            if error.reason != "NotFound":
                raise
            return False
        return True

    def _start(self, program: str, flags: str) -> Process:
        if (running := self._processes.get(program)) and running.exit_code is None:
            raise ProcessError(f"{program} is already running")
        command: list[str | Path] = [self._binaries / program, *flags.split()]
        process = Process(program, command, self.state / f"{program}.log")
        self._processes[program] = process
        return process

    def _kill(self, program: str) -> None:
        if process := self._processes.pop(program, None):
            process.kill()

    def _write_credentials(self) -> None:
        self._pki.mkdir(parents=True, exist_ok=True)
        authority, etcd_authority = trustme.CA(), trustme.CA()
        authority.cert_pem.write_to_path(self._pki / "ca.crt")
        etcd_authority.cert_pem.write_to_path(self._pki / "etcd-ca.crt")
        first = str(ip_network(self._around.service_range)[1])
        api_names = (self._around.address, first, "localhost", *_API_NAMES)
        for name, ca, hosts, group in (
            ("apiserver", authority, api_names, ""),
            ("etcd", etcd_authority, ("127.0.0.1",), ""),
            ("etcd-client", etcd_authority, ("kube-apiserver",), ""),
            ("service-account", authority, ("service-account",), ""),
            *((name, authority, hosts, group) for name, hosts, group in self._around.certificates),
        ):
            certificate = ca.issue_cert(*hosts, common_name=hosts[0], organization_name=group or None)
            write_private(self._pki / f"{name}.key", certificate.private_key_pem.bytes().decode())
            certificate.cert_chain_pems[0].write_to_path(self._pki / f"{name}.crt")
        users = (
            ("admin", "admin", "system:masters"),
            ("kube-controller-manager", "system:kube-controller-manager", ""),
            *self._around.users,
        )
        lines = []
        for name, user, groups in users:
            token = secrets.token_urlsafe(24)
            lines.append(f'{token},{user},{name},"{groups}"\n')
            self.kubeconfig_for(token, name)
        write_private(self._pki / "tokens.csv", "".join(lines))
