"""One replica works, the others stand by: leader election by a Lease.

What is decided is pure and takes the time as an argument (:class:`Election`); :class:`Leadership` talks to
the API server and starts and stops the work. No time of day is compared, here or between machines: a
candidate takes a lease that it has seen unchanged for the lease's whole duration, by its own running clock.

A leader's right to write ends at the renew deadline, which is counted from *before* its last renewal was sent
and is shorter than the lease. Somebody else counts from *after* that, so there is always a pause between the
two, also when the leader was frozen and never noticed. Each write asks :meth:`Election.write_seconds` first.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from modelconversion_operator.clock import running_seconds
from modelconversion_operator.deciding.views import Body
from modelconversion_operator.errors import ApiError, ConflictError, NotFoundError, NotLeaderError

logger = logging.getLogger(__name__)

_STUCK_TURNS: Final = 10


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """The times of a lease, in seconds, all from its duration: 15, 10 and 2 for the usual 15."""

    duration: float

    @property
    def renew_deadline(self) -> float:
        """A leader that could not renew for so long does not write any more."""
        return self.duration * 2 / 3

    @property
    def retry(self) -> float:
        """Time between two looks at the lease."""
        return self.duration * 2 / 15


@dataclass(frozen=True, slots=True)
class Lease:
    """What a Lease says."""

    holder: str
    resource_version: str
    transitions: int

    @classmethod
    def from_body(cls, body: Body) -> Lease:
        """Read the fields of a Lease."""
        spec = body.get("spec") or {}
        return cls(
            holder=spec.get("holderIdentity") or "",
            resource_version=body["metadata"]["resourceVersion"],
            transitions=spec.get("leaseTransitions") or 0,
        )


class Election:
    """What one candidate knows of the lease, and what follows from it.

    Args:
        identity: Names this candidate across restarts of its process: a pod's UID is one. It may be empty.
        times: The lease's times.
        nonce: Tells this process from an earlier one with the same identity; random when not given.

    """

    def __init__(self, identity: str, times: LeaseTimes, nonce: str | None = None) -> None:
        nonce = nonce or uuid.uuid4().hex[:8]
        self.times = times
        self.holder = f"{identity}_{nonce}" if identity else nonce
        self._earlier_self = f"{identity}_" if identity else None
        self._seen: Lease | None = None
        self._seen_at = 0.0
        self._renewed_at: float | None = None

    def see(self, lease: Lease, now: float) -> None:
        """Note what the lease says; a lease of somebody else ends our own right to write at once."""
        if lease.holder != self.holder:
            self._renewed_at = None
        if self._seen is None or lease.resource_version != self._seen.resource_version:
            first = self._seen is None
            self._seen, self._seen_at = lease, now
            # An earlier process of this very pod is dead, or this one would not run. Only the first look
            # counts: were two live processes given one identity, they must not take turns for ever.
            if first and self._earlier_self and lease.holder.startswith(self._earlier_self):
                self._seen_at = now - self.times.duration

    def may_take(self, now: float) -> bool:
        """Whether the lease is free, or was not renewed for its whole duration."""
        if self._seen is None:
            return False
        return self._seen.holder in ("", self.holder) or now - self._seen_at >= self.times.duration

    def renewed(self, lease: Lease, asked_at: float, now: float) -> None:
        """Note that the lease was written with our name in it, by a request sent at ``asked_at``."""
        self._seen, self._seen_at = lease, now
        self._renewed_at = asked_at

    def give_up(self) -> None:
        """End our own right to write."""
        self._renewed_at = None

    def leads(self, now: float) -> bool:
        """Whether this candidate may write."""
        return self._renewed_at is not None and now < self._renewed_at + self.times.renew_deadline

    def seconds_left(self, now: float) -> float:
        """How long this candidate may still write without another renewal; 0 when it may not."""
        if self._renewed_at is None:
            return 0.0
        return max(0.0, self._renewed_at + self.times.renew_deadline - now)

    def write_seconds(self, now: float) -> float:
        """How long a write that begins now may take: it must have ended before anybody can take the lease.

        Raises:
            NotLeaderError: This candidate may not write.

        """
        if not self.leads(now) or self._renewed_at is None:
            raise NotLeaderError
        return self._renewed_at + self.times.duration - now

    @property
    def lease(self) -> Lease | None:
        """The lease as it was last seen."""
        return self._seen


class LeaseApi(Protocol):
    """The requests of an election."""

    async def get_lease(self, seconds: float) -> Body:
        """Read the lease."""

    async def create_lease(self, spec: Body, seconds: float) -> Body:
        """Create the lease."""

    async def patch_lease(self, resource_version: str, spec: Body, seconds: float) -> Body:
        """Change the lease, provided that it is still at ``resource_version``."""


Work = Callable[[], Coroutine[Any, Any, None]]


class Leadership:
    """Runs the work of a replica while it holds the lease."""

    def __init__(
        self,
        api: LeaseApi,
        election: Election,
        clock: Callable[[], float] = running_seconds,
    ) -> None:
        self._api = api
        self._clock = clock
        self._election = election
        self._last_turn = clock()

    @property
    def leads(self) -> bool:
        """Whether this replica may write."""
        return self._election.leads(self._clock())

    def problem(self) -> str | None:
        """Say whether the election stands still, for the liveness probe."""
        silent = self._clock() - self._last_turn
        limit = self._election.times.duration + _STUCK_TURNS * self._election.times.retry
        return f"the election has stood still for {silent:.0f} s" if silent > limit else None

    async def run(self, work: Work, stand_by: Work) -> None:
        """Do ``work`` whenever this replica leads, and ``stand_by`` else, until cancelled; then let go.

        One of the two has ended before the other begins. When one ends by itself, so does this.
        """
        works = False
        task = asyncio.create_task(stand_by())
        times = self._election.times
        try:
            while True:
                self._last_turn = self._clock()
                await self._turn()
                if self.leads != works:
                    works = self.leads
                    if works:
                        logger.info("leading as %s", self._election.holder)
                    else:
                        logger.warning("not leading any more: the work stops")
                    await _cancelled(task)
                    task = asyncio.create_task((work if works else stand_by)())
                # A leader turns up early enough to stop the work at the deadline, not some time after it.
                pause = min(times.retry, self._election.seconds_left(self._clock()) or times.retry)
                if (await asyncio.wait({task}, timeout=pause))[0]:
                    await task
                    return
        finally:
            await _cancelled(task)
            await self._release()

    async def _turn(self) -> None:
        """Renew the lease, or take it when it is free; what goes wrong is tried again next time."""
        now, times = self._clock(), self._election.times
        seconds = min(times.retry * 2, self._election.seconds_left(now) or times.retry * 2)
        try:
            async with asyncio.timeout(seconds):
                if not self._election.leads(now):
                    await self._look()
                    if self.leads:
                        return
                if self._election.may_take(self._clock()):
                    await self._write(self._election.holder, seconds)
        except ConflictError:
            await self._look_after_conflict(seconds)
        except NotFoundError:
            logger.warning("the lease is gone")
            self._election.give_up()
        except (ApiError, TimeoutError) as error:
            logger.warning("the lease could not be %s: %s", "renewed" if self.leads else "read", error)

    async def _look(self) -> None:
        try:
            body = await self._api.get_lease(self._election.times.retry * 2)
        except NotFoundError:
            if self._election.lease is not None and not self._election.may_take(self._clock()):
                return  # somebody deleted it: its holder may not know yet
            spec = self._spec(self._election.holder, None)
            asked_at = self._clock()
            body = await self._api.create_lease(spec, self._election.times.retry * 2)
            self._election.renewed(Lease.from_body(body), asked_at, self._clock())
            return
        self._election.see(Lease.from_body(body), self._clock())

    async def _look_after_conflict(self, seconds: float) -> None:
        """Somebody wrote the lease: another candidate, or a request of ours whose answer was lost."""
        try:
            async with asyncio.timeout(seconds):
                await self._look()
        except (ApiError, TimeoutError) as error:
            logger.warning("the lease could not be read: %s", error)

    async def _write(self, holder: str, seconds: float) -> None:
        lease = self._election.lease
        assert lease is not None  # noqa: S101 - may_take() says so; told to the type checker
        asked_at = self._clock()
        body = await self._api.patch_lease(lease.resource_version, self._spec(holder, lease), seconds)
        self._election.renewed(Lease.from_body(body), asked_at, self._clock())

    async def _release(self) -> None:
        """Let the next candidate have the lease at once. Nothing is lost when that does not succeed."""
        if not self.leads:
            return
        try:
            async with asyncio.timeout(self._election.times.retry):
                await self._write("", self._election.times.retry)
        except (ApiError, TimeoutError) as error:
            logger.info("the lease was not given back: %s", error)
        self._election.give_up()

    def _spec(self, holder: str, lease: Lease | None) -> dict[str, Any]:
        """Return the lease's new spec; its times are for people, nobody compares with them."""
        stamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        spec: dict[str, Any] = {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, round(self._election.times.duration)),
            "renewTime": stamp,
        }
        if lease is None or (holder and lease.holder != holder):
            spec["acquireTime"] = stamp
            spec["leaseTransitions"] = 0 if lease is None else lease.transitions + 1
        return spec


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
