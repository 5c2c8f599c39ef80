"""The monitor example: its service run for real, and what it asks of a cluster."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from kubernetes_validate import validate

from edge_inference import TFLiteInference
from support.chart.monitors import EXAMPLE, Monitor, monitor
from support.chart.schemas import NEWEST, OLDEST, SPECS
from support.converter.snippet_samples import quantized, two_of_each
from support.converter.tflite_files import dense
from support.edge.baselines import report

OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all((EXAMPLE / "monitor.yaml").read_text()))
DEPLOYMENT, SERVICE = OBJECTS
POD_MONITOR = yaml.safe_load((EXAMPLE / "podmonitor.yaml").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("monitor")


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Monitor]:
    found, model = report(folder, dense())
    with monitor(folder, model, found, "--name=net", "--classes=a,b,c", "--budget-ms=50") as made:
        yield made


def test_it_predicts(running: Monitor, folder: Path) -> None:
    # As the report says: probabilities.
    expected = TFLiteInference(folder / "net.tflite", logits=False).predict_single([1, 2, 3, 4])
    for sample in ([1, 2, 3, 4], {"x": [1, 2, 3, 4]}):
        status, found = running.ask(sample)
        assert status == 200
        assert found == {"label": expected.label, "confidence": pytest.approx(expected.confidence, abs=1e-5)}


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (b"no JSON", 400, "Expecting value"),
        (b"", 400, "Expecting value"),
        (b"\xff\xfe", 400, ""),
        (b"[" * 100_000, 400, "recursion"),
        ([1, 2, 3], 400, "shape"),
        ({"y": [1, 2, 3, 4]}, 400, "the inputs are x"),
        (["a", "b", "c", "d"], 400, "array of numbers"),
        (None, 400, "array of numbers"),
        ([[1], [1, 2]], 400, ""),
        (b"x" * (5 << 20), 413, "Content-Length"),
    ],
)
def test_what_it_cannot_take_is_told(running: Monitor, content: Any, status: int, says: str) -> None:
    found, document = running.ask(content)
    assert found == status, document
    assert says in document["error"]
    assert running.get("/healthz").text == "ok\n"


def test_its_metrics_and_what_there_is_not(running: Monitor) -> None:
    running.ask([1, 2, 3, 4])
    text = running.get("/metrics").text
    for series in (
        'edge_inference_predictions_total{class="b",model="net"}',
        'edge_inference_budget_seconds{model="net"} 0.05',
        'edge_inference_drift_samples{model="net"}',
        'edge_inference_model_info{method="FullInteger",model="net"',
    ):
        assert series in text
    assert running.get("/secrets").status_code == 404
    assert running.ask([1], "/elsewhere")[0] == 404


def test_a_model_that_is_no_plain_classifier_gives_its_outputs(tmp_path: Path) -> None:
    level = {"samples": 9, "level": {"output": "one", "mean": 30.0, "std": 10.0}}
    found, model = report(tmp_path, two_of_each(), artifacts__1__baseline=level)
    with monitor(tmp_path, model, found) as made:
        status, given = made.ask({"first": [0, 1, 2, 3], "second": [1, 10]})
        refused, document = made.ask(b'{"first": [1e38, 1e38, 1e38, 1e38], "second": [1, 10]}')
    assert refused == 400
    assert "NaN or infinity" in document["error"]
    assert status == 200
    assert given == {"one": [14, 38, 62], "other": [10, 32, 54]}


@pytest.mark.parametrize(
    ("changed", "arguments", "says"),
    [
        ({"artifacts__1__sha256": "f" * 64}, [], "of another conversion"),
        ({}, ["--model=none.tflite"], "none.tflite"),
        ({}, ["--edge-tpu"], "libedgetpu"),
        ({}, ["--window=0"], "must lie between"),
    ],
)
def test_it_does_not_start_on_what_does_not_fit(
    tmp_path: Path, changed: dict[str, Any], arguments: list[str], says: str
) -> None:
    found, model = report(tmp_path, quantized(), **changed)
    command = [sys.executable, EXAMPLE / "monitor.py", f"--model={model}", f"--report={found}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


# In a cluster


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("thing", OBJECTS, ids=lambda thing: thing["kind"])
def test_kubernetes_knows_every_field(thing: dict[str, Any], version: str) -> None:
    assert validate(thing, version, strict=True) == version


def test_the_prometheus_operator_knows_every_field() -> None:
    assert not list(Draft7Validator(SPECS["PodMonitor"]).iter_errors(POD_MONITOR["spec"]))


def test_all_mean_the_same_pods() -> None:
    template = DEPLOYMENT["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == labels
    assert SERVICE["spec"]["selector"] == labels
    assert POD_MONITOR["spec"]["selector"]["matchLabels"] == labels
    (container,) = template["spec"]["containers"]
    (port,) = container["ports"]
    assert port["name"] == SERVICE["spec"]["ports"][0]["targetPort"]
    assert port["name"] == POD_MONITOR["spec"]["podMetricsEndpoints"][0]["port"]


def test_the_arguments_are_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import monitor as program  # type: ignore[import-not-found]  # the example is no package

    (container,) = DEPLOYMENT["spec"]["template"]["spec"]["containers"]
    options = program.parsed(container["args"])
    (mount,) = container["volumeMounts"]
    assert options.model.parent == options.report.parent == Path(mount["mountPath"])
    assert options.port == container["ports"][0]["containerPort"]
