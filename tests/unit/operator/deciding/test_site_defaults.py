"""What the platform says for conversions that say nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from modelconversion_api.spec import ModelConversionSpec
from modelconversion_operator.deciding.defaults import Defaults, read_defaults
from modelconversion_operator.deciding.manifest import JobSettings, job_manifest
from modelconversion_operator.errors import SettingsError
from support.operator.objects import KEY, spec

SITE = {
    "storage": {"endpoint": "https://s3.site.svc:9000", "secretRef": {"name": "site-credentials"}},
    "job": {
        "resources": {"limits": {"memory": "2Gi"}},
        "nodeSelector": {"pool": "batch"},
        "tolerations": [{"key": "batch", "operator": "Exists"}],
        "serviceAccountName": "converter",
        "priorityClassName": "low",
        "imagePullSecrets": [{"name": "registry"}],
        "podLabels": {"team": "edge", "app.kubernetes.io/managed-by": "me"},
        "podAnnotations": {"sidecar.istio.io/inject": "false"},
    },
}


def template(site: dict[str, Any], **changes: Any) -> dict[str, Any]:
    wanted = ModelConversionSpec.model_validate(spec(**changes))
    settings = JobSettings("converter:test", defaults=Defaults.model_validate(site))
    found: dict[str, Any] = job_manifest(KEY, "1", wanted, settings)["spec"]["template"]
    return found


def request(pod: dict[str, Any]) -> dict[str, Any]:
    (text,) = (e["value"] for e in pod["containers"][0]["env"] if e["name"] == "CONVERSION_REQUEST")
    found: dict[str, Any] = json.loads(text)
    return found


def secrets(pod: dict[str, Any]) -> set[str]:
    return {
        e["valueFrom"]["secretKeyRef"]["name"]
        for e in pod["initContainers"][0]["env"]
        if "secretKeyRef" in e.get("valueFrom", {})
    }


def test_a_conversion_without_a_store_gets_the_platform_s():
    pod = template(SITE, storage={})["spec"]
    assert request(pod)["storage"]["endpoint"] == "https://s3.site.svc:9000"
    assert secrets(pod) == {"site-credentials"}


def test_a_conversion_with_a_store_gets_nothing_of_the_platform_s():
    pod = template(SITE, storage={"endpoint": "https://own.example"})["spec"]
    assert request(pod)["storage"]["endpoint"] == "https://own.example"
    assert secrets(pod) == set()


@pytest.mark.parametrize(
    ("field", "own"),
    [
        ("nodeSelector", {"pool": "fast"}),
        ("tolerations", [{"operator": "Exists"}]),
        ("priorityClassName", "high"),
        ("serviceAccountName", "own"),
        ("imagePullSecrets", [{"name": "own"}]),
    ],
)
def test_the_conversion_s_word_counts_field_by_field(field, own):
    site = SITE["job"]
    silent, outspoken = template(SITE)["spec"], template(SITE, job={field: own})["spec"]
    assert silent[field] == site[field]
    assert outspoken[field] == own
    others = {"nodeSelector", "tolerations", "priorityClassName"} - {field}
    assert all(outspoken[other] == site[other] for other in others)


def test_resources_of_the_platform_replace_the_built_in_ones():
    for container in template(SITE)["spec"]["initContainers"]:
        assert container["resources"]["limits"]["memory"] == "2Gi"
    limits = template({})["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"memory": "4Gi", "ephemeral-storage": "20Gi"}


@pytest.mark.parametrize(
    ("platform", "own", "requested", "limit"),
    [
        (None, None, "1Gi", "20Gi"),
        (None, {"limits": {"memory": "1Gi"}}, "1Gi", "20Gi"),
        (None, {"limits": {"ephemeral-storage": "2Gi"}}, None, "2Gi"),
        (None, {"requests": {"ephemeral-storage": "30Gi"}}, "30Gi", "30Gi"),
        ({"limits": {"ephemeral-storage": "5Gi"}}, None, None, "5Gi"),
        ({"limits": {"ephemeral-storage": "5Gi"}}, {"requests": {"cpu": 1}}, None, "5Gi"),
        ({"limits": {"memory": "8Gi"}}, None, "1Gi", "20Gi"),
        ({"limits": {"memory": "8Gi"}}, {"limits": {"cpu": 1}}, "1Gi", "20Gi"),
    ],
)
def test_the_node_s_disk_always_has_a_limit(platform, own, requested, limit):
    site = {} if platform is None else {"job": {"resources": platform}}
    pod = template(site, **({} if own is None else {"job": {"resources": own}}))["spec"]
    assert pod["volumes"][0]["emptyDir"] == {"sizeLimit": limit}
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["resources"]["limits"]["ephemeral-storage"] == limit
        assert container["resources"].get("requests", {}).get("ephemeral-storage") == requested


def test_a_cluster_that_chooses_the_users_is_let_choose():
    """OpenShift's restricted-v2 refuses a pod with a user of its own choice."""
    free = template({"job": {"fixedUser": False}})["spec"]["securityContext"]
    assert free == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    ours = template({})["spec"]["securityContext"]
    assert {ours[name] for name in ("runAsUser", "runAsGroup", "fsGroup")} == {65532}


def test_labels_and_annotations_come_beside_the_operator_s_own():
    meta = template(SITE)["metadata"]
    assert meta["labels"]["team"] == "edge"
    assert meta["labels"]["app.kubernetes.io/managed-by"] == "model-conversion-operator"
    assert meta["annotations"]["sidecar.istio.io/inject"] == "false"
    assert meta["annotations"]["eks.amazonaws.com/skip-containers"] == "convert"


def test_the_file_is_yaml_or_json_or_not_there(tmp_path):
    file = tmp_path / "defaults.yaml"
    for text in (yaml.safe_dump(SITE), json.dumps(SITE)):
        file.write_text(text)
        assert read_defaults(str(file)) == Defaults.model_validate(SITE)
    file.write_text("")
    assert read_defaults(str(file)) == read_defaults("") == Defaults()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("storage: {endpint: x}", "storage.endpint: Extra inputs"),
        ("job: {backoffLimit: 1}", "job.backoffLimit: Extra inputs"),
        ("job: [", "while parsing"),
        ("- storage", "valid dictionary"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path, text, words):
    file = tmp_path / "defaults.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=words) as caught:
        read_defaults(str(file))
    assert "--defaults-file" in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match="No such file"):
        read_defaults(str(tmp_path / "none.yaml"))
