"""The two clusters that the demonstration can run in: containers as processes, or a real node.

Both have the same parts: a control plane, an S3 server, the operator under its own permissions, and a node.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import httpx
from rich.console import Console

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.control_plane.install import OPERATOR, install_crd, install_node_rbac, install_operator_rbac
from devcluster.control_plane.port_forward import PortForward
from devcluster.images.build import ensure_images
from devcluster.process_node.node import ProcessNode
from devcluster.processes import Process, free_ports, wait_until_ready
from devcluster.real_node.node import RealNode
from devcluster.services.deploy import (
    OBJECT_STORE,
    S3_PORT,
    S3Keys,
    object_store_manifests,
    operator_manifests,
    wait_for_deployment,
)
from devcluster.services.s3 import ObjectStore, s3_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

EXAMPLES_ENDPOINT: Final = "http://127.0.0.1:18333"
"""The S3 server that the examples name."""
EXAMPLES_PORT: Final = 18333

Done = Callable[[str], None]


class DemoCluster(Protocol):
    """What the demonstration needs to know of a cluster."""

    control_plane: ControlPlane
    operator_url: str
    endpoint: str
    """Where pods reach the S3 server."""
    access_key: str
    secret_key: str
    logs: str
    """A shell command that shows the logs."""

    def client(self) -> S3Client:
        """Return a client of the S3 server on this machine."""
        ...


class ProcessCluster:
    """Containers are processes of this machine: no root, nothing to install."""

    def __init__(self, binaries: Path, namespace: str, stack: ExitStack, done: Done) -> None:
        self.control_plane = stack.enter_context(ControlPlane(binaries))
        done("etcd, kube-apiserver and kube-controller-manager")
        self._store = stack.enter_context(ObjectStore(port=EXAMPLES_PORT))
        self.endpoint = self._store.endpoint
        self.access_key, self.secret_key = self._store.access_key, self._store.secret_key
        done(f"S3 (SeaweedFS) at {self.endpoint}")
        install_crd(self.control_plane)
        kubeconfig = install_operator_rbac(self.control_plane, namespace)
        done("ModelConversion resource; the operator's service account and permissions")
        self._start_operator(kubeconfig, stack)
        done(f"operator, metrics at {self.operator_url}/metrics")
        node = ProcessNode(install_node_rbac(self.control_plane), self.control_plane.state)
        stack.enter_context(node)
        done("node that runs containers as processes")
        self.logs = (
            f"tail {self.control_plane.state}/operator.log {node.logs}/*/*.log  # in place of kubectl logs"
        )

    def client(self) -> S3Client:
        """Return a client of the S3 server."""
        return self._store.client()

    def _start_operator(self, kubeconfig: Path, stack: ExitStack) -> None:
        (port,) = free_ports(1)
        self.operator_url = f"http://127.0.0.1:{port}"
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "KUBECONFIG": str(kubeconfig),
            "MODELCONVERSION_CONVERTER_IMAGE": "model-conversion-converter:demo",  # the node uses no images
            "MODELCONVERSION_HTTP_HOST": "127.0.0.1",
            "MODELCONVERSION_HTTP_PORT": str(port),
        }
        program = Path(sys.executable).with_name("modelconversion-operator")
        log = self.control_plane.state / "operator.log"
        operator = Process("the operator", [program], log, environment=environment)
        stack.callback(operator.stop)
        wait_until_ready(operator, self._operator_ready, 60)

    def _operator_ready(self) -> bool:
        try:
            return httpx.get(f"{self.operator_url}/readyz", trust_env=False).is_success
        except httpx.HTTPError:
            return False


class ContainerCluster:
    """A real node: everything but the control plane runs in containers of the project's images."""

    def __init__(self, console: Console, namespace: str, stack: ExitStack, done: Done) -> None:
        images = ensure_images(console)
        node = stack.enter_context(RealNode(console))
        self.control_plane = node.control_plane
        kubectl = node.kubectl
        done("a node with kubelet, containerd, runc, kube-proxy and CoreDNS")
        for image in (images.operator, images.converter, images.object_store):
            node.load_image(image)
        keys = S3Keys(secrets.token_hex(10).upper(), secrets.token_urlsafe(30))
        self.access_key, self.secret_key = keys.access_key, keys.secret_key
        self.endpoint = f"http://{OBJECT_STORE}.{namespace}.svc:{S3_PORT}"
        kubectl.apply(object_store_manifests(namespace, images.object_store.reference, keys))
        install_crd(self.control_plane)
        kubectl.apply(operator_manifests(namespace, images.operator.reference, images.converter.reference))
        wait_for_deployment(kubectl, OBJECT_STORE, namespace)
        done(f"S3 (SeaweedFS) at {self.endpoint}")
        wait_for_deployment(kubectl, OPERATOR, namespace)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="devcluster-")))
        self._s3 = stack.enter_context(
            PortForward(kubectl, namespace, f"service/{OBJECT_STORE}", S3_PORT, folder / "s3.log")
        )
        metrics = stack.enter_context(
            PortForward(kubectl, namespace, f"service/{OPERATOR}", 8080, folder / "operator.log")
        )
        self.operator_url = f"http://127.0.0.1:{metrics.port}"
        done(f"ModelConversion resource; operator, metrics at {self.operator_url}/metrics")
        self.logs = (
            f"kubectl logs deployment/{OPERATOR}; kubectl logs -l app.kubernetes.io/component=converter"
        )

    def client(self) -> S3Client:
        """Return a client of the S3 server."""
        return s3_client(f"http://127.0.0.1:{self._s3.port}", self.access_key, self.secret_key)
