"""A run takes its profile on once, as it is then, and begins only with one that fits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from modelconversion_api.profiles import ResolvedProfile
from support.operator.memory import World

Json = dict[str, Any]
REF = {"kind": "ClusterConversionProfile", "name": "doorbell"}


def profile(generation: int = 1, **spec: Any) -> ResolvedProfile:
    spec = {"methods": ["DynamicRange"]} | spec
    return ResolvedProfile(**REF, uid="p", generation=generation, spec=spec)  # type: ignore[arg-type]  # from wire


@pytest.fixture
def world() -> World:
    world = World()
    world.server.profiles["ClusterConversionProfile doorbell"] = profile()
    return world


def apply(world: World, **spec: Any) -> None:
    world.apply("a", **{"methods": None, "profileRef": REF} | spec)


async def look_again(world: World, seconds: float = 20) -> None:
    world.now += timedelta(seconds=seconds)
    world.queue.add("ml-a")
    await world.work()


def condition(world: World) -> tuple[str, str]:
    first = world.status("ml-a")["conditions"][0]
    return first["status"], first["reason"]


def request(world: World) -> str:
    (job,) = world.server.jobs.values()
    env = job["spec"]["template"]["spec"]["containers"][0]["env"]
    (text,) = [item["value"] for item in env if item["name"] == "CONVERSION_REQUEST"]
    return str(text)


async def test_what_was_resolved_stands_in_the_status_and_is_what_runs(world: World) -> None:
    apply(world)
    await world.work()
    status = world.status("ml-a")
    assert status["methods"] == "DynamicRange"
    assert status["profile"] == REF | {"uid": "p", "generation": 1, "spec": {"methods": ["DynamicRange"]}}
    assert '"methods":["DynamicRange"]' in request(world)
    (checked,) = world.server.checked
    assert checked["methods"] == ["DynamicRange"]
    assert "profileRef" not in checked, "it is held against the rules for conversions without a profile"


async def test_a_changed_profile_changes_nothing_of_a_run(world: World) -> None:
    apply(world)
    await world.work()
    world.server.profiles["ClusterConversionProfile doorbell"] = profile(2, methods=["Float16"])
    world.runs("ml-a")
    await world.work()
    world.ends("ml-a")
    await look_again(world)
    status = world.status("ml-a")
    assert (status["phase"], status["profile"]["generation"]) == ("Succeeded", 1)
    assert len(world.server.jobs) == 1


async def test_the_next_run_takes_the_profile_as_it_is_then(world: World) -> None:
    apply(world)
    await world.work()
    world.runs("ml-a")
    await world.work()
    world.ends("ml-a")
    await look_again(world)
    world.server.profiles["ClusterConversionProfile doorbell"] = profile(2, methods=["Float16"])
    world.apply("a", generation=2, methods=None, profileRef=REF, verifyOn=["GPU"])
    await world.work()
    status = world.status("ml-a")
    assert (status["methods"], status["profile"]["generation"]) == ("Float16", 2)


async def test_a_profile_that_is_not_there_is_waited_for(world: World) -> None:
    known = world.server.profiles.pop("ClusterConversionProfile doorbell")
    apply(world)
    await world.work()
    assert condition(world) == ("Unknown", "ProfileNotFound")
    assert "there is no ClusterConversionProfile doorbell" in world.status("ml-a")["conditions"][0]["message"]
    assert world.server.jobs == {}
    world.server.profiles["ClusterConversionProfile doorbell"] = known
    await look_again(world)
    assert condition(world) == ("Unknown", "Created")
    assert len(world.server.jobs) == 1
    assert world.server.writes.count("event ProfileNotFound") == 1


async def test_but_not_for_ever(world: World) -> None:
    world.server.profiles.clear()
    apply(world, job={"pendingDeadlineSeconds": 60})
    await world.work()
    await look_again(world, 61)
    assert condition(world) == ("False", "ProfileNotFound")


async def test_one_that_the_operator_may_not_read_says_so(world: World) -> None:
    world.server.may_not_ask = True
    apply(world)
    await world.work()
    assert condition(world) == ("Unknown", "ProfileNotFound")
    message = world.status("ml-a")["conditions"][0]["message"]
    assert "the operator may not read ClusterConversionProfile doorbell: cannot get resource" in message


@pytest.mark.parametrize(
    ("theirs", "mine", "reason", "words"),
    [
        ({"verifyOn": ["Toaster"]}, {}, "ProfileConflict", "doorbell cannot be read: spec.verifyOn.0: Input"),
        (
            {},
            {"target": "GPU"},
            "ProfileConflict",
            "spec.target: the profile chooses the methods; leave it out (Cl",
        ),
        (
            {"job": {"serviceAccountName": "admin"}},
            {},
            "PolicyViolation",
            "with ClusterConversionProfile doorbell: spec.job.serviceAccountName admin is not among",
        ),
    ],
)
async def test_what_does_not_fit_ends_the_run(
    world: World, theirs: Json, mine: Json, reason: str, words: str
) -> None:
    world.server.profiles["ClusterConversionProfile doorbell"] = profile(**theirs)
    apply(world, **mine)
    await world.work()
    assert condition(world) == ("False", reason)
    assert words in world.status("ml-a")["failure"]["message"]
    assert world.server.jobs == {}
    assert world.server.checked == []


async def test_what_the_api_server_would_not_take_ends_the_run(world: World) -> None:
    world.server.refusal = 'ModelConversion.edgeml.dev "dry-run" is invalid: spec: FullInteger needs data'
    apply(world)
    await world.work()
    assert condition(world) == ("False", "ProfileConflict")
    assert "spec: FullInteger needs data" in world.status("ml-a")["failure"]["message"]
    assert world.server.jobs == {}


async def test_a_suspended_one_asks_for_nothing(world: World) -> None:
    world.server.profiles.clear()
    apply(world, suspend=True)
    await world.work()
    assert condition(world) == ("Unknown", "Suspended")


async def test_a_status_that_somebody_else_wrote_begins_nothing(world: World) -> None:
    apply(world, methods=["Float32"])  # CEL refuses it too; the profile chooses them
    await world.work()
    assert condition(world) == ("False", "ProfileConflict")


async def test_boards_of_the_profile_are_gone_through(world: World) -> None:
    board = {"name": "pi", "nodeSelector": {"board": "pi"}}
    world.server.profiles["ClusterConversionProfile doorbell"] = profile(benchmark={"boards": [board]})
    apply(world)
    await world.work()
    world.runs("ml-a")
    await world.work()
    world.ends("ml-a")
    await look_again(world)
    assert world.status("ml-a")["conditions"][0]["message"] == "converted; waiting for a pod on board pi"
    assert len(world.server.jobs) == 2
