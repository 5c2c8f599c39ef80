"""Prometheus scrapes the operator by what the chart's own monitor says."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster.cache import REPOSITORY
from devcluster.errors import PackageUnavailableError
from devcluster.services.prometheus import Prometheus, ensure_prometheus
from support.cluster.chart_release import Release
from support.cluster.e2e_cluster import Cluster, Conversions

Json = dict[str, Any]

EXAMPLE = REPOSITORY / "examples" / "gesture-classifier.yaml"
ALERTS = REPOSITORY / "helm" / "model-conversion-operator" / "files" / "alerts.yaml"


def addresses(release: Release, monitor: Json) -> list[str]:
    """What the Prometheus Operator would make of a ServiceMonitor: the ready endpoints of its port."""
    (wanted,) = monitor["spec"]["endpoints"]
    selector = ",".join(f"{k}={v}" for k, v in monitor["spec"]["selector"]["matchLabels"].items())
    (service,) = release.kubectl.list("services", release.namespace, selector)
    (port,) = (p for p in service["spec"]["ports"] if p["name"] == wanted["port"])
    slices = release.kubectl.list(
        "endpointslices", release.namespace, f"kubernetes.io/service-name={service['metadata']['name']}"
    )
    return [
        f"{address}:{p['port']}"
        for found in slices
        for p in found["ports"]
        if p["name"] == port["name"]
        for endpoint in found["endpoints"]
        if endpoint["conditions"]["ready"]
        for address in endpoint["addresses"]
    ]


def test_prometheus_scrapes_by_the_chart_s_monitor(
    cluster: Cluster, release: Release, conversions: Conversions, tmp_path: Path
) -> None:
    cluster.real_node()  # elsewhere, this machine reaches no pod
    try:
        ensure_prometheus()
    except PackageUnavailableError as error:
        pytest.skip(str(error))
    rendered = yaml.safe_load_all(release.render({"metrics": {"mode": "ServiceMonitor"}}))
    (monitor,) = [o for o in rendered if o and o["kind"] == "ServiceMonitor"]
    targets = addresses(release, monitor)
    assert len(targets) == 1
    with Prometheus(
        tmp_path, {"operator": targets}, {"namespace": release.namespace}, [ALERTS]
    ) as prometheus:
        name = conversions.apply(EXAMPLE)
        status = conversions.ended(name)
        assert status["phase"] == "Succeeded", conversions.describe(status)
        time.sleep(3)
        (up,) = prometheus.query("up")
        assert up["value"][1] == "1"
        (ended,) = prometheus.query('sum(modelconversion_conversions_total{outcome="succeeded"})')
        assert float(ended["value"][1]) >= 1
        stages = prometheus.query("modelconversion_stage_duration_seconds_sum > 0")
        assert {"Fetch", "Convert", "Publish"} <= {s["metric"]["stage"] for s in stages}
        assert all(rule["health"] == "ok" for rule in prometheus.rules())


def test_helm_test_reaches_the_endpoints(release: Release) -> None:
    done = release.helm("test", "--logs", "--timeout", "2m")
    assert "Succeeded" in done.stdout
