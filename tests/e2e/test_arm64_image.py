"""The image of boards for arm64, built and run by emulation: its command, and an inference of integers."""

from __future__ import annotations

import os

import numpy as np
import pytest
from rich.console import Console

from devcluster.images.build import ensure_arm64_runtime_image
from devcluster.images.buildah import Buildah
from devcluster.images.emulation import emulated
from support.cluster.e2e_cluster import Cluster
from support.converter.tflite_files import O, T, ints, tflite

_RUN = """
import platform, sys
import numpy as np
from edge_inference.runtime import Model
from pathlib import Path
given = Model(Path(sys.argv[1])).run_each({"x": np.load(sys.argv[2])})["y"]
print(platform.machine(), *given.ravel().tolist())
"""
_SCALE = 1 / 64


@pytest.mark.skipif("E2E_ARM64" not in os.environ, reason="takes minutes of emulation: set E2E_ARM64=1")
def test_the_boards_image_for_arm64_runs_an_int8_file(cluster: Cluster) -> None:
    cluster.real_node()  # images are built here for no other
    console, buildah = Console(stderr=True), Buildah()
    image = ensure_arm64_runtime_image(console)
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
    with emulated("arm64", console), buildah.container(image.reference) as (container, root):
        (root / "tmp/m.tflite").write_bytes(content)
        np.save(root / "tmp/x.npy", samples)
        assert "Usage: tflite-converter" in buildah.run_in(container, "tflite-converter", "--help")
        machine, *given = buildah.run_in(
            container, "python3", "-c", _RUN, "/tmp/m.tflite", "/tmp/x.npy"
        ).split()
    stored = np.clip(np.rint(samples / _SCALE), -128, 127)
    steps = (stored @ weights.T.astype(np.float64)) * _SCALE**2 * 8
    assert machine == "aarch64"
    np.testing.assert_array_equal(
        np.array(given, np.float64).reshape(4, 4), np.clip(np.floor(steps + 0.5), -128, 127) / 8
    )
