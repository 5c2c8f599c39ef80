"""Masks: overlaps counted by hand, and outputs and labels that do not belong together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from modelconversion_api.reasons import FailureReason
from modelconversion_api.reports.measurements import AccuracyMetric
from tflite_converter.arrays import Array
from tflite_converter.errors import ConverterError
from tflite_converter.measuring.segmentation import (
    check_masks,
    masks_agreement,
    masks_of,
    overlaps,
    segmentation_scores,
)

TRUTH = np.array([[[0, 0, 1], [0, 2, 255]], [[1, 1, 1], [2, 2, 0]]], dtype=np.uint8)
GIVEN = np.array([[[0, 1, 1], [0, 2, 2]], [[1, 1, 0], [2, 0, 0]]], dtype=np.int64)
# Without the pixel of 255, class 0: 3 of both, 4 true, 5 given; 1: 3, 4, 4; 2: 2, 3, 2.
EXPECTED = [3 / 6, 3 / 5, 2 / 3]


def scores_of(masks: Array, classes: int = 3) -> Array:
    return np.eye(classes, dtype=np.float32)[masks]


def test_overlaps_counted_by_hand() -> None:
    found = segmentation_scores({"y": scores_of(GIVEN)}, TRUTH, 255, ("sky", "road", "car"))
    assert found.metric is AccuracyMetric.MEAN_IOU
    assert found.accuracy == pytest.approx(np.mean(EXPECTED), abs=1e-6)
    assert [c.score for c in found.classes] == pytest.approx(EXPECTED, abs=1e-6)
    assert [(c.name, c.count) for c in found.classes] == [("sky", 4), ("road", 4), ("car", 3)]


@pytest.mark.parametrize(
    "outputs",
    [GIVEN, GIVEN[..., None].astype(np.uint8), scores_of(GIVEN), np.moveaxis(scores_of(GIVEN), -1, 1)],
)
def test_classes_and_scores_in_every_layout(outputs: Array) -> None:
    np.testing.assert_array_equal(masks_of({"y": outputs}, (2, 3)), GIVEN)


@pytest.mark.parametrize("least", [0.0, -5.0])
def test_one_number_a_pixel_is_a_probability_or_a_logit(least: float) -> None:
    truth = np.array([[[0, 1], [1, 0]]])
    values = np.where(truth, 0.7 if least == 0.0 else 3.0, least).astype(np.float32)
    np.testing.assert_array_equal(masks_of({"y": values[..., None]}), truth)


def test_a_class_that_is_only_given_counts_as_missed() -> None:
    found = segmentation_scores({"y": np.array([[[0, 7]]])}, np.array([[[0, 0]]]), 255)
    assert [(c.label, c.score, c.count) for c in found.classes] == [(0, 0.5, 2), (7, 0.0, 0)]
    assert found.accuracy == 0.25


@pytest.mark.parametrize(
    ("outputs", "labels", "reason", "words"),
    [
        (np.zeros((2, 5)), TRUTH, FailureReason.DECODER_MISMATCH, "a class, or its scores, for each pixel"),
        (scores_of(GIVEN), TRUTH[:, :, :2], FailureReason.LABELS_MISMATCH, "are 2 x 2, the model's 2 x 3"),
        (
            scores_of(GIVEN),
            TRUTH + 1,
            FailureReason.LABELS_MISMATCH,
            "values from 0 to 3, and classes go from",
        ),
        (scores_of(GIVEN), TRUTH * 0 + 255, FailureReason.LABELS_MISMATCH, "every pixel of the masks"),
        (scores_of(GIVEN), TRUTH.astype(int) - 9, FailureReason.LABELS_MISMATCH, "values from -9 to 246"),
    ],
)
def test_masks_that_do_not_belong_to_the_model(
    outputs: Array, labels: Array, reason: FailureReason, words: str
) -> None:
    with pytest.raises(ConverterError) as caught:
        check_masks({"y": outputs}, labels, 255, "masks.npy")
    assert caught.value.reason is reason
    assert words in caught.value.message


masks = arrays(np.int64, (3, 4, 5), elements=st.integers(0, 6))


@given(masks, masks)
@settings(deadline=None)
def test_what_is_perfect_is_1_and_order_does_not_matter(truth: Array, given_: Array) -> None:
    assert masks_agreement(truth, truth) == 1.0
    classes, shares, _ = overlaps(truth, given_)
    assert np.all((shares >= 0) & (shares <= 1))
    order = np.random.default_rng(int(truth.sum())).permutation(3)
    moved = overlaps(truth[order], given_[order])
    np.testing.assert_array_equal(moved[0], classes)
    np.testing.assert_allclose(moved[1], shares)
    # Both ways it is the same share.
    np.testing.assert_allclose(overlaps(given_, truth)[1], shares)


@given(arrays(np.int64, (1, 3, 3), elements=st.integers(-(1 << 62), 1 << 62)))
@settings(deadline=None)
def test_wild_class_numbers_take_no_memory(given_: Array) -> None:
    truth = np.zeros((1, 3, 3), dtype=np.int64)
    _, shares, pixels = overlaps(truth, given_)
    assert pixels.sum() == 9
    assert np.isfinite(shares).all()
