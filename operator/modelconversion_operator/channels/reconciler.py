"""Carries decisions about channels out: the thin shell of I/O around :func:`decide_channel`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from pydantic import ValidationError

from modelconversion_api.channels import ChannelSource, ModelChannelSpec
from modelconversion_api.reasons import FailureReason
from modelconversion_operator.channels.deciding import (
    ChannelDecision,
    ChannelSeen,
    blocked,
    decide_channel,
    invalid,
    refused,
)
from modelconversion_operator.channels.finding import Found, candidate_of
from modelconversion_operator.channels.moving import move_manifest, move_seen, move_spec
from modelconversion_operator.channels.views import ChannelStore, ChannelView
from modelconversion_operator.deciding.bookkeeping import status_changes
from modelconversion_operator.deciding.failures import problems_of_spec
from modelconversion_operator.deciding.manifest import request_problem
from modelconversion_operator.deciding.policy import Grant, grants_of, not_released, reason_not_released
from modelconversion_operator.deciding.views import Body, ConversionView, JobView, PodView
from modelconversion_operator.errors import ApiError, NotFoundError, RejectedError
from modelconversion_operator.rules import Rules
from modelconversion_operator.working import work_off
from modelconversion_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)


class ChannelApi(Protocol):
    """The requests of the reconciler. Every call may raise an ApiError."""

    async def patch_status(self, view: ChannelView, changes: Mapping[str, Any]) -> ChannelView:
        """Merge ``changes`` into a channel's status, provided that it is still as it was seen."""

    async def find(self, namespace: str, source: ChannelSource) -> ConversionView | Found:
        """Read the conversion that a channel means, or why there is none."""

    async def may_use(self, namespace: str, grant: Grant) -> bool:
        """Ask whether a Secret or claim has been released for conversions."""

    async def get_move(self, view: ChannelView, name: str) -> tuple[JobView, list[PodView]] | None:
        """Read the Job of a move, and the pods of one that has ended; None where the channel has none."""

    async def create_move(self, view: ChannelView, manifest: Body) -> JobView:
        """Make the Job of a move; one that is there already and is the channel's own counts."""

    async def create_event(self, view: ChannelView, event: Mapping[str, Any]) -> None:
        """Write an event about a channel."""


class ChannelReconciler:
    """Looks at one channel at a time, decides, and acts."""

    def __init__(
        self,
        api: ChannelApi,
        store: ChannelStore,
        queue: WorkQueue[str],
        rules: Rules,
        now: Callable[[], datetime],
    ) -> None:
        self._api, self._store, self._queue, self._rules, self._now = api, store, queue, rules, now

    async def work(self) -> None:
        """Take channels from the queue until cancelled."""
        await work_off(self._queue, self.reconcile, "channel", self._rules.resync_seconds)

    async def reconcile(self, uid: str) -> float | None:
        """Look at a channel and do what is to be done; gives the seconds until it wants another look."""
        view = self._store.view(uid)
        if view is None:
            return None
        try:
            spec = ModelChannelSpec.model_validate(view.spec, extra="ignore")
        except ValidationError as error:
            await self._write(view, invalid(view, problems_of_spec(error), self._now()))
            return None
        seen = await self._look(view, spec)
        decision = await self._unless_blocked(seen, decide_channel(seen, self._now()))
        after = await self._write(view, decision)
        if decision.move is not None and after is not None and after.status.move_job is not None:
            name, settings = after.status.move_job, self._rules.jobs
            try:
                await self._api.create_move(after, move_manifest(after, spec, decision.move, name, settings))
            except (RejectedError, NotFoundError) as error:
                stopped = refused(seen, decision, error.message, self._now())
                await self._write(after, stopped)
                return stopped.recheck_seconds
        return self._rules.resync_seconds if decision.recheck_seconds is None else decision.recheck_seconds

    async def _look(self, view: ChannelView, spec: ModelChannelSpec) -> ChannelSeen:
        there = await self._api.find(view.key.namespace, spec.source)
        found = there if isinstance(there, Found) else candidate_of(there, self._now())
        name = view.status.move_job
        move = await self._api.get_move(view, name) if name is not None else None
        return ChannelSeen(view, spec, found, None if move is None else move_seen(*move))

    async def _unless_blocked(self, seen: ChannelSeen, decision: ChannelDecision) -> ChannelDecision:
        """Hold a move back that may not read or write, as the conversion itself may not."""
        if decision.move is None:
            return decision
        namespace, spec, now = (
            seen.view.key.namespace,
            move_spec(seen.spec, decision.move.candidate),
            self._now(),
        )
        if problem := request_problem(spec, self._rules.jobs):
            return blocked(seen, decision, FailureReason.INVALID_REQUEST, problem, now)
        if violation := self._rules.policy.violation(namespace, spec):
            return blocked(seen, decision, FailureReason.POLICY_VIOLATION, violation, now)
        for grant in grants_of(spec):
            if self._rules.must_be_released(grant) and not await self._api.may_use(namespace, grant):
                words = not_released(namespace, [grant])
                return blocked(seen, decision, reason_not_released(grant), words, now)
        return decision

    async def _write(self, view: ChannelView, decision: ChannelDecision) -> ChannelView | None:
        """Write the status and tell what happened; gives the channel as it is then, None where it is gone."""
        changes = status_changes(view.raw_status, decision.status)
        if changes:
            try:
                view = await self._api.patch_status(view, changes)
            except NotFoundError:
                return None
            self._store.put(view)
        for event in decision.events:
            try:
                await self._api.create_event(view, event.to_wire(self._now()))
            except ApiError as error:
                logger.info("event %s was not written: %s", event.reason, error)
        return view
