"""Mean average precision as COCO has it, computed by faster-coco-eval, which follows pycocotools.

Of every 101 steps of recall the best precision from there on; a box is right where its intersection over
union with an object of its class, which no better box has, reaches a threshold. Objects of all sizes count
alike, and a box in a crowd (``iscrowd``) is neither right nor wrong.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from modelconversion_api.reports.measurements import (
    MOST_CLASS_SCORES,
    AccuracyMetric,
    ClassScore,
    Scores,
)
from tflite_converter.arrays import Array, FloatArray
from tflite_converter.measuring.boxes import CLASS, SCORE, SURE

CROWD: Final = 5
"""The column of the labels that says whether an object is a crowd."""
_THRESHOLDS: Final = np.linspace(0.5, 0.95, 10)
_ANY_SIZE: Final = [0.0, 1e10]
_DIGITS: Final = 6


class Precision(NamedTuple):
    """Average precision, 0 to 1, of the classes that the labels have."""

    mean: float
    """Over the IoUs 0.5, 0.55 … 0.95."""
    at_half: float
    """At an IoU of 0.5."""
    classes: dict[int, float]
    """``mean`` of each class."""


def average_precision(truth: FloatArray, boxes: FloatArray, most: int) -> Precision | None:
    """Compare at most ``most`` boxes a sample with what is true; None where the labels have no object.

    ``truth`` is ``(n, M, 6)`` with rows ``ymin, xmin, ymax, xmax, class, crowd``, and ``boxes`` what
    :mod:`~tflite_converter.measuring.boxes` gives for the same samples; class -1 is no row.
    """
    single = (truth[:, :, CLASS] >= 0) & (truth[:, :, CROWD] == 0)
    labels = np.unique(truth[:, :, CLASS][single]).astype(int).tolist()
    if not labels:
        return None
    # Of a class without a single object there is no average: its crowds and boxes are no part of any.
    there, counted = np.isin(truth[:, :, CLASS], labels), np.isin(boxes[:, :, CLASS], labels)
    known = COCO(
        {
            "images": [{"id": number} for number in range(len(truth))],
            "categories": [{"id": label} for label in labels],
            "annotations": _objects(truth, there),
        }
    )
    found = known.loadRes(_boxes(boxes, counted))
    evaluation = COCOeval_faster(known, found, "bbox", print_function=_say_nothing)
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [_ANY_SIZE], ["all"]
    evaluation.params.maxDets = [most]
    evaluation.params.iouThrs = _THRESHOLDS
    evaluation.evaluate()
    evaluation.accumulate()
    # (thresholds, recalls, classes, 1 range of sizes, 1 number of boxes)
    precision = np.asarray(evaluation.eval["precision"]).reshape(len(_THRESHOLDS), -1, len(labels))
    return Precision(
        float(np.mean(precision)),
        float(np.mean(precision[0])),
        {label: float(np.mean(precision[:, :, place])) for place, label in enumerate(labels)},
    )


def detection_scores(
    truth: FloatArray, boxes: FloatArray, most: int, names: tuple[str, ...] = ()
) -> Scores | None:
    """Return the figures of a detector for a report; None where the labels have no object."""
    found = average_precision(truth, boxes, most)
    if found is None:
        return None
    labels, counts = np.unique(truth[:, :, CLASS][truth[:, :, CROWD] == 0], return_counts=True)
    objects = dict(zip(labels.astype(int).tolist(), counts.tolist(), strict=True))
    return Scores(
        metric=AccuracyMetric.MEAN_AVERAGE_PRECISION,
        accuracy=round(found.mean, _DIGITS),
        map50=round(found.at_half, _DIGITS),
        classes=tuple(
            ClassScore(
                label=label,
                name=names[label] if label < len(names) else None,
                score=round(score, _DIGITS),
                count=objects[label],
            )
            for label, score in list(found.classes.items())[:MOST_CLASS_SCORES]
        ),
    )


def sure_objects(boxes: FloatArray) -> FloatArray:
    """Return the sure boxes of one model as what is true for another, ``(n, K, 6)``."""
    truth = boxes.copy()
    truth[boxes[:, :, SCORE] < SURE, CLASS] = -1.0
    truth[:, :, CROWD] = 0.0
    return truth


def detections_agreement(original: FloatArray, boxes: FloatArray, most: int) -> float:
    """Return how far a file finds what the original surely finds, 0 to 1.

    Where the original surely finds nothing, it is 1 if the file does not either, and else 0.
    """
    found = average_precision(sure_objects(original), boxes, most)
    if found is not None:
        return found.at_half
    is_sure = (boxes[:, :, CLASS] >= 0) & (boxes[:, :, SCORE] >= SURE)
    return 0.0 if is_sure.any() else 1.0


def _objects(truth: FloatArray, there: Array) -> list[dict[str, object]]:
    samples, rows = np.nonzero(there)
    return [
        {
            "id": number,
            "image_id": int(sample),
            "category_id": int(row[CLASS]),
            "bbox": _corner_and_size(row),
            "area": 1.0,
            "iscrowd": int(row[CROWD] > 0),
        }
        # An object with number 0 counts as none.
        for number, (sample, row) in enumerate(zip(samples, truth[samples, rows], strict=True), 1)
    ]


def _boxes(boxes: FloatArray, counted: Array) -> list[dict[str, object]]:
    samples, rows = np.nonzero(counted)
    return [
        {
            "image_id": int(sample),
            "category_id": int(row[CLASS]),
            "bbox": _corner_and_size(row),
            "score": float(row[SCORE]),
        }
        for sample, row in zip(samples, boxes[samples, rows], strict=True)
    ]


def _corner_and_size(row: FloatArray) -> list[float]:
    top, left, bottom, right = (float(value) for value in row[:4])
    return [left, top, max(0.0, right - left), max(0.0, bottom - top)]


def _say_nothing(*_words: object) -> None:
    """Keep the library from writing lines about what it does."""
