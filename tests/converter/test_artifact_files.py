"""Reading, describing and annotating files that TensorFlow and litert-quantizer made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from modelconversion_api.methods import DEFAULT_METHODS, Method, Target
from tflite_converter.targets.check import check_target
from tflite_converter.tflite.file import inventory, is_float, read_file
from tflite_converter.tflite.metadata import STANDARD_NAME, read_record, with_metadata
from tflite_converter.tflite.runtime import TFLiteModel

PUBLISHED = ["ad01_fp32", "ad01_int8", "vww_96_float", "vww_96_int8"]


def outputs(content: bytes) -> list[Any]:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    generator = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        values = generator.normal(0, 40, detail["shape"]).astype(detail["dtype"])
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def annotated(content: bytes) -> bytes:
    return with_metadata(content, {"made": "for a test"}, name="m", description="d")


@pytest.mark.shared_models
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_run_the_same_with_metadata(shared_models: Path, name: str) -> None:
    before = (shared_models / f"{name}.tflite").read_bytes()
    after = annotated(before)
    for expected, found in zip(outputs(before), outputs(after), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert read_file(after, name).subgraphs == read_file(before, name).subgraphs
    assert len(after) - len(before) < 2048


@pytest.mark.shared_models
@pytest.mark.parametrize("name", PUBLISHED)
def test_names_shapes_and_dtypes_are_those_of_litert(shared_models: Path, name: str) -> None:
    path = shared_models / f"{name}.tflite"
    found = inventory(read_file(path.read_bytes(), name))
    model = TFLiteModel(path)
    for ours, theirs in ((found.inputs, model.inputs), (found.outputs, model.outputs)):
        assert [(t.name, tuple(t.shape), t.dtype) for t in ours] == [
            (t.name, t.shape, str(t.dtype)) for t in theirs
        ]
        assert [t.scale or 0.0 for t in ours] == pytest.approx([t.scale for t in theirs])


@pytest.mark.shared_models
def test_published_files_run_where_mlperf_tiny_runs_them(shared_models: Path) -> None:
    """MLPerf Tiny is a benchmark of microcontrollers: its integer files suit them, its floats do not."""
    for name in PUBLISHED:
        file = read_file((shared_models / f"{name}.tflite").read_bytes(), name)
        check = check_target(file, Target.MICROCONTROLLER)
        assert check.suitable is name.endswith("int8"), check.problems
        assert is_float(file) is not name.endswith("int8")


def test_each_method_s_artifact(gesture: Path) -> None:
    """What `convert` left: its record and the standard metadata in each file, and no constant outside."""
    for method in DEFAULT_METHODS:
        name = method.file_name("gesture_classifier")
        content = (gesture / "converted_models" / name).read_bytes()
        file = read_file(content, name)
        record = read_record(file)
        assert record is not None
        assert record["method"] == method.value
        assert bytes(file.metadata[STANDARD_NAME][4:8]) == b"M001"
        assert not file.has_outside_buffers
        assert is_float(file) is (method is Method.FLOAT32)
        assert check_target(file, Target.MICROCONTROLLER).suitable is (method is Method.FULL_INTEGER)
        for expected, found in zip(outputs(content), outputs(annotated(content)), strict=True):
            np.testing.assert_array_equal(found, expected)
