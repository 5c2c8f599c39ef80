"""What a model is for, read from its outputs and labels, and which metrics fit that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from modelconversion_api.fields.data import Task
from modelconversion_api.reports.measurements import AgreementMetric
from tflite_converter.arrays import Array, NamedArrays

_NEARLY_ONE = 0.02
"""How far a row's sum (or norm) may be from 1: int8 scores come in steps of 1/256."""

_LEFT_OUT = 0.75
"""The largest share of the input's variance that a picture of it may lack."""


def detect_task(samples: NamedArrays, outputs: NamedArrays, labels: Array | None) -> Task:
    """Guess a model's task from its samples, its outputs (``{output: (n, ...)}``) and the labels.

    The first of :data:`_RULES` that holds decides.
    """
    evidence = _Evidence(samples, outputs, labels)
    return next(task for holds, task in _RULES if holds(evidence))


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What samples, outputs and labels show of a task."""

    samples: NamedArrays
    outputs: NamedArrays
    labels: Array | None

    @property
    def has_fractions_for_labels(self) -> bool:
        return self.labels is not None and self.labels.dtype.kind == "f"

    @property
    def gives_complex_numbers(self) -> bool:
        return any(output.dtype.kind == "c" for output in self.outputs.values())

    @property
    def has_several_labels_a_sample(self) -> bool:
        """For one-hot rows see :func:`with_classes`."""
        return self.labels is not None and self.labels.ndim == 2

    @property
    def gives_probabilities(self) -> bool:
        """Whether rows add up to 1, and not only because the samples' do."""
        return is_distribution(self.outputs) and not any(
            is_distribution({"": s}) for s in self.samples.values()
        )

    @property
    def gives_what_it_takes(self) -> bool:
        return any(_are_alike(s, o) for s in self.samples.values() for o in self.outputs.values())

    @property
    def gives_one_vector(self) -> bool:
        return len(self.outputs) == 1 and all(o.ndim == 2 for o in self.outputs.values())

    @property
    def scores(self) -> Array:
        """The single vector, shape ``(n, values)``."""
        (scores,) = self.outputs.values()
        return scores

    @property
    def highest_label(self) -> int | None:
        return None if self.labels is None else int(self.labels.max(initial=0))

    @property
    def gives_one_number(self) -> bool:
        return bool(self.scores.shape[1] == 1)

    @property
    def gives_yes_or_no(self) -> bool:
        highest = self.highest_label
        return self.gives_one_number and lies_in_unit(self.scores) and (highest is None or highest <= 1)

    @property
    def gives_independent_shares(self) -> bool:
        return self.labels is None and lies_in_unit(self.scores)

    @property
    def counts_classes(self) -> bool:
        """Whether each sample has one whole number, with which no vector of numbers can be compared."""
        return self.labels is not None and self.labels.ndim == 1 and self.labels.dtype.kind in "iu"

    @property
    def gives_directions(self) -> bool:
        """Whether rows have the Euclidean length 1, and labels, if any, do not count their columns."""
        highest = self.highest_label
        beyond = highest is None or highest >= self.scores.shape[1]
        return beyond and _all_near_one(np.linalg.norm(self.scores, axis=1))


_RULES: Final[tuple[tuple[Callable[[_Evidence], bool], Task], ...]] = (
    (lambda e: e.has_fractions_for_labels or e.gives_complex_numbers, Task.REGRESSION),
    (lambda e: e.has_several_labels_a_sample, Task.MULTI_LABEL),
    (lambda e: e.gives_probabilities, Task.CLASSIFICATION),
    (lambda e: e.gives_what_it_takes, Task.RECONSTRUCTION),
    (lambda e: not e.gives_one_vector, Task.REGRESSION),
    (lambda e: e.gives_yes_or_no, Task.CLASSIFICATION),
    (lambda e: e.gives_one_number, Task.REGRESSION),
    (lambda e: is_distribution(e.outputs), Task.CLASSIFICATION),
    (lambda e: e.gives_independent_shares, Task.MULTI_LABEL),
    (lambda e: e.gives_directions, Task.EMBEDDING),
    (lambda e: e.counts_classes, Task.CLASSIFICATION),
    (lambda _: True, Task.REGRESSION),  # without labels, scores of classes and any other numbers look alike
)
"""Tasks by their signs; a later rule may rely on those before it not holding."""


def with_classes(task: Task | None, outputs: NamedArrays, labels: Array | None) -> Array | None:
    """``labels`` as classes where they stand for some: whole floats, and one-hot rows as Keras makes them.

    For a model whose single output has as many columns, unless its outputs (each from 0 to 1, together not
    1) or the user (``task``) say that every column is a yes or no of its own.
    """
    if labels is None or task not in (None, Task.CLASSIFICATION):
        return labels
    if labels.ndim == 1:
        return _counted(labels, outputs)
    if labels.ndim != 2:
        return labels
    if not is_scores(outputs) or next(iter(outputs.values())).shape[1] != labels.shape[1]:
        return labels
    if not (np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()):
        return labels
    if task is None and lies_in_unit(next(iter(outputs.values()))) and not is_distribution(outputs):
        return labels
    classes: Array = np.argmax(labels, axis=1).astype(np.int64)
    return classes


def _counted(labels: Array, outputs: NamedArrays) -> Array:
    """Return classes that were stored as floats as integers, where each is the number of a column."""
    if labels.dtype.kind != "f" or not is_scores(outputs) or not np.isfinite(labels).all():
        return labels
    columns = next(iter(outputs.values())).shape[1]
    if (labels != np.rint(labels)).any() or labels.min(initial=0) < 0 or labels.max(initial=0) >= columns:
        return labels
    return labels.astype(np.int64)


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
    return lies_in_unit(scores) and _all_near_one(scores.sum(axis=1))


def _are_alike(sample: Array, output: Array) -> bool:
    """Whether an output is a picture of the input: of its shape, and varying with it, place by place.

    A layer with as many outputs as inputs is none; nor is one number that comes of one number.
    """
    if sample.shape != output.shape or sample[:1].size == 1:
        return False
    moves, follows = (values.astype(np.float64) - values.mean(axis=0) for values in (sample, output))
    return bool(np.sum(np.square(follows - moves)) <= _LEFT_OUT * np.sum(np.square(moves)))


def lies_in_unit(values: Array) -> bool:
    """Whether every value is from 0 to 1."""
    return bool(np.all((values >= 0.0) & (values <= 1.0)))


def _all_near_one(values: Array) -> bool:
    return bool(np.all(np.abs(values.astype(np.float64) - 1.0) <= _NEARLY_ONE))
