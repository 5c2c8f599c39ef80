"""What reconcilers of our own kinds do alike: hold a Job back, write a status, tell what happened."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol, TypeVar

from modelconversion_api.base import ApiModel
from modelconversion_api.reasons import FailureReason
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_operator.deciding.bookkeeping import status_changes
from modelconversion_operator.deciding.decisions import Event
from modelconversion_operator.deciding.policy import Grant, grants_of, not_released, reason_not_released
from modelconversion_operator.deciding.views import Body, JobView, PodView
from modelconversion_operator.errors import ApiError, NotFoundError
from modelconversion_operator.known import KnownObjects, OwnView
from modelconversion_operator.rules import Rules

logger = logging.getLogger(__name__)

V = TypeVar("V", bound=OwnView)
V_contra = TypeVar("V_contra", bound=OwnView, contravariant=True)


class Asks(Protocol):
    """Asks what has been released."""

    async def may_use(self, namespace: str, grant: Grant) -> bool:
        """Ask whether a Secret or claim has been released for conversions."""


class Tells(Protocol[V_contra]):
    """Writes events."""

    async def create_event(self, view: V_contra, event: Mapping[str, Any]) -> None:
        """Write an event about an object."""


class OwnApi(Protocol[V]):
    """The requests about objects of one kind, each of which has small Jobs. Each may raise an ApiError."""

    async def patch_status(self, view: V, changes: Mapping[str, Any]) -> V:
        """Merge ``changes`` into a status, provided that the object is still as it was seen."""

    async def may_use(self, namespace: str, grant: Grant) -> bool:
        """Ask whether a Secret or claim has been released for conversions."""

    async def get_own_job(self, view: V, name: str) -> tuple[JobView, list[PodView]] | None:
        """Read a Job of an object, and the pods of one that has ended; None where the object has none."""

    async def create_own_job(self, view: V, manifest: Body) -> JobView:
        """Make a Job of an object; one that is there already and is the object's own counts."""

    async def create_event(self, view: V, event: Mapping[str, Any]) -> None:
        """Write an event about an object."""


async def unreleased(
    api: Asks, rules: Rules, namespace: str, spec: ModelConversionSpec
) -> tuple[FailureReason, str] | None:
    """Say what a Job that does as much as ``spec`` waits to be released; None for nothing."""
    for grant in grants_of(spec):
        if rules.must_be_released(grant) and not await api.may_use(namespace, grant):
            return reason_not_released(grant), not_released(namespace, [grant])
    return None


async def obstacle(
    api: Asks, rules: Rules, namespace: str, spec: ModelConversionSpec
) -> tuple[FailureReason, str] | None:
    """Say why no Job that does as much as ``spec`` may be made now; None where one may."""
    if violation := rules.policy.violation(namespace, spec):
        return FailureReason.POLICY_VIOLATION, violation
    return await unreleased(api, rules, namespace, spec)


async def tell(api: Tells[V], view: V, events: Iterable[Event], now: datetime) -> None:
    """Write events; one that cannot be written is lost, and the status says as much."""
    for event in events:
        try:
            await api.create_event(view, event.to_wire(now))
        except ApiError as error:
            logger.info("event %s was not written: %s", event.reason, error)


async def write(
    api: OwnApi[V],
    store: KnownObjects[V],
    view: V,
    status: ApiModel,
    events: Iterable[Event],
    now: datetime,
) -> V | None:
    """Write a status where it differs, and then tell what happened.

    Returns:
        The object as it is then; None where it is gone.

    """
    changes = status_changes(view.raw_status, status)
    if changes:
        try:
            view = await api.patch_status(view, changes)
        except NotFoundError:
            return None
        store.put(view)
    await tell(api, view, events, now)
    return view
