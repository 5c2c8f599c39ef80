"""Store, status patches, settings, metrics and the web server of the operator."""

from __future__ import annotations

import socket
from dataclasses import replace

import httpx
import pytest
import yaml

from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason
from modelconversion_api.status import FailureInfo, ModelConversionStatus, Phase
from modelconversion_operator.cluster.store import Store
from modelconversion_operator.deciding.bookkeeping import status_changes
from modelconversion_operator.deciding.defaults import Defaults
from modelconversion_operator.deciding.views import spec_digest
from modelconversion_operator.errors import (
    ConflictError,
    NotFoundError,
    RejectedError,
    SettingsError,
    UnavailableError,
    api_error,
)
from modelconversion_operator.settings import load
from modelconversion_operator.telemetry.metrics import Metrics
from modelconversion_operator.telemetry.web import serve
from support.operator.objects import (
    KEY,
    NOW,
    conversion,
    decide,
    ended,
    job,
    pod,
    published,
    running,
    summary,
    waiting,
)
from support.paths import REPOSITORY


def test_an_older_view_never_replaces_a_newer_one():
    store = Store()
    assert store.put_conversion(replace(conversion(), resource_version="10"))
    assert not store.put_conversion(replace(conversion(), resource_version="9"))
    assert store.put_conversion(replace(conversion(generation=2), resource_version="100"))
    seen = store.conversion(KEY.uid)
    assert seen is not None
    assert seen.generation == 2


def test_a_job_made_again_under_its_name_is_another_job():
    store = Store()
    store.put_job(replace(job(), uid="first", resource_version="50"))
    store.put_job(replace(job(), uid="second", resource_version="40"))
    known = store.job(KEY, job().name)
    assert known is not None
    assert known.uid == "second"
    store.drop_job(replace(job(), uid="first"))
    assert store.job(KEY, job().name) is not None


def test_what_belongs_to_a_conversion_goes_with_it():
    store = Store()
    store.put_conversion(conversion())
    store.put_job(job())
    store.put_pod(pod())
    store.drop_conversion(KEY)
    assert len(store) == 0
    assert store.job(KEY, job().name) is None
    assert store.pods(KEY, job().uid) == []


def test_what_is_gone_leaves_nothing_in_memory():
    store = Store()
    store.put_job(job())
    store.put_pod(pod())
    store.drop_pod(pod())
    store.drop_job(job())
    assert vars(store) == vars(Store())


def test_only_what_a_decision_could_depend_on_is_a_change():
    store = Store()
    assert store.put_job(job())
    assert not store.put_job(replace(job(), resource_version="90"))
    assert store.put_job(replace(job(complete=True), resource_version="91"))
    assert not store.put_pod(pod(phase="Pending"))
    assert not store.put_pod(replace(pod(phase="Pending"), resource_version="92"))
    assert store.put_pod(replace(pod(running()), resource_version="93"))
    assert store.put_pod(pod(waiting("ImagePullBackOff"), phase="Pending", name="stuck"))


def test_only_pods_of_the_run_are_given():
    store = Store()
    store.put_pod(pod(name="old", run_generation=1))
    store.put_pod(pod(name="new", run_generation=2))
    assert [p.name for p in store.pods(KEY, job(2).uid)] == ["new"]


def test_a_status_patch_holds_changes_and_removes_what_is_gone():
    before = {"phase": "Failed", "failure": {"reason": "x"}, "runGeneration": 1, "somebodyElses": 1}
    after = ModelConversionStatus(phase=Phase.PENDING, run_generation=1)
    assert status_changes(before, after) == {
        "phase": "Pending",
        "failure": None,
        "artifacts": [],
        "failedMethods": [],
        "measurements": [],
        "oci": [],
        "stages": [],
        "conditions": [],
    }
    assert status_changes(after.to_wire(), after) == {}


def test_the_digest_ignores_defaults_and_what_may_change():
    from modelconversion_api.spec import ModelConversionSpec
    from support.operator.objects import spec

    def digest(**changes):
        return spec_digest(ModelConversionSpec.model_validate(spec(**changes)))

    same = [{"suspend": True}, {"job": {}}, {"job": {"ttlSecondsAfterFinished": 1, "backoffLimit": 2}}]
    assert {digest(**c) for c in same} == {digest()}
    assert digest(job={"backoffLimit": 3}) != digest()
    assert digest(methods=["Float16"]) != digest()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, NotFoundError),
        (409, ConflictError),
        (400, RejectedError),
        (403, RejectedError),
        (422, RejectedError),
        (429, UnavailableError),
        (500, UnavailableError),
        (503, UnavailableError),
    ],
)
def test_answers_become_exceptions(status, error):
    assert type(api_error(status, "words")) is error


def test_settings_come_from_flags_over_the_environment(monkeypatch):
    monkeypatch.setenv("MODELCONVERSION_CONVERTER_IMAGE", "from-environment")
    monkeypatch.setenv("MODELCONVERSION_HTTP_PORT", "9000")
    settings = load(
        [
            "--http-port",
            "9001",
            "--namespaces",
            "a,b",
            "--engines",
            "ONNX=r:5000/x@sha256:1=",
            "--engine-architectures",
            "StableHLO=amd64,ONNX=arm64",
        ]
    )
    assert (settings.converter_image, settings.http_port) == ("from-environment", 9001)
    assert settings.namespace_list == ["a", "b"]
    jobs = settings.rules(Defaults()).jobs
    assert (jobs.image, jobs.engines) == ("from-environment", {"ONNX": "r:5000/x@sha256:1="})
    assert jobs.engine_architectures == {"StableHLO": "amd64", "ONNX": "arm64"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], r"--converter-image \(MODELCONVERSION_CONVERTER_IMAGE\)"),
        (["--converter-image", "x", "--http-port", "70000"], "--http-port"),
        (["--converter-image", "x", "--namespaces", "Not_A_Namespace"], "--namespaces"),
        (["--converter-image", "x", "--log-format", "xml"], "--log-format"),
        (["--converter-image", "x", "--image-pull-policy", "Maybe"], "--image-pull-policy"),
        (
            ["--converter-image", "x", "--engines", "Caffe=y"],
            "'Caffe=y' is not FORMAT=IMAGE with a format of ONNX, PyTorch, StableHLO",
        ),
        (["--converter-image", "x", "--engines", "ONNX="], "--engines"),
        (
            ["--converter-image", "x", "--engine-architectures", "ONNX=linux/arm64"],
            "FORMAT=ARCHITECTURE with",
        ),
    ],
)
def test_wrong_settings_name_the_flag_and_the_variable(arguments, words, monkeypatch):
    monkeypatch.delenv("MODELCONVERSION_CONVERTER_IMAGE", raising=False)
    with pytest.raises(SettingsError, match=words):
        load(arguments)


def samples(metrics: Metrics) -> dict[str, float]:
    return {
        s.name + "".join(f"|{v}" for v in s.labels.values()): s.value
        for family in metrics.registry.collect()
        for s in family.samples
    }


def test_metrics_of_a_success():
    metrics = Metrics()
    status = ModelConversionStatus(phase=Phase.SUCCEEDED, start_time=NOW, completion_time=NOW)
    metrics.conversion_ended(status, summary())
    seen = samples(metrics)
    assert seen["modelconversion_conversions_total|succeeded|Converted"] == 1
    assert seen["modelconversion_duration_seconds_count|succeeded"] == 1
    assert seen["modelconversion_stage_duration_seconds_sum|Convert"] == 3.1
    assert seen["modelconversion_artifact_bytes_total|FullInteger"] == 24576
    assert seen["modelconversion_artifact_agreement_count|FullInteger"] == 1


def test_metrics_of_a_method_that_failed_beside_others():
    metrics = Metrics()
    status = ModelConversionStatus(phase=Phase.SUCCEEDED, start_time=NOW, completion_time=NOW)
    name = "modelconversion_method_failures_total"
    assert samples(metrics)[f"{name}|Float16|QuantizationFailed"] == 0
    metrics.conversion_ended(status, summary(without=(Method.FLOAT16,)))
    seen = samples(metrics)
    assert seen[f"{name}|Float16|QuantizationFailed"] == 1
    assert seen["modelconversion_conversions_total|succeeded|Converted"] == 1
    assert sum(value for sample, value in seen.items() if sample.startswith(name)) == 1


def test_metrics_of_a_failure():
    metrics = Metrics()
    failure = FailureInfo(reason=FailureReason.UNREADABLE_MODEL, message="x", time=NOW)
    metrics.conversion_ended(ModelConversionStatus(phase=Phase.FAILED, failure=failure), None)
    seen = samples(metrics)
    assert seen["modelconversion_conversions_total|failed|UnreadableModel"] == 1
    assert seen["modelconversion_conversions_total|succeeded|Converted"] == 0


def test_no_metric_carries_the_name_of_an_object():
    metrics = Metrics()
    metrics.observe(lambda: {"Running": 2}, lambda: 3)
    metrics.conversion_ended(
        decide(
            conversion(ModelConversionStatus(phase=Phase.RUNNING, run_generation=1, job_name=job().name)),
            job(complete=True),
            [pod(ended(), ended(), ended(message=published()), phase="Succeeded")],
            NOW,
        ).status,
        summary(),
    )
    seen = samples(metrics)
    assert seen["modelconversion_resources|Running"] == 2
    assert seen["modelconversion_queue_depth"] == 3
    allowed = {"outcome", "signal", "reason", "stage", "method", "phase", "error", "le"}
    allowed |= {"compiler", "placement", "memory"}
    for family in metrics.registry.collect():
        assert {name for s in family.samples for name in s.labels} <= allowed


async def test_probes_say_what_is_wrong():
    problems: list[str | None] = ["a worker has been busy for 200 s"]
    async with (
        serve("127.0.0.1", 0, Metrics().registry, lambda: problems[0], lambda: None, lambda: "but") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        sick = await client.get("/healthz")
        assert (sick.status_code, sick.text) == (503, "a worker has been busy for 200 s")
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.text) == (200, "ok\nbut")
        problems[0] = None
        assert (await client.get("/healthz")).status_code == 200
        assert "modelconversion_conversions_total" in (await client.get("/metrics")).text


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_without_an_address_it_serves_ipv4_and_ipv6(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.bind((address, 0))
            free = probe.getsockname()[1]
    except OSError:
        pytest.skip(f"this machine has no {address}")
    host = f"[{address}]" if ":" in address else address
    async with (
        serve("", free, Metrics().registry, lambda: None, lambda: None) as port,
        httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False) as client,
    ):
        assert (await client.get("/readyz")).status_code == 200


async def test_a_port_that_is_taken_is_a_clear_error():
    async with serve("127.0.0.1", 0, Metrics().registry, lambda: None, lambda: None) as port:
        with pytest.raises(SettingsError, match=f"cannot serve on 127.0.0.1:{port}"):
            async with serve("127.0.0.1", port, Metrics().registry, lambda: None, lambda: None):
                pass


def test_the_operator_may_read_no_secret_and_change_nothing_but_jobs_and_its_status():
    path = REPOSITORY / "helm" / "model-conversion-operator" / "files" / "operator-rules.yaml"
    rules = yaml.safe_load(path.read_text())["rules"]
    assert not [r for r in rules if "*" in (*r["apiGroups"], *r["resources"], *r["verbs"])]
    writes = {
        (resource, verb)
        for r in rules
        for resource in r["resources"]
        for verb in r["verbs"]
        if verb not in ("get", "list", "watch")
    }
    assert writes == {
        ("modelconversions", "create"),  # members of sets, and in dry runs, which make nothing
        ("modelconversions", "patch"),  # members are suspended with their set
        ("modelconversions", "delete"),
        ("modelconversions/status", "patch"),
        ("modelconversionsets/status", "patch"),
        ("modelconversionsets", "create"),  # what triggers make
        ("modelconversionsets", "delete"),  # and their history keeps no more
        ("modelconversiontriggers/status", "patch"),
        ("modelchannels/status", "patch"),
        ("localsubjectaccessreviews", "create"),  # a question, which changes nothing
        ("jobs", "create"),
        ("jobs", "patch"),
        ("jobs", "delete"),
        ("events", "create"),
    }
    assert "secrets" not in {resource for r in rules for resource in r["resources"]}
