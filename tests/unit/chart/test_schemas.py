"""What the chart renders, held against the schemas of Kubernetes and of the Prometheus Operator."""

from __future__ import annotations

import pytest
import yaml
from jsonschema import Draft7Validator
from kubernetes_validate import ValidationError, validate

from support.chart.charts import CHART, EVERYTHING, NAMESPACED, Rendered, render
from support.chart.schemas import MONITORING, NEWEST, OLDEST, SPECS

SINCE_1_30 = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
"""The chart refuses to write these for the oldest version."""
PROFILES = {"defaults": {}, "everything": EVERYTHING, "namespaced": NAMESPACED}


@pytest.fixture(scope="module", params=PROFILES)
def rendered(request: pytest.FixtureRequest) -> Rendered:
    return render(PROFILES[request.param])


@pytest.mark.parametrize("version", [OLDEST, "1.33", NEWEST])
def test_kubernetes_knows_every_field(rendered: Rendered, version: str):
    for thing in rendered:
        if thing["apiVersion"] != MONITORING and not (version == OLDEST and thing["kind"] in SINCE_1_30):
            assert validate(thing, version, strict=True) == version


def test_a_field_that_kubernetes_does_not_know_would_be_found():
    deployment = render().one("Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = "Always"
    with pytest.raises(ValidationError, match="imagePulPolicy"):
        validate(deployment, NEWEST, strict=True)


def test_the_chart_asks_for_the_oldest_version_that_is_checked():
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"] == f">={OLDEST}.0-0"


@pytest.mark.parametrize("kind", SPECS)
def test_the_prometheus_operator_knows_every_field(kind: str):
    relabelings = [{"action": "drop", "sourceLabels": ["x"], "regex": "y"}]
    monitor = {"relabelings": relabelings, "metricRelabelings": relabelings}
    mode = "PodMonitor" if kind == "PodMonitor" else "ServiceMonitor"
    made = render(EVERYTHING | {"metrics": {"mode": mode, "monitor": monitor}}).one(kind)
    assert made["apiVersion"] == MONITORING
    assert not list(Draft7Validator(SPECS[kind]).iter_errors(made["spec"]))
