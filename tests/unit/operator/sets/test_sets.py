"""Sets over an API server that only remembers: which members there are, when they begin, and how it ends."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelconversion_api.reports.comparison import COMPARISON_ENV, ComparisonRequest
from modelconversion_api.sets import MOST_MEMBERS, ModelConversionSetSpec, ModelConversionSetStatus
from modelconversion_operator.deciding.policy import Grant, Policy
from modelconversion_operator.deciding.views import Body, ConversionView, JobView, Key
from modelconversion_operator.errors import RejectedError, UnavailableError
from modelconversion_operator.rules import Rules
from modelconversion_operator.sets.deciding import wanted_of
from modelconversion_operator.sets.reconciler import SetReconciler
from modelconversion_operator.sets.store import SetStore
from modelconversion_operator.sets.views import MemberView, SetView, owner_of
from modelconversion_operator.workqueue import WorkQueue
from support.operator.objects import DEFAULTS, NOW

Json = dict[str, Any]
UID = "set-uid"


def annotated(view: SetView, status: ModelConversionSetStatus) -> dict[str, str]:
    """An annotation that shows what it was made from."""
    return {"made-for": f"{view.key.name} {status.observed_generation} {status.retried}"}


class World:
    """A set, its members, and an operator whose watches say at once what happens."""

    def __init__(self, models: int = 2, profiles: int = 2, **spec: Any) -> None:
        self._versions = itertools.count(10)
        self.now = NOW
        self.members: dict[str, Json] = {}
        self.strangers: set[str] = set()
        self.jobs: dict[str, Json] = {}
        self.events: list[str] = []
        self.status_writes = 0
        self.refusal = ""
        self.unreleased = False
        self.most_active = 0
        self.body: Json = {
            "metadata": {"name": "edge", "namespace": "ml", "uid": UID, "generation": 1},
            "spec": {
                "models": [
                    {"name": f"m{n}", "source": {"uri": f"s3://models/m{n}.h5"}} for n in range(models)
                ],
                "profiles": [{"name": f"p{n}"} for n in range(profiles)],
                "output": {"uri": "s3://models/sets/edge/"},
                "storage": {"secretRef": {"name": "s3"}},
            }
            | spec,
        }
        self.start()

    def start(self) -> None:
        """Begin with an operator that knows nothing of an earlier one."""
        self.store, self.queue = SetStore(), WorkQueue[str]()
        rules = Rules(DEFAULTS, Policy())
        self.reconciler = SetReconciler(
            self, self.store, self.queue, rules, now=lambda: self.now, annotate=annotated
        )
        self._touch(self.body)
        self.store.put(SetView.from_body(copy.deepcopy(self.body)))
        for body in self.members.values():
            self._seen(body)
        self.queue.add(UID)

    def _touch(self, body: Json) -> None:
        body["metadata"]["resourceVersion"] = str(next(self._versions))

    def _seen(self, body: Json) -> None:
        view = ConversionView.from_body(copy.deepcopy(body))
        assert view.set_uid == UID
        self.store.put_member(view, UID)
        self.queue.add(UID)

    # The API server.

    async def patch_status(self, view: SetView, changes: Mapping[str, Any]) -> SetView:
        assert view.resource_version == self.body["metadata"]["resourceVersion"]
        status = self.body.get("status", {}) | dict(changes)
        self.body["status"] = {name: value for name, value in status.items() if value is not None}
        self._touch(self.body)
        self.status_writes += 1
        return SetView.from_body(copy.deepcopy(self.body))

    async def create_member(
        self, view: SetView, name: str, spec: Body, annotations: Mapping[str, str]
    ) -> ConversionView | None:
        if self.refusal:
            raise RejectedError(403, self.refusal)
        if name in self.strangers:
            return None
        assert name not in self.members, "made twice"
        meta = {"name": name, "namespace": "ml", "uid": f"{name}/{next(self._versions)}", "generation": 1}
        meta |= {"ownerReferences": [owner_of(view)], "annotations": dict(annotations)}
        self.members[name] = {"metadata": meta, "spec": copy.deepcopy(dict(spec))}
        self._touch(self.members[name])
        active = sum(
            body.get("status", {}).get("phase") in (None, "Running") for body in self.members.values()
        )
        self.most_active = max(self.most_active, active)
        return ConversionView.from_body(copy.deepcopy(self.members[name]))

    async def suspend_member(self, member: MemberView, *, suspend: bool) -> ConversionView:
        body = self.members[member.key.name]
        body["spec"]["suspend"] = suspend
        self._touch(body)
        return ConversionView.from_body(copy.deepcopy(body))

    async def delete_member(self, member: MemberView) -> None:
        body = self.members.pop(member.key.name)
        assert body["metadata"]["uid"] == member.key.uid
        assert self.store.drop_member(member.key.uid) == UID
        self.queue.add(UID)

    async def may_use(self, namespace: str, grant: Grant) -> bool:
        return not self.unreleased

    async def get_job(self, namespace: str, name: str) -> JobView | None:
        return JobView.from_body(self.jobs[name]) if name in self.jobs else None

    async def create_job(self, manifest: Body) -> JobView:
        body = copy.deepcopy(dict(manifest))
        stamp = {"uid": "job", "resourceVersion": "1", "creationTimestamp": NOW.isoformat()}
        body["metadata"] |= stamp
        self.jobs[body["metadata"]["name"]] = body
        return JobView.from_body(body)

    async def create_event(self, view: SetView, event: Mapping[str, Any]) -> None:
        self.events.append(event["reason"])

    # What happens in the cluster.

    def change(self, **spec: Any) -> None:
        self.body["spec"] |= spec
        self.body["metadata"]["generation"] += 1
        self.show()

    def annotate(self, value: str) -> None:
        self.body["metadata"]["annotations"] = {"edgeml.dev/retry-failed": value}
        self.show()

    def show(self) -> None:
        self._touch(self.body)
        self.store.put(SetView.from_body(copy.deepcopy(self.body)))
        self.queue.add(UID)

    def end(self, name: str, phase: str = "Succeeded") -> None:
        body = self.members[name]
        generation = body["metadata"]["generation"]
        body["status"] = {"phase": phase, "observedGeneration": generation, "runGeneration": generation}
        reason, value = ("Converted", "True") if phase == "Succeeded" else ("GatesNotMet", "False")
        body["status"]["conditions"] = [
            {
                "type": "Succeeded",
                "status": value,
                "reason": reason,
                "message": "words " * 60,
                "lastTransitionTime": NOW.isoformat(),
            }
        ]
        self._touch(body)
        self._seen(body)

    def job_ends(self, kind: str = "Complete") -> None:
        for body in self.jobs.values():
            body["status"] = {"conditions": [{"type": kind, "status": "True", "reason": "x", "message": "y"}]}
        self.queue.add(UID)

    async def work(self) -> None:
        """Look at the set until nothing is left to do at once."""
        for _ in range(1000):
            if not len(self.queue):
                return
            uid = await self.queue.get()
            try:
                delay = await self.reconciler.reconcile(uid)
                if delay == 0:
                    self.queue.add(uid)
            except UnavailableError:
                pass
            finally:
                self.queue.done(uid)
        raise AssertionError("it never comes to rest")

    @property
    def status(self) -> Json:
        found: Json = self.body.get("status", {})
        return found

    @property
    def rows(self) -> list[str]:
        return [row["phase"] for row in self.status["members"]]

    @property
    def active(self) -> list[str]:
        return [name for name, body in self.members.items() if "status" not in body]

    async def to_the_end(self, failing: set[str] | None = None) -> None:
        """End every member that begins, those of these profiles and models without success."""
        await self.work()
        while self.active:
            name = self.active[0]
            is_bad = any(f"-{part}-" in f"{name}-" for part in failing or ())
            self.end(name, "Failed" if is_bad else "Succeeded")
            await self.work()
        self.job_ends()
        await self.work()


async def test_members_begin_as_far_as_may_be_and_are_compared_at_the_end() -> None:
    world = World(maxParallel=3)
    await world.work()
    assert len(world.members) == 3
    assert world.status["phase"] == "Running"
    assert world.rows == ["Pending"] * 4
    for name in list(world.active):
        world.end(name)
        await world.work()
    assert len(world.members) == 4
    world.end(world.active[0])
    await world.work()
    assert world.status["conditions"][0]["reason"] == "Comparing"
    (job,) = world.jobs.values()
    assert job["metadata"]["name"] == world.status["comparisonJob"]
    world.job_ends()
    await world.work()
    assert (world.status["phase"], world.status["comparisonUri"]) == (
        "Succeeded",
        "s3://models/sets/edge/compare.html",
    )
    assert world.status["conditions"][0]["message"] == "4 of 4 succeeded"
    assert world.events == ["AllSucceeded"]


async def test_with_a_cache_the_first_member_of_a_model_goes_ahead_alone() -> None:
    output = {"uri": "s3://models/sets/edge/", "cache": {"uri": "s3://models/cache/"}}
    world = World(2, 3, output=output)
    await world.work()
    assert [name.split("-")[1:3] for name in world.members] == [["m0", "p0"], ["m1", "p0"]]
    assert {body["spec"]["output"]["cache"]["uri"] for body in world.members.values()} == {
        "s3://models/cache/"
    }
    world.end(world.active[0], "Failed")
    await world.work()
    made = [name.split("-")[1:3] for name in world.members]
    assert ["m0", "p1"] not in made, "AllMustPass begins no other one"
    world = World(2, 3, output=output, policy="AnyMayFail")
    await world.work()
    world.end(world.active[0], "Failed")
    await world.work()
    assert [name.split("-")[1:3] for name in world.members][2:] == [["m0", "p1"], ["m0", "p2"]]
    await world.to_the_end()
    assert world.rows.count("Succeeded") == 5


async def test_the_job_that_compares_is_the_sets_own_and_knows_each_run() -> None:
    world = World(1, 2)
    await world.to_the_end()
    (job,) = world.jobs.values()
    assert job["metadata"]["ownerReferences"] == [
        {"apiVersion": "edgeml.dev/v1alpha1", "kind": "ModelConversionSet", "name": "edge", "uid": UID}
        | {"controller": True, "blockOwnerDeletion": False}
    ]
    assert "edgeml.dev/conversion-uid" not in job["metadata"]["labels"], "no conversion's Job"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert "initContainers" not in job["spec"]["template"]["spec"]
    assert container["command"] == ["tflite-converter", "job-compare"]
    env = {item["name"]: item.get("value") for item in container["env"]}
    request = ComparisonRequest.decode(str(env[COMPARISON_ENV]))
    assert [(m.model, m.profile) for m in request.members] == [("m0", "p0"), ("m0", "p1")]
    uids = {body["metadata"]["uid"] for body in world.members.values()}
    assert {str(m.run).removesuffix("/1") for m in request.members} == uids


async def test_a_thousand_members_fit_into_the_jobs_environment() -> None:
    world = World(32, 31, maxParallel=1000)
    digits = random.Random(7)  # noqa: S311 - UIDs that do not shrink, as the API server's
    await world.work()
    for name in list(world.members):
        body = world.members[name]
        assert world.store.drop_member(body["metadata"]["uid"]) == UID
        body["metadata"]["uid"] = f"{digits.getrandbits(128):032x}"
        world.end(name)
    await world.work()
    (job,) = world.jobs.values()
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (text,) = [item["value"] for item in container["env"] if item["name"] == COMPARISON_ENV]
    assert len(text) < 100_000
    assert len(ComparisonRequest.decode(text).members) == 32 * 31
    assert world.status_writes < 40, "not one for each member"


async def test_of_all_that_must_pass_none_begins_after_a_failure() -> None:
    world = World(3, 1, maxParallel=1)
    await world.to_the_end(failing={"m1"})
    assert world.rows == ["Succeeded", "Failed", "Pending"]
    assert (world.status["phase"], world.status["conditions"][0]["status"]) == ("Failed", "False")
    message = world.status["conditions"][0]["message"]
    assert message == "1 of 3 succeeded, 1 failed: m1/p0 GatesNotMet; 1 did not begin"
    assert len(world.status["members"][1]["message"]) <= 160


async def test_where_any_may_fail_all_are_tried() -> None:
    world = World(3, 1, maxParallel=1, policy="AnyMayFail")
    await world.to_the_end(failing={"m1"})
    assert world.rows == ["Succeeded", "Failed", "Succeeded"]
    assert (world.status["phase"], world.status["conditions"][0]["reason"]) == ("Succeeded", "SomeSucceeded")


async def test_where_none_succeeds_nothing_is_compared() -> None:
    world = World(2, 1, policy="AnyMayFail")
    await world.to_the_end(failing={"m0", "m1"})
    assert (world.status["phase"], world.jobs) == ("Failed", {})


async def test_a_retry_makes_the_failed_ones_again_and_no_other() -> None:
    world = World(2, 2, policy="AnyMayFail")
    await world.to_the_end(failing={"m1"})
    before = {name: body["metadata"]["uid"] for name, body in world.members.items()}
    world.annotate("1")
    await world.to_the_end()
    after = {name: body["metadata"]["uid"] for name, body in world.members.items()}
    changed = {name for name in before if before[name] != after[name]}
    assert all("-m1-" in name for name in changed)
    made_for = {n: body["metadata"]["annotations"]["made-for"] for n, body in world.members.items()}
    assert made_for == {n: f"edge 1 {'1' if n in changed else None}" for n in after}
    assert len(changed) == 2
    assert (world.status["phase"], world.status["retried"], len(world.jobs)) == ("Succeeded", "1", 2)
    writes = world.status_writes
    world.annotate("1")
    await world.work()
    assert world.status_writes == writes, "the same value asks for nothing new"


async def test_a_comparison_that_fails_is_told_and_changes_nothing_else() -> None:
    world = World(1, 1)
    await world.work()
    world.end(world.active[0])
    await world.work()
    world.job_ends("Failed")
    await world.work()
    assert world.status["phase"] == "Succeeded"
    assert "could not be compared: see the log of Job edge-" in world.status["conditions"][0]["message"]
    assert "comparisonUri" not in world.status


async def test_a_secret_that_is_not_released_is_waited_for() -> None:
    world = World(1, 1)
    world.unreleased = True
    await world.work()
    world.end(world.active[0])
    await world.work()
    assert world.jobs == {}
    assert "SecretNotReleased" in world.events
    world.unreleased = False
    world.queue.add(UID)
    await world.work()
    assert len(world.jobs) == 1


async def test_what_refuses_a_member_is_told_and_asked_again() -> None:
    world = World(1, 1)
    world.refusal = "denied by a policy"
    await world.work()
    assert world.events == ["MemberRejected"]
    assert world.members == {}
    world.refusal = ""
    world.queue.add(UID)
    await world.work()
    assert len(world.members) == 1


async def test_what_a_changed_spec_makes_old_goes_when_it_has_ended() -> None:
    world = World(1, 2, maxParallel=1)
    await world.work()
    (first,) = world.members
    world.change(models=[{"name": "m0", "source": {"uri": "s3://models/better.h5"}}])
    await world.work()
    assert list(world.members) == [first], "the one under way ends first, and no other begins beside it"
    world.end(first)
    await world.work()
    (body,) = world.members.values()
    assert body["spec"]["source"]["uri"] == "s3://models/better.h5"
    world.change(profiles=[{"name": "p1"}])
    await world.work()
    assert all("-p1-" in name for name in world.members), "what nobody wants goes at once"


async def test_a_suspended_set_stops_its_members() -> None:
    world = World(1, 2, maxParallel=1)
    await world.work()
    world.change(suspend=True)
    await world.work()
    assert [body["spec"].get("suspend") for body in world.members.values()] == [True]
    assert world.status["phase"] == "Suspended"
    world.change(suspend=False)
    await world.work()
    assert [body["spec"].get("suspend") for body in world.members.values()] == [False]


async def test_a_spec_of_another_version_ends_with_its_problem() -> None:
    world = World(1, 1, policy="Sometimes")
    await world.work()
    assert (world.status["phase"], world.status["conditions"][0]["reason"]) == ("Failed", "InvalidSpec")
    assert world.status["conditions"][0]["message"].startswith("spec.policy: ")


async def test_a_set_whose_members_would_have_names_that_are_too_long_says_so() -> None:
    output = {"uri": "s3://models/sets/edge/", "oci": {"repository": f"registry.example/{'a' * 238}"}}
    world = World(output=output)
    await world.work()
    assert (world.status["phase"], world.members) == ("Failed", {})
    assert "repository" in world.status["conditions"][0]["message"]


async def test_members_go_into_repositories_of_their_own() -> None:
    output = {"uri": "s3://models/sets/edge/", "oci": {"repository": "registry.example/edge"}}
    world = World(1, 2, output=output)
    await world.work()
    named = [body["spec"]["output"]["oci"]["repository"] for body in world.members.values()]
    assert named == ["registry.example/edge/m0/p0", "registry.example/edge/m0/p1"]


async def test_a_member_of_another_namespace_is_none() -> None:
    world = World(1, 1, maxParallel=1)
    await world.work()
    body = copy.deepcopy(next(iter(world.members.values())))
    body["metadata"] |= {"namespace": "other", "uid": "foreign", "name": "foreign", "resourceVersion": "999"}
    world.store.put_member(ConversionView.from_body(body), UID)
    view = world.store.view(UID)
    assert view is not None
    assert set(world.store.members(view)) == set(world.members)


@pytest.mark.parametrize("length", [1, 40])
def test_members_have_names_that_conversions_may_have(length: int) -> None:
    models = [
        {"name": f"{n:02d}".rjust(length, "m")[-length:], "source": {"uri": "s3://mod/a.h5"}}
        for n in range(9)
    ]
    spec = ModelConversionSetSpec.model_validate(
        {
            "models": models,
            "profiles": [{"name": "p" * 60 + str(n)} for n in range(9)],
            "output": {"uri": "s3://models/o/"},
        }
    )
    names = [wanted.name for wanted in wanted_of(Key("ml", "s" * 52, "u"), spec)]
    assert len(set(names)) == len({m["name"] for m in models}) * 9
    assert all(len(name) <= 52 for name in names)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    parallel=st.integers(1, 5),
    policy=st.sampled_from(["AllMustPass", "AnyMayFail"]),
)
async def test_whatever_happens_in_between_it_ends_as_its_policy_says(
    seed: int, parallel: int, policy: str
) -> None:
    """Members end in any order, and the operator dies at any point."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    world = World(3, 2, maxParallel=parallel, policy=policy)
    fails = {f"m{n}" for n in range(3) if chance.random() < 0.3}
    for _ in range(60):
        await world.work()
        if world.active and chance.random() < 0.8:
            name = chance.choice(world.active)
            world.end(name, "Failed" if any(f"-{part}-" in name for part in fails) else "Succeeded")
        if chance.random() < 0.3:
            world.start()
        if chance.random() < 0.3:
            world.job_ends()
        world.now += timedelta(seconds=1)
    world.job_ends()
    await world.work()
    assert world.most_active <= parallel
    counts = {phase: world.rows.count(phase) for phase in ("Succeeded", "Failed", "Pending")}
    if policy == "AnyMayFail":
        assert counts == {"Succeeded": 6 - 2 * len(fails), "Failed": 2 * len(fails), "Pending": 0}
        expected = "Failed" if len(fails) == 3 else "Succeeded"
    else:
        expected = "Failed" if fails else "Succeeded"
        assert bool(counts["Failed"]) == bool(fails)
    assert world.status["phase"] == expected
    assert MOST_MEMBERS >= len(world.rows) == 6
