"""Metrics of a user's own: a real API server, the operator, the Job's stages and the sandbox, and S3.

The node has no images: each metric is a program of this machine, started as its container would be, by the
program that takes its network away.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devcluster.process_node.node import ProcessNode
from modelconversion_api.reports.conversion import ConversionReport
from support.cluster.conversions import Conversions
from support.converter.metric_sandbox import metric_sandbox
from support.converter.pages import Page
from support.paths import REPOSITORY
from tflite_converter.job.metrics.sandbox import PROGRAM_ENV

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator", "equipped")]

IMAGE = f"registry.acme/metrics@sha256:{'ab' * 32}"
METHODS = ["Float32", "FullInteger"]
PAGE = (REPOSITORY / "docs" / "OWN_METRICS.md").read_text()
ACCURACY = PAGE.partition("```python\n")[2].partition("```")[0]
"""The page's own example."""


@pytest.fixture(scope="module")
def equipped(process_node: ProcessNode) -> Iterator[None]:
    """The converter's image has the sandbox."""
    process_node.image_environment[PROGRAM_ENV] = str(metric_sandbox())
    yield
    del process_node.image_environment[PROGRAM_ENV]


def program(text: str) -> list[str]:
    """The command of a metric in Python."""
    return ["/usr/bin/env", "python", "-c", text]


def metric(name: str, text: str = ACCURACY, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": IMAGE, "command": program(text), **more}


def converted(uploaded: Conversions, *metrics: dict[str, Any], **more: Any) -> dict[str, Any]:
    uploaded.apply(
        "judged",
        methods=METHODS,
        calibration={"uri": uploaded.uri("val.npy"), "labelsUri": uploaded.uri("val_labels.npy")},
        validation={
            "uri": uploaded.uri("test.npy"),
            "labelsUri": uploaded.uri("test_labels.npy"),
            "metrics": list(metrics),
        },
        **more,
    )
    return uploaded.finished("judged")


def by_hand(content: bytes, folder: Path, features: Path, labels: Path) -> float:
    """The share of a file's answers that are right, by a loop of LiteRT's own interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    path = folder / "model.tflite"
    path.write_bytes(content)
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (given,), (got,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = given["quantization"]
    right = []
    for sample, label in zip(np.load(features), np.load(labels), strict=True):
        values = sample[np.newaxis]
        if given["dtype"] is np.int8:
            values = np.clip(np.round(values / scale) + zero, -128, 127)
        interpreter.set_tensor(given["index"], values.astype(given["dtype"]))
        interpreter.invoke()
        right.append(interpreter.get_tensor(got["index"]).argmax() == label)
    return float(np.mean(right))


def test_each_file_is_judged_by_the_users_own_program(uploaded, gesture, tmp_path) -> None:
    status = converted(uploaded, metric("business", min="0.5"), metric("drop", maxDrop="0.5"))
    assert status["phase"] == "Succeeded", json.dumps(status, indent=1)
    objects = uploaded.objects("out/judged/")
    report = ConversionReport.model_validate_json(objects["out/judged/report.json"])
    features, labels = gesture.data("test_features.npy"), gesture.data("test_labels.npy")
    for artifact, shown in zip(report.artifacts, status["artifacts"], strict=True):
        truth = by_hand(objects[f"out/judged/{artifact.file_name}"], tmp_path, features, labels)
        for figure, row in zip(artifact.metrics, shown["metrics"], strict=True):
            assert figure.value == pytest.approx(truth)
            assert (figure.passed, row["passed"], float(row["value"])) == (True, True, pytest.approx(truth))
    assert [m.name for m in report.evaluation.metrics] == ["business", "drop"]
    assert report.evaluation.metrics[0].value == pytest.approx(report.evaluation.original_accuracy)
    assert report.evaluation.metric_samples == len(np.load(labels))
    assert report.evaluation.gated
    page = Page(objects["out/judged/report.html"].decode())
    assert "metrics" in {a.get("id") for a in page.named("section")}
    assert "business" in page.text


def test_a_gate_that_is_missed_fails_the_file(uploaded) -> None:
    judged = ACCURACY.replace("float(", '0.1 if "int8" in os.environ["METRIC_OUTPUTS"] else float(')
    status = converted(uploaded, metric("business", judged, maxDrop="0.2"))
    assert status["phase"] == "Succeeded", json.dumps(status, indent=1)
    float32, integers = status["artifacts"]
    assert (float32["passed"], integers["passed"]) == (True, False)
    assert integers["message"].startswith("metric business: 0.1 is ")
    assert "under the original's" in integers["message"]
    assert status["recommended"]["method"] == "Float32"


def test_no_file_that_passes_is_a_failure_with_the_figures(uploaded) -> None:
    status = converted(uploaded, metric("business", min="1.5"))
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "GatesNotMet")
    assert "metric business: " in status["failure"]["message"]
    assert "is under 1.5" in status["failure"]["message"]
    assert len(status["artifacts"]) == 2, "the files are published all the same"


def test_a_metric_that_breaks_is_told_and_never_passes_a_gate(uploaded) -> None:
    slow = metric("slow", "import time; time.sleep(60)", min="0", timeoutSeconds=1)
    loose = metric("loose", "import sys; sys.exit(3)")
    status = converted(uploaded, slow, loose)
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "MetricFailed"), status
    assert "metric slow: it took longer than 1 s" in status["failure"]["message"]
    assert "docs/OWN_METRICS.md" in status["failure"]["message"]
    for artifact in status["artifacts"]:
        of_slow, of_loose = artifact["metrics"]
        assert "value" not in of_slow
        assert (of_slow["passed"], of_loose["passed"]) == (False, True)
        assert of_loose["message"] == "it ended with code 3"


def test_what_is_not_allowed_is_refused_before_a_job_is_made(uploaded) -> None:
    image = f"registry.acme/metrics-of-another@sha256:{'ab' * 32}"
    status = converted(uploaded, metric("business") | {"image": image})
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "PolicyViolation")
    assert image in status["failure"]["message"]
    assert "policy.allowedMetricImages" in status["failure"]["message"]
    assert uploaded.jobs() == []


REACHES = """
import json, os, socket, sys, urllib.request
found = []
for kind in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK):
    try:
        socket.socket(kind)
        found.append(str(kind))
    except OSError:
        pass
try:
    socket.socketpair()
    found.append("socketpair")
except OSError:
    pass
words = ("AWS", "SECRET", "TOKEN", "CONVERSION", "KUBERNETES", "AZURE", "GOOGLE")
found += [name for name in os.environ if any(word in name.upper() for word in words)]
print("reached", found)
with open(os.environ["METRIC_RESULT"], "w") as file:
    json.dump({"metric": len(found)}, file)
"""


def test_a_metric_reaches_neither_network_nor_credentials(uploaded) -> None:
    status = converted(uploaded, metric("reached", REACHES, max="0"))
    assert status["phase"] == "Succeeded", json.dumps(status, indent=1)
    assert {m["value"] for a in status["artifacts"] for m in a["metrics"]} == {"0"}
