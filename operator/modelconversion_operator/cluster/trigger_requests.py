"""The requests about triggers, their looks, and what they make."""

from __future__ import annotations

from typing import Final

from modelconversion_api.base import KIND, PLURAL
from modelconversion_api.sets import SET_KIND, SET_PLURAL
from modelconversion_api.triggers import TRIGGER_KIND, TRIGGER_PLURAL
from modelconversion_operator.cluster.client import Cluster
from modelconversion_operator.cluster.own_objects import (
    OwnRequests,
    delete,
    owned,
    path_of,
)
from modelconversion_operator.deciding.views import (
    ConversionView,
)
from modelconversion_operator.sets.views import SetView
from modelconversion_operator.triggers.deciding import Made
from modelconversion_operator.triggers.views import TRIGGER_LABEL, MadeView, TriggerView, owner_of

_PLURALS: Final = {KIND: PLURAL, SET_KIND: SET_PLURAL}


class TriggerRequests(OwnRequests[TriggerView]):
    """What a trigger needs of the API server. Every call may raise an ApiError."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster, TRIGGER_KIND, TRIGGER_PLURAL, TriggerView.from_body)

    async def create_made(self, view: TriggerView, made: Made) -> ConversionView | SetView:
        """Make a conversion or set; one that is there already and is the trigger's own counts.

        Raises:
            RejectedError: The API server does not take it, or its name belongs to something else.

        """
        body = owned(made.kind, made.name, view.key, owner_of(view), TRIGGER_LABEL, view.queue, made.spec)
        path = path_of(view.key.namespace, _PLURALS[made.kind])
        there = await self._make_own(view, path, body)
        return ConversionView.from_body(there) if made.kind == KIND else SetView.from_body(there)

    async def delete_made(self, made: MadeView) -> None:
        """Delete a conversion or set with its Jobs; that it is gone already, or another one, is a success."""
        await delete(self._cluster, _PLURALS[made.kind], made.key)
