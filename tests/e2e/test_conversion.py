"""All four methods in real containers, in a namespace where the Restricted policy is enforced."""

from __future__ import annotations

import json

from chart_release import Release
from e2e_cluster import Conversions

from devcluster.cache import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "gesture-classifier.yaml"
METHODS = {"Float32", "DynamicRange", "Float16", "FullInteger"}


def test_all_methods_in_containers(release: Release, conversions: Conversions) -> None:
    name = conversions.apply(EXAMPLE)
    status = conversions.ended(name)
    assert status["phase"] == "Succeeded", conversions.describe(status)
    assert {artifact["method"] for artifact in status["artifacts"]} == METHODS
    assert all(artifact["passed"] for artifact in status["artifacts"])
    written = conversions.keys("converted/gesture-classifier/")
    assert {
        f"gesture_classifier_{m}.tflite" for m in ("float32", "dynamic_range", "float16", "int8")
    } < written
    assert {"report.json", "report.html"} < written
    report = json.loads(conversions.read("converted/gesture-classifier/report.json"))
    assert set(report["provenance"]["isolation"]) == {"no-network", "no-other-programs", "own-files-only"}


def test_the_pods_logs_are_there(release: Release, conversions: Conversions) -> None:
    name = conversions.apply(EXAMPLE, methods=["DynamicRange"])
    status = conversions.ended(name)
    assert status["phase"] == "Succeeded", conversions.describe(status)
    (pod,) = conversions.pods()
    logs = conversions.kubectl(
        "logs", pod["metadata"]["name"], "-c", "convert", "-n", conversions.namespace
    ).stdout
    assert logs
