"""Requests that are the same for each of our own kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from modelconversion_api.base import API_VERSION, GROUP, VERSION
from modelconversion_operator.cluster.client import Cluster
from modelconversion_operator.deciding.policy import Grant
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
from modelconversion_operator.known import OwnView

V = TypeVar("V", bound=OwnView)


def path_of(namespace: str, plural: str) -> str:
    """Return where the objects of a kind are."""
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{plural}"


async def delete(cluster: Cluster, plural: str, key: Key) -> None:
    """Delete an object and what it owns; that it is gone already, or another one by now, is a success."""
    body = {"propagationPolicy": "Background", "preconditions": {"uid": key.uid}}
    try:
        await cluster.request("DELETE", f"{path_of(key.namespace, plural)}/{key.name}", body)
    except (NotFoundError, ConflictError):
        return


class OwnRequests(Generic[V]):
    """The requests about the objects of one kind. Every call may raise an ApiError.

    Args:
        cluster: Sends them.
        kind: The kind.
        plural: Its name in paths.
        from_body: Makes a view of an object.

    """

    def __init__(self, cluster: Cluster, kind: str, plural: str, from_body: Callable[[Body], V]) -> None:
        self._cluster, self._kind, self._plural, self._from_body = cluster, kind, plural, from_body

    async def patch_status(self, view: V, changes: Mapping[str, Any]) -> V:
        """Merge ``changes`` into a status, provided that the object is still as it was seen."""
        key, body = view.key, {"metadata": {"resourceVersion": view.resource_version}, "status": changes}
        path = f"{path_of(key.namespace, self._plural)}/{key.name}/status"
        return self._from_body(await self._cluster.request("PATCH", path, body))

    async def may_use(self, namespace: str, grant: Grant) -> bool:
        """Ask whether a Secret or claim has been released for conversions."""
        return await self._cluster.may_use(namespace, grant)

    async def get_own_job(self, view: V, name: str) -> tuple[JobView, list[PodView]] | None:
        """Read a Job of an object, and the pods of one that has ended; None where the object has none."""
        try:
            body = await self._cluster.request("GET", f"{_jobs(view.key.namespace)}/{name}")
        except NotFoundError:
            return None
        if not self._is_own(view, body):
            return None
        job = JobView.from_body(body)
        return job, (await self._cluster.list_pods(job))[0] if job.finished else []

    async def create_own_job(self, view: V, manifest: Body) -> JobView:
        """Make a Job of an object; one that is there already and is the object's own counts.

        Raises:
            RejectedError: The API server does not take it, or its name belongs to something else.

        """
        return JobView.from_body(await self._make_own(view, _jobs(view.key.namespace), manifest))

    async def create_event(self, view: V, event: Mapping[str, Any]) -> None:
        """Write an event about an object."""
        await self._cluster.create_event(view.key, event, self._kind)

    async def _make_own(self, view: V, path: str, body: Body) -> Body:
        """Make something that belongs to an object, or return its own of that name."""
        try:
            return await self._cluster.request("POST", path, body)
        except ConflictError:
            name = body["metadata"]["name"]
            there = await self._cluster.request("GET", f"{path}/{name}")
            if not self._is_own(view, there):
                raise RejectedError(409, f"{name} exists and belongs to something else") from None
            return there

    def _is_own(self, view: V, body: Body) -> bool:
        return controller_of(body["metadata"], self._kind, GROUP) == view.key.uid


def _jobs(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"


def owned(
    kind: str, name: str, owner: Key, reference: Body, label: str, queue: str | None, spec: Body
) -> dict[str, Any]:
    """Return an object that belongs to another one, which its ``label`` names, and waits in its queue."""
    labels = {MANAGED_BY_LABEL: MANAGED_BY, label: owner.name}
    if queue is not None:
        labels[QUEUE_LABEL] = queue
    meta = {"name": name, "namespace": owner.namespace, "labels": labels, "ownerReferences": [reference]}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": meta, "spec": spec}
