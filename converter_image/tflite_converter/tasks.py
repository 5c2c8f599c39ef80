"""What a model is for, read from its outputs and labels, and which metrics fit that."""

from __future__ import annotations

import numpy as np

from modelconversion_api.data import Task
from modelconversion_api.measurements import AgreementMetric

from .arrays import Array, NamedArrays

_NEARLY_ONE = 0.02
"""How far a row's sum (or norm) may be from 1: int8 scores come in steps of 1/256."""


def detect_task(samples: NamedArrays, outputs: NamedArrays, labels: Array | None) -> Task:
    """What the original is for, from what it gave (``{output: (n, ...)}``) and from the labels.

    Labels that are fractions mean regression, rows of labels several labels a sample. An output like the
    input is a reconstruction. Rows that add up to 1 are the scores of classes, values from 0 to 1 that do
    not are labels each of their own, rows of length 1 (Euclidean) an embedding. Any other single vector is
    taken for the logits of classes, and everything else for numbers.
    """
    if labels is not None and labels.dtype.kind == "f":
        return Task.REGRESSION
    if labels is not None and labels.ndim == 2:
        return Task.MULTI_LABEL
    if any(s.shape[1:] == o.shape[1:] and s.ndim > 1 for s in samples.values() for o in outputs.values()):
        return Task.RECONSTRUCTION
    if len(outputs) != 1:
        return Task.REGRESSION
    (scores,) = outputs.values()
    if scores.ndim != 2:
        return Task.REGRESSION
    in_unit = bool(np.all((scores >= 0.0) & (scores <= 1.0)))
    if scores.shape[1] == 1:
        two_classes = in_unit and (labels is None or int(labels.max(initial=0)) <= 1)
        return Task.CLASSIFICATION if two_classes else Task.REGRESSION
    if in_unit and _all_near_one(scores.sum(axis=1)):
        return Task.CLASSIFICATION
    if labels is None and in_unit:
        return Task.MULTI_LABEL
    beyond = labels is not None and int(labels.max(initial=0)) >= scores.shape[1]
    if _all_near_one(np.linalg.norm(scores, axis=1)) and (labels is None or beyond):
        return Task.EMBEDDING
    return Task.CLASSIFICATION


def agreement_metric(task: Task, outputs: NamedArrays) -> AgreementMetric:
    """How artifacts of a model for ``task`` are compared with the original."""
    match task:
        case Task.CLASSIFICATION if is_scores(outputs):
            return AgreementMetric.TOP1
        case Task.CLASSIFICATION | Task.MULTI_LABEL:
            return AgreementMetric.LABEL_MATCH
        case Task.EMBEDDING:
            return AgreementMetric.COSINE
        case _:
            return AgreementMetric.R2


def is_scores(outputs: NamedArrays) -> bool:
    """Whether there is one output with a score for each of at least two classes."""
    return len(outputs) == 1 and all(o.ndim == 2 and o.shape[1] >= 2 for o in outputs.values())


def _all_near_one(values: Array) -> bool:
    return bool(np.all(np.abs(values.astype(np.float64) - 1.0) <= _NEARLY_ONE))
