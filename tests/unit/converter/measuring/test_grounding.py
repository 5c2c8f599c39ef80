"""Labels and outputs of detectors and segmenting models brought together, or refused with a next step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from modelconversion_api.fields.data import Task
from modelconversion_api.fields.detection import Decoder, Detection
from modelconversion_api.reasons import FailureReason
from modelconversion_api.reports.measurements import AgreementMetric
from tflite_converter.arrays import Array
from tflite_converter.errors import ConverterError
from tflite_converter.measuring.evaluation import Reference, quality_of
from tflite_converter.measuring.gates import Gates
from tflite_converter.measuring.grounding import Told, grounded

BOXES = Told(Task.DETECTION, Detection(decoder=Decoder.BOXES))
FOUND = np.array([[[0.1, 0.1, 0.5, 0.5, 0.9, 1.0]], [[0.2, 0.2, 0.6, 0.6, 0.8, 0.0]]])
"""xmin, ymin, xmax, ymax, score, class."""
OBJECTS = np.array([[[0.1, 0.1, 0.5, 0.5, 1, 0, 0, 0]], [[0.2, 0.2, 0.6, 0.6, 0, 0, 0, 0]]])
"""ymin, xmin, ymax, xmax, class, crowd, and no padding."""


def plain(outputs: Array, labels: Array | None, task: Task = Task.DETECTION) -> Reference:
    samples = {"x": np.zeros((2, 4, 8, 3), dtype=np.float32)}
    return Reference(samples, {"y": outputs}, labels, task, AgreementMetric.R2, None, 1000)


def test_what_is_found_rightly_is_1() -> None:
    reference, warnings = grounded(plain(FOUND, OBJECTS), BOXES, "data")
    assert (warnings, reference.metric) == ((), AgreementMetric.DETECTIONS)
    assert reference.original is not None
    assert (reference.original.accuracy, reference.original.map50) == (1.0, 1.0)
    quality = quality_of({"y": FOUND}, reference, Gates(max_accuracy_drop=0.0, min_accuracy=1.0))
    assert (quality.agreement, quality.accuracy, quality.missed) == (1.0, 1.0, ())


def test_boxes_follow_pictures_that_are_padded() -> None:
    """A square of 100 pixels lies in the middle half of an input that is twice as wide as high."""
    objects = OBJECTS.copy()
    objects[:, :, 6:] = 100
    found = FOUND.copy()
    found[:, :, [0, 2]] = found[:, :, [0, 2]] / 2 + 0.25
    reference, _ = grounded(plain(found, objects), BOXES, "data")
    assert reference.original is not None
    assert reference.original.accuracy == 1.0


def test_fewer_samples_have_figures_of_their_own() -> None:
    wrong = FOUND.copy()
    wrong[1, 0, :4] = 0.9
    reference, _ = grounded(plain(wrong, OBJECTS), BOXES, "data")
    assert reference.original is not None
    assert reference.original.accuracy == 0.5
    first = reference.first(1)
    assert first.original is not None
    assert first.original.accuracy == 1.0
    assert quality_of({"y": wrong[:1]}, first, Gates()).agreement == 1.0
    none = replace(reference, labels=OBJECTS[:, :, :6] * [1, 1, 1, 1, 0, 0] - [0, 0, 0, 0, 1, 0]).first(1)
    assert none.original is None  # there is nothing to be found


def test_an_original_that_finds_nothing_is_compared_by_its_numbers() -> None:
    unsure = FOUND * [1, 1, 1, 1, 0.1, 1]
    reference, warnings = grounded(plain(unsure, None), BOXES, "data")
    assert reference.metric is AgreementMetric.R2
    assert "surely finds nothing" in warnings[0]
    assert quality_of({"y": unsure}, reference, Gates()).agreement == 1.0


def test_a_file_that_loses_the_boxes_is_unusable() -> None:
    reference, _ = grounded(plain(FOUND, OBJECTS), BOXES, "data")
    quality = quality_of({"y": FOUND * [1, 1, 1, 1, 0, 1]}, reference, Gates(max_accuracy_drop=0.5))
    assert not quality.usable
    assert quality.missed[0].startswith("unusable: output 'y' agrees in 0.0%")
    assert "accuracy fell by 1.0000, more than 0.5" in quality.missed


V8 = np.zeros((2, 6, 9))
MASKS = np.array([[[0, 1], [1, 255]]] * 2, dtype=np.uint8)
SEGMENTED = np.eye(2)[[[[0, 1], [1, 0]]] * 2]


@pytest.mark.parametrize(
    ("reference", "told", "reason", "words"),
    [
        (plain(FOUND, np.array([0, 1])), BOXES, FailureReason.LABELS_MISMATCH, "are no boxes"),
        (plain(FOUND, MASKS), BOXES, FailureReason.LABELS_MISMATCH, "are no boxes"),
        (plain(FOUND, OBJECTS * 0 - 1), BOXES, FailureReason.LABELS_MISMATCH, "no object in the 2 samples"),
        (plain(FOUND, None), Told(Task.DETECTION), FailureReason.DECODER_MISMATCH, "no decoder says"),
        (plain(V8, None), BOXES, FailureReason.DECODER_MISMATCH, "Boxes takes one output"),
        (
            plain(V8, np.add(OBJECTS, [0, 0, 0, 0, 1, 0, 0, 0])),
            Told(Task.DETECTION, Detection(decoder=Decoder.YOLO_V8)),
            FailureReason.LABELS_MISMATCH,
            "classes up to 2, the model's go to 1",
        ),
        (
            plain(SEGMENTED, OBJECTS, Task.SEGMENTATION),
            Told(Task.SEGMENTATION),
            FailureReason.LABELS_MISMATCH,
            "are no masks",
        ),
        (
            plain(SEGMENTED, MASKS, Task.SEGMENTATION),
            Told(Task.SEGMENTATION, ignore_label=7),
            FailureReason.LABELS_MISMATCH,
            "values from 0 to 255",
        ),
        (
            plain(np.zeros((2, 3)), None, Task.SEGMENTATION),
            Told(Task.SEGMENTATION),
            FailureReason.DECODER_MISMATCH,
            "a class, or its scores, for each pixel",
        ),
    ],
)
def test_what_does_not_belong_together(
    reference: Reference, told: Told, reason: FailureReason, words: str
) -> None:
    with pytest.raises(ConverterError) as caught:
        grounded(reference, told, "data")
    assert caught.value.reason is reason
    assert words in caught.value.message


def test_masks_without_labels_are_compared_with_the_originals() -> None:
    reference, _ = grounded(plain(SEGMENTED, None, Task.SEGMENTATION), Told(Task.SEGMENTATION), "data")
    assert (reference.metric, reference.original) == (AgreementMetric.MEAN_IOU, None)
    other = SEGMENTED[:, :, :, ::-1]
    assert quality_of({"y": SEGMENTED}, reference, Gates()).agreement == 1.0
    assert quality_of({"y": other}, reference, Gates()).agreement == 0.0
