"""The monitor example on a real conversion, scraped by a real Prometheus: no panel is empty, drift is seen.

Two monitors replay samples: one the validation data, the other the same with noise, as from a worn sensor.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devcluster.cache import REPOSITORY
from devcluster.control_plane.control_plane import ControlPlane
from devcluster.errors import PackageUnavailableError
from devcluster.services.prometheus import Prometheus, ensure_prometheus
from support.chart.dashboard_queries import Target, example_documents, targets
from support.chart.monitors import EXAMPLE, monitor
from support.cluster.conversions import Gesture, until

pytestmark = pytest.mark.timeout(300)

JOB, NAMESPACE = "monitor", "edge"
TARGETS = targets(example_documents())
HONEST_ZEROS = {"Failed calls"}
RATE = 100


@dataclass(frozen=True)
class Run:
    """What Prometheus knows after a while."""

    prometheus: Prometheus
    started: float
    """When it began, by the monotonic clock."""

    @property
    def seconds(self) -> float:
        """The time shown: everything since the beginning, however slow the tests are."""
        return time.monotonic() - self.started

    def ask(self, target: Target) -> list[dict[str, Any]]:
        long = f"{math.ceil(self.seconds)}s"
        text = target.filled(namespace=NAMESPACE, job=JOB, interval=long, __range=long, __rate_interval="10s")
        if target.instant:
            return self.prometheus.query(text)
        return self.prometheus.query_range(text, self.seconds)

    def value(self, metric: str, model: str) -> float:
        (series,) = self.prometheus.query(f'{metric}{{model="{model}"}}')
        return float(series["value"][1])


@pytest.fixture(scope="module")
def converted(gesture: Gesture) -> Path:
    """The folder of the gesture model's conversion, with validation data."""
    data = gesture.model.parents[1] / "datasets"
    arguments = [f"--model={gesture.model}", "--method=full_integer", "--output=out"]
    for option, name in (("data", "val"), ("validation-data", "test")):
        arguments.append(f"--{option}={data / name}_features.npy")
    arguments.append(f"--validation-labels={data / 'test_labels.npy'}")
    script = REPOSITORY / "converter_image" / "convert_to_tflite.py"
    folder = gesture.model.parents[1]
    subprocess.run([sys.executable, script, *arguments], cwd=folder, check=True, capture_output=True)
    return folder / "out"


@pytest.fixture(scope="module")
def run(converted: Path, gesture: Gesture, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    try:
        ensure_prometheus()
    except PackageUnavailableError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("monitor")
    samples = np.load(gesture.model.parents[1] / "datasets" / "val_features.npy")
    noise = np.random.default_rng(0).normal(scale=2 * samples.std(), size=samples.shape)
    (model,) = converted.glob("*.tflite")
    (report,) = converted.glob("*_report.json")
    with ExitStack() as stack:
        addresses = []
        for name, replayed in (("steady", samples), ("worn", (samples + noise).astype(np.float32))):
            file = folder / f"{name}.npy"
            np.save(file, replayed)
            options = [
                f"--name={name}",
                f"--replay={file}",
                f"--rate={RATE}",
                "--window=300",
                "--budget-ms=1000",
            ]
            made = stack.enter_context(monitor(folder, model, report, *options))
            addresses.append(made.address)
        rules = [EXAMPLE / "alerts.yaml"]
        prometheus = stack.enter_context(
            Prometheus(folder, {JOB: addresses}, {"namespace": NAMESPACE}, rules)
        )
        started = time.monotonic()
        full = "edge_inference_drift_samples == 300"
        until(lambda: len(prometheus.query(full)) == 2, "both windows are full", 120)
        time.sleep(3)  # three more scrapes, so that a rate has what to count
        yield Run(prometheus, started)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_panels_have_data(run: Run, target: Target) -> None:
    answer = run.ask(target)
    numbers = [float(v) for s in answer for _, v in s.get("values") or [s["value"]]]
    numbers = [number for number in numbers if math.isfinite(number)]
    assert numbers, f"no data: {target.expression}"
    if target.panel not in HONEST_ZEROS:
        assert any(numbers), f"nothing but zeros: {target.expression}"
    for series in answer:
        assert target.legend_labels <= set(series["metric"]), series["metric"]


def test_drift_is_seen_where_it_is_and_only_there(run: Run) -> None:
    assert run.value("edge_inference_drift_psi", "steady") < 0.2
    assert run.value("edge_inference_drift_psi", "worn") > 0.2
    assert abs(run.value("edge_inference_drift_confidence_drop", "steady")) < 0.1


def test_the_alert_waits_for_the_drifted_model_alone(run: Run) -> None:
    until(lambda: alerts(run, "InferenceDrift") != [], "the alert is pending", 30)
    assert {a["labels"]["model"] for a in alerts(run, "InferenceDrift")} == {"worn"}
    assert alerts(run, "InferenceSlow") == []
    assert all(rule["health"] == "ok" for rule in run.prometheus.rules())


def alerts(run: Run, name: str) -> list[dict[str, Any]]:
    """Those of a rule that fire or wait."""
    (rule,) = [rule for rule in run.prometheus.rules() if rule["name"] == name]
    found: list[dict[str, Any]] = rule["alerts"]
    return found


@pytest.mark.cluster
def test_a_namespace_that_enforces_restricted_pods_takes_it(
    control_plane: ControlPlane, namespace: str
) -> None:
    labels = [f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn")]
    control_plane.kubectl("label", "namespace", namespace, *labels)
    file = str(EXAMPLE / "monitor.yaml")
    done = control_plane.kubectl("-n", namespace, "apply", "--dry-run=server", "-f", file)
    assert "created" in done.stdout
    assert "Warning" not in done.stderr
