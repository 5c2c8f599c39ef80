"""Whole conversions of small float TFLite files: real children, no TensorFlow."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelconversion_api.fields.data import Images, ImageScaling, Task
from modelconversion_api.fields.detection import Decoder, Detection
from modelconversion_api.methods import Method, Target
from modelconversion_api.reasons import FailureReason
from modelconversion_api.reports.conversion import ArtifactReport
from modelconversion_api.reports.measurements import AccuracyMetric
from support.converter import hard_models
from support.converter.converting import Converted, convert_into
from support.converter.hard_models import INPUT, OUTPUT, Hard
from support.converter.heads import detector_data, head_model, ssd_data, ssd_model
from support.converter.tflite_files import O, T, floats, tflite
from support.converter.tiny_tflite import write_tiny_tflite
from tflite_converter.arrays import Array
from tflite_converter.data.files import DataFiles
from tflite_converter.errors import ConverterError
from tflite_converter.isolation import machine
from tflite_converter.measuring.gates import Gates
from tflite_converter.report.page import render
from tflite_converter.tflite.runtime import TFLiteModel

pytestmark = pytest.mark.slow


def converted(
    folder: Path, hard: Hard, *methods: Method, labels: Array | None = None, **options: Any
) -> Converted:
    """Converts with the samples that belong to the file."""
    folder.mkdir(exist_ok=True)
    (folder / "model.tflite").write_bytes(hard.content)
    np.save(folder / "calibration.npy", hard.calibration[INPUT])
    np.save(folder / "evaluation.npy", hard.evaluation[INPUT])
    if labels is not None:
        np.save(folder / "labels.npy", labels)
        options["validation_labels"] = folder / "labels.npy"
    return convert_into(
        folder / "out",
        folder / "model.tflite",
        *methods,
        calibration=folder / "calibration.npy",
        validation=folder / "evaluation.npy",
        **options,
    )


BOTH = (Method.FLOAT32, Method.FULL_INTEGER)


def int8_of(found: Converted) -> ArtifactReport:
    (artifact,) = [a for a in found.report.artifacts if a.method is Method.FULL_INTEGER]
    return artifact


def classes_of(hard: Hard) -> Array:
    outputs = TFLiteModel(hard.content).run_each(hard.evaluation)[OUTPUT]
    classes: Array = np.argmax(outputs, axis=1)
    return classes


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_one_hot_labels_measure_a_classifier(tmp_path: Path, dtype: type) -> None:
    hard = hard_models.easy()
    truth = classes_of(hard)
    truth[:20] = (truth[:20] + 1) % 4  # the model is wrong on every tenth
    found = converted(tmp_path, hard, Method.FLOAT32, labels=np.eye(4, dtype=dtype)[truth])
    evaluation = found.report.evaluation
    assert evaluation.task is Task.CLASSIFICATION
    assert evaluation.original is not None
    assert (evaluation.original.metric, evaluation.original.accuracy) == (AccuracyMetric.TOP1, 0.9)
    (artifact,) = found.report.artifacts
    assert artifact.accuracy == 0.9
    assert artifact.confusion is not None
    assert artifact.confusion.against == "Labels"
    assert sum(map(sum, artifact.confusion.counts)) == 200


@pytest.mark.parametrize("task", [Task.CLASSIFICATION, Task.EMBEDDING, Task.RECONSTRUCTION, Task.MULTI_LABEL])
def test_labels_that_do_not_fit_are_left_aside_with_a_word(tmp_path: Path, task: Task) -> None:
    """Rows of yes and no for a model that is none of that kind; and the gate on accuracy is missed."""
    hard = hard_models.easy()
    labels = np.random.default_rng(0).integers(0, 2, (200, 4 if task is not Task.MULTI_LABEL else 5))
    if task is Task.MULTI_LABEL:
        with pytest.raises(ConverterError) as caught:
            converted(tmp_path, hard, Method.FLOAT32, labels=labels, task=task)
        assert caught.value.reason is FailureReason.LABELS_MISMATCH
        return
    gates = Gates(max_accuracy_drop=0.5)
    found = converted(tmp_path, hard, Method.FLOAT32, labels=labels, task=task, gates=gates)
    assert found.report.evaluation.task_is_given
    assert f"the labels do not fit a {task.value} model: accuracy is not measured" in found.report.warnings
    (artifact,) = found.report.artifacts
    assert (artifact.accuracy, artifact.passed) == (None, False)
    assert artifact.message == "accuracy could not be measured"


def measured_head(folder: Path, heads: Array, labels: Path, **options: Any) -> Converted:
    (folder / "head.tflite").write_bytes(head_model(*heads.shape[1:]))
    np.save(folder / "x.npy", heads.reshape(len(heads), -1).astype(np.float32))
    files = DataFiles(folder / "x.npy", labels, task=options["task"])
    return convert_into(
        folder / "out", folder / "head.tflite", *BOTH, calibration=files, validation=files, **options
    )


def test_a_detector_is_measured_by_average_precision(tmp_path: Path) -> None:
    heads, labels = detector_data(tmp_path)
    found = measured_head(
        tmp_path,
        heads,
        labels,
        task=Task.DETECTION,
        detection=Detection(decoder=Decoder.YOLO_V8),
        gates=Gates(max_accuracy_drop=0.2, min_accuracy=0.5, min_agreement=0.95),
    )
    evaluation = found.report.evaluation
    expected = (1 + 51 / 101) / 2
    assert evaluation.original is not None
    assert evaluation.original.metric is AccuracyMetric.MEAN_AVERAGE_PRECISION
    assert evaluation.original.accuracy == pytest.approx(expected, abs=1e-6)
    assert [(c.name, c.score) for c in evaluation.original.classes] == [
        ("cup", 1.0),
        ("jug", pytest.approx(51 / 101, abs=1e-6)),
    ]
    assert (evaluation.agreement_metric.value, evaluation.detection) == (
        "Detections",
        Detection(decoder=Decoder.YOLO_V8),
    )
    for artifact in found.report.artifacts:
        assert artifact.passed, artifact.message
        assert artifact.agreement == 1.0
        assert artifact.scores is not None
        assert artifact.scores.map50 == pytest.approx(expected, abs=1e-6)
    float32 = found.report.artifacts[0]
    assert float32.accuracy == pytest.approx(expected, abs=1e-6)
    # Eight bits move the edges: at high thresholds some boxes are beside.
    assert 0.5 < (int8_of(found).accuracy or 0.0) <= expected
    page = render(found.report)
    assert "jug (1)" in page
    assert "MeanAveragePrecision" in page


def test_a_detector_that_suppresses_boxes_itself(tmp_path: Path) -> None:
    """LiteRT's own TFLite_Detection_PostProcess, on data of which the figures are known."""
    samples, labels = ssd_data(tmp_path)
    (tmp_path / "ssd.tflite").write_bytes(ssd_model())
    np.save(tmp_path / "x.npy", samples)
    files = DataFiles(tmp_path / "x.npy", labels, task=Task.DETECTION)
    found = convert_into(
        tmp_path / "out",
        tmp_path / "ssd.tflite",
        *BOTH,
        calibration=files,
        validation=files,
        task=Task.DETECTION,
        detection=Detection(decoder=Decoder.POST_PROCESSED),
    ).report
    assert found.evaluation.original is not None
    assert found.evaluation.original.accuracy == pytest.approx(51 / 101, abs=1e-6)
    for artifact in found.artifacts:
        assert artifact.usable
        assert artifact.agreement == 1.0
        assert artifact.scores is not None
        assert artifact.scores.map50 == pytest.approx(51 / 101, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"detection": Detection(decoder=Decoder.BOXES)}, FailureReason.DECODER_MISMATCH, "(n, K, 6)"),
        ({"detection": None}, FailureReason.DECODER_MISMATCH, "no decoder says"),
        ({"task": Task.SEGMENTATION}, FailureReason.DATA_UNREADABLE, "it holds JSON"),
    ],
)
def test_a_detector_that_was_declared_wrongly(
    tmp_path: Path, changes: dict[str, Any], reason: FailureReason, words: str
) -> None:
    heads, labels = detector_data(tmp_path)
    options = {"task": Task.DETECTION, "detection": Detection(decoder=Decoder.YOLO_V8)} | changes
    with pytest.raises(ConverterError) as caught:
        measured_head(tmp_path, heads, labels, **options)
    assert caught.value.reason is reason
    assert words in caught.value.message


def test_masks_measure_a_segmenting_model(tmp_path: Path) -> None:
    """Of 4 x 4 pixels the first is wrong and the last counts for nothing."""
    generator = np.random.default_rng(0)
    masks = generator.integers(0, 3, (60, 4, 4)).astype(np.uint8)
    scores = np.eye(3)[masks] * 4 + generator.uniform(0, 0.5, (60, 4, 4, 3))
    labels = masks.copy()
    labels[:, 0, 0] = (masks[:, 0, 0] + 1) % 3
    labels[:, 3, 3] = 255
    np.save(tmp_path / "masks.npy", labels)
    right = [np.sum((masks == c) & (labels == c)) for c in range(3)]
    either = [np.sum(((masks == c) | (labels == c)) & (labels != 255)) for c in range(3)]
    expected = float(np.mean(np.divide(right, either)))
    gates = Gates(min_accuracy=0.99)
    found = measured_head(tmp_path, scores, tmp_path / "masks.npy", task=Task.SEGMENTATION, gates=gates)
    original = found.report.evaluation.original
    assert original is not None
    assert (original.metric, original.accuracy) == (
        AccuracyMetric.MEAN_IOU,
        pytest.approx(expected, abs=1e-6),
    )
    for artifact in found.report.artifacts:
        assert (artifact.agreement, artifact.accuracy) == (1.0, pytest.approx(expected, abs=1e-6))
        assert not artifact.passed
        assert (artifact.message or "").startswith(f"accuracy {expected:.4f} is under 0.99")


def test_a_report_tells_what_became_of_flat_rows(tmp_path: Path) -> None:
    source = write_tiny_tflite(tmp_path / "tiny.tflite", (1, 2, 2, 2))
    np.save(tmp_path / "data.npy", np.random.default_rng(0).normal(size=(120, 8)))
    found = convert_into(
        tmp_path / "out", source, Method.FULL_INTEGER, calibration=tmp_path / "data.npy"
    ).report
    assert found.calibration is not None
    for info in (found.calibration.data, found.evaluation.data):
        assert info.preprocessing == {"reshape": "x: (8,) to (2, 2, 2)"}


def test_a_report_tells_what_became_of_images(tmp_path: Path) -> None:
    source = write_tiny_tflite(tmp_path / "tiny.tflite", (1, 4, 6, 3))
    generator = np.random.default_rng(0)
    for i in range(20):
        folder = tmp_path / "photos" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    images = Images(scaling=ImageScaling.ZERO_TO_ONE)
    found = convert_into(
        tmp_path / "out", source, *Method, calibration=DataFiles(tmp_path / "photos", images=images)
    ).report
    assert found.calibration is not None
    expected = {"resize": "Stretch", "scaling": "ZeroToOne", "size": "4 x 6 x 3"}
    assert found.calibration.data.preprocessing == found.evaluation.data.preprocessing == expected
    assert found.evaluation.original is not None
    assert [c.name for c in found.calibration.classes] == ["a", "b"]


def test_a_rescue_is_told_from_the_plain_recipe_to_the_chosen_one(tmp_path: Path) -> None:
    found = converted(
        tmp_path,
        hard_models.loud_neighbour(),
        Method.FULL_INTEGER,
        gates=Gates(min_agreement=0.85),
        task=Task.CLASSIFICATION,
        target=Target.MICROCONTROLLER,
        tuning_seconds=1000,
    )
    artifact = int8_of(found)
    assert artifact.passed
    assert artifact.recipe is not None
    assert "int16 activations" in artifact.recipe
    assert [a.chosen for a in artifact.attempts] == [False] * 7 + [True]
    assert [t.dtype for t in TFLiteModel(found.file(Method.FULL_INTEGER)).inputs] == [np.int16]


def test_without_a_rescue_the_file_is_there_and_marked(tmp_path: Path) -> None:
    found = converted(
        tmp_path,
        hard_models.loud_neighbour(),
        Method.FULL_INTEGER,
        gates=Gates(min_agreement=0.85),
        target=Target.EDGE_TPU,
        tuning_seconds=1000,
    )
    artifact = int8_of(found)
    assert not artifact.passed
    assert artifact.message is not None
    assert "is under 0.85; no recipe of 7 met the gates" in artifact.message
    assert found.report.recommended is None


@pytest.mark.parametrize("target", [Target.EDGE_TPU, Target.MICROCONTROLLER])
def test_an_operator_that_the_target_lacks_fails_its_gate_by_name(tmp_path: Path, target: Target) -> None:
    content = tflite(
        [
            T(INPUT, (1, 8), "FLOAT32"),
            T("kernel", (8, 8), "FLOAT32", floats(*np.eye(8).ravel())),
            T("hidden", (1, 8), "FLOAT32"),
            T(OUTPUT, (1, 8), "FLOAT32"),
        ],
        [O("FULLY_CONNECTED", (0, 1, -1), (2,)), O("SIN", (2,), (3,))],
        outputs=(3,),
        signature=({INPUT: 0}, {OUTPUT: 3}),
    )
    easy = hard_models.easy()
    found = converted(
        tmp_path, Hard(content, easy.calibration, easy.evaluation), Method.FULL_INTEGER, target=target
    )
    artifact = int8_of(found)
    assert not artifact.passed
    assert artifact.message is not None
    assert artifact.message.startswith(f"it cannot run on {target.value}: ")
    assert "SIN" in artifact.message
    assert found.report.recommended is None


def test_a_model_that_is_no_number_on_its_data_says_where(tmp_path: Path) -> None:
    content = tflite(
        [
            T(INPUT, (1, 8), "FLOAT32"),
            T("kernel", (8, 8), "FLOAT32", floats(*np.eye(8).ravel())),
            T("hidden", (1, 8), "FLOAT32"),
            T("logarithm", (1, 8), "FLOAT32"),
            T(OUTPUT, (1, 8), "FLOAT32"),
        ],
        [O("FULLY_CONNECTED", (0, 1, -1), (2,)), O("LOG", (2,), (3,)), O("LOGISTIC", (3,), (4,))],
        outputs=(4,),
        signature=({INPUT: 0}, {OUTPUT: 4}),
    )
    easy = hard_models.easy()
    hard = Hard(content, easy.calibration, {INPUT: np.abs(easy.evaluation[INPUT])})
    negative = {INPUT: -np.abs(easy.calibration[INPUT])}
    found = converted(tmp_path, dataclasses.replace(hard, calibration=negative), *BOTH)
    (failed,) = found.report.failed_methods
    assert failed.reason is FailureReason.QUANTIZATION_FAILED
    assert "LOG 'logarithm' is NaN or infinite on every calibration sample" in failed.message

    some = {INPUT: np.concatenate([negative[INPUT][:30], -negative[INPUT][30:]])}
    found = converted(tmp_path / "some", dataclasses.replace(hard, calibration=some), *BOTH)
    message = int8_of(found).message
    assert message is not None
    assert "30 of 100 calibration samples gave NaN or infinity: left out" in message

    mixed = {INPUT: np.concatenate([hard.evaluation[INPUT][:150], -hard.evaluation[INPUT][150:]])}
    found = converted(
        tmp_path / "mixed", dataclasses.replace(hard, calibration=some, evaluation=mixed), *BOTH
    )
    assert (found.report.evaluation.data.samples, found.report.evaluation.not_finite) == (200, 50)
    assert any("on 50 of 200 samples, beginning at LOG 'logarithm'" in w for w in found.report.warnings)
    with pytest.raises(ConverterError, match="on 200 of 200 samples") as caught:
        converted(
            tmp_path / "none",
            dataclasses.replace(hard, evaluation={INPUT: -hard.evaluation[INPUT]}),
            Method.FLOAT32,
        )
    assert caught.value.reason is FailureReason.EVALUATION_FAILED


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ([T("x", (1, 4), "FLOAT32"), T("y", (1, 4), "FLOAT32")], "has no weights to quantize"),
        ([T("x", scales=[0.5]), T("y", scales=[0.5])], "has no weights to quantize"),
        (
            [T("x", (1, 4), "FLOAT32"), T("y", (1, 4), "FLOAT32"), T("w", (1, 4), "FLOAT16", bytes(8))],
            "is quantized already",
        ),
        (
            [T("x", scales=[0.5]), T("y", scales=[0.5]), T("w", data=bytes(4), scales=[1.0])],
            "is quantized already",
        ),
    ],
)
def test_a_source_that_cannot_be_quantized_says_why(tmp_path: Path, tensors: list[T], says: str) -> None:
    source = tmp_path / "model.tflite"
    source.write_bytes(tflite(tensors, [O("LOG", (0,), (1,))]))
    with pytest.raises(ConverterError, match=says) as caught:
        convert_into(tmp_path / "out", source, Method.DYNAMIC_RANGE)
    assert caught.value.reason is FailureReason.UNSUPPORTED_FORMAT


_W = T("w", (4, 4), "FLOAT32", floats(*range(16)))


@pytest.mark.parametrize(
    ("content", "reason", "says"),
    [
        (
            tflite([T("x", dtype="FLOAT32"), _W], outputs=(1,)),
            FailureReason.UNSUPPORTED_FORMAT,
            "model.tflite has no operators: there is nothing to run",
        ),
        (
            tflite(
                [T("x", dtype="FLOAT32", data=floats(1, 2, 3, 4)), T("y", dtype="FLOAT32"), _W],
                [O("FULLY_CONNECTED", (0, 2, -1), (1,))],
                inputs=(),
                outputs=(),
            ),
            FailureReason.UNSUPPORTED_FORMAT,
            "model.tflite has no inputs and no outputs: there is nothing to run",
        ),
        (
            tflite(
                [T("x", dtype="FLOAT32"), T("y", dtype="FLOAT32"), _W, T("word", (1,), "STRING")],
                [O("FULLY_CONNECTED", (0, 2, -1), (1,))],
                inputs=(0, 3),
            ),
            FailureReason.UNSUPPORTED_OPERATION,
            "'word' of model.tflite is text, and an edge model takes and gives numbers",
        ),
    ],
)
def test_a_source_of_which_nothing_can_be_run_says_why(
    tmp_path: Path, content: bytes, reason: FailureReason, says: str
) -> None:
    (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(ConverterError) as caught:
        convert_into(tmp_path / "out", tmp_path / "model.tflite", Method.FLOAT32)
    assert (caught.value.reason, caught.value.cause) == (reason, says)


def test_the_same_conversion_gives_the_same_files_and_figures(tmp_path: Path) -> None:
    reports = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        found = converted(
            tmp_path / name,
            hard_models.loud_neighbour(),
            *Method,
            gates=Gates(min_agreement=0.85),
            tuning_seconds=1000,
        )
        reports.append([(a.sha256, a.agreement, a.recipe, a.layers) for a in found.report.artifacts])
    assert reports[0] == reports[1]


def test_files_are_the_same_beside_each_other_and_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hard = hard_models.easy()
    methods = (*BOTH, Method.DYNAMIC_RANGE, Method.INT16_ACTIVATIONS)

    def digests(name: str, processors: int) -> dict[Method, tuple[str, float | None]]:
        monkeypatch.setattr(machine, "processors", lambda: processors)
        report = converted(tmp_path / name, hard, *methods).report
        assert all(artifact.performance is not None for artifact in report.artifacts)
        return {artifact.method: (artifact.sha256, artifact.snr_db) for artifact in report.artifacts}

    alone = digests("alone", 1)
    assert list(digests("beside", 4).items()) == list(alone.items())
    assert set(alone) == set(methods)
