"""What a model is for, read from its outputs and labels, and which metrics fit that."""

from __future__ import annotations

import numpy as np

from modelconversion_api.data import Task
from modelconversion_api.measurements import AgreementMetric
from tflite_converter.arrays import Array, NamedArrays

_NEARLY_ONE = 0.02
"""How far a row's sum (or norm) may be from 1: int8 scores come in steps of 1/256."""


def detect_task(samples: NamedArrays, outputs: NamedArrays, labels: Array | None) -> Task:
    """What the original is for, from what it gave (``{output: (n, ...)}``) and from the labels.

    Labels that are fractions mean regression, rows of labels several labels a sample (for one-hot rows see
    :func:`with_classes`). Rows that add up to 1 are the scores of classes. An output like the input is a
    reconstruction. Values from 0 to 1 that do not add up are labels each of their own, rows of length 1
    (Euclidean) an embedding. Any other single vector is taken for the logits of classes, and everything else
    for numbers.
    """
    if labels is not None and labels.dtype.kind == "f":
        return Task.REGRESSION
    if labels is not None and labels.ndim == 2:
        return Task.MULTI_LABEL
    if is_distribution(outputs) and not any(is_distribution({"": s}) for s in samples.values()):
        return Task.CLASSIFICATION
    if any(_are_alike(s, o) for s in samples.values() for o in outputs.values()):
        return Task.RECONSTRUCTION
    if len(outputs) != 1:
        return Task.REGRESSION
    (scores,) = outputs.values()
    if scores.ndim != 2:
        return Task.REGRESSION
    in_unit = _lies_in_unit(scores)
    if scores.shape[1] == 1:
        two_classes = in_unit and (labels is None or int(labels.max(initial=0)) <= 1)
        return Task.CLASSIFICATION if two_classes else Task.REGRESSION
    if is_distribution(outputs):
        return Task.CLASSIFICATION
    if labels is None and in_unit:
        return Task.MULTI_LABEL
    beyond = labels is not None and int(labels.max(initial=0)) >= scores.shape[1]
    if _all_near_one(np.linalg.norm(scores, axis=1)) and (labels is None or beyond):
        return Task.EMBEDDING
    return Task.CLASSIFICATION


def with_classes(given: Task | None, outputs: NamedArrays, labels: Array | None) -> Array | None:
    """``labels`` with one-hot rows, as Keras's ``to_categorical`` makes them, as the classes they stand for.

    For a model whose single output has as many columns, unless its outputs (each from 0 to 1, together not
    1) or the user (``given``) say that every column is a yes or no of its own.
    """
    if labels is None or labels.ndim != 2 or given not in (None, Task.CLASSIFICATION):
        return labels
    if not is_scores(outputs) or next(iter(outputs.values())).shape[1] != labels.shape[1]:
        return labels
    if not (np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()):
        return labels
    if given is None and _lies_in_unit(next(iter(outputs.values()))) and not is_distribution(outputs):
        return labels
    classes: Array = np.argmax(labels, axis=1).astype(np.int64)
    return classes


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


def is_distribution(outputs: NamedArrays) -> bool:
    """Whether there is one output with a probability for each of at least two classes."""
    if not is_scores(outputs):
        return False
    (scores,) = outputs.values()
    return _lies_in_unit(scores) and _all_near_one(scores.sum(axis=1))


def _are_alike(sample: Array, output: Array) -> bool:
    """One number that comes of one number is no picture of it."""
    return sample.shape[1:] == output.shape[1:] and sample[:1].size > 1


def _lies_in_unit(values: Array) -> bool:
    return bool(np.all((values >= 0.0) & (values <= 1.0)))


def _all_near_one(values: Array) -> bool:
    return bool(np.all(np.abs(values.astype(np.float64) - 1.0) <= _NEARLY_ONE))
