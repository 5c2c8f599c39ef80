"""What releases a Secret for conversions: a Role that lets a user who nobody can be read it."""

from __future__ import annotations

from typing import Any

from modelconversion_api.fields.storage import CONVERSIONS_USER

Json = dict[str, Any]


def release_manifests(namespace: str, secret: str) -> list[Json]:
    """Return the Role and its binding, as the two commands make them that the operator tells of."""
    meta = {"name": f"conversions-{secret}", "namespace": namespace}
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [secret], "verbs": ["get"]}
    rbac = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": [rule]},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": meta["name"]},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": CONVERSIONS_USER}],
        },
    ]
