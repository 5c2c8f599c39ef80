"""Requests that are the same for each of our own kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelconversion_api.base import API_VERSION, GROUP, VERSION
from modelconversion_operator.cluster.client import Cluster
from modelconversion_operator.deciding.views import (
    MANAGED_BY,
    MANAGED_BY_LABEL,
    QUEUE_LABEL,
    Body,
    JobView,
    Key,
    PodView,
    controller_of,
)
from modelconversion_operator.errors import ConflictError, NotFoundError, RejectedError


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


async def make_own(cluster: Cluster, kind: str, owner: Key, path: str, body: Body) -> Body:
    """Make an object, or return the owner's own of that name.

    Raises:
        RejectedError: The API server does not take it, or its name belongs to something else.

    """
    try:
        return await cluster.request("POST", path, body)
    except ConflictError:
        name = body["metadata"]["name"]
        there = await cluster.request("GET", f"{path}/{name}")
        if controller_of(there["metadata"], kind, GROUP) != owner.uid:
            raise RejectedError(409, f"{name} exists and belongs to something else") from None
        return there


async def get_own_job(
    cluster: Cluster, kind: str, owner: Key, name: str
) -> tuple[JobView, list[PodView]] | None:
    """Read a Job of an object of ours, and the pods of one that has ended; None where it has none."""
    try:
        body = await cluster.request("GET", f"/apis/batch/v1/namespaces/{owner.namespace}/jobs/{name}")
    except NotFoundError:
        return None
    if controller_of(body["metadata"], kind, GROUP) != owner.uid:
        return None
    job = JobView.from_body(body)
    return job, (await cluster.list_pods(job))[0] if job.finished else []


def owned(
    kind: str, name: str, owner: Key, reference: Body, label: str, queue: str | None, spec: Body
) -> dict[str, Any]:
    """Return an object that belongs to another one, which its ``label`` names, and waits in its queue."""
    labels = {MANAGED_BY_LABEL: MANAGED_BY, label: owner.name}
    if queue is not None:
        labels[QUEUE_LABEL] = queue
    meta = {"name": name, "namespace": owner.namespace, "labels": labels, "ownerReferences": [reference]}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": meta, "spec": spec}
