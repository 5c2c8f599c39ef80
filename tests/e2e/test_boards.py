"""Boards in real containers: two labels of the one node, the second with a fifth of a processor."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from devcluster.cache import REPOSITORY
from support.cluster.chart_release import Release
from support.cluster.e2e_cluster import Cluster, Conversions, ImageNames

Json = dict[str, Any]

EXAMPLE = REPOSITORY / "examples" / "gesture-on-boards.yaml"
LABELS = ("edgeml.dev/fast-board", "edgeml.dev/slow-board")
_MODEL = """
import sys, keras
layers = keras.layers
image = keras.Input((96, 96, 16))
x = layers.Conv2D(256, 3, padding="same", activation="relu")(image)
x = layers.Conv2D(256, 3, padding="same", activation="relu")(x)
keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x))).save(sys.argv[1])
"""


def test_two_boards_one_of_them_slow(
    cluster: Cluster, release: Release, images: ImageNames, conversions: Conversions, tmp_path: Path
) -> None:
    node = cluster.real_node().layout.node_name
    cluster.kubectl("label", "node", node, "--overwrite", *(f"{label}=yes" for label in LABELS))
    model, samples = tmp_path / "conv.keras", tmp_path / "samples.npy"
    subprocess.run([sys.executable, "-c", _MODEL, model], check=True, capture_output=True)
    np.save(samples, np.random.default_rng(7).normal(size=(24, 96, 96, 16)).astype(np.float32))
    conversions.upload({"conv.keras": model, "samples.npy": samples})
    # An inference takes longer than the 20 ms of each 100 that this gives: a shorter one would not feel it.
    slow = {"limits": {"cpu": "200m", "memory": "1Gi"}, "requests": {"cpu": "50m", "memory": "256Mi"}}
    fast_board = {"name": "fast", "nodeSelector": {LABELS[0]: "yes"}, "runs": 10}
    slow_board = {
        "name": "slow",
        "nodeSelector": {LABELS[1]: "yes"},
        "runs": 10,
        "resources": slow,
        "maxLatencyMillis": "0.001",
    }
    name = conversions.apply(
        EXAMPLE,
        source={"uri": f"s3://{conversions.bucket}/conv.keras"},
        methods=["Float32", "FullInteger"],
        calibration={"uri": f"s3://{conversions.bucket}/samples.npy", "samples": 8},
        validation=None,
        benchmark={"boards": [fast_board, slow_board]},
    )
    status = conversions.ended(name)
    rows = {row["board"]: row for row in status["measurements"]}
    assert {row["node"] for row in rows.values()} == {node}
    figures = {
        board: {file["method"]: float(file["latencyMillis"]) for file in row["files"]}
        for board, row in rows.items()
    }
    assert figures["slow"]["Float32"] > 2 * figures["fast"]["Float32"], figures
    # Nothing is as fast as that: no file is recommended, and the reason names the board.
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "GatesNotMet"), status
    assert "slow: " in status["failure"]["message"]
    written = conversions.keys("converted/gesture-on-boards/")
    assert {"board-samples.npz", "boards/fast.json", "boards/slow.json"} < written
    report = json.loads(conversions.read("converted/gesture-on-boards/boards/fast.json"))
    assert report["machine"]["runtime"].startswith("LiteRT ")
    boards = [p for p in conversions.pods() if "edgeml.dev/fast-board" in p["spec"].get("nodeSelector", {})]
    (pod,) = boards
    assert {c["image"] for c in pod["spec"]["containers"]} == {images.runtime}


def measures(pod: Json) -> bool:
    """Whether the container that runs the files runs now."""
    containers = pod["status"].get("initContainerStatuses", ())
    return any(c["name"] == "measure" and "running" in c["state"] for c in containers)


def test_a_board_s_pod_is_drained_and_tried_again(
    cluster: Cluster, release: Release, conversions: Conversions
) -> None:
    linux = {"kubernetes.io/os": "linux"}
    board = {"name": "bench", "nodeSelector": linux, "runs": 10000, "resources": {"limits": {"cpu": "300m"}}}
    name = conversions.apply(EXAMPLE, methods=["Float32"], benchmark={"boards": [board]})
    deadline = time.monotonic() + 120
    while not (pods := [p for p in conversions.pods() if measures(p)]):
        assert time.monotonic() < deadline, conversions.describe(conversions.status(name))
        time.sleep(0.2)
    (pod,) = pods
    drained = pod["metadata"]["name"]
    conversions.kubectl("delete", "pod", drained, "-n", conversions.namespace, "--wait=false")
    status = conversions.ended(name)
    assert status["phase"] == "Succeeded", conversions.describe(status)
    (row,) = status["measurements"]
    assert [file["passed"] for file in row["files"]] == [True]
    after = [p for p in conversions.pods() if p["spec"].get("nodeSelector") == linux]
    assert drained not in {p["metadata"]["name"] for p in after}
    assert after, "the Job made another"
