"""Files of every method on runtimes of other years: they compute the same, or refuse as the file says."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.converter.old_runtimes import RUNTIMES, Runtime, run_files
from support.converter.tflite_files import O, T, floats, tflite
from support.converter.weighted import OPERATORS, samples_of, weights_of
from tflite_converter.arrays import Array
from tflite_converter.quantizing.calibration import RangeMethod, calibrate
from tflite_converter.quantizing.constants import with_halved_constants
from tflite_converter.quantizing.quantization import (
    Recipe,
    dynamic_range,
    full_integer,
    int4,
    weight_only_int8,
)
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.runtime import TFLiteModel
from tflite_converter.tflite.runtime_versions import later
from tflite_converter.tflite.versions import oldest_runtime, with_versions

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11) or platform.machine() != "x86_64",
    reason="tflite-runtime 2.14 has wheels for few Pythons and machines",
)
LEAST_DB = {
    "float32": 100.0,
    "float16": 50.0,
    "dynamic_range": 25.0,
    "dense_by_tensor": 25.0,
    "int8": 25.0,
} | {
    "int16": 35.0,
    "weight_only": 35.0,
    "int4": 10.0,
}


def integers(content: bytes, samples: dict[str, Array], bits: int = 8) -> bytes:
    """Return the full-integer file of a float one."""
    ranges = calibrate(content, samples, 1, lambda _done: None).ranges(RangeMethod.EXTREMES)
    return full_integer(content, ranges, Recipe(activation_bits=bits))


MAKE: dict[str, Callable[[bytes, dict[str, Array]], bytes]] = {
    "float32": lambda content, _samples: content,
    "float16": lambda content, _samples: with_halved_constants(content),
    "dynamic_range": lambda content, _samples: dynamic_range(content),
    "dense_by_tensor": lambda content, _samples: dynamic_range(content, dense_per_tensor=True),
    "int8": integers,
    "int16": lambda content, samples: integers(content, samples, bits=16),
    "weight_only": lambda content, _samples: weight_only_int8(content),
    "int4": lambda content, _samples: int4(content, ("y",)),
}


def float_files() -> dict[str, tuple[bytes, dict[str, Array]]]:
    """Return a float file of each operator that has weights, with samples."""
    files = {}
    for name, operator in OPERATORS.items():
        weights = weights_of(operator, (1.0, 3.0, 0.3, 1.0))
        files[name] = (
            operator.write(weights, np.array([0.1, -1.0, 0.5, 0.0], np.float32)),
            samples_of(operator, 12),
        )
    table = np.random.default_rng(2).normal(size=(60, 8)).astype(np.float32)
    rows = tflite(
        [
            T("x", (1, 3), "INT32"),
            T("y", (1, 3, 8), "FLOAT32"),
            T("table", table.shape, "FLOAT32", floats(*table.ravel())),
        ],
        [O("GATHER", (2, 0), (1,))],
        signature=({"x": 0}, {"y": 1}),
    )
    numbers = np.random.default_rng(3).integers(0, 60, (12, 3)).astype(np.int32)
    return files | {"table": (rows, {"x": numbers})}


@pytest.fixture(scope="module")
def written(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[tuple[str, str], tuple[Path, dict[str, Array], Array]]:
    """Files by operator and method, each with samples and the float file's outputs."""
    folder, files = tmp_path_factory.mktemp("files"), {}
    for name, (content, samples) in float_files().items():
        expected = TFLiteModel(content).run_each(samples)["y"]
        for method, make in MAKE.items():
            path = folder / f"{name}-{method}.tflite"
            path.write_bytes(with_versions(make(content, samples)))
            files[name, method] = (path, samples, expected)
    return files


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda r: r.package or "today's")
def test_a_file_computes_the_same_or_is_refused(
    runtime: Runtime, written: dict[tuple[str, str], Any], tmp_path: Path
) -> None:
    python = runtime.python()
    if python is None:
        pytest.skip(f"{runtime.package} cannot be installed here")
    answers = run_files(python, {path: samples for path, samples, _ in written.values()}, tmp_path)
    refused = set()
    for (name, method), (path, _, expected) in written.items():
        oldest = oldest_runtime(read_file(path.read_bytes(), path.name))
        assert oldest is not None
        is_too_young = later((oldest, runtime.tensorflow)) != runtime.tensorflow
        for delegate in ("xnnpack", "none"):
            error = answers.get(f"{path}|{delegate}|error")
            if error is not None:
                assert is_too_young, (name, method, str(error))
                assert "Didn't find op" in str(error) or "failed to prepare" in str(error)
                refused.add((name, method))
                continue
            assert not is_too_young, (name, method, "runs on a runtime that is older than it says")
            actual = answers[f"{path}|{delegate}|0"]
            noise = np.sum((actual - expected) ** 2)
            ratio = 200.0 if noise == 0 else 10 * np.log10(np.sum(expected.astype(np.float64) ** 2) / noise)
            assert ratio > LEAST_DB[method], (name, method, delegate, ratio)
    # Dense layers have a form for old runtimes; of a transposed convolution they take float weights only.
    too_young = {
        ("dense", "dynamic_range"),
        *(("transposed", m) for m in ("dynamic_range", "dense_by_tensor")),
        *((name, "int4") for name in ("dense", "convolution")),
    }
    assert refused == (too_young if runtime.tensorflow == "2.14" else set())
