"""The reconciler over an API server that only remembers: places, writes, and what it keeps in mind."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from modelconversion_api.status import Phase
from modelconversion_operator.cluster.progress_reader import ProgressReader
from modelconversion_operator.cluster.store import Store
from modelconversion_operator.deciding.admission import Limits
from modelconversion_operator.deciding.views import ConversionView, Key
from modelconversion_operator.reconciler import Reconciler
from modelconversion_operator.rules import Rules
from modelconversion_operator.telemetry.metrics import Metrics
from support.operator.memory import World
from support.operator.objects import DEFAULTS, ended, pod, published, running

Json = dict[str, Any]


@pytest.fixture
def world() -> World:
    return World()


async def test_a_secret_that_nobody_released_is_waited_for_and_used_once_somebody_does(world):
    world.server.unreleased.add("s3-credentials")
    world.apply("a")
    await world.work()
    assert world.server.jobs == {}
    condition = world.status("ml-a")["conditions"][0]
    assert (condition["status"], condition["reason"]) == ("Unknown", "SecretNotReleased")
    assert "kubectl -n ml create role conversions-s3-credentials --verb=get" in condition["message"]
    assert "--user=edgeml.dev:conversions" in condition["message"]
    world.server.unreleased.clear()
    world.now += timedelta(seconds=20)
    world.queue.add("ml-a")
    await world.work()
    assert len(world.server.jobs) == 1
    world.apply("b")
    await world.work()
    assert len(world.server.jobs) == 2
    assert world.server.asked == ["ml/s3-credentials"] * 2, "what is released is not asked each time"


async def test_an_operator_with_an_older_role_says_what_it_may_not_ask(world):
    world.server.may_not_ask = True
    world.apply("a")
    await world.work()
    condition = world.status("ml-a")["conditions"][0]
    assert condition["reason"] == "SecretNotReleased"
    assert "the operator may not ask: 403: cannot create resource localsub" in condition["message"]


async def test_a_model_whose_engine_nobody_has_set_up_is_refused_with_the_setting(world):
    world.apply("a", source={"uri": "s3://models/net.onnx"})
    await world.work()
    failure = world.status("ml-a")["failure"]
    assert failure["reason"] == "EngineNotFound"
    assert "converter.engines.ONNX" in failure["message"]
    assert world.server.jobs == {}


async def test_a_refused_job_keeps_saying_who_writes_to_the_same_place(world):
    world.server.unreleased.add("s3-credentials")
    for name in ("a", "b"):
        world.apply(name, output={"uri": "s3://models/same/"})
        await world.work()
    for _ in range(3):
        world.now += timedelta(seconds=20)
        for uid in ("ml-a", "ml-b"):
            world.queue.add(uid)
        await world.work()
    assert [c["type"] for c in world.status("ml-a")["conditions"]][-1] == "OutputShared"
    assert len([w for w in world.server.writes if w == "event OutputShared"]) == 0


async def test_a_secret_that_nobody_releases_is_a_failure_in_the_end(world):
    world.server.unreleased.add("s3-credentials")
    world.apply("a", job={"pendingDeadlineSeconds": 60})
    await world.work()
    world.now += timedelta(seconds=61)
    world.queue.add("ml-a")
    await world.work()
    assert world.status("ml-a")["failure"]["reason"] == "SecretNotReleased"
    assert world.server.jobs == {}


async def test_an_installation_that_catches_up_is_only_warned(world):
    world.server.unreleased |= {"s3-credentials", "signing-key"}
    world.rules = replace(world.rules, secrets_must_be_released=False)
    world.start(Limits())
    signing = {"uri": "s3://models/out/", "signing": {"secretRef": {"name": "signing-key"}}}
    world.apply("a", output=signing)
    await world.work()
    assert len(world.server.jobs) == 1
    assert "event SecretNotReleased" in world.server.writes
    assert world.server.asked == ["ml/s3-credentials", "ml/signing-key"]


@pytest.mark.parametrize("ended", [True, False], ids=["finished", "under way"])
async def test_what_a_policy_keeps_of_a_job_is_tried_and_said_once(world, ended):
    """A policy that pinned the TTL gave a PATCH without end: 83 in ten seconds for three conversions."""
    world.server.pinned.add("ttlSecondsAfterFinished")
    world.apply("a")
    await world.work()
    body = world.server.jobs[world.status("ml-a")["jobName"]]
    body["spec"]["ttlSecondsAfterFinished"] = 5
    world.store.put_job(world.job_of("ml-a"))
    if ended:
        world.ends("ml-a")
    for _ in range(5):
        world.queue.add("ml-a")
        await world.work()
    assert world.server.writes.count("patch job") == 1
    assert world.server.writes.count("event JobPinned") == 1
    assert "event JobChanged" not in world.server.writes
    assert (world.store.conversion("ml-a") is None) is ended, "what has ended settles"


async def test_a_conversion_costs_four_writes_and_an_event(world):
    world.apply("a")
    await world.work()
    world.runs("ml-a")
    await world.work()
    world.ends("ml-a")
    await world.work()
    written = ["status Pending", "job", "status Running", "status Succeeded", "event Converted"]
    assert world.server.writes == written
    assert world.counted() == 1


async def test_of_what_has_ended_little_is_kept_and_news_of_it_brings_it_back(world):
    world.apply("a")
    await world.work()
    world.ends("ml-a")
    await world.work()
    assert world.store.conversion("ml-a") is None
    assert (len(world.store), world.store.phases()) == (1, {"Succeeded": 1})
    assert world.store.job(world.key("a"), world.status("ml-a")["jobName"]) is None
    written = len(world.server.writes)
    world.seen("ml-a")  # the watch brings what was just written
    world.store.put_pod(world.pod_of("ml-a", ended(), ended(), ended(), phase="Succeeded"))
    assert (len(world.queue), world.store.pods(world.key("a"), world.job_of("ml-a").uid)) == (0, [])
    body = world.server.conversions["ml-a"]
    body["metadata"] |= {"generation": 2, "resourceVersion": world.server.version()}
    body["spec"]["methods"] = ["Float16"]
    world.seen("ml-a")
    await world.work()
    assert world.server.writes[written:] == ["status Pending", "job"]
    assert world.status("ml-a")["runGeneration"] == 2


async def test_an_end_whose_answer_was_lost_is_counted_once(world):
    world.apply("a")
    await world.work()
    world.ends("ml-a")
    world.server.lose_answers = True
    await world.work()
    assert world.counted() == 0
    world.server.lose_answers = False
    world.seen("ml-a")
    await world.work()
    assert (world.counted(), world.status("ml-a")["phase"]) == (1, "Succeeded")


async def test_a_new_process_does_not_count_what_ended_before(world):
    world.apply("a")
    await world.work()
    world.ends("ml-a")
    await world.work()
    world.store, world.metrics = Store(), Metrics()
    world.start(Limits())
    world.seen("ml-a")
    await world.work()
    assert world.counted() == 0
    assert world.store.conversion("ml-a") is None


async def test_what_ended_before_a_new_process_began_is_not_looked_at(world):
    world.apply("a")
    await world.work()
    world.ends("ml-a")
    await world.work()
    body = world.server.conversions["ml-a"]
    fresh = Store()
    assert not fresh.put_conversion(ConversionView.from_body(body))
    assert (len(fresh), fresh.unsettled(), fresh.phases()) == (1, [], {"Succeeded": 1})
    meta = body["metadata"] | {"generation": 2, "resourceVersion": world.server.version()}
    assert fresh.put_conversion(ConversionView.from_body(body | {"metadata": meta}))


async def test_a_job_that_outlived_its_conversion_is_removed_by_a_new_process(world):
    world.apply("a")
    await world.work()
    world.now += timedelta(seconds=1000)
    world.queue.add("ml-a")
    await world.work()
    assert world.server.writes[-2:] == ["event PendingDeadlineExceeded", "delete job"]
    world.store = Store()
    world.start(Limits())
    world.seen("ml-a")
    assert world.store.unsettled() == []
    assert world.store.put_job(world.job_of("ml-a"))  # it ended, and died before it could remove its Job
    world.queue.add("ml-a")
    await world.work()
    assert world.server.writes[-1] == "delete job"
    assert world.server.writes.count("delete job") == 2


async def test_a_job_that_died_operators_left_with_a_longer_life_gets_its_own(world):
    """It died between the status and the TTL, and the next process hears of the Job last."""
    world.apply("a", job={"ttlSecondsAfterFinished": 5})
    await world.work()
    world.ends("ml-a")
    world.server.pinned.add("ttlSecondsAfterFinished")  # the first process never comes to it
    await world.work()
    world.server.pinned.clear()
    world.store = Store()
    world.start(Limits())
    world.seen("ml-a")
    assert world.store.unsettled() == []
    assert world.store.put_job(world.job_of("ml-a"))
    world.queue.add("ml-a")
    await world.work()
    assert world.job_of("ml-a").ttl_seconds == 5
    assert world.store.conversion("ml-a") is None
    assert not world.store.put_job(world.job_of("ml-a")), "what is done with is not looked at again"


async def test_who_finds_no_place_stands_in_line_and_is_told_where():
    world = World(Limits(total=1))
    for name in "abc":
        world.apply(name)
    await world.work()
    assert sorted(world.server.writes) == ["job", *["status Pending"] * 3]
    condition = world.status("ml-c")["conditions"][0]
    assert (condition["status"], condition["reason"]) == ("Unknown", "Queued")
    assert condition["message"] == "position 2 of 2 in namespace ml"
    assert world.status("ml-c")["queuePosition"] == 2
    written = len(world.server.writes)
    world.queue.add("ml-c")
    await world.work()
    assert len(world.server.writes) == written
    world.ends("ml-a")
    await world.work()
    assert world.status("ml-b")["jobName"] in world.server.jobs
    assert "queuePosition" not in world.status("ml-b")
    assert world.status("ml-b")["conditions"][0]["reason"] == "Created"
    assert world.status("ml-c")["jobName"] not in world.server.jobs


@pytest.mark.parametrize("how", ["deleted", "suspended"])
async def test_a_place_is_free_at_once(how):
    world = World(Limits(per_namespace=1))
    world.apply("a")
    world.apply("b")
    await world.work()
    if how == "deleted":
        world.store.drop_conversion(Key("ml", "a", "ml-a"))
    else:
        world.store.put_job(replace(world.job_of("ml-a"), suspended=True))
    world.queue.add("ml-a")
    await world.work()
    assert world.status("ml-b")["jobName"] in world.server.jobs


async def test_a_new_process_counts_the_jobs_that_run():
    world = World(Limits(total=1))
    world.apply("a")
    world.apply("b")
    await world.work()
    world.start(Limits(total=1))
    world.queue.add("ml-b")
    world.queue.add("ml-a")
    await world.work()
    assert list(world.server.jobs) == [world.status("ml-a")["jobName"]]


async def test_a_namespace_without_quota_does_not_hold_up_the_others():
    world = World(Limits(total=1))
    world.server.refuse_jobs = {"ml"}
    world.apply("a")
    world.apply("b", namespace="other")
    await world.work()
    assert world.status("ml-a")["conditions"][0]["reason"] == "QuotaExceeded"
    assert list(world.server.jobs) == [world.status("other-b")["jobName"]]


async def test_kueue_is_told_its_queue_and_is_left_to_decide():
    world = World(Limits(total=1))
    label = {"kueue.x-k8s.io/queue-name": "team-a"}
    world.apply("a")
    for name in "bc":
        world.apply(name, labels=label)
    await world.work()
    assert len(world.server.jobs) == 3
    queued = world.server.jobs[world.status("ml-b")["jobName"]]
    assert queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert "suspend" not in queued["spec"]  # Kueue's webhook does that
    assert "kueue.x-k8s.io/queue-name" not in queued["spec"]["template"]["metadata"]["labels"]
    world.store.put_job(replace(world.job_of("ml-b"), suspended=True))
    world.queue.add("ml-b")
    await world.work()
    condition = world.status("ml-b")["conditions"][0]
    assert (world.status("ml-b")["phase"], condition["reason"]) == (Phase.PENDING, "Queued")
    assert "queue team-a" in condition["message"]


async def test_a_pod_whose_job_has_gone_is_not_asked_for_its_progress_any_more():
    world = World()
    world.apply("a")
    reader = ProgressReader(world.store, world.queue, seconds=1)
    world.reconciler = Reconciler(
        world.server, world.store, world.queue, world.metrics, Rules(DEFAULTS), reader, now=world._now
    )
    converting = replace(pod(ended(), running()), ip="127.0.0.1")
    reader.latest("ml-a", [converting])
    assert "ml-a" in reader._followed
    await world.reconciler.reconcile("ml-a")  # it has no Job yet
    assert reader._followed == {}


async def test_what_a_pod_said_is_kept_until_the_end_is_written_and_asked_for_if_that_is_lost(world):
    world.apply("a")
    await world.work()
    states = ended(), ended(), ended(message=published())
    published_pod = world.pod_of("ml-a", *states, phase="Running")
    world.store.put_pod(published_pod)
    world.queue.add("ml-a")
    await world.work()
    assert world.status("ml-a")["phase"] == "Succeeded"
    assert messages_kept(world) == [None, None, None]
    world.store.put_pod(replace(published_pod, resource_version=world.server.version(), phase="Succeeded"))
    assert messages_kept(world) == [None, None, None], "later news of the pod brings its words again"
    world.store.drop_pod(published_pod)
    assert messages_kept(world) == []

    written = world.server.conversions["ml-a"].pop("status")
    world.server.conversions["ml-a"]["status"] = {"jobName": written["jobName"], "phase": "Running"}
    world.server.conversions["ml-a"]["metadata"]["resourceVersion"] = world.server.version()
    world.server.pods["a-pod"] = replace(published_pod, resource_version=world.server.version())
    world.server.jobs[written["jobName"]]["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    world.store.put_job(world.job_of("ml-a"))
    world.seen("ml-a")
    await world.work()
    assert world.status("ml-a")["phase"] == "Succeeded"
    assert world.status("ml-a")["artifacts"] == written["artifacts"]


def messages_kept(world: World) -> list[str | None]:
    """What the containers of conversion a said, as far as it is kept."""
    job = world.job_of("ml-a")
    return [c.message for pod in world.store.pods(world.key("a"), job.uid) for c in pod.containers]
