"""A small model for whole conversions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.converter.hard_models import INPUT, OUTPUT, Hard, chain


@pytest.fixture(scope="session")
def two_dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of two dense layers, and samples."""
    generator = np.random.default_rng(5)
    kernels = [generator.normal(0, 0.25, (16, 16)).astype(np.float32) for _ in range(2)]
    samples = generator.normal(size=(120, 16)).astype(np.float32)
    hard = Hard(chain(kernels, ["a", OUTPUT]), {INPUT: samples}, {})
    folder = tmp_path_factory.mktemp("model")
    (folder / "model.tflite").write_bytes(hard.content)
    np.save(folder / "samples.npy", samples)
    return folder
