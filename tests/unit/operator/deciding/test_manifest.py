"""The Job: what it may reach, and what it may not."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.request import request_from_spec
from modelconversion_api.spec import NAME_MAX_LENGTH, ModelConversionSpec, SourceFormat
from modelconversion_api.status import run_name
from modelconversion_operator.deciding.manifest import (
    JobSettings,
    Part,
    job_manifest,
    job_name,
    request_problem,
)
from modelconversion_operator.deciding.policy import secrets_of
from modelconversion_operator.deciding.views import Key
from support.operator.objects import DEFAULTS, KEY, manifest, spec


def pod_spec(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


def containers(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    pod = pod_spec(job)
    return {c["name"]: c for c in (*pod["initContainers"], *pod["containers"])}


def from_secret(variable: dict[str, Any]) -> bool:
    return "secretKeyRef" in variable.get("valueFrom", {})


def test_the_containers_run_in_the_order_of_the_stages():
    pod = pod_spec(manifest())
    assert [c["name"] for c in (*pod["initContainers"], *pod["containers"])] == [
        "fetch",
        "convert",
        "publish",
    ]


ENGINES = {
    SourceFormat.ONNX: "converter-onnx:1",
    SourceFormat.PYTORCH: "converter-pytorch:1",
    SourceFormat.STABLEHLO: "converter-jax:1",
}


@pytest.mark.parametrize(
    ("source", "image"),
    [
        ({"uri": "s3://models/net.onnx"}, "converter-onnx:1"),
        ({"uri": "s3://models/NET.ONNX"}, "converter-onnx:1"),
        ({"uri": "s3://models/net.zip", "format": "ONNX"}, "converter-onnx:1"),
        ({"uri": "s3://models/net/", "format": "ONNX"}, "converter-onnx:1"),
        ({"uri": "s3://models/net.jax"}, "converter-jax:1"),
        ({"uri": "s3://models/NET.StableHLO"}, "converter-jax:1"),
        ({"uri": "s3://models/net.mlirbc"}, "converter-jax:1"),
        ({"uri": "s3://models/net.bin", "format": "StableHLO"}, "converter-jax:1"),
        ({"uri": "s3://models/net.jax", "format": "ONNX"}, "converter-onnx:1"),
        ({"uri": "s3://models/net.h5"}, "converter:1"),
        ({"uri": "s3://models/net.onnx", "format": "KerasH5"}, "converter:1"),
        ({"uri": "s3://models/net.pt2"}, "converter-pytorch:1"),
        ({"uri": "s3://models/net", "format": "PyTorch"}, "converter-pytorch:1"),
        ({"uri": "s3://models/net.pt2", "format": "ONNX"}, "converter-onnx:1"),
        ({"uri": "s3://models/net.pt"}, "converter:1"),
        ({"uri": "s3://models/net.onnx/"}, "converter:1"),
    ],
)
def test_only_what_touches_the_model_has_an_engine(source, image):
    settings = JobSettings(image="converter:1", engines=ENGINES)
    job = job_manifest(KEY, "1", ModelConversionSpec.model_validate(spec(source=source)), settings)
    images = {name: container["image"] for name, container in containers(job).items()}
    assert images == {"fetch": "converter:1", "convert": image, "publish": "converter:1"}


@pytest.mark.parametrize(
    ("source", "chosen", "nodes"),
    [
        ("s3://models/net.jax", None, {"kubernetes.io/arch": "amd64"}),
        ("s3://models/net.jax", {"disk": "ssd"}, {"kubernetes.io/arch": "amd64", "disk": "ssd"}),
        ("s3://models/net.jax", {"kubernetes.io/arch": "arm64"}, {"kubernetes.io/arch": "arm64"}),
        ("s3://models/net.onnx", None, None),
        ("s3://models/net.h5", None, None),
        ("s3://models/net.h5", {"disk": "ssd"}, {"disk": "ssd"}),
    ],
)
def test_an_engine_for_one_architecture_runs_on_nodes_of_it(source, chosen, nodes):
    settings = JobSettings(image="c:1", engines=ENGINES, engine_architectures={"StableHLO": "amd64"})
    job = {} if chosen is None else {"job": {"nodeSelector": chosen}}
    wanted = ModelConversionSpec.model_validate(spec(source={"uri": source}, **job))
    assert pod_spec(job_manifest(KEY, "1", wanted, settings)).get("nodeSelector") == nodes


def test_credentials_reach_fetch_and_publish_only():
    with_secret = {
        name: [e["name"] for e in c["env"] if from_secret(e)] for name, c in containers(manifest()).items()
    }
    keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
    keys.append("CONVERSION_CREDENTIALS_ENDPOINT")
    assert with_secret == {"fetch": keys, "convert": [], "publish": keys}
    assert "s3-credentials" not in json.dumps(containers(manifest())["convert"])


SIGNING = {"uri": "s3://models/out/", "signing": {"secretRef": {"name": "signing-key", "key": "ec.pem"}}}


def test_the_signing_key_reaches_publish_only():
    job = manifest(output=SIGNING)
    holders = {
        name: [e["valueFrom"]["secretKeyRef"] for e in c["env"] if e["name"] == "CONVERSION_SIGNING_KEY"]
        for name, c in containers(job).items()
    }
    reference = {"name": "signing-key", "key": "ec.pem", "optional": True}
    assert holders == {"fetch": [], "convert": [], "publish": [reference]}
    # The request names the Secret, as the resource does; what is in it reaches one container.
    references = {
        name: {e["valueFrom"]["secretKeyRef"]["name"] for e in c["env"] if from_secret(e)}
        for name, c in containers(job).items()
    }
    assert references == {
        "fetch": {"s3-credentials"},
        "convert": set(),
        "publish": {"s3-credentials", "signing-key"},
    }
    assert "secretKeyRef" not in json.dumps(containers(job)["convert"])
    assert not [v for v in pod_spec(job)["volumes"] if "secret" in v]


def test_the_hub_s_token_reaches_fetch_only():
    job = manifest(huggingFace={"secretRef": {"name": "hub"}})
    holders = {
        name: [e["valueFrom"]["secretKeyRef"] for e in c["env"] if e["name"] == "CONVERSION_HUB_TOKEN"]
        for name, c in containers(job).items()
    }
    reference = {"name": "hub", "key": "HF_TOKEN", "optional": False}
    assert holders == {"fetch": [reference], "convert": [], "publish": []}


def test_only_the_container_that_converts_is_asked_how_far_it_is():
    address = {
        "name": "CONVERSION_PROGRESS_ADDRESS",
        "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}},
    }
    asked = {name: address in c["env"] and "ports" in c for name, c in containers(manifest()).items()}
    assert asked == {"fetch": False, "convert": True, "publish": False}
    quiet = job_manifest(
        KEY, "1", ModelConversionSpec.model_validate(spec()), JobSettings("i", asks_progress=False)
    )
    assert "podIP" not in json.dumps(quiet)
    assert "containerPort" not in json.dumps(quiet)


def test_the_containers_log_in_the_operator_s_form():
    assert "CONVERSION_LOG_FORMAT" not in json.dumps(manifest())
    job = job_manifest(KEY, "1", ModelConversionSpec.model_validate(spec()), JobSettings("i", logs_json=True))
    variable = {"name": "CONVERSION_LOG_FORMAT", "value": "json"}
    assert all(variable in container["env"] for container in containers(job).values())


OCI = {"repository": "registry.example.com/edge/gesture", "secretRef": {"name": "logins"}}


def test_the_logins_of_a_registry_reach_publish_only():
    pushing = {"uri": "s3://models/out/", "oci": OCI}
    found = {
        name: [e for e in c["env"] if e["name"] == "CONVERSION_REGISTRY_LOGINS"]
        for name, c in containers(manifest(output=pushing)).items()
    }
    reference = {"name": "logins", "key": ".dockerconfigjson", "optional": True}
    assert found.pop("publish")[0]["valueFrom"]["secretKeyRef"] == reference
    assert list(found.values()) == [[], []]
    wanted = ModelConversionSpec.model_validate(spec(output=pushing))
    again = job_manifest(KEY, "1", wanted, DEFAULTS, part=Part(reads_report=True))
    assert "CONVERSION_REGISTRY_LOGINS" not in json.dumps(again), "a report is read without them"
    assert "logins" in secrets_of(wanted)


def test_without_signing_no_container_asks_for_a_key():
    assert "CONVERSION_SIGNING_KEY" not in json.dumps(manifest())


def test_no_container_gets_an_api_token_and_cloud_identities_skip_the_model_code():
    job = manifest()
    assert pod_spec(job)["automountServiceAccountToken"] is False
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    assert annotations["eks.amazonaws.com/skip-containers"] == "convert"


def test_the_model_code_cannot_change_what_was_fetched_and_publish_changes_nothing():
    mounts = {
        name: {m["mountPath"]: m["readOnly"] for m in c["volumeMounts"]}
        for name, c in containers(manifest()).items()
    }
    assert mounts == {
        "fetch": {"/work/input": False, "/tmp": False},
        "convert": {"/work/input": True, "/work/output": False, "/tmp": False},
        "publish": {"/work/input": True, "/work/output": True, "/tmp": False},
    }
    temporary = {
        m["subPath"]
        for c in containers(manifest()).values()
        for m in c["volumeMounts"]
        if m["mountPath"] == "/tmp"
    }
    assert len(temporary) == 3


def test_pods_meet_the_restricted_pod_security_standard():
    pod = pod_spec(manifest())
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(manifest()).values():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert [set(v) for v in pod["volumes"]] == [{"name", "emptyDir"}]


def test_permanent_failures_are_not_retried_and_disruptions_do_not_count():
    ignore, *fails = manifest()["spec"]["podFailurePolicy"]["rules"]
    assert ignore["action"] == "Ignore"
    assert ignore["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert [fail["onExitCodes"]["containerName"] for fail in fails] == [
        "fetch",
        "convert",
        "publish",
    ]
    for fail in fails:
        assert fail["action"] == "FailJob"
        assert {2, 11, 14, 21} <= set(fail["onExitCodes"]["values"])
        assert not {0, 1, 60, 62, 137} & set(fail["onExitCodes"]["values"])


def test_the_owner_reference_removes_the_job_with_the_conversion():
    (owner,) = manifest()["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("ModelConversion", KEY.uid, True)
    assert owner["blockOwnerDeletion"] is False


def test_a_result_outlives_a_short_ttl_until_it_is_harvested():
    assert manifest(job={"ttlSecondsAfterFinished": 0})["spec"]["ttlSecondsAfterFinished"] == 3600
    assert manifest(job={"ttlSecondsAfterFinished": 7200})["spec"]["ttlSecondsAfterFinished"] == 7200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("nodeSelector", {"disk": "ssd"}),
        ("tolerations", [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]),
        ("serviceAccountName", "converter"),
        ("priorityClassName", "batch-low"),
        ("imagePullSecrets", [{"name": "registry"}]),
        (
            "affinity",
            {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": "arch", "operator": "In", "values": ["amd64"]}]}
                        ]
                    }
                }
            },
        ),
    ],
)
def test_scheduling_fields_are_passed_on_as_written(field, value):
    assert pod_spec(manifest(job={field: value}))[field] == value


def test_resources_of_the_conversion_win_over_the_operator_defaults():
    wanted = {"limits": {"memory": "8Gi"}, "requests": {"cpu": 2}}
    for container in containers(manifest(job={"resources": wanted})).values():
        assert container["resources"] == {
            "limits": {"memory": "8Gi", "ephemeral-storage": "20Gi"},
            "requests": {"cpu": 2, "ephemeral-storage": "1Gi"},
        }


def expanded(value: str) -> str:
    """What the kubelet makes of a variable's value, by Kubernetes's page on dependent variables."""
    return re.sub(r"\$\$|\$\((\w+)\)", lambda m: "$" if m[0] == "$$" else "the secret", value)


@pytest.mark.parametrize(
    "key", ["a$$b.h5", "$(AWS_SECRET_ACCESS_KEY).h5", "$$(HOME)", "$$$$$", "$x$", "100%$("]
)
def test_nothing_in_a_uri_is_a_variable_to_the_kubelet(key):
    uri = f"s3://models/{key}"
    for container in containers(manifest(source={"uri": uri})).values():
        (text,) = (e["value"] for e in container["env"] if e["name"] == "CONVERSION_REQUEST")
        assert json.loads(expanded(text))["source"]["uri"] == uri


CERTIFICATE = "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (CERTIFICATE, CERTIFICATE),
        ("# Főtanúsítvány\n" + CERTIFICATE + "Ж" * 60000, CERTIFICATE),
        (CERTIFICATE * 2, CERTIFICATE * 2),
        (CERTIFICATE.replace("YQ==", "YЖ=="), ""),
        ("-----BEGIN TRUSTED CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----", ""),
        ("no PEM", ""),
    ],
)
def test_a_ca_bundle_is_passed_on_without_what_is_around_its_certificates(given, told):
    storage = {"endpoint": "https://s3:9000", "caBundle": given}
    request = request_from_spec(ModelConversionSpec.model_validate(spec(storage=storage)))
    assert request.storage.ca_bundle == told


@pytest.mark.parametrize(("lines", "fits"), [(1000, True), (63_000, True), (65_400, False)])
def test_a_request_that_no_program_could_be_given_is_told_before_a_job_is_made(lines, fits):
    """Linux takes 131,072 bytes in one variable; in JSON a line break is two of them."""
    bundle = CERTIFICATE.replace("YQ==", "YQ==" + "\n" * lines)
    storage = {"endpoint": "https://s3:9000", "caBundle": bundle}
    wanted = ModelConversionSpec.model_validate(spec(storage=storage))
    assert (request_problem(wanted, DEFAULTS) is None) is fits
    request = containers(manifest(storage=storage))["fetch"]["env"][0]
    assert (len(f"CONVERSION_REQUEST={request['value']}".encode()) + 1 <= 131072) is fits


names = st.from_regex(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?", fullmatch=True)


runs = st.tuples(st.integers(1, 10**6), st.none() | st.text(max_size=63))


@given(names, st.uuids(), runs, runs)
def test_job_names_are_valid_stable_and_differ_between_runs(name, uid, one, other):
    assert len(name) <= NAME_MAX_LENGTH
    key, first, second = Key("ns", name, str(uid)), run_name(*one), run_name(*other)
    assert len(job_name(key, first)) <= 63
    assert job_name(key, first) == job_name(key, first)
    assert (job_name(key, first) == job_name(key, second)) == (one == other)
