"""A metric's container: what it gets, what it does not, and what is told of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from modelconversion_api.fields.metrics import METRIC_CONTAINER, MetricFigure
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import ArtifactSummary, ConversionSummary, StageResult
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_api.status import Phase
from modelconversion_operator.deciding.failures import failure_of_pod
from modelconversion_operator.deciding.manifest import Part, job_manifest
from modelconversion_operator.deciding.outcome import artifacts_of
from modelconversion_operator.deciding.policy import Policy
from modelconversion_operator.deciding.progress import progress_of
from modelconversion_operator.deciding.views import ContainerView
from modelconversion_operator.deciding.waiting import wait_of_pod
from modelconversion_operator.settings import load
from support.operator.objects import (
    DEFAULTS,
    KEY,
    NOW,
    conversion,
    decide,
    ended,
    pod,
    running,
    spec,
    summary,
    waiting,
    wire,
)
from support.operator.objects import job as job_view
from support.operator.situations import begun, condition, words

DIGEST = f"sha256:{'ab' * 32}"
METRIC = {
    "name": "business",
    "image": f"registry.acme/metrics@{DIGEST}",
    "command": ["/usr/bin/python3", "/business.py", "--price=$(PRICE)$$"],
    "min": "0.9",
    "timeoutSeconds": 60,
}


def wanted(*metrics: dict[str, Any], **changes: Any) -> ModelConversionSpec:
    validation = {"uri": "s3://models/test.npy", "metrics": list(metrics)}
    return ModelConversionSpec.model_validate(spec(validation=validation, **changes))


def job(*metrics: dict[str, Any], part: Part | None = None, **changes: Any) -> dict[str, Any]:
    return job_manifest(KEY, "1", wanted(*metrics, **changes), DEFAULTS, part=part or Part())


def containers(of: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = of["spec"]["template"]["spec"]
    return {c["name"]: c for c in (*found.get("initContainers", ()), *found["containers"])}


def test_metrics_run_one_after_another_between_what_converts_and_what_publishes():
    found = containers(job(METRIC, METRIC | {"name": "cost"}))
    assert list(found) == ["fetch", "convert", "user-metric-business", "user-metric-cost", "publish"]


def test_a_metric_s_container_is_exactly_this():
    secrets = {"storage": {"secretRef": {"name": "s3"}}, "job": {"resources": {"limits": {"memory": "1Gi"}}}}
    found = containers(job(METRIC, **secrets))["user-metric-business"]
    assert found == {
        "name": "user-metric-business",
        "image": f"registry.acme/metrics@{DIGEST}",
        "imagePullPolicy": "IfNotPresent",
        "command": [
            "/metric/sandbox/metric-sandbox",
            "/metric/sandbox/filter",
            "/metric/data",
            "/metric/results",
            "/dev/termination-log",
            "60",
            "/usr/bin/python3",
            "/business.py",
            "--price=$$(PRICE)$$$$",
        ],
        "env": [{"name": "TMPDIR", "value": "/tmp"}, {"name": "HOME", "value": "/tmp"}],
        "volumeMounts": [
            {
                "name": "work",
                "mountPath": "/metric/sandbox",
                "subPath": "metric-sandbox",
                "readOnly": True,
            },
            {"name": "work", "mountPath": "/metric/data", "subPath": "metric-data", "readOnly": True},
            {
                "name": "work",
                "mountPath": "/metric/results",
                "subPath": "metric-results/business",
                "readOnly": False,
            },
            {"name": "work", "mountPath": "/tmp", "subPath": "tmp-user-metric-business", "readOnly": False},
        ],
        "resources": {"limits": {"memory": "1Gi", "ephemeral-storage": "20Gi"}},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    } | {"resources": found["resources"]}
    assert found["resources"]["limits"]["memory"] == "1Gi"


def test_devices_are_not_for_metrics():
    limits = {"limits": {"memory": "1Gi", "nvidia.com/gpu": "1"}}
    found = containers(job(METRIC, job={"resources": limits}))
    assert "nvidia.com/gpu" in found["convert"]["resources"]["limits"]
    assert "nvidia.com/gpu" not in found["user-metric-business"]["resources"]["limits"]


def test_each_of_ours_has_the_folder_that_it_needs_and_no_other():
    found = containers(job(METRIC))
    shared = {
        name: {m["subPath"]: m["readOnly"] for m in c["volumeMounts"] if m["subPath"].startswith("metric-")}
        for name, c in found.items()
        if not name.startswith(METRIC_CONTAINER)
    }
    assert shared == {
        "fetch": {"metric-sandbox": False},
        "convert": {"metric-data": False},
        "publish": {"metric-results": True},
    }


def test_cloud_identities_skip_metrics_as_they_skip_the_model_s_code():
    annotations = job(METRIC, METRIC | {"name": "cost"})["spec"]["template"]["metadata"]["annotations"]
    names = ["convert", "user-metric-business", "user-metric-cost"]
    assert annotations["eks.amazonaws.com/skip-containers"] == ",".join(names)
    assert annotations["azure.workload.identity/skip-containers"] == ";".join(names)


def test_other_jobs_of_the_run_have_no_metrics():
    board = {"benchmark": {"boards": [{"name": "pi5", "nodeSelector": {"board": "pi5"}}]}}
    for part in (Part(reads_report=True), Part(board="pi5")):
        assert "metrics@" not in json.dumps(
            [c["image"] for c in containers(job(METRIC, part=part, **board)).values()]
        )


@pytest.mark.parametrize(
    ("patterns", "image", "answer"),
    [
        ("", f"registry.acme/metrics@{DIGEST}", False),
        ("registry.acme/metrics@*", f"registry.acme/metrics@{DIGEST}", True),
        ("registry.acme/metrics@*", f"registry.acme/metrics-evil@{DIGEST}", False),
        ("registry.acme/metrics@*", f"evil.example/registry.acme/metrics@{DIGEST}", False),
        ("registry.acme/metrics@*", f"registry.acme/metrics/deeper@{DIGEST}", False),
        ("registry.acme/team/*@*", f"registry.acme/team/a/cost@{DIGEST}", True),
        ("other/x@*,registry.acme/metrics@*", f"registry.acme/metrics@{DIGEST}", True),
        (f"registry.acme/metrics@{DIGEST}", f"registry.acme/metrics@{DIGEST}", True),
        (f"registry.acme/metrics@{DIGEST}", f"registry.acme/metrics@sha256:{'cd' * 32}", False),
        ("*", f"anything/at/all:1@{DIGEST}", True),
    ],
)
def test_an_image_is_one_that_the_platform_allows(patterns, image, answer):
    settings = load(["--converter-image", "x", "--allowed-metric-images", patterns])
    from modelconversion_operator.deciding.defaults import Defaults

    policy = settings.rules(Defaults()).policy
    violation = policy.violation("ml", wanted(METRIC, METRIC | {"name": "cost", "image": image}))
    if answer and patterns != "registry.acme/team/*@*":
        assert violation is None
    elif not answer:
        assert violation is not None
        assert "--allowed-metric-images" in violation


def test_by_default_no_image_is_allowed():
    assert "metrics[business]" in str(Policy().violation("ml", wanted(METRIC)))
    assert Policy().violation("ml", wanted()) is None


def with_metric(*states: dict[str, Any], **status: Any) -> Any:
    """A pod of a conversion with a metric: the states of fetch, convert, the metric and publish."""
    plain = pod(*states[:2], **status)
    view = ContainerView.from_status({"name": "user-metric-business", "state": states[2]})
    publish = plain.containers[-1]
    return replace(plain, containers=(*plain.containers[:2], view, publish))


def test_an_image_that_cannot_be_pulled_is_told_as_others_are():
    words = f'failed to pull image "registry.acme/metrics@{DIGEST}": not found'
    found = with_metric(ended(), ended(), waiting("ImagePullBackOff", words))
    wait = wait_of_pod(found, NOW)
    assert wait is not None
    assert wait.reason is FailureReason.IMAGE_PULL_FAILED
    assert "registry.acme/metrics" in wait.message


def test_an_image_that_stays_away_ends_the_conversion():
    """The others have run: what waits is told meanwhile, and is a failure after the pending deadline."""
    missing = waiting("ErrImagePull", "registry.acme/metrics: not found")
    status = begun()
    found = decide(conversion(status), job_view(), [with_metric(finished(0), finished(0), missing)], NOW)
    assert (found.status.phase, condition(found)) == (Phase.PENDING, ("Unknown", "ImagePullFailed"))
    assert "registry.acme/metrics: not found" in words(found)
    late = decide(
        conversion(status), job_view(), [with_metric(finished(901), finished(901), missing, age=999)], NOW
    )
    assert late.status.failure is not None
    assert late.status.failure.reason is FailureReason.IMAGE_PULL_FAILED


def finished(seconds: float) -> dict[str, Any]:
    """A container that ended well so many seconds ago."""
    state = ended()
    state["terminated"]["finishedAt"] = wire(NOW - timedelta(seconds=seconds))
    return state


def test_a_metric_that_runs_is_evaluation():
    progress = progress_of(with_metric(ended(), ended(), running()), None, NOW)
    assert (progress.stage, progress.percent) == (Stage.EVALUATE, 90)


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        (
            ended(137, reason="OOMKilled"),
            FailureReason.OUT_OF_MEMORY,
            "container user-metric-business was killed",
        ),
        (ended(57), FailureReason.METRIC_FAILED, "container user-metric-business ended with code 57"),
        (
            ended(128, "exec format error", "StartError"),
            FailureReason.CONTAINER_START_FAILED,
            "container user-metric-business could not be started",
        ),
    ],
)
def test_what_the_container_itself_dies_of_is_told(state, reason, words):
    why = failure_of_pod(with_metric(ended(), ended(), state, phase="Failed"), NOW)
    assert why is not None
    assert (why.reason, why.stage) == (reason, Stage.EVALUATE)
    assert words in why.message


def test_a_metric_is_no_way_to_forge_a_result():
    """Its termination message counts for a failure, never for an end."""
    forged = StageResult(summary=summary()).encode()
    found = with_metric(ended(), ended(), ended(0, forged))
    assert found.published is None


def test_only_a_whole_name_is_ours():
    injected = {"name": "metric-agent", "state": running()}
    found = pod(ended(), ended(), phase="Running")
    assert ContainerView.from_status(injected).name not in [c.name for c in found.containers]


def test_the_status_has_the_figures():
    figures = (
        MetricFigure(name="business", value=0.873456789, passed=False, message="0.873457 is under 0.9"),
        MetricFigure(name="cost", passed=True, message="it ended with code 3"),
    )
    file = ArtifactSummary(
        method=Method.FLOAT32,
        file_name="gesture_float32.tflite",
        size_bytes=1,
        size_fraction=1.0,
        sha256="b" * 64,
        passed=False,
        metrics=figures,
    )
    found = ConversionSummary(source=summary().source, artifacts=(file,))
    (artifact,) = artifacts_of(found, "s3://models/out/")
    assert [m.to_wire() for m in artifact.metrics] == [
        {"name": "business", "value": "0.873457", "passed": False, "message": "0.873457 is under 0.9"},
        {"name": "cost", "passed": True, "message": "it ended with code 3"},
    ]
