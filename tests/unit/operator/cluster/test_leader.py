"""Leader election: who may write when, and when another may take over."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_operator.clock import running_seconds
from modelconversion_operator.cluster.leader import Election, Leadership, Lease, LeaseTimes
from modelconversion_operator.errors import ConflictError, NotFoundError, NotLeaderError, UnavailableError

TIMES = LeaseTimes(15)


@dataclass
class FakeServer:
    """An API server with one lease, on a clock that the test moves."""

    lease: dict[str, Any] | None = None
    version: int = 0
    down: bool = False
    lost_answers: int = 0
    log: list[str] = field(default_factory=list)

    def body(self) -> dict[str, Any]:
        assert self.lease is not None
        return {"metadata": {"resourceVersion": str(self.version)}, "spec": dict(self.lease)}

    async def get_lease(self, seconds: float) -> dict[str, Any]:
        self._up()
        if self.lease is None:
            raise NotFoundError(404, "no lease")
        return self.body()

    async def create_lease(self, spec: Any, seconds: float) -> dict[str, Any]:
        self._up()
        if self.lease is not None:
            raise ConflictError(409, "exists")
        return self._write(spec)

    async def patch_lease(self, resource_version: str, spec: Any, seconds: float) -> dict[str, Any]:
        self._up()
        if self.lease is None:
            raise NotFoundError(404, "no lease")
        if resource_version != str(self.version):
            raise ConflictError(409, "changed")
        body = self._write({**self.lease, **spec})
        if self.lost_answers:
            self.lost_answers -= 1
            raise UnavailableError(0, "no answer")
        return body

    def _write(self, spec: Any) -> dict[str, Any]:
        self.lease, self.version = dict(spec), self.version + 1
        self.log.append(spec["holderIdentity"])
        return self.body()

    def _up(self) -> None:
        if self.down:
            raise UnavailableError(0, "down")


def lease(holder: str, version: int = 1) -> Lease:
    return Lease(holder, str(version), 0)


def test_a_standby_takes_a_lease_only_when_it_has_not_moved_for_its_whole_duration():
    standby = Election("", TIMES, "standby")
    standby.see(lease("leader", 1), 100)
    assert not standby.may_take(114.9)
    standby.see(lease("leader", 2), 114)  # renewed
    assert not standby.may_take(128.9)
    assert standby.may_take(129)


def test_a_lease_that_was_given_back_is_taken_at_once():
    standby = Election("", TIMES, "standby")
    standby.see(lease(""), 100)
    assert standby.may_take(100)


def test_a_leader_may_write_until_the_renew_deadline_and_its_writes_end_before_the_lease():
    leader = Election("", TIMES, "leader")
    leader.renewed(lease("leader"), asked_at=100, now=103)
    assert leader.write_seconds(101) == 14
    assert leader.leads(109.9)
    assert not leader.leads(110)
    with pytest.raises(NotLeaderError):
        leader.write_seconds(110)


def test_the_lease_of_another_ends_the_right_to_write_before_any_deadline():
    leader = Election("", TIMES, "leader")
    leader.renewed(lease("leader"), 100, 100)
    leader.see(lease("other", 2), 101)
    assert not leader.leads(101)


def test_the_next_process_of_a_pod_takes_over_from_the_last_one_but_only_when_it_starts():
    again = Election("pod-uid", TIMES, "second")
    again.see(lease("pod-uid_first"), 100)
    assert again.may_take(100)
    stranger = Election("pod-uid-2", TIMES, "x")
    stranger.see(lease("pod-uid_first"), 100)
    assert not stranger.may_take(100)
    # Two live processes with one identity must not take turns.
    again.see(lease("pod-uid_third", 2), 101)
    assert not again.may_take(101)


class Candidate:
    """One candidate and the request that it has under way, a stage at a time."""

    def __init__(self, name: str) -> None:
        self.election = Election("", TIMES, name)
        self.asked: tuple[float, Lease] | None = None
        self.answer: tuple[float, Lease] | None = None

    def step(self, server: list[Lease], now: float) -> None:
        """The next thing that happens to it: it looks and asks, its request arrives, or its answer does."""
        if self.answer is not None:
            asked_at, written = self.answer
            self.answer = None
            self.election.renewed(written, asked_at, now)
        elif self.asked is not None:
            asked_at, known = self.asked
            self.asked = None
            if server[0].resource_version == known.resource_version:
                server[0] = lease(self.election.holder, int(known.resource_version) + 1)
                self.answer = (asked_at, server[0])
        else:
            self.election.see(server[0], now)
            if self.election.may_take(now):
                self.asked = (now, server[0])


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 20, allow_nan=False)), max_size=120))
def test_there_are_never_two_that_may_write(steps):
    """Whatever is delayed, lost or frozen, however their steps mix: at no time may two candidates write."""
    server = [lease("", 0)]
    candidates = [Candidate(name) for name in "abc"]
    now = 0.0
    for number, pause in steps:
        now += pause
        candidates[number].step(server, now)
        assert sum(c.election.leads(now) for c in candidates) <= 1


async def run_until(leadership: Leadership, work: Any, done: Any, rest: Any = None) -> None:
    task = asyncio.create_task(leadership.run(work, rest or Work()))
    try:
        for _ in range(2000):
            if done():
                return
            await asyncio.sleep(0.005)
        raise AssertionError("it never came to that")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Work:
    def __init__(self) -> None:
        self.running = 0
        self.starts = 0

    async def __call__(self) -> None:
        self.running += 1
        self.starts += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.running -= 1


FAST = LeaseTimes(0.3)


async def test_it_works_while_it_leads_and_gives_the_lease_back():
    server, work = FakeServer(), Work()
    election = Election("pod", FAST)
    leadership = Leadership(server, election)
    await run_until(leadership, work, lambda: len(server.log) >= 4)
    assert work.starts == 1
    assert work.running == 0
    assert server.log[-1] == ""
    with pytest.raises(NotLeaderError):
        election.write_seconds(running_seconds())


async def test_the_work_stops_when_the_lease_cannot_be_renewed_and_starts_again_later():
    server, work, rest = FakeServer(), Work(), Work()
    leadership = Leadership(server, Election("", FAST))

    def outage() -> bool:
        assert work.running + rest.running <= 1
        server.down = work.starts == 1 and work.running == 1
        return work.starts == 2

    await run_until(leadership, work, outage, rest)
    assert work.running == rest.running == 0
    assert rest.starts >= 1  # between, and before where there was time for it


async def test_a_renewal_whose_answer_was_lost_is_found_to_be_ours():
    server, work = FakeServer(), Work()
    leadership = Leadership(server, Election("", FAST))

    def lose() -> bool:
        if len(server.log) == 2:
            server.lost_answers = 1
        return len(server.log) >= 6

    await run_until(leadership, work, lose)
    assert work.starts == 1


async def test_a_lease_of_another_is_respected_and_its_loss_is_noticed():
    server, work = FakeServer(), Work()
    leadership = Leadership(server, Election("", FAST))

    def steal() -> bool:
        if work.starts == 1 and server.log[-1] != "thief":
            server._write({"holderIdentity": "thief"})
        return work.starts == 1 and work.running == 0

    await run_until(leadership, work, steal)
    assert server.lease is not None
    assert server.lease["holderIdentity"] == "thief", "what is not ours is not given back"


async def test_a_deleted_lease_is_made_again_by_its_leader():
    server, work = FakeServer(), Work()
    leadership = Leadership(server, Election("", FAST))
    deleted = []

    def delete() -> bool:
        if len(server.log) == 3 and not deleted:
            deleted.append(True)
            server.lease = None
        return len(server.log) >= 6

    await run_until(leadership, work, delete)
    assert set(server.log[:-1]) == {server.log[0]}


async def test_work_that_fails_ends_the_replica():
    async def broken() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await Leadership(FakeServer(), Election("", FAST)).run(broken, Work())


async def test_an_election_that_stands_still_is_told():
    now = [0.0]
    leadership = Leadership(FakeServer(), Election("", TIMES), clock=lambda: now[0])
    assert leadership.problem() is None
    now[0] = 60
    assert leadership.problem() == "the election has stood still for 60 s"
