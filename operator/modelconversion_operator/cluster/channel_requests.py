"""The requests about channels, and about what they take their candidates from."""

from __future__ import annotations

from modelconversion_api.base import PLURAL
from modelconversion_api.channels import CHANNEL_KIND, CHANNEL_PLURAL, ChannelSource, SourceKind
from modelconversion_api.sets import SET_PLURAL
from modelconversion_api.triggers import TRIGGER_PLURAL
from modelconversion_operator.channels.finding import Found, member_of
from modelconversion_operator.channels.views import ChannelView
from modelconversion_operator.cluster.client import Cluster
from modelconversion_operator.cluster.own_objects import OwnRequests, path_of
from modelconversion_operator.deciding.views import ConversionView
from modelconversion_operator.errors import NotFoundError
from modelconversion_operator.sets.views import SetView
from modelconversion_operator.triggers.views import TriggerView


class ChannelRequests(OwnRequests[ChannelView]):
    """What a channel needs of the API server. Every call may raise an ApiError."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster, CHANNEL_KIND, CHANNEL_PLURAL, ChannelView.from_body)

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
