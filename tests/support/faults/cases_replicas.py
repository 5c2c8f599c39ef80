"""Two replicas: the leader dies, freezes, is cut off, is told off; or there is no election at all.

Each replica has a proxy of its own, so that it is known who wrote what. The lease lasts for 3 s here: its
leader writes nothing after 2 s without a renewal, and the standby waits for 3.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from support.faults.cases import Case, Stage
from support.faults.proxy import Request, Rule
from support.faults.world import OperatorProcess, Row, World, holds, until

_LEASE = "/apis/coordination.k8s.io/v1/namespaces/default/leases/model-conversion-operator"
_ELECTION: dict[str, Any] = {"leader_elect": "true", "lease_namespace": "default", "lease_seconds": "3"}


@dataclass(frozen=True)
class _Pair:
    world: World
    leader: OperatorProcess
    standby: OperatorProcess


@asynccontextmanager
async def _pair(stage: Stage) -> AsyncIterator[_Pair]:
    """A leader and a standby, both ready."""
    async with stage.world(seconds=1) as world:
        await world.api.request("DELETE", _LEASE)
        leader = await world.operator(**_ELECTION)
        await until(leader.leads, "the first replica leads")
        standby = await world.operator(**_ELECTION)
        assert not await standby.leads()
        yield _Pair(world, leader, standby)


def _writes(operator: OperatorProcess) -> list[Request]:
    return [r for r in operator.proxy.requests if r.write]


async def _fails_over(
    stage: Stage, title: str, where: str, fault: Callable[[_Pair], Awaitable[None]]
) -> list[Row]:
    """Something happens to the leader, with conversions at every stage; the standby ends them all."""
    async with _pair(stage) as pair:
        names = [f"c{n}" for n in range(6)]
        async with pair.world.running(*names[:3]):
            assert not _writes(pair.standby), "a standby wrote"
            await fault(pair)
        await pair.world.apply(*names[3:])
        await until(pair.standby.leads, "the standby leads")
        written = len(_writes(pair.leader))
        end = await pair.world.all_end(names)
        assert _writes(pair.standby)
        assert len(_writes(pair.leader)) == written, "the old leader wrote after the new one had begun"
        assert (await pair.standby.get("/healthz"))[0] == 200
    return [Row(title, where, f"{end}; nothing written by the old leader")]


async def leader_killed(stage: Stage) -> list[Row]:
    """SIGKILL: the lease runs out."""

    async def kill(pair: _Pair) -> None:
        await pair.leader.stop(signal.SIGKILL)

    return await _fails_over(stage, "leader killed", "conversions new, pending and running", kill)


async def leader_stopped(stage: Stage) -> list[Row]:
    """SIGTERM, as in a rollout: the lease is given back, and taken within a moment."""

    async def stop(pair: _Pair) -> None:
        await pair.leader.stop()
        assert pair.leader.exits == [0]

    return await _fails_over(stage, "leader stopped (SIGTERM)", "conversions running", stop)


async def leader_frozen(stage: Stage) -> list[Row]:
    """SIGSTOP between two writes, for longer than the lease; then SIGCONT: it must not go on where it was."""
    async with _pair(stage) as pair:
        # The write at which it freezes never arrives: whatever arrives later, it sent after it woke up.
        frozen = Rule(lambda r: r.name == "status Running", before=lambda: pair.leader.send(signal.SIGSTOP))
        pair.leader.proxy.rules = [frozen]
        names = [f"c{n}" for n in range(4)]
        await pair.world.apply(*names)
        await until(pair.standby.leads, "the standby leads")
        assert frozen.hits == 1
        written = len(_writes(pair.leader))
        end = await pair.world.all_end(names[:2])
        pair.leader.send(signal.SIGCONT)
        await until(pair.leader.is_ready, "the old leader stands by")
        await pair.world.apply("later")
        end = await pair.world.all_end([*names, "later"])
        late = _writes(pair.leader)[written:]
        assert not late, f"a leader that woke up wrote: {late}"
        assert pair.leader.exits == [], "it stands by, it need not die"
        assert not await pair.leader.leads()
    where = "in mid-conversion, for longer than the lease, then woken up"
    return [Row("leader frozen (SIGSTOP)", where, f"{end}; nothing written after it woke up")]


async def leader_cut_off(stage: Stage) -> list[Row]:
    """The leader alone cannot reach the API server; it stops by itself, and is a standby when it is back."""

    async with _pair(stage) as pair:
        names = [f"c{n}" for n in range(4)]
        async with pair.world.running(*names):
            pair.leader.proxy.down = True
        await until(pair.standby.leads, "the standby leads")
        assert not await pair.leader.leads(), "two leaders"
        pair.leader.proxy.down = False
        written = len(_writes(pair.leader))
        await pair.world.apply("later")
        end = await pair.world.all_end([*names, "later"])
        assert len(_writes(pair.leader)) == written
    return [Row("leader cut off", "from the API server, for longer than the lease", end)]


async def standby_forgets(stage: Stage) -> list[Row]:
    """What ends while a replica stands by is as little to it as to the leader."""
    async with _pair(stage) as pair:
        names = [f"c{n}" for n in range(6)]
        await pair.world.apply(*names)
        end = await pair.world.all_end(names)

        async def told() -> set[str]:
            lines = (await pair.standby.get("/metrics"))[1].splitlines()
            return {
                line for line in lines if line.startswith(("modelconversion_queue", "modelconversion_res"))
            }

        wanted = {"modelconversion_queue_depth 0.0", 'modelconversion_resources{phase="Succeeded"} 6.0'}

        async def forgets() -> bool:
            return wanted <= await told()

        await until(forgets, "the standby's queue is empty")
        assert not _writes(pair.standby), "a standby wrote"
    return [Row("replica stands by", "while six conversions end", f"{end}; nothing in its queue")]


async def lease_trouble(stage: Stage) -> list[Row]:
    """Renewals are refused, and the lease is deleted: no two leaders come of it."""
    rows = []
    async with _pair(stage) as pair:
        for code in (409, 429, 500):
            pair.leader.proxy.rules = [Rule(lambda r: "lease" in r.name, status=code, times=1)]
            await until(lambda: holds(pair.leader.proxy.rules[0].hits), "an answer about the lease is wrong")
            await asyncio.sleep(1)
            assert await pair.leader.leads()
            assert not await pair.standby.leads()
        rows.append(Row("409, 429, 500 answered", "to a renewal of the lease", "the same one leads"))
        await pair.world.api.request("DELETE", _LEASE)
        await pair.world.apply("after")
        end = await pair.world.ends("after")
        leading = [await pair.leader.leads(), await pair.standby.leads()]
        assert sum(leading) == 1, leading
        rows.append(Row("lease deleted", "under its leader", f"{end}; one leads"))
    return rows


async def leader_crashes_in_its_pod(stage: Stage) -> list[Row]:
    """The next process in the same pod leads again without waiting for the lease of the dead one."""
    async with stage.world() as world:
        await world.api.request("DELETE", _LEASE)
        # A lease of a minute: to wait for it would be noticed.
        settings = _ELECTION | {"lease_seconds": "60", "leader_identity": "uid-of-the-pod"}
        operator = await world.operator(**settings)
        await until(operator.leads, "it leads")
        began = asyncio.get_running_loop().time()
        operator.kill()
        await until(lambda: holds(operator.exits == [-9]), "it is dead")
        await world.apply("one")
        end = await world.ends("one")
        assert asyncio.get_running_loop().time() - began < 60
        await world.api.request("DELETE", _LEASE)
    return [Row("leader crashed", "alone, its pod's next process takes over at once", end)]


async def no_election(stage: Stage) -> list[Row]:
    """Two replicas that both work: the lease saves work, the API server's own rules keep it right."""
    async with stage.world(seconds=1) as world:
        one, two = await world.operator(), await world.operator()
        names = [f"c{n}" for n in range(8)]
        await world.apply(*names)
        end = await world.all_end(names)
        assert _writes(one)
        assert _writes(two)
    return [Row("two replicas without election", "both work on everything", end)]


REPLICA_CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        leader_killed,
        leader_stopped,
        leader_frozen,
        leader_cut_off,
        standby_forgets,
        lease_trouble,
        leader_crashes_in_its_pod,
        no_election,
    )
}
