"""Triggers over an API server that only remembers: each version is converted once, whatever happens."""

from __future__ import annotations

import copy
import random
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelconversion_api.triggers import ModelConversionTriggerSpec
from modelconversion_operator.deciding.views import ConversionView
from modelconversion_operator.errors import RejectedError
from modelconversion_operator.rules import Rules
from modelconversion_operator.sets.views import SetView
from modelconversion_operator.triggers.deciding import Made
from modelconversion_operator.triggers.looking import look_manifest
from modelconversion_operator.triggers.reconciler import TriggerReconciler
from modelconversion_operator.triggers.store import TriggerStore
from modelconversion_operator.triggers.views import MadeView, TriggerView, owner_of
from modelconversion_operator.workqueue import WorkQueue
from support.operator.objects import DEFAULTS, spec, wire
from support.operator.own_world import OwnWorld, env_of

Json = dict[str, Any]
UID = "trigger-uid"
OUTPUT = {"uri": "s3://models/edge/{version}/"}
MINUTES = {"intervalSeconds": 300}


def conversion(**changes: Any) -> Json:
    return {"conversion": spec(output=OUTPUT, **changes)}


class World(OwnWorld[TriggerView]):
    """A trigger, a source that changes, and an operator that may be killed at each request."""

    stage = "Fetch"

    def __init__(self, **fields: Any) -> None:
        self.source = "a" * 64
        self.made: dict[str, Json] = {}
        self.ever: list[str] = []
        self.deleted: list[str] = []
        self.reads = 0
        spec = {"template": conversion(), "poll": MINUTES} | fields
        super().__init__("person", UID, spec, TriggerView.from_body)

    def start(self) -> None:
        """Begin with an operator that knows nothing of an earlier one."""
        self.store, self.queue = TriggerStore(), WorkQueue[str]()
        rules = Rules(DEFAULTS, self.policy)
        self.reconciler = TriggerReconciler(self, self.store, self.queue, rules, now=lambda: self.now)
        self.show()
        for body in self.made.values():
            self._seen(body)

    def show(self) -> None:
        self.store.put(self.seen())

    def _seen(self, body: Json) -> ConversionView | SetView:
        kind = SetView if "models" in body["spec"] else ConversionView
        view = kind.from_body(copy.deepcopy(body))
        assert view.trigger_uid == UID
        self.store.put_made(view, UID)
        return view

    def reconcile(self) -> Awaitable[float | None]:
        return self.reconciler.reconcile(UID)

    def there(self) -> object:
        return self.body, self.made, self.jobs

    # The API server.

    async def create_made(self, view: TriggerView, made: Made) -> ConversionView | SetView:
        self._request()
        if self.refusal:
            raise RejectedError(403, self.refusal)
        if made.name not in self.made:
            assert made.name not in self.ever, "made again"
            meta = {"name": made.name, "namespace": "ml", "uid": f"uid-{made.name}", "generation": 1}
            meta["ownerReferences"] = [owner_of(view)]
            self.made[made.name] = {"metadata": meta, "spec": copy.deepcopy(made.spec)}
            self.ever.append(made.name)
            self._touch(self.made[made.name])
        self._request()
        return self._seen(self.made[made.name])

    async def delete_made(self, made: MadeView) -> None:
        self._request()
        body = self.made.pop(made.key.name)
        assert body["metadata"]["uid"] == made.key.uid
        self.deleted.append(made.key.name)
        self.store.drop_made(made.key.uid)
        self._request()

    # What happens in the cluster.

    def found(self, job: Json) -> Json:
        """What a look finds: whether the source is the one that is known, or else which."""
        stamp = f"stamp-of-{self.source[:8]}"
        knows = env_of(job)["CONVERSION_KNOWN_STAMP"] == stamp
        self.reads += not knows
        return {"look": {"stamp": stamp} | ({} if knows else {"sha256": self.source, "sizeBytes": 7})}

    def end(self, name: str, phase: str = "Succeeded") -> None:
        body = self.made[name]
        done = wire(self.now)
        body["status"] = {"phase": phase, "observedGeneration": 1, "runGeneration": 1, "completionTime": done}
        self._touch(body)
        self._seen(body)

    async def passes(self, seconds: float) -> None:
        """Time goes on; a look that is due begins, ends, and what it found is acted upon."""
        self.now += timedelta(seconds=seconds)
        await self.work()
        self.jobs_end()
        await self.work()


async def test_each_version_is_converted_once() -> None:
    world = World()
    await world.work()
    assert world.ready == ("Unknown", "FirstLook")
    world.jobs_end()
    await world.work()
    assert (world.ready, len(world.made)) == (("True", "Looked"), 1)
    (first,) = world.made.values()
    assert first["spec"]["source"]["sha256"] == "a" * 64
    assert first["spec"]["output"]["uri"] == "s3://models/edge/aaaaaaaaaaaa/"
    await world.passes(300)
    await world.passes(300)
    assert (len(world.made), world.reads) == (1, 1), "nothing has changed: nothing is read"
    world.source = "b" * 64
    await world.passes(300)
    assert [body["spec"]["source"]["sha256"][0] for body in world.made.values()] == ["a", "b"]
    world.source = "a" * 64  # somebody has put the old one back
    await world.passes(300)
    assert (len(world.made), world.status["version"]["sha256"]) == (2, "a" * 64)
    assert world.status["converted"] == next(iter(world.made))


async def test_the_first_look_does_not_wait_for_a_whole_interval_where_clocks_differ() -> None:
    """The operator's clock is a moment behind the API server's that stamps the trigger."""
    world = World(poll={"intervalSeconds": 86400})
    world.now -= timedelta(seconds=1)
    delay = await world.work()
    assert (world.jobs, delay) == ({}, 1.0)
    await world.passes(1)
    assert len(world.made) == 1


async def test_a_changed_template_converts_the_version_that_is_known() -> None:
    world = World()
    await world.passes(0)
    world.body["spec"]["template"] = conversion(methods=["Float32"])
    world.body["metadata"]["generation"] = 2
    world.show()
    await world.work()
    assert [body["spec"]["methods"] for body in world.made.values()][1:] == [["Float32"]]
    assert (len(world.jobs), world.status["observedGeneration"]) == (1, 2)


async def test_a_set_gets_the_version_too() -> None:
    made = {
        "models": [{"name": "person", "source": {"uri": "s3://models/person.onnx"}}],
        "profiles": [{"name": "small"}, {"name": "large"}],
        "output": OUTPUT,
    }
    world = World(template={"set": made})
    await world.passes(0)
    (body,) = world.made.values()
    assert body["spec"]["models"][0]["source"]["sha256"] == "a" * 64
    assert body["spec"]["output"]["uri"] == "s3://models/edge/aaaaaaaaaaaa/"
    assert len(body["spec"]["profiles"]) == 2


@pytest.mark.parametrize(
    ("policy", "made", "deleted"), [("Allow", 3, 0), ("Forbid", 1, 0), ("Replace", 1, 2)]
)
async def test_versions_that_come_faster_than_they_are_converted(
    policy: str, made: int, deleted: int
) -> None:
    world = World(concurrencyPolicy=policy)
    for letter in "abc":
        world.source = letter * 64
        await world.passes(300)
    assert (len(world.made), len(world.deleted)) == (made, deleted)
    if policy == "Forbid":
        world.end(next(iter(world.made)))
        await world.work()
        sources = [body["spec"]["source"]["sha256"][0] for body in world.made.values()]
        assert sources == ["a", "c"], "of those that waited, the newest"


async def test_history_keeps_the_newest_and_makes_none_again() -> None:
    world = World(history={"succeeded": 2, "failed": 1})
    for number, phase in enumerate(["Succeeded", "Failed"] * 4):
        world.source = f"{number}" * 64
        await world.passes(300)
        world.end(world.ever[-1], phase)
        await world.work()
    assert list(world.made) == [world.ever[i] for i in (4, 6, 7)]
    assert (world.status["succeeded"], world.status["failed"], len(world.ever)) == (2, 1, 8)
    await world.passes(300)
    assert len(world.ever) == 8


async def test_a_look_that_fails_is_told_once_and_keeps_what_is_known() -> None:
    world = World()
    await world.passes(0)
    for _ in range(3):
        world.now += timedelta(seconds=300)
        await world.work()
        world.jobs_end("SourceNotFound")
        await world.work()
    assert world.ready == ("False", "SourceNotFound")
    assert world.events.count("SourceNotFound") == 1
    assert world.status["version"]["sha256"] == "a" * 64
    await world.passes(300)
    assert world.ready == ("True", "Looked")


async def test_a_look_that_fails_for_what_may_pass_is_made_again_sooner() -> None:
    world = World(poll={"intervalSeconds": 86400})
    await world.work()
    for minutes, count in ((1, 1), (2, 2), (4, 3)):
        world.jobs_end("StorageUnavailable")
        await world.work()
        assert world.status["failedLooks"] == count
        looks = len(world.jobs)
        world.now += timedelta(minutes=minutes, seconds=-1)
        await world.work()
        assert len(world.jobs) == looks
        world.now += timedelta(seconds=1)
        await world.work()
        assert len(world.jobs) == looks + 1
    world.jobs_end()
    await world.work()
    assert (len(world.made), "failedLooks" in world.status, "retryLookTime" in world.status) == (
        1,
        False,
        False,
    )
    missing = World(poll={"intervalSeconds": 86400})
    await missing.work()
    missing.jobs_end("SourceNotFound")
    await missing.work()
    await missing.passes(7200)
    assert len(missing.jobs) == 1, "what will not pass by itself waits for its time"


async def test_what_may_not_be_read_is_not_looked_at() -> None:
    world = World()
    world.released = False
    assert await world.work() == 20
    assert (world.ready, world.jobs) == (("False", "SecretNotReleased"), {})
    world.released = True
    await world.passes(20)
    assert (world.ready, len(world.made)) == (("True", "Looked"), 1)
    denied = World(template=conversion(job={"serviceAccountName": "cloud"}))
    await denied.work()
    assert (denied.ready, denied.jobs) == (("False", "PolicyViolation"), {})


async def test_what_the_api_server_does_not_take_is_told_and_asked_again() -> None:
    world = World()
    world.refusal = "a policy says no"
    await world.passes(0)
    assert (world.ready, world.made) == (("False", "Rejected"), {})
    await world.work()
    assert world.events.count("Rejected") == 1
    world.refusal = ""
    await world.work()
    assert len(world.made) == 1


async def test_looks_that_were_missed_are_counted_but_not_while_suspended() -> None:
    world = World()
    await world.passes(0)
    await world.passes(1500)
    assert (world.status["missed"], world.events.count("LooksMissed")) == (4, 1)
    for is_suspended, seconds in ((True, 0), (False, 3000)):
        world.body["spec"]["suspend"] = is_suspended
        world.show()
        await world.passes(seconds)
        assert world.ready[1] == ("Suspended" if is_suspended else "Looked")
    assert world.status["missed"] == 4


async def test_a_word_has_it_looked_at_now() -> None:
    world = World(poll=None)
    del world.body["spec"]["poll"]
    world.start()
    await world.work()
    assert world.jobs == {}
    for word in ("1", "2", "2"):
        world.body["metadata"]["annotations"] = {"edgeml.dev/look-now": word}
        world.show()
        await world.passes(1)
    assert (len(world.jobs), len(world.made), world.status["lookAsked"]) == (2, 1, "2")


async def test_a_call_has_it_looked_at_once_also_where_several_come_during_a_look() -> None:
    world = World(poll=None)
    del world.body["spec"]["poll"]
    world.start()
    for calls in (["1"], ["2"], ["3", "4", "5"]):
        for call in calls:
            world.body["status"] = world.status | {"lookRequested": call}
            world.show()
            await world.work()
        world.jobs_end()
        await world.work()
        world.jobs_end()
        await world.work()
    assert (len(world.jobs), len(world.made), world.status["lookTaken"]) == (4, 1, "5")


async def test_a_schedule_that_is_none_is_told() -> None:
    world = World(schedule={"cron": "0 25 * * *"})
    await world.work()
    assert (world.ready, world.jobs) == (("False", "InvalidSpec"), {})
    assert "Stalled" in {c["type"] for c in world.status["conditions"]}


async def test_what_belongs_to_another_namespace_is_not_its_own() -> None:
    world = World(concurrencyPolicy="Replace")
    await world.passes(0)
    (body,) = copy.deepcopy(list(world.made.values()))
    body["metadata"] |= {"namespace": "other", "name": "stranger", "uid": "stranger"}
    world._seen(body)
    world.source = "b" * 64
    await world.passes(300)
    assert "stranger" not in world.deleted


def test_a_look_has_the_credentials_of_the_source_and_nothing_else() -> None:
    storage = {"secretRef": {"name": "s3"}, "googleCloud": {"secretRef": {"name": "google"}}}
    body = World(template=conversion(storage=storage, source={"uri": "gs://models/a.h5"})).body
    view = TriggerView.from_body(body)
    manifest = look_manifest(
        view, ModelConversionTriggerSpec.model_validate(body["spec"]), "person-look-x", DEFAULTS
    )
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    secrets = {e["valueFrom"]["secretKeyRef"]["name"] for e in container["env"] if "secretKeyRef" in str(e)}
    assert (secrets, container["command"]) == ({"google"}, ["tflite-converter", "job-look"])
    assert "initContainers" not in pod
    assert manifest["metadata"]["ownerReferences"][0]["kind"] == "ModelConversionTrigger"
    labels = (manifest["metadata"]["labels"], manifest["spec"]["template"]["metadata"]["labels"])
    assert all("edgeml.dev/conversion-uid" not in of for of in labels), "it is no conversion's"
    named = {r["onExitCodes"]["containerName"] for r in manifest["spec"]["podFailurePolicy"]["rules"][1:]}
    assert named == {"fetch"}


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    kills=st.sets(st.integers(0, 200), max_size=40),
    policy=st.sampled_from(["Allow", "Forbid", "Replace"]),
)
async def test_killed_at_any_request_each_version_is_made_once(
    seed: int, kills: set[int], policy: str
) -> None:
    """The API server asserts that nothing is made twice, also after it has been deleted."""
    chance = random.Random(seed)  # noqa: S311 - a story, not a secret
    world = World(concurrencyPolicy=policy, history={"succeeded": 1, "failed": 0})
    world.fails_at = kills
    for step in range(8):
        if chance.random() < 0.4:
            world.source = f"{step + 16:02x}" * 32  # never one that was there before
        if chance.random() < 0.3:
            world.start()
        for name in list(world.made):
            if chance.random() < 0.5:
                world.end(name, chance.choice(["Succeeded", "Failed"]))
        world.now += timedelta(seconds=chance.choice([0, 60, 300, 900]))
        await world.work(60)
        if chance.random() < 0.8:
            world.jobs_end()
        await world.work(60)
    world.fails_at = set()
    world.now += timedelta(seconds=900)
    await world.work()
    world.jobs_end()
    await world.work()
    for name in list(world.made):
        world.end(name)
    await world.work()
    assert world.status["version"]["sha256"] == world.source
    assert world.status["converted"] in world.ever
