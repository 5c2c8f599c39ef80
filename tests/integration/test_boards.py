"""Published files on boards: kubectl, a real API server, the operator, the Job's real stages, a real store.

The boards are one node here, chosen by different labels: what differs is what is asked for.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from devcluster.process_node.node import ProcessNode
from modelconversion_api.reports.board import BoardReport
from modelconversion_api.reports.conversion import ConversionReport
from support.converter.guests import guests
from support.converter.pages import Page
from support.converter.vulkan import software_driver
from tflite_converter.verifying.guests import GUESTS_ENV

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator", "process_node")]

LINUX = {"kubernetes.io/os": "linux"}
NOWHERE = {"edgeml.dev/board": "pi5"}
METHODS = ["Float32", "FullInteger"]


def measured(uploaded, name: str, *boards: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Apply a conversion with boards; give its status at the end."""
    uploaded.apply(
        name,
        methods=METHODS,
        calibration={"uri": uploaded.uri("val.npy"), "labelsUri": uploaded.uri("val_labels.npy")},
        validation={"uri": uploaded.uri("test.npy"), "labelsUri": uploaded.uri("test_labels.npy")},
        benchmark={"boards": list(boards)},
        **spec,
    )
    return uploaded.finished(name)


def test_each_board_runs_the_published_files(uploaded, operator, gesture) -> None:
    status = measured(
        uploaded,
        "gesture",
        {
            "name": "bench",
            "nodeSelector": LINUX,
            "minAgreement": "0.9",
            "maxLatencyMillis": "1000",
            "runs": 20,
        },
        {"name": "away", "nodeSelector": NOWHERE},
        {"name": "strict", "nodeSelector": LINUX, "minAgreement": "1", "threads": 2},
        job={"pendingDeadlineSeconds": 10},
    )
    assert status["phase"] == "Succeeded", json.dumps(status, indent=1)
    bench, away, strict = status["measurements"]
    assert [bench["board"], away["board"], strict["board"]] == ["bench", "away", "strict"]
    assert [f["method"] for f in bench["files"]] == METHODS
    assert all(f["passed"] for f in bench["files"])
    assert all(float(f["latencyMillis"]) > 0 for f in bench["files"])
    assert bench["runtime"].startswith("LiteRT ")
    assert bench["node"]
    assert (away["reason"], away.get("files", [])) == ("Unschedulable", [])
    assert "node" in away["message"]
    assert all(f["passed"] and f["agreement"] == "1.0000" for f in strict["files"])
    assert status["recommended"]["method"] in METHODS

    objects = uploaded.objects("out/gesture/")
    report = ConversionReport.model_validate_json(objects["out/gesture/report.json"])
    boards = {
        name: BoardReport.model_validate_json(objects[f"out/gesture/boards/{name}.json"])
        for name in ("bench", "strict")
    }
    assert "out/gesture/boards/away.json" not in objects
    assert [f.sha256 for f in boards["bench"].files] == [a.sha256 for a in report.artifacts]
    assert boards["bench"].run == report.request.run
    assert boards["bench"].files[0].latency.runs == 20
    assert boards["strict"].files[0].latency.threads == 2
    # On the same machine the same file agrees as often as it did in the Job that converted, on all samples.
    samples = np.load(io.BytesIO(objects["out/gesture/board-samples.npz"]))
    count = len(samples["labels"])
    assert count == min(256, len(np.load(gesture.data("test_features.npy"))))
    assert report.board_samples.samples == count

    events = uploaded.events("gesture")
    assert events.count("Unschedulable") >= 1
    assert events[-1] == "Converted"
    assert len(uploaded.jobs()) == 3, "the Job that waited for a node that is not there is gone"
    assert operator.metric('modelconversion_board_failures_total{board="away",reason="Unschedulable"}') >= 1
    of_bench = '{accelerator="CPU",board="bench",method="FullInteger"}'
    sample = f"modelconversion_board_latency_milliseconds_count{of_bench}"
    assert operator.metric(sample) >= 1


@pytest.fixture
def equipped(process_node: ProcessNode) -> Iterator[None]:
    """The node's images have a driver for Vulkan, and Pythons for other processors."""
    more = {"VK_DRIVER_FILES": str(software_driver()), GUESTS_ENV: str(guests())}
    process_node.image_environment |= more
    yield
    for name in more:
        del process_node.image_environment[name]


CORES = ["cortex-a53", "cortex-a72", "cortex-a76"]


@pytest.mark.usefixtures("equipped")
def test_one_page_shows_boards_runtimes_and_compilers(uploaded, operator, gesture, tmp_path) -> None:
    gates = {"minAgreement": "0.9", "maxLatencyMillis": "1000"}
    status = measured(
        uploaded,
        "everywhere",
        {"name": "bench", "nodeSelector": LINUX, "runs": 20, **gates},
        {"name": "gpu", "nodeSelector": LINUX, "runs": 20, "accelerator": "GPU"},
        verifyOn=[*CORES, "GPU", "Microcontroller"],
        ethosU={"accelerator": "ethos-u55-128"},
        npu={"vendor": "Intel", "socs": ["CPU"]},
        microcontroller={},
    )
    assert status["phase"] == "Succeeded", json.dumps(status, indent=1)
    bench, gpu = status["measurements"]
    assert (bench["accelerator"], gpu["accelerator"]) == ("CPU", "GPU")
    assert "SwiftShader" in gpu["runtime"]
    assert "the figures are no device's" in gpu["message"]
    for file in gpu["files"]:
        assert (file["passed"], file["fallbackOperators"]) == (True, 0), file
        assert file["acceleratedOperators"] > 0
    checks = {a["method"]: {v["name"]: v["outcome"] for v in a["verifications"]} for a in status["artifacts"]}
    assert checks["FullInteger"] == dict.fromkeys([*CORES, "GPU", "Microcontroller"], "Passed")
    page = Page(uploaded.objects("out/everywhere/")["out/everywhere/report.html"].decode())
    assert {"boards", "verifications", "compilers"} <= {a.get("id") for a in page.named("section")}
    for words in ("bench", "gpu, GPU", *CORES, "Microcontroller", "ethos-u55-128", "Intel", "SwiftShader"):
        assert words in page.text, words
    assert "no figures when this page was drawn" not in page.text
    sample = (
        'modelconversion_board_latency_milliseconds_count{accelerator="GPU",board="gpu",method="FullInteger"}'
    )
    assert operator.metric(sample) >= 1


def test_a_gate_that_nothing_passes_is_a_failure(uploaded) -> None:
    slow = {"name": "slow", "nodeSelector": LINUX, "maxLatencyMillis": "0.0001"}
    status = measured(uploaded, "gesture", slow)
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "GatesNotMet"), status
    assert "ms a run are more than 0.0001 ms" in status["failure"]["message"]
    assert len(status["artifacts"]) == 2, "the files are published all the same"
    assert "recommended" not in status
