"""What a replica that stands by keeps in mind, while another one works on the same cluster."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from modelconversion_operator.cluster.progress_reader import ProgressReader
from modelconversion_operator.deciding.admission import Limits
from modelconversion_operator.deciding.views import ConversionView
from modelconversion_operator.reconciler import Reconciler
from modelconversion_operator.rules import Rules
from support.operator.memory import World
from support.operator.objects import DEFAULTS, ended, published


class Pair:
    """A leader and a standby, whose watches show the same."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.leader, self.standby = World(limits), World(limits)
        self.standby.server = self.leader.server
        self.standby.start(limits or Limits())

    def show(self, uid: str, *, complete: bool = False) -> None:
        """Let both watches show a conversion with its Job, and its pod when the Job is complete."""
        for world in (self.leader, self.standby):
            if "jobName" in world.status(uid):
                world.now = self.leader.now
                job = replace(world.job_of(uid), complete=complete)
                world.store.put_job(job)
                if complete:
                    states = ended(), ended(), ended(message=published())
                    world.store.put_pod(world.pod_of(uid, *states, phase="Succeeded"))
            world.seen(uid)
            world.queue.add(uid)

    async def run(self, *names: str) -> None:
        """Let the leader take conversions to their end, seen by both."""
        for name in names:
            self.leader.apply(name)
            await self.leader.work()
            self.show(f"ml-{name}")
        for name in names:
            self.show(f"ml-{name}", complete=True)
            await self.leader.work()
            self.show(f"ml-{name}", complete=True)

    @asynccontextmanager
    async def standing_by(self) -> AsyncIterator[None]:
        """Let the standby stand by until nothing is left in its queue."""
        task = asyncio.create_task(self.standby.reconciler.stand_by())
        try:
            yield
            await drained(self.standby)
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def drained(world: World) -> None:
    """Wait until nothing is left in a queue, and the last of it has been looked at."""
    while len(world.queue):  # noqa: ASYNC110 - the queue has no event for it
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)


async def test_it_keeps_no_more_of_what_ended_than_the_leader_does():
    pair = Pair()
    names = [f"c{n}" for n in range(5)]
    async with pair.standing_by():
        await pair.run(*names)
    written = len(pair.leader.server.writes)
    leader, standby = pair.leader.store, pair.standby.store
    assert leader.unsettled() == standby.unsettled() == []
    assert leader.phases() == standby.phases() == {"Succeeded": 5}
    assert vars(standby).keys() == vars(leader).keys()
    assert {k: v for k, v in vars(standby).items() if v} == {k: v for k, v in vars(leader).items() if v}
    assert len(pair.standby.queue) == 0
    assert len(pair.leader.server.writes) == written, "a standby wrote"


async def test_what_is_under_way_or_wants_something_is_kept():
    pair = Pair()
    async with pair.standing_by():
        pair.leader.apply("running")
        await pair.leader.work()
        pair.show("ml-running")
        await pair.run("changed")
        body = pair.leader.server.conversions["ml-changed"]
        body["metadata"] |= {"generation": 2, "resourceVersion": pair.leader.server.version()}
        body["spec"]["methods"] = ["Float16"]
        pair.show("ml-changed")
    assert "ml-running" in pair.standby.store
    assert "ml-changed" in pair.standby.store
    assert pair.standby.store.unsettled("elsewhere") == []


async def test_one_whose_job_has_still_to_get_its_ttl_is_kept_until_it_has_it():
    pair = Pair()
    pair.leader.apply("a")
    await pair.leader.work()
    standby, job = pair.standby.store, replace(pair.leader.job_of("ml-a"), complete=True)
    standby.put_job(replace(job, ttl_seconds=77))
    pair.leader.ends("ml-a")
    await pair.leader.work()
    async with pair.standing_by():
        pair.standby.seen("ml-a")
    assert standby.unsettled() == ["ml-a"]
    async with pair.standing_by():
        standby.put_job(replace(job, resource_version="900"))
        pair.standby.queue.add("ml-a")
    assert standby.unsettled() == []


async def test_a_job_of_one_that_has_ended_is_looked_at_by_the_next_leader():
    pair = Pair()
    pair.leader.apply("a")
    await pair.leader.work()
    running = pair.leader.job_of("ml-a")
    pair.show("ml-a", complete=True)
    await pair.leader.work()
    standby = pair.standby.store
    body = copy.deepcopy(pair.leader.server.conversions["ml-a"])
    standby.put_conversion(ConversionView.from_body(body))  # ended, and nothing known of a Job
    standby.put_job(replace(running, resource_version="900"))
    async with pair.standing_by():
        pair.standby.queue.add("ml-a")
    assert standby.unsettled() == ["ml-a"]
    assert standby.unsettled("ml") == ["ml-a"]


async def test_a_line_that_was_led_is_left_by_those_who_go_or_end_meanwhile():
    pair = Pair(Limits(total=1))
    for name in ("a", "b", "c"):
        pair.leader.apply(name)
        pair.standby.seen(f"ml-{name}")
    await pair.leader.work()
    assert len(pair.leader.reconciler.admission) == 2
    led = pair.leader
    task = asyncio.create_task(led.reconciler.stand_by())
    led.store.drop_conversion(led.key("b"))
    led.queue.add("ml-b")
    await drained(led)
    task.cancel()
    assert len(led.reconciler.admission) == 1
    assert "ml-b" not in led.reconciler._last_look


async def test_nothing_is_done_where_the_jobs_have_not_been_listed():
    world = World()
    known: set[str] = set()
    world.reconciler = Reconciler(
        world.server,
        world.store,
        world.queue,
        world.metrics,
        Rules(DEFAULTS),
        ProgressReader(world.store, world.queue, seconds=0),
        now=world._now,
        knows=known.__contains__,
    )
    world.apply("a")
    world.apply("b", namespace="other")
    known.add("other")
    await world.work()
    assert list(world.server.jobs) == [world.status("other-b")["jobName"]]
    assert world.status("ml-a") == {}
    known.add("ml")
    for uid in world.store.unsettled("ml"):
        world.queue.add(uid)
    await world.work()
    assert len(world.server.jobs) == 2


def test_keys_and_unsettled_ones_are_told_by_namespace():
    world = World()
    world.apply("a")
    world.apply("b", namespace="other")
    assert world.store.keys("ml") == [world.key("a")]
    assert set(world.store.keys(None)) == {world.key("a"), world.key("b", "other")}
    assert world.store.unsettled("other") == ["other-b"]
    assert world.store.unsettled() == ["ml-a", "other-b"]
