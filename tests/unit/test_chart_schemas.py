"""What the chart renders, held against the schemas of Kubernetes and of the Prometheus Operator."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from kubernetes_validate import ValidationError, validate

from charts import CHART, EVERYTHING, NAMESPACED, Json, Rendered, render

MONITORING = "monitoring.coreos.com/v1"
OLDEST, NEWEST = "1.29", "1.37"
PROFILES = {"defaults": {}, "everything": EVERYTHING, "namespaced": NAMESPACED}


@pytest.fixture(scope="module", params=PROFILES)
def rendered(request: pytest.FixtureRequest) -> Rendered:
    return render(PROFILES[request.param])


@pytest.mark.parametrize("version", [OLDEST, "1.33", NEWEST])
def test_kubernetes_knows_every_field(rendered: Rendered, version: str):
    for thing in rendered:
        if thing["apiVersion"] != MONITORING:
            assert validate(thing, version, strict=True) == version


def test_a_field_that_kubernetes_does_not_know_would_be_found():
    deployment = render().one("Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = "Always"
    with pytest.raises(ValidationError, match="imagePulPolicy"):
        validate(deployment, NEWEST, strict=True)


def test_the_chart_asks_for_the_oldest_version_that_is_checked():
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"] == f">={OLDEST}.0-0"


# The Prometheus Operator's types come in no package for Python that can be used here: these are the fields
# that the chart writes, as its API reference has them.
_TEXT: Json = {"type": "string"}
_TEXTS: Json = {"type": "object", "additionalProperties": _TEXT}


def _fields(**properties: Any) -> Json:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _list(items: Json) -> Json:
    return {"type": "array", "minItems": 1, "items": items}


_RELABELING = _fields(
    action=_TEXT,
    regex=_TEXT,
    replacement=_TEXT,
    separator=_TEXT,
    sourceLabels=_list(_TEXT),
    targetLabel=_TEXT,
)
_ENDPOINT = _fields(
    port=_TEXT,
    path=_TEXT,
    interval=_TEXT,
    scrapeTimeout=_TEXT,
    relabelings=_list(_RELABELING),
    metricRelabelings=_list(_RELABELING),
)
_MONITOR = {
    "jobLabel": _TEXT,
    "namespaceSelector": _fields(matchNames=_list(_TEXT)),
    "selector": _fields(matchLabels=_TEXTS),
}
_RULE = _fields(alert=_TEXT, expr=_TEXT, labels=_TEXTS, annotations=_TEXTS) | {"required": ["expr"]}
_RULE["properties"] |= {"for": _TEXT, "keep_firing_for": _TEXT, "record": _TEXT}
SPECS: Json = {
    "ServiceMonitor": _fields(**_MONITOR, endpoints=_list(_ENDPOINT))
    | {"required": ["selector", "endpoints"]},
    "PodMonitor": _fields(**_MONITOR, podMetricsEndpoints=_list(_ENDPOINT)) | {"required": ["selector"]},
    "PrometheusRule": _fields(groups=_list(_fields(name=_TEXT, interval=_TEXT, rules=_list(_RULE)))),
}


@pytest.mark.parametrize("kind", SPECS)
def test_the_prometheus_operator_knows_every_field(kind: str):
    relabelings = [{"action": "drop", "sourceLabels": ["x"], "regex": "y"}]
    monitor = {"relabelings": relabelings, "metricRelabelings": relabelings}
    mode = "PodMonitor" if kind == "PodMonitor" else "ServiceMonitor"
    made = render(EVERYTHING | {"metrics": {"mode": mode, "monitor": monitor}}).one(kind)
    assert made["apiVersion"] == MONITORING
    assert not list(Draft7Validator(SPECS[kind]).iter_errors(made["spec"]))
