"""Installs the ModelConversion resource and the operator's permissions into a control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from devcluster.cache import REPOSITORY
from devcluster.control_plane.control_plane import NODE_USER, ControlPlane
from devcluster.control_plane.kubectl import Kubectl

CRDS = REPOSITORY / "crds"
OPERATOR_RULES = REPOSITORY / "helm" / "model-conversion-operator" / "files" / "operator-rules.yaml"
OPERATOR = "model-conversion-operator"
WEBHOOKS = f"{OPERATOR}-webhooks"

_NODE_RULES = [
    {"apiGroups": [""], "resources": ["nodes", "events"], "verbs": ["get", "create", "patch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "delete"]},
    {"apiGroups": [""], "resources": ["nodes/status", "pods/status"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["pods/binding"], "verbs": ["create"]},
    {"apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": ["get"]},
]


def install_crd(control_plane: ControlPlane) -> None:
    """Apply ``crds/`` and wait until the API server serves the resource."""
    apply_crd(control_plane.kubectl)


def apply_crd(kubectl: Kubectl) -> None:
    """Apply the ModelConversion CRD to the cluster that ``kubectl`` talks to."""
    kubectl.apply(CRDS)
    # kubectl's wait for a condition fails at once on an object that has no status yet.
    kubectl("wait", "--for=create", "--timeout=30s", "-f", str(CRDS))
    kubectl("wait", "--for=jsonpath={.status.conditions}", "--timeout=30s", "-f", str(CRDS))
    kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(CRDS))


def install_operator_rbac(control_plane: ControlPlane, namespace: str) -> Path:
    """Give the operator its service account with exactly the rules of the Helm chart; its kubeconfig."""
    control_plane.apply(operator_rbac(namespace))
    return control_plane.service_account_kubeconfig(namespace, OPERATOR)


def install_webhooks_rbac(control_plane: ControlPlane, namespace: str) -> Path:
    """Give the receiver of webhooks its service account with the rules of the Helm chart; its kubeconfig."""
    rules = yaml.safe_load(OPERATOR_RULES.read_text())["webhookRules"]
    meta = {"name": WEBHOOKS, "namespace": namespace}
    subject = {"kind": "ServiceAccount", **meta}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
    control_plane.apply([account, *role_and_binding("ClusterRole", WEBHOOKS, rules, subject)])
    return control_plane.service_account_kubeconfig(namespace, WEBHOOKS)


def operator_rbac(namespace: str) -> list[dict[str, Any]]:
    """Return the operator's service account, roles and bindings."""
    rules = yaml.safe_load(OPERATOR_RULES.read_text())
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": OPERATOR, "namespace": namespace},
    }
    subject = {"kind": "ServiceAccount", "name": OPERATOR, "namespace": namespace}
    lease = role_and_binding("Role", f"{OPERATOR}-lease", rules["leaseRules"], subject, namespace)
    return [account, *role_and_binding("ClusterRole", OPERATOR, rules["rules"], subject), *lease]


def install_node_rbac(control_plane: ControlPlane) -> Path:
    """Give the process node what it needs, and return its kubeconfig."""
    subject = {"kind": "User", "name": NODE_USER, "apiGroup": "rbac.authorization.k8s.io"}
    control_plane.apply(role_and_binding("ClusterRole", NODE_USER, _NODE_RULES, subject))
    return control_plane.state / f"{NODE_USER}.kubeconfig"


def role_and_binding(
    kind: str, name: str, rules: list[Any], subject: dict[str, str], namespace: str | None = None
) -> list[dict[str, Any]]:
    """Return a Role or ClusterRole, and its binding to ``subject``."""
    group = "rbac.authorization.k8s.io"
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    role = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": metadata, "rules": rules}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": f"{kind}Binding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": kind, "name": name},
        "subjects": [subject],
    }
    return [role, binding]
