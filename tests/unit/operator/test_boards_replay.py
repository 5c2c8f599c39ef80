"""Boards with a whole operator over a server that only remembers: crashes between writes, places, rivals."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from modelconversion_api.methods import Method
from modelconversion_operator.cluster.store import Store
from modelconversion_operator.deciding.admission import Limits
from modelconversion_operator.deciding.manifest import Part, job_name
from modelconversion_operator.deciding.views import Body, ConversionView, JobView, Key
from support.operator.board_story import FAST, GATED, told
from support.operator.board_story import file as figures
from support.operator.memory import Server, World
from support.operator.objects import ended, published

BOARDS = [FAST, GATED]
PARTS = [Part(), *(Part(board=board["name"]) for board in BOARDS)]
A, B = "ml-a", "ml-b"


class CrashError(Exception):
    """The operator's process is gone."""


class Fragile(Server):
    """A server whose client dies before or after one of its writes; Jobs with no time left go."""

    def __init__(self) -> None:
        super().__init__()
        self.die_at, self.die_after = -1, False
        self.made: list[str] = []

    def _write(self, when_done: bool) -> None:
        # A write is noted once it is done: its number is the same before and after.
        number = len(self.writes) - (1 if when_done else 0)
        if number == self.die_at and when_done == self.die_after:
            self.die_at = -1
            raise CrashError

    async def patch_status(
        self, key: Key, resource_version: str, changes: Mapping[str, Any]
    ) -> ConversionView:
        self._write(when_done=False)
        view = await super().patch_status(key, resource_version, changes)
        self._write(when_done=True)
        return view

    async def create_job(self, manifest: Body) -> JobView:
        self._write(when_done=False)
        if manifest["metadata"]["name"] not in self.jobs:
            self.made.append(manifest["metadata"]["name"])
        job = await super().create_job(manifest)
        self._write(when_done=True)
        return job

    async def patch_job(self, job: JobView, changes: Body) -> JobView:
        self._write(when_done=False)
        patched = await super().patch_job(job, changes)
        if patched.finished and patched.ttl_seconds == 0:
            del self.jobs[job.name]
            self.pods = {uid: pod for uid, pod in self.pods.items() if pod.job_uid != job.uid}
        self._write(when_done=True)
        return patched

    async def create_event(self, key: Key, event: Mapping[str, Any]) -> None:
        self._write(when_done=False)
        await super().create_event(key, event)
        self._write(when_done=True)


class Boards(World):
    """A world whose Jobs end well as soon as nothing else happens."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.server: Fragile
        super().__init__(limits)
        self.limits = limits or Limits()
        self.server = Fragile()
        self.start(self.limits)

    def part_of(self, uid: str) -> Part:
        """Which of a conversion's Jobs the present one is."""
        key, name = self.key(uid.removeprefix("ml-")), self.status(uid)["jobName"]
        return next(part for part in PARTS if job_name(key, "1", part) == name)

    def job_ends(self, uid: str) -> None:
        """The present Job ends well, with what its last container has to say."""
        board, name = self.part_of(uid).board, self.status(uid)["jobName"]
        said = told(figures(Method.FULL_INTEGER), board=board) if board else published()
        view = self.pod_of(uid, ended(), ended(), ended(message=said), phase="Succeeded")
        view = replace(view, uid=f"pod-{name}", name=f"pod-{name}")
        self.server.pods[view.uid] = view
        self.store.put_pod(view)
        self.server.jobs[name]["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
        self.store.put_job(self.job_of(uid))
        self.queue.add(uid)

    def restart(self) -> None:
        """Another operator begins with what the API server lists."""
        self.store = Store()
        self.start(self.limits)
        for uid, body in self.server.conversions.items():
            self.store.put_conversion(ConversionView.from_body(body))
            self.queue.add(uid)
        for body in self.server.jobs.values():
            self.store.put_job(JobView.from_body(body))
        for view in self.server.pods.values():
            self.store.put_pod(view)

    def idle(self) -> None:
        """Let the operator work until it has nothing to do; where it dies, the next one goes on."""
        while True:
            try:
                return asyncio.run(self.work())
            except CrashError:
                self.restart()

    def has_ended(self, uid: str) -> bool:
        return self.status(uid).get("phase") in ("Succeeded", "Failed")

    def live(self, *uids: str) -> int:
        """Let one Job after another end, until the conversions have; give the most places taken at a time."""
        most = 0
        for _ in range(40):
            self.idle()
            most = max(most, sum(map(len, self.store.active().values())))
            if all(map(self.has_ended, uids)):
                return most
            for uid in uids:
                present = self.server.jobs.get(self.status(uid).get("jobName", ""))
                if present is not None and "status" not in present:
                    self.job_ends(uid)
                else:
                    self.queue.add(uid)
        raise AssertionError("it does not end")


def life(die_at: int = -1, *, after: bool = False, **spec: Any) -> Boards:
    """A conversion with two boards from its first sight to its end."""
    world = Boards()
    world.server.die_at, world.server.die_after = die_at, after
    world.apply("a", benchmark={"boards": BOARDS}, **spec)
    world.live(A)
    return world


def end_of(world: Boards) -> dict[str, Any]:
    return {name: value for name, value in world.status(A).items() if name != "jobUid"}


@pytest.mark.parametrize("ttl", [0, 60, 86400])
def test_an_operator_that_dies_at_any_write_ends_in_the_same_status_with_each_job_made_once(ttl: int) -> None:
    spec = {"job": {"ttlSecondsAfterFinished": ttl}}
    expected = life(**spec)
    assert expected.status(A)["phase"] == "Succeeded"
    assert [row["board"] for row in expected.status(A)["measurements"]] == ["fast", "pi5"]
    assert all(row["files"] for row in expected.status(A)["measurements"])
    assert len(expected.server.made) == 3
    for number in range(len(expected.server.writes)):
        for after in (False, True):
            world = life(number, after=after, **spec)
            assert world.server.die_at == -1, "it has died"
            assert end_of(world) == end_of(expected), (number, after)
            assert world.server.made == expected.server.made, (number, after)


def test_metrics_count_the_conversion_once_and_each_board_once() -> None:
    world = Boards()
    world.apply("a", benchmark={"boards": BOARDS})
    world.idle()
    for _ in PARTS:
        world.runs(A)
        world.idle()
        world.job_ends(A)
        world.idle()
    assert world.status(A)["phase"] == "Succeeded"
    value = world.metrics.registry.get_sample_value
    assert value("modelconversion_start_duration_seconds_count") == 1
    assert value("modelconversion_queue_duration_seconds_count") == 1
    assert value("modelconversion_artifact_agreement_count", {"method": "FullInteger"}) == 1
    converted = {"outcome": "succeeded", "reason": "Converted"}
    assert value("modelconversion_conversions_total", converted) == 1
    for board in BOARDS:
        of_board = {"board": board["name"], "method": "FullInteger"}
        on_cpu = of_board | {"accelerator": "CPU"}
        assert value("modelconversion_board_latency_milliseconds_count", on_cpu) == 1


def test_one_place_is_given_back_between_boards_and_all_conversions_end() -> None:
    world = Boards(Limits(total=1))
    for name in "ab":
        world.apply(name, benchmark={"boards": BOARDS})
    assert world.live(A, B) == 1
    assert [world.status(uid)["phase"] for uid in (A, B)] == ["Succeeded", "Succeeded"]
    assert len(world.server.made) == 6


def test_a_rival_for_the_same_output_waits_until_the_boards_are_done() -> None:
    world = Boards()
    for name in "ab":
        world.apply(name, output={"uri": "s3://models/same/"}, benchmark={"boards": BOARDS})
    world.live(A, B)
    assert [world.status(uid)["phase"] for uid in (A, B)] == ["Succeeded", "Succeeded"]
    assert [name[:2] for name in world.server.made] == ["a-"] * 3 + ["b-"] * 3


def test_a_converting_job_that_goes_on_after_it_has_published_is_removed_before_a_board_s_is_made() -> None:
    """A container that somebody injected keeps its pod up."""
    world = Boards()
    world.apply("a", benchmark={"boards": BOARDS})
    world.idle()
    done = world.pod_of(A, ended(), ended(), ended(message=published()), phase="Running")
    world.store.put_pod(done)
    world.server.pods[done.uid] = done
    converting = world.status(A)["jobName"]
    for _ in range(3):
        world.queue.add(A)
        world.idle()
    assert world.status(A)["reportUri"]
    assert world.server.made == [converting], "it may still end by itself"
    world.now += timedelta(seconds=3600)
    world.queue.add(A)
    world.idle()
    assert "delete job" in world.server.writes
    assert world.server.made == [converting], "two Jobs at once would write to one place"
    world.store.drop_job(JobView.from_body(world.server.jobs.pop(converting)))
    world.queue.add(A)
    world.idle()
    assert world.server.made[1:] == [job_name(world.key("a"), "1", Part(board="fast"))]
