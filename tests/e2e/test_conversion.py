"""All four methods in real containers, in a namespace where the Restricted policy is enforced."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from devcluster.cache import REPOSITORY
from support.cluster.chart_release import Release
from support.cluster.e2e_cluster import Conversions, ImageNames

DETECTOR = REPOSITORY / "examples" / "detector"
EXAMPLE = REPOSITORY / "examples" / "gesture-classifier.yaml"
METHODS = {"Float32", "DynamicRange", "Float16", "FullInteger"}


def test_all_methods_in_containers(release: Release, conversions: Conversions) -> None:
    name = conversions.apply(EXAMPLE, verifyOn=["GPU", "Microcontroller"])
    status = conversions.ended(name)
    assert status["phase"] == "Succeeded", conversions.describe(status)
    assert {artifact["method"] for artifact in status["artifacts"]} == METHODS
    assert all(artifact["passed"] for artifact in status["artifacts"])
    checks = {a["method"]: {v["name"]: v for v in a["verifications"]} for a in status["artifacts"]}
    for method in METHODS:  # the image has a driver that needs no GPU
        gpu = checks[method]["GPU"]
        assert (gpu["outcome"], gpu["fallbackOperators"]) == ("Passed", 0), gpu
    assert checks["FullInteger"]["Microcontroller"]["outcome"] == "Passed"
    written = conversions.keys("converted/gesture-classifier/")
    assert {
        f"gesture_classifier_{m}.tflite" for m in ("float32", "dynamic_range", "float16", "int8")
    } < written
    assert {"report.json", "report.html"} < written
    report = json.loads(conversions.read("converted/gesture-classifier/report.json"))
    assert set(report["provenance"]["isolation"]) == {"no-network", "no-other-programs", "own-files-only"}


def test_an_onnx_detector_by_the_image_with_its_engine(
    release: Release, images: ImageNames, conversions: Conversions, tmp_path: Path
) -> None:
    """As the README has it: make the model, upload it, apply the example."""
    if images.onnx is None:
        pytest.skip("needs an image with the ONNX engine: set E2E_ONNX_IMAGE")
    subprocess.run([sys.executable, DETECTOR / "make_model.py", tmp_path], check=True)
    conversions.upload({file.name: file for file in tmp_path.iterdir()})
    name = conversions.apply(DETECTOR / "detector.yaml", verifyOn=["cortex-a53", "OldestRuntime"])
    status = conversions.ended(name)
    assert status["phase"] == "Succeeded", conversions.describe(status)
    assert {artifact["method"] for artifact in status["artifacts"]} == METHODS
    assert all(artifact["usable"] for artifact in status["artifacts"])
    assert status["source"]["format"] == "ONNX"
    (integers,) = (a for a in status["artifacts"] if a["method"] == "FullInteger")
    # The same image has other processors and old runtimes, which run under the pod's own restrictions.
    checks = {check["name"]: check for check in integers["verifications"]}
    assert checks.keys() == {"cortex-a53", "OldestRuntime"}
    assert {check["outcome"] for check in checks.values()} == {"Passed"}, checks
    (image,) = status["source"]["inputs"]
    assert (image["sourceShape"], image["shape"]) == ([1, 3, 64, 64], [1, 64, 64, 3])
    report = json.loads(conversions.read("converted/detector/report.json"))
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


def test_vela_and_the_c_source_in_containers(release: Release, conversions: Conversions) -> None:
    """The compilers' child runs under the pod's own restrictions; the Edge TPU is predicted."""
    name = conversions.apply(
        EXAMPLE,
        methods=["FullInteger"],
        ethosU={"accelerator": "ethos-u55-128"},
        microcontroller={},
        edgeTPU={"compile": False},
    )
    status = conversions.ended(name)
    assert status["phase"] == "Succeeded", conversions.describe(status)
    (artifact,) = status["artifacts"]
    npu, micro, tpu = artifact["ethosU"], artifact["microcontroller"], artifact["edgeTPU"]
    assert (npu["compiled"], npu["mappedOperators"]) == (True, npu["operators"])
    assert (tpu["compiled"], tpu["mappedOperators"]) == (False, tpu["operators"])
    assert micro["arenaBytes"] > 0
    written = conversions.keys("converted/gesture-classifier/")
    assert {npu["uri"], micro["uri"]} == {
        f"s3://{conversions.bucket}/converted/gesture-classifier/gesture_classifier_int8{end}"
        for end in ("_vela.tflite", ".cc")
    }
    assert {"gesture_classifier_int8_vela.tflite", "gesture_classifier_int8.h"} < written


def test_a_compiler_that_the_image_does_not_have_is_named_at_once(
    release: Release, conversions: Conversions
) -> None:
    name = conversions.apply(EXAMPLE, methods=["FullInteger"], edgeTPU={})
    status = conversions.ended(name)
    assert status["phase"] == "Failed"
    assert status["failure"]["reason"] == "CompilerNotFound"
