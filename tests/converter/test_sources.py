"""Every source format and both Keras generations become all four artifacts, on real TensorFlow."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.fields.data import Task
from modelconversion_api.methods import Method, Target
from modelconversion_api.reasons import FailureReason
from modelconversion_api.reports.calibration import DataRole
from modelconversion_api.reports.conversion import ArtifactReport
from modelconversion_api.reports.measurements import AgreementMetric
from modelconversion_api.spec import SourceFormat
from support.converter.converting import Converted, convert_into
from tflite_converter.errors import ConverterError
from tflite_converter.tflite.runtime import TFLiteModel

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
    assert sorted(p.name for p in converted.output.glob("*.tflite")) == sorted(
        m.file_name("model") for m in Method
    )
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
    assert report.calibration.data.samples == 100
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
        (Method.INT16_ACTIVATIONS, 35),
        (Method.WEIGHT_ONLY_INT8, 35),
        (Method.INT4, 10),
    ):
        assert (snr[method] or 200) > least
    assert report.recommended is not None


def test_int16_activations_are_int16_at_both_ends(converted: Converted) -> None:
    model = TFLiteModel(converted.file(Method.INT16_ACTIVATIONS))
    tensors = (*model.inputs, *model.outputs)
    assert [(t.dtype, t.zero_point) for t in tensors] == [(np.int16, 0), (np.int16, 0)]
    (report,) = [a for a in converted.report.artifacts if a.method is Method.INT16_ACTIVATIONS]
    assert report.layers


def test_full_integer_is_int8_at_both_ends(converted: Converted) -> None:
    model = TFLiteModel(converted.file(Method.FULL_INTEGER))
    assert [t.dtype for t in (*model.inputs, *model.outputs)] == [np.int8, np.int8]
    (report,) = [a for a in converted.report.artifacts if a.method is Method.FULL_INTEGER]
    assert report.inventory is not None
    assert not {"float32", "float16"} & set(report.inventory.tensor_dtypes)
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
    assert report.evaluation.task is Task.REGRESSION
    assert report.evaluation.agreement_metric is AgreementMetric.R2
    assert report.evaluation.data.role is DataRole.HELD_OUT
    assert report.evaluation.data.samples == 24
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


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("recurrent.keras", None, "fused LSTM layers"),
        ("recurrent.h5", Target.MICROCONTROLLER, "fused LSTM layers"),
        ("recurrent.h5", Target.RASPBERRY_PI, "time steps unrolled"),  # larger, and faster on a CPU
        ("bidirectional.keras", None, "time steps unrolled"),
    ],
)
def test_full_integer_of_a_recurrent_model_has_no_loop(
    models: Path, tmp_path: Path, name: str, target: Target | None, words: str
) -> None:
    """A loop's tensors have no ranges, and TensorFlow's own quantizer dies of it."""
    data = tmp_path / "data.npy"
    np.save(data, np.random.default_rng(0).normal(size=(120, 6, 4)))
    found = convert_into(tmp_path / "out", models / name, *Method, calibration=data, target=target)
    operators = {a.method: _operators(a) for a in found.report.artifacts}
    loop = "WHILE" if name.startswith("bidirectional") else "UNIDIRECTIONAL_SEQUENCE_LSTM"
    assert loop in operators[Method.FLOAT32]
    assert "WHILE" not in operators[Method.FULL_INTEGER]
    (int8,) = [a for a in found.report.artifacts if a.method is Method.FULL_INTEGER]
    assert int8.recipe is not None
    assert words in int8.recipe
    assert (int8.snr_db or 200) > 15


def _operators(artifact: ArtifactReport) -> set[str]:
    assert artifact.inventory is not None
    return {found.operator for found in artifact.inventory.operators}


def test_one_method_that_fails_does_not_cost_the_others(models: Path, tmp_path: Path) -> None:
    """A loop over steps whose number is open: integers fail, full integer in both quantizers, and say why."""
    data = tmp_path / "data.npy"
    np.save(data, np.random.default_rng(0).normal(size=(100, 6, 4)))
    found = convert_into(tmp_path / "out", models / "recurrent_savedmodel", *Method, calibration=data)
    assert [a.method for a in found.report.artifacts] == [
        Method.FLOAT32,
        Method.DYNAMIC_RANGE,
        Method.FLOAT16,
        Method.WEIGHT_ONLY_INT8,
        Method.INT4,
    ]
    failed, wide = found.report.failed_methods
    assert (failed.method, wide.method) == (Method.FULL_INTEGER, Method.INT16_ACTIVATIONS)
    assert wide.reason is FailureReason.QUANTIZATION_FAILED
    assert failed.reason is FailureReason.QUANTIZATION_FAILED
    assert "loops and branches: it has a loop or branch, and sizes of " in failed.message
    assert "--input-shape" in failed.message
    assert sorted(p.name for p in found.output.glob("*.tflite")) == [
        "model_dynamic_range.tflite",
        "model_float16.tflite",
        "model_float32.tflite",
        "model_int4.tflite",
        "model_weight_only_int8.tflite",
    ]
    with pytest.raises(ConverterError) as caught:
        convert_into(
            tmp_path / "none", models / "recurrent_savedmodel", Method.FULL_INTEGER, calibration=data
        )
    assert caught.value.reason is FailureReason.QUANTIZATION_FAILED
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_packed_saved_model(models: Path, tmp_path: Path, suffix: str) -> None:
    kind = {"zip": "zip", "tar.gz": "gztar"}[suffix]
    packed = Path(shutil.make_archive(str(tmp_path / "model"), kind, models, "keras2_savedmodel"))
    found = convert_into(tmp_path / "out", packed, Method.FLOAT32)
    assert found.report.source.format is SourceFormat.SAVED_MODEL
    assert found.report.source.sha256 == hashlib.sha256(packed.read_bytes()).hexdigest()


def test_float_tflite_file_is_a_source(models: Path, tmp_path: Path) -> None:
    data = models / "images.npy"
    first = convert_into(tmp_path / "first", models / "keras2.h5", *Method, calibration=data)
    second = convert_into(tmp_path / "second", first.file(Method.FLOAT32), *Method, calibration=data)
    assert second.report.source.format is SourceFormat.TFLITE
    assert [i.shape for i in second.report.source.inputs] == [[1, 8, 8, 1]]
    for before, after in zip(first.report.artifacts, second.report.artifacts, strict=True):
        assert after.snr_db is None or after.snr_db == pytest.approx(before.snr_db or 200, abs=3)
    with pytest.raises(ConverterError, match="quantized already"):
        convert_into(tmp_path / "third", first.file(Method.FULL_INTEGER), Method.DYNAMIC_RANGE)


def test_open_dimensions_can_be_set(models: Path, tmp_path: Path) -> None:
    source = models / "open.keras"
    found = convert_into(
        tmp_path / "set", source, Method.FLOAT32, Method.DYNAMIC_RANGE, input_shapes={"audio": (1, 50, 2)}
    )
    assert [i.shape for i in found.report.source.inputs] == [[1, 50, 2]]
    assert TFLiteModel(found.file(Method.FLOAT32)).inputs[0].shape == (1, 50, 2)
    for shapes, says in (
        ({"sound": (1, 50, 2)}, "no input 'sound'"),
        ({"audio": (1, 50, 3)}, "cannot have the shape"),
    ):
        with pytest.raises(ConverterError, match=says) as caught:
            convert_into(tmp_path / "no", source, Method.FLOAT32, input_shapes=shapes)
        assert caught.value.reason is FailureReason.UNSUPPORTED_SHAPE


def test_tensorflow_operations_stay_only_when_asked_for(models: Path, tmp_path: Path) -> None:
    source = models / "inverts_savedmodel"
    with pytest.raises(ConverterError, match=r"MatrixInverse") as caught:
        convert_into(tmp_path / "no", source, Method.FLOAT32)
    assert caught.value.reason is FailureReason.UNSUPPORTED_OPERATION
    found = convert_into(tmp_path / "flex", source, Method.FLOAT32, select_tensorflow_ops=True)
    (artifact,) = found.report.artifacts
    assert artifact.inventory is not None
    assert artifact.inventory.flex_operators == ("FlexMatrixInverse",)
    mobile = next(t for t in artifact.targets if t.target is Target.MOBILE)
    assert any("Flex" in problem for problem in mobile.problems)


def test_batch_normalization_is_folded_away(converted: Converted) -> None:
    (float32,) = [a for a in converted.report.artifacts if a.method is Method.FLOAT32]
    assert _operators(float32) == {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "RESHAPE", "SOFTMAX"}
