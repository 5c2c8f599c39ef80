"""Where a classifier's artifact loses: the worst class, and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelconversion_api.reports.measurements import ClassResult, Confusion
from tflite_converter.arrays import Array, IntArray
from tflite_converter.measuring.metrics import predicted

FEWEST_SAMPLES = 3
"""A class with fewer samples says nothing."""
MOST_CLASSES = 32
"""A confusion matrix of more classes shows only those that are confused most."""


def worst_class(
    reference: Array, output: Array, labels: IntArray | None, names: Sequence[str]
) -> ClassResult | None:
    """Return the class that lost most accuracy, or without labels agrees least; None for small ones.

    ``reference`` and ``output``: scores of shape ``(n, C)`` or probabilities ``(n, 1)``.
    """
    original, judged = predicted(reference), predicted(output)
    truth = original if labels is None else labels
    results = []
    for label in np.unique(truth):
        rows = truth == label
        if rows.sum() < FEWEST_SAMPLES:
            continue
        agrees = float(np.mean(original[rows] == judged[rows]))
        results.append(
            ClassResult(
                label=int(label),
                name=names[label] if label < len(names) else None,
                samples=int(rows.sum()),
                accuracy=None if labels is None else round(float(np.mean(judged[rows] == label)), 6),
                original_accuracy=None
                if labels is None
                else round(float(np.mean(original[rows] == label)), 6),
                agreement=round(agrees, 6),
            )
        )
    return min(results, key=_kept, default=None)


def _kept(result: ClassResult) -> tuple[float, float]:
    if result.accuracy is None or result.original_accuracy is None:
        return result.agreement, 0.0
    return result.accuracy - result.original_accuracy, result.accuracy


def confusion(reference: Array, output: Array, labels: IntArray | None, names: Sequence[str]) -> Confusion:
    """How often each class was taken for each, of at most :data:`MOST_CLASSES` classes."""
    judged = predicted(output)
    truth = predicted(reference) if labels is None else labels
    classes = np.arange(max(2, reference.shape[1]))
    if len(classes) > MOST_CLASSES:
        wrong = judged != truth
        errors = np.bincount(truth[wrong], minlength=len(classes)) + np.bincount(
            judged[wrong], minlength=len(classes)
        )
        classes = np.sort(np.argsort(-errors, kind="stable")[:MOST_CLASSES])
    rows = [[int(np.sum((truth == t) & (judged == f))) for f in classes] for t in classes]
    return Confusion(
        against="Original" if labels is None else "Labels",
        labels=tuple(int(c) for c in classes),
        names=tuple(names[c] for c in classes) if len(names) > int(classes.max()) else (),
        counts=tuple(tuple(row) for row in rows),
    )
