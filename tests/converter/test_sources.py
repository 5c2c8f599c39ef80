"""Every source format and both Keras generations become all four artifacts, on real TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from converting import Converted, convert_into

from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason
from modelconversion_api.calibration_report import DataRole
from modelconversion_api.measurements import AgreementMetric
from modelconversion_api.spec import SourceFormat
from tflite_converter.errors import ConverterError
from tflite_converter.runtime import TFLiteModel

SOURCES = {
    "keras2.h5": (SourceFormat.KERAS_H5, "keras 2"),
    "keras3.h5": (SourceFormat.KERAS_H5, "keras 3"),
    "keras3.keras": (SourceFormat.KERAS, "keras 3"),
    "keras2_savedmodel": (SourceFormat.SAVED_MODEL, "tensorflow"),
}


@pytest.fixture(scope="module", params=SOURCES)
def converted(
    request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Converted:
    return convert_into(
        tmp_path_factory.mktemp("out"),
        models / request.param,
        *Method,
        calibration=models / "images.npy",
        calibration_labels=models / "labels.npy",
        validation=models / "held_out.npy",
        validation_labels=models / "held_out_labels.npy",
    )


def test_names_sizes_and_what_was_read(converted: Converted, request: pytest.FixtureRequest) -> None:
    source_format, writer = SOURCES[request.node.callspec.params["converted"]]
    report = converted.report
    assert sorted(p.name for p in converted.output.iterdir()) == sorted(m.file_name("model") for m in Method)
    assert report.source.format is source_format
    assert report.tool_versions["source-writer"].startswith(writer)
    assert [i.shape for i in report.source.inputs] == [[1, 8, 8, 1]]
    assert [o.shape for o in report.source.outputs] == [[1, 4]]
    size = {a.method: a.size_bytes for a in report.artifacts}
    assert size[Method.DYNAMIC_RANGE] < size[Method.FLOAT16] < size[Method.FLOAT32]
    assert size[Method.FULL_INTEGER] < 0.5 * size[Method.FLOAT32]


def test_every_artifact_agrees_and_is_measured(converted: Converted) -> None:
    report = converted.report
    assert report.evaluation.agreement_metric is AgreementMetric.TOP1
    assert report.evaluation.data.role is DataRole.VALIDATION
    assert report.calibration is not None
    assert report.calibration.samples == 100
    snr = {a.method: a.snr_db for a in report.artifacts}
    for artifact in report.artifacts:
        assert artifact.agreement is not None
        assert artifact.agreement >= 0.97
        assert artifact.accuracy is not None
        assert artifact.latency is not None
        assert artifact.passed
        assert artifact.message is None
    for method, least in (
        (Method.FLOAT32, 90),
        (Method.FLOAT16, 50),
        (Method.DYNAMIC_RANGE, 25),
        (Method.FULL_INTEGER, 25),
    ):
        assert (snr[method] or 200) > least
    assert report.recommended is not None


def test_full_integer_is_int8_at_both_ends(converted: Converted) -> None:
    model = TFLiteModel(converted.file(Method.FULL_INTEGER))
    assert [t.dtype for t in (*model.inputs, *model.outputs)] == [np.int8, np.int8]
    assert not any(dtype.kind == "f" for dtype in model.tensor_dtypes())
    for method in (Method.FLOAT32, Method.DYNAMIC_RANGE, Method.FLOAT16):
        other = TFLiteModel(converted.file(method))
        assert [t.dtype for t in (*other.inputs, *other.outputs)] == [np.float32, np.float32]


def test_two_named_inputs_and_two_outputs(models: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    data = tmp_path / "data.npz"
    np.savez(data, right=generator.normal(size=(120, 3)), left=generator.normal(size=(120, 6)))
    found = convert_into(tmp_path / "out", models / "two_inputs.keras", *Method, calibration=data)
    report = found.report
    assert {i.name: i.shape for i in report.source.inputs} == {"left": [1, 6], "right": [1, 3]}
    assert {o.name: o.shape for o in report.source.outputs} == {"score": [1, 2], "vector": [1, 5]}
    assert report.evaluation.agreement_metric is AgreementMetric.COSINE
    assert report.evaluation.data.role is DataRole.CALIBRATION
    assert all((a.agreement or 0) > 0.98 for a in report.artifacts)
    for method in Method:
        model = TFLiteModel(found.file(method))
        assert {t.name for t in model.inputs} == {"left", "right"}
        assert {t.name for t in model.outputs} == {"score", "vector"}


def test_integer_inputs_and_no_data(models: Path, tmp_path: Path) -> None:
    found = convert_into(tmp_path, models / "embedding.keras", Method.FLOAT32, Method.DYNAMIC_RANGE)
    assert found.report.evaluation.data.role is DataRole.RANDOM
    assert any("random inputs" in warning for warning in found.report.warnings)
    model = TFLiteModel(found.file(Method.DYNAMIC_RANGE))
    assert model.inputs[0].dtype == np.int32


def test_full_integer_of_a_recurrent_model_is_refused_with_both_reasons(models: Path, tmp_path: Path) -> None:
    """litert-quantizer has no ranges for the loop's tensors, and TensorFlow's own quantizer segfaults."""
    data = tmp_path / "data.npy"
    np.save(data, np.random.default_rng(0).normal(size=(100, 6, 4)))
    with pytest.raises(ConverterError, match=r"litert-quantizer \(.*\) and in TensorFlow \(.*\)") as caught:
        convert_into(tmp_path / "out", models / "recurrent.keras", Method.FULL_INTEGER, calibration=data)
    assert caught.value.reason is FailureReason.QUANTIZATION_FAILED
    assert [p.name for p in tmp_path.iterdir()] == ["data.npy"]
