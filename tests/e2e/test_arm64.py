"""The images for arm64, built and run by emulation: operator, an inference of integers, conversions."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from rich.console import Console

from devcluster.cache import REPOSITORY
from devcluster.images.build import ensure_arm64_images
from devcluster.images.buildah import Buildah
from devcluster.images.emulation import emulated
from devcluster.images.node_images import Image
from devcluster.processes import free_ports, wait_until_ready
from support.cluster.chart_release import Release
from support.cluster.e2e_cluster import Cluster, Conversions, ImageNames
from support.cluster.example import EXAMPLE
from support.converter.tflite_files import O, T, ints, tflite
from tflite_converter.tflite.runtime import TFLiteModel

pytestmark = [
    pytest.mark.skipif("E2E_ARM64" not in os.environ, reason="takes minutes of emulation: set E2E_ARM64=1"),
    pytest.mark.timeout(3600),
]

_RUN = """
import platform, sys
import numpy as np
from edge_inference.runtime import Model
from pathlib import Path
given = Model(Path(sys.argv[1])).run_each({"x": np.load(sys.argv[2])})["y"]
print(platform.machine(), *given.ravel().tolist())
"""
_SCALE = 1 / 64
_DETECTOR = REPOSITORY / "examples" / "detector" / "make_model.py"
_AGREES = 0.99


@pytest.fixture(scope="module")
def arm64(cluster: Cluster) -> dict[str, Image]:
    cluster.real_node()  # images are built here for no other
    return ensure_arm64_images(Console(stderr=True))


def test_the_boards_image_runs_an_int8_file(arm64: dict[str, Image]) -> None:
    generator = np.random.default_rng(0)
    samples = generator.uniform(-1, 1, (4, 8)).astype(np.float32)
    weights = generator.integers(-127, 128, (4, 8)).astype(np.int8)
    scaled = {"scales": [_SCALE], "zero_points": [0]}
    content = tflite(
        [
            T("x", (1, 8), **scaled),
            T("y", (1, 4), scales=[1 / 8], zero_points=[0]),
            T("w", (4, 8), data=weights.tobytes(), **scaled),
            T("b", (4,), "INT32", data=ints(0, 0, 0, 0), scales=[_SCALE**2], zero_points=[0]),
        ],
        [O("FULLY_CONNECTED", (0, 2, 3), (1,), version=4)],
    )
    with _running(arm64["runtime"]) as (buildah, container, root):
        (root / "tmp/m.tflite").write_bytes(content)
        np.save(root / "tmp/x.npy", samples)
        assert "Usage: tflite-converter" in buildah.run_in(container, "tflite-converter", "--help")
        said = buildah.run_in(container, "python3", "-c", _RUN, "/tmp/m.tflite", "/tmp/x.npy")
    machine, *given = said.split()
    stored = np.clip(np.rint(samples / _SCALE), -128, 127)
    steps = (stored @ weights.T.astype(np.float64)) * _SCALE**2 * 8
    assert machine == "aarch64"
    np.testing.assert_array_equal(
        np.array(given, np.float64).reshape(4, 4), np.clip(np.floor(steps + 0.5), -128, 127) / 8
    )


def test_the_operator_takes_a_conversion_to_its_end(
    arm64: dict[str, Image],
    cluster: Cluster,
    images: ImageNames,
    release: Release,
    conversions: Conversions,
    tmp_path: Path,
) -> None:
    """Beside the released one, which has brought the resources: that acts on another class."""
    (port,) = free_ports(1)
    with _running(arm64["operator"]) as (buildah, container, root):
        (root / "tmp/kubeconfig").write_text(cluster.kubectl.kubeconfig.read_text())
        (root / "tmp/kubeconfig").chmod(0o644)  # the container's user is another one
        process = buildah.start_in(
            container,
            tmp_path / "operator.log",
            *("env", "KUBECONFIG=/tmp/kubeconfig", "modelconversion-operator"),
            *("--converter-image", images.converter, "--class-name", "arm64"),
            *("--namespaces", conversions.namespace, "--lease-namespace", conversions.namespace),
            *("--http-host", "127.0.0.1", "--http-port", str(port)),
        )
        try:
            wait_until_ready(process, lambda: _is_ready(port), 600)
            name = conversions.apply(EXAMPLE, className="arm64", methods=["Float16"])
            status = conversions.ended(name, 900)
        finally:
            process.stop()
    assert status["phase"] == "Succeeded", conversions.describe(status)
    assert [artifact["method"] for artifact in status["artifacts"]] == ["Float16"]


def test_the_converter_converts_a_keras_model(arm64: dict[str, Image], gesture: dict[str, Path]) -> None:
    report = _converted(
        arm64["converter"], gesture["gesture_classifier.h5"], gesture["datasets/val_features.npy"]
    )
    assert all(artifact["agreement"] >= _AGREES for artifact in report["artifacts"]), report["artifacts"]


def test_the_onnx_engine_converts_a_detector(arm64: dict[str, Image], tmp_path: Path) -> None:
    subprocess.run([sys.executable, _DETECTOR, tmp_path], check=True)
    _converted(arm64["onnx"], tmp_path / "detector.onnx", tmp_path / "calibration.npy")


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _converted(image: Image, model: Path, data: Path) -> dict[str, Any]:
    """Convert a model by all methods there, and run the files here; gives the report."""
    with _running(image) as (buildah, container, root):
        for file in (model, data):
            shutil.copy(file, root / "tmp")
        buildah.run_in(
            container,
            *("tflite-converter", "convert", "--model", f"/tmp/{model.name}", "--method", "all"),
            *("--data", f"/tmp/{data.name}", "--output", "/tmp/out", "--tuning-seconds", "0"),
        )
        (made,) = (root / "tmp/out").glob("*_report.json")
        report: dict[str, Any] = json.loads(made.read_text())
        files = {path.name: path.read_bytes() for path in (root / "tmp/out").glob("*.tflite")}
    artifacts = report["artifacts"]
    assert {a["method"] for a in artifacts} == {"Float32", "DynamicRange", "Float16", "FullInteger"}
    assert all(a["usable"] for a in artifacts), artifacts
    for artifact in artifacts:
        content = files[artifact["fileName"]]
        assert hashlib.sha256(content).hexdigest() == artifact["sha256"]
        model_here = TFLiteModel(content)
        outputs = model_here.run({info.name: np.zeros(info.shape, np.float32) for info in model_here.inputs})
        assert all(np.isfinite(values).all() for values in outputs.values())
    return report


@contextmanager
def _running(image: Image) -> Iterator[tuple[Buildah, str, Path]]:
    """Give a container of the image in which commands can be run, and where its files are."""
    buildah = Buildah()
    with emulated("arm64", Console(stderr=True)), buildah.container(image.reference) as (container, root):
        yield buildah, container, root
