"""The policy for tenants as the chart writes it; what it does is asked of a real API server."""

from __future__ import annotations

import pytest

from support.chart.charts import CHART, NAME, NAMESPACE, RELEASE, Json, refusal, render, run_helm

pytestmark = pytest.mark.slow

KINDS = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


def test_there_is_none_unless_asked_for():
    assert [o for o in render() if o["kind"] in KINDS] == []


@pytest.mark.parametrize(
    ("limits", "fields"),
    [
        ({"allowedEndpoints": ["AWS"]}, ["spec.storage.endpoint", "spec reads from"]),
        ({"allowedOutputs": []}, ["spec.output"]),
        ({"allowedServiceAccounts": [], "allowedEndpoints": ["*", "AWS"]}, ["spec.job.serviceAccountName"]),
        ({"allowedOutputs": ["s3://a/"], "allowedServiceAccounts": []}, ["spec.output", "spec.job"]),
    ],
)
def test_only_what_is_limited_is_looked_at(limits: Json, fields: list[str]):
    rendered = render({"tenantPolicy": {"enabled": True, **limits}})
    policies = rendered.all(KINDS[0])
    resources = {p["spec"]["matchConstraints"]["resourceRules"][0]["resources"][0] for p in policies}
    assert resources == {"modelconversions", "modelchannels"}
    for policy in policies:
        validations = policy["spec"]["validations"]
        assert len(validations) == len(fields)
        assert all(v["message"].startswith(field) for v, field in zip(validations, fields, strict=True))


def test_images_of_metrics_are_no_matter_of_channels():
    rendered = render({"tenantPolicy": {"enabled": True, "allowedMetricImages": ["registry.example/x"]}})
    (policy,) = rendered.all(KINDS[0])
    assert policy["spec"]["matchConstraints"]["resourceRules"][0]["resources"] == ["modelconversions"]
    (rule,) = policy["spec"]["validations"]
    assert rule["message"].startswith("spec.validation.metrics")
    assert len(rendered.all(KINDS[1])) == 1


@pytest.mark.parametrize(
    ("values", "selector"),
    [
        ({}, None),
        ({"namespaceSelector": {"matchLabels": {"a": "b"}}}, {"matchLabels": {"a": "b"}}),
        ({"watch": ["x", "y"]}, {"matchExpressions": ["x", "y"]}),
        (
            {"watch": ["x"], "namespaceSelector": {"matchLabels": {"a": "b"}}},
            {"matchLabels": {"a": "b"}, "matchExpressions": ["x"]},
        ),
    ],
)
def test_whose_conversions_it_is_for(values: Json, selector: Json | None):
    policy = {"enabled": True, "allowedOutputs": [], **{k: v for k, v in values.items() if k != "watch"}}
    rendered = render({"tenantPolicy": policy, "watchNamespaces": values.get("watch", [])})
    bindings = rendered.all(KINDS[1])
    names = {f"{NAME}-tenants", f"{NAME}-tenant-channels"}
    assert {each["spec"]["policyName"] for each in bindings} == names
    assert all(each["spec"]["validationActions"] == ["Deny"] for each in bindings)
    if selector is not None and "matchExpressions" in selector:
        watched = {
            "key": "kubernetes.io/metadata.name",
            "operator": "In",
            "values": selector["matchExpressions"],
        }
        selector = {**selector, "matchExpressions": [watched]}
    for each in bindings:
        assert each["spec"].get("matchResources", {}).get("namespaceSelector") == selector


@pytest.mark.parametrize("name", ["", "edge"])
def test_it_is_for_the_class_of_its_operator(name: str):
    rendered = render({"tenantPolicy": {"enabled": True, "allowedOutputs": []}, "className": name})
    for policy in rendered.all(KINDS[0]):
        condition = policy["spec"]["matchConditions"][0]
        assert condition["expression"].endswith(f" == '{name}'")


def test_a_cluster_that_is_too_old_for_it_is_told():
    values = {"tenantPolicy": {"enabled": True, "allowedOutputs": []}}
    args = ("template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--kube-version")
    refused, taken = (run_helm(*args, version, values=values) for version in ("1.29.14", "1.30.0"))
    assert "tenantPolicy.enabled needs Kubernetes 1.30 or newer, and this is v1.29.14" in refused.stderr
    assert taken.returncode == 0, taken.stderr


def test_one_that_limits_nothing_is_a_mistake():
    assert "everything is allowed" in refusal({"tenantPolicy": {"enabled": True}})
