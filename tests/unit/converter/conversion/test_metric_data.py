"""What a user's own metrics get, for tasks of every form, against LiteRT's own interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from modelconversion_api.fields.data import Task
from modelconversion_api.fields.detection import Decoder, Detection
from modelconversion_api.methods import Method
from support.converter.converting import Converted, convert_into
from support.converter.heads import head_model, ssd_data, ssd_model
from tflite_converter.arrays import Array
from tflite_converter.data.files import DataFiles
from tflite_converter.measuring import metric_data
from tflite_converter.measuring.metric_data import fitting, write_basis

METHODS = (Method.FLOAT32, Method.FULL_INTEGER)


def given(
    folder: Path, model: bytes, samples: Array, labels: Array | Path | None, **options: Any
) -> Converted:
    """Convert with metrics; their folder is ``folder / "metrics"``."""
    (folder / "model.tflite").write_bytes(model)
    np.save(folder / "samples.npy", samples)
    if labels is not None and not isinstance(labels, Path):
        np.save(folder / "labels.npy", labels)
        labels = folder / "labels.npy"
    files = DataFiles(folder / "samples.npy", labels, task=options.get("task"))
    return convert_into(
        folder / "out",
        folder / "model.tflite",
        *METHODS,
        calibration=files,
        validation=files,
        metric_data=folder / "metrics",
        tuning_seconds=0,
        **options,
    )


def by_hand(path: Path, samples: Array) -> dict[str, Array]:
    """What a file gives, its integers as the numbers that they stand for."""
    interpreter = Interpreter(str(path))
    runner = interpreter.get_signature_runner()
    takes, gives = runner.get_input_details(), runner.get_output_details()
    (name,) = takes
    found: dict[str, list[Array]] = {output: [] for output in gives}
    scale, zero = takes[name]["quantization"]
    for sample in samples:
        values = sample[np.newaxis].astype(np.float32)
        if takes[name]["dtype"] is np.int8:
            values = np.clip(np.round(values / scale) + zero, -128, 127)
        for output, value in runner(**{name: values.astype(takes[name]["dtype"])}).items():
            by, offset = gives[output]["quantization"]
            found[output].append((value.astype(np.float32) - offset) * by if by else value)
    return {output: np.concatenate(values) for output, values in found.items()}


def order_of(rows: Array, samples: Array) -> Array:
    """Which of the samples each row is: they are drawn, and no two are alike."""
    flat, known = rows.reshape(len(rows), -1), samples.reshape(len(samples), -1)
    order = np.array([np.abs(known - row).sum(axis=1).argmin() for row in flat])
    assert sorted(order.tolist()) == list(range(len(samples)))
    return order


def classes(generator: np.random.Generator, _folder: Path) -> tuple[bytes, Array, Array, dict[str, Any]]:
    scores = generator.dirichlet(np.ones(4), 60).astype(np.float32)
    return head_model(4), scores, scores.argmax(axis=1)[::-1].copy(), {"task": Task.CLASSIFICATION}


def values(generator: np.random.Generator, _folder: Path) -> tuple[bytes, Array, Array, dict[str, Any]]:
    samples = generator.normal(size=(40, 6)).astype(np.float32)
    return head_model(6), samples, generator.normal(size=(40, 3)), {"task": Task.REGRESSION}


def masks(generator: np.random.Generator, _folder: Path) -> tuple[bytes, Array, Array, dict[str, Any]]:
    samples = generator.normal(size=(30, 4 * 5 * 3)).astype(np.float32)
    labels = generator.integers(0, 3, (30, 4, 5)).astype(np.uint8)
    return head_model(4, 5, 3), samples, labels, {"task": Task.SEGMENTATION}


def unlabelled(generator: np.random.Generator, _folder: Path) -> tuple[bytes, Array, None, dict[str, Any]]:
    return head_model(2, 3), generator.normal(size=(50, 6)).astype(np.float32), None, {}


@pytest.mark.slow
@pytest.mark.parametrize("make", [classes, values, masks, unlabelled])
def test_outputs_and_labels_are_those_of_the_same_samples(tmp_path, make):
    model, samples, labels, options = make(np.random.default_rng(3), tmp_path)
    done = given(tmp_path, model, samples, labels, **options)
    outputs = tmp_path / "metrics" / "outputs"
    assert sorted(path.name for path in outputs.iterdir()) == [
        "model_float32.npz",
        "model_int8.npz",
        "original.npz",
    ]
    assert done.report.evaluation.metric_samples == len(samples)
    (truth,) = by_hand(done.file(Method.FLOAT32), samples).values()
    with np.load(outputs / "original.npz") as found:
        (original,) = (found[name] for name in found.files)
    order = order_of(original, truth)
    files = {"original": Method.FLOAT32, "model_float32": Method.FLOAT32, "model_int8": Method.FULL_INTEGER}
    for name, method in files.items():
        expected = by_hand(done.file(method), samples)
        with np.load(outputs / f"{name}.npz") as found:
            assert sorted(found.files) == sorted(expected)
            for output, array in expected.items():
                np.testing.assert_allclose(found[output], array[order], atol=1e-5)
    path = tmp_path / "metrics" / "labels.npz"
    if labels is None:
        assert not path.exists()
    else:
        np.testing.assert_array_equal(np.load(path)["labels"], labels[order])


@pytest.mark.slow
def test_a_detector_s_outputs_are_all_there_and_its_labels_are_boxes(tmp_path):
    samples, labels = ssd_data(tmp_path)
    detection = Detection(decoder=Decoder.POST_PROCESSED)
    done = given(tmp_path, ssd_model(), samples, labels, task=Task.DETECTION, detection=detection)
    with np.load(tmp_path / "metrics" / "outputs" / "original.npz") as found:
        shapes = sorted(found[name].shape for name in found.files)
    assert shapes == [(80,), (80, 10), (80, 10), (80, 10, 4)]
    boxes = np.load(tmp_path / "metrics" / "labels.npz")["labels"]
    assert boxes.shape[0] == 80
    assert boxes.shape[2] == 8
    assert set(boxes[:, 0, 4].tolist()) == {0, 1}
    assert done.report.evaluation.metric_samples == 80


def test_as_many_samples_as_fit_are_given_and_of_each_file_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(metric_data, "MOST_BYTES", 1000)
    outputs = {"a": np.zeros((100, 5), np.float32), "b/c": np.zeros((100, 5), np.float32)}
    labels = np.arange(100)
    assert fitting(outputs, labels) == 25  # 40 bytes of outputs a sample, and 8 of labels
    assert fitting(outputs, np.zeros((100, 100))) == 1, "one sample is always there"
    assert write_basis(tmp_path / "data", outputs, labels) == 25
    with np.load(tmp_path / "data" / "original.npz") as found:
        assert {name: found[name].shape for name in found.files} == {"a": (25, 5), "b/c": (25, 5)}
    np.testing.assert_array_equal(np.load(tmp_path / "data" / "labels.npz")["labels"], np.arange(25))
