"""Each way a Job can go wrong on a real API server, with the real Job controller, quota and admission."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.process_node.pod_status import now
from support.cluster.conversions import Conversions, Operator, until
from support.cluster.injection import injection_manifests
from support.cluster.kubelet import SELECTOR, Kubelet, ended, running, waiting
from support.operator.objects import published

Json = dict[str, Any]

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator", "process_node")]


@pytest.fixture
def kubelet(control_plane: ControlPlane, conversions: Conversions) -> Kubelet:
    return Kubelet(control_plane, conversions)


def apply(conversions: Conversions, name: str, **job: Any) -> None:
    """A conversion that ends with SourceNotFound once it runs."""
    conversions.apply(name, source={"uri": conversions.uri("none.h5")}, methods=["Float16"], job=job)


def kept(conversions: Conversions, name: str, **job: Any) -> None:
    """The same, for a pod whose status the test writes."""
    apply(conversions, name, nodeSelector=SELECTOR, **job)


def shown(conversions: Conversions, name: str) -> tuple[str, str, str]:
    """Value, reason and message of the condition."""
    conditions = conversions.status(name).get("conditions") or [{"status": "", "reason": "", "message": ""}]
    return conditions[0]["status"], conditions[0]["reason"], conditions[0]["message"]


def until_shown(conversions: Conversions, name: str, value: str, reason: str) -> str:
    """Wait for a condition; gives its message."""
    until(
        lambda: shown(conversions, name)[:2] == (value, reason),
        f"{name} shows {value}/{reason}",
        words=lambda: json.dumps(conversions.status(name), indent=1),
    )
    return shown(conversions, name)[2]


def failed_with(conversions: Conversions, operator: Operator, name: str, reason: str) -> Json:
    """Wait for the end, and hold status, event and metric against one another; gives the failure."""
    status = conversions.finished(name)
    failure: Json = status["failure"]
    assert failure["reason"] == reason, json.dumps(status, indent=1)
    assert shown(conversions, name) == ("False", reason, failure["message"])
    until(lambda: reason in conversions.events(name), f"the event {reason}")
    series = f'modelconversion_conversions_total{{outcome="failed",reason="{reason}"}}'
    until(lambda: operator.metric(series) >= 1, f"the metric of {reason}")
    return failure


def test_a_quota_is_said_and_waited_for(conversions, operator):
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": conversions.namespace},
        "spec": {"hard": {"pods": "0"}},
    }
    conversions.cluster.apply([quota])
    until(
        lambda: "pods" in conversions.kubectl("get", "quota", "none", "-o", "jsonpath={.status.hard}"),
        "the quota is in force",
    )
    apply(conversions, "full")
    message = until_shown(conversions, "full", "Unknown", "QuotaExceeded")
    assert message.startswith(
        "exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0; wait until"
    )
    assert conversions.status("full")["phase"] == "Pending"
    assert "QuotaExceeded" in conversions.kubectl("get", "mconv", "full", "-o", "wide")
    conversions.kubectl("delete", "quota", "none")
    failed_with(conversions, operator, "full", "SourceNotFound")
    assert conversions.events("full").count("QuotaExceeded") == 1


def test_a_policy_that_denies_the_pod(conversions, operator):
    name = conversions.namespace
    match = {
        "resourceRules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
        ]
    }
    group, scope = "admissionregistration.k8s.io/v1", {"matchLabels": {"kubernetes.io/metadata.name": name}}
    rule = {"expression": "false", "message": "pods are for tuesdays"}
    policy = {
        "apiVersion": group,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {"matchConstraints": match, "validations": [rule]},
    }
    binding = {
        "apiVersion": group,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": scope},
        },
    }
    conversions.cluster.apply([policy, binding])
    probe = ("run", "probe", "--image=none", "--dry-run=server")
    try:
        until(
            lambda: "tuesdays" in conversions.cluster.kubectl("-n", name, *probe, check=False).stderr,
            "the policy is in force",
        )
        apply(conversions, "denied", pendingDeadlineSeconds=10)
        failure = failed_with(conversions, operator, "denied", "AdmissionDenied")
    finally:
        for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            conversions.kubectl("delete", kind, name)
    assert "pods are for tuesdays" in failure["message"]
    until(lambda: conversions.jobs() == [], "the Job that can never run is removed")


def test_a_service_account_that_is_not_there(conversions, operator):
    apply(conversions, "ghost", serviceAccountName="ghost-account", pendingDeadlineSeconds=10)
    failure = failed_with(conversions, operator, "ghost", "ServiceAccountNotFound")
    assert 'serviceaccount "ghost-account" not found' in failure["message"]


def test_a_service_account_that_the_operator_does_not_allow(conversions, operator):
    apply(conversions, "climber", serviceAccountName="admin")
    failure = failed_with(conversions, operator, "climber", "PolicyViolation")
    assert "--allowed-service-accounts" in failure["message"]
    assert conversions.jobs() == []


def test_no_node_fits(conversions, operator):
    apply(conversions, "homeless", nodeSelector={"disk": "none-such"}, pendingDeadlineSeconds=20)
    message = until_shown(conversions, "homeless", "Unknown", "Unschedulable")
    assert "didn't match Pod's node affinity/selector" in message
    failed_with(conversions, operator, "homeless", "Unschedulable")
    assert conversions.events("homeless") == ["Unschedulable", "Unschedulable"]


def test_an_image_that_cannot_be_pulled_is_said_and_then_pulled(conversions, operator, kubelet):
    kept(conversions, "imageless")
    pod = kubelet.take()
    cause = 'failed to pull and unpack image "c:1": not found'
    kubelet.says(pod, waiting("ErrImagePull", cause))
    assert cause in until_shown(conversions, "imageless", "Unknown", "ImagePullFailed")
    kubelet.says(pod, waiting("ImagePullBackOff", f'Back-off pulling image "c:1": ErrImagePull: {cause}'))
    kubelet.says(pod, waiting("ErrImagePull", cause))
    kubelet.says(pod, running())
    until_shown(conversions, "imageless", "Unknown", "Running")
    assert conversions.events("imageless") == ["ImagePullFailed", "Started"]


def test_an_image_name_that_is_none_fails_at_once(conversions, operator, kubelet):
    kept(conversions, "misnamed")
    kubelet.says(kubelet.take(), waiting("InvalidImageName", "invalid reference format"))
    failed_with(conversions, operator, "misnamed", "ImagePullFailed")


def test_an_evicted_pod_is_tried_again_and_does_not_count(conversions, operator, kubelet):
    kept(conversions, "evicted", backoffLimit=0)
    pod = kubelet.take()
    kubelet.says(pod, ended(), running())
    until_shown(conversions, "evicted", "Unknown", "Running")
    words = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 52Mi. "
    target = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "TerminationByKubelet",
        "message": words,
    }
    kubelet.says(
        pod, ended(), ended(137), phase="Failed", reason="Evicted", message=words, conditions=[target]
    )
    assert "Evicted" in until_shown(conversions, "evicted", "Unknown", "Retrying")
    second = kubelet.take(2)
    kubelet.says(second, running())
    until_shown(conversions, "evicted", "Unknown", "Running")
    kubelet.says(second, ended(11), phase="Failed")
    failed_with(conversions, operator, "evicted", "SourceNotFound")
    assert conversions.events("evicted") == ["Retrying", "Started", "SourceNotFound"]


def test_killed_for_memory_until_the_tries_are_used_up(conversions, operator, kubelet):
    kept(conversions, "hungry", backoffLimit=1)
    for number in (1, 2):
        pod = kubelet.take(number)
        kubelet.says(pod, ended(), running())
        kubelet.says(pod, ended(), ended(137, "OOMKilled"), phase="Failed")
    failure = failed_with(conversions, operator, "hungry", "OutOfMemory")
    assert failure["exitCode"] == 137
    assert failure["stage"] == "Convert"


def test_running_too_long(conversions, operator, kubelet):
    kept(conversions, "slow", activeDeadlineSeconds=30)
    kubelet.says(kubelet.take(), ended(), running())
    failure = failed_with(conversions, operator, "slow", "ActiveDeadlineExceeded")
    assert failure["stage"] == "Convert"


def test_a_job_that_somebody_deleted(conversions, operator, kubelet):
    kept(conversions, "deleted")
    kubelet.says(kubelet.take(), running())
    until_shown(conversions, "deleted", "Unknown", "Running")
    (job,) = conversions.jobs()
    conversions.kubectl("delete", "job", job["metadata"]["name"], "--wait=false")
    failed_with(conversions, operator, "deleted", "JobDeleted")


def test_a_job_that_somebody_changed_is_put_right(conversions, operator, kubelet):
    kept(conversions, "meddled")
    kubelet.says(kubelet.take(), running())
    until_shown(conversions, "meddled", "Unknown", "Running")
    (job,) = conversions.jobs()
    name = job["metadata"]["name"]
    changes = {"spec": {"parallelism": 0, "backoffLimit": 9, "ttlSecondsAfterFinished": 0}}
    conversions.kubectl("patch", "job", name, "--type=merge", "-p", json.dumps(changes))
    wanted = (1, job["spec"]["backoffLimit"], job["spec"]["ttlSecondsAfterFinished"])

    def repaired() -> bool:
        spec = conversions.jobs()[0]["spec"]
        return (spec["parallelism"], spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == wanted

    until(repaired, "the Job is as it was", 60, lambda: json.dumps(conversions.jobs()[0]["spec"]))
    until(lambda: "JobChanged" in conversions.events("meddled"), "the event JobChanged")


@pytest.mark.parametrize(
    "cut",
    [
        {"labels": {"edgeml.dev/conversion-uid": None, "app.kubernetes.io/managed-by": "me"}},
        {"ownerReferences": None},
    ],
    ids=["labels", "owner"],
)
def test_a_job_that_somebody_cut_off_is_found_again(conversions, operator, kubelet, cut):
    kept(conversions, "cut")
    kubelet.says(kubelet.take(), running())
    until_shown(conversions, "cut", "Unknown", "Running")
    (job,) = conversions.jobs()
    meta = job["metadata"]
    conversions.kubectl("patch", "job", meta["name"], "--type=merge", "-p", json.dumps({"metadata": cut}))

    def repaired() -> bool:
        now = conversions.jobs()[0]["metadata"]
        return now["labels"] == meta["labels"] and now.get("ownerReferences") == meta["ownerReferences"]

    until(repaired, "the Job is ours again", 60, lambda: json.dumps(conversions.jobs()[0]["metadata"]))
    assert shown(conversions, "cut")[:2] == ("Unknown", "Running")
    until(lambda: "JobChanged" in conversions.events("cut"), "the event JobChanged")


def _forged(real: Json, job: Json, name: str, *, owned: bool) -> tuple[Json, Json]:
    """A Job and a bare pod that look like a conversion's, by somebody who may write both."""
    meta = job["metadata"]
    # The garbage collector removes what names an owner in another namespace.
    owners = meta["ownerReferences"] if owned else []
    spec = {k: v for k, v in real["spec"].items() if k != "nodeName"}
    template = {"metadata": {"labels": meta["labels"]}, "spec": spec}
    identity = {"name": name, "labels": meta["labels"], "ownerReferences": owners}
    # A pod with the Job's own selector would be adopted by the Job controller.
    labels = {k: v for k, v in real["metadata"]["labels"].items() if "controller-uid" not in k}
    bare = {"name": f"{name}-bare", "labels": labels}
    return {"metadata": identity, "spec": {"template": template}}, {"metadata": bare, "spec": spec}


def test_jobs_and_pods_of_others_say_nothing(conversions, operator, kubelet, control_plane):
    """Whoever may write Jobs or pods can write our labels on them: here, and in a namespace of their own."""
    kept(conversions, "victim")
    real = kubelet.take()
    kubelet.says(real, running())
    until_shown(conversions, "victim", "Unknown", "Running")
    (job,) = conversions.jobs()
    name = f"{conversions.namespace}-foreign"
    control_plane.create_namespace(name)
    elsewhere = Conversions(control_plane, conversions.store, name, conversions.bucket)
    done = (ended(), ended(), ended(message=published()))
    for owner, called in ((elsewhere, job["metadata"]["name"]), (conversions, "forged")):
        forged, bare = _forged(real, job, called, owned=owner is conversions)
        control_plane.api.create(f"/apis/batch/v1/namespaces/{owner.namespace}/jobs", forged)
        control_plane.api.create(f"/api/v1/namespaces/{owner.namespace}/pods", bare)
    # In the conversion's own namespace it is taken for an earlier run's, and removed.
    until(lambda: len(conversions.jobs()) == 1, "the forged Job of the same namespace is gone")
    kubelets = Kubelet(control_plane, elsewhere), kubelet
    until(
        lambda: [len(k.pods()) for k in kubelets] == [2, 2], "the foreign Job's pod, and a bare one in each"
    )
    for theirs in kubelets:
        for pod in theirs.pods():
            if pod["metadata"]["uid"] != real["metadata"]["uid"]:
                theirs.bind(pod)
                theirs.says(pod, *done, phase="Succeeded")
    until(lambda: elsewhere.jobs()[0].get("status", {}).get("succeeded") == 1, "the foreign Job is complete")
    path = f"/apis/batch/v1/namespaces/{name}/jobs/{job['metadata']['name']}"

    def writers() -> list[str]:
        return [field["manager"] for field in control_plane.api.get(path)["metadata"]["managedFields"]]

    written = writers()
    time.sleep(2)
    assert shown(conversions, "victim")[:2] == ("Unknown", "Running")
    assert writers() == written, "the operator wrote to a Job of another namespace"
    kubelet.says(real, ended(), ended(13), phase="Failed")
    failure = failed_with(conversions, operator, "victim", "StorageAccessDenied")
    assert failure["pod"] == real["metadata"]["name"]


def test_a_job_that_somebody_suspended_is_said_to_be_held_back(conversions, operator, kubelet):
    kept(conversions, "held")
    pod = kubelet.take()
    kubelet.says(pod, running())
    until_shown(conversions, "held", "Unknown", "Running")
    (job,) = conversions.jobs()
    conversions.kubectl(
        "patch", "job", job["metadata"]["name"], "--type=merge", "-p", '{"spec":{"suspend":true}}'
    )
    assert "held back" in until_shown(conversions, "held", "Unknown", "Queued")
    conversions.kubectl(
        "patch", "job", job["metadata"]["name"], "--type=merge", "-p", '{"spec":{"suspend":false}}'
    )
    kubelet.lets_go(pod)
    kubelet.says(kubelet.take(), running())
    until_shown(conversions, "held", "Unknown", "Running")


def test_a_report_that_nobody_can_read(conversions, operator, kubelet):
    kept(conversions, "garbled")
    pod = kubelet.take()
    kubelet.says(pod, ended(), ended(), running(), phase="Running")
    kubelet.says(pod, ended(), ended(), ended(message='{"version": "v9"}'), phase="Succeeded")
    until(lambda: len(conversions.jobs()) == 2, "a Job that reads the report again")
    reader = kubelet.take(2)
    assert [c["name"] for c in reader["spec"]["containers"]] == ["publish"]
    kubelet.says(reader, ended(message="neither"), phase="Succeeded")
    failed_with(conversions, operator, "garbled", "ReportLost")


def succeeds(conversions: Conversions, name: str) -> None:
    status = conversions.wait_for_phase(name, "Succeeded", "Failed")
    assert status["phase"] == "Succeeded", json.dumps(status, indent=1)
    assert status["recommended"]["method"] == "FullInteger"
    until(lambda: "Converted" in conversions.events(name), "the event Converted")


def test_a_pod_that_is_drained_as_it_publishes_has_published(conversions, operator, kubelet):
    """Five times out of five, this was ReportLost with everything in the bucket."""
    kept(conversions, "drained")
    pod = kubelet.take()
    kubelet.says(pod, ended(), ended(), running(), phase="Running")
    until_shown(conversions, "drained", "Unknown", "Running")
    conversions.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")
    kubelet.says(pod, ended(), ended(), ended(message=published()), phase="Failed", reason="Terminated")
    kubelet.lets_go(pod)
    succeeds(conversions, "drained")
    until(lambda: conversions.jobs() == [], "the Job, which would convert again, is removed")


def test_a_result_that_came_while_nobody_looked_is_read_again(conversions, operator, kubelet):
    kept(conversions, "unseen")
    pod = kubelet.take()
    kubelet.says(pod, ended(), ended(), running(), phase="Running")
    until_shown(conversions, "unseen", "Unknown", "Running")
    operator.kill()
    kubelet.says(pod, ended(), ended(), ended(message=published()), phase="Succeeded")
    (job,) = conversions.jobs()
    path = ("get", "job", job["metadata"]["name"], "-o", "jsonpath={.status.succeeded}")
    until(lambda: conversions.kubectl(*path) == "1", "the Job is complete")
    kubelet.lets_go(pod)
    until(lambda: kubelet.pods() == [], "the pod is gone")
    operator.start()
    reader = kubelet.take()
    assert reader["spec"]["containers"][0]["command"] == ["tflite-converter", "job-report"]
    kubelet.says(reader, ended(message=published()), phase="Succeeded")
    succeeds(conversions, "unseen")
    assert len(conversions.jobs()) == 2


def test_the_job_of_an_earlier_run_is_gone_before_the_next_is_made(conversions, operator, kubelet):
    """The operator died between the status and the deletion; then somebody corrected the spec."""
    kept(conversions, "twice")
    pod = kubelet.take()
    kubelet.says(pod, running())
    until_shown(conversions, "twice", "Unknown", "Running")
    operator.kill()
    (first,) = conversions.jobs()
    stamp = now()
    condition = {"type": "Succeeded", "status": "False", "reason": "JobDeleted", "lastTransitionTime": stamp}
    ending = {"phase": "Failed", "completionTime": stamp, "conditions": [condition]}
    conversions.kubectl(
        *("patch", "mconv", "twice", "--subresource=status", "--type=merge"),
        *("-p", json.dumps({"status": ending})),
    )
    conversions.patch("twice", {"methods": ["DynamicRange"]})
    operator.start()
    until_shown(conversions, "twice", "Unknown", "Created")
    time.sleep(1)
    assert [j["metadata"]["name"] for j in conversions.jobs()] == [first["metadata"]["name"]]
    assert conversions.jobs()[0]["metadata"].get("deletionTimestamp")
    kubelet.lets_go(pod)
    until(
        lambda: [j["metadata"]["name"] for j in conversions.jobs()] not in ([], [first["metadata"]["name"]]),
        "the next run's Job",
    )
    (second,) = conversions.jobs()
    assert second["metadata"]["labels"]["edgeml.dev/run-generation"] == "2"


@pytest.fixture
def injected(conversions: Conversions) -> Iterator[None]:
    """Two containers more in every pod of the namespace, once the API server has taken the policy up."""
    commands = {"istio-proxy": ["sleep", "100000"], "vault-agent": ["false"]}
    policy = injection_manifests(conversions.namespace, "busybox", commands)
    conversions.cluster.apply(policy)
    probe = (
        "run",
        "probe",
        "--image=busybox",
        "--dry-run=server",
        "-o",
        "jsonpath={.spec.containers[*].name}",
    )
    until(lambda: "istio-proxy" in conversions.kubectl(*probe), "the policy is in force")
    yield
    for made in policy:
        conversions.cluster.kubectl("delete", made["kind"], made["metadata"]["name"])


@pytest.mark.usefixtures("injected")
def test_a_result_behind_injected_containers_is_taken_and_its_job_ended(conversions, operator, kubelet):
    kept(conversions, "meshed")
    pod = kubelet.take()
    assert [c["name"] for c in pod["spec"]["containers"]] == ["publish", "istio-proxy", "vault-agent"]
    kubelet.says(pod, ended(), running(), waiting("PodInitializing"), running(), ended(2), phase="Running")
    assert "Convert" in until_shown(conversions, "meshed", "Unknown", "Running")
    kubelet.says(pod, ended(), ended(), ended(message=published()), running(), ended(2), phase="Running")
    succeeds(conversions, "meshed")
    until(lambda: conversions.jobs() == [], "the Job, which would never end, is removed", 60)


@pytest.mark.usefixtures("injected")
def test_an_injected_containers_exit_code_ends_no_job(conversions, operator, kubelet):
    kept(conversions, "coded")
    pod = kubelet.take()
    kubelet.says(pod, ended(), ended(60), phase="Pending")
    kubelet.says(pod, ended(), ended(60), waiting("PodInitializing"), ended(), ended(2), phase="Failed")
    kubelet.says(kubelet.take(2), ended(), ended(21), phase="Failed")
    failure = failed_with(conversions, operator, "coded", "UnreadableModel")
    assert failure["exitCode"] == 21


def test_what_a_store_says_is_one_line_everywhere(conversions, operator, kubelet):
    forged = "denied\n2026-01-01 00:00:00,000 INFO    x: team-b/prod: Succeeded\x1b[2J"
    report = {"version": "v1alpha1", "failure": {"stage": "Fetch", "reason": "StorageAccessDenied"}}
    report["failure"]["message"] = forged
    kept(conversions, "forger")
    pod = kubelet.take()
    kubelet.says(pod, ended(13, message=json.dumps(report)), phase="Failed")
    failure = failed_with(conversions, operator, "forger", "StorageAccessDenied")
    assert failure["message"].isprintable()
    events = json.loads(conversions.kubectl("get", "events", "-o", "json"))["items"]
    assert all(e["message"].isprintable() for e in events if e["involvedObject"]["name"] == "forger")
    lines = operator.log.read_text().splitlines()
    assert not [line for line in lines if line.startswith("2026-01-01")]


@pytest.mark.parametrize(("code", "reason"), [(21, "UnreadableModel"), (13, "StorageAccessDenied")])
def test_an_exit_code_without_a_report_is_enough(conversions, operator, kubelet, code, reason):
    kept(conversions, "mute")
    pod = kubelet.take()
    kubelet.says(pod, ended(), running())
    kubelet.says(pod, ended(), ended(code), phase="Failed")
    assert failed_with(conversions, operator, "mute", reason)["exitCode"] == code
