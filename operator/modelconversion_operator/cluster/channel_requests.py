"""The requests about channels, and about what they take their candidates from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelconversion_api.base import PLURAL
from modelconversion_api.channels import CHANNEL_KIND, CHANNEL_PLURAL, ChannelSource, SourceKind
from modelconversion_api.sets import SET_PLURAL
from modelconversion_api.triggers import TRIGGER_PLURAL
from modelconversion_operator.channels.finding import Found, member_of
from modelconversion_operator.channels.views import ChannelView
from modelconversion_operator.cluster.client import Cluster
from modelconversion_operator.cluster.own_objects import get_own_job, make_own, patch_status, path_of
from modelconversion_operator.deciding.policy import Grant
from modelconversion_operator.deciding.views import Body, ConversionView, JobView, PodView
from modelconversion_operator.errors import NotFoundError
from modelconversion_operator.sets.views import SetView
from modelconversion_operator.triggers.views import TriggerView


class ChannelRequests:
    """What a channel needs of the API server. Every call may raise an ApiError."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def patch_status(self, view: ChannelView, changes: Mapping[str, Any]) -> ChannelView:
        """Merge ``changes`` into a channel's status, provided that it is still as it was seen."""
        key, version = view.key, view.resource_version
        return ChannelView.from_body(await patch_status(self._cluster, CHANNEL_PLURAL, key, version, changes))

    async def find(self, namespace: str, source: ChannelSource) -> ConversionView | Found:
        """Read the conversion that a channel means, or why there is none.

        What a set or trigger names is believed only where it is their own, by its owner reference.
        """
        try:
            if source.kind is SourceKind.CONVERSION:
                return await self._conversion(namespace, source.name)
            if source.kind is SourceKind.SET:
                return await self._member(await self._set(namespace, source.name), source)
            return await self._made(namespace, source)
        except NotFoundError:
            return Found(words=f"there is no {source.kind} {source.name}, or what it has made is gone")

    async def may_use(self, namespace: str, grant: Grant) -> bool:
        """Ask whether a Secret or claim has been released for conversions."""
        return await self._cluster.may_use(namespace, grant)

    async def get_move(self, view: ChannelView, name: str) -> tuple[JobView, list[PodView]] | None:
        """Read the Job of a move, and the pods of one that has ended; None where the channel has none."""
        return await get_own_job(self._cluster, CHANNEL_KIND, view.key, name)

    async def create_move(self, view: ChannelView, manifest: Body) -> JobView:
        """Make the Job of a move; one that is there already and is the channel's own counts.

        Raises:
            RejectedError: The API server does not take it, or its name belongs to something else.

        """
        path = f"/apis/batch/v1/namespaces/{view.key.namespace}/jobs"
        return JobView.from_body(await make_own(self._cluster, CHANNEL_KIND, view.key, path, manifest))

    async def create_event(self, view: ChannelView, event: Mapping[str, Any]) -> None:
        """Write an event about a channel."""
        await self._cluster.create_event(view.key, event, CHANNEL_KIND)

    async def _made(self, namespace: str, source: ChannelSource) -> ConversionView | Found:
        path = f"{path_of(namespace, TRIGGER_PLURAL)}/{source.name}"
        trigger = TriggerView.from_body(await self._cluster.request("GET", path))
        name = trigger.status.converted
        if name is None:
            return Found(words=f"trigger {source.name} has converted nothing yet")
        is_set = "set" in (trigger.spec.get("template") or {})
        made = await self._set(namespace, name) if is_set else await self._conversion(namespace, name)
        if made.trigger_uid != trigger.key.uid:
            return Found(words=f"{name} does not belong to trigger {source.name}")
        return await self._member(made, source) if isinstance(made, SetView) else made

    async def _member(self, view: SetView, source: ChannelSource) -> ConversionView | Found:
        name = member_of(view, source)
        if isinstance(name, Found):
            return name
        member = await self._conversion(view.key.namespace, name)
        if member.set_uid != view.key.uid:
            return Found(words=f"{name} does not belong to set {view.key.name}")
        return member

    async def _set(self, namespace: str, name: str) -> SetView:
        return SetView.from_body(
            await self._cluster.request("GET", f"{path_of(namespace, SET_PLURAL)}/{name}")
        )

    async def _conversion(self, namespace: str, name: str) -> ConversionView:
        path = f"{path_of(namespace, PLURAL)}/{name}"
        return ConversionView.from_body(await self._cluster.request("GET", path))
