"""The operator killed at each write for a trigger, the set that it makes, and the channel behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from support.faults.cases import Case, Moment, Stage, together
from support.faults.proxy import Request, Rule
from support.faults.world import Json, OperatorProcess, Row, World, until

WRITES: Final = (
    "status of trigger",
    "create look",
    "create set",
    "status of set",
    "create conversion",
    "create comparison",
    "status of channel",
    "create move",
)
"""What an operator writes for them; looks, comparisons and moves are Jobs."""
_CODES: Final = (409, 503)
_ONCE: Final = ("create look", "create set", "create conversion", "create comparison", "create move")


async def owners_killed_at_each_write(stage: Stage) -> list[Row]:
    """One version of a model goes through a trigger, a set and a channel; each first write costs a life."""
    return await together(_lane(stage, moment) for moment in ("before", "after"))


async def owners_refused_at_each_write(stage: Stage) -> list[Row]:
    """The same, and each first write is refused once with each code."""
    async with stage.world() as world:
        operator = await world.operator()
        rules = [Rule(_named(name), status=code) for name in WRITES for code in _codes_of(name)]
        end = await _goes_through(world, operator, rules)
        assert operator.exits == []
    return [
        Row(f"{_words(name)} answered, a trigger's set and a channel", f"to {name}", end) for name in WRITES
    ]


def _words(write: str) -> str:
    return " and ".join(map(str, _codes_of(write)))


def _codes_of(write: str) -> tuple[int, ...]:
    """Where nothing of that name is, no API server says that a creation conflicts."""
    return _CODES if write.startswith("status") else (503,)


async def _lane(stage: Stage, moment: Moment) -> list[Row]:
    async with stage.world() as world:
        operator = await world.operator()
        # One of two fields, both of the same type.
        rules = [Rule(_named(name), **{moment: operator.kill}) for name in WRITES]
        end = await _goes_through(world, operator, rules)
        assert operator.exits == [-9] * len(WRITES), operator.exits
    return [Row("operator killed, a trigger's set and a channel", f"{moment} {name}", end) for name in WRITES]


async def _goes_through(world: World, operator: OperatorProcess, rules: list[Rule]) -> str:
    """Have a version go through all three; gives the words of the right end."""
    operator.proxy.rules = rules
    for resource, body in _objects().items():
        status, answer = await world.api.request("POST", world.path(resource), body)
        assert status == 201, answer

    async def released() -> bool:
        return bool((await _status(world, "modelchannels", "stable")).get("releases"))

    async def words() -> str:
        found = [await _status(world, kind, name) for kind, name in _NAMES.items()]
        return f"{found}\n{[rule.hits for rule in rules]}\n{operator.tail()}"

    await until(released, "the channel's pointer is moved", words)
    await until(lambda: _set_ended(world), "the set has ended", words)
    assert all(rule.hits for rule in rules)
    for name in _ONCE:
        assert operator.proxy.done(name) <= 1, f"{name}: {operator.proxy.done(name)} times"
    (made,) = await world.items("modelconversionsets")
    (member,) = await world.items("modelconversions")
    trigger = await _status(world, "modelconversiontriggers", "fleet")
    assert trigger["converted"] == made["metadata"]["name"]
    channel = await _status(world, "modelchannels", "stable")
    assert channel["sequence"] == 1
    assert [r["conversion"] for r in channel["releases"]] == [member["metadata"]["name"]]
    return f"1 set {made['status']['phase']}, 1 member, 1 look, 1 comparison, pointer number 1"


_NAMES: Final = {"modelconversiontriggers": "fleet", "modelchannels": "stable"}


async def _status(world: World, resource: str, name: str) -> Json:
    _, body = await world.api.request("GET", world.path(resource, name))
    found: Json = body.get("status") or {}
    return found


async def _set_ended(world: World) -> bool:
    return all(
        (body.get("status") or {}).get("phase") == "Succeeded"
        for body in await world.items("modelconversionsets")
    )


def _named(name: str) -> Callable[[Request], bool]:
    def matches(request: Request) -> bool:
        return request.name == name

    return matches


def _objects() -> dict[str, Json]:
    """A profile, a trigger that makes a set for it, and a channel that follows the trigger."""
    storage = {"secretRef": {"name": "s3-credentials"}}
    several = {
        "models": [{"name": "gesture", "source": {"uri": "s3://models/gesture_classifier.h5"}}],
        "profiles": [{"name": "pi"}],
        "output": {"uri": "s3://models/edge/{version}/"},
        "storage": storage,
    }
    signing = {"secretRef": {"name": "s3-credentials", "key": "private.pem"}}
    return {
        "conversionprofiles": _body("ConversionProfile", "pi", {"methods": ["Float32"]}),
        "modelconversiontriggers": _body(
            "ModelConversionTrigger",
            "fleet",
            {"template": {"set": several}, "poll": {"intervalSeconds": 86400}},
        ),
        "modelchannels": _body(
            "ModelChannel",
            "stable",
            {
                "from": {"kind": "ModelConversionTrigger", "name": "fleet", "profile": "pi"},
                "promotion": "Automatic",
                "output": {"uri": "s3://models/devices/"},
                "signing": signing,
                "storage": storage,
            },
        ),
    }


def _body(kind: str, name: str, spec: Json) -> Json:
    meta = {"name": name}
    return {"apiVersion": "edgeml.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}


OWNER_CASES: Final[dict[str, Case]] = {
    case.__name__: case for case in (owners_killed_at_each_write, owners_refused_at_each_write)
}
