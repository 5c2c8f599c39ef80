"""Carries decisions about triggers out: the thin shell of I/O around :func:`decide_trigger`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Protocol

from pydantic import ValidationError

from modelconversion_api.reasons import FailureReason
from modelconversion_api.triggers import ModelConversionTriggerSpec
from modelconversion_operator.deciding.bookkeeping import status_changes
from modelconversion_operator.deciding.failures import problems_of_spec
from modelconversion_operator.deciding.policy import Grant, grants_of, not_released, reason_not_released
from modelconversion_operator.deciding.views import Body, ConversionView, JobView, PodView
from modelconversion_operator.errors import ApiError, NotFoundError, RejectedError
from modelconversion_operator.rules import Rules
from modelconversion_operator.sets.views import SetView
from modelconversion_operator.triggers.deciding import (
    Made,
    TriggerDecision,
    TriggerSeen,
    blocked,
    decide_trigger,
    invalid,
    refused,
)
from modelconversion_operator.triggers.looking import look_manifest, look_seen, look_spec
from modelconversion_operator.triggers.store import TriggerStore
from modelconversion_operator.triggers.views import MadeView, TriggerView
from modelconversion_operator.working import work_off
from modelconversion_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)

_REFUSED_SECONDS: Final = 20.0


class TriggerApi(Protocol):
    """The requests of the reconciler. Every call may raise an ApiError."""

    async def patch_status(self, view: TriggerView, changes: Mapping[str, Any]) -> TriggerView:
        """Merge ``changes`` into a trigger's status, provided that it is still as it was seen."""

    async def create_made(self, view: TriggerView, made: Made) -> ConversionView | SetView:
        """Make a conversion or set; one that is there already and is the trigger's own counts."""

    async def delete_made(self, made: MadeView) -> None:
        """Delete a conversion or set with its Jobs."""

    async def may_use(self, namespace: str, grant: Grant) -> bool:
        """Ask whether a Secret or claim has been released for conversions."""

    async def get_look(self, view: TriggerView, name: str) -> tuple[JobView, list[PodView]] | None:
        """Read the Job of a look, and the pods of one that has ended; None where the trigger has none."""

    async def create_look(self, view: TriggerView, manifest: Body) -> JobView:
        """Make the Job of a look; one that is there already and is the trigger's own counts."""

    async def create_event(self, view: TriggerView, event: Mapping[str, Any]) -> None:
        """Write an event about a trigger."""


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
                await self._api.create_look(after, manifest)
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
        found = await self._api.get_look(view, name) if name is not None else None
        look = None if found is None else look_seen(*found)
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
        namespace, spec, now = seen.view.key.namespace, look_spec(seen.spec), self._now()
        if violation := self._rules.policy.violation(namespace, spec):
            return blocked(seen, decision, FailureReason.POLICY_VIOLATION, violation, now)
        for grant in grants_of(spec):
            if self._rules.must_be_released(grant) and not await self._api.may_use(namespace, grant):
                words = not_released(namespace, [grant])
                return blocked(seen, decision, reason_not_released(grant), words, now)
        return decision

    async def _write(self, view: TriggerView, decision: TriggerDecision) -> TriggerView | None:
        """Write the status and tell what happened; gives the trigger as it is then, None where it is gone."""
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
