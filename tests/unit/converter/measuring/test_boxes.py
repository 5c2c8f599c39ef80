"""Decoders: outputs that were laid out by hand, and outputs that are not what was declared."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modelconversion_api.fields.detection import BoxUnit, Decoder, Detection
from modelconversion_api.reasons import FailureReason
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.errors import ConverterError
from tflite_converter.measuring.average_precision import average_precision
from tflite_converter.measuring.boxes import reading_of, suppressed

PICTURES = {"image": np.zeros((1, 200, 100, 3), dtype=np.float32)}
EXPECTED = [[0.1, 0.2, 0.3, 0.6, 1.0, 0.9], [0.5, 0.5, 0.7, 0.7, 0.0, 0.4]]
"""Two boxes of the one sample: ymin, xmin, ymax, xmax, class, score."""


def decoded(decoder: Decoder, outputs: NamedArrays, **more: object) -> Array:
    detection = Detection.model_validate({"decoder": decoder, **more})
    return reading_of(detection, outputs, PICTURES).boxes(outputs)


def four(order: tuple[str, ...]) -> dict[str, Array]:
    outputs = {
        "boxes": np.array([[[0.1, 0.2, 0.3, 0.6], [0.5, 0.5, 0.7, 0.7], [0.9, 0.9, 1.0, 1.0]]]),
        "classes": np.array([[1.0, 0.0, 2.0]]),
        "scores": np.array([[0.9, 0.4, 0.3]]),
        "count": np.array([2.0]),
    }
    return {name: outputs[name].astype(np.float32) for name in order}


@pytest.mark.parametrize(
    "order",
    [
        ("boxes", "classes", "scores", "count"),  # the operator's own
        ("scores", "boxes", "count", "classes"),  # as SavedModels of TensorFlow 2 give them
    ],
)
def test_four_outputs_are_told_apart_in_any_order(order: tuple[str, ...]) -> None:
    found = decoded(Decoder.POST_PROCESSED, four(order))
    np.testing.assert_allclose(found, [EXPECTED], atol=1e-6)  # the third is beyond the count


def yolo_v8() -> Array:
    """Centre x, centre y, width, height, and the scores of two classes, of eight anchors."""
    anchors = np.zeros((1, 6, 8), dtype=np.float32)
    anchors[0, :, 0] = [0.4, 0.2, 0.4, 0.2, 0.1, 0.9]
    anchors[0, :, 1] = [0.41, 0.2, 0.4, 0.2, 0.1, 0.8]  # overlaps the first: suppressed
    anchors[0, :, 5] = [0.6, 0.6, 0.2, 0.2, 0.4, 0.3]
    return anchors


def test_a_yolo_v8_head() -> None:
    found = decoded(Decoder.YOLO_V8, {"y": yolo_v8()})
    np.testing.assert_allclose(found, [EXPECTED], atol=1e-6)


def test_a_yolo_v8_head_in_pixels() -> None:
    """The picture is 200 high and 100 wide."""
    outputs = yolo_v8()
    outputs[:, [0, 2]] *= 100
    outputs[:, [1, 3]] *= 200
    found = decoded(Decoder.YOLO_V8, {"y": outputs}, unit="Pixels")
    np.testing.assert_allclose(found, [EXPECTED], atol=1e-6)


def test_a_yolo_v5_head_multiplies_object_and_class() -> None:
    anchors = np.zeros((1, 9, 7), dtype=np.float32)
    anchors[0, 3] = [0.4, 0.2, 0.4, 0.2, 0.9, 0.1, 1.0]
    anchors[0, 7] = [0.6, 0.6, 0.2, 0.2, 0.5, 0.8, 0.1]
    found = decoded(Decoder.YOLO_V5, {"y": anchors})
    np.testing.assert_allclose(found, [EXPECTED], atol=1e-6)


def test_plain_boxes() -> None:
    values = np.array([[[0.2, 0.1, 0.6, 0.3, 0.9, 1.0], [0.5, 0.5, 0.7, 0.7, 0.4, 0.0]]])
    np.testing.assert_allclose(decoded(Decoder.BOXES, {"y": values}), [EXPECTED])


def test_doubtful_boxes_and_too_many_fall_away() -> None:
    outputs = {"y": yolo_v8()}
    assert decoded(Decoder.YOLO_V8, outputs, min_score="0.5").shape == (1, 1, 6)
    assert decoded(Decoder.YOLO_V8, outputs, max_detections=1).shape == (1, 1, 6)
    assert decoded(Decoder.YOLO_V8, outputs, iou_threshold="1").shape == (1, 3, 6)


@pytest.mark.parametrize(
    ("decoder", "outputs", "more", "words"),
    [
        (Decoder.POST_PROCESSED, {"y": yolo_v8()}, {}, "the model gives 'y' (n, 6, 8)"),
        (Decoder.YOLO_V5, {"y": yolo_v8()[:, :, :6].repeat(2, axis=2)}, {}, "YOLOv5 takes one output"),
        (Decoder.YOLO_V8, {"y": yolo_v8().transpose(0, 2, 1)}, {}, "YOLOv8 takes one output"),
        (Decoder.YOLO_V8, four(("boxes", "classes", "scores", "count")), {}, "YOLOv8 takes one output"),
        (Decoder.BOXES, {"y": yolo_v8()}, {}, "Boxes takes one output (n, K, 6)"),
        (Decoder.YOLO_V8, {"y": yolo_v8() * 8}, {}, "scores from 0 to 1, and the model's are from 0 to 7.2"),
        (
            Decoder.YOLO_V8,
            {"y": yolo_v8() * np.array([[[100]] * 4 + [[1]] * 2])[0]},
            {},
            "a whole picture at 1. Hint: set --box-unit / unit to Pixels",
        ),
        (
            Decoder.YOLO_V8,
            {"y": yolo_v8()},
            {"unit": BoxUnit.PIXELS},
            "pixels. Hint: set --box-unit / unit to Normalized",
        ),
    ],
)
def test_outputs_that_the_decoder_does_not_fit(
    decoder: Decoder, outputs: NamedArrays, more: dict[str, object], words: str
) -> None:
    with pytest.raises(ConverterError) as caught:
        decoded(decoder, outputs, **more)
    assert caught.value.reason is FailureReason.DECODER_MISMATCH
    assert words in caught.value.message


def test_pixels_need_a_picture() -> None:
    detection = Detection(decoder=Decoder.YOLO_V8, unit=BoxUnit.PIXELS)
    with pytest.raises(ConverterError) as caught:
        reading_of(detection, {"y": yolo_v8()}, {"x": np.zeros((1, 5))})
    assert caught.value.reason is FailureReason.DECODER_MISMATCH


boxes_with_scores = arrays(np.float64, (12, 6), elements=st.floats(0, 1, width=16)).map(
    lambda rows: rows[np.argsort(-rows[:, 5], kind="stable")]
)


@given(boxes_with_scores, st.sampled_from([0.0, 0.3, 0.7, 1.0]))
@settings(deadline=None)
def test_suppression_keeps_the_best_and_is_at_rest_after_once(rows: Array, threshold: float) -> None:
    rows = rows.copy()
    rows[:, 2:4] = rows[:, :2] + 0.1 + rows[:, 2:4]
    rows[:, 4] = np.floor(rows[:, 4] * 2)
    kept = suppressed(rows, threshold, 100)
    np.testing.assert_array_equal(kept[0], rows[0])
    assert set(kept[:, 4]) == set(rows[:, 4])
    np.testing.assert_array_equal(suppressed(kept, threshold, 100), kept)


@given(arrays(np.float32, (2, 6, 8), elements=st.floats(width=32)))
@settings(deadline=None)
def test_numbers_of_a_hostile_file_give_finite_boxes_or_none(values: Array) -> None:
    """The original fits the decoder; what a file made of it gives may be anything."""
    reading = reading_of(Detection(decoder=Decoder.YOLO_V8), {"y": yolo_v8()}, PICTURES)
    with np.errstate(all="ignore"):
        found = reading.boxes({"y": values})
    assert np.isfinite(found).all()


@given(
    arrays(np.float32, (1, 3, 4), elements=st.floats(width=32)),
    *(arrays(np.float32, (1, 3), elements=st.floats(width=32)) for _ in range(2)),
    arrays(np.float32, (1,), elements=st.floats(width=32)),
)
@settings(deadline=None)
def test_four_hostile_outputs_give_finite_boxes_or_none(
    boxes: Array, classes: Array, scores: Array, count: Array
) -> None:
    names = ("boxes", "classes", "scores", "count")
    reading = reading_of(Detection(decoder=Decoder.POST_PROCESSED), four(names), PICTURES)
    with np.errstate(all="ignore"):
        found = reading.boxes(dict(zip(names, (boxes, classes, scores, count), strict=True)))
        figures = average_precision(np.array([[[0.1, 0.1, 0.2, 0.2, 0.0, 0.0]]]), found, 100)
    assert np.isfinite(found).all()
    assert figures is not None
    assert 0.0 <= figures.mean <= figures.at_half <= 1.0
