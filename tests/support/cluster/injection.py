"""A policy that puts containers into every new pod of a namespace, as meshes and vaults do by webhooks."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]

_GROUP = "admissionregistration.k8s.io/v1"


def injection_manifests(namespace: str, image: str, containers: dict[str, list[str]]) -> list[Json]:
    """Return the policy and its binding; ``containers`` has the command of each by its name."""
    # Not ApplyConfiguration, which may not set lists such as a command's.
    patches = ", ".join(
        f'JSONPatch{{op: "add", path: "/spec/containers/-", value: {_container(name, image, command)}}}'
        for name, command in containers.items()
    )
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    policy = {
        "apiVersion": _GROUP,
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": namespace},
        "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": {"resourceRules": [rule]},
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": f"[{patches}]"}}],
        },
    }
    binding = {
        "apiVersion": _GROUP,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": namespace},
        "spec": {
            "policyName": namespace,
            "matchResources": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
            },
        },
    }
    return [policy, binding]


def _container(name: str, image: str, command: list[str]) -> str:
    kind = "Object.spec.containers"
    drop = f'{kind}.securityContext.capabilities{{drop: ["ALL"]}}'
    security = f"{kind}.securityContext{{allowPrivilegeEscalation: false, capabilities: {drop}}}"
    words = f"name: {json.dumps(name)}, image: {json.dumps(image)}, command: {json.dumps(command)}"
    return f"{kind}{{{words}, imagePullPolicy: 'IfNotPresent', securityContext: {security}}}"
