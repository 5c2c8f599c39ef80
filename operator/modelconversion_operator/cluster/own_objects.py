"""Requests that are the same for each of our own kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelconversion_api.base import API_VERSION, GROUP, VERSION
from modelconversion_operator.cluster.client import Cluster
from modelconversion_operator.deciding.views import MANAGED_BY, MANAGED_BY_LABEL, QUEUE_LABEL, Body, Key
from modelconversion_operator.errors import ConflictError, NotFoundError


def path_of(namespace: str, plural: str) -> str:
    """Return where the objects of a kind are."""
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{plural}"


async def patch_status(
    cluster: Cluster, plural: str, key: Key, resource_version: str, changes: Mapping[str, Any]
) -> Body:
    """Merge ``changes`` into a status, provided that the object is still as it was seen."""
    body = {"metadata": {"resourceVersion": resource_version}, "status": changes}
    return await cluster.request("PATCH", f"{path_of(key.namespace, plural)}/{key.name}/status", body)


async def delete(cluster: Cluster, plural: str, key: Key) -> None:
    """Delete an object and what it owns; that it is gone already, or another one by now, is a success."""
    body = {"propagationPolicy": "Background", "preconditions": {"uid": key.uid}}
    try:
        await cluster.request("DELETE", f"{path_of(key.namespace, plural)}/{key.name}", body)
    except (NotFoundError, ConflictError):
        return


def owned(
    kind: str, name: str, owner: Key, reference: Body, label: str, queue: str | None, spec: Body
) -> dict[str, Any]:
    """Return an object that belongs to another one, which its ``label`` names, and waits in its queue."""
    labels = {MANAGED_BY_LABEL: MANAGED_BY, label: owner.name}
    if queue is not None:
        labels[QUEUE_LABEL] = queue
    meta = {"name": name, "namespace": owner.namespace, "labels": labels, "ownerReferences": [reference]}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": meta, "spec": spec}
