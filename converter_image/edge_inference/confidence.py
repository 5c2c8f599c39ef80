"""How sure a classifier is: the probability of the class that it puts first, and its histogram."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .tensors import Array

EDGES: Final = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)
"""Bounds of the histogram's bins, finer where the confidence of a trained classifier lies.

A value belongs to the first bin whose upper bound it does not exceed, as in a Prometheus histogram.
"""

_BEYOND_PROBABILITY: Final = 0.01
"""What rounding adds to a probability at most; a value further outside of 0 to 1 is a logit."""


def are_logits(scores: Array) -> bool:
    """Whether ``scores`` have values that no probability has."""
    return bool(
        scores.size
        and (float(scores.min()) < -_BEYOND_PROBABILITY or float(scores.max()) > 1.0 + _BEYOND_PROBABILITY)
    )


def decided(scores: Array, *, logits: bool) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Class and confidence of each row of ``scores``, shape ``(n, classes)``, as ``(n,)`` each.

    One column is the probability (or logit) of class 1 against class 0. The confidence lies in [0, 1]: the
    greatest score, of logits the greatest of their softmax. It is 0 where the greatest is NaN or infinite.
    """
    values = scores.astype(np.float64)
    if values.shape[1] == 1:
        # A pair of logits (0, x) has the softmax (1 - sigmoid x, sigmoid x).
        values = np.concatenate([np.zeros_like(values) if logits else 1.0 - values, values], axis=1)
        best = (values[:, 1] >= values[:, 0]).astype(np.int64)
    else:
        best = np.argmax(values, axis=1).astype(np.int64)
    if logits:
        with np.errstate(invalid="ignore"):
            top = 1.0 / np.exp(values - values.max(axis=1, keepdims=True)).sum(axis=1)
    else:
        top = values[np.arange(len(values)), best]
    greatest = values[np.arange(len(values)), best]
    # A NaN would stay in every sum that it is added to.
    usable = np.isfinite(greatest) & np.isfinite(top)
    return best, np.where(usable, np.clip(top, 0.0, 1.0), 0.0)


def decided_one(scores: Array, *, logits: bool) -> tuple[int, float]:
    """Decide one row, shape ``(classes,)``, as :func:`decided` does, in a tenth of the time."""
    if len(scores) == 1:
        score = float(scores[0])
        if not math.isfinite(score):
            return _rare(scores, logits=logits)
        label = int(score >= (0.0 if logits else 0.5))
        if logits:
            score = 0.5 * (1.0 + math.tanh(score / 2.0))  # the sigmoid, which does not overflow
        return label, min(1.0, max(0.0, score if label else 1.0 - score))
    label = int(scores.argmax())
    top = float(scores[label])
    if not math.isfinite(top):
        return _rare(scores, logits=logits)
    if logits:
        top = 1.0 / float(np.exp(scores.astype(np.float64) - top).sum())
    return label, min(1.0, max(0.0, top))


def _rare(scores: Array, *, logits: bool) -> tuple[int, float]:
    labels, confidences = decided(scores[np.newaxis], logits=logits)
    return int(labels[0]), float(confidences[0])


def histogram(confidences: Array) -> NDArray[np.int64]:
    """How many of ``confidences`` are in each bin of :data:`EDGES`; NaN is in none."""
    finite = confidences[np.isfinite(confidences)]
    places = np.searchsorted(EDGES[1:-1], finite, side="left")
    return np.bincount(places, minlength=len(EDGES) - 1).astype(np.int64)
