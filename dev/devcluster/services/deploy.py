"""Plain manifests of what the demonstration and the end-to-end tests run in a cluster: operator, S3 server.

The Helm chart is how the operator is installed elsewhere; these show that nothing depends on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from devcluster.control_plane.install import OPERATOR, operator_rbac
from devcluster.control_plane.kubectl import Kubectl

Json = dict[str, Any]

RESTRICTED: Final = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}
"""Labels of a namespace in which pods may do nothing that the Restricted policy forbids."""
OBJECT_STORE: Final = "seaweedfs"
S3_PORT: Final = 8333
_USER: Final = 65532
_POD_SECURITY: Final[Json] = {
    "runAsNonRoot": True,
    "runAsUser": _USER,
    "runAsGroup": _USER,
    "fsGroup": _USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_CONTAINER_SECURITY: Final[Json] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def operator_manifests(
    namespace: str, image: str, converter_image: str, environment: Mapping[str, str] | None = None
) -> list[Json]:
    """Return the operator with its account, its permissions and its metrics Service."""
    labels = {"app.kubernetes.io/name": OPERATOR}
    variables = {"MODELCONVERSION_CONVERTER_IMAGE": converter_image} | dict(environment or {})
    container = {
        "name": "operator",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 2},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "initialDelaySeconds": 30},
        "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": _CONTAINER_SECURITY,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - in a pod
    }
    pod = {
        "serviceAccountName": OPERATOR,
        "securityContext": _POD_SECURITY,
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    return [
        *operator_rbac(namespace),
        _deployment(OPERATOR, namespace, labels, pod),
        _service(OPERATOR, namespace, labels, 8080),
    ]


@dataclass(frozen=True)
class S3Keys:
    """The one identity that an S3 server knows."""

    access_key: str
    secret_key: str


def object_store_manifests(namespace: str, image: str, keys: S3Keys) -> list[Json]:
    """SeaweedFS as one pod with a Service of the same name; its objects go with the pod."""
    labels = {"app.kubernetes.io/name": OBJECT_STORE}
    identity = {
        "name": "devcluster",
        "credentials": [{"accessKey": keys.access_key, "secretKey": keys.secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": OBJECT_STORE, "namespace": namespace},
        "stringData": {"s3.json": json.dumps({"identities": [identity]})},
    }
    arguments = [
        "-logtostderr",
        "server",
        "-dir=/data",
        "-ip=127.0.0.1",
        "-ip.bind=0.0.0.0",
        "-s3",
        f"-s3.port={S3_PORT}",
        "-s3.config=/etc/seaweedfs/s3.json",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",
        "-master.electionTimeout=1s",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=200",
        "-master.telemetry=false",
    ]
    container = {
        "name": OBJECT_STORE,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["weed", *arguments],
        "env": [{"name": "WEED_MASTER_VOLUME_GROWTH_COPY_1", "value": "1"}],
        "ports": [{"name": "s3", "containerPort": S3_PORT}],
        "readinessProbe": {"httpGet": {"path": "/status", "port": "s3"}, "periodSeconds": 2},
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": _CONTAINER_SECURITY,
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in a pod
            {"name": "config", "mountPath": "/etc/seaweedfs", "readOnly": True},
        ],
    }
    pod = {
        "automountServiceAccountToken": False,
        "securityContext": _POD_SECURITY,
        "containers": [container],
        "volumes": [
            {"name": "data", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "config", "secret": {"secretName": OBJECT_STORE}},
        ],
    }
    return [
        secret,
        _deployment(OBJECT_STORE, namespace, labels, pod),
        _service(OBJECT_STORE, namespace, labels, S3_PORT),
    ]


def wait_for_deployment(kubectl: Kubectl, name: str, namespace: str, seconds: int = 120) -> None:
    """Wait until a Deployment's pods are ready."""
    kubectl("rollout", "status", f"deployment/{name}", "-n", namespace, f"--timeout={seconds}s")


def _deployment(name: str, namespace: str, labels: Mapping[str, str], pod: Json) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _service(name: str, namespace: str, labels: Mapping[str, str], port: int) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"selector": labels, "ports": [{"port": port, "targetPort": port}]},
    }
