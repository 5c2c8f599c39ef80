"""Records what a file gave on validation data, for the drift alert of whoever runs it."""

from __future__ import annotations

import numpy as np

from edge_inference.confidence import EDGES, are_logits, decided, histogram
from edge_inference.drift import levels
from modelconversion_api.fields.data import Task
from modelconversion_api.reports.measurements import ConfidenceRecord, LevelRecord, OutputRecord
from tflite_converter.arrays import Array, NamedArrays

_DIGITS = 6


def output_record(task: Task, outputs: NamedArrays) -> OutputRecord | None:
    """Return the record of ``{output: (n, ...)}``: a classifier's confidence, or another's output level.

    None where the outputs are no finite numbers. It has a few numbers however many samples there are.
    """
    name, values = next(iter(outputs.items()))
    if not len(values) or values.dtype.kind not in "fiu" or not np.isfinite(values.astype(np.float64)).all():
        return None
    if task is Task.CLASSIFICATION and len(outputs) == 1 and values.ndim == 2:
        return OutputRecord(samples=len(values), confidence=_confidence(values))
    means = levels(values)
    return OutputRecord(
        samples=len(values),
        level=LevelRecord(output=name, mean=_rounded(float(means.mean())), std=_rounded(float(means.std()))),
    )


def _confidence(scores: Array) -> ConfidenceRecord:
    logits = are_logits(scores)
    _, confidences = decided(scores, logits=logits)
    return ConfidenceRecord(
        edges=EDGES,
        counts=tuple(histogram(confidences).tolist()),
        mean=round(float(confidences.mean()), _DIGITS),
        logits=logits,
    )


def _rounded(value: float) -> float:
    """Six significant digits: the level of a small output must not be 0."""
    return float(f"{value:.{_DIGITS}g}")
