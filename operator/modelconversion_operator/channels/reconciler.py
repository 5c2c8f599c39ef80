"""Carries decisions about channels out: the thin shell of I/O around :func:`decide_channel`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from pydantic import ValidationError

from modelconversion_api.channels import ChannelSource, ModelChannelSpec
from modelconversion_api.reasons import FailureReason
from modelconversion_operator.acting import OwnApi, obstacle, write
from modelconversion_operator.channels.deciding import (
    ChannelDecision,
    ChannelSeen,
    blocked,
    decide_channel,
    invalid,
    refused,
)
from modelconversion_operator.channels.finding import Found, candidate_of
from modelconversion_operator.channels.moving import move_manifest, move_spec
from modelconversion_operator.channels.views import ChannelStore, ChannelView
from modelconversion_operator.deciding.failures import problems_of_spec
from modelconversion_operator.deciding.manifest import request_problem
from modelconversion_operator.deciding.views import ConversionView
from modelconversion_operator.errors import NotFoundError, RejectedError
from modelconversion_operator.rules import Rules
from modelconversion_operator.small_jobs import job_seen
from modelconversion_operator.working import work_off
from modelconversion_operator.workqueue import WorkQueue


class ChannelApi(OwnApi[ChannelView], Protocol):
    """The requests of the reconciler. Every call may raise an ApiError."""

    async def find(self, namespace: str, source: ChannelSource) -> ConversionView | Found:
        """Read the conversion that a channel means, or why there is none."""


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
                await self._api.create_own_job(
                    after, move_manifest(after, spec, decision.move, name, settings)
                )
            except (RejectedError, NotFoundError) as error:
                stopped = refused(seen, decision, error.message, self._now())
                await self._write(after, stopped)
                return stopped.recheck_seconds
        return self._rules.resync_seconds if decision.recheck_seconds is None else decision.recheck_seconds

    async def _look(self, view: ChannelView, spec: ModelChannelSpec) -> ChannelSeen:
        there = await self._api.find(view.key.namespace, spec.source)
        found = there if isinstance(there, Found) else candidate_of(there, self._now())
        name = view.status.move_job
        job = await self._api.get_own_job(view, name) if name is not None else None
        move = None if job is None else job_seen(*job, lambda result: result.moved)
        return ChannelSeen(view, spec, found, move)

    async def _unless_blocked(self, seen: ChannelSeen, decision: ChannelDecision) -> ChannelDecision:
        """Hold a move back that may not read or write, as the conversion itself may not."""
        if decision.move is None:
            return decision
        spec = move_spec(seen.spec, decision.move.candidate)
        if problem := request_problem(spec, self._rules.jobs):
            return blocked(seen, decision, FailureReason.INVALID_REQUEST, problem, self._now())
        why = await obstacle(self._api, self._rules, seen.view.key.namespace, spec)
        return decision if why is None else blocked(seen, decision, *why, self._now())

    async def _write(self, view: ChannelView, decision: ChannelDecision) -> ChannelView | None:
        return await write(self._api, self._store, view, decision.status, decision.events, self._now())
