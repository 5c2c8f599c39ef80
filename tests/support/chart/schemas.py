"""Versions of Kubernetes and schemas of the Prometheus Operator that manifests are held against."""

from __future__ import annotations

from typing import Any

from support.chart.charts import Json

MONITORING = "monitoring.coreos.com/v1"
OLDEST, NEWEST = "1.29", "1.37"

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
