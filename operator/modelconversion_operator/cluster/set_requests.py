"""The requests about sets and their members."""

from __future__ import annotations

from collections.abc import Mapping

from modelconversion_api.base import KIND, PLURAL
from modelconversion_api.sets import SET_KIND, SET_PLURAL
from modelconversion_operator.cluster.client import Cluster
from modelconversion_operator.cluster.own_objects import OwnRequests, delete, owned, path_of
from modelconversion_operator.deciding.views import (
    Body,
    ConversionView,
    JobView,
)
from modelconversion_operator.errors import ConflictError
from modelconversion_operator.sets.views import SET_LABEL, MemberView, SetView, owner_of


class SetRequests(OwnRequests[SetView]):
    """What a set needs of the API server. Every call may raise an ApiError."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster, SET_KIND, SET_PLURAL, SetView.from_body)

    async def create_member(
        self, view: SetView, name: str, spec: Body, annotations: Mapping[str, str]
    ) -> ConversionView | None:
        """Make a member; one that is there already counts. None where something else has its name."""
        body = owned(KIND, name, view.key, owner_of(view), SET_LABEL, view.queue, spec)
        if annotations:
            body["metadata"]["annotations"] = dict(annotations)
        path = path_of(view.key.namespace, PLURAL)
        try:
            return ConversionView.from_body(await self._cluster.request("POST", path, body))
        except ConflictError:
            there = ConversionView.from_body(await self._cluster.request("GET", f"{path}/{name}"))
            return there if there.set_uid == view.key.uid else None

    async def suspend_member(self, member: MemberView, *, suspend: bool) -> ConversionView:
        """Stop a member, or let it go on, provided that it is still the same."""
        body = {"metadata": {"uid": member.key.uid}, "spec": {"suspend": suspend}}
        path = f"{path_of(member.key.namespace, PLURAL)}/{member.key.name}"
        return ConversionView.from_body(await self._cluster.request("PATCH", path, body))

    async def delete_member(self, member: MemberView) -> None:
        """Delete a member with its Job; that it is gone already, or another one by now, is a success."""
        await delete(self._cluster, PLURAL, member.key)

    async def get_job(self, namespace: str, name: str) -> JobView | None:
        """Read a Job; None when there is none."""
        return await self._cluster.get_job(namespace, name)

    async def create_job(self, manifest: Body) -> JobView:
        """Make a Job; one that is there already counts."""
        return await self._cluster.create_job(manifest)
