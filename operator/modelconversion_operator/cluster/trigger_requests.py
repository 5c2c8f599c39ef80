"""The requests about triggers, their looks, and what they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelconversion_api.base import KIND, PLURAL
from modelconversion_api.sets import SET_KIND, SET_PLURAL
from modelconversion_api.triggers import TRIGGER_KIND, TRIGGER_PLURAL
from modelconversion_operator.cluster.client import Cluster
from modelconversion_operator.cluster.own_objects import (
    delete,
    get_own_job,
    make_own,
    owned,
    patch_status,
    path_of,
)
from modelconversion_operator.deciding.policy import Grant
from modelconversion_operator.deciding.views import (
    Body,
    ConversionView,
    JobView,
    PodView,
)
from modelconversion_operator.sets.views import SetView
from modelconversion_operator.triggers.deciding import Made
from modelconversion_operator.triggers.views import TRIGGER_LABEL, MadeView, TriggerView, owner_of

_PLURALS: Final = {KIND: PLURAL, SET_KIND: SET_PLURAL}


class TriggerRequests:
    """What a trigger needs of the API server. Every call may raise an ApiError."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def patch_status(self, view: TriggerView, changes: Mapping[str, Any]) -> TriggerView:
        """Merge ``changes`` into a trigger's status, provided that it is still as it was seen."""
        key, version = view.key, view.resource_version
        return TriggerView.from_body(await patch_status(self._cluster, TRIGGER_PLURAL, key, version, changes))

    async def create_made(self, view: TriggerView, made: Made) -> ConversionView | SetView:
        """Make a conversion or set; one that is there already and is the trigger's own counts.

        Raises:
            RejectedError: The API server does not take it, or its name belongs to something else.

        """
        body = owned(made.kind, made.name, view.key, owner_of(view), TRIGGER_LABEL, view.queue, made.spec)
        path = path_of(view.key.namespace, _PLURALS[made.kind])
        there = await make_own(self._cluster, TRIGGER_KIND, view.key, path, body)
        return ConversionView.from_body(there) if made.kind == KIND else SetView.from_body(there)

    async def delete_made(self, made: MadeView) -> None:
        """Delete a conversion or set with its Jobs; that it is gone already, or another one, is a success."""
        await delete(self._cluster, _PLURALS[made.kind], made.key)

    async def may_use(self, namespace: str, grant: Grant) -> bool:
        """Ask whether a Secret or claim has been released for conversions."""
        return await self._cluster.may_use(namespace, grant)

    async def get_look(self, view: TriggerView, name: str) -> tuple[JobView, list[PodView]] | None:
        """Read the Job of a look, and the pods of one that has ended; None where the trigger has none."""
        return await get_own_job(self._cluster, TRIGGER_KIND, view.key, name)

    async def create_look(self, view: TriggerView, manifest: Body) -> JobView:
        """Make the Job of a look; one that is there already and is the trigger's own counts.

        Raises:
            RejectedError: The API server does not take it, or its name belongs to something else.

        """
        path = f"/apis/batch/v1/namespaces/{view.key.namespace}/jobs"
        return JobView.from_body(await make_own(self._cluster, TRIGGER_KIND, view.key, path, manifest))

    async def create_event(self, view: TriggerView, event: Mapping[str, Any]) -> None:
        """Write an event about a trigger."""
        await self._cluster.create_event(view.key, event, TRIGGER_KIND)
