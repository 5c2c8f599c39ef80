"""Everything is published: what the end of ``publish`` means, whatever becomes of its pod and Job."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import StageFailure, StageResult
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_api.status import ModelConversionStatus, Phase
from modelconversion_operator.cluster.store import Store
from modelconversion_operator.deciding.decisions import CreateJob, Decision, DeleteJob, PatchJob
from modelconversion_operator.deciding.manifest import Part, job_manifest, job_name
from modelconversion_operator.deciding.seen import Seen
from modelconversion_operator.deciding.views import JobView, PodView
from support.operator import objects
from support.operator.objects import (
    DEFAULTS,
    KEY,
    NOW,
    conversion,
    decide,
    ended,
    failure_message,
    job,
    pod,
    published,
    running,
    spec,
    waiting,
    wire,
)

BEGUN = decide(conversion(), None, [], NOW).status
RUNNING = decide(conversion(BEGUN), job(), [pod(running())], NOW).status
PROXY = {"name": "istio-proxy", "state": running()}


def at(state: dict[str, Any], seconds: float) -> dict[str, Any]:
    """A container's end, ``seconds`` ago."""
    return {"terminated": state["terminated"] | {"finishedAt": wire(NOW - timedelta(seconds=seconds))}}


def behind(*injected: dict[str, Any], states: tuple[dict[str, Any], ...], **changes: Any) -> PodView:
    """A pod of ours with more containers beside ``publish``."""
    view = pod(*states, **changes)
    body = {
        "metadata": {
            "namespace": KEY.namespace,
            "name": view.name,
            "uid": view.uid,
            "labels": {"edgeml.dev/conversion-uid": KEY.uid},
            "ownerReferences": [objects.controller("batch/v1", "Job", "job-1")],
            "resourceVersion": "30",
            "creationTimestamp": wire(view.created),
        },
        "spec": {
            "initContainers": [{"name": "istio-init"}, {"name": "fetch"}, {"name": "convert"}],
            "containers": [{"name": c["name"]} for c in injected] + [{"name": "publish"}],
        },
        "status": {
            "phase": view.phase,
            "initContainerStatuses": [
                {"name": "istio-init", "state": ended()},
                *({"name": n, "state": s} for n, s in zip(("fetch", "convert"), states, strict=False)),
            ],
            "containerStatuses": [*injected, *({"name": "publish", "state": s} for s in states[2:])],
        },
    }
    return PodView.from_body(body)


def succeeded(decision: Decision) -> bool:
    return decision.status.phase is Phase.SUCCEEDED and decision.status.artifacts != []


DONE = (ended(), ended(), ended(message=published()))


@pytest.mark.parametrize(
    ("the_job", "pods"),
    [
        pytest.param(job(), [pod(*DONE)], id="nothing else is known yet"),
        pytest.param(job(), [pod(*DONE, phase="Failed", deleting=True)], id="its pod is being drained"),
        pytest.param(job(failed="BackoffLimitExceeded"), [pod(*DONE, phase="Failed")], id="its Job failed"),
        pytest.param(job(overdue=True), [pod(*DONE)], id="its time ran out behind an injected container"),
        pytest.param(job(deleting=True), [pod(*DONE)], id="somebody deletes its Job"),
        pytest.param(None, [pod(*DONE)], id="somebody has deleted its Job"),
        pytest.param(job(suspend=True), [pod(*DONE)], id="somebody has suspended its Job"),
        pytest.param(job(), [pod(*DONE, age=9), pod(running(), name="again")], id="another pod was made"),
        pytest.param(job(), [behind(PROXY, states=DONE)], id="a proxy goes on"),
        pytest.param(
            job(),
            [behind({"name": "istio-proxy", "state": ended(2)}, states=DONE, phase="Failed")],
            id="a proxy failed",
        ),
    ],
)
def test_the_first_sight_of_its_good_end_is_the_end(the_job: JobView | None, pods: list[PodView]) -> None:
    status = RUNNING.model_copy(update={"job_uid": "job-1"})
    assert succeeded(decide(conversion(status), the_job, pods, NOW))


def _after(pods: list[PodView], **of_job: Any) -> Decision:
    status = decide(conversion(RUNNING), job(), [pod(*DONE)], NOW).status
    return decide(conversion(status), job(**of_job), pods, NOW)


def test_a_job_that_ends_by_itself_is_let_end_and_its_log_stays() -> None:
    decision = _after([pod(*DONE[:2], at(DONE[2], 3))])
    assert decision.job_action is None
    assert decision.recheck_seconds == 27
    # The Job controller of a busy cluster can be minutes behind the pods.
    assert _after([pod(*DONE[:2], at(DONE[2], 500), phase="Succeeded")]).job_action is None
    assert isinstance(_after([pod(*DONE)], complete=True, ttl=1).job_action, PatchJob)


@pytest.mark.parametrize(
    "pods",
    [
        pytest.param([behind(PROXY, states=(*DONE[:2], at(DONE[2], 31)))], id="a proxy goes on"),
        pytest.param([pod(*DONE, age=9), pod(running(), name="again")], id="another pod converts again"),
        pytest.param([pod(*DONE, age=9), pod(name="again", phase="Pending")], id="another pod is about to"),
    ],
)
def test_a_job_that_does_not_end_by_itself_is_removed(pods: list[PodView]) -> None:
    assert isinstance(_after(pods).job_action, DeleteJob)


def test_a_pod_that_is_gone_is_kept_as_proof_until_the_end_is_written() -> None:
    store = Store()
    store.put_conversion(conversion(RUNNING))
    store.put_pod(pod(running()))
    last = replace(pod(*DONE, phase="Failed", deleting=True), resource_version="31")
    assert store.drop_pod(last)  # a watch shows the last state of what it says is gone
    assert not store.drop_pod(last)
    (kept,) = store.pods(KEY, "job-1")
    assert kept.published
    store.renew_pods(KEY, job(), [], "99")
    store.retain_pods(None, set(), "99")
    assert store.pods(KEY, "job-1") == [kept]
    view = store.conversion(KEY.uid)
    assert view is not None
    store.settle(view)
    assert store.pods(KEY, "job-1") == []


def test_a_pod_of_a_conversion_that_is_gone_is_not_kept() -> None:
    store = Store()
    assert not store.drop_pod(pod(*DONE, phase="Succeeded"))
    assert store.pods(KEY, "job-1") == []


# Nobody saw the result.

FORGED = [pod(ended(), ended(message=published()), ended(), phase="Succeeded")]
READING = job_name(KEY, "1", Part(reads_report=True))


@pytest.mark.parametrize(
    "pods",
    [[], [pod(ended(), ended(), ended(message='{"version":"v1al'), phase="Succeeded")], FORGED],
    ids=["no pod", "cut", "a summary from the container that runs model code"],
)
def test_a_result_that_nobody_saw_is_read_from_the_bucket(pods: list[PodView]) -> None:
    decision = decide(conversion(RUNNING), job(complete=True), pods, NOW)
    status = decision.status
    assert (status.phase, status.job_name, status.job_uid) == (Phase.PENDING, READING, None)
    made = decide(conversion(status), None, [], NOW)
    assert isinstance(made.job_action, CreateJob)
    assert made.job_action.part.reads_report
    assert "its report is being read" in made.status.conditions[0].message


def test_the_job_that_reads_it_has_one_container_without_the_signing_key() -> None:
    signing = {"uri": "s3://models/out/", "signing": {"secretRef": {"name": "signing-key"}}}
    wanted = ModelConversionSpec.model_validate(spec(output=signing))
    manifest = job_manifest(KEY, "1", wanted, DEFAULTS, part=Part(reads_report=True))
    whole = job_manifest(KEY, "1", wanted, DEFAULTS)
    assert (manifest["metadata"]["name"], whole["metadata"]["name"]) == (READING, job_name(KEY, "1"))
    assert manifest["metadata"]["ownerReferences"] == whole["metadata"]["ownerReferences"]
    template = manifest["spec"]["template"]["spec"]
    assert "initContainers" not in template
    (container,) = template["containers"]
    assert (container["name"], container["command"]) == ("publish", ["tflite-converter", "job-report"])
    _, *rules = manifest["spec"]["podFailurePolicy"]["rules"]
    assert [rule["onExitCodes"]["containerName"] for rule in rules] == ["publish"]
    assert "CONVERSION_SIGNING_KEY" not in str(container)
    assert "AWS_SECRET_ACCESS_KEY" in str(container)
    assert template["securityContext"] == whole["spec"]["template"]["spec"]["securityContext"]


def _reading() -> ModelConversionStatus:
    status = decide(conversion(RUNNING), job(complete=True), [], NOW).status
    return decide(conversion(status), None, [], NOW).status


def _reader(**changes: Any) -> JobView:
    return replace(job(**changes), name=READING, uid="reader")


def _told(message: str) -> list[PodView]:
    return [replace(pod(name="reader", phase="Succeeded"), containers=_publish(message), job_uid="reader")]


def _publish(message: str) -> Any:
    return pod(ended(), ended(), ended(message=message)).containers[2:]


def test_what_it_reads_is_the_result() -> None:
    assert succeeded(decide(conversion(_reading()), _reader(complete=True), _told(published()), NOW))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            StageResult(
                failure=StageFailure(
                    stage=Stage.PUBLISH, reason=FailureReason.REPORT_LOST, message="of another run"
                )
            ).encode(),
            "of another run",
        ),
        ("", "not seen either"),
    ],
)
def test_a_report_that_is_not_there_is_lost_at_last(message: str, words: str) -> None:
    failure = decide(conversion(_reading()), _reader(complete=True), _told(message), NOW).status.failure
    assert failure is not None
    assert failure.reason == "ReportLost"
    assert words in failure.message


def test_the_job_that_could_not_read_it_says_why() -> None:
    pods = [
        replace(pod(phase="Failed"), containers=_publish(failure_message(FailureReason.STORAGE_UNAVAILABLE)))
    ]
    pods = [replace(p, containers=(replace(p.containers[0], exit_code=60),)) for p in pods]
    failure = decide(conversion(_reading()), _reader(failed="BackoffLimitExceeded"), pods, NOW).status.failure
    assert failure is not None
    assert failure.reason == "StorageUnavailable"


# Injected containers.


@pytest.mark.parametrize(
    ("code", "reason"), [(21, FailureReason.UNREADABLE_MODEL), (60, FailureReason.STORAGE_UNAVAILABLE)]
)
def test_a_failure_behind_a_proxy_that_goes_on_is_told_after_a_moment(
    code: int, reason: FailureReason
) -> None:
    failed = ended(code, failure_message(reason))
    early = decide(conversion(RUNNING), job(), [behind(PROXY, states=(*DONE[:2], at(failed, 2)))], NOW)
    assert early.status.phase is Phase.RUNNING
    assert early.recheck_seconds == 28
    late = decide(conversion(RUNNING), job(), [behind(PROXY, states=(*DONE[:2], at(failed, 31)))], NOW)
    assert late.status.failure is not None
    assert late.status.failure.reason == reason
    assert "does not end before istio-proxy" in late.status.failure.message
    assert isinstance(decide(conversion(late.status), job(), [], NOW).job_action, DeleteJob)


def test_what_an_injected_container_does_is_no_stage() -> None:
    failing = {"name": "vault-agent", "state": ended(2)}
    view = behind(PROXY, failing, states=(running(),))
    decision = decide(conversion(BEGUN), job(), [view], NOW)
    assert decision.status.progress is not None
    assert decision.status.progress.stage is Stage.FETCH
    only_proxy = behind(PROXY, states=(waiting("PodInitializing"),), phase="Pending")
    assert not only_proxy.started
    pulled = behind(PROXY, states=(waiting("ErrImagePull", "no such image"),), phase="Pending")
    shown = decide(conversion(BEGUN), job(), [pulled], NOW).status.conditions[0]
    assert shown.reason == "ImagePullFailed"


def test_a_pod_that_an_injected_container_failed_says_so() -> None:
    view = behind({"name": "vault-agent", "state": ended(2)}, states=(), phase="Failed")
    failure = decide(conversion(BEGUN), job(failed="BackoffLimitExceeded"), [view], NOW).status.failure
    assert failure is not None
    assert "container vault-agent" in failure.message
    assert failure.exit_code is None


# Earlier runs.


def test_a_job_of_an_earlier_run_is_gone_before_another_is_made() -> None:
    seen = Seen(conversion(BEGUN), strays=(job(3),))
    decision = objects.deciding.decide(seen, NOW)
    assert decision.job_action is None
    assert job_name(KEY, "3") in decision.status.conditions[0].message
    assert decision.recheck_seconds is not None
    assert decision.recheck_seconds <= 5


def test_strays_are_unfinished_and_of_another_name() -> None:
    store = Store()
    store.put_conversion(conversion(BEGUN))
    for view in (job(1), job(2), job(3, complete=True), job(4, failed="DeadlineExceeded")):
        store.put_job(view)
    assert [j.name for j in store.strays(KEY, job_name(KEY, "1"))] == [job_name(KEY, "2")]
