"""The dashboards' panels and queries as Grafana reads them from the files, with its variables filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry

from devcluster.dashboards.files import DASHBOARDS, EXAMPLES, file
from edge_inference.metrics import InferenceMetrics
from modelconversion_operator.telemetry.metrics import Metrics

Json = dict[str, Any]

METRIC = re.compile(r"\b(?:modelconversion|process|edge_inference)_[a-z_]+[a-z]\b")
"""Names of metrics in a query."""
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
_VARIABLE = re.compile(r"\$([A-Za-z_]\w*)|\$\{([A-Za-z_]\w*)\}")  # $1 is no variable


@dataclass(frozen=True)
class Target:
    """A query of a panel."""

    dashboard: str
    panel: str
    kind: str
    expression: str
    legend: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.dashboard} / {self.panel} / {self.legend}"

    @property
    def legend_labels(self) -> set[str]:
        """The labels that the legend names."""
        return set(re.findall(r"{{\s*(\w+)\s*}}", self.legend))

    def filled(self, **variables: str) -> str:
        """The query as Grafana sends it; every variable must be given."""
        return _VARIABLE.sub(lambda match: variables[match[1] or match[2]], self.expression)


def documents() -> dict[str, Json]:
    """The dashboards of the chart."""
    return {name: json.loads(file(name).read_text()) for name in DASHBOARDS}


def example_documents() -> dict[str, Json]:
    """The dashboards of the examples."""
    return {name: json.loads(file(name).read_text()) for name in EXAMPLES}


def panels(document: Json) -> Iterator[Json]:
    """The panels that show something; rows are none."""
    for panel in document["panels"]:
        assert not panel.get("panels"), "panels of collapsed rows are not looked at"
        if panel["type"] != "row":
            yield panel


def targets(of: Mapping[str, Json] | None = None) -> list[Target]:
    """All queries of all panels of these dashboards; the chart's if none are given."""
    return [
        Target(
            name,
            panel["title"],
            panel["type"],
            target["expr"],
            target.get("legendFormat", ""),
            bool(target.get("instant")),
        )
        for name, document in (documents() if of is None else of).items()
        for panel in panels(document)
        for target in panel["targets"]
    ]


def exported_metrics() -> set[str]:
    """Every name that the operator's metrics, and those of running models, can be asked for by."""
    metrics = Metrics()
    metrics.observe(dict, lambda: 0)
    metrics.observe_sets(dict)
    metrics.observe_triggers(dict)
    metrics.observe_channels(dict)
    models = InferenceMetrics(CollectorRegistry())
    families = [*metrics.registry.collect(), *models.describe()]
    names = {f"{family.name}{suffix}" for family in families for suffix in _SUFFIXES[family.type]}
    # Of a histogram that has seen values below zero, the sum is no counter: it is not exported.
    return names - {"modelconversion_artifact_accuracy_drop_sum"}
