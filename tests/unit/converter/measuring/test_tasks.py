"""What a model is for, read from shapes, values and labels; and one-hot labels as classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.fields.data import Task
from modelconversion_api.reports.measurements import AgreementMetric
from tflite_converter.arrays import Array
from tflite_converter.measuring.tasks import agreement_metric, detect_task, with_classes

N = 6
GENERATOR = np.random.default_rng(0)
NORMAL = GENERATOR.normal(size=(N, 4)).astype(np.float32)
SOFTMAX = np.exp(NORMAL) / np.exp(NORMAL).sum(axis=1, keepdims=True)
INT8_SOFTMAX = np.round(SOFTMAX * 256) / 256
SIGMOID = 1 / (1 + np.exp(-2 * NORMAL))
UNIT_VECTORS = NORMAL / np.linalg.norm(NORMAL, axis=1, keepdims=True)
CLASSES = np.array([0, 1, 2, 3, 0, 1])
ONE_HOT = np.eye(4, dtype=np.int64)[CLASSES]
SEVERAL = np.array([[1, 1, 0, 0]] * N)
FRACTIONS = np.linspace(0.1, 2.0, N)
BINARY = np.array([0, 1] * 3)
X = np.zeros((N, 9), np.float32)
PICTURE = np.zeros((N, 8, 8, 3), np.float32)


@pytest.mark.parametrize(
    ("sample", "output", "labels", "task"),
    [
        (X, SOFTMAX, None, Task.CLASSIFICATION),
        (X, INT8_SOFTMAX, None, Task.CLASSIFICATION),
        (X, SOFTMAX, CLASSES, Task.CLASSIFICATION),
        # Numbers without labels: scores of classes and any other numbers look alike.
        (X, NORMAL, None, Task.REGRESSION),
        (X, NORMAL, CLASSES + 10, Task.CLASSIFICATION),  # classes that it has not, which is told elsewhere
        (X, NORMAL, CLASSES, Task.CLASSIFICATION),
        # As many features as classes: still the scores of classes, and no picture of the input.
        (NORMAL, SOFTMAX, None, Task.CLASSIFICATION),
        (NORMAL, SOFTMAX, CLASSES, Task.CLASSIFICATION),
        # A distribution that comes of a distribution is one.
        (SOFTMAX, SOFTMAX, None, Task.RECONSTRUCTION),
        (X, SIGMOID, None, Task.MULTI_LABEL),
        (X, SIGMOID, SEVERAL, Task.MULTI_LABEL),
        (X, SIGMOID, CLASSES, Task.CLASSIFICATION),
        (X, NORMAL, SEVERAL, Task.MULTI_LABEL),
        (X, UNIT_VECTORS, None, Task.EMBEDDING),
        (X, UNIT_VECTORS, CLASSES + 10, Task.EMBEDDING),
        (X, UNIT_VECTORS, CLASSES, Task.CLASSIFICATION),
        (X, SIGMOID[:, :1], None, Task.CLASSIFICATION),
        (X, SIGMOID[:, :1], BINARY, Task.CLASSIFICATION),
        (X, SIGMOID[:, :1], CLASSES, Task.REGRESSION),
        (X, NORMAL[:, :1], None, Task.REGRESSION),
        (X, NORMAL[:, :1], FRACTIONS, Task.REGRESSION),
        (X, SOFTMAX, FRACTIONS, Task.REGRESSION),
        # The sine of a number: what comes of one number is no picture of it.
        (NORMAL[:, :1], NORMAL[:, :1], None, Task.REGRESSION),
        (X, X + 1.0, None, Task.RECONSTRUCTION),
        (X, X + 1.0, BINARY, Task.RECONSTRUCTION),
        (PICTURE, PICTURE + 0.5, None, Task.RECONSTRUCTION),
        (NORMAL, NORMAL * 0.8 + 3.0, None, Task.RECONSTRUCTION),
        # As many numbers as it takes, and no picture of them.
        (NORMAL, NORMAL[:, ::-1], None, Task.REGRESSION),
        (NORMAL, NORMAL * [1.0, 1e3, 1e-3, 1.0], None, Task.REGRESSION),
        (PICTURE, np.zeros((N, 4, 4, 2)), None, Task.REGRESSION),
        (X, np.full((N, 4), np.nan), None, Task.REGRESSION),
        (X, np.full((N, 4), np.inf), None, Task.REGRESSION),
        (X, NORMAL.astype(np.complex64), None, Task.REGRESSION),
        (X, np.zeros(N), None, Task.REGRESSION),
    ],
)
def test_tasks(sample: Array, output: Array, labels: Array | None, task: Task) -> None:
    assert detect_task({"x": sample}, {"y": output}, labels) is task


def test_several_outputs_are_numbers() -> None:
    assert detect_task({"x": X}, {"a": SOFTMAX, "b": SOFTMAX}, None) is Task.REGRESSION


@pytest.mark.parametrize(
    ("task", "output", "metric"),
    [
        (Task.CLASSIFICATION, SOFTMAX, AgreementMetric.TOP1),
        (Task.CLASSIFICATION, SIGMOID[:, :1], AgreementMetric.LABEL_MATCH),
        (Task.MULTI_LABEL, SIGMOID, AgreementMetric.LABEL_MATCH),
        (Task.EMBEDDING, UNIT_VECTORS, AgreementMetric.COSINE),
        (Task.RECONSTRUCTION, X, AgreementMetric.R2),
        (Task.REGRESSION, NORMAL, AgreementMetric.R2),
    ],
)
def test_metric_follows_the_task(task: Task, output: Array, metric: AgreementMetric) -> None:
    assert agreement_metric(task, {"y": output}) is metric


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
@pytest.mark.parametrize(
    ("given_task", "output", "are_classes"),
    [
        (None, SOFTMAX, True),
        (None, INT8_SOFTMAX, True),
        (None, NORMAL, True),
        (Task.CLASSIFICATION, SIGMOID, True),
        # Each from 0 to 1 and together not 1: every column may be a yes of its own.
        (None, SIGMOID, False),
        (Task.MULTI_LABEL, SOFTMAX, False),
        (Task.REGRESSION, SOFTMAX, False),
        (None, SOFTMAX[:, :3], False),
        (None, PICTURE, False),
    ],
)
def test_one_hot_labels_are_classes(
    given_task: Task | None, output: Array, dtype: type, *, are_classes: bool
) -> None:
    found = with_classes(given_task, {"y": output}, ONE_HOT.astype(dtype))
    assert found is not None
    if are_classes:
        assert (found.dtype, found.tolist()) == (np.int64, CLASSES.tolist())
        assert detect_task({"x": X}, {"y": output}, found) is Task.CLASSIFICATION
    else:
        assert found.tolist() == ONE_HOT.tolist()


@pytest.mark.parametrize(
    ("labels", "output", "task", "are_classes"),
    [
        (CLASSES.astype(np.float32), SOFTMAX, None, True),
        (CLASSES.astype(np.float64), NORMAL, None, True),
        (CLASSES.astype(np.float32), NORMAL, Task.CLASSIFICATION, True),
        (CLASSES.astype(np.float32), NORMAL, Task.REGRESSION, False),
        (CLASSES + 0.5, NORMAL, None, False),
        (CLASSES + 20.0, NORMAL, None, False),
        (CLASSES - 1.0, NORMAL, None, False),
        # One number for each sample: the labels are true values, whole or not.
        (CLASSES.astype(np.float32), NORMAL[:, :1], None, False),
    ],
)
def test_classes_that_were_stored_as_floats_are_classes(
    labels: Array, output: Array, task: Task | None, *, are_classes: bool
) -> None:
    found = with_classes(task, {"y": output}, labels)
    assert found is not None
    assert (found.dtype.kind == "i") is are_classes
    np.testing.assert_array_equal(found, labels)


@pytest.mark.parametrize(
    "labels", [SEVERAL, ONE_HOT * 0, ONE_HOT * 2, ONE_HOT * 0.5, CLASSES, FRACTIONS, None]
)
def test_what_is_not_one_hot_stays_as_it_is(labels: Array | None) -> None:
    assert with_classes(None, {"y": SOFTMAX}, labels) is labels


@given(st.lists(st.integers(0, 3), min_size=N, max_size=N))
def test_one_hot_is_undone(classes: list[int]) -> None:
    found = with_classes(None, {"y": SOFTMAX}, np.eye(4)[classes])
    assert found is not None
    assert found.tolist() == classes
