"""Average precision against pycocotools and values from paper; and what must hold whatever the boxes are."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from modelconversion_api.reports.measurements import AccuracyMetric
from tflite_converter.arrays import Array
from tflite_converter.measuring.average_precision import (
    Precision,
    average_precision,
    detection_scores,
    detections_agreement,
)

NO_BOX = (0.0, 0.0, 0.0, 0.0, -1.0, 0.0)
WHOLE = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0)


def rows(*samples: list[tuple[float, ...]]) -> Array:
    """Samples' boxes, filled up to the longest."""
    most = max(1, *map(len, samples))
    return np.array([[*each, *[NO_BOX] * (most - len(each))] for each in samples], dtype=np.float64)


def box(label: int, place: float, score: float = 0.0, side: float = 0.1) -> tuple[float, ...]:
    return (place, place, place + side, place + side, float(label), score)


def precision(truth: Array, boxes: Array, most: int = 100) -> Precision:
    found = average_precision(truth, boxes, most)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("truth", "boxes", "mean", "at_half"),
    [
        # The box overlaps its object by 0.6: right at 0.5, 0.55 and 0.6 of ten thresholds.
        ([WHOLE], [(0.0, 0.0, 0.601, 1.0, 0.0, 0.9)], 0.3, 1.0),
        ([WHOLE], [(0.0, 0.0, 0.4, 1.0, 0.0, 0.9)], 0.0, 0.0),
        # One of two objects: precision is 1 at the 51 steps of recall from 0 to 0.5, of 101.
        ([box(0, 0.1), box(0, 0.5)], [box(0, 0.1, 0.9)], 51 / 101, 51 / 101),
        # The better box is beside: precision is 1/2 up to a recall of 0.5.
        ([box(0, 0.1), box(0, 0.5)], [box(0, 0.8, 0.9), box(0, 0.1, 0.8)], 0.5 * 51 / 101, 0.5 * 51 / 101),
        # Found twice: the second one is wrong, and comes after full recall.
        ([box(0, 0.1)], [box(0, 0.1, 0.9), box(0, 0.1, 0.8)], 1.0, 1.0),
        # Class 1 is found as class 0, which is wrong of both.
        ([box(0, 0.1), box(1, 0.5)], [box(0, 0.1, 0.9), box(0, 0.5, 0.8)], 0.5, 0.5),
        # A class that the labels do not have belongs to no average.
        ([box(0, 0.1)], [box(7, 0.5, 0.99), box(0, 0.1, 0.8)], 1.0, 1.0),
        ([box(0, 0.1)], [], 0.0, 0.0),
        # A box in a crowd is neither right nor wrong.
        ([box(0, 0.1), (0.4, 0.4, 0.9, 0.9, 0.0, 1.0)], [box(0, 0.5, 0.9), box(0, 0.1, 0.8)], 1.0, 1.0),
    ],
)
def test_values_from_paper(
    truth: list[tuple[float, ...]], boxes: list[tuple[float, ...]], mean: float, at_half: float
) -> None:
    found = precision(rows(truth), rows(boxes))
    assert (found.mean, found.at_half) == pytest.approx((mean, at_half), abs=1e-9)


def test_labels_without_an_object_have_no_average() -> None:
    assert average_precision(rows([]), rows([box(0, 0.1, 0.9)]), 100) is None
    crowd = (0.1, 0.1, 0.2, 0.2, 0.0, 1.0)
    assert average_precision(rows([crowd]), rows([box(0, 0.1, 0.9)]), 100) is None
    assert detection_scores(rows([]), rows([]), 100) is None


def test_only_the_best_boxes_of_a_sample_count() -> None:
    truth, boxes = rows([box(0, 0.1)]), rows([box(0, 0.5, 0.9), box(0, 0.1, 0.8)])
    assert precision(truth, boxes, 2).mean == pytest.approx(0.5)
    assert precision(truth, boxes, 1).mean == 0.0


def test_the_figures_of_a_report_name_the_classes() -> None:
    truth = rows([box(0, 0.1), box(2, 0.5)], [box(2, 0.3)])
    boxes = rows([box(0, 0.1, 0.9), box(2, 0.5, 0.8)], [])
    found = detection_scores(truth, boxes, 100, ("cat", "dog", "bird"))
    assert found is not None
    assert found.metric is AccuracyMetric.MEAN_AVERAGE_PRECISION
    assert [(c.label, c.name, c.count) for c in found.classes] == [(0, "cat", 1), (2, "bird", 2)]
    assert [c.score for c in found.classes] == pytest.approx([1.0, 51 / 101], abs=1e-6)
    assert (found.accuracy, found.map50) == pytest.approx([(1 + 51 / 101) / 2] * 2, abs=1e-6)


def random_data(seed: int) -> tuple[Array, Array]:
    """Objects of 5 classes in 12 samples, some in crowds, and boxes that are near some of them."""
    generator = np.random.default_rng(seed)
    truth, boxes = [], []
    for _ in range(12):
        objects, found = [], []
        for _ in range(int(generator.integers(0, 6))):
            y, x, height, width = generator.uniform(0.05, 0.5, 4)
            label, crowd = float(generator.integers(0, 5)), float(generator.random() < 0.15)
            objects.append((y, x, y + height, x + width, label, crowd))
            for _ in range(int(generator.integers(0, 3))):
                near = np.array([y, x, y + height, x + width]) + generator.normal(0, 0.03, 4)
                label = label if generator.random() < 0.8 else float(generator.integers(0, 6))
                found.append((*near, label, float(generator.random())))
        truth.append(objects)
        boxes.append(found)
    return rows(*truth), rows(*boxes)


def by_pycocotools(truth: Array, boxes: Array, most: int) -> tuple[float, float]:
    """The same two figures, from the original implementation."""

    def corner(row: Array) -> list[float]:
        return [row[1], row[0], max(0.0, row[3] - row[1]), max(0.0, row[2] - row[0])]

    objects: list[dict[str, Any]] = [
        {
            "image_id": i,
            "category_id": int(row[4]),
            "bbox": corner(row),
            "area": 1.0,
            "iscrowd": int(row[5]),
        }
        for i, sample in enumerate(truth)
        for row in sample
        if row[4] >= 0
    ]
    for number, each in enumerate(objects, 1):
        each["id"] = number
    labels = sorted({each["category_id"] for each in objects})
    given = [
        {"image_id": i, "category_id": int(row[4]), "bbox": corner(row), "score": row[5]}
        for i, sample in enumerate(boxes)
        for row in sample
        if row[4] in labels
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(len(truth))],
            "annotations": objects,
            "categories": [{"id": label} for label in labels],
        }
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(given), "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [most]
        evaluation.evaluate()
        evaluation.accumulate()
    values = evaluation.eval["precision"]
    return float(values[values > -1].mean()), float(values[0][values[0] > -1].mean())


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("most", [2, 100])
def test_it_is_what_pycocotools_says(seed: int, most: int) -> None:
    truth, boxes = random_data(seed)
    found = precision(truth, boxes, most)
    assert 0.0 < found.mean < 1.0
    assert (found.mean, found.at_half) == pytest.approx(by_pycocotools(truth, boxes, most), abs=1e-6)


@given(st.integers(0, 1 << 32))
@settings(max_examples=30, deadline=None)
def test_what_is_perfect_is_1_and_order_does_not_matter(seed: int) -> None:
    truth, boxes = random_data(seed)
    perfect = truth.copy()
    perfect[:, :, 5] = np.random.default_rng(seed).uniform(0.3, 1.0, perfect.shape[:2])
    perfect[truth[:, :, 5] > 0, 4] = -1.0
    if (found := average_precision(truth, perfect, 100)) is None:
        return
    assert (found.mean, found.at_half) == (1.0, 1.0)
    assert detections_agreement(perfect, perfect, 100) == 1.0
    generator = np.random.default_rng(seed)
    samples, columns = generator.permutation(len(truth)), generator.permutation(truth.shape[1])
    places = generator.permutation(boxes.shape[1])
    moved = precision(truth[samples][:, columns], boxes[samples][:, places])
    expected = precision(truth, boxes)
    assert (moved.mean, moved.at_half) == pytest.approx((expected.mean, expected.at_half), abs=1e-9)


def test_agreement_is_with_what_the_original_surely_finds() -> None:
    original = rows([box(0, 0.1, 0.9), box(0, 0.5, 0.1)])
    assert detections_agreement(original, rows([box(0, 0.1, 0.6)]), 100) == 1.0
    assert detections_agreement(original, rows([box(0, 0.5, 0.6)]), 100) == 0.0
    unsure = rows([box(0, 0.5, 0.1)])
    assert detections_agreement(unsure, unsure, 100) == 1.0
    assert detections_agreement(unsure, original, 100) == 0.0
