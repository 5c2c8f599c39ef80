"""Channels over an API server that only remembers: the pointer names what it is to, whatever happens."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelconversion_api.channels import ChannelSource, MoveRequest
from modelconversion_operator.channels.finding import Found, candidate_of, member_of
from modelconversion_operator.channels.reconciler import ChannelReconciler
from modelconversion_operator.channels.views import ChannelStore, ChannelView
from modelconversion_operator.deciding.policy import Grant
from modelconversion_operator.deciding.views import Body, ConversionView, JobView
from modelconversion_operator.errors import RejectedError
from modelconversion_operator.rules import Rules
from modelconversion_operator.sets.views import SetView
from modelconversion_operator.workqueue import WorkQueue
from support.operator.objects import DEFAULTS, NOW
from support.operator.own_world import OwnWorld, env_of

Json = dict[str, Any]
UID = "channel-uid"
A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def conversion(sha256: str, name: str = "gesture", run: int = 1, **status: Any) -> Json:
    """A conversion that has succeeded, and recommends a file with this digest."""
    uri = f"s3://models/edge/{sha256[:4]}/gesture.tflite"
    artifact = {"method": "DynamicRange", "uri": uri, "sizeBytes": 7, "sizeFraction": "0.3", "sha256": sha256}
    best = {"method": "DynamicRange", "name": "DynamicRange", "uri": uri, "reason": "small", "size": "7B"}
    meta = {"name": name, "namespace": "ml", "uid": f"uid-{name}", "generation": run, "resourceVersion": "3"}
    return {
        "metadata": meta,
        "spec": {},
        "status": {
            "phase": "Succeeded",
            "observedGeneration": run,
            "runGeneration": run,
            "artifacts": [artifact | {"passed": True}],
            "recommended": best,
            "reportUri": f"s3://models/edge/{sha256[:4]}/report.json",
        }
        | status,
    }


class World(OwnWorld[ChannelView]):
    """A channel, what it follows, a store with a pointer, and an operator that may be killed at a request."""

    stage = "Publish"

    def __init__(self, **fields: Any) -> None:
        self.follows: Json | None = conversion(A)
        self.pointers: list[tuple[int, str]] = []
        """Number and digest, as they were written one after another."""
        spec = {
            "from": {"name": "gesture"},
            "output": {"uri": "s3://devices/stable/"},
            "signing": {"secretRef": {"name": "channel-key"}},
            "storage": {"secretRef": {"name": "s3-credentials"}},
        }
        super().__init__("stable", UID, spec | fields, ChannelView.from_body)

    def start(self) -> None:
        """Begin with an operator that knows nothing of an earlier one."""
        self.store = ChannelStore()
        rules = Rules(DEFAULTS, self.policy)
        self.reconciler = ChannelReconciler(self, self.store, WorkQueue[str](), rules, now=lambda: self.now)
        self.store.put(self.seen())

    def change(self, **fields: Any) -> None:
        """Somebody changes the spec; None removes a field."""
        spec = self.body["spec"] | fields
        self.body["spec"] = {name: value for name, value in spec.items() if value is not None}
        self.body["metadata"]["generation"] += 1
        self.store.put(self.seen())

    def reconcile(self) -> Awaitable[float | None]:
        return self.reconciler.reconcile(UID)

    # The API server.

    async def find(self, namespace: str, source: ChannelSource) -> ConversionView | Found:
        self._request()
        assert (namespace, source.name) == ("ml", "gesture")
        return Found(words="gone") if self.follows is None else ConversionView.from_body(self.follows)

    async def may_use(self, namespace: str, grant: Grant) -> bool:
        assert grant.name in ("channel-key", "channel-key-2", "s3-credentials", "models")
        return await super().may_use(namespace, grant)

    async def create_own_job(self, view: ChannelView, manifest: Body) -> JobView:
        if self.refusal:
            raise RejectedError(403, self.refusal)
        return await super().create_own_job(view, manifest)

    # What happens in the cluster.

    def found(self, job: Json) -> Json:
        """What a move does, by the pointer that it finds."""
        request = MoveRequest.model_validate_json(env_of(job)["CONVERSION_MOVE"])
        sha256, (number, named) = request.candidate.sha256, (self.pointers or [(0, "")])[-1]
        if not (named == sha256 and number > request.sequence):
            number = max(number, request.sequence) + 1
            self.pointers.append((number, sha256))
        return {"moved": {"sequence": number, "sha256": sha256}}

    async def settle(self, problem: str | None = None) -> None:
        """Work, and have the moves that begin end."""
        await self.work()
        self.jobs_end(problem)
        await self.work()

    @property
    def named(self) -> str:
        return self.pointers[-1][1] if self.pointers else ""


async def test_a_candidate_waits_for_its_release_and_an_earlier_one_is_the_way_back() -> None:
    world = World()
    await world.settle()
    assert (world.ready, world.jobs) == (("False", "CandidateWaiting"), {})
    assert world.status["candidates"][0]["sha256"] == A
    world.change(release={"sha256": A, "approvedBy": "alice"})
    await world.work()
    assert world.ready == ("Unknown", "Moving")
    world.jobs_end()
    await world.work()
    assert (world.ready, world.pointers) == (("True", "Released"), [(1, A)])
    assert world.status["releases"][0]["approvedBy"] == "alice"
    assert world.status["pointerUri"] == "s3://devices/stable/channel.json"

    world.now += timedelta(hours=1)
    world.follows = conversion(B, run=2)
    await world.settle()
    assert (world.ready, world.pointers) == (("True", "CandidateWaiting"), [(1, A)])
    world.change(release={"sha256": B, "approvedBy": "bob"})
    await world.settle()
    assert world.pointers == [(1, A), (2, B)]
    world.change(release={"sha256": A, "approvedBy": "alice"})
    await world.settle()
    assert world.pointers == [(1, A), (2, B), (3, A)]
    assert [(r["sha256"], r["sequence"]) for r in world.status["releases"]] == [(A, 3), (B, 2)]
    assert world.ready == ("True", "Released"), "B was seen before: it is no news"
    assert world.events.count("Released") == 3
    # Without a word, it stays where it is.
    world.change(release=None)
    await world.settle()
    assert (world.named, world.ready) == (A, ("True", "Released"))


async def test_each_candidate_is_released_automatically_unless_one_is_chosen() -> None:
    world = World(promotion="Automatic")
    await world.settle()
    world.now += timedelta(hours=1)
    world.follows = conversion(B, run=2)
    await world.settle()
    assert world.pointers == [(1, A), (2, B)]
    world.change(release={"sha256": A})
    await world.settle()
    world.follows = conversion(C, run=3)
    await world.settle()
    assert world.named == A
    world.change(release=None)
    await world.settle()
    assert world.pointers == [(1, A), (2, B), (3, A), (4, C)]


@pytest.mark.parametrize("changes", [
    {"phase": "Running"}, {"phase": "Failed"}, {"observedGeneration": 0}, {"recommended": None},
    {"artifacts": []}, {"runGeneration": None},
])  # fmt: skip
async def test_what_has_not_succeeded_is_no_candidate(changes: Json) -> None:
    world = World(promotion="Automatic")
    world.follows = conversion(A, **changes)
    await world.settle()
    assert (world.ready, world.pointers) == (("False", "NoCandidate"), [])
    world.follows = None
    await world.settle()
    assert world.ready == ("False", "NoCandidate")


async def test_a_release_that_is_unknown_moves_nothing_and_counts_once_it_is_a_candidate() -> None:
    world = World(promotion="Automatic")
    await world.settle()
    world.change(release={"sha256": B})
    await world.settle()
    assert (world.ready, world.named) == (("False", "UnknownRelease"), A)
    world.follows = conversion(B, run=2)
    await world.settle()
    assert (world.ready, world.named) == (("True", "Released"), B)


async def test_a_source_that_is_gone_leaves_its_candidates() -> None:
    world = World()
    await world.settle()
    world.follows = None
    world.change(release={"sha256": A})
    await world.settle()
    assert world.named == A


async def test_a_move_that_fails_is_told_once_and_tried_again() -> None:
    world = World(promotion="Automatic")
    await world.settle("SigningFailed")
    assert (world.ready, world.status["failedMoves"]) == (("False", "SigningFailed"), 1)
    assert world.events == ["CandidateFound", "SigningFailed"]
    delay = await world.work()
    assert delay == pytest.approx(60)
    assert len(world.jobs) == 1
    world.now += timedelta(seconds=61)
    await world.settle("SigningFailed")
    assert (len(world.jobs), world.status["failedMoves"]) == (2, 2)
    assert await world.work() == pytest.approx(120)
    # A changed spec is tried at once.
    world.change(signing={"secretRef": {"name": "channel-key-2"}})
    await world.settle()
    assert (world.ready, world.pointers) == (("True", "Released"), [(1, A)])
    assert world.status.get("failedMoves") is None
    assert world.events.count("SigningFailed") == 1


@pytest.mark.parametrize("changes", [
    {"output": {"uri": "s3://devices/other/"}},
    {"signing": {"secretRef": {"name": "channel-key-2"}}},
])  # fmt: skip
async def test_another_place_or_key_writes_the_pointer_anew(changes: Json) -> None:
    world = World(promotion="Automatic")
    await world.settle()
    world.change(**changes)
    await world.work()
    assert world.ready == ("Unknown", "Moving")
    world.pointers = []  # what is at the other place, or was signed with the other key, is not its own
    world.jobs_end()
    await world.work()
    assert world.pointers == [(2, A)], "a number never falls"
    before = len(world.jobs)
    world.change(promotion="Manual")
    await world.settle()
    assert len(world.jobs) == before


async def test_nothing_moves_while_it_is_suspended_refused_or_not_released() -> None:
    world = World(promotion="Automatic", suspend=True)
    await world.settle()
    assert (world.ready, world.jobs) == (("False", "Suspended"), {})
    world.released = False
    world.change(suspend=False)
    await world.settle()
    assert (world.ready, world.jobs) == (("False", "SecretNotReleased"), {})
    world.released, world.refusal = True, "quota"
    await world.settle()
    assert (world.ready, world.jobs) == (("False", "JobRejected"), {})
    version = world.body["metadata"]["resourceVersion"]
    await world.work()
    assert world.body["metadata"]["resourceVersion"] == version, "asking again writes nothing"
    assert world.events.count("JobRejected") == 1
    world.refusal = ""
    await world.settle()
    assert world.pointers == [(1, A)]


async def test_a_policy_holds_for_a_move_as_for_a_conversion() -> None:
    world = World(promotion="Automatic", job={"serviceAccountName": "admin"})
    await world.settle()
    assert (world.ready, world.jobs) == (("False", "PolicyViolation"), {})


async def test_the_job_has_one_container_with_what_reads_writes_and_signs() -> None:
    world = World(promotion="Automatic")
    world.follows = conversion(A, recommended=None)
    uri = "pvc://models/edge/gesture.tflite"
    world.follows["status"]["artifacts"][0]["uri"] = uri
    world.follows["status"]["recommended"] = {
        "method": "DynamicRange",
        "uri": uri,
        "reason": "",
        "size": "7B",
    }
    await world.work()
    (job,) = world.jobs.values()
    pod = job["spec"]["template"]["spec"]
    assert "initContainers" not in pod
    (container,) = pod["containers"]
    assert container["command"] == ["tflite-converter", "job-move"]
    secrets = {
        e["name"]: e["valueFrom"]["secretKeyRef"]["name"] for e in container["env"] if "valueFrom" in e
    }
    assert secrets.pop("CONVERSION_SIGNING_KEY") == "channel-key"
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= secrets.keys()
    (claim,) = [m for m in container["volumeMounts"] if m["mountPath"].endswith("/models")]
    assert claim["readOnly"]
    assert job["metadata"]["ownerReferences"][0]["kind"] == "ModelChannel"
    assert "edgeml.dev/conversion-uid" not in job["metadata"]["labels"], "it is no conversion's Job"


async def test_a_spec_that_cannot_be_read_is_told() -> None:
    world = World()
    world.change(promotion="Sometimes")
    await world.work()
    assert world.ready == ("False", "InvalidSpec")


def test_a_set_and_its_member() -> None:
    rows = [
        {"model": model, "profile": profile, "conversion": f"{model}-{profile}", "phase": "Succeeded"}
        for model in ("face", "hand")
        for profile in ("pi", "phone")
    ]
    meta = {"name": "fleet", "namespace": "ml", "uid": "u", "generation": 1, "resourceVersion": "1"}
    view = SetView.from_body({"metadata": meta, "spec": {}, "status": {"members": rows}})

    def member(**fields: str) -> str:
        found = member_of(view, ChannelSource(name="fleet", **fields))
        return found if isinstance(found, str) else found.words

    assert member(profile="pi", model="hand") == "hand-pi"
    assert "2 members" in member(profile="pi")
    assert "0 members" in member(profile="none")
    assert "4 members" in member()


def test_a_conversion_wakes_the_channels_that_may_follow_it() -> None:
    world = World()
    mine = ConversionView.from_body(conversion(A))
    assert list(world.store.concerned(mine)) == [UID]
    assert list(world.store.concerned(ConversionView.from_body(conversion(A, "other")))) == []
    assert list(world.store.concerned(ConversionView.from_body(conversion(A, phase="Running")))) == []
    elsewhere = conversion(A)
    elsewhere["metadata"]["namespace"] = "other"
    assert list(world.store.concerned(ConversionView.from_body(elsewhere))) == []
    owned = conversion(A, "gesture-0123456789")
    reference = {
        "apiVersion": "edgeml.dev/v1alpha1",
        "kind": "ModelConversionSet",
        "controller": True,
        "uid": "s",
    }
    owned["metadata"]["ownerReferences"] = [reference]
    assert list(world.store.concerned(ConversionView.from_body(owned))) == [UID], "a set or trigger decides"
    assert candidate_of(mine, NOW).candidate is not None


STEPS = st.lists(
    st.one_of(
        st.sampled_from([A, B, C]).map(lambda sha: ("run", sha)),
        st.sampled_from([A, B, C]).map(lambda sha: ("release", sha)),
        st.sampled_from(["Manual", "Automatic"]).map(lambda word: ("promotion", word)),
        st.sampled_from(["StorageUnavailable", "SigningFailed"]).map(lambda word: ("fail", word)),
        st.just(("hour", "")),
        st.just(("forget", "")),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, kills=st.sets(st.integers(0, 120), max_size=8))
async def test_numbers_rise_and_the_pointer_is_what_the_spec_says(
    steps: list[tuple[str, str]], kills: set[int]
) -> None:
    """With the operator killed at any request: no move is lost, written twice, or shares its number."""
    world = World()
    world.fails_at = kills
    for run, (what, word) in enumerate(steps, start=2):
        problem = None
        if what == "run":
            world.follows = conversion(word, run=run)
        elif what == "release":
            world.change(release={"sha256": word})
        elif what == "promotion":
            world.change(promotion=word, release=None)
        elif what == "fail":
            problem = word
        elif what == "hour":
            world.now += timedelta(hours=2)
        else:
            world.jobs.clear()  # the controller of TTLs was quick, or somebody tidied up
        await world.settle(problem)
    world.now += timedelta(hours=2)
    await world.settle()
    await world.settle()
    numbers = [number for number, _ in world.pointers]
    assert numbers == sorted(set(numbers))
    assert all(one[1] != other[1] for one, other in itertools.pairwise(world.pointers)), "none twice"
    spec, status = world.body["spec"], world.status
    known = {each["sha256"] for each in (*status.get("candidates", ()), *status.get("releases", ()))}
    if (release := spec.get("release")) is not None and release["sha256"] in known:
        assert world.named == release["sha256"]
    elif release is None and spec.get("promotion") == "Automatic":
        assert world.named == status["candidates"][0]["sha256"]
    assert (status.get("releases") or [{"sha256": ""}])[0]["sha256"] == world.named
