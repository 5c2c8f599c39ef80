"""Each way a Job can fail has a reason, and status, event and metric say the same."""

from __future__ import annotations

from typing import Any

import pytest

from modelconversion_api.reasons import FAILURES, FailureReason, Stage, retry_can_help
from modelconversion_api.status import Phase, Progress
from modelconversion_operator.deciding.views import PodView
from modelconversion_operator.telemetry.metrics import Metrics
from support.operator.objects import NOW, conversion, decide, ended, failure_message, job, pod, running
from support.operator.situations import begun, condition, disrupted, words


def lost(code: int, reason: str, message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


EVICTED = (
    "The node was low on resource: memory. Threshold quantity: 100Mi, available: 52Mi. Container convert was"
    " using 3900Mi, request is 1Gi, has larger consumption of memory. "
)
UNKNOWN = "The container could not be located when the pod was terminated"
INTERRUPTED = failure_message(FailureReason.INTERRUPTED, Stage.CONVERT)
SHUTDOWN = "Pod was terminated in response to imminent node shutdown."

# The pod, the reason, and whether Kubernetes tries it again.
POD_FAILURES: list[tuple[str, PodView, str]] = [
    (
        "evicted for the node's memory",
        pod(
            ended(),
            ended(137),
            phase="Failed",
            reason="Evicted",
            message=EVICTED,
            conditions=disrupted("TerminationByKubelet", EVICTED),
        ),
        "Evicted",
    ),
    (
        "evicted, and the kubelet forgot to say so in the pod's reason",
        pod(ended(), ended(137), phase="Failed", conditions=disrupted("TerminationByKubelet", EVICTED)),
        "Evicted",
    ),
    (
        "over the limit of its own disk",
        pod(
            ended(),
            ended(137),
            phase="Failed",
            reason="Evicted",
            message="Pod ephemeral local storage usage exceeds the total limit of containers 2Gi. ",
        ),
        "NoSpace",
    ),
    (
        "drained",
        pod(
            ended(),
            ended(64, INTERRUPTED),
            phase="Failed",
            deleting=True,
            conditions=disrupted("EvictionByEvictionAPI", "Eviction API: evicting"),
        ),
        "Evicted",
    ),
    (
        "pushed away by the scheduler",
        pod(
            ended(),
            ended(143),
            phase="Failed",
            conditions=disrupted(
                "PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod"
            ),
        ),
        "Preempted",
    ),
    (
        "its node was tainted",
        pod(
            ended(),
            ended(143),
            phase="Failed",
            conditions=disrupted("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"),
        ),
        "NodeLost",
    ),
    (
        "its node is gone",
        pod(
            ended(),
            running(),
            phase="Failed",
            conditions=disrupted("DeletionByPodGC", "PodGC: node no longer exists"),
        ),
        "NodeLost",
    ),
    (
        "its node was shut down",
        pod(
            ended(),
            ended(137),
            phase="Failed",
            reason="Terminated",
            message=SHUTDOWN,
            conditions=disrupted("TerminationByKubelet", SHUTDOWN),
        ),
        "NodeLost",
    ),
    (
        "nobody knows how it ended",
        pod(ended(), lost(137, "ContainerStatusUnknown", UNKNOWN), phase="Failed"),
        "NodeLost",
    ),
    (
        "the node refused it: no room after all",
        pod(
            phase="Failed",
            reason="OutOfcpu",
            message="Pod was rejected: Node didn't have enough resource: cpu",
        ),
        "Unschedulable",
    ),
    (
        "the node refused it",
        pod(
            phase="Failed",
            reason="UnexpectedAdmissionError",
            message="Pod was rejected: Allocate failed due to no device plugin",
        ),
        "PodRejected",
    ),
    (
        "no such program in the image",
        pod(
            lost(
                128,
                "StartError",
                'failed to create containerd task: exec: "tflite-converter": not found in $PATH',
            ),
            phase="Failed",
        ),
        "ContainerStartFailed",
    ),
    (
        "out of memory, with its whole group",
        pod(ended(), lost(137, "OOMKilled"), phase="Failed"),
        "OutOfMemory",
    ),
    ("killed, and nobody says why", pod(ended(), lost(137, "Error"), phase="Failed"), "OutOfMemory"),
    ("segmentation fault in the converter", pod(ended(), ended(139), phase="Failed"), "ConverterCrashed"),
    ("segmentation fault elsewhere", pod(ended(139), phase="Failed"), "Interrupted"),
    (
        "stopped by somebody who deleted the pod",
        pod(ended(), ended(143), phase="Failed", deleting=True),
        "Interrupted",
    ),
    ("no report", pod(ended(), ended(1), phase="Failed"), "ReportLost"),
    ("a report of nobody's", pod(ended(), ended(1, '{"version": "v9"}'), phase="Failed"), "ReportLost"),
    ("failed without a word", pod(phase="Failed"), "Interrupted"),
    (
        "its own reason, although the node was drained as well",
        pod(
            ended(),
            ended(21, failure_message(FailureReason.UNREADABLE_MODEL)),
            phase="Failed",
            conditions=disrupted("EvictionByEvictionAPI", "Eviction API: evicting"),
        ),
        "UnreadableModel",
    ),
]
IDS = [name for name, *_ in POD_FAILURES]


@pytest.mark.parametrize(("the_pod", "reason"), [case[1:] for case in POD_FAILURES], ids=IDS)
def test_status_event_and_metric_say_the_same_of_a_failed_pod(the_pod, reason):
    decision = decide(conversion(begun()), job(failed="BackoffLimitExceeded"), [the_pod], NOW)
    failure = decision.status.failure
    assert failure is not None
    assert failure.reason == reason
    assert FAILURES[failure.reason].hint in failure.message
    assert condition(decision) == ("False", reason)
    assert [(e.type, e.reason, e.message) for e in decision.events] == [("Warning", reason, failure.message)]
    metrics = Metrics()
    metrics.conversion_ended(decision.status, None)
    counted = {
        s.labels["reason"]: s.value
        for family in metrics.registry.collect()
        for s in family.samples
        if s.name == "modelconversion_conversions_total" and s.value
    }
    assert counted == {reason: 1}


@pytest.mark.parametrize(("the_pod", "reason"), [case[1:] for case in POD_FAILURES], ids=IDS)
def test_while_kubernetes_tries_again_the_last_failure_is_shown_once(the_pod, reason):
    """Whether it tries again is the Job's policy: what is shown meanwhile is the same for all."""
    first = decide(conversion(begun(phase=Phase.RUNNING, waiting_since=None)), job(), [the_pod], NOW)
    if the_pod.deleting and the_pod.phase != "Failed":
        return
    assert condition(first) == ("Unknown", "Retrying")
    assert reason in words(first)
    assert [e.reason for e in first.events] == ["Retrying"]
    successor = pod(phase="Pending", name="second")
    second = decide(conversion(first.status), job(), [the_pod, successor], NOW)
    assert (second.status, second.events) == (first.status, ())
    third = decide(conversion(second.status), job(), [the_pod, pod(running(), name="second")], NOW)
    assert condition(third) == ("Unknown", "Running")
    assert [e.reason for e in third.events] == ["Started"]


@pytest.mark.parametrize(
    "pods",
    [
        [pod(ended(11), phase="Failed")],
        [pod(ended(60), phase="Failed", name=n) for n in "abc"],
        [pod(ended(60), phase="Failed", name="a"), pod(ended(), ended(21), phase="Failed", name="b")],
    ],
    ids=["permanent", "too many", "permanent after a retry"],
)
def test_a_failure_that_ends_the_job_is_not_called_a_try(pods):
    """Between the pod's end and the Job's there is a moment, in which nothing is to be written."""
    status = begun(phase=Phase.RUNNING, waiting_since=None)
    decision = decide(conversion(status), job(), pods, NOW)
    assert (decision.status, decision.events) == (status, ())


def test_time_that_ran_out_does_not_wait_for_a_node_that_is_lost():
    """The Job fails when its pod has ended, which nobody can say of a pod on a lost node."""
    leaving = pod(ended(), running(), deleting=True)
    progress = Progress(stage=Stage.QUANTIZE, percent=60)
    status = begun(phase=Phase.RUNNING, waiting_since=None, progress=progress)
    decision = decide(conversion(status), job(overdue=True), [leaving], NOW)
    assert condition(decision) == ("False", "ActiveDeadlineExceeded")
    assert decision.status.failure is not None
    assert decision.status.failure.stage is Stage.QUANTIZE
    # The Job is left to end by itself: its pod's log is still of use.
    assert decide(conversion(decision.status), job(overdue=True), [leaving], NOW).job_action is None


def test_time_that_ran_out_says_what_went_before():
    failed = pod(ended(60, failure_message(FailureReason.STORAGE_UNAVAILABLE)), phase="Failed")
    decision = decide(conversion(begun()), job(failed="DeadlineExceeded"), [failed], NOW)
    assert condition(decision) == ("False", "ActiveDeadlineExceeded")
    assert "1 attempts failed, the last with StorageUnavailable" in words(decision)


def test_a_job_whose_pods_are_gone_still_names_the_exit_code():
    message = (
        "Container convert for pod ml/gesture-abc failed with exit code 21 matching FailJob rule at index 1"
    )
    decision = decide(conversion(begun()), job(failed="PodFailurePolicy", failed_message=message), [], NOW)
    failure = decision.status.failure
    assert failure is not None
    assert (failure.reason, failure.exit_code, failure.stage) == ("UnreadableModel", 21, Stage.CONVERT)
    assert failure.pod == "gesture-abc"


def test_a_job_whose_pods_are_gone_and_that_says_nothing_lost_its_report():
    the_job = job(failed="BackoffLimitExceeded", failed_message="Job has reached the specified backoff limit")
    decision = decide(conversion(begun()), the_job, [], NOW)
    assert condition(decision) == ("False", "ReportLost")
    assert "backoff limit" in words(decision)


def test_a_job_that_is_being_deleted_is_deleted():
    gone = decide(conversion(begun()), job(deleting=True), [pod(running(), deleting=True)], NOW)
    assert condition(gone) == ("False", "JobDeleted")
    fresh = begun(NOW).model_copy(update={"job_uid": None})
    assert condition(decide(conversion(fresh), job(deleting=True), [], NOW))[0] == "Unknown"


WITH_CODES = [(reason, f.exit_code) for reason, f in FAILURES.items() if f.exit_code is not None]


@pytest.mark.parametrize(("reason", "code"), WITH_CODES)
@pytest.mark.parametrize("before", [0, 1, 2], ids=["fetch", "convert", "publish"])
def test_every_exit_code_of_every_container_is_its_reason_even_without_a_report(reason, code, before):
    the_pod = pod(*[ended()] * before, ended(code), phase="Failed")
    ends = "PodFailurePolicy" if not retry_can_help(reason) else "BackoffLimitExceeded"
    decision = decide(conversion(begun()), job(failed=ends), [the_pod], NOW)
    failure = decision.status.failure
    assert failure is not None
    assert (failure.reason, failure.exit_code) == (reason, code)
    assert failure.stage is [Stage.FETCH, Stage.CONVERT, Stage.PUBLISH][before]
    # While the Job is there, only what may pass is spoken of as a try.
    running_job = decide(conversion(begun(phase=Phase.RUNNING, waiting_since=None)), job(), [the_pod], NOW)
    assert (condition(running_job)[1] == "Retrying") == retry_can_help(reason)
