"""Carries decisions about triggers out: the thin shell of I/O around :func:`decide_trigger`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol

from pydantic import ValidationError

from modelconversion_api.reasons import FailureReason
from modelconversion_api.triggers import ModelConversionTriggerSpec
from modelconversion_operator.acting import OwnApi, obstacle, write
from modelconversion_operator.deciding.failures import problems_of_spec
from modelconversion_operator.deciding.views import ConversionView
from modelconversion_operator.errors import NotFoundError, RejectedError
from modelconversion_operator.rules import Rules
from modelconversion_operator.sets.views import SetView
from modelconversion_operator.small_jobs import job_seen
from modelconversion_operator.triggers.deciding import (
    Made,
    TriggerDecision,
    TriggerSeen,
    blocked,
    decide_trigger,
    invalid,
    refused,
)
from modelconversion_operator.triggers.looking import look_manifest, look_spec
from modelconversion_operator.triggers.store import TriggerStore
from modelconversion_operator.triggers.views import MadeView, TriggerView
from modelconversion_operator.working import work_off
from modelconversion_operator.workqueue import WorkQueue

_REFUSED_SECONDS: Final = 20.0


class TriggerApi(OwnApi[TriggerView], Protocol):
    """The requests of the reconciler. Every call may raise an ApiError."""

    async def create_made(self, view: TriggerView, made: Made) -> ConversionView | SetView:
        """Make a conversion or set; one that is there already and is the trigger's own counts."""

    async def delete_made(self, made: MadeView) -> None:
        """Delete a conversion or set with its Jobs."""


class TriggerReconciler:
    """Looks at one trigger at a time, decides, and acts."""

    def __init__(
        self,
        api: TriggerApi,
        store: TriggerStore,
        queue: WorkQueue[str],
        rules: Rules,
        now: Callable[[], datetime],
        knows: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._api, self._store, self._queue, self._rules = api, store, queue, rules
        self._now, self._knows = now, knows

    async def work(self) -> None:
        """Take triggers from the queue until cancelled."""
        await work_off(self._queue, self.reconcile, "trigger", self._rules.resync_seconds)

    async def reconcile(self, uid: str) -> float | None:
        """Look at a trigger and do what is to be done; gives the seconds until it wants another look."""
        view = self._store.view(uid)
        if view is None:
            return None
        if not self._knows(view.key.namespace):
            return None  # what it has made has not been listed; the end of that listing brings it back here
        try:
            spec = ModelConversionTriggerSpec.model_validate(view.spec, extra="ignore")
        except ValidationError as error:
            await self._write(view, invalid(view, problems_of_spec(error), self._now()))
            return None
        seen = await self._look(view, spec)
        decision = decide_trigger(seen, self._now())
        for made in decision.delete:
            await self._api.delete_made(made)
        decision = await self._make(seen, decision)
        decision = await self._unless_blocked(seen, decision)
        after = await self._write(view, decision)
        if decision.looks and after is not None and after.status.look_job is not None:
            manifest = look_manifest(after, spec, after.status.look_job, self._rules.jobs)
            try:
                await self._api.create_own_job(after, manifest)
            except (RejectedError, NotFoundError) as error:
                stopped = blocked(
                    replace(seen, view=after),
                    decision,
                    FailureReason.JOB_REJECTED,
                    error.message,
                    self._now(),
                )
                await self._write(after, stopped)
                return _REFUSED_SECONDS
        return self._rules.resync_seconds if decision.recheck_seconds is None else decision.recheck_seconds

    async def _look(self, view: TriggerView, spec: ModelConversionTriggerSpec) -> TriggerSeen:
        name = view.status.look_job
        found = await self._api.get_own_job(view, name) if name is not None else None
        look = None if found is None else job_seen(*found, lambda result: result.look)
        return TriggerSeen(view, spec, self._store.made(view), look)

    async def _make(self, seen: TriggerSeen, decision: TriggerDecision) -> TriggerDecision:
        if decision.make is None:
            return decision
        try:
            made = await self._api.create_made(seen.view, decision.make)
        except (RejectedError, NotFoundError) as error:
            # A policy, a quota, or a spec that the API server does not take: it is asked again later.
            words = f"{decision.make.kind} {decision.make.name}: {error.message}"
            return replace(
                refused(seen, decision, words, self._now()),
                recheck_seconds=min(_REFUSED_SECONDS, decision.recheck_seconds or _REFUSED_SECONDS),
            )
        self._store.put_made(made, seen.view.key.uid)
        return decision

    async def _unless_blocked(self, seen: TriggerSeen, decision: TriggerDecision) -> TriggerDecision:
        """Hold a look back that may not read the source, as the conversion itself may not."""
        if not decision.looks:
            return decision
        why = await obstacle(self._api, self._rules, seen.view.key.namespace, look_spec(seen.spec))
        return decision if why is None else blocked(seen, decision, *why, self._now())

    async def _write(self, view: TriggerView, decision: TriggerDecision) -> TriggerView | None:
        return await write(self._api, self._store, view, decision.status, decision.events, self._now())
