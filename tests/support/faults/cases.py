"""The operator killed at each call, answers that are wrong, watches that fail, clocks that jump."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from devcluster.control_plane.control_plane import ControlPlane
from support.faults.proxy import Request, Rule, error_event
from support.faults.world import UNTOUCHED, Json, Row, World, holds, until
from support.paths import REPOSITORY

Moment = Literal["before", "after"]
Point = tuple[str, int]


@dataclass(frozen=True)
class Stage:
    """What every case needs: a control plane with the CRD, the operator's kubeconfig, a folder for logs."""

    cluster: ControlPlane
    kubeconfig: Path
    folder: Path

    @asynccontextmanager
    async def world(self, *, seconds: float = 0.2) -> AsyncIterator[World]:
        """A namespace of its own, and a node that lets every pod run for ``seconds``."""
        async with World(self.cluster, self.kubeconfig, self.folder, seconds=seconds).open() as world:
            yield world


Case = Callable[[Stage], Coroutine[Any, Any, list[Row]]]


@dataclass(frozen=True)
class Scenario:
    """A way through the operator's calls, the same each time however often the operator is killed in it."""

    title: str
    drive: Callable[[World, str], Awaitable[None]]
    phase: str
    reason: str


async def _convert(world: World, name: str) -> None:
    await world.apply(name)


async def _suspend_resume_refuse(world: World, name: str) -> None:
    """The Job never starts: it is suspended and resumed, then the node refuses its pod's image."""
    await world.apply(name, job={"nodeSelector": {UNTOUCHED: "true"}})
    await until(lambda: _has_job(world, name), f"{name} has a Job")
    for suspend, phase in ((True, "Suspended"), (False, "Pending")):
        patch = {"spec": {"suspend": suspend}}
        await world.api.request("PATCH", world.path("modelconversions", name), patch)
        await world.wait_for_phase(name, phase)

    async def refused() -> bool:
        for pod in await world.items("pods"):
            meta = pod["metadata"]
            ours = meta["labels"]["edgeml.dev/conversion"] == name and "deletionTimestamp" not in meta
            if ours and "initContainerStatuses" not in pod["status"]:
                path = world.path("pods", meta["name"])
                await world.api.request("PATCH", f"{path}/status", {"status": _REFUSED})
        return (await world.status(name)).get("phase") == "Failed"

    await until(refused, f"{name} has failed")


async def _has_job(world: World, name: str) -> bool:
    return any(j["metadata"]["labels"]["edgeml.dev/conversion"] == name for j in await world.items("jobs"))


_REFUSED: Json = {
    "initContainerStatuses": [
        {
            "name": "fetch",
            "image": "",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"waiting": {"reason": "InvalidImageName", "message": "no such name"}},
        }
    ]
}

SCENARIOS = (
    Scenario("a conversion that succeeds", _convert, "Succeeded", "Converted"),
    Scenario(
        "one suspended, resumed, and never started", _suspend_resume_refuse, "Failed", "ImagePullFailed"
    ),
)


async def killed_at_each_write(stage: Stage) -> list[Row]:
    """Count the writes of a run; then, for each and each side of it, run again with a kill there."""
    return await together(_kill_lane(stage, s, m) for s in SCENARIOS for m in ("before", "after"))


async def _kill_lane(stage: Stage, scenario: Scenario, moment: Moment) -> list[Row]:
    """Each process dies at another call; the next one ends that run, and dies in the next."""
    rows: list[Row] = []
    async with stage.world() as world:
        operator = await world.operator()
        await scenario.drive(world, "counted")
        await world.ends("counted", scenario.phase, scenario.reason)
        points = list(dict.fromkeys(operator.proxy.names("counted")))
        assert len(points) >= 5, points
        spared: list[Point] = []

        async def run(number: int, point: Point) -> None:
            name = f"run-{number}"
            rule = Rule(_at(name, point), before=operator.kill)
            if moment == "after":
                rule = Rule(_at(name, point), after=operator.kill)
            operator.proxy.rules.append(rule)
            await scenario.drive(world, name)
            await world.ends(name, scenario.phase, scenario.reason)
            where = f"{moment} {_words(point)}"
            if not await _comes(rule):
                # How often a Job is patched depends on which of two watches speaks first.
                operator.proxy.rules.remove(rule)
                where += ", which this run did not need"
                spared.append(point)
            end = await world.ends(name, scenario.phase, scenario.reason)
            rows.append(Row(f"operator killed, {scenario.title}", where, end))

        for number, point in enumerate(points):
            await run(number, point)
        killed = [point for point in points if point not in spared]
        # What a busy machine adds to a run, or leaves out, is between these two.
        assert {("create job", 1), (f"status {scenario.phase}", 1)} <= set(killed), (points, spared)
        assert len(killed) >= 5, (points, spared)
        await until(lambda: holds(len(operator.exits) == len(killed)), "each kill has its exit")
        assert set(operator.exits) == {-9}, operator.exits
    return rows


async def together(cases: Iterable[Coroutine[Any, Any, list[Row]]]) -> list[Row]:
    """Run cases side by side; their rows, in the order of the cases."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(case) for case in cases]
    return [row for task in tasks for row in task.result()]


async def killed_while_it_starts(stage: Stage) -> list[Row]:
    """Each list and each watch of its start costs a life; the next process begins again."""
    async with stage.world(seconds=3) as world:
        operator = await world.operator()
        calls = [
            f"{verb} {resource}"
            for resource in ("modelconversions", "jobs", "pods")
            for verb in ("list", "watch")
        ]
        async with world.running("early"):
            operator.kill()
            for call in calls:
                rule = Rule(_named(call), before=operator.kill)
                operator.proxy.rules = [rule]
                await until(_hit(rule), f"the call {call} comes")
        end = await world.ends("early")
        assert operator.exits == [-9] * (1 + len(calls)), operator.exits
    return [Row("operator killed while it starts", f"at each of: {', '.join(calls)}", end)]


CODES = (409, 410, 429, 500, 503)


async def wrong_answers(stage: Stage) -> list[Row]:
    """Each write is refused twice with each code; all these conversions are under way at the same time."""
    async with stage.world(seconds=0.5) as world:
        operator = await world.operator()
        await world.apply("counted")
        await world.ends("counted")
        points = list(dict.fromkeys(operator.proxy.names("counted")))
        cases = {f"{code}-{n}": (code, point) for code in CODES for n, point in enumerate(points)}
        operator.proxy.rules = [
            Rule(_named(point[0], f"c{name}"), status=code, headers=_retry_after(code), times=2)
            for name, (code, point) in cases.items()
        ]
        await world.apply(*(f"c{name}" for name in cases))
        rows = []
        for name, (code, point) in cases.items():
            end = await world.ends(f"c{name}")
            rows.append(Row(f"{code} answered twice", f"to {_words(point)}", end))
        unused = [r for r in operator.proxy.rules if r.hits == 0]
        assert not unused, f"{len(unused)} answers were never given"
        assert operator.exits == []
    return rows


async def wrong_answers_to_lists_and_watches(stage: Stage) -> list[Row]:
    """The same for what kopf asks. Some of these end the process, and the next one lists everything anew."""
    return await together(_wrong_answers_to_watches(stage, code) for code in (401, 403, 410, 429, 500))


async def _wrong_answers_to_watches(stage: Stage, code: int) -> list[Row]:
    asked = [f"{v} {r}" for v in ("list", "watch") for r in ("modelconversions", "jobs", "pods")]
    async with stage.world() as world:
        operator = await world.operator(start=False)
        rules = [Rule(_named(call), status=code, headers=_retry_after(code)) for call in asked]
        operator.proxy.rules = rules
        await world.apply("refused")
        await operator.start()
        await until(lambda: holds(all(r.hits for r in rules)), f"all calls got their {code}")
        end = await world.ends("refused")
        restarts = len(operator.exits)
    return [Row(f"{code} answered", "to each list and watch", f"{end}; {restarts} restarts by itself")]


async def watches_that_fail(stage: Stage) -> list[Row]:
    """Watches end in mid-sentence, say nothing any more, or have lost their place."""
    rows = []
    async with stage.world(seconds=1) as world:
        operator = await world.operator(watch_silence_seconds="3")
        names = [f"cut-{n}" for n in range(5)]
        await world.apply(*names)
        cuts = 0
        for _ in range(10):
            cuts += operator.proxy.cut_watches()
            await asyncio.sleep(0.2)
        assert cuts >= 9
        rows.append(Row("watch cut", "10 times in 2 s, all three", await world.all_end(names)))

        operator.proxy.rules = [Rule(_starts("watch "), silent=True, times=3)]
        operator.proxy.cut_watches()
        await until(lambda: holds(operator.proxy.rules[0].hits == 3), "all watches are silent")
        await world.apply("silent")
        end = await world.ends("silent")
        rows.append(Row("watch silent", "all three, from before the conversion was made", end))

        operator.proxy.rules = [Rule(_starts("watch "), says=error_event(410), times=3)]
        operator.proxy.cut_watches()
        await world.apply("expired")
        end = await world.ends("expired")
        await until(lambda: holds(operator.proxy.rules[0].hits == 3), "all watches have expired")
        rows.append(Row("watch expired (410 event)", "all three", end))
        assert operator.exits == []
    return rows


YEAR = 365 * 86400


async def clock_jumps(stage: Stage) -> list[Row]:
    """The operator's wall clock is years off, and jumps while a conversion waits, runs, and is cleaned up."""
    rows = []
    async with stage.world(seconds=1) as world:
        offset = world.folder / f"{world.namespace}-offset"
        offset.write_text("0")
        operator = await world.operator(
            start=False, leader_elect="true", lease_namespace="default", lease_seconds="3"
        )
        operator.command = [
            sys.executable,
            str(REPOSITORY / "tests/support/operator/moved_clock.py"),
            str(offset),
        ]
        await operator.start()
        jumps = (
            ("ahead", 10 * YEAR, "10 years ahead"),
            ("back", -10 * YEAR, "10 years behind"),
            ("right", 0, "the right time"),
        )
        for name, seconds, words in jumps:
            async with world.running(name):
                offset.write_text(str(seconds))
            end = await world.ends(name)
            assert await _believable(world, name), await world.status(name)
            rows.append(Row("operator's clock jumps", f"to {words}, in mid-conversion", end))
        # Started with a wrong clock, and a conversion that waits: no deadline has come.
        offset.write_text(str(10 * YEAR))
        operator.kill()
        await world.apply("waiting", job={"nodeSelector": {UNTOUCHED: "true"}})
        await world.wait_for_phase("waiting", "Pending")
        await asyncio.sleep(2)
        assert (await world.status("waiting"))["phase"] == "Pending"
        rows.append(
            Row("operator's clock wrong", "10 years ahead, pod pending", "still Pending, as it should")
        )
        await operator.stop()
    return rows


async def _believable(world: World, name: str) -> bool:
    """Whether the times that the operator wrote are near the one that the API server wrote."""
    _, found = await world.api.request("GET", world.path("modelconversions", name))
    made = datetime.fromisoformat(found["metadata"]["creationTimestamp"])
    times = (found["status"]["startTime"], found["status"]["completionTime"])
    return all(abs(datetime.fromisoformat(t) - made) < timedelta(minutes=5) for t in times)


OPERATOR_CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        killed_at_each_write,
        killed_while_it_starts,
        wrong_answers,
        wrong_answers_to_lists_and_watches,
        watches_that_fail,
        clock_jumps,
    )
}


async def _comes(rule: Rule) -> bool:
    """Whether the call that a rule waits for is made soon after the end, if it was not made before."""
    for _ in range(200):
        if rule.hits:
            return True
        await asyncio.sleep(0.1)
    return False


def _hit(rule: Rule) -> Callable[[], Awaitable[bool]]:
    return lambda: holds(rule.hits)


def _at(conversion: str, point: Point) -> Callable[[Request], bool]:
    return lambda r: (r.conversion, r.name, r.occurrence) == (conversion, *point)


def _named(name: str, conversion: str | None = None) -> Callable[[Request], bool]:
    return lambda r: r.name == name and conversion in (None, r.conversion)


def _starts(prefix: str) -> Callable[[Request], bool]:
    return lambda r: r.name.startswith(prefix)


def _retry_after(code: int) -> dict[str, str]:
    return {"Retry-After": "1"} if code == 429 else {}


def _words(point: Point) -> str:
    name, occurrence = point
    return name if occurrence == 1 else f"{name}, time {occurrence}"
