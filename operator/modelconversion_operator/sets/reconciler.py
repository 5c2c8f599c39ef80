"""Carries decisions about sets out: the thin shell of I/O around :func:`decide_set`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Literal, Protocol

from pydantic import ValidationError

from modelconversion_api.reasons import FailureReason
from modelconversion_api.sets import ModelConversionSetSpec, ModelConversionSetStatus
from modelconversion_operator.acting import tell, unreleased
from modelconversion_operator.deciding.bookkeeping import status_changes
from modelconversion_operator.deciding.decisions import Event
from modelconversion_operator.deciding.policy import Grant
from modelconversion_operator.deciding.views import Body, ConversionView, JobView
from modelconversion_operator.errors import NotFoundError, RejectedError
from modelconversion_operator.rules import Rules
from modelconversion_operator.sets.comparison import comparison_manifest
from modelconversion_operator.sets.deciding import (
    SetDecision,
    SetSeen,
    Wanted,
    decide_set,
    invalid,
    member_spec,
    wanted_of,
)
from modelconversion_operator.sets.store import SetStore
from modelconversion_operator.sets.views import MemberView, SetView
from modelconversion_operator.working import work_off
from modelconversion_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)

_MEMBERS_A_SECOND: Final = 100
"""A status of a thousand members is written every ten seconds at most: each write sends every row."""
_REFUSED_SECONDS: Final = 20.0


class SetApi(Protocol):
    """The requests of the reconciler. Every call may raise an ApiError."""

    async def patch_status(self, view: SetView, changes: Mapping[str, Any]) -> SetView:
        """Merge ``changes`` into a set's status, provided that it is still as it was seen."""

    async def create_member(
        self, view: SetView, name: str, spec: Body, annotations: Mapping[str, str]
    ) -> ConversionView | None:
        """Make a member; one that is there already counts. None where something else has its name."""

    async def suspend_member(self, member: MemberView, *, suspend: bool) -> ConversionView:
        """Stop a member, or let it go on."""

    async def delete_member(self, member: MemberView) -> None:
        """Delete a member with its Job."""

    async def may_use(self, namespace: str, grant: Grant) -> bool:
        """Ask whether a Secret or claim has been released for conversions."""

    async def get_job(self, namespace: str, name: str) -> JobView | None:
        """Read a Job; None when there is none."""

    async def create_job(self, manifest: Body) -> JobView:
        """Make a Job; one that is there already counts."""

    async def create_event(self, view: SetView, event: Mapping[str, Any]) -> None:
        """Write an event about a set."""


class SetReconciler:
    """Looks at one set at a time per worker, decides, and acts."""

    def __init__(
        self,
        api: SetApi,
        store: SetStore,
        queue: WorkQueue[str],
        rules: Rules,
        now: Callable[[], datetime],
        knows: Callable[[str], bool] = lambda _: True,
        annotate: Callable[[SetView, ModelConversionSetStatus], Mapping[str, str]] = lambda *_: {},
    ) -> None:
        self._api, self._store, self._queue, self._rules = api, store, queue, rules
        self._now, self._knows, self._annotate = now, knows, annotate
        self._wanted: dict[str, tuple[int, tuple[Wanted, ...]]] = {}
        """By UID of a set under way, its generation and the members that it should have."""
        self._taken: dict[str, frozenset[str]] = {}
        self._wrote: dict[str, float] = {}
        """When the status of a set under way was last written."""

    async def work(self) -> None:
        """Take sets from the queue until cancelled."""
        await work_off(self._queue, self.reconcile, "set", self._rules.resync_seconds)

    async def reconcile(self, uid: str) -> float | None:
        """Look at a set and do what is to be done; gives the seconds until it wants another look."""
        view = self._store.view(uid)
        if view is None:
            for known in (self._wanted, self._taken, self._wrote):
                known.pop(uid, None)
            return None
        if not self._knows(view.key.namespace):
            return None  # its members have not been listed; the end of that listing brings it back here
        try:
            spec = ModelConversionSetSpec.model_validate(view.spec, extra="ignore")
            # A member's names are longer than its set's, and may be too long.
            seen = await self._look(view, spec)
        except ValidationError as error:
            decision = invalid(view, error, self._now())
            await self._write(view, decision)
            return None
        decision = decide_set(seen, self._now())
        for member in decision.delete:
            await self._api.delete_member(member)
        for member in decision.suspend:
            self._keep(await self._api.suspend_member(member, suspend=True), uid)
        for member in decision.resume:
            self._keep(await self._api.suspend_member(member, suspend=False), uid)
        refused = await self._create(seen, decision)
        waits = await self._write(view, decision)
        if decision.compare:
            refused = await self._compare(seen, decision) or refused
        delays = [d for d in (decision.recheck_seconds, waits, refused) if d is not None]
        is_over = decision.status.phase is not None and decision.status.phase.is_final
        return min(delays, default=None if is_over else self._rules.resync_seconds)

    async def _look(self, view: SetView, spec: ModelConversionSetSpec) -> SetSeen:
        uid, name = view.key.uid, view.status.comparison_job
        generation, wanted = self._wanted.get(uid, (-1, ()))
        if generation != view.generation:
            wanted = wanted_of(view.key, spec)
            self._wanted[uid] = view.generation, wanted
            self._taken.pop(uid, None)
        if view.retry is not None and view.retry != view.status.retried:
            self._taken.pop(uid, None)
        is_over = view.status.phase is not None and view.status.phase.is_final
        job = await self._api.get_job(view.key.namespace, name) if name and not is_over else None
        members = self._store.members(view)
        return SetSeen(view, spec, wanted, members, self._taken.get(uid, frozenset()), job)

    async def _create(self, seen: SetSeen, decision: SetDecision) -> float | None:
        """Make members; gives when to look again: at once, or later where the API server refuses one."""
        view, uid = seen.view, seen.view.key.uid
        annotations = self._annotate(view, decision.status)
        for wanted in decision.create:
            spec = member_spec(seen.spec, wanted.model, wanted.profile).to_wire()
            try:
                made = await self._api.create_member(view, wanted.name, spec, annotations)
            except (RejectedError, NotFoundError) as error:
                # A policy or a quota: what it says is told, and asked again, for it may change its mind.
                await self._record(
                    view, Event("Warning", "MemberRejected", f"{wanted.name}: {error.message}")
                )
                return _REFUSED_SECONDS
            if made is None:
                self._taken[uid] = self._taken.get(uid, frozenset()) | {wanted.name}
                return 0.0
            self._keep(made, uid)
        return 0.0 if decision.create else None

    async def _compare(self, seen: SetSeen, decision: SetDecision) -> float | None:
        """Make the Job that compares, where its Secrets may be used."""
        view = seen.view
        spec = member_spec(seen.spec, seen.spec.models[0], seen.spec.profiles[0])
        if missing := await unreleased(self._api, self._rules, view.key.namespace, spec):
            await self._record(view, Event("Warning", *missing))
            return _REFUSED_SECONDS
        current = SetSeen(
            self._store.view(view.key.uid) or view, seen.spec, seen.wanted, seen.members, seen.taken
        )
        manifest = comparison_manifest(current, decision.status, self._rules.jobs)
        try:
            await self._api.create_job(manifest)
        except (RejectedError, NotFoundError) as error:
            await self._record(view, Event("Warning", FailureReason.JOB_REJECTED, error.message))
            return _REFUSED_SECONDS
        return None

    async def _write(self, view: SetView, decision: SetDecision) -> float | None:
        """Write the status, now or later; gives when, where it is later."""
        before, after = view.status, decision.status
        changes = status_changes(view.raw_status, after)
        if not changes:
            return None
        uid = view.key.uid
        is_progress = before.phase is after.phase and not after.phase.is_final if after.phase else False
        left = self._wrote.get(uid, 0.0) + after.total / _MEMBERS_A_SECOND - time.monotonic()
        if is_progress and left > 0 and not decision.compare:
            return left
        try:
            self._store.put(await self._api.patch_status(view, changes))
        except NotFoundError:
            return None
        self._wrote[uid] = time.monotonic()
        condition = after.conditions[0]
        if before.phase is not after.phase:
            key = view.key
            logger.info("set %s/%s: %s %s", key.namespace, key.name, after.phase, condition.message)
        if after.phase is not None and after.phase.is_final:
            kind: Literal["Normal", "Warning"] = "Normal" if condition.status == "True" else "Warning"
            await self._record(view, Event(kind, condition.reason, condition.message))
            self._wanted.pop(uid, None)
        return None

    def _keep(self, member: ConversionView, uid: str) -> None:
        self._store.put_member(member, uid)

    async def _record(self, view: SetView, event: Event) -> None:
        await tell(self._api, view, [event], self._now())
